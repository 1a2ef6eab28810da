#include "quanta/data/transform.h"

#include <numbers>

#include "quanta/core/parallel.h"
#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

TEST(Normalization, MeasuresExactly) {
  ImageSet set{.name = "s", .images = {}, .labels = {}, .classes = {"a"}, .source = ""};
  set.images = torch::tensor({0, 255, 51, 51, 255, 0, 51, 51}, torch::kUInt8).view({2, 2, 1, 2});
  set.labels = torch::zeros({2}, torch::kInt64);
  const auto n = Normalization::measure(set);
  EXPECT_THAT(n.mean, ElementsAre(DoubleEq(0.5), DoubleNear(0.2, 1e-15)));
  EXPECT_THAT(n.standard_deviation, ElementsAre(DoubleEq(0.5), 1));  // the second channel is constant
  const auto x = set.to_float(), y = n.apply(x);
  EXPECT_TRUE(y.select(1, 0).flatten().equal(torch::tensor({-1.f, 1.f, 1.f, -1.f})));
  EXPECT_TRUE(torch::allclose(n.undo(y), x));
  EXPECT_THAT(error_of([&] { n.apply(x.narrow(1, 0, 1)); }), HasSubstr("2 channels"));
}

TEST(Normalization, AgreesWithTorchOnRandomImages) {
  torch::manual_seed(0);
  ImageSet set{.name = "s",
               .images = torch::randint(256, {50, 3, 7, 9}).to(torch::kUInt8),
               .labels = {},
               .classes = {},
               .source = ""};
  const auto n = Normalization::measure(set);
  const auto x = set.images.to(torch::kFloat64).div(255).transpose(0, 1).flatten(1);
  for (int c = 0; c < 3; ++c) {
    EXPECT_NEAR(n.mean[c], x[c].mean().item<double>(), 1e-12);
    EXPECT_NEAR(n.standard_deviation[c], x[c].std(false).item<double>(), 1e-12);
  }
}

TEST(ResizeArea, AveragesWholePixels) {
  const auto x = torch::randn({2, 3, 28, 28}, torch::kFloat64);
  EXPECT_TRUE(torch::allclose(resize_area(x, 14, 14), torch::avg_pool2d(x, 2)));
  EXPECT_TRUE(torch::allclose(resize_area(x, 7, 28), torch::avg_pool2d(x, {4, 1})));
  EXPECT_TRUE(resize_area(x, 28, 28).equal(x));
}

TEST(ResizeArea, SharesPixelsThatLieAcross) {
  // 3 to 2: a new pixel covers one and a half old ones. 2 to 3: the middle one covers half of each.
  const auto x = torch::tensor({3., 6., 12.}, torch::kFloat64).view({1, 1, 1, 3});
  EXPECT_TRUE(torch::allclose(resize_area(x, 1, 2).flatten(), torch::tensor({4., 10.}, torch::kFloat64)));
  const auto y = torch::tensor({2., 8.}, torch::kFloat64).view({1, 1, 2, 1});
  EXPECT_TRUE(torch::allclose(resize_area(y, 3, 1).flatten(), torch::tensor({2., 5., 8.}, torch::kFloat64)));
}

TEST(ResizeArea, KeepsTheMeanAndRoundsBytes) {
  const auto x = torch::rand({4, 1, 28, 28}, torch::kFloat64);
  EXPECT_TRUE(torch::allclose(resize_area(x, 13, 5).mean({1, 2, 3}), x.mean({1, 2, 3})));
  const auto bytes = torch::tensor({10, 11, 255, 255}, torch::kUInt8).view({1, 1, 2, 2});
  const auto small = resize_area(bytes, 2, 1);
  EXPECT_EQ(small.scalar_type(), torch::kUInt8);
  EXPECT_EQ(small.flatten()[1].item<int>(), 255);
  EXPECT_THAT(error_of([&] { resize_area(x, 0, 5); }), HasSubstr("0 x 5"));
}

TEST(ResizeArea, IsDifferentiable) {
  auto x = torch::rand({1, 1, 4, 4}, torch::kFloat64).requires_grad_();
  resize_area(x, 2, 2).sum().backward();
  EXPECT_TRUE(torch::allclose(x.grad(), torch::full_like(x, 0.25)));
}

torch::Tensor ids(int64_t n, int64_t first = 0) {
  return torch::arange(first, first + n, torch::kInt64);
}

TEST(Augment, DependsOnSeedEpochAndSampleAlone) {
  const auto x = torch::rand({20, 3, 8, 8});
  const Augmentation all{.crop_padding = 2, .flip = true, .rotation = 0.3, .scale = 0.1, .translation = 0.1};
  const auto whole = augment(x, ids(20), all, 5, 3);
  EXPECT_EQ(whole.sizes(), x.sizes());
  EXPECT_TRUE(augment(x.narrow(0, 7, 4), ids(4, 7), all, 5, 3).equal(whole.narrow(0, 7, 4)));
  const int before = threads();
  set_threads(3);
  EXPECT_TRUE(augment(x, ids(20), all, 5, 3).equal(whole));
  set_threads(before);
  EXPECT_FALSE(augment(x, ids(20), all, 5, 4).equal(whole));
  EXPECT_FALSE(augment(x, ids(20), all, 6, 3).equal(whole));
  EXPECT_TRUE(augment(x, ids(20), {}, 5, 3).equal(x));
}

TEST(Augment, FlipsAboutHalf) {
  const auto x = torch::arange(12, torch::kFloat32).view({1, 1, 3, 4}).expand({1000, 1, 3, 4}).contiguous();
  const auto y = augment(x, ids(1000), {.flip = true}, 0, 0);
  const auto mirrored = x.flip(3);
  int64_t flipped = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const bool is_flipped = y[i].equal(mirrored[i]);
    EXPECT_TRUE(is_flipped || y[i].equal(x[i]));
    flipped += is_flipped;
  }
  EXPECT_NEAR(double(flipped), 500, 80);  // five standard deviations
}

TEST(Augment, CropsAreShiftsWithZeros) {
  const auto x = torch::arange(1, 26, torch::kFloat32).view({1, 1, 5, 5}).expand({400, 1, 5, 5}).contiguous();
  const auto y = augment(x, ids(400), {.crop_padding = 1}, 0, 0);
  const auto padded = torch::constant_pad_nd(x[0], {1, 1, 1, 1});
  std::array<int, 9> seen{};
  for (int64_t i = 0; i < 400; ++i) {
    int matches = 0;
    for (int64_t place = 0; place < 9; ++place) {
      if (!y[i].equal(padded.narrow(1, place / 3, 5).narrow(2, place % 3, 5))) continue;
      ++seen[place];
      ++matches;
    }
    EXPECT_EQ(matches, 1);
  }
  for (int count : seen) EXPECT_GT(count, 10);
}

TEST(Augment, RotationKeepsTheCentreAndTheMass) {
  // A bright dot away from the centre stays at its distance from it.
  auto x = torch::zeros({200, 1, 21, 21});
  x.select(2, 10).select(2, 16).fill_(1);
  const auto y = augment(x, ids(200), {.rotation = std::numbers::pi}, 0, 0);
  const auto position = torch::arange(21, torch::kFloat32) - 10;
  const auto mass = y.sum({1, 2, 3});
  const auto down = (y.sum({1, 3}) * position).sum(1) / mass, right = (y.sum({1, 2}) * position).sum(1) / mass;
  EXPECT_TRUE(torch::allclose((down.square() + right.square()).sqrt(), torch::full({200}, 6.f), 0, 0.35));
  EXPECT_GT(down.max().item<float>(), 4);
  EXPECT_LT(down.min().item<float>(), -4);
}

TEST(Augment, BadInput) {
  const auto x = torch::rand({2, 1, 4, 4});
  EXPECT_THAT(error_of([&] { augment(x, ids(3), {.flip = true}, 0, 0); }), HasSubstr("index of each of the 2 images"));
  EXPECT_THAT(error_of([&] { augment(x.to(torch::kUInt8), ids(2), {.flip = true}, 0, 0); }),
              HasSubstr("floating-point"));
  EXPECT_THAT(error_of([&] { augment(x, ids(2), {.crop_padding = -1}, 0, 0); }), HasSubstr("at least 0"));
  EXPECT_THAT(error_of([&] { augment(x, ids(2), {.scale = 1}, 0, 0); }), HasSubstr("[0, 1)"));
}

}  // namespace
}  // namespace quanta
