#include "quanta/data/glyph_digits.h"

#include <cmath>

#include "quanta/core/parallel.h"
#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

double nearest_centroid_accuracy(const ImageSet& train, const ImageSet& test) {
  const auto x = train.to_float().flatten(1), y = test.to_float().flatten(1);
  const auto classes = int64_t(train.classes.size());
  const auto one_hot = torch::one_hot(train.labels, classes).to(torch::kFloat32);
  const auto centroids = one_hot.t().mm(x) / one_hot.sum(0).unsqueeze(1);
  return torch::cdist(y, centroids).argmin(1).eq(test.labels).to(torch::kFloat64).mean().item<double>();
}

TEST(GlyphDigits, NearestCentroidScoresAsSpecified) {
  // Specification 01: 0.88 at S = 8 and 0.92 at S = 16 and 28. 200 test images: a standard error of 0.02.
  for (const auto& [size, expected] : {std::pair(8, 0.88), std::pair(16, 0.92), std::pair(28, 0.92)}) {
    double mean = 0;
    for (uint64_t seed : {0, 1, 2}) {
      const auto accuracy = nearest_centroid_accuracy(
          glyph_digits({.size = size, .seed = seed}),
          glyph_digits({.count = 200, .size = size, .seed = seed, .split = GlyphSplit::kTest}));
      if (size == 28) EXPECT_GE(accuracy, 0.85) << "seed " << seed;
      mean += accuracy / 3;
    }
    EXPECT_NEAR(mean, expected, 0.05) << "S = " << size;
  }
}

TEST(GlyphDigits, IsBalancedShuffledAndReproducible) {
  const GlyphOptions options{.count = 250, .size = 12, .seed = 7};
  const auto a = glyph_digits(options);
  EXPECT_NO_THROW(a.check());
  EXPECT_EQ(a.source, "generated");
  EXPECT_THAT(a.class_counts(), Each(25));
  EXPECT_FALSE(a.labels.equal(std::get<0>(a.labels.sort())));
  const int before = threads();
  set_threads(3);
  const auto b = glyph_digits(options);
  set_threads(1);
  const auto c = glyph_digits(options);
  set_threads(before);
  EXPECT_TRUE(a.images.equal(b.images) && a.images.equal(c.images) && a.labels.equal(b.labels));
  EXPECT_FALSE(a.images.equal(glyph_digits({.count = 250, .size = 12, .seed = 8}).images));
  EXPECT_FALSE(a.images.equal(glyph_digits({.count = 250, .size = 12, .seed = 7, .split = GlyphSplit::kTest}).images));
}

TEST(GlyphDigits, DrawsWithinTheSpecifiedRanges) {
  // Without noise: gain 0.7 to 1 is the brightest pixel at most; a "1" turned, sheared and scaled at most as specified
  // stays clear of the border of a 28 x 28 image, and its stem lies upright.
  const auto ones = glyph_digits({.count = 200, .classes = {1}, .noise = 0});
  const auto x = ones.to_float().squeeze(1);
  EXPECT_LE(x.max().item<double>(), 1);
  const auto brightest = x.flatten(1).amax(1);
  EXPECT_GE(brightest.min().item<double>(), 0.7 * 0.6);
  EXPECT_GT(brightest.max().item<double>(), 0.9);
  EXPECT_EQ(x.select(1, 0).max().item<double>(), 0);
  EXPECT_EQ(x.select(2, 0).max().item<double>(), 0);
  EXPECT_EQ(x.select(2, 27).max().item<double>(), 0);
  // The mean picture: the font's "1" is 7 dots tall and 3 wide, about 0.72 S and 0.31 S.
  const auto picture = x.mean(0);
  const auto position = torch::arange(28, torch::kFloat32) - 13.5;
  const auto total = picture.sum();
  const double rows = (picture.sum(1) * position.square()).sum().div(total).sqrt().item<double>();
  const double columns = (picture.sum(0) * position.square()).sum().div(total).sqrt().item<double>();
  EXPECT_NEAR(rows, 2.88 * 2.16,
              1.0);  // from the font: the dots' standard deviation in rows is 2.16, a dot has 2.88 pixels
  EXPECT_LT(columns, 0.65 * rows);
}

TEST(GlyphDigits, ChosenClassesGetLabelsInOrder) {
  const auto set = glyph_digits({.count = 10, .classes = {7, 3}, .noise = 0});
  EXPECT_THAT(set.classes, ElementsAre("7", "3"));
  EXPECT_THAT(set.class_counts(), ElementsAre(5, 5));
}

TEST(GlyphDigits, BadOptions) {
  EXPECT_THAT(error_of([] { glyph_digits({.count = 0}); }), HasSubstr("at least 1"));
  EXPECT_THAT(error_of([] { glyph_digits({.size = 2}); }), HasSubstr("4 to 1024"));
  EXPECT_THAT(error_of([] { glyph_digits({.classes = {10}}); }), HasSubstr("digits are 0 to 9, got 10"));
  EXPECT_THAT(error_of([] { glyph_digits({.classes = {}}); }), HasSubstr("at least one digit"));
  EXPECT_THAT(error_of([] { glyph_digits({.noise = -1}); }), HasSubstr("noise"));
  EXPECT_THAT(error_of([] { glyph_hues({.classes = {1, 2, 3}}); }), HasSubstr("two digits"));
}

TEST(GlyphHues, LabelIsTwiceTheHuePlusTheGlyph) {
  const auto set = glyph_hues({.count = 200, .size = 32, .classes = {0, 1}, .noise = 0});
  EXPECT_NO_THROW(set.check());
  EXPECT_EQ(set.images.sizes(), torch::IntArrayRef({200, 3, 32, 32}));
  EXPECT_THAT(set.class_counts(), Each(20));
  for (int64_t i = 0; i < set.size(); ++i) {
    // The hue of the brightest pixel, by the usual formula.
    const auto x = set.images[i].to(torch::kFloat64).flatten(1);
    const int64_t at = std::get<0>(x.max(0)).argmax().item<int64_t>();
    const double r = x[0][at].item<double>(), g = x[1][at].item<double>(), b = x[2][at].item<double>();
    const double high = std::max({r, g, b}), range = high - std::min({r, g, b});
    double hue = high == r ? (g - b) / range : high == g ? 2 + (b - r) / range : 4 + (r - g) / range;
    hue = 5 * (hue / 6);  // in fifths of a turn
    const int64_t label = set.labels[i].item<int64_t>();
    const double off = std::remainder(hue - double(label / 2), 5);
    EXPECT_LE(std::abs(off), 5 * 0.03 + 0.03) << "sample " << i;
  }
  // The glyph: "0" and "1" told apart by centroids over all hues.
  auto shape = [](ImageSet s) {
    s.images = std::get<0>(s.images.max(1, true));
    s.labels = s.labels.remainder(2);
    s.classes = {"0", "1"};
    return s;
  };
  EXPECT_GE(nearest_centroid_accuracy(shape(set),
                                      shape(glyph_hues({.count = 200, .classes = {0, 1}, .split = GlyphSplit::kTest}))),
            0.9);
}

}  // namespace
}  // namespace quanta
