#include "quanta/papers/statistics.h"

#include <gtest/gtest.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

TEST(Statistics, MeanAndDeviation) {
  EXPECT_DOUBLE_EQ(mean({1, 2, 6}), 3);
  EXPECT_DOUBLE_EQ(standard_deviation({1, 2, 6}), std::sqrt(7.0));
  EXPECT_EQ(standard_deviation({4}), 0);
  EXPECT_EQ(percent({0.5}), "50.00 %");
  EXPECT_EQ(percent({0.5, 0.52}), "51.00 ± 1.41 %");
  EXPECT_THROW(mean({}), Error);
}

TEST(Statistics, SignFlips) {
  // All differences have one sign: only the two extreme of 2^n flips are as large.
  EXPECT_DOUBLE_EQ(paired_p_value({2, 3, 4, 5}, {1, 1, 1, 1}), 2.0 / 16);
  EXPECT_DOUBLE_EQ(paired_p_value({1, 1}, {1, 1}), 1);
  // Differences 3, 1, -1: |sum| is 3; of the sums 3 5 1 3 (and their negatives) three are at least 3.
  EXPECT_DOUBLE_EQ(paired_p_value({3, 1, 0}, {0, 0, 1}), 6.0 / 8);
  EXPECT_THROW(paired_p_value({1}, {1, 2}), Error);
}

}  // namespace
}  // namespace quanta
