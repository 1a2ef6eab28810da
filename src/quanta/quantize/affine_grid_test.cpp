#include "quanta/quantize/affine_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"

namespace quanta {
namespace {

torch::Tensor random_weight(int64_t rows, int64_t columns, torch::Dtype type = torch::kFloat32, uint64_t seed = 0) {
  torch::manual_seed(seed);
  return torch::randn({rows, columns}, type);
}

TEST(AffineGrid, Asymmetric) {
  // lo = -1, hi = 2, s = 3 / 15 = 0.2, z = round(5) = 5
  const auto w = torch::tensor({{-1.0, 0.09, 0.11, 2.0, 0.0}}, torch::kFloat64);
  const RowGrid grid = AffineGrid({.bits = 4}).fit(w);
  EXPECT_DOUBLE_EQ(grid.scale.item<double>(), 3.0 / 15);
  EXPECT_EQ(grid.zero.item<double>(), 5);
  const auto codes = quantize(w, grid);
  EXPECT_TRUE(codes.equal(torch::tensor({{0, 5, 6, 15, 5}}, torch::kUInt8)));
  EXPECT_TRUE(torch::allclose(dequantize(codes, grid), torch::tensor({{-1.0, 0.0, 0.2, 2.0, 0.0}}, torch::kFloat64)));
  // The range holds 0: weights that are all positive start at code 0.
  const RowGrid positive = AffineGrid({.bits = 2}).fit(torch::tensor({{3.0, 6.0}}));
  EXPECT_FLOAT_EQ(positive.scale.item<float>(), 2);
  EXPECT_EQ(positive.zero.item<float>(), 0);
  // Nothing but 0: lo = -1, hi = 1.
  const RowGrid none = AffineGrid({.bits = 3}).fit(torch::zeros({1, 4}));
  EXPECT_FLOAT_EQ(none.scale.item<float>(), 2.0f / 7);
  EXPECT_EQ(dequantize(quantize(torch::zeros({1, 4}), none), none).abs().max().item<float>(), 0);
}

TEST(AffineGrid, RoundsHalvesToEven) {
  RowGrid grid{.group = 5, .levels = 8, .scale = torch::ones({1, 1}), .zero = torch::zeros({1, 1})};
  const auto codes = quantize(torch::tensor({{0.5f, 1.5f, 2.5f, -3.f, 99.f}}), grid);
  EXPECT_TRUE(codes.equal(torch::tensor({{0, 2, 2, 0, 7}}, torch::kUInt8)));
}

TEST(AffineGrid, SymmetricAndSigned) {
  const auto w = torch::tensor({{-0.3f, 0.75f}});
  const RowGrid symmetric = AffineGrid({.bits = 4, .kind = AffineKind::Symmetric}).fit(w);
  EXPECT_FLOAT_EQ(symmetric.scale.item<float>(), 1.5f / 15);
  EXPECT_EQ(symmetric.zero.item<float>(), 8);
  EXPECT_TRUE(quantize(w, symmetric).equal(torch::tensor({{5, 15}}, torch::kUInt8)));
  const RowGrid with_sign = AffineGrid({.bits = 4, .kind = AffineKind::Signed}).fit(w);
  EXPECT_FLOAT_EQ(with_sign.scale.item<float>(), 0.75f / 7);
  EXPECT_EQ(with_sign.zero.item<float>(), 8);
  EXPECT_TRUE(quantize(w, with_sign).equal(torch::tensor({{5, 15}}, torch::kUInt8)));  // -2.8 -> -3, 7 -> 7
}

TEST(AffineGrid, Ternary) {
  const auto w = torch::tensor({{-1.0, -0.51, -0.5, 0.99, 1.0, 1.01, 2.0}}, torch::kFloat64);
  const RowGrid grid = AffineGrid({.kind = AffineKind::Ternary}).fit(w);
  EXPECT_EQ(grid.scale.item<double>(), 2);
  EXPECT_EQ(grid.zero.item<double>(), -1);
  const auto codes = quantize(w, grid);
  EXPECT_TRUE(codes.equal(torch::tensor({{0, 0, 1, 1, 1, 2, 2}}, torch::kUInt8)));
  EXPECT_TRUE(dequantize(codes, grid).equal(torch::tensor({{-1.0, -1.0, 0.0, 0.0, 0.0, 2.0, 2.0}}, torch::kFloat64)));
}

TEST(AffineGrid, NormalFloatHasThePublishedLevels) {
  const std::vector<double> published{-1.0,
                                      -0.6961928009986877,
                                      -0.5250730514526367,
                                      -0.39491748809814453,
                                      -0.28444138169288635,
                                      -0.18477343022823334,
                                      -0.09105003625154495,
                                      0.0,
                                      0.07958029955625534,
                                      0.16093020141124725,
                                      0.24611230194568634,
                                      0.33791524171829224,
                                      0.44070982933044434,
                                      0.5626170039176941,
                                      0.7229568362236023,
                                      1.0};
  const auto levels = normal_float_levels(4);
  ASSERT_EQ(levels.size(), published.size());
  for (size_t i = 0; i < levels.size(); ++i) EXPECT_NEAR(levels[i], published[i], 1e-6) << i;
  for (const int bits : {2, 3, 5, 8}) {
    const auto other = normal_float_levels(bits);
    EXPECT_EQ(other.size(), size_t(1) << bits);
    EXPECT_TRUE(std::is_sorted(other.begin(), other.end()));
    EXPECT_EQ(other[other.size() / 2 - 1], 0);
    EXPECT_NEAR(other.back(), 1, 1e-12);
  }
  const auto w = random_weight(3, 40);
  const RowGrid grid = AffineGrid({.bits = 4, .kind = AffineKind::NormalFloat, .group = 16}).fit(w);
  EXPECT_EQ(grid.values.sizes(), (std::vector<int64_t>{3, 3, 16}));
  EXPECT_TRUE(grid.scale[1][2].equal(w[1].slice(0, 32).abs().max()));
  const auto q = dequantize(quantize(w, grid), grid);
  for (int64_t k = 0; k < 40; ++k)  // brute force: no level is nearer
    EXPECT_FLOAT_EQ((q[2][k] - w[2][k]).abs().item<float>(),
                    (grid.values[2][k / 16] - w[2][k]).abs().min().item<float>());
}

TEST(AffineGrid, GroupsAreRowsOfTheirOwn) {
  const auto w = random_weight(4, 70);
  for (const auto kind : {AffineKind::Asymmetric, AffineKind::Symmetric, AffineKind::Signed, AffineKind::Ternary}) {
    const RowGrid grid = AffineGrid({.bits = 3, .kind = kind, .group = 32}).fit(w);
    ASSERT_EQ(grid.scale.sizes(), (std::vector<int64_t>{4, 3}));
    const auto q = dequantize(quantize(w, grid), grid);
    for (int64_t g = 0; g < 3; ++g) {  // the last one has 6 columns
      const auto part = w.slice(1, 32 * g, 32 * g + 32);
      const RowGrid own = AffineGrid({.bits = 3, .kind = kind}).fit(part);
      EXPECT_TRUE(own.scale.select(1, 0).equal(grid.scale.select(1, g)));
      EXPECT_TRUE(q.slice(1, 32 * g, 32 * g + 32).equal(dequantize(quantize(part, own), own)));
    }
  }
}

TEST(AffineGrid, SearchFindsTheBestRange) {
  const auto w = random_weight(2, 50, torch::kFloat64);
  for (const auto kind : {AffineKind::Asymmetric, AffineKind::Signed, AffineKind::Ternary}) {
    const RowGrid found = AffineGrid({.bits = 3, .kind = kind, .search = true}).fit(w);
    const auto error = [&](const RowGrid& grid) {
      return (dequantize(quantize(w, grid), grid) - w).abs().pow(2.4).sum(1);
    };
    auto least = torch::full({2}, 1e9, torch::kFloat64);
    for (int i = 0; i < 80; ++i) {
      // A weight with the range shrunk to p, by clamping; its own grid is that of the shrunk range.
      const double p = 1 - i / 100.0;
      const auto low = w.amin(1, true) * p, high = w.amax(1, true) * p;
      least = torch::minimum(least, error(AffineGrid({.bits = 3, .kind = kind}).fit(w.clamp(low, high))));
    }
    EXPECT_TRUE(torch::allclose(error(found), least, 1e-9)) << int(kind);
    EXPECT_TRUE(error(found).lt(error(AffineGrid({.bits = 3, .kind = kind}).fit(w))).all().item<bool>());
  }
}

TEST(AffineGrid, ScalesThatFilesHold) {
  const auto w = torch::cat({random_weight(3, 64), random_weight(1, 64) * 1e-12, random_weight(1, 64) * 1e8});
  for (const auto kind : {AffineKind::Asymmetric, AffineKind::Symmetric, AffineKind::Signed, AffineKind::Ternary,
                          AffineKind::NormalFloat}) {
    const RowGrid grid = AffineGrid({.bits = 4, .kind = kind, .group = 16, .half_scales = true}).fit(w);
    EXPECT_TRUE(grid.scale.equal(grid.scale.to(torch::kHalf).to(torch::kFloat32)));
    EXPECT_TRUE(torch::isfinite(grid.scale).all().item<bool>());
    const RowGrid plain = AffineGrid({.bits = 4, .kind = kind, .group = 16}).fit(w);
    EXPECT_TRUE(torch::allclose(grid.scale.slice(0, 0, 3), plain.scale.slice(0, 0, 3), 0x1p-10));
    EXPECT_TRUE(grid.zero.equal(grid.zero.to(torch::kHalf).to(torch::kFloat32)));
    const auto q = dequantize(quantize(w, grid), grid);
    EXPECT_LT((q - w).slice(0, 0, 3).abs().max().item<float>(), kind == AffineKind::Ternary ? 2 : 0.5);
  }
}

TEST(AffineGrid, StorageIsCounted) {
  EXPECT_NEAR(AffineGrid({.bits = 3, .group = 128}).bits_per_weight(4096), 3.1484, 1e-4);
  EXPECT_NEAR(AffineGrid({.bits = 2, .group = 32}).bits_per_weight(4096), 2.5625, 1e-9);
}

TEST(AffineGrid, RefusesNonsense) {
  EXPECT_THROW(AffineGrid({.bits = 1}), Error);
  EXPECT_THROW(AffineGrid({.bits = 9}), Error);
  EXPECT_THROW(AffineGrid({.group = 0}), Error);
  EXPECT_THROW(AffineGrid({.group = -2}), Error);
  EXPECT_THROW(AffineGrid().fit(torch::full({2, 2}, std::nan(""))), Error);
  EXPECT_THROW(AffineGrid().fit(torch::zeros({3})), Error);
  const RowGrid grid = AffineGrid().fit(random_weight(2, 8));
  EXPECT_THROW(quantize(random_weight(3, 8), grid), Error);
  EXPECT_THROW(quantize(random_weight(2, 9), grid), Error);
  EXPECT_THROW(quantize(random_weight(2, 8), RowGrid()), Error);  // before fit()
  EXPECT_THROW(dequantize(quantize(random_weight(2, 8), grid), grid, torch::ones({8}, torch::kInt32)), Error);
}

}  // namespace
}  // namespace quanta
