#include "quanta/nn/quanv2d.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/nn/gradient_check.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::kFloat64;
using torch::Tensor;

/// In float64, with weights(layer, qubit).
Quanv2d make(Quanv2dOptions options, const std::function<double(int, int)>& weights) {
  Quanv2d quanv(options);
  quanv->to(kFloat64);
  const torch::NoGradGuard no_grad;
  const int n = quanv->circuit->circuit().wires();
  for (int l = 0; l < options.layers; ++l)
    for (int q = 0; q < n; ++q) quanv->circuit->weights[0][l * n + q] = weights(l, q);
  return quanv;
}

// U5 of the paper's specification.
TEST(Quanv2d, ExactValuesOfOnePatch) {
  const auto patch = torch::tensor({{0.1, 0.4}, {0.7, 0.9}}, kFloat64).view({1, 1, 2, 2});
  const auto expect = [&](int layers, const std::function<double(int, int)>& weights, std::vector<double> expected) {
    const auto y = make({.layers = layers}, weights)(patch);
    ASSERT_EQ(y.sizes(), (std::vector<int64_t>{1, 4, 1, 1}));
    for (int q = 0; q < 4; ++q)
      EXPECT_NEAR(y[0][q].item<double>(), expected[q], 1e-10) << layers << " layers, qubit " << q;
  };
  const auto zero = [](int, int) { return 0.0; };
  expect(0, zero, {0.9510565163, 0.3090169944, -0.5877852523, -0.9510565163});
  expect(1, zero, {0.1727457514, 0.2938926261, -0.1727457514, 0.1642909725});
  expect(4, [](int l, int q) { return 0.1 * (l + 1) * (q + 1); },
         {0.2003013014, 0.0115243856, -0.6004892396, 0.2064721893});
}

TEST(Quanv2d, EachPositionIsItsPatchAlone) {
  for (const int stride : {1, 2}) {
    Quanv2d quanv(Quanv2dOptions{.in_channels = 2, .stride = stride, .layers = 2});
    const auto images = torch::rand({3, 2, 6, 5});
    const auto y = quanv(images);
    const int64_t rows = (6 - 2) / stride + 1, columns = (5 - 2) / stride + 1;
    ASSERT_EQ(y.sizes(), (std::vector<int64_t>{3, 8, rows, columns}));
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c) {
        const auto patch = images.slice(2, r * stride, r * stride + 2).slice(3, c * stride, c * stride + 2);
        EXPECT_TRUE(torch::equal(quanv->circuit(patch.reshape({3, 8})), y.select(3, c).select(2, r)));
      }
  }
}

TEST(Quanv2d, GradientsAgreeWithDifferences) {
  Quanv2d quanv(Quanv2dOptions{.stride = 1, .layers = 2});
  quanv->to(kFloat64);
  const auto images = torch::rand({2, 1, 3, 3}, kFloat64).set_requires_grad(true);
  expect_gradient([&] { return quanv(images); }, images, 1e-7);
  expect_gradient([&] { return quanv(images); }, quanv->circuit->weights, 1e-7);
}

TEST(Quanv2d, FrozenAnglesAreABuffer) {
  Quanv2d frozen(Quanv2dOptions{.trainable = false}), trained;
  EXPECT_TRUE(frozen->parameters().empty());
  EXPECT_TRUE(torch::equal(frozen->circuit->weights, trained->circuit->weights));
  EXPECT_LT(trained->circuit->weights.max().item<double>(), std::numbers::pi);
  EXPECT_EQ(trained->circuit->weights.numel(), 16);
  const auto copy = std::dynamic_pointer_cast<Quanv2dImpl>(trained->clone());
  const auto images = torch::rand({1, 1, 4, 4});
  EXPECT_TRUE(torch::equal(copy->forward(images), trained(images)));
}

TEST(Quanv2d, BadOptionsAndInput) {
  EXPECT_THAT([] { Quanv2d(Quanv2dOptions{.in_channels = 2, .kernel = 3}); },
              ThrowsMessage<Error>(HasSubstr("needs 18 qubits, at most 12")));
  EXPECT_THAT([] { Quanv2d(Quanv2dOptions{.stride = 0}); }, ThrowsMessage<Error>(HasSubstr("at least 1")));
  EXPECT_THAT(
      [] {
        Quanv2d()(torch::rand({1, 3, 4, 4}));
      },
      ThrowsMessage<Error>(HasSubstr("expected [batch, 1, height, width], got [1, 3, 4, 4]")));
  EXPECT_THAT(
      [] {
        Quanv2d()(torch::rand({1, 1, 1, 4}));
      },
      ThrowsMessage<Error>(HasSubstr("image (1x4) is smaller than the kernel (2x2)")));
  const auto odd = torch::rand({1, 1, 5, 4});
  EXPECT_EQ(Quanv2d()(odd).size(2), 2);
  EXPECT_THAT([&] { Quanv2d(Quanv2dOptions{.strict = true})(odd); },
              ThrowsMessage<Error>(HasSubstr("do not cover a 5x4")));
}

}  // namespace
}  // namespace quanta
