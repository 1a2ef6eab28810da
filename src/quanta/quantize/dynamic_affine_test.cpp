#include "quanta/quantize/dynamic_affine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/nn/gradient_check.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;

Tensor random_tensor(torch::IntArrayRef shape, uint64_t seed) {
  Random random(seed);
  auto made = torch::empty(shape, torch::kFloat64);
  for (int64_t i = 0; i < made.numel(); ++i) made.data_ptr<double>()[i] = random.normal();
  return made;
}

// Exact check 7 of QLLM's specification.
TEST(DynamicAffine, KnownRows) {
  const auto row = torch::arange(16).to(torch::kFloat32).unsqueeze(0);
  EXPECT_TRUE(torch::equal(dynamic_affine(row, {.bits = 4}), row));
  for (const double value : {0.0, 1.0, -3.25, 700.0}) {
    const auto constant = torch::full({2, 5}, value);
    EXPECT_LT((dynamic_affine(constant, {.bits = 4}) - constant).abs().max().item<double>(),
              1e-5 + 1e-6 * std::abs(value));
  }
}

TEST(DynamicAffine, IsTheFormulaOnEachRow) {
  const auto x = random_tensor({3, 4, 10}, 1) * 5;
  for (const int bits : {2, 4, 8}) {
    const auto quantized = dynamic_affine(x, {.bits = bits});
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 4; ++j) {
        double low = 1e300, high = -1e300;
        for (int64_t k = 0; k < 10; ++k) {
          low = std::min(low, x[i][j][k].item<double>());
          high = std::max(high, x[i][j][k].item<double>());
        }
        const double top = std::pow(2, bits) - 1, s = (high - low) / top, z = std::nearbyint(-low / s);
        for (int64_t k = 0; k < 10; ++k) {
          const double code = std::clamp(std::nearbyint(x[i][j][k].item<double>() / s) + z, 0.0, top);
          EXPECT_NEAR(quantized[i][j][k].item<double>(), s * (code - z), 1e-12);
        }
      }
  }
}

TEST(DynamicAffine, TheRangeNeedNotHoldZero) {
  const auto x = torch::tensor({10.0, 10.5, 11.5}).unsqueeze(0);
  EXPECT_LT((dynamic_affine(x, {.bits = 2}) - x).abs().max().item<double>(), 0.26);  // steps of 0.5, not of 11.5 / 3
}

TEST(DynamicAffine, SymmetricGridsHoldZero) {
  const auto x = torch::tensor({-7.0, 0.0, 3.0, 2.4}).unsqueeze(0);
  const auto expected = torch::tensor({-7.0, 0.0, 3.0, 2.0}).unsqueeze(0);
  EXPECT_LT((dynamic_affine(x, {.bits = 4, .symmetric = true}) - expected).abs().max().item<double>(), 1e-6);
}

// With rounding's offsets, the zero point and the clamped codes held still the quantizer is smooth, and that is what it
// differentiates as.
TEST(DynamicAffine, GradientTreatsRoundingAsTheIdentity) {
  for (const bool symmetric : {false, true}) {
    const DynamicAffineOptions options{.bits = 3, .symmetric = symmetric};
    auto x = random_tensor({4, 7}, 2).requires_grad_(true);
    const DynamicGrid at = dynamic_grid(x.detach(), options);
    const auto steps = x.detach() / at.scale, offset = steps.round() - steps, code = steps.round() + at.zero;
    const auto smooth = [&] {
      const auto scale = dynamic_grid(x, options).scale;
      return (torch::where((code >= 0) & (code <= 7), x / scale + offset + at.zero, code.clamp(0, 7)) - at.zero) *
             scale;
    };
    expect_gradient(smooth, x, 1e-6);
    const auto gradient = [&](const Tensor& y) {
      return torch::autograd::grad({(y * random_tensor({4, 7}, 3)).sum()}, {x})[0];
    };
    EXPECT_LT((gradient(dynamic_affine(x, options)) - gradient(smooth())).abs().max().item<double>(), 1e-12);
  }
}

TEST(DynamicAffine, CodesDecodeToTheSameBits) {
  const auto w = random_tensor({6, 33}, 4).to(torch::kFloat32);
  for (const bool symmetric : {false, true}) {
    const auto matrix = quantize_rows(w, {.bits = 3, .symmetric = symmetric});
    EXPECT_EQ(matrix.codes.scalar_type(), torch::kUInt8);
    EXPECT_LT(matrix.codes.max().item<int>(), 8);
    EXPECT_TRUE(torch::equal(matrix.dequantize(), dynamic_affine(w, {.bits = 3, .symmetric = symmetric})));
  }
}

TEST(DynamicAffine, IsItsSpec) {
  const auto x = random_tensor({2, 9}, 5);
  const DynamicAffineOptions options{.bits = 5, .symmetric = true};
  const auto made = make_transform(DynamicAffine(options).spec());
  EXPECT_TRUE(torch::equal(made->forward(x), dynamic_affine(x, options)));
  EXPECT_TRUE(torch::equal(made->copy()->forward(x), dynamic_affine(x, options)));
}

TEST(DynamicAffine, Errors) {
  EXPECT_THAT([] { DynamicAffine({.bits = 0}); }, ThrowsMessage<Error>(HasSubstr("expected 1 to 16")));
  EXPECT_THAT([] { DynamicAffine({.bits = 1, .symmetric = true}); },
              ThrowsMessage<Error>(HasSubstr("expected 2 to 16")));
  EXPECT_THAT(
      [] {
        quantize_rows(torch::ones({2, 2}), {.bits = 9});
      },
      ThrowsMessage<Error>(HasSubstr("expected 2 to 8")));
  EXPECT_THAT([] { quantize_rows(torch::full({2, 2}, NAN), {}); }, ThrowsMessage<Error>(HasSubstr("not finite")));
}

}  // namespace
}  // namespace quanta
