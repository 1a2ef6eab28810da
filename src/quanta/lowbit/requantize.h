#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "quanta/core/error.h"

namespace quanta {

/// How the 8-bit codes of one activation tensor stand for real numbers: real = scale * (code - zero_point), with codes
/// from 0 to max_code (15 for 4-bit activations). A signed symmetric grid [-128, 127] is zero_point 128 here.
struct AffineU8 {
  float scale = 1;
  int zero_point = 0;
  int max_code = 255;
  bool operator==(const AffineU8&) const = default;
};

/// clamp(round(x / scale) + zero_point, 0, max_code), rounded half to even.
inline uint8_t quantize(float x, const AffineU8& to) {
  const float code = std::nearbyint(x / to.scale);
  return uint8_t(int(std::clamp(code, float(-to.zero_point), float(to.max_code - to.zero_point))) + to.zero_point);
}

inline float dequantize(uint8_t code, const AffineU8& from) {
  return from.scale * float(int(code) - from.zero_point);
}

/// A positive real factor as integers, multiplier * 2^(-31 - shift), with multiplier in [2^30, 2^31): the product of an
/// accumulator with it needs no floating point (Krishnamoorthi, arXiv 1806.08342; Jacob et al., arXiv 1712.05877).
struct FixedPoint {
  int32_t multiplier = int32_t{1} << 30;
  int shift = -1;  // below 0: the accumulator is shifted left first
  bool operator==(const FixedPoint&) const = default;
};

/// Throws Error unless 0 < factor < 2^31. A factor below 2^-32, which takes every accumulator to zero, counts as 2^-32.
inline FixedPoint fixed_point(double factor) {
  require(std::isfinite(factor) && factor > 0 && factor < 0x1p31,
          "a requantization factor must be positive and below 2^31, got {}; look at the scales of the layer's tensors",
          factor);
  int exponent = 0;
  const double mantissa = std::frexp(std::max(factor, 0x1p-32), &exponent);  // in [0.5, 1)
  const int64_t multiplier = std::llrint(std::ldexp(mantissa, 31));
  if (multiplier == int64_t{1} << 31) return {int32_t{1} << 30, -exponent - 1};
  return {int32_t(multiplier), -exponent};
}

/// (a * b + 2^30) >> 31: the upper half of twice the product, rounded half up; saturates the one product that does not
/// fit, (-2^31)^2.
inline int32_t high_multiply(int32_t a, int32_t b) {
  if (a == b && a == std::numeric_limits<int32_t>::min()) return std::numeric_limits<int32_t>::max();
  return int32_t((int64_t{a} * b + (int64_t{1} << 30)) >> 31);
}

/// x / 2^n rounded half away from zero; n from 0 to 31.
inline int32_t rounding_shift_right(int32_t x, int n) {
  if (n == 0) return x;
  const int64_t half = int64_t{1} << (n - 1);
  return int32_t((x + half - (x < 0)) >> n);
}

/// accumulator * factor as integer arithmetic defines it: the oracle of every vectorized kernel.
inline int32_t scale_accumulator(int32_t accumulator, const FixedPoint& factor) {
  if (factor.shift >= 0) return rounding_shift_right(high_multiply(accumulator, factor.multiplier), factor.shift);
  const int64_t shifted = std::clamp<int64_t>(int64_t{accumulator} << -factor.shift,
                                              std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max());
  return high_multiply(int32_t(shifted), factor.multiplier);
}

/// The code of a layer's output: clamp(zero_point + accumulator * factor, low, high).
inline uint8_t requantize(int32_t accumulator, const FixedPoint& factor, int zero_point, int low = 0, int high = 255) {
  return uint8_t(std::clamp<int64_t>(int64_t{scale_accumulator(accumulator, factor)} + zero_point, low, high));
}

}  // namespace quanta
