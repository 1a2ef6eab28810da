#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "quanta/data/dataset.h"
#include "quanta/data/transform.h"
#include "quanta/models/vision.h"

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

/// What the model's file says of the pixels it wants.
Normalization normalization_of(const VisionModelInfo& info);

/// Error unless the images have the model's channels, size and number of classes.
void require_fit(const VisionModelInfo& info, const ImageSet& images);

}  // namespace quanta::cli
