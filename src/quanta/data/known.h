#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/data/dataset.h"

namespace quanta {

/// A data set that Quanta knows by name.
struct KnownData {
  std::string name;        ///< lower case with underscores; look-ups also take '-' and capitals
  std::string title;       ///< what it is, in one line
  std::string kind;        ///< "images", "text", "table", "molecules" or "circuits"
  std::string get;         ///< how to get it: where from, and under which name to put it into the data folder
  std::string stand_in;    ///< the generated set that may take its place, or ""
  bool generated = false;  ///< made by the program itself; a copy in the data folder comes first
};

/// All of them, in the order `quanta data list` shows them.
const std::vector<KnownData>& known_data();

/// The data set of this name; UsageError that lists the names there are.
const KnownData& known_data(std::string_view name);

/// The folders where data is looked for, in order: `dir` if not empty, then $QUANTA_DATA if set, ./data and
/// ../shared/data. Error if `dir` is no folder: what a user names must be there.
std::vector<std::filesystem::path> data_roots(const std::filesystem::path& dir = {});

/// Where a data set lies: the file, archive or folder to read, in the first of data_roots(dir) that has it.
/// UsageError if the name is unknown.
std::optional<std::filesystem::path> find_data(std::string_view name, const std::filesystem::path& dir = {});

/// The same; if it is missing, an Error that says where it was looked for, how to get it and what may stand in for it.
std::filesystem::path require_data(std::string_view name, const std::filesystem::path& dir = {});

/// Loads an image set: mnist, cifar10, medical_mnist, glyph_digits (28x28), glyph_hues (32x32 RGB) or gratings (16x16
/// RGB). The last three are generated (10,000 train and 2,000 test images of seed 0; gratings 4,000 of seed 1 and 2,000
/// of seed 2; `source` "generated") unless the data folder has a copy. Error if it is missing (as above) or damaged;
/// UsageError if it is not an image set.
ImageSplits load_images(std::string_view name, const std::filesystem::path& dir = {});

/// As load_images, but a missing set is replaced by its stand-in (glyph_digits for mnist and medical_mnist, glyph_hues
/// for cifar10), which `log` is told in one line. A set that is there but damaged is an Error all the same.
ImageSplits load_images_or_stand_in(std::string_view name, const std::filesystem::path& dir = {},
                                    const std::function<void(const std::string&)>& log = {});

/// CIFAR-10 in its binary form (data_batch_1.bin ... data_batch_5.bin and test_batch.bin; records of 3073 bytes: a
/// label and 32 x 32 pixels in three planes), from a folder or an archive of it.
ImageSplits read_cifar10_binary(const std::filesystem::path& path);

}  // namespace quanta
