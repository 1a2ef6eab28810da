#pragma once

#include <cstdint>

#include "quanta/data/dataset.h"
#include "quanta/data/transform.h"

namespace quanta {

struct GratingOptions {
  int64_t count = 4000;
  int64_t size = 16;   ///< S: images are S x S
  uint64_t seed = 1;   ///< the training set of `gratings` has seed 1, the test set seed 2
  double noise = 0.6;  ///< standard deviation of the Gaussian noise, in units of the grating's largest amplitude
};

/// GRATE-10: sine gratings of ten orientations, label = round(angle / 18 degrees). The angle is off by N(0, (5 deg)^2),
/// the frequency uniform in [0.10, 0.18] cycles a pixel, the phase uniform, each channel's gain uniform in [0.5, 1].
/// RGB, classes balanced and shuffled; sample i depends on (seed, i) and its label alone. The real-valued image x is
/// stored in 8 bits as 255 (x / 8 + 1/2), clipped at |x| = 4; grating_units() gives x back.
ImageSet gratings(const GratingOptions& options = {});

/// Takes pixels in [0, 1] of gratings() to x.
Normalization grating_units();

}  // namespace quanta
