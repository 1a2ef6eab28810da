#include "quanta/train/images.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numbers>

#include "quanta/core/error.h"
#include "quanta/nn/init.h"

namespace quanta {
namespace {

/// Images that are bright on the left (class 0) or on the right (class 1).
ImageSet halves(int64_t n, uint64_t seed) {
  torch::manual_seed(seed);
  auto labels = torch::arange(n) % 2;
  auto images = torch::randint(0, 60, {n, 1, 6, 6});
  for (int64_t i = 0; i < n; ++i) images[i].slice(2, i % 2 * 3, i % 2 * 3 + 3) += 120;
  return {.name = "halves",
          .images = images.to(torch::kUInt8),
          .labels = labels,
          .classes = {"left", "right"},
          .source = "generated"};
}

Network small_net() {
  Network net;
  int x = net->relu("relu", net->batch_norm("bn", net->conv("conv", net->input(), Conv2dOptions::square(1, 4, 3))));
  net->linear("fc", net->flatten("flatten", x), 4 * 36, 2);
  torch::manual_seed(1);
  for (auto& p : net->parameters())
    if (p.dim() > 1) torch::nn::init::kaiming_normal_(p);
  return net;
}

TEST(TrainImages, LearnsWhatIsEasy) {
  const ImageSet train = halves(64, 1), test = halves(40, 2);
  const auto normalization = Normalization::measure(train);
  Network net = small_net();
  const History history = train_images(net, train, test, normalization, {.epochs = 5, .batch = 16, .rate = 0.05});
  EXPECT_EQ(history.epochs.size(), 5u);
  EXPECT_DOUBLE_EQ(evaluate_images(net, test, normalization).accuracy, 1);
}

// Black images give the weights no gradient, so only decay moves them: w *= product of (1 - rate_t * decay), and
// nothing that is not a weight decays.
TEST(TrainImages, DecaysWeightsAlongTheSchedule) {
  ImageSet black = halves(40, 3);
  black.images.zero_();
  const Normalization identity{.mean = {0}, .standard_deviation = {1}};
  Network net;
  net->linear("fc", net->flatten("flatten", net->input()), 36, 2);
  torch::manual_seed(4);
  const auto parameters = net->named_parameters();
  torch::Tensor w = parameters["fc.weight"];
  {
    const torch::NoGradGuard no_grad;
    w.normal_();
  }
  const auto before = w.detach().clone();
  train_images(
      net, black, {}, identity,
      {.epochs = 2, .batch = 10, .rate = 0.5, .momentum = 0, .weight_decay = 0.1, .warmup = 0.25, .nesterov = false});
  double factor = 1;
  for (int step = 0; step < 8; ++step) {  // 2 epochs of 4 batches, 2 of them warm-up
    const double rate = step < 2 ? (step + 1) / 3.0 : 0.5 + 0.5 * std::cos(std::numbers::pi * (step - 2) / 6.0);
    factor *= 1 - 0.5 * rate * 0.1;
  }
  EXPECT_LT((w.detach() - before * factor).abs().max().item<double>(), 1e-6);
}

TEST(TrainImages, RefusesAWarmUpOfEverything) {
  EXPECT_THAT(
      [&] {
        train_images(small_net(), halves(8, 1), {}, {{0}, {1}}, {.warmup = 1});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("share in [0, 1)")));
}

}  // namespace
}  // namespace quanta
