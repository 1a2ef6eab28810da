#pragma once

#include <cstdint>
#include <vector>

#include "quanta/data/dataset.h"

namespace quanta {

/// Which of two independent collections of samples a seed gives.
enum class GlyphSplit { kTrain, kTest };

struct GlyphOptions {
  int64_t count = 1000;
  int64_t size = 28;                                              ///< S: images are S x S
  std::vector<int64_t> classes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};  ///< digits; label i is the i-th of them
  uint64_t seed = 0;
  double noise = 0.1;  ///< standard deviation of the Gaussian noise, pixels in [0, 1]
  GlyphSplit split = GlyphSplit::kTrain;
};

/// GlyphDigits of paper 01: digits of a 5x7 dot-matrix font under random shift (+-7 % of S), rotation (+-0.25 rad),
/// shear
/// (+-0.2), scale (0.85 to 1.15, the width once more), gain (0.7 to 1) and Gaussian noise, clipped to [0, 1] and stored
/// in 8 bits. Grey, classes balanced and shuffled; sample i depends on (seed, split, i) and its label alone. A
/// nearest-centroid classifier scores 0.88 at S = 8 and 0.92 at S = 16 and 28 (noise 0.1, 1000 train, 200 test).
ImageSet glyph_digits(const GlyphOptions& options = {});

/// The colour task of paper 02: two glyphs (`classes`, by default 0 and 1) times five hues a fifth of a turn apart,
/// each sample's hue off by up to +-0.03 turns; RGB, label = 2 * hue + glyph. Shapes as above, noise on each channel.
ImageSet glyph_hues(GlyphOptions options = {.size = 32, .classes = {0, 1}});

}  // namespace quanta
