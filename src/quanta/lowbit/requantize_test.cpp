#include "quanta/lowbit/requantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/lowbit/every_target.h"
#include "quanta/lowbit/kernels.h"

namespace quanta {
namespace {

TEST(FixedPoint, HasTheWhitepapersExample) {
  const FixedPoint m = fixed_point(0.02 * 0.0078125 / 0.05);
  EXPECT_EQ(m.multiplier, 1717986918);
  EXPECT_EQ(m.shift, 8);
  EXPECT_EQ(high_multiply(12345, m.multiplier), 9876);
  EXPECT_EQ(scale_accumulator(12345, m), 39);
}

TEST(FixedPoint, IsTheFactorToWithin31Bits) {
  Random random(1);
  for (int i = 0; i < 10000; ++i) {
    const double factor = std::exp2(random.uniform(-31.5, 30.5));
    const FixedPoint m = fixed_point(factor);
    ASSERT_GE(m.multiplier, 1 << 30);
    ASSERT_NEAR(std::ldexp(m.multiplier, -31 - m.shift), factor, factor * 0x1p-31);
  }
  EXPECT_EQ(fixed_point(1), (FixedPoint{1 << 30, -1}));
  EXPECT_EQ(fixed_point(std::nextafter(0.5, 0)), (FixedPoint{1 << 30, 0}));  // rounds up to a power of two
  EXPECT_EQ(fixed_point(1e-30), (FixedPoint{1 << 30, 31}));
}

TEST(FixedPoint, RefusesWhatIsNoFactor) {
  for (const double factor : {0.0, -1.0, 0x1p31, std::nan(""), std::numeric_limits<double>::infinity()})
    EXPECT_THROW(fixed_point(factor), Error);
}

// Floors of exact integers, from the definition.
int64_t reference(int64_t acc, const FixedPoint& m) {
  const auto floor_shift = [](__int128 x, int n) {
    return int64_t(x >= 0 ? x >> n : -((-x + ((__int128{1} << n) - 1)) >> n));
  };
  if (m.shift < 0)
    acc = std::clamp<int64_t>(acc * (int64_t{1} << -m.shift), std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max());
  const int64_t high = floor_shift(__int128{acc} * m.multiplier + (__int128{1} << 30), 31);
  if (m.shift <= 0) return high;
  const int64_t magnitude = floor_shift(__int128{std::abs(high)} + (__int128{1} << (m.shift - 1)), m.shift);
  return high < 0 ? -magnitude : magnitude;
}

std::vector<int32_t> accumulators(Random& random) {
  std::vector<int32_t> all{0,
                           1,
                           -1,
                           2,
                           -2,
                           std::numeric_limits<int32_t>::max(),
                           std::numeric_limits<int32_t>::min(),
                           std::numeric_limits<int32_t>::min() + 1};
  for (int n = 0; n < 31; ++n)
    for (const int d : {-1, 0, 1})
      for (const int sign : {-1, 1}) all.push_back(sign * ((1 << n) + d));
  for (int i = 0; i < 500; ++i) all.push_back(int32_t(random()) >> random.below(32));
  return all;
}

std::vector<FixedPoint> factors(Random& random) {
  std::vector<FixedPoint> all;
  for (int shift = -8; shift <= 31; ++shift)
    for (const int32_t m : {1 << 30, (1 << 30) + 1, 3 << 29, std::numeric_limits<int32_t>::max(),
                            int32_t((1u << 30) + random.below(1u << 30))})
      all.push_back({m, shift});
  return all;
}

TEST(ScaleAccumulator, EqualsExactIntegers) {
  Random random(2);
  for (const FixedPoint& m : factors(random))
    for (const int32_t acc : accumulators(random))
      ASSERT_EQ(scale_accumulator(acc, m), reference(acc, m)) << acc << " * " << m.multiplier << " >> " << m.shift;
}

TEST(ScaleAccumulator, SaturatesTheOneProductThatDoesNotFit) {
  constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();
  EXPECT_EQ(high_multiply(kLowest, kLowest), std::numeric_limits<int32_t>::max());
}

TEST(Requantize, EverySetGivesTheDefinitionsBits) {
  Random random(3);
  const auto acc = accumulators(random);
  std::vector<uint8_t> out(acc.size());
  testing::for_every_target([&] {
    for (const FixedPoint& m : factors(random)) {
      if (m.shift < 2) continue;
      for (const auto& [zero_point, clamp] : {std::pair(0, CodeRange{0, 255}), std::pair(128, CodeRange{0, 255}),
                                              std::pair(17, CodeRange{17, 200}), std::pair(255, CodeRange{3, 255})}) {
        const lowbit::OutputStage stage{.rectified = clamp.low >= zero_point, .zero_point = zero_point, .clamp = clamp};
        lowbit::kernels().requantize(acc.data(), acc.size(), m, stage, out.data());
        for (size_t i = 0; i < acc.size(); ++i) {
          const int64_t expected = std::clamp<int64_t>(reference(acc[i], m) + zero_point, clamp.low, clamp.high);
          ASSERT_EQ(out[i], expected) << acc[i] << " * " << m.multiplier << " >> " << m.shift << " + " << zero_point;
        }
      }
    }
  });
}

TEST(AffineU8, HasTheWhitepapersExample) {
  const AffineU8 q{.scale = 4.0f / 255, .zero_point = 64};
  EXPECT_EQ(quantize(0, q), 64);
  EXPECT_EQ(dequantize(64, q), 0);
  EXPECT_EQ(quantize(1, q), 128);
  EXPECT_NEAR(dequantize(128, q), 1.0039216, 1e-6);
  EXPECT_EQ(quantize(3, q), 255);
  EXPECT_EQ(quantize(5, q), 255);
  EXPECT_EQ(quantize(-1, q), 0);
  EXPECT_NEAR(dequantize(0, q), -1.0039216, 1e-6);
  EXPECT_EQ(quantize(7, {.scale = 1, .zero_point = 3, .max_code = 9}), 9);
  EXPECT_EQ(quantize(2.5, {.scale = 1}), 2);  // half to even
  EXPECT_EQ(quantize(3.5, {.scale = 1}), 4);
}

}  // namespace
}  // namespace quanta
