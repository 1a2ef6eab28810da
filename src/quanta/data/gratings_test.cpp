#include "quanta/data/gratings.h"

#include <cmath>
#include <numbers>

#include "quanta/core/parallel.h"
#include "quanta/data/known.h"
#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::Each;
using testing::error_of;
using ::testing::HasSubstr;

TEST(Gratings, HaveTheSpecifiedMoments) {
  // Var x = E[g^2] Var(sin) + 0.6^2 with E[g^2] = 7/12: 0.2917 + 0.36, so 0.807.
  const auto set = gratings({.count = 2000});
  const auto x = grating_units().apply(set.to_float());
  EXPECT_NEAR(x.mean().item<double>(), 0, 0.02);
  EXPECT_NEAR(x.std().item<double>(), std::sqrt(7.0 / 24 + 0.36), 0.01);
  EXPECT_LT(x.abs().max().item<double>(), 4.01);
}

TEST(Gratings, LabelIsTheOrientationOfThePowerSpectrum) {
  // Oracle: the strongest frequency of each image without noise lies at the angle of its label.
  const int64_t size = 64;
  const auto set = gratings({.count = 100, .size = size, .noise = 0});
  const auto power = torch::fft::rfft2(grating_units().apply(set.to_float()).select(1, 0)).abs().square();
  int64_t right = 0;
  for (int64_t i = 0; i < set.size(); ++i) {
    auto p = power[i].clone();
    p[0][0] = 0;
    const int64_t at = p.argmax().item<int64_t>(), columns = p.size(1);
    double v = double(at / columns), u = double(at % columns);
    if (v > size / 2.0) v -= double(size);
    double angle = std::atan2(v, u);
    if (angle < -std::numbers::pi / 20) angle += std::numbers::pi;
    right += std::abs(angle / (std::numbers::pi / 10) - set.labels[i].item<double>()) < 1.2;
  }
  EXPECT_GE(right, 97);
}

TEST(Gratings, AreBalancedShuffledAndReproducible) {
  const GratingOptions options{.count = 250, .size = 12, .seed = 7};
  const auto a = gratings(options);
  EXPECT_NO_THROW(a.check());
  EXPECT_THAT(a.class_counts(), Each(25));
  EXPECT_FALSE(a.labels.equal(std::get<0>(a.labels.sort())));
  const int before = threads();
  set_threads(3);
  const auto b = gratings(options);
  set_threads(1);
  const auto c = gratings(options);
  set_threads(before);
  EXPECT_TRUE(a.images.equal(b.images));
  EXPECT_TRUE(a.images.equal(c.images));
  EXPECT_FALSE(a.images.equal(gratings({.count = 250, .size = 12, .seed = 8}).images));
}

TEST(Gratings, AreKnownData) {
  const auto data = load_images("gratings");
  EXPECT_EQ(data.train.size(), 4000);
  EXPECT_EQ(data.test.size(), 2000);
  EXPECT_TRUE(data.train.images.equal(gratings().images));
  EXPECT_TRUE(data.test.images.equal(gratings({.count = 2000, .seed = 2}).images));
}

TEST(Gratings, BadOptions) {
  EXPECT_THAT(error_of([] { gratings({.count = 0}); }), HasSubstr("at least 1, got 0"));
  EXPECT_THAT(error_of([] { gratings({.size = 2}); }), HasSubstr("4 to 1024"));
  EXPECT_THAT(error_of([] { gratings({.noise = -1}); }), HasSubstr("noise"));
}

}  // namespace
}  // namespace quanta
