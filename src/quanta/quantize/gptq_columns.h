#pragma once

#include <cstdint>

namespace quanta::columns {

/// Rows of a weight that a tile holds; the matrices below have a multiple of it.
inline constexpr int64_t kRows = 64;

/// The values one column may take in each row: scale (q - zero) + offset for q = 0 .. levels - 1, or if `values` is
/// given, values[q][row], ascending.
template <class T>
struct Levels {
  const T* scale = nullptr;
  const T* zero = nullptr;
  const T* offset = nullptr;
  const T* values = nullptr;
  int64_t stride = 0;  ///< between values[q] and values[q + 1]
  int levels = 0;
};

/// A stretch of neighbouring columns, every matrix transposed: a row of memory is a column of the weight.
template <class T>
struct Stretch {
  int64_t count = 0;         ///< columns to round
  int64_t reach = 0;         ///< columns, counted from the same first one, that their errors are pushed into
  int64_t stride = 0;        ///< of w, errors and codes
  T* w = nullptr;            ///< [reach, stride]: in weights, out of the first `count` the rounded ones
  T* errors = nullptr;       ///< [count, stride]: (w - q) / U_jj
  uint8_t* codes = nullptr;  ///< [count, stride]
  double* loss = nullptr;    ///< [stride]: their squares are added
  const T* u = nullptr;      ///< U from its (first, first) element on
  int64_t u_stride = 0;
  const Levels<T>* levels = nullptr;  ///< [count]
};

/// For columns j one after the other: q = the nearest level (ties: uniform to even, else towards 0), e = (w_j - q) /
/// U_jj, w_k -= e U_jk for k > j. For the rows [row, row + kRows).
template <class T>
void round_columns(const Stretch<T>& stretch, int64_t row);

}  // namespace quanta::columns
