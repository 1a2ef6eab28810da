#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "quanta/data/dataset.h"

namespace quanta {

struct ImageFolderOptions {
  std::string name = {};  ///< of the set; empty: the file's
  std::optional<std::pair<int64_t, int64_t>> size =
      {};                                ///< resize to {height, width} by area average; otherwise all must agree
  double train_fraction = 0.8;           ///< when the folder has no split of its own
  uint64_t seed = 0;                     ///< of that split
  int64_t max_bytes = int64_t{1} << 33;  ///< of all pixels together
};

/// Reads labelled JPEG and PNG images from a folder, or from an archive of it (.tar, .tar.gz, .zip ...), laid out as
/// `split/class/name.jpg` (split: train or training, and test or testing, or val or validation where there is no test)
/// or as `class/name.jpg`, which is then split at random, class by class. Folders above these are passed over if they
/// are the same for all images; other files and hidden ones are ignored. Classes are numbered in the order of their
/// names and images come in the order of theirs, so the result does not depend on the file system or the number of
/// threads. All images get the number of channels of the first. Error, naming the file (and member): no images, an
/// image outside a class folder, a damaged image, one of another size than the first, a test class without training
/// images, more than max_bytes.
ImageSplits load_image_folder(const std::filesystem::path& path, const ImageFolderOptions& options = {});

}  // namespace quanta
