#include "quanta/quantize/study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"

namespace quanta {
namespace {

TEST(FactorStudy, TellsWhatMattersFromChance) {
  int calls = 0;
  const auto measure = [&](const std::vector<std::string>& changes, uint64_t seed) {
    ++calls;
    double value = 1 + 0.1 * double(seed);  // seeds 0, 1, 2: deviation 0.1
    for (const auto& change : changes) {
      if (change == "a=2") value += 0.05;
      if (change == "b=2") value -= 0.5;
      if (change == "b=3") value += 1;
    }
    return value;
  };
  const auto results = factor_study({{"a", {"", "a=2"}}, {"b", {"", "b=2", "b=3", "a=2 b=3"}}}, {0, 1, 2}, measure);
  EXPECT_EQ(calls, 3 * 5);  // the base is measured once
  ASSERT_EQ(results.size(), 2u);
  EXPECT_TRUE(results[0].robust);
  EXPECT_NEAR(results[0].spread, 0.05, 1e-12);
  EXPECT_NEAR(results[0].deviation, 0.1, 1e-12);
  EXPECT_EQ(results[0].best, 0u);
  EXPECT_EQ(results[0].options[0].text, "base");
  EXPECT_FALSE(results[1].robust);
  EXPECT_NEAR(results[1].spread, 1.55, 1e-12);
  EXPECT_EQ(results[1].best, 1u);
  EXPECT_NEAR(results[1].options[1].mean, 0.6, 1e-12);
  EXPECT_NEAR(results[1].options[3].mean, 2.15, 1e-12);
}

TEST(FactorStudy, Errors) {
  using testing::HasSubstr;
  using testing::ThrowsMessage;
  const auto one = [](const auto&, uint64_t) { return 1.0; };
  EXPECT_THAT([&] { factor_study({{"a", {""}}}, {0}, one); }, ThrowsMessage<Error>(HasSubstr("two seeds")));
  EXPECT_THAT([&] { factor_study({{"a", {}}}, {0, 1}, one); }, ThrowsMessage<Error>(HasSubstr("no options")));
  EXPECT_THAT(
      [&] {
        factor_study({{"a", {""}}}, {0, 1}, [](const auto&, uint64_t) { return std::nan(""); });
      },
      ThrowsMessage<Error>(HasSubstr("gives nan")));
}

}  // namespace
}  // namespace quanta
