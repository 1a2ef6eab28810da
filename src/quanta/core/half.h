#pragma once

#include <bit>
#include <cstdint>

namespace quanta {

/// Sixteen-bit floating-point numbers as their bits: IEEE binary16 ("half", F16) and bfloat16 (BF16), the upper half of
/// a float. To float is exact; from float rounds to nearest, ties to even, beyond the range to infinity. A NaN stays
/// one.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, rest = half & 0x7fff;
  if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  if (rest < 0x400) return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(float(rest) * 0x1p-24f));
  return std::bit_cast<float>(sign | ((rest << 13) + (112u << 23)));
}

inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), rest = bits & 0x7fffffff;
  const auto sign = uint16_t(bits >> 16 & 0x8000);
  if (rest > 0x7f800000) return sign | uint16_t(0x7e00 | (rest >> 13 & 0x3ff));
  if (rest >= 0x477ff000) return sign | 0x7c00;  // 65520 and above
  if (rest < 0x38800000)                         // the sum's last bit is worth 2^-24, as a subnormal half's is
    return sign | uint16_t(std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - std::bit_cast<uint32_t>(0.5f));
  return sign | uint16_t((rest + 0xfff + (rest >> 13 & 1) - (112u << 23)) >> 13);
}

inline float bfloat16_to_float(uint16_t value) {
  return std::bit_cast<float>(uint32_t(value) << 16);
}

inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace quanta
