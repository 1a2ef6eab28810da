#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "quanta/nn/transform.h"

namespace quanta {

/// A layer with a weight that can be quantized. Its slots: `input` sees what comes in, `weight` the weight that is used
/// (for ConvBn2d the folded one), `output` what goes out. All are empty at first.
class QuantizableLayer : public torch::nn::Module {
 public:
  enum class Place { Input, Weight, Output };

  virtual torch::Tensor forward(const torch::Tensor& x) = 0;
  /// A deep copy, slots included.
  virtual std::shared_ptr<QuantizableLayer> copy() const = 0;
  /// Multiply-accumulates for outputs of this shape [batch, ...].
  virtual int64_t macs(torch::IntArrayRef output_shape) const = 0;

  /// Puts a transform into a slot, registered as "input_transform", "weight_transform" or "output_transform"; null
  /// empties the slot.
  void put(Place place, std::shared_ptr<TensorTransform> transform);
  const Slot& slot(Place place) const { return slots_[size_t(place)]; }

  /// The weight before its slot: `weight`, or where batch normalization is folded in, the folded weight.
  virtual torch::Tensor effective_weight() const { return weight; }

  torch::Tensor weight{};  ///< [out, ...]: dimension 0 is the output channel
  torch::Tensor bias{};    ///< [out], or undefined

 protected:
  torch::Tensor used_weight(const torch::Tensor& effective) const { return slot(Place::Weight)(effective); }
  /// Takes over values and copies of the slots' transforms.
  void copy_from(const QuantizableLayer& other);

 private:
  std::array<Slot, 3> slots_;
};

/// x [..., in] -> [..., out]; torch::nn::Linear with slots.
class LinearImpl : public QuantizableLayer {
 public:
  LinearImpl(int64_t in, int64_t out, bool with_bias = true);
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<QuantizableLayer> copy() const override;
  int64_t macs(torch::IntArrayRef output_shape) const override;
  void pretty_print(std::ostream& stream) const override;
};
TORCH_MODULE(Linear);

struct Conv2dOptions {
  int64_t in = 0;   ///< channels
  int64_t out = 0;  ///< channels
  std::array<int64_t, 2> kernel{1, 1};
  std::array<int64_t, 2> stride{1, 1};
  std::array<int64_t, 2> padding{0, 0};  ///< with zeros, on both sides
  std::array<int64_t, 2> dilation{1, 1};
  int64_t groups = 1;  ///< divides in and out; groups == in == out is a depthwise convolution
  bool bias = false;

  /// A square kernel with the padding that keeps the size at stride 1 ((kernel - 1) / 2).
  static Conv2dOptions square(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1);
  bool depthwise() const { return groups > 1 && groups == in && groups == out; }
};

/// [batch, in, H, W] -> [batch, out, H', W']; torch::nn::Conv2d with slots. Weight [out, in / groups, kh, kw].
class Conv2dImpl : public QuantizableLayer {
 public:
  explicit Conv2dImpl(const Conv2dOptions& options);
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<QuantizableLayer> copy() const override;
  int64_t macs(torch::IntArrayRef output_shape) const override;
  void pretty_print(std::ostream& stream) const override;
  const Conv2dOptions& options() const { return options_; }

 protected:
  torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b) const;

 private:
  Conv2dOptions options_;
};
TORCH_MODULE(Conv2d);

/// Where the moments and the folded weight of a training step come from (arXiv 1806.08342, section 3.2.2).
enum class BatchNormFold {
  /// The weight is folded with the running moments, so that its grid does not jitter, and rescaled after its slot; the
  /// batch's moments are those of what this weight puts out. One convolution a step.
  Rescaled,
  /// The same, but the moments are those of the weight without its slot, as in the paper: two convolutions a step.
  Corrected,
  /// The weight is folded with each batch's moments. For comparison: its grid jitters.
  Naive,
};

/// Convolution and batch normalization as one layer, for quantization-aware training: the weight's slot sees the folded
/// weight, which is the one that is used after training. In training mode and not frozen it equals Conv2d followed by
/// BatchNorm2d in training mode, in evaluation mode or frozen the same in evaluation mode, but for what the weight's
/// slot changes.
class ConvBn2dImpl : public Conv2dImpl {
 public:
  /// Takes over the values of both; `conv` may have a bias.
  ConvBn2dImpl(const Conv2dImpl& conv, const torch::nn::BatchNorm2dImpl& batch_norm,
               BatchNormFold fold = BatchNormFold::Rescaled);
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<QuantizableLayer> copy() const override;
  /// weight * gamma / sqrt(running_var + eps), the weight of the folded convolution.
  torch::Tensor effective_weight() const override;
  /// The folded convolution's bias.
  torch::Tensor effective_bias() const;

  /// From now on the running moments are used and stay as they are, also in training mode.
  void freeze() { frozen_ = true; }
  bool frozen() const { return frozen_; }

  torch::Tensor gamma{}, beta{};                ///< parameters [out]
  torch::Tensor running_mean{}, running_var{};  ///< buffers [out]

 private:
  double eps_;
  double momentum_;
  BatchNormFold fold_;
  bool frozen_ = false;
};
TORCH_MODULE(ConvBn2d);

/// All quantizable layers inside a module with their names, in the order of registration.
std::vector<std::pair<std::string, std::shared_ptr<QuantizableLayer>>> quantizable_layers(
    const torch::nn::Module& module);

}  // namespace quanta
