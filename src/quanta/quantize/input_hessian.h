#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "quanta/nn/layers.h"
#include "quanta/nn/transform.h"

namespace quanta {

/// The Hessian of a linear layer's squared output error with regard to each row of its weight,
/// H = 2 / n_seq sum_t r_t x_t x_t' [K, K], over calibration tokens x_t with importances r_t (arXiv 2210.17323, section
/// 3.2; weights as in arXiv 2503.01820). Layers that read the same input share one. float32 (float64 on request); the
/// result does not depend on the number of threads, only on the tensors and the order in which they are added.
class InputHessian {
 public:
  explicit InputHessian(int64_t inputs, torch::Dtype type = torch::kFloat32);

  /// x [sequences, ..., K], or [tokens, K] which is one sequence; `weights` has x's shape without K, numbers of at
  /// least 0. Errors: other sizes, no tokens, NaN or infinity.
  void add(const torch::Tensor& x, const torch::Tensor& weights = {});

  /// Error if nothing has been added.
  torch::Tensor value() const;
  int64_t inputs() const { return inputs_; }
  int64_t sequences() const { return sequences_; }
  int64_t tokens() const { return tokens_; }
  /// Shares nothing with this one.
  InputHessian clone() const;

 private:
  int64_t inputs_, sequences_ = 0, tokens_ = 0;
  torch::Tensor sum_;  // its lower triangle, in tiles
};

/// The inputs of a convolution as those of linear layers, one for each of its groups: x [batch, in, H, W] to
/// [batch, H' W', in / groups * kh * kw], in the order of the weight's flattened rows.
std::vector<torch::Tensor> unfold(const torch::Tensor& x, const Conv2dOptions& options);

/// A transform for a layer's input slot that passes everything on and adds it to a Hessian, which several may share.
class HessianCapture : public TensorTransform {
 public:
  explicit HessianCapture(std::shared_ptr<InputHessian> hessian);
  /// For a convolution: one for each group.
  HessianCapture(std::vector<std::shared_ptr<InputHessian>> hessians, const Conv2dOptions& options);
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;

 private:
  std::vector<std::shared_ptr<InputHessian>> hessians_;
  std::optional<Conv2dOptions> convolution_;
};

}  // namespace quanta
