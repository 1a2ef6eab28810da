#include "quanta/core/random.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace quanta {
namespace {

using testing::ElementsAre;

TEST(Random, PhiloxKnownAnswers) {  // Random123's kat_vectors
  EXPECT_THAT(philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr uint32_t ones = 0xffffffff;
  EXPECT_THAT(philox4x32({ones, ones, ones, ones}, {ones, ones}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(Random, StreamIsPhiloxOfSeedStreamAndPosition) {
  Random random(0x299f31d0a4093822, 0x0370734413198a2e);
  random.seek(4 * 0x05a308d3243f6a88 + 1);  // the position has 62 bits of block
  const auto block = philox4x32({0x243f6a88, 0x05a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
  EXPECT_EQ(random(), block[1]);
  EXPECT_EQ(random(), block[2]);
  EXPECT_EQ(Random(0)(), 0x6627e8d5u);
}

TEST(Random, SeekResumesExactly) {
  Random whole(5, 9);
  std::vector<uint32_t> words(23);
  for (auto& word : words) word = whole();
  EXPECT_EQ(whole.position(), 23u);
  for (uint64_t start = 0; start < words.size(); ++start) {
    Random random(5, 9);
    random.seek(start);
    for (size_t i = start; i < words.size(); ++i) EXPECT_EQ(random(), words[i]) << start << " " << i;
  }
  Random random(1);
  random.normal();
  Random resumed(1);
  resumed.seek(random.position());
  EXPECT_EQ(random.normal(), resumed.normal());
}

TEST(Random, SplitStreamsAreEqualOnlyForEqualNames) {
  const Random root(3);
  std::set<uint64_t> seen;
  const auto first = [](Random random) { return random.bits64(); };
  int count = 0;
  const auto add = [&](const Random& random) {
    seen.insert(first(random));
    ++count;
  };
  add(root);
  add(Random(4));
  for (uint64_t i = 0; i < 300; ++i) {
    add(root.split(i));
    for (uint64_t j = 0; j < 30; ++j) add(root.split(i).split(j));
  }
  for (const char* name : {"", "data", "atad", "weights"}) add(root.split(name));
  EXPECT_EQ(int(seen.size()), count);
  EXPECT_EQ(first(root.split("data")), first(Random(3).split("data")));
  Random used(3);
  used();
  EXPECT_EQ(first(used.split(7)), first(root.split(7)));  // whatever was drawn before
}

TEST(Random, SplitStreamsAreUncorrelated) {
  constexpr int n = 1 << 15;
  for (auto [a, b] :
       {std::pair{Random(1).split(0), Random(1).split(1)}, {Random(1), Random(1).split(0)}, {Random(1), Random(2)}}) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += a.normal() * b.normal();
    EXPECT_LT(std::abs(sum / std::sqrt(n)), 4);  // 4 standard deviations
  }
}

TEST(Random, UniformMoments) {
  Random random(11);
  constexpr int n = 1 << 18;
  double sum = 0, squares = 0, least = 1, greatest = 0;
  std::vector<int> bins(64);
  for (int i = 0; i < n; ++i) {
    const double x = random.uniform();
    sum += x;
    squares += x * x;
    least = std::min(least, x);
    greatest = std::max(greatest, x);
    ++bins[size_t(x * 64)];
  }
  EXPECT_GE(least, 0);
  EXPECT_LT(greatest, 1);
  EXPECT_NEAR(sum / n, 0.5, 4 * std::sqrt(1. / 12 / n));
  EXPECT_NEAR(squares / n, 1. / 3, 4 * std::sqrt(4. / 45 / n));
  double chi_squared = 0;
  for (int count : bins) chi_squared += std::pow(count - n / 64., 2) / (n / 64.);
  EXPECT_LT(chi_squared, 63 + 4 * std::sqrt(2. * 63));
  for (int i = 0; i < 1000; ++i) {
    const double x = random.uniform(-3, -2);
    EXPECT_TRUE(-3 <= x && x < -2) << x;
  }
}

TEST(Random, NormalMoments) {
  Random random(12);
  constexpr int n = 1 << 18;
  double moment[5] = {};
  int beyond = 0;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    for (int k = 1; k <= 4; ++k) moment[k] += std::pow(x, k) / n;
    beyond += std::abs(x) > 2;
  }
  EXPECT_NEAR(moment[1], 0, 4 / std::sqrt(n));
  EXPECT_NEAR(moment[2], 1, 4 * std::sqrt(2. / n));
  EXPECT_NEAR(moment[3], 0, 4 * std::sqrt(15. / n));
  EXPECT_NEAR(moment[4], 3, 4 * std::sqrt(96. / n));
  EXPECT_NEAR(beyond / double(n), std::erfc(std::sqrt(2)), 4 * std::sqrt(0.0455 / n));
}

TEST(Random, BelowIsUnbiasedAndInRange) {
  Random random(13);
  std::vector<int> counts(7);
  constexpr int n = 70'000;
  for (int i = 0; i < n; ++i) ++counts.at(random.below(7));
  for (int count : counts) EXPECT_NEAR(count, n / 7., 5 * std::sqrt(n / 7.));
  EXPECT_EQ(random.below(1), 0u);
  // With 3 * 2^62 a plain remainder would fall below 2^62 half of the time, not a third.
  const uint64_t bound = uint64_t{3} << 62;
  int low = 0;
  for (int i = 0; i < 9000; ++i) {
    const uint64_t x = random.below(bound);
    EXPECT_LT(x, bound);
    low += x < bound / 3;
  }
  EXPECT_NEAR(low, 3000, 5 * std::sqrt(2000));
}

TEST(Random, PermutationsAreEquallyLikely) {
  Random random(14);
  std::map<std::vector<int64_t>, int> counts;
  for (int i = 0; i < 24'000; ++i) ++counts[random.permutation(4)];
  EXPECT_EQ(counts.size(), 24u);
  for (const auto& [order, count] : counts) {
    EXPECT_TRUE(std::ranges::is_permutation(order, std::vector<int64_t>{0, 1, 2, 3}));
    EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000));
  }
  EXPECT_TRUE(random.permutation(0).empty());
  EXPECT_THAT(random.permutation(1), ElementsAre(0));
}

}  // namespace
}  // namespace quanta
