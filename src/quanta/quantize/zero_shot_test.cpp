#include "quanta/quantize/zero_shot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/safetensors.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/mini_nets.h"
#include "quanta/quantize/quantized_model.h"

namespace quanta {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::ThrowsMessage;
using torch::Tensor;

Network trained_like(Network net) {
  torch::manual_seed(1);
  for (int i = 0; i < 20; ++i) net->forward(torch::randn({8, 3, 16, 16}));
  net->eval();
  return net;
}

const DistillOptions kQuick{.batch = 8, .iterations = 20};

TEST(ZeroShotQuantizer, SpecifiedExample) {
  const Tensor x = torch::tensor({-1.0, 0.4, 2.0}, torch::kFloat32);
  const auto quantizer = zero_shot_quantizer(x, 2, false);
  const auto codes = quantizer->quantizer().encode(x);  // q = -2, -1, 1, counted from 0
  EXPECT_TRUE(codes.equal(torch::tensor({0, 1, 3}, torch::kInt32)));
  EXPECT_TRUE(quantizer->forward(x).equal(torch::tensor({-1.0, 0.0, 2.0}, torch::kFloat32)));
}

TEST(ZeroShotQuantizer, IsThePapersFormula) {
  torch::manual_seed(1);
  for (const int bits : {2, 3, 4, 8})
    for (const double shift : {0.0, 2.0, -5.0}) {  // also ranges on one side of zero
      const Tensor w = (torch::randn({6, 40}) + shift).to(torch::kFloat32);
      const Tensor x = w.to(torch::kFloat64);
      const Tensor low = x.amin(1, true), high = x.amax(1, true);
      const double n = std::pow(2, bits) - 1, half = std::pow(2, bits - 1);
      const Tensor s = n / (high - low).clamp_min(1e-8), z = (s * low).round() + half;
      const Tensor expected = ((s * x - z).round().clamp(-half, half - 1) + z) / s;
      const Tensor found = zero_shot_quantizer(w, bits, true)->forward(w).to(torch::kFloat64);
      // Values at the middle of two codes may go either way in float and double.
      const Tensor middle = ((s * x - (s * x).floor()) - 0.5).abs().lt(1e-4);
      EXPECT_LT(((found - expected).abs() / (high - low)).masked_fill(middle, 0).max().item<double>(), 1e-5);
      EXPECT_LT(middle.sum().item<int64_t>(), 3);
    }
}

TEST(ZeroShotQuantizer, ConstantsKeepTheirValue) {
  for (const float value : {0.0F, 0.1F, -3.7F, 1e6F}) {
    const Tensor x = torch::full({2, 3}, value);
    const Tensor found = zero_shot_quantizer(x, 8, true)->forward(x);
    EXPECT_NEAR(found[0][0].item<float>(), value, 1e-6 * std::abs(value));
  }
}

TEST(ZeroShot, KeepsTheBudgetAndWritesIt) {
  Network net = trained_like(res_mini({.seed = 2}));
  const Tensor before = net->parameters()[0].clone();
  const auto result = quantize_zero_shot(net, {3, 16, 16}, {.average_bits = 3, .distill = kQuick});
  EXPECT_TRUE(net->parameters()[0].equal(before));
  EXPECT_EQ(result.data.size(0), 8);
  EXPECT_EQ(result.history.size(), 21u);
  ASSERT_EQ(result.bits.bits.size(), 10u);
  EXPECT_LE(result.bits.size, 3 * 77360);
  EXPECT_GT(result.bits.size, 2 * 77360);

  // The layers hold what the allocation says, the activations 8 bits.
  const auto layers = quantizable_layers(*result.network);
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor w = layers[i].second->weight.detach();
    const Tensor used = layers[i].second->slot(QuantizableLayer::Place::Weight)(w);
    EXPECT_LE(std::get<0>(torch::_unique(used[0])).numel(), 1 << result.bits.bits[i]);
  }
  int rectifiers = 0;
  for (const Node& node : result.network->nodes())
    if (node.op == Op::Relu) rectifiers += bool(node.output);
  EXPECT_EQ(rectifiers, 7);
}

TEST(ZeroShot, FoldedIsStoredAtItsBits) {
  Network net = trained_like(res_mini({.seed = 2}));
  const auto result = quantize_zero_shot(net, {3, 16, 16}, {.average_bits = 3, .fold = true, .distill = kQuick});
  const testing::TemporaryFolder folder;
  save_quantized(folder / "net.safetensors", result.network);
  const auto file = Safetensors::open(folder / "net.safetensors");
  int64_t bytes = 0;
  for (const auto& [name, tensor] : file.tensors())
    if (name.ends_with(".codes")) bytes += int64_t(tensor.bytes.size());
  EXPECT_EQ(bytes, result.bits.size / 8);  // all sizes here are multiples of 8
  torch::NoGradGuard no_grad;
  Network loaded = load_quantized(folder / "net.safetensors", net);
  EXPECT_TRUE(loaded->forward(result.data).allclose(Network(result.network)->forward(result.data), 1e-4, 1e-4));
}

TEST(ZeroShot, OneWidthNeedsNoSearch) {
  Network net = trained_like(res_mini());
  const auto result = quantize_zero_shot(net, {3, 16, 16}, {.weight_bits = {4}, .fold = true, .distill = kQuick});
  EXPECT_THAT(result.bits.bits, Each(4));
  EXPECT_TRUE(result.sensitivity.names.empty());
  for (const Node& node : result.network->nodes()) EXPECT_NE(node.op, Op::BatchNorm);
  // With 8 bits everywhere the outputs stay.
  const auto fine = quantize_zero_shot(net, {3, 16, 16}, {.weight_bits = {8}, .distill = kQuick});
  torch::NoGradGuard no_grad;
  const Tensor x = result.data, reference = net->forward(x);
  EXPECT_LT(((Network(fine.network)->forward(x) - reference).norm() / reference.norm()).item<double>(), 0.05);
}

TEST(ZeroShot, ADetectorGoesTheSameWay) {
  Network net = trained_like(mini_detector(2, {.classes = 3}));
  const auto result = quantize_zero_shot(
      net, {3, 16, 16},
      {.average_bits = 4, .distill = kQuick, .divergence = Divergence::BernoulliKl, .logits = [](const Tensor& output) {
         return output.slice(1, 0, 6);
       }});
  EXPECT_EQ(result.bits.bits.size(), 12u);
  EXPECT_THAT(result.bits.bits, Each(Le(8)));
  EXPECT_TRUE(Network(result.network)->forward(result.data).isfinite().all().item<bool>());
}

TEST(ZeroShot, AnActivationThatIsConstantOnTheDataIsNotLost) {
  Network net = trained_like(res_mini());
  {
    torch::NoGradGuard no_grad;
    auto& bn = net->nodes()[size_t(net->find("stem.bn"))].batch_norm;
    bn->bias.fill_(-100);  // the rectifier behind is dead on ordinary data
  }
  calibrate_activations(net, torch::randn({4, 3, 16, 16}), 8);
  torch::NoGradGuard no_grad;
  Tensor alive;
  net->run(1000 * torch::randn({4, 3, 16, 16}), [&](const Node& node, const auto&, const Tensor& output) {
    if (node.name == "stem.relu") alive = output;
  });
  EXPECT_GT(alive.max().item<double>(), 10);
}

TEST(ZeroShot, BadInput) {
  Network net = trained_like(res_mini());
  const auto quantize = [&](const ZeroShotOptions& options) { quantize_zero_shot(net, {3, 16, 16}, options); };
  EXPECT_THAT(
      [&] {
        quantize({.weight_bits = {4, 9}, .average_bits = 4});
      },
      ThrowsMessage<Error>(HasSubstr("2 to 8 bits, got 9")));
  EXPECT_THAT([&] { quantize({}); }, ThrowsMessage<Error>(HasSubstr("one budget")));
  EXPECT_THAT([&] { quantize({.average_bits = 3, .megabytes = 1}); }, ThrowsMessage<Error>(HasSubstr("one budget")));
  EXPECT_THAT([&] { quantize({.average_bits = 1.5, .distill = kQuick}); },
              ThrowsMessage<Error>(HasSubstr("154720 bits")));
  EXPECT_THAT([&] { quantize_weights(net, {8, 8}); }, ThrowsMessage<Error>(HasSubstr("2 bit-widths for 10 layers")));
}

}  // namespace
}  // namespace quanta
