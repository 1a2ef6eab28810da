#include "quanta/quantize/sensitivity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/models/mini_nets.h"
#include "quanta/quantize/uniform.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using torch::Tensor;

Network calibrated(Network net, int64_t channels = 3) {
  torch::manual_seed(1);
  for (int i = 0; i < 5; ++i) net->forward(torch::randn({8, channels, 8, 8}));
  net->eval();
  return net;
}

TEST(Divergence, SpecifiedValues) {
  const Tensor half = torch::zeros({1, 2}), nine = torch::tensor({{std::log(0.9), std::log(0.1)}}, torch::kFloat64);
  EXPECT_NEAR(divergence(Divergence::Kl, half.to(torch::kFloat64), nine), 0.5108256, 1e-7);
  EXPECT_NEAR(divergence(Divergence::Kl, nine, half.to(torch::kFloat64)),
              0.9 * std::log(0.9 / 0.5) + 0.1 * std::log(0.1 / 0.5), 1e-12);  // not symmetric
  // An event of probability 1/2 against one of 0.9: the same distributions.
  EXPECT_NEAR(divergence(Divergence::BernoulliKl, torch::zeros({1, 1}), torch::full({1, 1}, std::log(9.0))), 0.5108256,
              1e-6);
  EXPECT_NEAR(divergence(Divergence::Mse, torch::zeros({2, 2}), torch::full({2, 2}, 3.0)), 9, 1e-12);
  // The mean over samples, and shifts of all logits change nothing.
  const Tensor two = torch::cat({nine, nine + 5});
  EXPECT_NEAR(divergence(Divergence::Kl, torch::zeros({2, 2}, torch::kFloat64), two), 0.5108256, 1e-7);
  EXPECT_THAT([&] { divergence(Divergence::Kl, half, two); }, ThrowsMessage<Error>(HasSubstr("shapes")));
}

TEST(LayerSensitivity, QuantizesOneLayerAtATime) {
  Network net = calibrated(res_mini());
  torch::manual_seed(7);
  const Tensor data = torch::randn({10, 3, 8, 8});
  const auto table = layer_sensitivity(net, data, {.bits = {2, 4, 8}, .batch = 4});
  ASSERT_EQ(table.names.size(), 10u);
  EXPECT_EQ(table.names[5], "block2.downsample.0");
  EXPECT_EQ(table.sizes[6], 18432);

  torch::NoGradGuard no_grad;
  const Tensor reference = net->forward(data);
  for (const size_t i : {size_t(0), size_t(5), size_t(9)})
    for (size_t k = 0; k < 3; ++k) {
      Network changed(net->copy());
      Tensor& weight = changed->nodes()[size_t(changed->find(table.names[i]))].layer->weight;
      UniformQuantizer quantizer({.bits = table.bits[k], .axis = 0});
      quantizer.fit(weight);
      weight.copy_(quantizer.forward(weight.detach()));
      EXPECT_NEAR(table.omega[i][k], divergence(Divergence::Kl, reference, changed->forward(data)),
                  1e-6 + 1e-4 * table.omega[i][k]);
    }
  for (const auto& row : table.omega) EXPECT_LT(row[2], row[0]);
  EXPECT_TRUE(net->forward(data).equal(reference));
  for (const auto& [name, layer] : quantizable_layers(*net)) EXPECT_FALSE(layer->slot(QuantizableLayer::Place::Weight));
}

TEST(LayerSensitivity, OfActivations) {
  Network net = calibrated(res_mini());
  torch::manual_seed(7);
  const Tensor data = torch::randn({10, 3, 8, 8});
  const auto table =
      layer_sensitivity(net, data, {.bits = {2, 8}, .part = QuantizedPart::Activations, .divergence = Divergence::Mse});
  ASSERT_EQ(table.names.size(), 7u);
  EXPECT_EQ(table.names[0], "stem.relu");
  EXPECT_EQ(table.sizes[0], 16 * 8 * 8);
  torch::NoGradGuard no_grad;
  Tensor values;
  const Tensor reference = net->run(data, [&](const Node& node, const auto&, const Tensor& output) {
    if (node.name == "block2.relu1") values = output;
  });
  auto quantizer = std::make_shared<UniformQuantizer>(UniformOptions{.bits = 2});
  quantizer->fit(values);
  Network changed(net->copy());
  changed->put(changed->find("block2.relu1"), quantizer);
  EXPECT_NEAR(table.omega[3][0], divergence(Divergence::Mse, reference, changed->forward(data)), 1e-6);
}

TEST(LayerSensitivity, OfADetector) {
  Network net = calibrated(mini_detector(2, {.classes = 4}));
  torch::manual_seed(7);
  const Tensor data = torch::randn({3, 3, 8, 8});
  const auto classes = [](const Tensor& output) { return output.slice(1, 0, 8); };
  const auto table =
      layer_sensitivity(net, data, {.bits = {2, 8}, .divergence = Divergence::BernoulliKl, .logits = classes});
  ASSERT_EQ(table.names.back(), "head.boxes");
  EXPECT_EQ(table.omega.back()[0], 0);  // boxes are not compared
  EXPECT_GT(table.omega[0][0], table.omega[0][1]);
}

TEST(LayerSensitivity, BadInput) {
  Network net = res_mini();
  const Tensor data = torch::zeros({2, 3, 8, 8});
  EXPECT_THAT([&] { layer_sensitivity(net, data); }, ThrowsMessage<Error>(HasSubstr("evaluation mode")));
  net->eval();
  EXPECT_THAT([&] { layer_sensitivity(net, {}); }, ThrowsMessage<Error>(HasSubstr("need data")));
  EXPECT_THAT([&] { layer_sensitivity(net, data, {.bits = {4, 2}}); }, ThrowsMessage<Error>(HasSubstr("ascend")));
  EXPECT_THAT([&] { layer_sensitivity(net, data / 0); }, ThrowsMessage<Error>(HasSubstr("not finite")));
}

}  // namespace
}  // namespace quanta
