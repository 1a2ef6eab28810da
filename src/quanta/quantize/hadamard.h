#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "quanta/quantize/stored_transform.h"

namespace quanta {

/// Whether hadamard(n) is known: n = 1, 2 or K 2^m with K = q + 1 (q a prime, 3 modulo 4), K = 2 (q + 1) (q a prime, 1
/// modulo 4), or K in {52, 92, 100, 116, 156, 172}. Below 188 these are all multiples of 4.
bool has_hadamard(int64_t n);

/// A Hadamard matrix, [n, n] of +1 and -1 with H H^T = n I, float64: the Kronecker product of one of order K (Paley's
/// constructions, or four circulants in the array of Goethals and Seidel) and Walsh's of order 2^m with the least K.
/// Error if none is known.
torch::Tensor hadamard(int64_t n);

/// x [..., groups n stride], seen as [..., groups, n, stride], times hadamard(n) / sqrt(n) over the n; `transposed`:
/// times the transposed matrix, the inverse. O(n (K + m)) a group, float32 or float64, differentiable.
torch::Tensor hadamard_product(const torch::Tensor& x, int64_t n, int64_t stride = 1, bool transposed = false);

/// The orthogonal factor of a Gaussian matrix, uniform over the orthogonal group; [n, n] float64.
torch::Tensor random_orthogonal(int64_t n, uint64_t seed);

/// hadamard_product() in a slot: what the rotation of a model leaves to be done online.
class HadamardTransform : public StoredTransform {
 public:
  explicit HadamardTransform(int64_t size, int64_t stride = 1);
  torch::Tensor forward(const torch::Tensor& x) override { return hadamard_product(x, size_, stride_); }
  std::shared_ptr<TensorTransform> copy() const override;
  nlohmann::json spec() const override;  ///< {"kind": "hadamard", "size": n, "stride": s}

 private:
  int64_t size_, stride_;
};

}  // namespace quanta
