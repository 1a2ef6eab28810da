#pragma once

#include <cstddef>

namespace quanta {

/// Loops of the fast Hadamard transform, vectorized for the instruction set at hand; their results do not depend on it.
/// T is float or double.
template <class T>
struct HadamardLoops {
  /// x [size / stride, stride] <- scale W x with the Walsh matrix W of order size / stride, a power of two.
  void (*walsh)(T* x, size_t size, size_t stride, T scale);
  /// x [order, width] <- S^T x for a matrix S [order, order] of signs; order is a multiple of 4. scratch
  /// [order * kHadamardTile].
  void (*mix)(const T* signs, size_t order, T* x, size_t width, T* scratch);
};

template <class T>
const HadamardLoops<T>& hadamard_loops();

constexpr size_t kHadamardTile = 64;  ///< values of a row that mix() takes at a time, at most

}  // namespace quanta
