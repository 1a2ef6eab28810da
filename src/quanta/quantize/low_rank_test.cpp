#include "quanta/quantize/low_rank.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
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

class LowRank : public testing::TestWithParam<TrainForm> {
 protected:
  const DynamicAffineOptions grid{.bits = 4};
  const Tensor w = random_tensor({10, 12}, 1);
  LowRankCorrection correction{w, {.rank = 4, .form = GetParam()}, grid, Random(2)};
};

// Exact check 6 of QLLM's specification.
TEST_P(LowRank, StartsAtPlainRounding) {
  EXPECT_TRUE(torch::equal(correction.forward(w), dynamic_affine(w, grid)));
  EXPECT_TRUE(torch::equal(correction.merge(w), w));
  EXPECT_LE(correction.a.abs().max().item<double>(), 1 / std::sqrt(12.0));
  EXPECT_GT(correction.a.abs().max().item<double>(), 0.9 / std::sqrt(12.0));
}

TEST_P(LowRank, MergesAQuarterOfTheProduct) {
  const torch::NoGradGuard no_grad;
  correction.b.copy_(random_tensor({10, 4}, 3));
  const Tensor whole = w + 0.25 * correction.b.matmul(correction.a);
  EXPECT_LT((correction.merge(w) - whole).abs().max().item<double>(), 1e-6);
  const Tensor expected = GetParam() == TrainForm::Inside
                              ? dynamic_affine(whole, grid)
                              : dynamic_affine(w, grid) + 0.25 * correction.b.matmul(correction.a);
  EXPECT_LT((correction.forward(w) - expected).abs().max().item<double>(), 1e-12);
  EXPECT_TRUE(torch::equal(correction.copy()->forward(w), correction.forward(w)));
}

// Inside, rounding counts as the identity; outside, nothing is rounded that is trained.
TEST_P(LowRank, GradientOfB) {
  {
    const torch::NoGradGuard no_grad;
    correction.b.copy_(0.1 * random_tensor({10, 4}, 4));
  }
  const Tensor x = random_tensor({6, 12}, 5);
  const DynamicGrid at = dynamic_grid(correction.merge(w).detach(), grid);
  const Tensor steps = correction.merge(w).detach() / at.scale, offset = steps.round() - steps;
  const Tensor code = steps.round() + at.zero;
  const auto smooth = [&] {
    const Tensor whole = correction.merge(w);
    const Tensor scale = dynamic_grid(whole, grid).scale;
    const Tensor free = torch::where((code >= 0) & (code <= 15), whole / scale + offset + at.zero, code.clamp(0, 15));
    return x.matmul(((free - at.zero) * scale).t());
  };
  const auto outputs = [&] { return x.matmul(correction.forward(w).t()); };
  if (GetParam() == TrainForm::Outside) return expect_gradient(outputs, correction.b, 1e-6);
  expect_gradient(smooth, correction.b, 1e-6);
  const auto gradient = [&](const Tensor& y) {
    return torch::autograd::grad({(y * random_tensor({6, 10}, 6)).sum()}, {correction.b})[0];
  };
  EXPECT_LT((gradient(outputs()) - gradient(smooth())).abs().max().item<double>(), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Forms, LowRank, testing::Values(TrainForm::Outside, TrainForm::Inside));

TEST(LowRankCorrection, RefusesImpossibleRanks) {
  for (const int64_t rank : {0, 4})
    EXPECT_THAT(
        [&] {
          LowRankCorrection(torch::ones({3, 5}), {.rank = rank}, {}, Random(0));
        },
        ThrowsMessage<Error>(HasSubstr("expected 1 to 3")));
}

}  // namespace
}  // namespace quanta
