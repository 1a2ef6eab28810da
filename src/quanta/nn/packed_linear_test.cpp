#include "quanta/nn/packed_linear.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;

/// Doubles what it sees.
class Twice : public TensorTransform {
 public:
  torch::Tensor forward(const torch::Tensor& x) override { return 2 * x; }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Twice>(); }
};

PackedTensors random_tensors(int64_t out, int64_t in, int bits, int64_t group) {
  torch::manual_seed(1);
  const int64_t groups = group == 0 ? 1 : (in + group - 1) / group;
  return {.bits = bits,
          .group = group,
          .codes = torch::randint(1 << bits, {out, in}, torch::kUInt8),
          .scales = (torch::rand({out, groups}) * 0.01 + 0.001).to(torch::kHalf),
          .zeros = torch::randint(1 << bits, {out, groups}),
          .bias = torch::randn(out)};
}

torch::Tensor float_weight(const PackedTensors& t) {
  const int64_t in = t.codes.size(1);
  const auto of = t.group_index.defined() ? t.group_index.to(torch::kInt64)
                                          : torch::arange(in).div(t.group == 0 ? in : t.group, "floor");
  return t.scales.to(torch::kFloat).index_select(1, of) *
         (t.codes.to(torch::kFloat) - t.zeros.to(torch::kFloat).index_select(1, of));
}

double relative_error(const torch::Tensor& a, const torch::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

TEST(PackedLinear, IsTheLinearLayerOfItsWeights) {
  const torch::NoGradGuard no_grad;
  for (const int bits : {2, 3, 4, 8}) {
    const auto tensors = random_tensors(70, 200, bits, 64);
    PackedLinear layer(pack(tensors), Activations::Float);
    for (const auto& shape : std::vector<std::vector<int64_t>>{{200}, {1, 200}, {2, 13, 200}}) {
      const auto x = torch::randn(shape);
      const auto expected = torch::nn::functional::linear(x, float_weight(tensors), tensors.bias);
      const auto y = layer->forward(x);
      EXPECT_EQ(y.sizes(), expected.sizes());
      EXPECT_LE(relative_error(y, expected), 1e-5) << bits;
      EXPECT_LE(relative_error(layer->unpacked()(x), expected), 1e-5);
    }
    EXPECT_TRUE(torch::equal(layer->effective_weight(), float_weight(tensors)));
  }
}

TEST(PackedLinear, EightBitActivationsCostLittle) {
  const torch::NoGradGuard no_grad;
  const auto tensors = random_tensors(64, 512, 4, 128);
  PackedLinear layer(pack(tensors));
  const auto x = torch::randn({4, 512});
  const auto expected = torch::nn::functional::linear(x, float_weight(tensors), tensors.bias);
  EXPECT_LE(relative_error(layer(x), expected), 0.01);  // a step is 1/127 of about three deviations
  EXPECT_EQ(layer(x.to(torch::kDouble)).scalar_type(), torch::kDouble);
}

TEST(PackedLinear, InputsMayBelongToAnyGroup) {
  const torch::NoGradGuard no_grad;
  auto tensors = random_tensors(40, 128, 4, 32);
  tensors.group_index = torch::arange(128).remainder(4).to(torch::kInt32).index_select(0, torch::randperm(128));
  PackedLinear layer(pack(tensors), Activations::Float);
  const auto x = torch::randn({3, 128});
  EXPECT_LE(relative_error(layer->forward(x), torch::nn::functional::linear(x, float_weight(tensors), tensors.bias)),
            1e-5);
  EXPECT_TRUE(torch::equal(layer->effective_weight(), float_weight(tensors)));
}

TEST(PackedLinear, Slots) {
  const torch::NoGradGuard no_grad;
  const auto tensors = random_tensors(32, 64, 4, 0);
  PackedLinear layer(pack(tensors), Activations::Float);
  const auto x = torch::randn({3, 64});
  const auto plain = layer(x), twice = layer(2 * x);
  layer->put(QuantizableLayer::Place::Input, std::make_shared<Twice>());
  EXPECT_TRUE(torch::equal(layer(x), twice));
  EXPECT_TRUE(torch::equal(layer->copy()->forward(x), twice));
  layer->put(QuantizableLayer::Place::Input, nullptr);
  layer->put(QuantizableLayer::Place::Output, std::make_shared<Twice>());
  EXPECT_TRUE(torch::equal(layer(x), 2 * plain));
  EXPECT_EQ(layer->macs({3, 32}), 3 * 32 * 64);
}

TEST(PackedLinear, HoldsNoFloatWeights) {
  for (const int bits : {3, 4}) {
    auto tensors = random_tensors(1024, 1024, bits, 128);
    tensors.bias = torch::Tensor();
    const PackedLinear layer(pack(tensors));
    EXPECT_TRUE(layer->parameters().empty());
    EXPECT_TRUE(layer->buffers().empty());
    const double half = 2.0 * 1024 * 1024;
    // b bits, and a scale of 16 and a zero point of 8 for 128 weights.
    EXPECT_EQ(double(layer->matrix().bytes()), 1024 * 1024 * (bits + 24 / 128.0) / 8);
    EXPECT_LE(double(layer->matrix().bytes()), (bits == 3 ? 0.20 : 0.27) * half);
  }
}

TEST(PackedLinear, RefusesWhatDoesNotFit) {
  const auto message = [](const auto& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto tensors = random_tensors(32, 64, 4, 0);
  PackedLinear layer(pack(tensors));
  EXPECT_THAT(message([&] { layer(torch::randn({3, 63})); }), HasSubstr("64 inputs got a tensor of 63"));
  EXPECT_THAT(message([&] { layer(torch::randn({3, 64}).requires_grad_()); }), HasSubstr("gradients do not pass"));
  auto wrong = tensors;
  wrong.codes = wrong.codes.to(torch::kInt32);
  EXPECT_THAT(message([&] { pack(wrong); }), HasSubstr("uint8"));
  wrong = tensors;
  wrong.group_index = torch::zeros(3);
  EXPECT_THAT(message([&] { pack(wrong); }), HasSubstr("64 group indices"));
}

}  // namespace
}  // namespace quanta
