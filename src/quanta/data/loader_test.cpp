#include "quanta/data/loader.h"

#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

TEST(BatchOrder, VisitsEverySampleOnce) {
  const BatchOrder order(103, {.batch = 20});
  EXPECT_EQ(order.batches(), 6);
  const auto batches = order.epoch(0);
  ASSERT_EQ(batches.size(), 6u);
  EXPECT_EQ(batches[0].size(0), 20);
  EXPECT_EQ(batches[5].size(0), 3);
  const auto all = torch::cat(batches);
  EXPECT_FALSE(all.equal(torch::arange(103)));
  EXPECT_TRUE(std::get<0>(all.sort()).equal(torch::arange(103)));
}

TEST(BatchOrder, IsAFunctionOfSeedAndEpoch) {
  const BatchOrder a(50, {.batch = 10, .seed = 1}), b(50, {.batch = 10, .seed = 1}), c(50, {.batch = 10, .seed = 2});
  a.epoch(0);  // what was asked for before must not matter
  EXPECT_TRUE(torch::cat(a.epoch(7)).equal(torch::cat(b.epoch(7))));
  EXPECT_FALSE(torch::cat(a.epoch(7)).equal(torch::cat(a.epoch(8))));
  EXPECT_FALSE(torch::cat(a.epoch(7)).equal(torch::cat(c.epoch(7))));
}

TEST(BatchOrder, Options) {
  EXPECT_EQ(BatchOrder(103, {.batch = 20, .drop_last = true}).epoch(0).size(), 5u);
  EXPECT_EQ(BatchOrder(100, {.batch = 20}).batches(), 5);
  EXPECT_EQ(BatchOrder(100, {.batch = 20, .drop_last = true}).batches(), 5);
  EXPECT_TRUE(torch::cat(BatchOrder(9, {.batch = 4, .shuffle = false}).epoch(3)).equal(torch::arange(9)));
}

TEST(BatchOrder, BadInput) {
  EXPECT_THAT(error_of([] { BatchOrder(0, {}); }), HasSubstr("no samples"));
  EXPECT_THAT(error_of([] { BatchOrder(5, {.batch = 0}); }), HasSubstr("batch size"));
  EXPECT_THAT(error_of([] { BatchOrder(5, {.batch = 6, .drop_last = true}); }),
              HasSubstr("do not fill one batch of 6"));
  EXPECT_THAT(error_of([] { BatchOrder(5, {}).epoch(-1); }), HasSubstr("count from 0"));
}

}  // namespace
}  // namespace quanta
