#include "quanta/nn/network.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/nn/fold.h"

namespace quanta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// Stem, a residual block with a shortcut of its own, pooling and a classifier; all values random, moments included.
Network small_net(uint64_t seed) {
  torch::manual_seed(seed);
  Network net;
  int x = net->input();
  net->block("stem");
  x = net->relu("relu", net->batch_norm("bn1", net->conv("conv1", x, Conv2dOptions::square(3, 8, 3))));
  net->block("layer1.0");
  int y = net->conv("layer1.0.conv1", x, Conv2dOptions::square(8, 12, 3, 2));
  y = net->relu("layer1.0.relu1", net->batch_norm("layer1.0.bn1", y));
  y = net->batch_norm("layer1.0.bn2", net->conv("layer1.0.conv2", y, Conv2dOptions::square(12, 12, 3, 1, 12)));
  const int down =
      net->batch_norm("layer1.0.downsample.1",
                      net->conv("layer1.0.downsample.0", x, {.in = 8, .out = 12, .stride{2, 2}, .bias = true}));
  x = net->relu("layer1.0.relu2", net->add("layer1.0.add", y, down));
  net->block("");
  x = net->flatten("flatten", net->global_avg_pool("pool", x));
  net->linear("fc", net->dropout("drop", x, 0.3), 12, 5);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->named_parameters()) p.value().normal_(0, 0.4);
  for (const auto& b : net->named_buffers())
    if (b.value().is_floating_point()) b.value().uniform_(0.2, 2);
  return net;
}

double difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Network, NamesParametersAsTheirNodes) {
  const auto parameters = small_net(0)->named_parameters();
  EXPECT_TRUE(parameters.contains("conv1.weight"));
  EXPECT_TRUE(parameters.contains("layer1.0.downsample.0.bias"));
  EXPECT_TRUE(parameters.contains("layer1.0.bn1.weight"));
  EXPECT_TRUE(parameters.contains("fc.bias"));
}

TEST(Network, EqualsLibTorchsModules) {
  Network net = small_net(1);
  net->eval();
  const auto x = torch::randn({2, 3, 9, 9});
  const auto p = net->named_parameters();
  const auto b = net->named_buffers();
  const auto norm = [&](const torch::Tensor& v, const std::string& n) {
    return torch::batch_norm(v, p[n + ".weight"], p[n + ".bias"], b[n + ".running_mean"], b[n + ".running_var"], false,
                             0.1, 1e-5, false);
  };
  auto h = torch::relu(norm(torch::conv2d(x, p["conv1.weight"], {}, 1, 1), "bn1"));
  auto y = torch::relu(norm(torch::conv2d(h, p["layer1.0.conv1.weight"], {}, 2, 1), "layer1.0.bn1"));
  y = norm(torch::conv2d(y, p["layer1.0.conv2.weight"], {}, 1, 1, 1, 12), "layer1.0.bn2");
  const auto down = norm(torch::conv2d(h, p["layer1.0.downsample.0.weight"], p["layer1.0.downsample.0.bias"], 2),
                         "layer1.0.downsample.1");
  y = torch::relu(y + down).mean({2, 3});
  EXPECT_LT(difference(net->forward(x), torch::linear(y, p["fc.weight"], p["fc.bias"])), 1e-5);
}

TEST(Network, CopySharesNothing) {
  Network net = small_net(2);
  net->eval();
  Network twin = net->copy();
  const auto x = torch::randn({2, 3, 8, 8});
  const auto before = net->forward(x);
  EXPECT_TRUE(torch::equal(before, twin->forward(x)));
  {
    const torch::NoGradGuard no_grad;
    for (const auto& p : twin->parameters()) p.zero_();
  }
  EXPECT_TRUE(torch::equal(before, net->forward(x)));
}

TEST(Network, BlocksAreCutWhereOneValuePasses) {
  const Network net = small_net(3);
  std::vector<std::string> names;
  int expected = 1;
  for (const Block& block : net->blocks()) {
    names.push_back(block.name);
    EXPECT_EQ(block.first, expected);
    expected = block.last + 1;
  }
  EXPECT_THAT(names, ElementsAre("stem", "layer1.0", "pool", "flatten", "drop", "fc"));
  EXPECT_EQ(expected, int(net->nodes().size()));
}

TEST(Network, PartsInARowAreTheWhole) {
  Network net = small_net(4);
  net->eval();
  const auto x = torch::randn({2, 3, 8, 8});
  auto value = x;
  for (const Block& block : net->blocks()) value = net->part(block)->forward(value);
  EXPECT_TRUE(torch::equal(value, net->forward(x)));
}

TEST(Network, ResidualsOutsideBlocksAreNotCut) {
  Network net;
  const int x = net->input();
  const int a = net->relu("a", x);
  const int b = net->relu("b", a);
  net->relu("d", net->add("c", a, b));
  const auto blocks = net->blocks();
  ASSERT_EQ(blocks.size(), 3u);  // a; b and c, which need a's value together; d
  EXPECT_EQ(blocks[1].first, 2);
  EXPECT_EQ(blocks[1].last, 3);
  EXPECT_EQ(blocks[1].input, a);
}

TEST(Network, LayerTableCountsByHand) {
  const auto table = layer_table(small_net(5), {1, 3, 9, 9});
  ASSERT_EQ(table.size(), 5u);
  EXPECT_EQ(table[0].kind, "conv 3x3");
  EXPECT_EQ(table[0].macs, 9 * 9 * 8 * 27);
  EXPECT_EQ(table[2].kind, "depthwise 3x3");
  EXPECT_EQ(table[2].macs, 5 * 5 * 12 * 9);
  EXPECT_EQ(table[3].name, "layer1.0.downsample.0");
  EXPECT_EQ(table[3].parameters, 12 * 8 + 12);
  EXPECT_THAT(table[4].output, ElementsAre(5));
  EXPECT_EQ(table[4].macs, 60);
}

TEST(Network, Refuses) {
  Network net;
  net->input();
  net->relu("a", 0);
  EXPECT_THAT([&] { net->relu("a", 1); }, ThrowsMessage<Error>(HasSubstr("two nodes are called 'a'")));
  EXPECT_THAT([&] { net->relu("b", 7); }, ThrowsMessage<Error>(HasSubstr("takes the value of node 7")));
  EXPECT_THAT([&] { net->find("aa"); }, ThrowsMessage<Error>(HasSubstr("nearest is 'a'")));
  EXPECT_THAT([&] { Conv2dImpl({.in = 4, .out = 6, .groups = 4}); }, ThrowsMessage<Error>(HasSubstr("divide both")));
}

TEST(Fold, KeepsTheFunction) {
  Network net = small_net(6);
  net->to(torch::kFloat64);
  net->eval();
  const auto x = torch::randn({4, 3, 8, 8}, torch::kFloat64);
  Network folded = fold_batch_norm(net);
  EXPECT_LT(difference(net->forward(x), folded->forward(x)), 1e-12);
  for (const Node& node : folded->nodes()) EXPECT_TRUE(node.op != Op::BatchNorm && node.op != Op::Dropout) << node.name;
  Network fused = fuse_batch_norm(net);
  EXPECT_LT(difference(net->forward(x), fused->forward(x)), 1e-12);
  EXPECT_LT(difference(net->forward(x), fold_batch_norm(fused)->forward(x)), 1e-12);
}

TEST(Fold, FloatToOneInAHundredThousand) {
  Network net = small_net(7);
  net->eval();
  const auto x = torch::randn({4, 3, 8, 8});
  const auto before = net->forward(x);
  EXPECT_LT(difference(before, fold_batch_norm(net)->forward(x)),
            1e-5 * std::max(1.0, before.abs().max().item<double>()));
}

class FusedTraining : public testing::TestWithParam<BatchNormFold> {};

// With an empty weight slot the fused layer is convolution and batch normalization in training mode: values, gradients
// and running moments; and in evaluation mode once frozen.
TEST_P(FusedTraining, EqualsBatchNorm) {
  torch::manual_seed(8);
  const auto wide = torch::kFloat64;
  Conv2dImpl conv({.in = 3, .out = 4, .kernel{3, 3}, .padding{1, 1}, .bias = true});
  torch::nn::BatchNorm2d norm(4);
  {
    const torch::NoGradGuard no_grad;
    for (auto* t : {&conv.weight, &conv.bias, &norm->weight, &norm->bias}) t->normal_();
    norm->running_mean.normal_();
    norm->running_var.uniform_(0.5, 2);
  }
  conv.to(wide);
  norm->to(wide);
  ConvBn2dImpl fused(conv, *norm, GetParam());
  const auto x = torch::randn({5, 3, 6, 6}, wide);
  const auto upstream = torch::randn({5, 4, 6, 6}, wide);

  auto expected = norm->forward(conv.forward(x));
  auto got = fused.forward(x);
  EXPECT_LT(difference(expected, got), 1e-10);
  const auto want = torch::autograd::grad({(expected * upstream).sum()}, {conv.weight, norm->weight, norm->bias});
  const auto have = torch::autograd::grad({(got * upstream).sum()}, {fused.weight, fused.gamma, fused.beta});
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(difference(want[i], have[i]), 1e-9) << i;
  EXPECT_LT(difference(norm->running_mean - conv.bias, fused.running_mean), 1e-10);
  EXPECT_LT(difference(norm->running_var, fused.running_var), 1e-10);

  fused.freeze();
  norm->eval();
  expected = norm->forward(conv.forward(x));
  EXPECT_LT(difference(expected, fused.forward(x)), 1e-10);
  const auto moments = fused.running_mean.clone();
  fused.forward(x);
  EXPECT_TRUE(torch::equal(moments, fused.running_mean));
}

INSTANTIATE_TEST_SUITE_P(Modes, FusedTraining,
                         testing::Values(BatchNormFold::Rescaled, BatchNormFold::Corrected, BatchNormFold::Naive));

/// Rounds to a grid of 1/4 and lets gradients through.
struct Rounded : TensorTransform {
  torch::Tensor forward(const torch::Tensor& x) override { return x + ((x * 4).round() / 4 - x).detach(); }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Rounded>(); }
};

// arXiv 1806.08342: sigma_B = 3, sigma = 2, W = 0.8, gamma = 2 gives the correction 1.5 and the folded weight 0.8. The
// weight that is quantized is the one of inference, whatever the batch.
TEST(Fold, QuantizesTheWeightOfInference) {
  Conv2dImpl conv({.in = 1, .out = 1});
  torch::nn::BatchNorm2d norm(torch::nn::BatchNorm2dOptions(1).eps(0));
  {
    const torch::NoGradGuard no_grad;
    conv.weight.fill_(0.8);
    norm->weight.fill_(2);
    norm->running_var.fill_(4);
  }
  for (const auto fold : {BatchNormFold::Rescaled, BatchNormFold::Corrected}) {
    ConvBn2dImpl fused(conv, *norm, fold);
    torch::Tensor seen;
    struct Spy : TensorTransform {
      explicit Spy(torch::Tensor* to) : to(to) {}
      torch::Tensor forward(const torch::Tensor& x) override { return *to = x; }
      std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Spy>(to); }
      torch::Tensor* to;
    };
    fused.put(QuantizableLayer::Place::Weight, std::make_shared<Spy>(&seen));
    fused.forward(3 / 0.8 * torch::tensor({-1., 1.}).view({2, 1, 1, 1}));  // sigma_B = 3
    EXPECT_NEAR(seen.item<double>(), 0.8, 1e-6);
  }
}

TEST(Slots, ActAndAreCopied) {
  Network net = small_net(9);
  net->eval();
  const auto x = torch::randn({1, 3, 8, 8});
  net->put(net->find("relu"), std::make_shared<Rounded>());
  const auto& layer = net->nodes()[size_t(net->find("fc"))].layer;
  layer->put(QuantizableLayer::Place::Weight, std::make_shared<Rounded>());
  struct Scale : TensorTransform {
    Scale() { factor = register_buffer("factor", torch::full({1}, 2.0f)); }
    torch::Tensor forward(const torch::Tensor& x) override { return x * factor; }
    std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Scale>(); }
    torch::Tensor factor;
  };
  net->put(net->find("conv1"), std::make_shared<Scale>());  // with a buffer, inside a layer's own node
  const auto y = net->forward(x);
  EXPECT_TRUE(torch::equal(y, Network(net->copy())->forward(x)));
  auto value = x;
  for (const Block& block : net->blocks()) value = net->part(block)->forward(value);
  EXPECT_TRUE(torch::equal(y, value));
  net->put(net->find("relu"), nullptr);
  layer->put(QuantizableLayer::Place::Weight, nullptr);
  EXPECT_GT(difference(y, net->forward(x)), 1e-4);
}

}  // namespace
}  // namespace quanta
