#include "quanta/core/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quanta {
namespace {

// The value of a half by the definition of binary16.
double value_of(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 0x3ff;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, EveryHalfKeepsItsValue) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = uint16_t(h);
    const float value = half_to_float(half);
    if ((half & 0x7c00) == 0x7c00) {
      EXPECT_EQ(std::isnan(value), (half & 0x3ff) != 0);
      EXPECT_EQ(std::isinf(value), (half & 0x3ff) == 0);
      EXPECT_EQ(std::signbit(value), half >= 0x8000);
      if (std::isnan(value))
        EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value))));
      else
        EXPECT_EQ(float_to_half(value), half);
      continue;
    }
    EXPECT_EQ(double(value), value_of(half));
    EXPECT_EQ(float_to_half(value), half);
  }
}

// Between two neighbours the nearer, in the middle the even one; checked at, just below and just above every middle.
TEST(Half, RoundsToTheNearestAndTiesToEven) {
  for (uint16_t half = 0; half < 0x7c00; ++half) {
    const double low = value_of(half), high = half == 0x7bff ? 65536 : value_of(half + 1);
    const auto middle = float((low + high) / 2);
    EXPECT_EQ(float_to_half(middle), half & 1 ? half + 1 : half) << half;
    EXPECT_EQ(float_to_half(std::nextafterf(middle, 0)), half);
    EXPECT_EQ(float_to_half(std::nextafterf(middle, 1e6f)), half + 1);
    EXPECT_EQ(float_to_half(-middle), (half & 1 ? half + 1 : half) | 0x8000);
  }
  EXPECT_EQ(float_to_half(1e30f), 0x7c00);
  EXPECT_EQ(float_to_half(-INFINITY), 0xfc00);
  EXPECT_EQ(float_to_half(1e-30f), 0);
}

TEST(Half, BrainFloatsAreTheUpperHalf) {
  for (uint32_t b = 0; b < 0x10000; ++b) {
    const auto bits = uint16_t(b);
    const float value = bfloat16_to_float(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(value))));
      continue;
    }
    EXPECT_EQ(float_to_bfloat16(value), bits);
    if ((bits & 0x7fff) >= 0x7f7f) continue;
    const double next = bfloat16_to_float(bits + 1);
    const auto middle = float((double(value) + next) / 2);
    EXPECT_EQ(float_to_bfloat16(middle), bits & 1 ? bits + 1 : bits);
    EXPECT_EQ(float_to_bfloat16(std::nextafterf(middle, value)), bits);
    EXPECT_EQ(float_to_bfloat16(std::nextafterf(middle, float(next))), bits + 1);
  }
  EXPECT_EQ(float_to_bfloat16(3.4028235e38f), 0x7f80);
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace quanta
