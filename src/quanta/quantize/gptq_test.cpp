#include "quanta/quantize/gptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/gptq_layer.h"
#include "quanta/quantize/input_hessian.h"
#include "quanta/quantize/inverse_factor.h"
#include "quanta/quantize/obq.h"

namespace quanta {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Layer {
  torch::Tensor w, h;
};

/// Inputs that are correlated as activations are, with some that are much larger than others.
Layer random_layer(int64_t rows, int64_t columns, uint64_t seed, torch::Dtype type = torch::kFloat32) {
  torch::manual_seed(seed);
  const auto mix = torch::randn({columns, columns}, type) / std::sqrt(double(columns));
  const auto x = torch::randn({4 * columns, columns}, type).matmul(mix) * torch::rand({columns}, type).add(0.1);
  InputHessian hessian(columns, type);
  hessian.add(x);
  return {torch::randn({rows, columns}, type), hessian.value()};
}

/// One given grid for everything.
class FixedGrid : public GridRule {
 public:
  FixedGrid(double scale, int levels) : scale_(scale), levels_(levels) {}
  RowGrid fit(const torch::Tensor& w) const override {
    return {.group = w.size(1),
            .levels = levels_,
            .scale = torch::full({w.size(0), 1}, scale_, w.options()),
            .zero = torch::zeros({w.size(0), 1}, w.options())};
  }
  int64_t span() const override { return 0; }
  std::string describe() const override { return "fixed"; }

 private:
  double scale_;
  int levels_;
};

/// As GGUF's Q4_K: 64 columns are fitted together, as groups of 16 with a scale and an offset that no zero point has.
class BlockGrid : public GridRule {
 public:
  RowGrid fit(const torch::Tensor& w) const override {
    const int64_t groups = (w.size(1) + 15) / 16;
    std::vector<torch::Tensor> scales, offsets;
    for (int64_t g = 0; g < groups; ++g) {
      const auto part = w.slice(1, 16 * g, 16 * g + 16);
      offsets.push_back(part.amin(1));
      scales.push_back((part.amax(1) - part.amin(1)) / 15);
    }
    const auto scale = torch::stack(scales, 1);
    return {.group = 16,
            .levels = 16,
            .scale = scale,
            .zero = torch::zeros_like(scale),
            .offset = torch::stack(offsets, 1) * 0.97};
  }
  int64_t span() const override { return 64; }
  std::string describe() const override { return "blocks"; }
};

std::vector<AffineGrid> grids() {
  std::vector<AffineGrid> all;
  for (const auto kind : {AffineKind::Asymmetric, AffineKind::Symmetric, AffineKind::Signed, AffineKind::Ternary,
                          AffineKind::NormalFloat})
    for (const int64_t group : {-1, 24}) all.emplace_back(AffineGridOptions{.bits = 3, .kind = kind, .group = group});
  return all;
}

TEST(Gptq, WithoutCorrelationsRoundsToNearest) {
  for (const auto type : {torch::kFloat32, torch::kFloat64})
    for (const AffineGrid& grid : grids()) {
      const auto w = random_layer(37, 100, 3, type).w;
      const GptqResult solved = gptq(w, torch::eye(100, type), grid, {.block = 32}), rounded = rtn(w, grid);
      EXPECT_TRUE(solved.weight.equal(rounded.weight)) << grid.describe();
      EXPECT_TRUE(solved.codes.equal(rounded.codes)) << grid.describe();
      EXPECT_TRUE(solved.grid.scale.equal(rounded.grid.scale)) << grid.describe();
    }
}

TEST(Gptq, TwoColumns) {
  const auto h = torch::tensor({{2.0, 1.0}, {1.0, 1.0}}, torch::kFloat64);
  const auto w = torch::tensor({{1.4, 0.4}}, torch::kFloat64);
  const FixedGrid grid(1, 4);
  const GptqResult solved = gptq(w, h, grid, {.damping = 0});
  EXPECT_TRUE(solved.codes.equal(torch::tensor({{1, 1}}, torch::kUInt8)));
  EXPECT_NEAR(solved.loss, 0.20, 1e-12);
  EXPECT_NEAR(output_error(w, solved.weight, h), 0.20, 1e-12);
  EXPECT_EQ(solved.damping, 0);
  const GptqResult rounded = rtn(w, grid);
  EXPECT_TRUE(rounded.codes.equal(torch::tensor({{1, 0}}, torch::kUInt8)));
  EXPECT_NEAR(output_error(w, rounded.weight, h), 0.80, 1e-12);
  // The second column becomes w2 + (w1 - q1) H12 / H22: on a grid of 1/1000, that is what it is rounded to.
  const auto pair = torch::tensor({{0.9995, 0.3}}, torch::kFloat64), other = torch::tensor({{3.0, 1.2}, {1.2, 0.8}});
  const GptqResult fine = gptq(pair, other.to(torch::kFloat64), FixedGrid(0.5, 256), {.damping = 0});
  EXPECT_NEAR(fine.row_loss[0].item<double>(),
              std::pow(0.0005, 2) * (3.0 - 1.44 / 0.8) + 0.8 * std::pow(0.3 - 0.0005 * 1.2 / 0.8 - 0.5, 2), 1e-6);
}

TEST(Gptq, LossIsTheErrorOfTheOutputs) {
  for (const auto type : {torch::kFloat32, torch::kFloat64})
    for (const bool act_order : {false, true}) {
      const Layer layer = random_layer(32, 96, 5, type);
      const GptqResult solved = gptq(layer.w, layer.h, AffineGrid({.bits = 3}), {.act_order = act_order});
      const auto damped = layer.h + solved.damping * layer.h.diagonal().mean() * torch::eye(96, type);
      const double error = output_error(layer.w, solved.weight, damped);
      EXPECT_NEAR(solved.loss / error, 1, type == torch::kFloat32 ? 1e-4 : 1e-10);
      EXPECT_NEAR(solved.row_loss.sum().item<double>(), solved.loss, 1e-9 * solved.loss);
      EXPECT_NEAR(solved.row_loss[7].item<double>() /
                      output_error(layer.w.slice(0, 7, 8), solved.weight.slice(0, 7, 8), damped),
                  1, 1e-3);
    }
}

TEST(Gptq, BlocksDoNotChangeTheCodes) {
  const Layer layer = random_layer(20, 200, 7, torch::kFloat64);
  for (const int64_t group : {-1, 16, 48, 150})
    for (const bool act_order : {false, true}) {
      const AffineGrid grid({.bits = 3, .group = group});
      const auto first = gptq(layer.w, layer.h, grid, {.block = 1, .act_order = act_order});
      for (const int64_t block : {32, 128, 200}) {
        const auto other = gptq(layer.w, layer.h, grid, {.block = block, .act_order = act_order});
        EXPECT_TRUE(other.codes.equal(first.codes)) << group << " " << block;
        EXPECT_TRUE(torch::allclose(other.weight, first.weight, 1e-9));
      }
    }
}

/// Optimal Brain Quantization in the given order of columns, with explicit updates of the inverse.
torch::Tensor obq_in_order(const torch::Tensor& weight, const torch::Tensor& damped, const RowGrid& grid) {
  auto w = weight.clone(), codes = torch::zeros(w.sizes(), torch::kUInt8), inverse = torch::inverse(damped);
  const int64_t n = w.size(1);
  for (int64_t j = 0; j < n; ++j) {
    const auto all = quantize(w, grid);
    codes.select(1, j).copy_(all.select(1, j));
    const auto e = (w.select(1, j) - dequantize(all, grid).select(1, j)) / inverse[j][j];
    w = w - torch::outer(e, inverse[j]);
    inverse = inverse - torch::outer(inverse.select(1, j), inverse[j]) / inverse[j][j];
  }
  return codes;
}

TEST(Gptq, IsOptimalBrainQuantizationInFixedOrder) {
  for (const uint64_t seed : {11, 12, 13}) {
    const Layer layer = random_layer(24, 60, seed, torch::kFloat64);
    for (const int bits : {2, 4}) {
      const AffineGrid grid({.bits = bits});
      const auto damped = layer.h + 0.01 * layer.h.diagonal().mean() * torch::eye(60, torch::kFloat64);
      EXPECT_TRUE(
          gptq(layer.w, layer.h, grid, {.block = 16}).codes.equal(obq_in_order(layer.w, damped, grid.fit(layer.w))));
    }
  }
}

TEST(Gptq, ComparesWithGreedyOptimalBrainQuantization) {
  double greedy = 0, fixed = 0, nearest = 0;
  for (const uint64_t seed : {1, 2, 3}) {
    const Layer layer = random_layer(16, 40, seed, torch::kFloat64);
    const AffineGrid grid({.bits = 3});
    const GptqResult best = obq(layer.w, layer.h, grid);
    const auto damped = layer.h + 0.01 * layer.h.diagonal().mean() * torch::eye(40, torch::kFloat64);
    EXPECT_NEAR(best.loss / output_error(layer.w, best.weight, damped), 1, 1e-9);
    EXPECT_TRUE(best.weight.equal(dequantize(best.codes, best.grid)));
    greedy += best.loss;
    fixed += gptq(layer.w, layer.h, grid).loss;
    nearest += output_error(layer.w, rtn(layer.w, grid).weight, damped);
  }
  EXPECT_LT(greedy, 0.7 * nearest);
  EXPECT_LT(fixed, 0.7 * nearest);
  EXPECT_LT(fixed, 1.5 * greedy);  // the paper: a fixed order does almost as well
}

TEST(Gptq, ActOrder) {
  // (9) With one value on the diagonal a stable order is the given one.
  Layer layer = random_layer(24, 64, 17);
  const auto root = layer.h.diagonal().sqrt();
  const auto even = layer.h / torch::outer(root, root);
  even.diagonal().fill_(1);
  const AffineGrid grid({.bits = 3});
  EXPECT_TRUE(gptq(layer.w, even, grid, {.act_order = true}).codes.equal(gptq(layer.w, even, grid).codes));
  // Otherwise it is a permutation there and back, here by hand.
  const auto order = std::get<1>(torch::sort(layer.h.diagonal(), true, 0, true));
  const auto by_hand =
      gptq(layer.w.index_select(1, order), layer.h.index_select(0, order).index_select(1, order), grid);
  const auto codes = torch::empty_like(by_hand.codes).index_copy_(1, order, by_hand.codes);
  EXPECT_TRUE(gptq(layer.w, layer.h, grid, {.act_order = true}).codes.equal(codes));
}

TEST(Gptq, PermutingInputsPermutesTheSolution) {
  const Layer layer = random_layer(24, 64, 19, torch::kFloat64);
  torch::manual_seed(4);
  const auto p = torch::randperm(64);
  const AffineGrid grid({.bits = 3});
  const GptqOptions options{.act_order = true};
  const auto plain = gptq(layer.w, layer.h, grid, options);
  const auto moved = gptq(layer.w.index_select(1, p), layer.h.index_select(0, p).index_select(1, p), grid, options);
  EXPECT_TRUE(moved.codes.equal(plain.codes.index_select(1, p)));
}

TEST(Gptq, GroupsAlongTheOrder) {
  const Layer layer = random_layer(24, 80, 23);
  const AffineGrid grid({.bits = 3, .group = 32});  // 80 = 32 + 32 + 16
  for (const bool act_order : {false, true})
    for (const bool fixed : {false, true}) {
      const auto solved = gptq(layer.w, layer.h, grid, {.act_order = act_order, .static_groups = fixed});
      EXPECT_EQ(solved.grid.scale.sizes(), (std::vector<int64_t>{24, 3}));
      EXPECT_EQ(solved.g_idx.defined(), act_order && !fixed);
      EXPECT_TRUE(dequantize(solved.codes, solved.grid, solved.g_idx).equal(solved.weight));
      EXPECT_EQ(solved.grid.scale.equal(grid.fit(layer.w).scale), fixed);
      if (!fixed && act_order) {
        const auto order = std::get<1>(torch::sort(layer.h.diagonal(), true, 0, true));
        EXPECT_TRUE(solved.g_idx.index_select(0, order).equal(torch::arange(80).div(32, "floor").to(torch::kInt32)));
      }
      EXPECT_LT(output_error(layer.w, solved.weight, layer.h),
                output_error(layer.w, rtn(layer.w, grid).weight, layer.h));
    }
}

TEST(Gptq, GroupStatistics) {
  // Groups of the block's size or more: both ways see the same weights. Smaller ones: they differ but in the first.
  const Layer layer = random_layer(24, 128, 29, torch::kFloat64);
  const auto scales = [&](int64_t group, GroupStats stats) {
    return gptq(layer.w, layer.h, AffineGrid({.bits = 3, .group = group}), {.block = 64, .group_stats = stats})
        .grid.scale;
  };
  for (const int64_t group : {64, 128})
    EXPECT_TRUE(torch::allclose(scales(group, GroupStats::Current), scales(group, GroupStats::BlockStart), 1e-12));
  const auto current = scales(16, GroupStats::Current), stale = scales(16, GroupStats::BlockStart);
  EXPECT_TRUE(current.select(1, 0).equal(stale.select(1, 0)));
  EXPECT_FALSE(torch::allclose(current.select(1, 1), stale.select(1, 1), 1e-3));
  // The second group of stale statistics is that of the given weights, as nothing but the block has been rounded.
  EXPECT_TRUE(stale.slice(1, 0, 4).equal(AffineGrid({.bits = 3, .group = 16}).fit(layer.w).scale.slice(1, 0, 4)));
}

TEST(Gptq, SolvesForAFileFormatsBlocks) {
  const Layer layer = random_layer(70, 150, 31);
  const BlockGrid grid;
  const auto solved = gptq(layer.w, layer.h, grid), fixed = gptq(layer.w, layer.h, grid, {.static_groups = true});
  EXPECT_EQ(solved.grid.scale.sizes(), (std::vector<int64_t>{70, 10}));
  const double nearest = output_error(layer.w, rtn(layer.w, grid).weight, layer.h);
  for (const auto& result : {solved, fixed}) {
    EXPECT_TRUE(dequantize(result.codes, result.grid).equal(result.weight));
    EXPECT_LT(output_error(layer.w, result.weight, layer.h), 0.8 * nearest);
  }
  EXPECT_TRUE(fixed.grid.scale.equal(grid.fit(layer.w).scale));
  EXPECT_TRUE(fixed.grid.offset.equal(grid.fit(layer.w).offset));
  // A block of equal weights has no step.
  auto flat = layer.w.clone();
  flat.slice(1, 0, 64).fill_(0.25);
  const auto result = gptq(flat, torch::eye(150), grid);
  EXPECT_TRUE(torch::isfinite(result.weight).all().item<bool>());
  EXPECT_FLOAT_EQ(result.weight[0][5].item<float>(), 0.97f * 0.25f);
}

TEST(Gptq, IsNotWorseThanRoundingToNearest) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const Layer layer = random_layer(8 + int64_t(seed), 30 + 7 * int64_t(seed), seed);
    for (const AffineGrid& grid : grids())
      for (const bool act_order : {false, true})
        for (const bool fixed : {true, false}) {
          // Ternary groups fitted along the way reach from the least to the greatest of weights that carry errors, and
          // so may be worse than those of the given weights: in float64 with an explicit inverse they are, too.
          if (!fixed && grid.options().kind == AffineKind::Ternary && grid.span() > 0) continue;
          const auto solved = gptq(layer.w, layer.h, grid, {.act_order = act_order, .static_groups = fixed});
          EXPECT_LE(output_error(layer.w, solved.weight, layer.h),
                    output_error(layer.w, rtn(layer.w, grid).weight, layer.h))
              << seed << " " << grid.describe() << act_order << fixed;
        }
  }
}

TEST(Gptq, SolvesConvolutions) {
  for (const int64_t groups : {1, 3}) {
    torch::manual_seed(5);
    Conv2d layer(Conv2dOptions::square(6, 12, 3, 1, groups));
    const torch::NoGradGuard no_grad;
    layer->weight.normal_();
    // Images are smooth: neighbouring pixels are correlated.
    const auto images = torch::avg_pool2d(torch::randn({24, 6, 16, 16}), 3, 1, 1);
    const auto calibration = images.slice(0, 0, 16), test = images.slice(0, 16);
    const auto hessians = capture_hessians(*layer);
    layer->forward(calibration);
    layer->put(QuantizableLayer::Place::Input, nullptr);
    const auto wanted = layer->forward(test), w = layer->weight.clone();
    const AffineGrid grid({.bits = 3});
    const auto results = gptq(*layer, hessians, grid);
    ASSERT_EQ(int64_t(results.size()), groups);
    EXPECT_TRUE(results[0].weight.equal(layer->weight.slice(0, 0, 12 / groups).flatten(1)));
    const double solved = (layer->forward(test) - wanted).square().sum().item<double>();
    layer->weight.copy_(rtn(w.flatten(1), grid).weight.view(w.sizes()));
    EXPECT_LT(solved, (layer->forward(test) - wanted).square().sum().item<double>());
    EXPECT_THROW(gptq(*layer, {}, grid), Error);
  }
}

TEST(Gptq, CorrelatedLayer) {
  for (const uint64_t seed : {0, 1, 2}) {
    torch::manual_seed(seed);
    auto a = std::get<0>(torch::linalg_qr(torch::randn({128, 128}, torch::kFloat64)));
    a = a / torch::arange(1, 129, torch::kFloat64);
    InputHessian hessian(128);
    hessian.add(torch::randn({2048, 128}, torch::kFloat64).matmul(a.t()).to(torch::kFloat32));
    const auto h = hessian.value(), w = torch::randn({64, 128});
    for (const int bits : {4, 3, 2}) {
      const AffineGrid grid({.bits = bits});
      const double nearest = output_error(w, rtn(w, grid).weight, h);
      const double plain = output_error(w, gptq(w, h, grid).weight, h) / nearest;
      const double ordered = output_error(w, gptq(w, h, grid, {.act_order = true}).weight, h) / nearest;
      EXPECT_LE(plain, 0.15);
      EXPECT_LT(ordered, plain);
      RecordProperty(fmt::format("ratio_{}_{}", bits, seed), fmt::format("{:.4f} {:.4f}", plain, ordered));
    }
  }
}

TEST(Gptq, HasTheSameBitsForAnyNumberOfThreads) {
  const Layer layer = random_layer(300, 1100, 37);
  const int before = threads();
  std::vector<GptqResult> first;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    const std::vector<GptqResult> results{
        gptq(layer.w, layer.h, AffineGrid({.bits = 4, .group = 64})),
        gptq(layer.w, layer.h, AffineGrid({.bits = 3, .kind = AffineKind::Ternary}), {.act_order = true})};
    if (first.empty()) first = results;
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(results[i].codes.equal(first[i].codes)) << count;
      EXPECT_TRUE(results[i].weight.equal(first[i].weight)) << count;
      EXPECT_TRUE(results[i].grid.scale.equal(first[i].grid.scale)) << count;
      EXPECT_EQ(results[i].loss, first[i].loss) << count;
    }
  }
  set_threads(before);
}

TEST(Gptq, DeadInputs) {
  Layer layer = random_layer(10, 50, 41);
  for (const int64_t k : {3, 40}) {
    layer.h[k].zero_();
    layer.h.select(1, k).zero_();
  }
  const auto before = layer.w.clone();
  for (const bool act_order : {false, true}) {
    const auto solved = gptq(layer.w, layer.h, AffineGrid({.bits = 4}), {.act_order = act_order});
    EXPECT_THAT(solved.dead, ElementsAre(3, 40));
    EXPECT_THAT(solved.troubled, IsEmpty());
    EXPECT_EQ(solved.weight.select(1, 3).abs().max().item<float>(), 0);
    EXPECT_TRUE(torch::isfinite(solved.weight).all().item<bool>());
    EXPECT_EQ(solved.damping, 0.01);
    EXPECT_TRUE(layer.w.equal(before));
  }
}

TEST(Gptq, NeverFailsOnAMatrixThatIsNotPositiveDefinite) {
  // Two equal inputs without damping: the damping is raised.
  Layer layer = random_layer(10, 50, 43);
  layer.h[20].copy_(layer.h[4]);
  layer.h.select(1, 20).copy_(layer.h.select(1, 4));
  const AffineGrid grid({.bits = 4});
  const auto twins = gptq(layer.w, layer.h, grid, {.damping = 0});
  EXPECT_THAT(twins.troubled, ElementsAre(4));  // seen from the last column on
  EXPECT_THAT(twins.alone, IsEmpty());
  EXPECT_EQ(twins.damping, 0.01);
  EXPECT_LT(output_error(layer.w, twins.weight, layer.h), output_error(layer.w, rtn(layer.w, grid).weight, layer.h));

  // A column that no damping mends is rounded on its own, and only it.
  layer = random_layer(10, 50, 47);
  auto h = layer.h.clone();
  h[30][30] = -5 * h.diagonal().mean();
  for (const bool act_order : {false, true}) {
    const auto solved = gptq(layer.w, h, grid, {.act_order = act_order});
    EXPECT_THAT(solved.troubled, ElementsAre(30));
    EXPECT_THAT(solved.alone, ElementsAre(30));
    EXPECT_EQ(solved.damping, 0.01);
    const auto nearest = rtn(layer.w, grid);
    EXPECT_TRUE(solved.weight.select(1, 30).equal(nearest.weight.select(1, 30)));
    // The others are solved as if it did not exist.
    const auto rest = torch::cat({torch::arange(30), torch::arange(31, 50)});
    const auto hh = h.index_select(0, rest).index_select(1, rest);
    EXPECT_LT(output_error(layer.w.index_select(1, rest), solved.weight.index_select(1, rest), hh),
              0.8 * output_error(layer.w.index_select(1, rest), nearest.weight.index_select(1, rest), hh));
  }
  // Nothing to hold on to at all.
  const auto hopeless = gptq(layer.w, -layer.h, grid);
  EXPECT_EQ(hopeless.alone.size(), 50u);
  EXPECT_TRUE(hopeless.weight.equal(rtn(layer.w, grid).weight));
}

TEST(Gptq, FactorOfTheInverse) {
  for (const int64_t n : {1, 2, 63, 64, 65, 200, 700}) {
    const auto h = random_layer(1, n, uint64_t(n), torch::kFloat64).h;
    const auto factor = inverse_factor(h);
    const auto damped = h + 0.01 * h.diagonal().mean() * torch::eye(n, torch::kFloat64);
    EXPECT_TRUE(factor.u.equal(factor.u.triu()));
    const auto unit = factor.u.t().matmul(factor.u).matmul(damped);
    EXPECT_LT((unit - torch::eye(n, torch::kFloat64)).abs().max().item<double>(), 1e-9) << n;
  }
}

TEST(Gptq, RefusesNonsense) {
  const Layer layer = random_layer(4, 8, 53);
  const AffineGrid grid;
  const auto nan = torch::full({4, 8}, std::nan(""));
  EXPECT_THROW(gptq(nan, layer.h, grid), Error);
  EXPECT_THROW(rtn(nan, grid), Error);
  auto h = layer.h.clone();
  h[2][3] = INFINITY;
  EXPECT_THROW(gptq(layer.w, h, grid), Error);
  EXPECT_THROW(gptq(layer.w, torch::eye(7), grid), Error);
  EXPECT_THROW(gptq(layer.w, torch::zeros({8, 7}), grid), Error);
  EXPECT_THROW(gptq(layer.w[0], layer.h, grid), Error);
  EXPECT_THROW(gptq(layer.w, layer.h, grid, {.block = 0}), Error);
  EXPECT_THROW(gptq(layer.w, layer.h, grid, {.damping = -1}), Error);
  EXPECT_THROW(obq(layer.w, -layer.h, grid), Error);
}

}  // namespace
}  // namespace quanta
