#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "quanta/data/dataset.h"
#include "quanta/data/transform.h"
#include "quanta/lowbit/integer_network.h"
#include "quanta/models/vision.h"
#include "quanta/train/trainer.h"

// What the commands on image classifiers share: train, eval, quantize.

namespace quanta::cli {

/// Where the images come from.
struct ImageSource {
  std::string set;     ///< a known set, or the path of a folder or archive of images
  std::string folder;  ///< where known sets are looked for first
};
void add_image_source(CLI::App& command, ImageSource& source, bool required);

/// Loads the set, resized to size x size if it has another one (0: as it is).
ImageSplits load(const ImageSource& source, int64_t size = 0);

/// A model's file, and for one that does not describe itself (another program's checkpoint) what it holds.
struct ModelSource {
  std::string path;
  std::string architecture;
  int64_t classes = 1000;
  int64_t input = 224;
  std::vector<double> mean{0.485, 0.456, 0.406};
  std::vector<double> deviation{0.229, 0.224, 0.225};
};
void add_model_source(CLI::App& command, ModelSource& source);

struct OpenedModel {
  Network net = nullptr;  ///< in evaluation mode
  VisionModelInfo info;
  bool quantized = false;
};
/// A file of quanta train or quanta quantize, the folder of one, or a checkpoint with torchvision's names.
OpenedModel open(const ModelSource& source);

/// What the model's file says of the pixels it wants.
Normalization normalization_of(const VisionModelInfo& info);

/// Error unless the images have the model's channels and number of classes.
void require_fit(const VisionModelInfo& info, const ImageSet& images);

/// As evaluate_images(), of a network of integers.
Evaluation evaluate_integers(const IntegerNetwork& network, const ImageSet& images, const Normalization& normalization,
                             int batch);

}  // namespace quanta::cli
