#pragma once

#include <memory>

#include "quanta/lowbit/packed_matrix.h"
#include "quanta/nn/layers.h"

namespace quanta {

/// A matrix of few-bit weights from tensors, all on the CPU.
struct PackedTensors {
  int bits = 4;            ///< 2, 3, 4 or 8
  int64_t group = 0;       ///< inputs that share a scale, a multiple of 32; 0: all of them
  torch::Tensor codes{};   ///< uint8 [out, in]
  torch::Tensor scales{};  ///< [out, G], G = ceil(in / group)
  torch::Tensor zeros{};   ///< [out, G]; undefined: 2^(bits - 1)
  torch::Tensor bias{};    ///< [out] or undefined
  /// Integers [in]: each input's group (GPTQ's g_idx), where that is not k / group; or undefined.
  torch::Tensor group_index{};
};
/// Throws Error as PackedMatrix does, and for tensors of other shapes or types.
std::shared_ptr<const PackedMatrix> pack(const PackedTensors& tensors);

/// x [..., in] -> [..., out] with weights that stay packed: no float copy of them is held. For inference: gradients do
/// not pass. The slots of input and output work as in Linear; the weight's must be empty. `weight` and `bias` are
/// undefined, they are in the matrix. Copies share the matrix, which nothing changes.
class PackedLinearImpl : public QuantizableLayer {
 public:
  explicit PackedLinearImpl(std::shared_ptr<const PackedMatrix> matrix, Activations activations = Activations::Int8);

  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<QuantizableLayer> copy() const override;
  int64_t macs(torch::IntArrayRef output_shape) const override;
  void pretty_print(std::ostream& stream) const override;
  /// The weights as numbers [out, in], made anew.
  torch::Tensor effective_weight() const override;
  /// The layer of float weights that this one stands for, with copies of its slots' transforms.
  Linear unpacked() const;

  const PackedMatrix& matrix() const { return *matrix_; }
  Activations activations;

 private:
  std::shared_ptr<const PackedMatrix> matrix_;
};
TORCH_MODULE(PackedLinear);

}  // namespace quanta
