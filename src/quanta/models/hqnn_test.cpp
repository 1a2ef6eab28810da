#include "quanta/models/hqnn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

int64_t count(const torch::nn::Module& module) {
  int64_t total = 0;
  for (const auto& p : module.parameters()) total += p.requires_grad() ? p.numel() : 0;
  return total;
}

TEST(Hqnn, ParameterCountsArePublishedOnes) {
  EXPECT_EQ(count(*HqnnParallel()), 45194);
  EXPECT_EQ(count(*HqnnParallel(HqnnParallelOptions{.post_bn = false})), 45154);
  EXPECT_EQ(count(*HqnnParallel()->circuits), 180);
  EXPECT_EQ(count(*HqnnParallel()->conv), 13344);
  EXPECT_EQ(count(*ClassicalTwin()), 372234);
  EXPECT_EQ(count(*MatchedCnn()), 45394);
  EXPECT_EQ(count(*HqnnQuanv()), 16 + 1970);
  EXPECT_EQ(count(*HqnnQuanv()->quanv), 16);
  EXPECT_EQ(count(*cnn1()), 517);
  EXPECT_EQ(count(*cnn1()->conv), 16 + 1);
  EXPECT_EQ(count(*cnn4()), 2038);
  EXPECT_EQ(count(*cnn4()->conv), 64 + 4);
  HqnnQuanvOptions frozen;
  frozen.quanv.trainable = false;
  EXPECT_EQ(count(*HqnnQuanv(frozen)), 1970);
}

TEST(Hqnn, LogitsForEveryDataSet) {
  const ImageShape cifar{3, 32, 32, 10}, medical{1, 64, 64, 6};
  const auto shape = [](auto model, const ImageShape& s) {
    return model->forward(torch::rand({2, s.channels, s.height, s.width})).sizes().vec();
  };
  using Sizes = std::vector<int64_t>;
  for (const auto& s : {ImageShape{}, cifar, medical}) {
    const Sizes expected{2, s.classes};
    EXPECT_EQ(shape(HqnnParallel(HqnnParallelOptions{.shape = s}), s), expected);
    EXPECT_EQ(shape(ClassicalTwin(ClassicalTwinOptions{.shape = s}), s), expected);
    EXPECT_EQ(shape(MatchedCnn(MatchedCnnOptions{.shape = s}), s), expected);
    EXPECT_EQ(shape(cnn1(s), s), expected);
    EXPECT_EQ(shape(cnn4(s), s), expected);
    EXPECT_EQ(shape(HqnnQuanv(HqnnQuanvOptions{.shape = s}), s), expected);
  }
  EXPECT_EQ(shape(HqnnParallel(HqnnParallelOptions{.shape = cifar, .channels = {64, 128, 128}}), cifar),
            (Sizes{2, 10}));
  EXPECT_EQ(conv_features(cifar, {16, 32}), 2048);
  EXPECT_EQ(conv_features(medical, {16, 32}), 8192);
}

TEST(Hqnn, SeedFixesTheStart) {
  const auto images = torch::rand({3, 1, 28, 28});
  const auto logits = [&](uint64_t seed) { return HqnnParallel(HqnnParallelOptions{.seed = seed})->forward(images); };
  EXPECT_TRUE(torch::equal(logits(1), logits(1)));
  EXPECT_FALSE(torch::equal(logits(1), logits(2)));
}

TEST(Hqnn, AngleRanges) {
  const auto images = torch::rand({8, 1, 28, 28});
  const auto angles = [&](const char* range) {
    return HqnnParallel(HqnnParallelOptions{.angle_range = parse_angle_range(range)})->angles(images);
  };
  EXPECT_GE(angles("relu").min().item<float>(), 0);
  EXPECT_TRUE(torch::allclose(angles("pi"), angles("relu") * std::numbers::pi));
  const auto tanh = angles("tanh");
  EXPECT_LT(tanh.min().item<float>(), 0);
  EXPECT_LE(tanh.abs().max().item<double>(), std::numbers::pi / 2 + 1e-6);
  EXPECT_THROW(parse_angle_range("sigmoid"), UsageError);
}

TEST(Hqnn, GradientReachesEveryParameter) {
  const auto images = torch::rand({8, 1, 28, 28});
  const auto check = [&](ImageClassifier& model) {
    torch::nn::functional::cross_entropy(model.forward(images), torch::arange(8)).backward();
    for (const auto& p : model.named_parameters()) {
      if (p.key().ends_with("bias")) continue;  // batch normalization takes away what a bias before it does
      EXPECT_GT(p.value().grad().abs().sum().item<double>(), 0) << model.name() << " " << p.key();
    }
  };
  check(*HqnnParallel(HqnnParallelOptions{.post_bn = false}));
  check(*HqnnQuanv());
  check(*ClassicalTwin());
}

TEST(Hqnn, BadInput) {
  HqnnParallel model;
  EXPECT_THAT([&] { model->forward(torch::rand({1, 1, 28, 28})); }, ThrowsMessage<Error>(HasSubstr("single sample")));
  model->eval();
  EXPECT_NO_THROW(model->forward(torch::rand({1, 1, 28, 28})));
  EXPECT_THAT(
      [&] {
        model->forward(torch::rand({2, 3, 28, 28}));
      },
      ThrowsMessage<Error>(HasSubstr("expected images [batch, 1, 28, 28], got [2, 3, 28, 28]")));
  EXPECT_THAT(
      [] {
        HqnnParallel(HqnnParallelOptions{.shape = {1, 4, 4, 10}, .channels = {4, 4, 4}});
      },
      ThrowsMessage<Error>(HasSubstr("too small")));
  HqnnQuanvOptions wide;
  wide.quanv.kernel = 4;
  EXPECT_THAT([&] { HqnnQuanv{wide}; }, ThrowsMessage<Error>(HasSubstr("16 qubits")));
}

}  // namespace
}  // namespace quanta
