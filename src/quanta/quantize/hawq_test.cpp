#include "quanta/quantize/hawq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/models/mini_nets.h"
#include "quanta/quantize/dynamic_quantizer.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using torch::Tensor;
using Place = QuantizableLayer::Place;

/// Blocks named a, b, ... of these eigenvalues and sizes, without layers.
HawqPlan plan_of(const std::vector<double>& eigenvalues, const std::vector<int64_t>& weights) {
  HawqPlan plan;
  for (size_t i = 0; i < weights.size(); ++i)
    plan.blocks.push_back({.name = std::string(1, char('a' + i)), .weights = weights[i], .eigenvalue = eigenvalues[i]});
  return plan;
}

/// A tiny classifier of three blocks and data it can learn.
struct Task {
  Network net = mini_resnet({4}, {.classes = 3, .seed = 1});
  Examples train;

  explicit Task(int64_t n = 96) {
    torch::manual_seed(3);
    train.targets = torch::arange(n).remainder(3);
    train.inputs = 0.5 * torch::randn({n, 3, 6, 6});
    for (int64_t i = 0; i < n; ++i) train.inputs[i][i % 3] += 1;
    for (int i = 0; i < 10; ++i) net->forward(train.inputs);
    net->eval();
  }
  HawqPlan plan() { return hawq_sensitivities(net, hawq_blocks(net), train.inputs, train.targets, {.iterations = 20}); }
};

TEST(HawqPlan, SpecifiedOrderAndCompression) {
  HawqPlan plan = plan_of({8, 8, 1}, {100, 1000, 10});
  EXPECT_NEAR(plan.blocks[0].sensitivity(), 0.08, 1e-12);
  EXPECT_NEAR(plan.blocks[1].sensitivity(), 0.008, 1e-12);
  EXPECT_NEAR(plan.blocks[2].sensitivity(), 0.1, 1e-12);
  EXPECT_THAT(plan.precision_order(), ElementsAre(2, 0, 1));
  plan.blocks[1].eigenvalue = -800;  // the magnitude counts
  EXPECT_THAT(plan.precision_order(), ElementsAre(1, 2, 0));

  HawqPlan two = plan_of({1, 1}, {1000, 3000});
  two.blocks[0].bits = 8;
  two.blocks[1].bits = 2;
  EXPECT_NEAR(two.cost().weight_compression, 9.142857, 1e-6);
  // Omega has no n in it.
  two.blocks[0].perturbation = 3;
  two.blocks[1].perturbation = 2;
  EXPECT_NEAR(two.blocks[0].omega(), 3, 1e-12);
  EXPECT_THAT(two.finetune_order(), ElementsAre(0, 1));
}

TEST(HawqPlan, SurvivesJson) {
  Task task;
  HawqPlan plan = task.plan();
  assign_bits(plan, task.net, {2, 4, 8}, 4);
  EXPECT_EQ(HawqPlan::from_json(nlohmann::json::parse(plan.to_json().dump())), plan);
  EXPECT_THAT(
      [] {
        HawqPlan::from_json({{"blocks", {{{"name", "a"}}}}});
      },
      ThrowsMessage<Error>(HasSubstr("not a plan of HAWQ")));
}

TEST(HawqQuantizer, IsSymmetricPerChannel) {
  const Tensor w = torch::tensor({{0.2, -1.0, 0.6}, {10.0, 4.9, -5.1}});
  const Tensor ternary = hawq_quantize(w, 2);
  EXPECT_TRUE(ternary.equal(torch::tensor({{0.0, -1.0, 1.0}, {10.0, 0.0, -10.0}})));
  torch::manual_seed(1);
  const Tensor x = torch::randn({5, 30});
  for (const int bits : {3, 4, 8}) {
    const double top = std::pow(2, bits - 1) - 1;
    const Tensor s = x.abs().amax(1, true) / top;
    EXPECT_LT((hawq_quantize(x, bits) - (x / s).round().clamp(-top, top) * s).abs().max().item<double>(), 1e-6);
  }
}

TEST(DynamicQuantizer, FollowsTheWeightAndPassesGradients) {
  DynamicQuantizer quantizer({.bits = 2, .symmetric = true, .narrow = true, .axis = 0});
  const Tensor w = torch::tensor({{0.2, -1.0, 0.6}}).requires_grad_();
  const Tensor y = quantizer.forward(w);
  EXPECT_TRUE(y.allclose(torch::tensor({{0.0, -1.0, 1.0}})));
  const Tensor upstream = torch::tensor({{1.0, 2.0, 3.0}});
  EXPECT_TRUE(torch::autograd::grad({y}, {w}, {upstream})[0].equal(upstream));
  EXPECT_TRUE(quantizer.forward(4 * w.detach()).equal(torch::tensor({{0.0, -4.0, 4.0}})));
}

TEST(Hawq, BlocksOfANetwork) {
  const auto blocks = hawq_blocks(res_mini2());
  ASSERT_EQ(blocks.size(), 8u);
  EXPECT_EQ(blocks[0].name, "stem");
  EXPECT_THAT(blocks[3].layers, ElementsAre("block3.conv1", "block3.conv2", "block3.downsample.0"));
  EXPECT_EQ(blocks[7].name, "fc");
}

TEST(Hawq, MeasuresTheFloatNetworkBlockByBlock) {
  Task task;
  std::vector<Eigenpair> pairs;
  const HawqPlan plan = hawq_sensitivities(task.net, hawq_blocks(task.net), task.train.inputs, task.train.targets,
                                           {.iterations = 300, .tolerance = 1e-8}, 96, &pairs);
  ASSERT_EQ(plan.blocks.size(), 3u);
  EXPECT_EQ(plan.blocks[1].weights, 288);
  EXPECT_EQ(plan.blocks[0].activations, 4 * 36);
  EXPECT_EQ(plan.blocks[1].activations, 2 * 4 * 36);
  EXPECT_EQ(plan.blocks[2].activations, 0);
  // The classifier's Hessian entry by entry: that of softmax regression on the features.
  const auto& fc = task.net->nodes().back().layer;
  const auto loss = cross_entropy_of([&](const Tensor& x) { return task.net->forward(x); }, task.train.inputs,
                                     task.train.targets, 96);
  const auto gradient = torch::autograd::grad({loss.mean(0)}, {fc->weight}, {}, true, true)[0].flatten();
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < gradient.numel(); ++i)
    rows.push_back(torch::autograd::grad({gradient[i]}, {fc->weight}, {}, true)[0].flatten());
  const Tensor values = std::get<0>(torch::linalg_eigh(torch::stack(rows).to(torch::kFloat64), "L"));
  EXPECT_NEAR(plan.blocks[2].eigenvalue, values[-1].item<double>(), 1e-4 * values[-1].item<double>());
  // An eigenvector: Hv = lambda v.
  const Tensors product = Hessian(loss, {fc->weight})(pairs[2].vector);
  EXPECT_LT((product[0] - plan.blocks[2].eigenvalue * pairs[2].vector[0]).abs().max().item<double>(), 1e-3);
}

TEST(Hawq, BatchesOfANetworkGiveTheSameProduct) {
  Network net = res_mini({.seed = 2});
  torch::manual_seed(1);
  const Tensor x = torch::randn({64, 3, 8, 8}), y = torch::arange(64).remainder(10);
  net->forward(x);
  net->eval();
  const Tensors block{net->nodes()[size_t(net->find("block2.conv1"))].layer->weight};
  const Tensors v{torch::randn_like(block[0])};
  const auto forward = [&](const Tensor& in) { return net->forward(in); };
  const Tensor once = hessian_vector_product(cross_entropy_of(forward, x, y, 64), block, v)[0];
  const Tensor parts = hessian_vector_product(cross_entropy_of(forward, x, y, 16), block, v)[0];
  EXPECT_LT(((once - parts).abs().max() / once.abs().max()).item<double>(), 1e-5);
}

TEST(Hawq, BitsFollowTheOrderWithinTheBudget) {
  Task task;
  HawqPlan plan = task.plan();
  for (const double budget : {2.0, 3.0, 5.0, 8.0}) {
    assign_bits(plan, task.net, {2, 4, 8}, budget);
    EXPECT_LE(plan.cost().average_bits, budget);
    const auto order = plan.precision_order();
    for (size_t i = 1; i < order.size(); ++i)
      EXPECT_LE(plan.blocks[size_t(order[i])].bits, plan.blocks[size_t(order[i - 1])].bits);
    for (const HawqEntry& block : plan.blocks) {
      double sum = 0;
      for (const auto& name : block.layers) {
        const Tensor w = task.net->nodes()[size_t(task.net->find(name))].layer->weight.detach();
        sum += (hawq_quantize(w, block.bits) - w).square().sum().item<double>();
      }
      EXPECT_NEAR(block.perturbation, sum, 1e-5 * sum + 1e-12);
    }
  }
  auto reversed = plan.precision_order();
  std::ranges::reverse(reversed);
  assign_bits(plan, task.net, {2, 8}, 4, reversed);
  for (size_t i = 1; i < reversed.size(); ++i)
    EXPECT_LE(plan.blocks[size_t(reversed[i])].bits, plan.blocks[size_t(reversed[i - 1])].bits);

  const auto order = plan.precision_order();
  const double top = std::log10(plan.blocks[size_t(order[0])].sensitivity());
  assign_bits_by_cuts(plan, task.net, {2, 4, 8}, {top - 1e-6, -100});
  EXPECT_EQ(plan.blocks[size_t(order[0])].bits, 8);
  EXPECT_EQ(plan.blocks[size_t(order[2])].bits, 4);
  assign_activation_bits(plan, {4, 8}, 6);
  EXPECT_LE(plan.blocks[0].activations * plan.blocks[0].activation_bits +
                plan.blocks[1].activations * plan.blocks[1].activation_bits,
            6 * (plan.blocks[0].activations + plan.blocks[1].activations));
  EXPECT_EQ(plan.blocks[2].activation_bits, 0);  // has none
}

TEST(Hawq, StagesQuantizeAndFreezeInOrder) {
  Task task;
  HawqPlan plan = task.plan();
  assign_uniform_bits(plan, task.net, 2);
  for (HawqEntry& block : plan.blocks) block.activation_bits = 4;
  Network net(task.net->copy());
  quantize_block_activations(net, plan, task.train.inputs);
  const auto order = plan.finetune_order();
  const auto weight = [&](size_t block) {
    return net->nodes()[size_t(net->find(plan.blocks[block].layers[0]))].layer->weight.detach().clone();
  };
  const auto quantized = [&](size_t block) {
    return bool(net->nodes()[size_t(net->find(plan.blocks[block].layers[0]))].layer->slot(Place::Weight));
  };
  std::vector<Tensor> last;
  for (size_t i = 0; i < 3; ++i) last.push_back(weight(i));
  size_t stage = 0;
  const auto results = finetune_blockwise(net, plan, task.train, {.epochs = 0.5, .final_epochs = 1, .batch = 16}, [&] {
    if (stage < 3)
      for (size_t s = 0; s < 3; ++s) {
        const auto block = size_t(order[s]);
        EXPECT_EQ(quantized(block), s <= stage);
        EXPECT_EQ(weight(block).equal(last[block]), s < stage) << "stage " << stage << ", block " << block;
        last[block] = weight(block);
      }
    ++stage;
    return evaluate(net, task.train).accuracy;
  });
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[0].block, plan.blocks[size_t(order[0])].name);
  EXPECT_EQ(results[3].block, "all");
  torch::NoGradGuard no_grad;
  Network finished = finish_hawq(net, plan);
  for (const Node& node : finished->nodes()) EXPECT_NE(node.op, Op::BatchNorm);
  const Tensor out = net->forward(task.train.inputs), same = finished->forward(task.train.inputs);
  EXPECT_LT((out - same).abs().mean().item<double>(), 0.02 * out.abs().mean().item<double>());
  EXPECT_GT(results[3].accuracy, 0.5);
  EXPECT_FALSE(net->is_training());
  for (const auto& parameter : net->parameters()) EXPECT_TRUE(parameter.requires_grad());
}

TEST(Hawq, AllAtOnceAndOtherOrders) {
  Task task;
  HawqPlan plan = task.plan();
  assign_uniform_bits(plan, task.net, 4);
  const auto blocks = [&](StageOptions options) {
    Network net(task.net->copy());
    options.epochs = 0.2;
    options.final_epochs = options.order == StageOrder::AllAtOnce ? 1 : 0;
    std::vector<std::string> names;
    for (const auto& result : finetune_blockwise(net, plan, task.train, options)) names.push_back(result.block);
    return names;
  };
  EXPECT_THAT(blocks({.order = StageOrder::AllAtOnce}), ElementsAre("all"));
  EXPECT_THAT(blocks({.order = StageOrder::Forward}), ElementsAre("stem", "block1", "fc"));
  EXPECT_THAT(blocks({.order = StageOrder::Backward}), ElementsAre("fc", "block1", "stem"));
  EXPECT_THAT(blocks({.custom_order = {1, 2, 0}}), ElementsAre("block1", "fc", "stem"));
  auto up = blocks({.order = StageOrder::AscendingOmega}), down = blocks({});
  std::ranges::reverse(up);
  EXPECT_EQ(up, down);
  EXPECT_EQ(blocks({.order = StageOrder::Random, .seed = 5}), blocks({.order = StageOrder::Random, .seed = 5}));
}

TEST(Hawq, BadInput) {
  Task task;
  const auto measure = [&](const std::vector<HawqBlock>& blocks) {
    hawq_sensitivities(task.net, blocks, task.train.inputs, task.train.targets);
  };
  EXPECT_THAT([&] { measure({{"a", {}}}); }, ThrowsMessage<Error>(HasSubstr("block 'a' has no layers")));
  EXPECT_THAT([&] { measure({{"a", {"stem.convv"}}}); }, ThrowsMessage<Error>(HasSubstr("stem.conv")));
  EXPECT_THAT(
      [&] {
        measure({{"a", {"stem.conv"}}, {"b", {"stem.conv"}}});
      },
      ThrowsMessage<Error>(HasSubstr("in two blocks")));
  EXPECT_THAT([&] { measure({{"a", {"stem.conv"}}}); }, ThrowsMessage<Error>(HasSubstr("in no block")));
  HawqPlan plan = task.plan();
  EXPECT_THAT([&] { quantize_blocks(task.net, plan); }, ThrowsMessage<Error>(HasSubstr("assign bits first")));
  EXPECT_THAT([&] { assign_bits(plan, task.net, {2, 4}, 1.9); }, ThrowsMessage<Error>(HasSubstr("below the smallest")));
  EXPECT_THAT([&] { assign_bits_by_cuts(plan, task.net, {2, 4}, {}); }, ThrowsMessage<Error>(HasSubstr("one cut")));
  assign_uniform_bits(plan, task.net, 4);
  EXPECT_THAT(
      [&] {
        finetune_blockwise(task.net, plan, task.train, {.custom_order = {0, 0, 1}});
      },
      ThrowsMessage<Error>(HasSubstr("no permutation")));
  quantize_blocks(task.net, plan);
  EXPECT_THAT([&] { task.plan(); }, ThrowsMessage<Error>(HasSubstr("is quantized")));
  task.net->train();
  EXPECT_THAT([&] { task.plan(); }, ThrowsMessage<Error>(HasSubstr("evaluation mode")));
}

}  // namespace
}  // namespace quanta
