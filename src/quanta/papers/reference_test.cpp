#include "quanta/papers/reference.h"

#include <gtest/gtest.h>

#include "quanta/core/temporary_folder.h"

namespace quanta {
namespace {

Network tiny() {
  Network net;
  net->linear("fc", net->flatten("flatten", net->input()), 16, 2);
  return net;
}

TEST(Reference, IsTrainedOnceAndTakenFromTheFolder) {
  const testing::TemporaryFolder folder;
  torch::manual_seed(0);
  const auto labels = torch::arange(32) % 2;
  const ImageSet set{
      .name = "signs",
      .images = (labels.view({-1, 1, 1, 1}) * 200 + 20).expand({32, 1, 4, 4}).to(torch::kUInt8).contiguous(),
      .labels = labels,
      .classes = {"dark", "bright"},
      .source = "generated"};
  const Normalization normalization{.mean = {0.5}, .standard_deviation = {0.5}};
  RunContext context{.out = folder.path()};
  const auto get = [&] {
    return reference_network("net", tiny(), {set, set}, normalization, {.epochs = 2, .batch = 8}, context);
  };
  Reference first = get();
  EXPECT_EQ(first.history.epochs.size(), 2u);
  EXPECT_FALSE(first.net->is_training());
  context.resume = true;
  Reference again = get();
  EXPECT_TRUE(again.history.epochs.empty());
  EXPECT_TRUE(torch::equal(first.net->parameters()[0], again.net->parameters()[0]));
}

}  // namespace
}  // namespace quanta
