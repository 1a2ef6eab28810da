#include "quanta/models/mini_nets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace quanta {
namespace {

using ::testing::ElementsAre;

int64_t parameters(const torch::nn::Module& net) {
  int64_t count = 0;
  for (const auto& parameter : net.parameters()) count += parameter.numel();
  return count;
}

std::vector<int64_t> weights(const Network& net) {
  std::vector<int64_t> sizes;
  for (const auto& [name, layer] : quantizable_layers(*net)) sizes.push_back(layer->weight.numel());
  return sizes;
}

TEST(MiniNets, SizesAreTheSpecifiedOnes) {
  const Network mini = res_mini(), mini2 = res_mini2(), mobile = micro_mobile();
  EXPECT_EQ(parameters(*mini), 78042);
  EXPECT_THAT(weights(mini), ElementsAre(432, 2304, 2304, 4608, 9216, 512, 18432, 36864, 2048, 640));
  EXPECT_EQ(parameters(*mobile), 10762);
  std::map<std::string, int64_t> blocks;
  for (const auto& node : mini2->nodes())
    if (node.layer) blocks[node.block] += node.layer->weight.numel();
  EXPECT_THAT(blocks, ElementsAre(std::pair("block1", 4608), std::pair("block2", 4608), std::pair("block3", 14336),
                                  std::pair("block4", 18432), std::pair("block5", 57344), std::pair("block6", 73728),
                                  std::pair("fc", 640), std::pair("stem", 432)));
}

TEST(MiniNets, ShapesOfTheOutputs) {
  torch::NoGradGuard no_grad;
  EXPECT_EQ(res_mini()->forward(torch::zeros({2, 3, 16, 16})).sizes(), (std::vector<int64_t>{2, 10}));
  EXPECT_EQ(micro_mobile(8, {.channels = 1, .classes = 4})->forward(torch::zeros({2, 1, 28, 28})).sizes(),
            (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(mini_detector(3, {.classes = 5})->forward(torch::zeros({2, 3, 32, 32})).sizes(),
            (std::vector<int64_t>{2, 27, 8, 8}));
}

TEST(MiniNets, StartDependsOnTheSeedAlone) {
  const auto first = [](uint64_t seed) { return res_mini({.seed = seed})->parameters()[0]; };
  EXPECT_TRUE(first(1).equal(first(1)));
  EXPECT_FALSE(first(1).equal(first(2)));
}

}  // namespace
}  // namespace quanta
