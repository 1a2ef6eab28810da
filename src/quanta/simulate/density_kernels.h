#pragma once

#include <cstddef>

#include "quanta/simulate/density_program.h"

namespace quanta::simulate::pauli_basis {

/// A pass over a state.
template <class T>
struct PassWork {
  const Program* program;
  const Pass* pass;
  const T* coefficients;  // [program->coefficients] vectors
  const T* in;            // the state before; null: the product of the two arrays below
  T* out;                 // forward: the state after, may be `in`; backward: the gradient of the state, in place
  const T* block_product = nullptr;  // [block elements]
  const T* outer_product = nullptr;  // [outer elements]
  T* gradients = nullptr;            // backward: [program->gradients] vectors, added to
};

template <class T>
struct DensityKernels {
  size_t lanes;
  /// The groups first .. last - 1 of a pass; buffer: buffer_size() numbers.
  void (*forward)(const PassWork<T>& work, size_t first, size_t last, T* buffer);
  /// From the gradient of the state after the pass to that before, and the gradients of its coefficients.
  void (*backward)(const PassWork<T>& work, size_t first, size_t last, T* buffer);

  size_t groups(const Pass& pass) const { return (pass.outer_offset.size() + lanes - 1) / lanes; }
  size_t buffer_size(const Pass& pass) const { return size_t(pass.saves + 3) * pass.block_offset.size() * lanes; }
};

template <class T>
const DensityKernels<T>& density_kernels();

}  // namespace quanta::simulate::pauli_basis
