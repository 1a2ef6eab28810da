#pragma once

#include <cstdint>
#include <type_traits>

// Products of large row-major matrices in tiles of a fixed size, each computed by one thread of OpenBLAS: as fast as
// BLAS, and the same bits for any number of threads.

namespace quanta::tiled {

/// Part of a row-major matrix. T is float, double, or const of either.
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;

  T& operator()(int64_t i, int64_t j) const { return data[i * stride + j]; }
  Matrix part(int64_t row, int64_t column, int64_t more_rows, int64_t more_columns) const {
    return {data + row * stride + column, more_rows, more_columns, stride};
  }
  operator Matrix<const T>() const requires(!std::is_const_v<T>) { return {data, rows, columns, stride}; }
};

enum class Shape {
  Full,
  Lower,  ///< of the result only what is on or below the diagonal is computed; above it, it is not read
};

/// c += alpha a' b or, with `transpose_b`, c += alpha a b' - with a [k, m], b [k, n], or a [m, k], b [n, k].
template <class T>
void add_product(T alpha, Matrix<const T> a, Matrix<const T> b, bool transpose_b, Matrix<T> c,
                 Shape shape = Shape::Full);

/// b := b l, or with `transpose` b l' (l lower triangular, [n, n], b [m, n]).
template <class T>
void times_lower(Matrix<T> b, Matrix<const T> l, bool transpose);
/// b := -l b (l lower triangular, [m, m], b [m, n]).
template <class T>
void minus_lower_times(Matrix<const T> l, Matrix<T> b);

}  // namespace quanta::tiled
