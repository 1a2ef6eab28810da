#pragma once

#include <cstddef>
#include <cstdint>

namespace quanta::grid {

/// The values u * scale, u an integer in [low, high]; with a zero point z: low = qmin - z, high = qmax - z. A number x
/// is rounded to u = clamp(round(x / scale)), half to even.
template <class T>
struct Grid {
  T scale, low, high;
};

template <class T>
struct Extremes {
  T low, high;
};

/// Loops over numbers on one grid, vectorized for the instruction set at hand. T is float or double.
template <class T>
struct Loops {
  /// The least and the greatest number; both NaN if there is a NaN. n > 0.
  Extremes<T> (*extremes)(const T* x, size_t n);
  /// y = u * scale; NaN stays NaN.
  void (*round)(Grid<T> grid, const T* x, T* y, size_t n);
  /// codes = u + zero_point. False if there is a NaN or an infinity; their codes are arbitrary.
  bool (*encode)(Grid<T> grid, int32_t zero_point, const T* x, int32_t* codes, size_t n);
  /// The straight-through gradient: dx = dy where low * scale <= x <= high * scale, else 0.
  void (*pass)(Grid<T> grid, const T* x, const T* dy, T* dx, size_t n);
  /// The same; returns the sum of dy times d(u * scale) / d(scale), which is u - x / scale inside and u outside.
  double (*pass_and_step)(Grid<T> grid, const T* x, const T* dy, T* dx, size_t n);
  /// Sum of |x - u * scale|^norm.
  double (*error)(Grid<T> grid, const T* x, size_t n, double norm);
};

template <class T>
const Loops<T>& loops();

}  // namespace quanta::grid
