#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// Exact derivatives of any mixture up to order kMaxOrder + 1, by the adjoint sweep in the arithmetic of JETS: numbers
/// c_0 + c_1 e1 + c_2 e2 + c_3 e1 e2 + ... with e_i^2 = 0. Weights, inputs and upstream become jets, so do values and
/// gradients, and the component of a set S of directions is the mixed derivative along them (forward over reverse: with
/// one direction Pearlmutter's Hessian-vector product, Neural Computation 6, 147 (1994)). A jet of order m is an array
/// of 2^m pointers, the bits of its index being S; a null pointer is zero, or not wanted.
///
/// The state takes 2^m times a state's memory and 3^m times its operations. Rows and shapes as Simulator's; results do
/// not depend on the number of threads.
template <class Real>
class JetSimulator {
 public:
  static constexpr int kMaxOrder = 4;

  /// Throws Error as Simulator does.
  JetSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables);
  ~JetSimulator();
  JetSimulator(JetSimulator&&) noexcept;
  JetSimulator& operator=(JetSimulator&&) noexcept;

  int weights() const;
  int inputs() const;
  int outputs() const;

  /// Simulator::vjp on jets of `order` 0 .. kMaxOrder. Null for `dweights`, `dinputs` or `values`: none is wanted.
  void vjp(int order, int64_t batch, const Real* const* weights, const Real* const* inputs, const Real* const* upstream,
           Real* const* dweights, Real* const* dinputs, Real* const* values) const;

  /// The Hessian of sum_bk upstream[b, k] values[b, k] times a direction: `vweights` [weights] is shared by the batch,
  /// `vinputs` [batch, inputs] is each sample's own (null: zero). Null for what is not wanted.
  ///   dweights, dinputs: the product's parts;  dvalues [batch, outputs]: the values' derivative along the direction
  void hvp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, const Real* vweights,
           const Real* vinputs, Real* dweights, Real* dinputs, Real* dvalues = nullptr) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
