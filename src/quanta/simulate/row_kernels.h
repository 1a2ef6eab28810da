#pragma once

#include <cstddef>
#include <cstdint>

namespace quanta::simulate {

// What StateBatch does to its amplitudes. They are ROWS [re, im][width] of numbers, width being a multiple of a vector;
// a row's number and the place in it (the LANE) together tell amplitude and sample.

/// The rows whose numbers have these bits free and those bits 1.
struct RowSet {
  uint64_t free = 0, fixed = 0;
};

/// One summand of row `target`: coefficient times row `source`, its lanes permuted by XOR.
struct RowTerm {
  uint32_t source, flip;  // indices into RowGate's offsets and flips
};

/// Mixes groups of rows: x[offset t] = sum over the terms of t of coefficient * permuted x[offset source].
template <class T>
struct RowGate {
  T* data;
  size_t width;
  RowSet set;  // the groups' bases
  uint32_t rows, flips;
  const uint64_t* offsets;     // [rows] XOR onto a row's number
  const uint32_t* lane_flips;  // [flips]; those that are not 0 need a width of one vector
  const uint32_t* first;       // [rows + 1] into the terms
  const RowTerm* terms;
  bool uniform;  // coefficients are [term][re, im], else [term][re, im][width]
  const T* coefficients;
  const T* select;  // [width]; null: all. Lanes where it is 0 stay as they are
};

/// A Pauli string maps row r to row r ^ row_flip with the sign (-1)^parity(r & row_mask); what happens in the lanes is
/// the permutation lane_flip and part of the coefficients.
template <class T>
struct RowPauli {
  size_t width;
  RowSet set;
  uint64_t row_flip, row_mask;
  uint32_t lane_flip;
  const T* keep;    // [re, im][width]
  const T* change;  // [re, im][width]
};

template <class T>
struct RowKernels {
  size_t lanes;
  /// Groups begin .. end - 1.
  void (*mix)(const RowGate<T>&, uint64_t begin, uint64_t end);
  /// x = keep * x + change * P x, for pairs of rows (single ones without row_flip).
  void (*rotate)(const RowPauli<T>&, T* x, uint64_t begin, uint64_t end);
  /// y += change * P x.
  void (*add)(const RowPauli<T>&, const T* x, T* y, uint64_t begin, uint64_t end);
  /// sums[re, im][width] += conj(x) y.
  void (*inner)(size_t width, const T* x, const T* y, uint64_t begin, uint64_t end, T* sums);
  /// sums[width] += |x|^2.
  void (*norm)(size_t width, const T* x, RowSet set, uint64_t begin, uint64_t end, T* sums);
  /// sums[mask][width] += sum over rows of (-1)^parity(row & mask) times the real or imaginary part of
  /// conj(x[flipped]) x, for blocks of 2^bits rows. scratch: [2^bits] vectors.
  void (*correlate)(size_t width, const T* x, uint64_t row_flip, uint32_t lane_flip, bool imaginary, int bits,
                    uint64_t begin, uint64_t end, size_t masks, const uint64_t* mask, T* scratch, T* sums);
};

template <class T>
const RowKernels<T>& row_kernels();

}  // namespace quanta::simulate
