#pragma once

#include <string>
#include <vector>

#include "quanta/data/transform.h"
#include "quanta/papers/recipe.h"
#include "quanta/train/trainer.h"

namespace quanta {

/// Images for the small networks of a recipe.
struct VisionData {
  ImageSplits images{};
  Normalization normalization{};
  Examples train{}, test{};  ///< normalized, float32

  std::vector<int64_t> shape() const { return train.inputs.sizes().slice(1).vec(); }
  int64_t classes() const { return int64_t(images.train.classes.size()); }
};

struct VisionDataOptions {
  int64_t train = 0;  ///< balanced over the classes; 0, or more than there are: all
  int64_t test = 0;
  int64_t size = 0;  ///< pixels a side to resize to; 0: as they are
};

/// Loads the named image sets. One that is not found is left out with a warning; if none is left, `gratings` takes
/// their place. Gratings come in their own units, others normalized by the training images' mean and deviation.
std::vector<VisionData> vision_data(const std::vector<std::string>& names, const VisionDataOptions& options,
                                    const RunContext& context);

}  // namespace quanta
