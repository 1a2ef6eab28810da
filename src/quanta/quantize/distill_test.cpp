#include "quanta/quantize/distill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/models/mini_nets.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using torch::Tensor;

/// conv(1 -> 1, weight 1) - BN with running mean 3 and variance 4 - 1e-6, in double precision.
Network one_conv() {
  Network net;
  net->batch_norm("bn", net->conv("conv", net->input(), Conv2dOptions::square(1, 1, 1)));
  net->to(torch::kFloat64);
  torch::NoGradGuard no_grad;
  net->nodes()[1].layer->weight.fill_(1);
  net->nodes()[2].batch_norm->running_mean.fill_(3);
  net->nodes()[2].batch_norm->running_var.fill_(4 - 1e-6);
  net->eval();
  return net;
}

/// Residual, with a batch normalization that follows no convolution.
Network branched(uint64_t seed) {
  torch::manual_seed(seed);
  Network net;
  const int x = net->input();
  const int a = net->relu("relu", net->batch_norm("bn1", net->conv("conv1", x, Conv2dOptions::square(3, 4, 3))));
  const int b = net->conv("conv2", a, Conv2dOptions::square(4, 4, 3));
  const int c = net->conv("conv3", a, Conv2dOptions::square(4, 2, 1));
  const int joined = net->concat("concat", {c, net->batch_norm("bn2", b)});
  const int y = net->relu("relu2", net->batch_norm("bn3", joined, int64_t{6}));
  net->linear("fc", net->flatten("flatten", net->global_avg_pool("pool", y)), 6, 2);
  torch::NoGradGuard no_grad;
  for (Tensor& parameter : net->parameters()) parameter.normal_();
  net->to(torch::kFloat64);
  net->eval();
  return net;
}

TEST(Distill, LossAndGradientOfOneConvolution) {
  const Network net = one_conv();
  const auto statistics = collect_bn_stats(net);
  const Tensor values = torch::tensor({0.3, -1.2, 2.5, 0.9}, torch::kFloat64).view({1, 1, 2, 2});
  const auto expected = [](const Tensor& x) {
    const double mean = x.mean().item<double>(), s = std::sqrt(x.var().item<double>() + 1e-6);
    return std::pow(mean - 3, 2) + std::pow(s - 2, 2) + mean * mean + std::pow(s - 1, 2);
  };
  const Tensor x = values.clone().requires_grad_();
  const Tensor loss = bn_matching_loss(net, statistics, x);
  EXPECT_NEAR(loss.item<double>(), expected(values), 1e-12);
  const Tensor gradient = torch::autograd::grad({loss}, {x})[0].flatten();
  for (int i = 0; i < 4; ++i) {
    const double h = 1e-5;
    Tensor up = values.clone(), down = values.clone();
    up.flatten()[i] += h;
    down.flatten()[i] -= h;
    const double difference = (expected(up) - expected(down)) / (2 * h);
    EXPECT_NEAR(gradient[i].item<double>(), difference, 1e-6 * std::abs(difference));
  }
  // Shifts of an image change the means alone, which are closest to 3 and 0 at 1.5.
  const Tensor centred = (values - values.mean() + 1.5).clone().requires_grad_();
  const Tensor at = torch::autograd::grad({bn_matching_loss(net, statistics, centred)}, {centred})[0];
  EXPECT_NEAR(at.sum().item<double>(), 0, 1e-12);
}

TEST(Distill, StatisticsOfAnImageAreAZero) {
  // Every batch normalization is given the statistics of one image at its own input, wherever that comes from.
  const Network net = branched(3);
  torch::manual_seed(5);
  const Tensor image = torch::randn({1, 3, 6, 6}, torch::kFloat64);
  {
    torch::NoGradGuard no_grad;
    for (const Node& wanted : net->nodes()) {
      if (wanted.op != Op::BatchNorm) continue;
      Tensor seen;
      Network(net)->run(image, [&](const Node& node, const auto& inputs, const Tensor&) {
        if (&node == &wanted) seen = inputs[0].flatten(2)[0].clone();
      });
      wanted.batch_norm->running_mean.copy_(seen.mean(1));
      wanted.batch_norm->running_var.copy_(seen.var(1, true));
    }
  }
  const auto statistics = collect_bn_stats(net);
  ASSERT_EQ(statistics.size(), 3u);
  EXPECT_EQ(statistics[2].name, "bn3");
  const Tensor x = image.repeat({5, 1, 1, 1}).requires_grad_();
  Tensor input_term;
  const Tensor loss = bn_matching_loss(net, statistics, x, &input_term);
  EXPECT_LE(std::abs((loss - input_term).item<double>()), 1e-8);
  EXPECT_GT(input_term.item<double>(), 1e-3);
  const Tensor all = torch::autograd::grad({loss}, {x}, {}, true)[0];
  const Tensor of_input = torch::autograd::grad({input_term}, {x})[0];
  EXPECT_LT((all - of_input).abs().max().item<double>(), 1e-8);
  // Two images whose statistics agree only together are no zero.
  const Tensor two = torch::cat({image + 1, image - 1});
  EXPECT_GT((bn_matching_loss(net, statistics, two) - 0).item<double>(), loss.item<double>() + 0.1);
}

TEST(Distill, LowersTheLossAndLeavesTheNetworkAlone) {
  Network net = res_mini({.seed = 4});
  torch::manual_seed(1);
  for (int i = 0; i < 20; ++i) net->forward(torch::randn({16, 3, 16, 16}));  // gives the statistics values
  net->eval();
  std::vector<Tensor> before;
  for (const auto& tensor : net->parameters()) before.push_back(tensor.detach().clone());
  for (const auto& tensor : net->buffers()) before.push_back(tensor.clone());
  const DistillOptions options{.batch = 8, .iterations = 60, .seed = 3};
  std::vector<double> history;
  const Tensor x = distill_data(net, {3, 16, 16}, options, &history);
  EXPECT_EQ(x.sizes(), (std::vector<int64_t>{8, 3, 16, 16}));
  EXPECT_FALSE(x.requires_grad());
  ASSERT_EQ(history.size(), 61u);
  EXPECT_LT(history.back(), history.front() / 5);
  std::vector<Tensor> after;
  for (const auto& tensor : net->parameters()) {
    after.push_back(tensor);
    EXPECT_FALSE(tensor.grad().defined());
    EXPECT_TRUE(tensor.requires_grad());
  }
  for (const auto& tensor : net->buffers()) after.push_back(tensor);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(before[i].equal(after[i]));
  EXPECT_TRUE(x.equal(distill_data(net, {3, 16, 16}, options)));
  // The loss that is reported last is that of what is returned.
  EXPECT_NEAR(bn_matching_loss(net, collect_bn_stats(net), x).item<double>(), history.back(), 1e-4);

  const Tensor more = distill_data(net, {3, 16, 16}, {.batch = 8, .batches = 2, .iterations = 60, .seed = 3});
  EXPECT_TRUE(more.slice(0, 0, 8).equal(x));
  EXPECT_FALSE(more.slice(0, 8).equal(x));
  history.clear();
  distill_data(net, {3, 16, 16}, {.batch = 8, .iterations = 500, .mode = DistillOptions::Mode::Recon}, &history);
  EXPECT_LE(history.back(), 5 * 10.0);
  EXPECT_LT(history.size(), 500u);
}

TEST(Distill, Starts) {
  const Tensor small = distill_init({3, 16, 16}, {.batch = 64});
  EXPECT_NEAR(small.std().item<double>(), std::sqrt((255.0 * 255 - 1) / 12) / 5418.75, 1e-4);
  EXPECT_NEAR(small.mean().item<double>(), -0.5 / 5418.75, 2e-4);
  const Tensor gaussian = distill_init({3, 16, 16}, {.batch = 64, .init = DistillOptions::Init::Gaussian});
  EXPECT_NEAR(gaussian.std().item<double>(), 1, 0.02);
}

TEST(Distill, MapsOfOnePixelUseTheBatch) {
  Network net;
  int x = net->conv("conv", net->input(), {.in = 3, .out = 4, .kernel = {4, 4}});
  net->batch_norm("bn", x);
  torch::NoGradGuard no_grad;
  net->nodes()[1].layer->weight.normal_();
  net->eval();
  const auto statistics = collect_bn_stats(net);
  torch::manual_seed(2);
  const Tensor images = torch::randn({6, 3, 4, 4});
  Tensor input_term;
  const Tensor loss = bn_matching_loss(net, statistics, images, &input_term);
  const Tensor h = torch::conv2d(images, net->nodes()[1].layer->weight).view({6, 4});
  const double expected =
      (h.mean(0).square() + ((h.var(0, true) + 1e-6).sqrt() - std::sqrt(1 + 1e-6)).square()).sum().item<double>();
  EXPECT_NEAR((loss - input_term).item<double>(), expected, 1e-3);
  EXPECT_THAT([&] { distill_data(net, {3, 4, 4}, {.batch = 1}); }, ThrowsMessage<Error>(HasSubstr("two images")));
}

TEST(Distill, BadInput) {
  Network plain;
  plain->conv("conv", plain->input(), Conv2dOptions::square(3, 4, 3));
  plain->eval();
  EXPECT_THAT(
      [&] {
        distill_data(plain, {3, 8, 8});
      },
      ThrowsMessage<Error>(HasSubstr("no batch-norm statistics to match")));
  Network net = res_mini();
  EXPECT_THAT([&] { distill_data(net, {3, 16, 16}); }, ThrowsMessage<Error>(HasSubstr("evaluation mode")));
  net->eval();
  EXPECT_THAT([&] { distill_data(net, {1, 16, 16}); }, ThrowsMessage<Error>(HasSubstr("cannot take images")));
  EXPECT_THAT([&] { distill_data(net, {3, 16}); }, ThrowsMessage<Error>(HasSubstr("[channels, height, width]")));
  net->nodes()[size_t(net->find("block2.bn1"))].batch_norm->running_mean[0] = NAN;
  EXPECT_THAT([&] { distill_data(net, {3, 16, 16}); }, ThrowsMessage<Error>(HasSubstr("'block2.bn1' are not finite")));
  Network untracked;
  Node bn{.name = "bn", .op = Op::BatchNorm, .inputs = {untracked->input()}};
  bn.batch_norm = torch::nn::BatchNorm2d(torch::nn::BatchNorm2dOptions(3).track_running_stats(false));
  untracked->add(bn);
  untracked->eval();
  EXPECT_THAT([&] { distill_data(untracked, {3, 8, 8}); }, ThrowsMessage<Error>(HasSubstr("stores no statistics")));
}

}  // namespace
}  // namespace quanta
