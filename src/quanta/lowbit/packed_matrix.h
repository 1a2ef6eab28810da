#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quanta/core/aligned.h"

namespace quanta {

/// How a product treats its float activations.
enum class Activations {
  /// As they are; products and sums in float32 ("W4A16" and its kin: any 16-bit float is a float32).
  Float,
  /// Every row's run of `group` activations is rounded to 8 bits first, symmetrically: with a = max |x| of the run,
  /// code = round_half_even(x * (127 / a)) stands for code * (a / 127); a run with a below 2^-100 is zero, one with a
  /// value that is not finite makes its row's outputs NaN. Products of a run are added up exactly, in integers
  /// ("W4A8").
  Int8,
};

/// A matrix of few-bit weights as its parts:
///   w[n, k] = scales[n, k / group] * (codes[n, k] - zeros[n, k / group])
/// and its product with activations x
///   y[m, n] = bias[n] + sum_k w[n, k] * x[m, order[k]].
struct PackedSource {
  int64_t outputs = 0, inputs = 0;
  int bits = 4;       ///< 2, 3, 4 or 8
  int64_t group = 0;  ///< inputs that share a scale, a multiple of 32; 0: all of them. The last may be shorter
  std::span<const uint8_t> codes{};  ///< [outputs, inputs], from 0 to 2^bits - 1
  std::span<const float> scales{};   ///< [outputs, groups]
  std::span<const float> zeros{};    ///< [outputs, groups], any finite values; empty: 2^(bits - 1)
  std::span<const float> bias{};     ///< [outputs] or empty
  std::span<const int32_t> order{};  ///< [inputs], a permutation ("act-order"), or empty
  int64_t groups() const { return group == 0 ? 1 : (inputs + group - 1) / group; }
};

/// Weights of 2, 3, 4 or 8 bits with a scale and a zero point a group, laid out once for products with one row of
/// activations and with hundreds.
///
/// Rows of the result are independent of each other, and results do not depend on the number of threads. With
/// Activations::Int8 a row's result does not depend on the other rows either.
class PackedMatrix {
 public:
  /// Throws Error for parts that do not fit each other or leave their ranges. Scales that are all half-precision
  /// numbers are kept in 16 bits, zeros that are all integers from 0 to 255 in 8; nothing is rounded.
  explicit PackedMatrix(const PackedSource& source);

  /// y [rows, outputs] from x [rows, inputs], on up to threads() threads.
  void multiply(const float* x, int64_t rows, float* y, Activations activations) const;

  /// The parts that it was made of.
  struct Parts {
    std::vector<uint8_t> codes;
    std::vector<float> scales, zeros, bias;  // zeros and bias are empty if they were
    std::vector<int32_t> order;
  };
  Parts unpack() const;
  /// The weights as numbers, [outputs, inputs], columns in the order of x.
  std::vector<float> dequantize() const;

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int bits() const { return bits_; }
  int64_t group() const { return group_; }  ///< as in PackedSource: 0 for all inputs
  bool has_bias() const { return !bias_.empty(); }
  size_t bytes() const;         ///< of all that is stored
  size_t weight_bytes() const;  ///< without bias and order: what a product reads of the weights

 private:
  void multiply_block(const float* x, int64_t rows, float* y, Activations activations) const;
  int64_t chunk(Activations activations) const;  // inputs that many rows take at a time
  int64_t panels() const;
  int64_t panel_bytes() const;                 // of codes
  size_t unit_at(int64_t n, int64_t k) const;  // where output n's codes from input k on begin
  int64_t groups() const { return padded_ / run_; }

  int64_t outputs_, inputs_;
  int bits_;
  int64_t group_;
  int64_t run_;                          // inputs of a group as stored, a multiple of 32
  int64_t padded_;                       // inputs as stored: groups * run_
  AlignedVector<uint8_t> codes_;         // [panel][group][unit], see packed_kernels.h
  AlignedVector<uint16_t> half_scales_;  // [panel][group][32], or
  AlignedVector<float> scales_;
  AlignedVector<uint8_t> zeros_;  // [panel][group][32], or
  AlignedVector<float> float_zeros_;
  AlignedVector<float> bias_;  // [panel][32]
  std::vector<int32_t> order_;
};

}  // namespace quanta
