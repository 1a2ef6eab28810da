#include "quanta/quantize/reconstruct.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/nn/gradient_check.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;

Tensor normal(torch::IntArrayRef shape, Random random) {
  auto t = torch::empty(shape, torch::kFloat64);
  for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<double>()[i] = random.normal();
  return t;
}

Tensor normal(torch::IntArrayRef shape, uint64_t seed) {
  return normal(shape, Random(seed)).to(torch::kFloat32);
}

/// One linear layer "fc" of this weight.
Network linear_unit(const Tensor& weight, bool bias = false) {
  Network net;
  net->linear("fc", net->input(), weight.size(1), weight.size(0), bias);
  quantizable_layers(*net)[0].second->weight.set_data(weight.clone());
  return net;
}

/// A grid of step 1 for rows whose largest weight is 2^(bits - 1) - 1.
GridOptions step_one() {
  GridOptions options;
  options.uniform = {.symmetric = true, .narrow = true, .range = RangeMethod::MinMax};
  return options;
}

UnitData data_of(NetworkImpl& unit, const Tensor& x) {
  const torch::NoGradGuard no_grad;
  return {.quantized = x, .reference = x, .target = unit.forward(x)};
}

TEST(Reconstruct, TwoWeights) {
  // w = (0.40, 0.35) at step 1 with inputs (1, 1); the third weight, at input 0, sets the step.
  auto net = linear_unit(torch::tensor({{0.40, 0.35, 7.0}}, torch::kFloat32));
  const auto layer = quantizable_layers(*net)[0].second;
  const auto data = data_of(*net, torch::tensor({{1.0, 1.0, 0.0}}, torch::kFloat32).repeat({8, 1}));
  const auto report = reconstruct(*net, data, {.grid = step_one(), .rate = 1e-2, .steps = 2000}, {{"fc", {4}}});
  EXPECT_NEAR(report.loss_nearest, 0.5625, 1e-5);
  EXPECT_NEAR(report.loss, 0.0625, 1e-5);
  EXPECT_TRUE(torch::equal(layer->weight, torch::tensor({{1.0, 0.0, 7.0}}, torch::kFloat32)));
  EXPECT_NEAR(report.changed, 1.0 / 3, 1e-9);
}

TEST(Reconstruct, FindsTheBestOfAllRoundings) {
  // Problems of ten weights side by side, as the groups of a convolution; each has its own inputs. The eleventh weight
  // of each sets the step to 1 and sees 0. A program in Python finds the best of 2^10 for 159 of 200 problems, nearest
  // rounding for about half of them.
  constexpr int64_t kProblems = 40, kWeights = 10, kSamples = 200;
  Network net;
  net->conv("conv", net->input(),
            {.in = kProblems * (kWeights + 1), .out = kProblems, .kernel{1, 1}, .groups = kProblems});
  const auto layer = quantizable_layers(*net)[0].second;
  std::vector<Tensor> w, x;
  for (uint64_t seed = 0; seed < kProblems; ++seed) {
    w.push_back(2 * normal({1, kWeights}, seed));
    x.push_back(1 + 0.5 * normal({kSamples, kWeights}, 1000 + seed));
  }
  std::vector<Tensor> rows, columns;
  for (size_t i = 0; i < size_t(kProblems); ++i) {
    rows.push_back(torch::cat({w[i], torch::full({1, 1}, 127.0)}, 1));
    columns.push_back(torch::cat({x[i], torch::zeros({kSamples, 1})}, 1));
  }
  layer->weight.set_data(torch::cat(rows).view({kProblems, kWeights + 1, 1, 1}));
  const auto data = data_of(*net, torch::cat(columns, 1).view({kSamples, -1, 1, 1}));
  reconstruct(*net, data, {.grid = step_one(), .lambda = 0.1, .rate = 1e-2, .steps = 2000, .batch = kSamples},
              {{"conv", {8}}});

  const auto learned = layer->weight.flatten(1).slice(1, 0, kWeights);
  int best = 0, nearest = 0;
  for (size_t i = 0; i < kProblems; ++i) {
    const auto gram = x[i].t().matmul(x[i]) / double(kSamples);
    // Every up and down: row k of `up` is k in binary.
    const auto k = torch::arange(1 << kWeights).view({-1, 1});
    const auto up = k.bitwise_right_shift(torch::arange(kWeights).view({1, -1})).bitwise_and(1).to(torch::kFloat32);
    const auto d = w[i].floor() + up - w[i];
    const double least = (d.matmul(gram) * d).sum(1).min().item<double>();
    const auto ours = learned[int64_t(i)].unsqueeze(0) - w[i];
    const auto near = w[i].round() - w[i];
    const auto is_best = [&](const Tensor& e) {
      return (e.matmul(gram) * e).sum().item<double>() <= least * (1 + 1e-4) + 1e-7;
    };
    best += is_best(ours);
    nearest += is_best(near);
  }
  EXPECT_GE(best, 26);
  EXPECT_GT(best, nearest);
}

TEST(Reconstruct, LossesAgainstFormulas) {
  const auto y = normal({2, 3, 4, 5}, 1), t = normal({2, 3, 4, 5}, 2), g = normal({2, 3, 4, 5}, 3);
  const auto d = (y - t).to(torch::kFloat64);
  const auto value = [&](ReconstructionLoss loss, const Tensor& gradient = {}) {
    return reconstruction_loss(y, t, {.loss = loss, .p = 2.4}, gradient).item<double>();
  };
  EXPECT_NEAR(value(ReconstructionLoss::L2), d.square().sum(1).mean().item<double>(), 1e-5);
  EXPECT_NEAR(value(ReconstructionLoss::L2, g), (d * g).square().sum(1).mean().item<double>(), 1e-5);
  EXPECT_NEAR(value(ReconstructionLoss::L1), d.abs().sum(1).mean().item<double>(), 1e-5);
  EXPECT_NEAR(value(ReconstructionLoss::Lp), d.abs().pow(2.4).sum(1).mean().item<double>(), 1e-4);
  const auto huber = torch::where(d.abs() < 1, 0.5 * d * d, d.abs() - 0.5);
  EXPECT_NEAR(value(ReconstructionLoss::Huber), huber.sum(1).mean().item<double>(), 1e-5);
  const auto cosine = (y * t).sum(1) / (y.norm(2, 1) * t.norm(2, 1));
  EXPECT_NEAR(value(ReconstructionLoss::Cosine), 1 - cosine.mean().item<double>(), 1e-5);
  const auto kl = (t.softmax(1) * (t.log_softmax(1) - y.log_softmax(1))).sum(1).mean();
  EXPECT_NEAR(value(ReconstructionLoss::Kl), kl.item<double>(), 1e-5);
  // Tokens [batch, tokens, channels]: the channels are last.
  EXPECT_NEAR(reconstruction_loss(y.view({6, 4, 5}), t.view({6, 4, 5}), {}).item<double>(),
              d.view({6, 4, 5}).square().sum(2).mean().item<double>(), 1e-5);
}

TEST(Reconstruct, GradientOfTheLoss) {
  torch::manual_seed(0);
  Network net;
  net->linear("fc", net->relu("relu", net->linear("hidden", net->input(), 4, 5)), 5, 3);
  net->to(torch::kFloat64);
  const auto layers = quantizable_layers(*net);
  std::vector<std::shared_ptr<RoundingVariable>> variables;
  for (size_t i = 0; i < 2; ++i) {
    auto& layer = *layers[i].second;
    layer.weight.set_data(normal(layer.weight.sizes(), Random(10 + i)));
    const auto grid = uniform_grid({.scale = torch::full({layer.weight.size(0)}, 0.4, torch::kFloat64),
                                    .zero_point = torch::zeros({layer.weight.size(0)}, torch::kInt),
                                    .qmin = -4,
                                    .qmax = 3,
                                    .axis = 0},
                                   layer.weight.size(0));
    variables.push_back(std::make_shared<RoundingVariable>(RoundingKind::RectifiedSigmoid, grid, layer.weight));
    variables.back()->v.set_data(2 * torch::rand(variables.back()->v.sizes(), torch::kFloat64) - 1);
    layer.put(QuantizableLayer::Place::Weight, variables.back());
  }
  const auto x = normal({7, 4}, Random(3)), target = normal({7, 3}, Random(4));
  for (const auto loss : {ReconstructionLoss::L2, ReconstructionLoss::Lp, ReconstructionLoss::Cosine,
                          ReconstructionLoss::Kl, ReconstructionLoss::Huber, ReconstructionLoss::L1})
    for (const auto& variable : variables)
      expect_gradient([&] { return reconstruction_loss(net->forward(x), target, {.loss = loss}); }, variable->v, 1e-6);
}

TEST(Reconstruct, MasksKeepTheirShare) {
  Random random(1);
  EXPECT_TRUE(random_mask({1000}, 1, random).all().item<bool>());
  EXPECT_FALSE(random_mask({1000}, 0, random).any().item<bool>());
  EXPECT_NEAR(random_mask({301, 333}, 0.5, random).to(torch::kDouble).mean().item<double>(), 0.5, 0.01);
  EXPECT_NEAR(random_mask({301, 333}, 0.1, random).to(torch::kDouble).mean().item<double>(), 0.1, 0.01);
}

/// A convolution, an activation that is quantized to 3 bits, and another convolution.
Network conv_unit() {
  Network net;
  int x = net->conv("conv1", net->input(), Conv2dOptions::square(3, 6, 3));
  x = net->relu("relu", x);
  auto options = Conv2dOptions::square(6, 4, 3);
  options.bias = true;
  net->conv("conv2", x, options);
  uint64_t seed = 50;
  for (const auto& [name, layer] : quantizable_layers(*net)) {
    layer->weight.set_data(0.3 * normal(layer->weight.sizes(), ++seed));
    if (layer->bias.defined()) layer->bias.set_data(0.1 * normal(layer->bias.sizes(), ++seed));
  }
  return net;
}

std::shared_ptr<FakeQuantize> put_activation(Network& net) {
  const auto quantizer = std::make_shared<FakeQuantize>(
      UniformOptions{.bits = 3, .learned = true, .range = RangeMethod::Mse, .norm = 2.4}, ObserverOptions{});
  quantizer->observe(false);
  quantizer->quantizer().fit(torch::relu(normal({500}, 9)));
  net->put(net->find("relu"), quantizer);
  return quantizer;
}

const RowBits kConvBits = {{"conv1", {3}}, {"conv2", {3}}};

TEST(Reconstruct, LearnsAndHardens) {
  auto net = conv_unit();
  Network untouched(net->copy());
  UnitData data = data_of(*net, normal({40, 3, 6, 6}, 8));
  data.unit = untouched->copy();
  const auto report = reconstruct(
      *net, data, {.rate = 1e-2, .steps = 300, .batch = 16, .learn_bias = true, .learn_scale = true}, kConvBits);
  EXPECT_LT(report.loss, 0.8 * report.loss_nearest);
  EXPECT_GT(report.changed, 0.01);
  EXPECT_LT(report.changed, 0.5);
  for (const auto& [name, layer] : quantizable_layers(*net)) {
    const auto slot = layer->slot(QuantizableLayer::Place::Weight);
    ASSERT_TRUE(slot.as<FakeQuantize>());
    EXPECT_EQ(slot.as<FakeQuantize>()->quantizer().bits(), 3);
    EXPECT_TRUE(torch::equal(slot(layer->weight), layer->weight));
    EXPECT_TRUE(layer->weight.requires_grad());
  }
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(net->forward(data.quantized), report.output));
  EXPECT_FALSE(torch::equal(quantizable_layers(*net)[1].second->bias, quantizable_layers(*untouched)[1].second->bias));
  // Nothing is left to be learned.
  EXPECT_FALSE(anything_to_learn(*net));
}

TEST(Reconstruct, DroppingAllGivesTheFloatInputs) {
  // With p = 0 the quantized inputs are never seen, with p = 1 nothing else.
  const auto clean = normal({40, 3, 6, 6}, 8), noisy = clean + 0.5 * normal({40, 3, 6, 6}, 9);
  const auto weights = [&](const Tensor& quantized, double drop) {
    auto net = conv_unit();
    UnitData data = data_of(*net, clean);
    data.quantized = quantized;
    reconstruct(*net, data, {.rate = 1e-2, .steps = 60, .batch = 8, .drop = drop}, kConvBits);
    return quantizable_layers(*net)[1].second->weight;
  };
  EXPECT_TRUE(torch::equal(weights(noisy, 0), weights(clean, 1)));
  EXPECT_FALSE(torch::equal(weights(noisy, 0.5), weights(clean, 1)));
  EXPECT_FALSE(torch::equal(weights(noisy, 1), weights(clean, 1)));
}

TEST(Reconstruct, LearnsActivationSteps) {
  auto net = conv_unit();
  const UnitData data = data_of(*net, normal({40, 3, 6, 6}, 8));
  const auto activation = put_activation(net);
  const auto before = activation->quantizer().params().scale.clone();
  const auto report = reconstruct(
      *net, data, {.rate = 1e-2, .activation_rate = 1e-2, .steps = 200, .batch = 16, .drop = 0.5}, kConvBits);
  EXPECT_LT(report.loss, report.loss_nearest);
  EXPECT_FALSE(torch::equal(activation->quantizer().params().scale, before));
  // The slot holds the quantizer itself again.
  EXPECT_EQ(net->nodes()[size_t(net->find("relu"))].output.get(), activation);
  // Weights that are rounded stay; steps are learned alone.
  const auto weight = quantizable_layers(*net)[0].second->weight.clone();
  const auto again = reconstruct(*net, data, {.activation_rate = 1e-2, .steps = 50, .batch = 16}, kConvBits);
  EXPECT_TRUE(torch::equal(quantizable_layers(*net)[0].second->weight, weight));
  EXPECT_LE(again.loss, report.loss * 1.02);
}

TEST(Reconstruct, EveryOptionRuns) {
  std::vector<ReconstructOptions> all;
  for (int i = 0; i < 6; ++i) all.push_back({.loss = ReconstructionLoss(i)});
  for (int i = 0; i < 6; ++i) all.push_back({.variable = RoundingKind(i)});
  for (int i = 0; i < 6; ++i) all.push_back({.optimizer = UpdateRule(i)});
  for (int i = 0; i < 4; ++i) all.push_back({.augment = FeatureAugmentation(i)});
  for (int i = 0; i < 4; ++i) all.push_back({.select = WeightSelection(i)});
  for (int i = 0; i < 3; ++i) all.push_back({.grid = {.scheme = GridScheme(i)}});
  all.push_back({.fisher = true});
  all.push_back({.schedule = RateSchedule::Cosine});
  for (auto& options : all) {
    options.rate = 1e-2;
    options.steps = 40;
    options.batch = 8;
    auto net = conv_unit();
    UnitData data = data_of(*net, normal({16, 3, 5, 5}, 8));
    data.unit = net->copy();
    data.gradient = torch::ones_like(data.target);
    const auto report = reconstruct(*net, data, options, kConvBits);
    EXPECT_TRUE(std::isfinite(report.loss));
    for (const auto& [name, layer] : quantizable_layers(*net))
      EXPECT_TRUE(torch::equal(layer->slot(QuantizableLayer::Place::Weight)(layer->weight), layer->weight))
          << int(options.grid.scheme);
  }
}

TEST(Reconstruct, OnlyTheSelectedWeightsMove) {
  for (const auto select : {WeightSelection::Random, WeightSelection::Largest, WeightSelection::Undecided}) {
    auto net = conv_unit();
    const auto report = reconstruct(*net, data_of(*net, normal({40, 3, 6, 6}, 8)),
                                    {.rate = 1e-2, .steps = 200, .select = select, .selected = 0.1}, kConvBits);
    EXPECT_LE(report.changed, 0.13);
    EXPECT_GT(report.changed, 0);
  }
}

TEST(Reconstruct, Errors) {
  const auto error = [](auto change, const std::string& what) {
    auto net = conv_unit();
    UnitData data = data_of(*net, normal({8, 3, 5, 5}, 8));
    ReconstructOptions options{.steps = 5};
    change(data, options);
    EXPECT_THAT([&] { reconstruct(*net, data, options, kConvBits); }, ThrowsMessage<Error>(HasSubstr(what)));
  };
  error([](auto&, auto& o) { o.lambda = -1; }, "lambda must not be negative");
  error([](auto&, auto& o) { o.beta1 = 0; }, "beta");
  error([](auto&, auto& o) { o.beta0 = 1; }, "beta falls");
  error([](auto&, auto& o) { o.warmup = 1; }, "warm-up");
  error([](auto&, auto& o) { o.rate = 0; }, "rates must be positive");
  error([](auto&, auto& o) { o.steps = 0; }, "at least one step");
  error([](auto&, auto& o) { o.drop = 1.5; }, "[0, 1]");
  error([](auto&, auto& o) { o.fisher = true; }, "give labels");
  error([](auto&, auto& o) { o.augment = FeatureAugmentation::Noise; }, "float unit");
  error([](auto& d, auto&) { d.quantized = torch::zeros({0, 3, 5, 5}); }, "empty");
  error([](auto& d, auto&) { d.target = d.target.slice(2, 1); }, "another shape");
  error([](auto& d, auto&) { d.reference = d.reference.slice(0, 1); }, "different shapes");
  error(
      [](auto&, auto& o) {
        o.rate = 1e30, o.optimizer = UpdateRule::Sgd, o.learn_bias = true, o.other_rate = 1e30, o.steps = 50;
      },
      "lower the learning rate");
}

}  // namespace
}  // namespace quanta
