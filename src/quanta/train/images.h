#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "quanta/data/dataset.h"
#include "quanta/data/transform.h"
#include "quanta/nn/network.h"
#include "quanta/train/trainer.h"

namespace quanta {

/// Pixels in [0, 1] are normalized, then the network sees them.
Forward with_normalization(Network net, const Normalization& normalization);

/// Stochastic gradient descent on images, as classifiers of small images are usually trained: momentum, weight decay on
/// weights (not on biases and normalizations), a rate that rises linearly over `warmup` of the steps and then falls
/// along half a cosine to 0.
struct ImageTraining {
  int epochs = 10;
  int batch = 128;
  double rate = 0.1;
  double momentum = 0.9;
  double weight_decay = 5e-4;
  double warmup = 0.1;  ///< share of the steps, in [0, 1)
  bool nesterov = true;
  Augmentation augmentation{};
  uint64_t seed = 0;
  /// Called before each step with its number, of so many; what it does must depend on these alone (see qat_step()).
  std::function<void(int64_t step, int64_t steps)> before_step{};
  std::filesystem::path out{};  ///< as TrainOptions::out, label and resume
  std::string label = "train";
  bool resume = false;
};

/// Trains the network's parameters that need a gradient. `test` may be empty; it is only looked at.
History train_images(Network net, const ImageSet& train, const ImageSet& test, const Normalization& normalization,
                     const ImageTraining& training);

Evaluation evaluate_images(Network net, const ImageSet& set, const Normalization& normalization, int batch = 256);

}  // namespace quanta
