#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

struct MetricOptions {
  /// Only the elements between weights of one LAYER, the others are zero (Stokes, Izaac, Killoran and Carleo, Quantum
  /// 4, 269 (2020), arXiv 1909.02108): gates are in one layer if no chain of operations joins them. Layers that share a
  /// weight are one. The elements are exact; the memory is that of the largest layer's tangents.
  bool block_diagonal = false;
};

/// The Fubini-Study metric of a circuit's weights, the real part of the quantum geometric tensor:
///   g_ij = Re(<d_i psi|d_j psi> - <d_i psi|psi> <psi|d_j psi>),
/// a quarter of the quantum Fisher information; g = 1/4 for RY of |0>. Exact: tangents are sums of shifted states. Real
/// is the type of the states. Memory: a state for each weight (of the largest layer).
template <class Real>
class MetricTensor {
 public:
  /// Throws Error as Simulator does.
  explicit MetricTensor(const Circuit& circuit, const MetricOptions& options = {});
  ~MetricTensor();
  MetricTensor(MetricTensor&&) noexcept;
  MetricTensor& operator=(MetricTensor&&) noexcept;

  int weights() const;
  /// The weights of each layer, ascending; one layer of all without block_diagonal. Weights that no gate reads are in
  /// none.
  const std::vector<std::vector<int>>& blocks() const;

  /// metric [weights, weights]: the mean over the batch; weights and inputs as Simulator's. Throws Error if the batch
  /// is empty, or if the tangents do not fit into memory.
  void operator()(int64_t batch, const Real* weights, const Real* inputs, double* metric) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The natural gradient: x with (metric + regularization * 1) x = gradient, for a symmetric [n, n] metric without
/// negative eigenvalues. Throws Error if the matrix is not positive definite: then the regularization (> 0 where
/// weights are redundant) is too small.
std::vector<double> natural_gradient(const std::vector<double>& metric, const std::vector<double>& gradient,
                                     double regularization = 1e-3);

}  // namespace quanta
