#include "quanta/quantize/rounding_variable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/nn/gradient_check.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;

constexpr RoundingKind kUpDown[] = {RoundingKind::RectifiedSigmoid, RoundingKind::Sigmoid, RoundingKind::Clamp,
                                    RoundingKind::Sine};
constexpr RoundingKind kAll[] = {
    RoundingKind::RectifiedSigmoid, RoundingKind::Sigmoid,  RoundingKind::Clamp, RoundingKind::Sine,
    RoundingKind::Straight,         RoundingKind::FullSpace};

Tensor normal(torch::IntArrayRef shape, uint64_t seed, torch::Dtype type = torch::kFloat64) {
  Random random(seed);
  auto t = torch::empty(shape, torch::kFloat64);
  for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<double>()[i] = random.normal();
  return t.to(type);
}

/// Step 1 a row, codes low to high.
WeightGrid unit_grid(int64_t rows, int64_t low, int64_t high, double scale = 1, torch::Dtype type = torch::kFloat64) {
  return uniform_grid({.scale = torch::full({rows}, scale, type),
                       .zero_point = torch::zeros({rows}, torch::kInt),
                       .qmin = low,
                       .qmax = high,
                       .axis = 0},
                      rows);
}

double scalar(double v, RoundingKind kind = RoundingKind::RectifiedSigmoid) {
  return rounding_h(kind, torch::tensor(v, torch::kFloat64)).item<double>();
}

TEST(RoundingVariable, ValuesOfTheRectifiedSigmoid) {
  EXPECT_NEAR(scalar(0), 0.5, 1e-15);
  EXPECT_EQ(scalar(-2.39790), 0);
  EXPECT_GT(scalar(-2.3978), 0);
  EXPECT_EQ(scalar(2.39790), 1);
  EXPECT_LT(scalar(2.3978), 1);
  EXPECT_NEAR(rounding_start(RoundingKind::RectifiedSigmoid, torch::tensor(0.25, torch::kFloat64)).item<double>(),
              -0.887303, 5e-7);
}

TEST(RoundingVariable, StartsAtTheWeight) {
  const auto w = 2 * normal({10, 100}, 1);
  const auto fraction = w - w.floor();
  for (const auto kind : kUpDown)
    EXPECT_LT((rounding_h(kind, rounding_start(kind, fraction)) - fraction).abs().max().item<double>(), 1e-6);
  // The soft weight is the weight clamped to the grid; codes -2 .. 1 clip many of these.
  for (const auto kind :
       {RoundingKind::RectifiedSigmoid, RoundingKind::Sigmoid, RoundingKind::Clamp, RoundingKind::Sine}) {
    RoundingVariable rounding(kind, unit_grid(10, -2, 1), w);
    EXPECT_LT((rounding.forward(w) - w.clamp(-2, 1)).abs().max().item<double>(), 2e-6);
  }
  RoundingVariable straight(RoundingKind::Straight, unit_grid(10, -2, 1), w);
  EXPECT_TRUE(torch::equal(straight.forward(w), (w.clamp(-2, 1) + 0.5).floor()));
}

TEST(RoundingVariable, Penalty) {
  const auto penalty = [](double h, double beta) {
    return rounding_penalty(torch::tensor(h, torch::kFloat64), beta).item<double>();
  };
  EXPECT_EQ(penalty(0.5, 7), 1);
  EXPECT_EQ(penalty(0, 7), 0);
  EXPECT_EQ(penalty(1, 7), 0);
  EXPECT_NEAR(penalty(0.75, 2), 0.75, 1e-15);
  // Summed, not averaged.
  RoundingVariable rounding(RoundingKind::RectifiedSigmoid, unit_grid(2, -4, 3),
                            torch::full({2, 3}, 0.5, torch::kFloat64));
  EXPECT_NEAR(rounding.regularizer(2).item<double>(), 6, 1e-9);
}

TEST(RoundingVariable, HardCodesAreFloorOrTheNext) {
  const auto w = 3 * normal({8, 50}, 2);
  for (const auto kind : kUpDown) {
    RoundingVariable rounding(kind, unit_grid(8, -4, 3), w);
    {
      const torch::NoGradGuard no_grad;
      rounding.v.add_(3 * normal({8, 50}, 3));  // as if learned
    }
    const auto up = rounding.codes() - rounding.floor_codes();
    EXPECT_TRUE(((up == 0) | (up == 1)).all().item<bool>());
    EXPECT_EQ(rounding.codes().scalar_type(), torch::kInt);
    EXPECT_GE(rounding.codes().min().item<int>(), -4);
    EXPECT_LE(rounding.codes().max().item<int>(), 3);
    EXPECT_TRUE(torch::equal(rounding.hard(), rounding.codes().to(torch::kFloat64)));
  }
  // Undecided ones are rounded to nearest before anything is learned.
  for (const auto kind : kAll) {
    RoundingVariable rounding(kind, unit_grid(8, -4, 3), w);
    EXPECT_TRUE(torch::equal(rounding.hard(), rounding.nearest()));
    EXPECT_TRUE(torch::equal(rounding.nearest(), (w.clamp(-4, 3) + 0.5).floor()));
  }
}

TEST(RoundingVariable, UnlearnedWeightsAreNearest) {
  const auto w = normal({4, 25}, 4);
  const auto learned = w > 0;
  for (const auto kind : kAll) {
    RoundingVariable rounding(kind, unit_grid(4, -4, 3), w, learned);
    {
      const torch::NoGradGuard no_grad;
      rounding.v.add_(5);
    }
    const auto nearest = rounding.nearest();
    EXPECT_TRUE(torch::equal(rounding.hard().masked_select(~learned), nearest.masked_select(~learned)));
    EXPECT_TRUE(torch::equal(rounding.forward(w).masked_select(~learned), nearest.masked_select(~learned)));
    EXPECT_FALSE(torch::equal(rounding.hard(), nearest));
  }
}

TEST(RoundingVariable, Gradients) {
  torch::manual_seed(0);
  const auto w = normal({3, 8}, 5);
  for (const auto kind :
       {RoundingKind::RectifiedSigmoid, RoundingKind::Sigmoid, RoundingKind::Sine, RoundingKind::FullSpace}) {
    RoundingVariable rounding(kind, unit_grid(3, -2, 1, 0.7), w);
    rounding.anneal(12);
    {
      // Away from the kinks at h = 0 and 1 and at whole positions.
      const torch::NoGradGuard no_grad;
      if (kind == RoundingKind::FullSpace)
        rounding.v.copy_(0.3 + 0.3 * torch::rand({3, 8}, torch::kFloat64));
      else
        rounding.v.copy_((torch::rand({3, 8}, torch::kFloat64) - 0.5) * 2.8);
    }
    if (kind == RoundingKind::FullSpace) {
      const auto u = (rounding.v + (w / 0.7 + 2).clamp(0, 3)).detach();
      const auto f = u - u.floor();
      const torch::NoGradGuard no_grad;
      rounding.v.sub_(
          torch::where((f < 0.01) | (f > 0.99) | (u > 2.99), torch::full_like(f, 0.05), torch::zeros_like(f)));
    }
    expect_gradient([&] { return rounding.forward(w); }, rounding.v, 1e-6);
    expect_gradient([&] { return rounding.regularizer(3); }, rounding.v, 1e-6);
  }
  RoundingVariable rounding(RoundingKind::RectifiedSigmoid, unit_grid(3, -2, 1), w);
  rounding.log_scale.set_requires_grad(true);
  expect_gradient([&] { return rounding.forward(w); }, rounding.log_scale, 1e-6);
}

TEST(RoundingVariable, SoftStaircase) {
  const auto at = [](double u, double tau) {
    return soft_staircase(torch::tensor(u, torch::kFloat64), tau).item<double>();
  };
  for (const double tau : {0.05, 0.3, 1.0}) {
    EXPECT_NEAR(at(3, tau), 3, 1e-12);
    EXPECT_NEAR(at(3.5, tau), 3.5, 1e-12);
    EXPECT_NEAR(at(3.999999999, tau), 4, 1e-7);
  }
  EXPECT_NEAR(at(2.3, 100), 2.3, 1e-5);
  auto u = torch::tensor(1.5, torch::dtype(torch::kFloat64).requires_grad(true));
  soft_staircase(u, 0.05).backward();
  EXPECT_NEAR(u.grad().item<double>(), 10.0, 1e-3);
}

TEST(RoundingVariable, FullSpaceReachesAnyLevel) {
  // A target two steps away: what up or down cannot reach.
  const auto w = torch::full({1, 1}, 0.2, torch::kFloat64);
  for (const auto kind : {RoundingKind::FullSpace, RoundingKind::Straight, RoundingKind::RectifiedSigmoid}) {
    RoundingVariable rounding(kind, unit_grid(1, -4, 3), w);
    torch::optim::Adam adam({rounding.v}, torch::optim::AdamOptions(0.02));
    for (int i = 0; i < 800; ++i) {
      adam.zero_grad();
      rounding.anneal(20 - 18 * i / 799.0);
      (rounding.forward(w) - 2).square().sum().backward();
      adam.step();
    }
    EXPECT_EQ(rounding.codes().item<int>(), kind == RoundingKind::RectifiedSigmoid ? 1 : 2);
  }
}

TEST(RoundingVariable, CopiesShareNothing) {
  const auto w = normal({3, 4}, 6);
  RoundingVariable rounding(RoundingKind::RectifiedSigmoid, unit_grid(3, -2, 1), w);
  const auto copy = rounding.copy();
  EXPECT_TRUE(torch::allclose(copy->forward(w), rounding.forward(w), 0, 1e-12));
  const auto before = copy->forward(w).clone();
  {
    const torch::NoGradGuard no_grad;
    rounding.v.add_(1);
  }
  EXPECT_TRUE(torch::equal(copy->forward(w), before));
}

TEST(WeightGrid, LearnedScaleIsExact) {
  const auto w = normal({5, 20}, 7, torch::kFloat32);
  RoundingVariable rounding(RoundingKind::RectifiedSigmoid, unit_grid(5, -8, 7, 0.31, torch::kFloat32), w);
  rounding.log_scale.set_requires_grad(true);
  {
    const torch::NoGradGuard no_grad;
    rounding.log_scale.copy_(0.1 * normal({5, 1}, 8, torch::kFloat32));
  }
  const auto slot = grid_quantizer(rounding.grid());
  const auto hard = rounding.hard();
  EXPECT_TRUE(torch::equal(slot->forward(hard), hard));
  EXPECT_TRUE(torch::equal(std::dynamic_pointer_cast<FakeQuantize>(slot)->quantizer().encode(hard), rounding.codes()));
}

TEST(WeightGrid, SlotLeavesHardWeightsAlone) {
  const auto w = normal({6, 4, 3, 3}, 9, torch::kFloat32) * 0.07;
  const std::vector<int> mixed = {2, 3, 4, 2, 8, 5};
  for (const auto scheme : {GridScheme::Uniform, GridScheme::Power, GridScheme::Log})
    for (const bool symmetric : {true, false})
      for (const auto& bits : {std::vector<int>{2}, std::vector<int>{4}, std::vector<int>{8}, mixed}) {
        if (scheme != GridScheme::Uniform && bits.size() > 1) continue;
        GridOptions options{.scheme = scheme};
        options.uniform.symmetric = symmetric;
        const auto grid = weight_grid(w, bits, options);
        RoundingVariable rounding(RoundingKind::RectifiedSigmoid, grid, w);
        {
          const torch::NoGradGuard no_grad;
          rounding.v.copy_(normal(rounding.v.sizes(), 10, torch::kFloat32));
        }
        const auto slot = grid_quantizer(grid);
        const auto hard = slot->forward(rounding.hard());
        // The last bit of a power may depend on a value's place among others.
        EXPECT_TRUE(torch::allclose(hard, rounding.hard(), scheme == GridScheme::Uniform ? 0 : 1e-6, 0));
        EXPECT_TRUE(torch::equal(slot->forward(hard), hard)) << int(scheme) << " " << bits[0];
        EXPECT_TRUE(torch::equal(slot->copy()->forward(hard), hard));
        if (bits.size() == 1) continue;
        for (int64_t row = 0; row < 6; ++row)
          EXPECT_LE(std::get<0>(torch::_unique2(hard[row])).numel(), int64_t(1) << bits[size_t(row)]);
      }
}

TEST(WeightGrid, UniformIsPlainQuantization) {
  const auto w = normal({6, 30}, 11, torch::kFloat32);
  UniformOptions options{.bits = 3, .symmetric = true, .axis = 0, .range = RangeMethod::Mse, .norm = 2.4};
  UniformQuantizer plain(options);
  plain.fit(w);
  RoundingVariable rounding(RoundingKind::Straight, weight_grid(w, {3}), w);
  EXPECT_TRUE(torch::equal(rounding.nearest(), plain.decode(plain.encode(w))));
}

TEST(WeightGrid, PowerAndLog) {
  // Exponent 1 is the uniform symmetric grid.
  const auto w = normal({4, 200}, 12);
  const auto grid = weight_grid(w, {4}, {.scheme = GridScheme::Power, .exponent = 1});
  EXPECT_TRUE(torch::allclose(grid.levels, torch::arange(-7, 8, torch::kFloat64) * w.abs().amax(1, true) / 7, 1e-6));
  const auto log = weight_grid(torch::tensor({{4.0, -1.0}}, torch::kFloat64), {3}, {.scheme = GridScheme::Log});
  EXPECT_TRUE(torch::equal(log.levels, torch::tensor({{-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0}}, torch::kFloat64)));
}

TEST(WeightGrid, Errors) {
  const auto w = torch::ones({3, 2});
  EXPECT_THAT([&] { weight_grid(w, {4, 4}); }, ThrowsMessage<Error>(HasSubstr("3 rows got 2 widths")));
  EXPECT_THAT([&] { weight_grid(w, {9}); }, ThrowsMessage<Error>(HasSubstr("1 to 8 bits, got 9")));
  EXPECT_THAT(
      [&] {
        weight_grid(w, {2, 3, 4}, {.scheme = GridScheme::Log});
      },
      ThrowsMessage<Error>(HasSubstr("uniform grid")));
}

}  // namespace
}  // namespace quanta
