#include "quanta/quantize/gradient_ptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/models/vit.h"
#include "quanta/nn/fold.h"
#include "quanta/nn/init.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/importance.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;

/// Stem, a residual block with a shortcut, classifier; batch normalization with moments of some data.
Network small_net() {
  Network net;
  net->block("stem");
  int x = net->input();
  x = net->relu("stem.relu", net->batch_norm("stem.bn", net->conv("stem.conv", x, Conv2dOptions::square(3, 6, 3))));
  net->block("block");
  int y = net->relu("block.relu1",
                    net->batch_norm("block.bn1", net->conv("block.conv1", x, Conv2dOptions::square(6, 8, 3, 2))));
  y = net->batch_norm("block.bn2", net->conv("block.conv2", y, Conv2dOptions::square(8, 8, 3)));
  const int shortcut = net->conv("block.down", x, Conv2dOptions::square(6, 8, 1, 2));
  x = net->relu("block.relu2", net->add("block.add", y, shortcut));
  net->block("fc");
  net->linear("fc", net->flatten("flatten", net->global_avg_pool("pool", x)), 8, 5);
  initialize(*net, Random(3));
  net->train();
  torch::manual_seed(1);
  for (int i = 0; i < 20; ++i) net->forward(torch::randn({32, 3, 8, 8}));
  net->eval();
  return net;
}

Examples calibration(bool labels = false) {
  torch::manual_seed(2);
  Examples examples{.inputs = torch::randn({48, 3, 8, 8})};
  if (labels) examples.targets = torch::randint(0, 5, {48}, torch::kLong);
  return examples;
}

GradientPtqOptions quick(PtqPreset preset, const std::vector<std::string>& changes = {}) {
  auto o = gradient_preset(preset);
  for (const auto* change : {"bits=3", "rate=0.01", "steps=120", "batch=16", "activation_steps=60"})
    set_option(o, change);
  for (const auto& change : changes) set_option(o, change);
  return o;
}

/// Mean squared error of the outputs on data the calibration has not seen.
double error(Network quantized, Network original) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  const auto x = torch::randn({256, 3, 8, 8});
  return (quantized->forward(x) - original->forward(x)).square().mean().item<double>();
}

void expect_deployable(const Network& net) {
  for (const auto& [name, layer] : quantizable_layers(*net)) {
    const auto& slot = layer->slot(QuantizableLayer::Place::Weight);
    ASSERT_TRUE(slot) << name;
    EXPECT_TRUE(torch::equal(slot(layer->weight), layer->weight)) << name;
  }
}

TEST(GradientPtq, EveryPresetBeatsNearest) {
  auto net = small_net();
  const double nearest = error(gradient_ptq(net, calibration(), quick(PtqPreset::Nearest)).net, net);
  for (const auto preset : {PtqPreset::AdaRound, PtqPreset::Brecq, PtqPreset::QDrop, PtqPreset::Best}) {
    const auto result = gradient_ptq(net, calibration(), quick(preset));
    expect_deployable(result.net);
    EXPECT_LT(error(result.net, net), 0.8 * nearest) << int(preset);
    // AdaRound: conv1 with its relu, conv2, the shortcut. Others: the block. The edges have 8 bits and are not learned.
    EXPECT_EQ(result.units.size(), preset == PtqPreset::AdaRound ? 3u : 1u);
    double nearest_units = 0, learned_units = 0;
    for (const auto& unit : result.units) {
      nearest_units += unit.report.loss_nearest;
      learned_units += unit.report.loss;
    }
    EXPECT_LT(learned_units, nearest_units) << int(preset);
  }
}

TEST(GradientPtq, Activations) {
  auto net = small_net();
  const double nearest =
      error(gradient_ptq(net, calibration(), quick(PtqPreset::Nearest, {"activation_bits=3"})).net, net);
  for (const auto preset : {PtqPreset::AdaRound, PtqPreset::Brecq, PtqPreset::QDrop, PtqPreset::Best}) {
    const auto result = gradient_ptq(net, calibration(), quick(preset, {"activation_bits=3", "joint_rate=0.001"}));
    expect_deployable(result.net);
    EXPECT_LT(error(result.net, net), 1.2 * nearest) << int(preset);
    // What layers take in: the stem's and the classifier's side with 8 bits.
    std::map<std::string, int> bits;
    for (const Node& node : result.net->nodes())
      if (const auto held = node.output.as<FakeQuantize>()) bits[node.name] = held->quantizer().bits();
    EXPECT_EQ(bits, (std::map<std::string, int>{{"stem.relu", 8}, {"block.relu1", 3}, {"pool", 8}}));
  }
}

TEST(GradientPtq, LeavesTheOriginalAloneAndRepeats) {
  auto net = small_net();
  const auto x = torch::randn({4, 3, 8, 8});
  const auto before = net->forward(x);
  auto a = gradient_ptq(net, calibration(), quick(PtqPreset::QDrop, {"activation_bits=4"}));
  EXPECT_TRUE(torch::equal(net->forward(x), before));
  auto b = gradient_ptq(net, calibration(), quick(PtqPreset::QDrop, {"activation_bits=4"}));
  EXPECT_TRUE(torch::equal(a.net->forward(x), b.net->forward(x)));
  auto c = gradient_ptq(net, calibration(), quick(PtqPreset::QDrop, {"activation_bits=4", "seed=1"}));
  EXPECT_FALSE(torch::equal(a.net->forward(x), c.net->forward(x)));
}

TEST(GradientPtq, NearestIsPlainRounding) {
  auto net = small_net();
  const auto result = gradient_ptq(net, calibration(), quick(PtqPreset::Nearest));
  const auto folded = fold_batch_norm(net);
  UniformQuantizer plain({.bits = 3, .symmetric = true, .axis = 0, .range = RangeMethod::Mse, .norm = 2.4});
  const auto w = quantizable_layers(*folded)[1].second->weight.detach();
  plain.fit(w);
  EXPECT_TRUE(torch::equal(quantizable_layers(*result.net)[1].second->weight, plain.decode(plain.encode(w))));
}

TEST(GradientPtq, VisionTransformer) {
  auto net = vit({.input = 8, .patch = 4, .width = 16, .depth = 2, .heads = 2, .classes = 5});
  net->eval();
  for (const auto preset : {PtqPreset::Nearest, PtqPreset::AdaRound, PtqPreset::Brecq, PtqPreset::QDrop}) {
    const auto result = gradient_ptq(net, calibration(), quick(preset, {"activation_bits=4", "steps=30"}));
    expect_deployable(result.net);
    for (const auto& [name, layer] : quantizable_layers(*result.net)) {
      if (name == "patch_embed" || name == "head") continue;
      const auto held = layer->slot(QuantizableLayer::Place::Input).as<FakeQuantize>();
      ASSERT_TRUE(held) << name;
      EXPECT_EQ(held->quantizer().bits(), 4);
    }
    EXPECT_TRUE(result.net->nodes()[size_t(result.net->find("norm"))].output.as<FakeQuantize>());
  }
}

TEST(GradientPtq, FisherAndKl) {
  auto net = small_net();
  const double nearest = error(gradient_ptq(net, calibration(), quick(PtqPreset::Nearest)).net, net);
  EXPECT_LT(error(gradient_ptq(net, calibration(true), quick(PtqPreset::Brecq, {"fisher=true"})).net, net), nearest);
  const auto kl = gradient_ptq(net, calibration(), quick(PtqPreset::Brecq, {"loss=kl", "lambda=0.0001"}));
  expect_deployable(kl.net);
  EXPECT_LT(kl.units.back().report.loss, kl.units.back().report.loss_nearest);
  EXPECT_THAT([&] { gradient_ptq(net, calibration(), quick(PtqPreset::Brecq, {"fisher=true"})); },
              ThrowsMessage<Error>(HasSubstr("needs labels")));
}

TEST(GradientPtq, MixedWidths) {
  auto net = small_net();
  auto options = quick(PtqPreset::Brecq);
  options.widths["block.conv2"] = {2, 3, 4, 2, 3, 4, 2, 4};
  const auto result = gradient_ptq(net, calibration(), options);
  expect_deployable(result.net);
  const auto layer = result.net->nodes()[size_t(result.net->find("block.conv2"))].layer;
  for (int64_t row = 0; row < 8; ++row)
    EXPECT_LE(std::get<0>(torch::_unique2(layer->weight[row])).numel(),
              int64_t(1) << options.widths["block.conv2"][size_t(row)]);
  options.widths["conv9"] = {3};
  EXPECT_THAT([&] { gradient_ptq(net, calibration(), options); }, ThrowsMessage<Error>(HasSubstr("no layer 'conv9'")));
}

TEST(GradientPtq, Errors) {
  auto net = small_net();
  EXPECT_THAT([&] { gradient_ptq(net, {}, quick(PtqPreset::Brecq)); }, ThrowsMessage<Error>(HasSubstr("empty")));
  EXPECT_THAT([&] { gradient_ptq(net, calibration(), quick(PtqPreset::Brecq, {"bits=9"})); },
              ThrowsMessage<Error>(HasSubstr("1 to 8 bits")));
}

TEST(GradientPtq, Options) {
  GradientPtqOptions o;
  set_option(o, "loss=cosine");
  set_option(o, "variable=full_space");
  set_option(o, "optimizer=nadam");
  set_option(o, "scheme=power");
  set_option(o, "learn_bias=true");
  EXPECT_EQ(o.reconstruct.loss, ReconstructionLoss::Cosine);
  EXPECT_EQ(o.reconstruct.variable, RoundingKind::FullSpace);
  EXPECT_EQ(o.reconstruct.optimizer, UpdateRule::NAdam);
  EXPECT_EQ(o.reconstruct.grid.scheme, GridScheme::Power);
  EXPECT_TRUE(o.reconstruct.learn_bias);
  EXPECT_THAT([&] { set_option(o, "los=l1"); }, ThrowsMessage<UsageError>(HasSubstr("did you mean loss?")));
  EXPECT_THAT([&] { set_option(o, "loss=l3"); }, ThrowsMessage<UsageError>(HasSubstr("l2, l1, huber")));
  EXPECT_THAT([&] { set_option(o, "rate=fast"); }, ThrowsMessage<UsageError>(HasSubstr("takes a number")));
  EXPECT_THAT([&] { set_option(o, "rate"); }, ThrowsMessage<UsageError>(HasSubstr("key=value")));
  // What is listed sets the same options.
  GradientPtqOptions copy;
  for (const auto& line : list_options(o)) set_option(copy, line);
  EXPECT_EQ(list_options(copy), list_options(o));
  EXPECT_EQ(parse_preset("qdrop"), PtqPreset::QDrop);
  EXPECT_THROW(parse_preset("gptq"), UsageError);
}

TEST(Importance, SquaredGradientsOfALinearLayer) {
  // Softmax regression: the gradient of a sample is (p - onehot) x^T.
  Network net;
  net->linear("fc", net->input(), 3, 4, false);
  initialize(*net, Random(1));
  torch::manual_seed(3);
  const auto x = torch::randn({20, 3});
  const auto y = torch::randint(0, 4, {20}, torch::kLong);
  const auto found = squared_gradients(net, {x, y}).at("fc");
  const torch::NoGradGuard no_grad;
  const auto d = net->forward(x).softmax(1) - torch::one_hot(y, 4);
  const auto expected = (d.unsqueeze(2) * x.unsqueeze(1)).square().mean(0);
  EXPECT_TRUE(torch::allclose(found, expected, 1e-4, 1e-7));
  // Unlabelled: in the mean the curvature of the squared error, which for a linear layer is that of its input.
  const auto signs = squared_gradients(net, {x, {}}).at("fc");
  EXPECT_TRUE(torch::allclose(signs, x.square().mean(0).expand({4, 3}), 1e-4, 1e-6));
}

TEST(Importance, MixedPrecisionKeepsTheBudget) {
  auto net = fold_batch_norm(small_net());
  const auto gradients = squared_gradients(net, calibration(true));
  double least = 0;
  for (const auto kind : {Importance::Fisher, Importance::Taylor, Importance::Magnitude, Importance::Random})
    for (const bool by_layer : {false, true}) {
      const auto plan = mixed_precision(net, gradients, {.importance = kind, .average = 3, .by_layer = by_layer});
      int64_t bits = 0, weights = 0;
      for (const auto& [name, layer] : quantizable_layers(*net)) {
        if (!plan.widths.contains(name)) continue;
        const auto& widths = plan.widths.at(name);
        ASSERT_EQ(int64_t(widths.size()), layer->weight.size(0));
        for (const int b : widths) bits += b * layer->weight[0].numel();
        weights += layer->weight.numel();
      }
      EXPECT_EQ(plan.widths.size(), 3u);
      EXPECT_LE(bits, 3 * weights);
      EXPECT_GE(bits, by_layer ? 2 * weights : int64_t(2.9 * double(weights)));
      EXPECT_NEAR(plan.average_bits, double(bits) / double(weights), 1e-12);
      if (kind == Importance::Fisher && !by_layer) least = plan.cost;
    }
  EXPECT_GT(least, 0);
  // The same budget in one width costs more by the measure that was minimized.
  const auto uniform = mixed_precision(net, gradients, {.bits = {3}, .average = 3});
  EXPECT_LT(least, uniform.cost);
  EXPECT_THAT([&] { mixed_precision(net, gradients, {.average = 1.5}); }, ThrowsMessage<Error>(HasSubstr("average")));
  EXPECT_THAT([&] { mixed_precision(net, {}, {}); }, ThrowsMessage<Error>(HasSubstr("no squared gradients")));
}

TEST(Importance, RowsByWidth) {
  EXPECT_EQ(rows_by_width({2, 4, 3, 4, 2}), (std::vector<int64_t>{1, 3, 2, 0, 4}));
  EXPECT_EQ(parse_importance("taylor"), Importance::Taylor);
  EXPECT_THROW(parse_importance("hessian"), UsageError);
}

}  // namespace
}  // namespace quanta
