#include "quanta/quantize/ptq.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/bias_correction.h"
#include "quanta/quantize/equalize.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/placement.h"
#include "quanta/quantize/test_network.h"

namespace quanta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using testing::UnorderedElementsAre;
using Place = QuantizableLayer::Place;

std::vector<torch::Tensor> batches(int count = 3) {
  std::vector<torch::Tensor> made;
  for (int i = 0; i < count; ++i) made.push_back(torch::randn({8, 3, 12, 12}));
  return made;
}

std::vector<std::string> quantized_nodes(const Network& net) {
  std::vector<std::string> names;
  for (const Node& node : net->nodes())
    if (node.output) names.push_back(node.name);
  return names;
}

const UniformQuantizer& activation(const Network& net, const std::string& node) {
  return net->nodes()[size_t(net->find(node))].output.as<FakeQuantize>()->quantizer();
}

double difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Ptq, QuantizesWhereMemoryIsWritten) {
  Network net = ptq(test_network(1), batches());
  // Not the convolutions and sums with a ReLU behind them, nor what hands on its input's codes, nor the output.
  EXPECT_THAT(quantized_nodes(net), ElementsAre("input", "stem.relu", "residual.relu1", "residual.conv2",
                                                "residual.down", "residual.relu2", "identity.relu", "identity.conv2",
                                                "identity.add", "left.relu", "middle.pool", "join", "mean"));
  for (const auto& [name, layer] : quantizable_layers(*net)) EXPECT_TRUE(layer->slot(Place::Weight)) << name;
  EXPECT_FALSE(net->is_training());
  for (const Node& node : net->nodes())
    if (node.output) {
      EXPECT_FALSE(node.output.as<FakeQuantize>()->observing());
    }
  EXPECT_THAT(quantized_nodes(ptq(test_network(1), batches(), {.quantize_output = true})), testing::Contains("fc"));
}

TEST(Ptq, ConcatenationsShareOneGrid) {
  Network net = ptq(test_network(2), batches());
  const QuantParams p = activation(net, "join").params();
  // identity.add goes into the concatenation through a maximum pool.
  for (const auto* name : {"left.relu", "middle.pool", "identity.add"}) {
    const QuantParams q = activation(net, name).params();
    EXPECT_TRUE(torch::equal(p.scale, q.scale) && torch::equal(p.zero_point, q.zero_point)) << name;
  }
  // So what the concatenation puts out is on the grid before its own quantizer already.
  torch::Tensor joined;
  const auto x = torch::randn({4, 3, 12, 12});
  Network bare(net->copy());
  bare->put(bare->find("join"), nullptr);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::equal(net->forward(x), bare->forward(x)));
}

// The observed ranges, by hand: the values of the network with quantized weights.
TEST(Ptq, RangesAreThoseOfTheData) {
  const auto data = batches();
  Network net = ptq(test_network(3), data, {.observer{.kind = ObserverKind::MinMax}});
  Network weights = ptq(test_network(3), data, {.activations = ActivationMode::None});
  EXPECT_THAT(quantized_nodes(weights), ElementsAre());
  double most = 0, least = 0;
  const torch::NoGradGuard no_grad;
  for (const auto& x : data)
    weights->run(x, [&](const Node& node, const auto&, const torch::Tensor& y) {
      if (node.name != "residual.down") return;
      most = std::max(most, y.max().item<double>());
      least = std::min(least, y.min().item<double>());
    });
  EXPECT_FLOAT_EQ(activation(net, "residual.down").params().scale.item<float>(), float((most - least) / 255));
}

TEST(Ptq, WeightsAreThoseOfTheFoldedNetwork) {
  Network net = test_network(4), folded = fold_batch_norm(net);
  Network made = ptq(net, batches(), {.weight{.bits = 4, .symmetric = true, .axis = 0, .range = RangeMethod::Mse}});
  const auto& layer = made->nodes()[size_t(made->find("residual.conv2"))].layer;
  const auto& plain = folded->nodes()[size_t(folded->find("residual.conv2"))].layer;
  EXPECT_TRUE(torch::equal(layer->weight, plain->weight));
  UniformQuantizer q({.bits = 4, .symmetric = true, .axis = 0, .range = RangeMethod::Mse});
  q.fit(plain->weight.detach());
  EXPECT_TRUE(torch::equal(layer->slot(Place::Weight)(layer->weight), q.forward(plain->weight)));
  EXPECT_EQ(uniform_in(layer->slot(Place::Weight))->params().scale.numel(), 16);  // depthwise: dimension 0
}

TEST(Ptq, EightBitsKeepTheOutputs) {
  Network net = test_network(5);
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({64, 3, 12, 12});
  const auto y = net->forward(x);
  for (const auto mode :
       {ActivationMode::None, ActivationMode::Static, ActivationMode::DynamicPerBatch, ActivationMode::DynamicPerRow}) {
    const auto data = mode == ActivationMode::Static ? batches(10) : std::vector<torch::Tensor>{};
    const double error =
        (ptq(net, data, {.activations = mode, .observer{.kind = ObserverKind::MinMax}})->forward(x) - y)
            .norm()
            .item<double>() /
        y.norm().item<double>();
    EXPECT_LT(error, 0.06) << int(mode);
    EXPECT_GT(error, 1e-4) << int(mode);
  }
}

TEST(Ptq, ARowsDynamicRangeDoesNotDependOnItsNeighbours) {
  Network rows = ptq(test_network(6), std::vector<torch::Tensor>{}, {.activations = ActivationMode::DynamicPerRow});
  Network batch = ptq(test_network(6), std::vector<torch::Tensor>{}, {.activations = ActivationMode::DynamicPerBatch});
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({4, 3, 12, 12});
  auto loud = x.clone();
  loud[3] *= 50;
  EXPECT_LT(difference(rows->forward(x).slice(0, 0, 3), rows->forward(loud).slice(0, 0, 3)), 1e-5);
  EXPECT_GT(difference(batch->forward(x).slice(0, 0, 3), batch->forward(loud).slice(0, 0, 3)), 1e-2);
}

TEST(Ptq, BitsByTable) {
  Network net = ptq(test_network(7), batches(),
                    {.weight{.bits = 4, .symmetric = true, .axis = 0},
                     .first_bits = 8,
                     .last_bits = 6,
                     .weight_bits{{"left.conv", 2}, {"fc", 32}},
                     .activation_bits{{"input", 5}, {"identity.relu", 32}}});
  const auto bits = [&](const std::string& name) {
    const auto* q = quantizer_in(net->nodes()[size_t(net->find(name))].layer->slot(Place::Weight));
    return q ? q->bits() : 32;
  };
  EXPECT_EQ(bits("stem.conv"), 8);
  EXPECT_EQ(bits("residual.conv1"), 4);
  EXPECT_EQ(bits("left.conv"), 2);
  EXPECT_EQ(bits("fc"), 32);
  EXPECT_EQ(activation(net, "input").bits(), 5);
  EXPECT_FALSE(net->nodes()[size_t(net->find("identity.relu"))].output);
}

TEST(Ptq, Refuses) {
  const Network net = test_network(8);
  const std::vector<torch::Tensor> none;
  EXPECT_THAT([&] { ptq(net, none); }, ThrowsMessage<Error>(HasSubstr("no calibration batches")));
  EXPECT_THAT([&] { ptq(net, none, {.activations = ActivationMode::None, .bias_correction = true}); },
              ThrowsMessage<Error>(HasSubstr("no calibration batches")));
  EXPECT_THAT(
      [&] {
        ptq(net, torch::randn({2, 4, 12, 12}));
      },
      ThrowsMessage<Error>(HasSubstr("calibration batch 0 of shape [2, 4, 12, 12] does not fit the network")));
  EXPECT_THAT(
      [&] {
        ptq(net, {torch::randn({2, 3, 12, 12}), torch::randn({2, 3, 8, 8})});
      },
      ThrowsMessage<Error>(HasSubstr("calibration batch 1 is [2, 3, 8, 8], but the first")));
  EXPECT_THAT(
      [&] {
        ptq(net, torch::randn({2, 3, 12, 12}), {.weight_bits{{"stem.relu", 4}}});
      },
      ThrowsMessage<Error>(HasSubstr("'stem.relu' is no layer")));
  EXPECT_THAT(
      [&] {
        ptq(net, torch::randn({2, 3, 12, 12}), {.activation_bits{{"stem.conv", 4}}});
      },
      ThrowsMessage<Error>(HasSubstr("name the ReLU behind it")));
  EXPECT_THAT(
      [&] {
        ptq(net, torch::randn({2, 3, 12, 12}), {.weight{.bits = 20}});
      },
      ThrowsMessage<Error>(HasSubstr("shall have 20 bits")));
  EXPECT_THAT(
      [&] {
        ptq(net, torch::randn({2, 3, 12, 12}), {.activation{.axis = 1}});
      },
      ThrowsMessage<Error>(HasSubstr("one grid for the tensor")));
  EXPECT_THAT(
      [&] {
        ptq(net, torch::full({2, 3, 12, 12}, NAN));
      },
      ThrowsMessage<Error>(testing::AllOf(HasSubstr("'input'"), HasSubstr("NaN"))));
  Network broken(net->copy());
  {
    const torch::NoGradGuard no_grad;
    broken->nodes()[size_t(broken->find("left.conv"))].layer->weight.view(-1)[3] = INFINITY;
  }
  EXPECT_THAT(
      [&] {
        ptq(broken, torch::randn({2, 3, 12, 12}));
      },
      ThrowsMessage<Error>(HasSubstr("'left.conv' has NaN or infinite weights")));
  // Overflow inside the network: the node is named.
  Network loud(net->copy());
  {
    const torch::NoGradGuard no_grad;
    loud->nodes()[size_t(loud->find("residual.conv1"))].layer->weight.fill_(3e38);
  }
  EXPECT_THAT([&] { ptq(loud, torch::randn({2, 3, 12, 12})); }, ThrowsMessage<Error>(HasSubstr("'residual.")));
}

TEST(Equalize, KeepsTheFunctionAndLevelsTheRanges) {
  torch::manual_seed(9);
  Network net;
  int x = net->input();
  x = net->relu("relu1", net->conv("conv1", x, {.in = 3, .out = 8, .kernel{3, 3}, .padding{1, 1}, .bias = true}));
  x = net->relu("relu2",
                net->conv("conv2", x, {.in = 8, .out = 8, .kernel{3, 3}, .padding{1, 1}, .groups = 8, .bias = true}));
  x = net->max_pool("pool", x, {});
  x = net->relu("relu3", net->conv("conv3", x, {.in = 8, .out = 6, .groups = 2, .bias = true}));
  net->linear("fc", net->flatten("flatten", net->avg_pool("mean", x, {})), 6 * 4, 5);
  {
    const torch::NoGradGuard no_grad;
    for (const auto& p : net->parameters()) p.normal_();
    for (const auto* name : {"conv1", "conv2", "conv3"}) {
      auto& layer = *net->nodes()[size_t(net->find(name))].layer;
      layer.weight.mul_(torch::logspace(-2, 2, layer.weight.size(0)).view({-1, 1, 1, 1}));
    }
  }
  net->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  const auto data = torch::randn({4, 3, 8, 8}, torch::kFloat64);
  Network level = equalize(net, 200);
  const auto y = net->forward(data);
  EXPECT_LT(difference(level->forward(data), y), 1e-12 * y.abs().max().item<double>());
  const auto weight = [&](const char* name) { return level->nodes()[size_t(level->find(name))].layer->weight; };
  const auto expect_level = [](const torch::Tensor& rows, const torch::Tensor& columns) {
    EXPECT_LT(((rows / columns).log()).abs().max().item<double>(), 0.01);
  };
  const auto rows = [](const torch::Tensor& w) { return w.flatten(1).abs().amax(1); };
  expect_level(rows(weight("conv1")), rows(weight("conv2")));
  expect_level(rows(weight("conv2")), weight("conv3").view({2, 3, 4}).abs().amax(1).flatten());
  expect_level(rows(weight("conv3")), weight("fc").view({5, 6, 4}).abs().amax({0, 2}));
}

TEST(Equalize, StopsWhereTheFunctionWouldChange) {
  const Network net = test_network(10);
  EXPECT_THAT([&] { equalize(net); }, ThrowsMessage<Error>(HasSubstr("fold_batch_norm() before")));
  Network folded = fold_batch_norm(net);
  Network level = equalize(folded);
  const auto moved = [&](const char* name) {
    const auto at = [&](const Network& n) { return n->nodes()[size_t(n->find(name))].layer->weight; };
    return !torch::equal(at(folded), at(level));
  };
  EXPECT_TRUE(moved("residual.conv1") && moved("residual.conv2"));
  EXPECT_FALSE(moved("stem.conv"));       // two nodes use its value
  EXPECT_FALSE(moved("identity.conv1"));  // ReLU6 and a shuffle
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({2, 3, 12, 12});
  EXPECT_LT(difference(folded->forward(x), level->forward(x)), 1e-4);
}

// A depthwise network whose channels differ by orders of magnitude: in 8 bits with one scale for the tensor only the
// equalized one keeps its outputs.
TEST(Equalize, RescuesScalesForTheTensor) {
  torch::manual_seed(11);
  Network net;
  int x = net->input();
  x = net->relu("relu1", net->conv("conv1", x, {.in = 3, .out = 16, .bias = true}));
  x = net->relu("relu2", net->conv("conv2", x, {.in = 16, .out = 16, .kernel{3, 3}, .groups = 16, .bias = true}));
  net->linear(
      "fc",
      net->flatten("flatten", net->global_avg_pool("mean", net->conv("conv3", x, {.in = 16, .out = 8, .bias = true}))),
      8, 5);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->parameters()) p.normal_();
  net->nodes()[size_t(net->find("conv2"))].layer->weight.mul_(torch::logspace(-3, 2, 16).view({-1, 1, 1, 1}));
  net->nodes()[size_t(net->find("conv2"))].layer->bias.mul_(torch::logspace(-3, 2, 16));
  net->nodes()[size_t(net->find("conv3"))].layer->weight.mul_(torch::logspace(3, -2, 16).view({1, -1, 1, 1}));
  const auto data = torch::randn({32, 3, 8, 8});
  const auto y = net->forward(data);
  const auto error = [&](bool equalized) {
    PtqOptions o{.weight{.bits = 8, .symmetric = true}, .activations = ActivationMode::None, .equalize = equalized};
    return ((ptq(net, torch::Tensor(), o)->forward(data) - y).norm() / y.norm()).item<double>();
  };
  EXPECT_LT(error(true), 0.05);
  EXPECT_GT(error(false), 5 * error(true));
}

// For one layer the corrected mean is exactly the float one.
TEST(BiasCorrection, GivesTheMeanBack) {
  torch::manual_seed(12);
  Network net;
  net->conv("conv", net->input(), {.in = 3, .out = 6, .kernel{3, 3}, .padding{1, 1}});
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->parameters()) p.normal_();
  const std::vector<torch::Tensor> data{torch::rand({4, 3, 9, 9}), torch::rand({2, 3, 9, 9})};
  const auto mean = [&](Network n) {
    return (n->forward(data[0]).sum({0, 2, 3}) + n->forward(data[1]).sum({0, 2, 3})) / (6 * 81);
  };
  const UniformOptions weight{.bits = 2, .symmetric = true};
  const Network plain = ptq(net, data, {.weight = weight, .activations = ActivationMode::None});
  const Network corrected =
      ptq(net, data, {.weight = weight, .activations = ActivationMode::None, .bias_correction = true});
  EXPECT_GT(difference(mean(plain), mean(net)), 1e-2);
  EXPECT_LT(difference(mean(corrected), mean(net)), 1e-5);
}

TEST(Table, CountsByHand) {
  Network net =
      ptq(test_network(13), batches(),
          {.weight{.bits = 4, .symmetric = true, .axis = 0}, .weight_bits{{"fc", 32}}, .activation_bits{{"mean", 6}}});
  const auto table = quantization_table(net, {1, 3, 12, 12});
  ASSERT_EQ(table.size(), 8u);
  const auto& stem = table[0];
  EXPECT_EQ(stem.layer.name, "stem.conv");
  EXPECT_EQ(stem.weight_bits, 4);
  EXPECT_EQ(stem.activation_bits, 8);
  EXPECT_EQ(stem.bytes, 8 * 27 / 2 + 8 * 4 + 8 * (4 + 4));  // codes, bias, scale and zero point
  EXPECT_EQ(stem.bit_ops, 12 * 12 * 8 * 27 * 4 * 8.0);
  EXPECT_THAT(stem.weights, HasSubstr("4 bits, symmetric, per channel"));
  const auto layer = net->nodes()[size_t(net->find("stem.conv"))].layer;
  const auto w = layer->weight, e = w - layer->slot(Place::Weight)(w);
  EXPECT_NEAR(stem.sqnr, 10 * std::log10((w * w).sum().item<double>() / (e * e).sum().item<double>()), 1e-3);
  const auto& fc = table.back();
  EXPECT_EQ(fc.weight_bits, 32);
  EXPECT_EQ(fc.activation_bits, 6);  // from the mean, through flatten
  EXPECT_EQ(fc.bytes, 4 * (38 * 7 + 7));
  EXPECT_TRUE(std::isinf(fc.sqnr));
}

// Whitepaper's specification: weight-only 8 bits take at most 0.27 of the float file's bytes on 100,000 weights.
TEST(Table, EightBitsAreAQuarter) {
  Network net;
  net->linear("fc", net->input(), 512, 256);
  torch::manual_seed(14);
  {
    const torch::NoGradGuard no_grad;
    for (const auto& p : net->parameters()) p.normal_();
  }
  const auto row = quantization_table(ptq(net, torch::Tensor(), {.activations = ActivationMode::None}), {1, 512})[0];
  EXPECT_LE(double(row.bytes), 0.27 * double(row.layer.bytes()));
}

}  // namespace
}  // namespace quanta
