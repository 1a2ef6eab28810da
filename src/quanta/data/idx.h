#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "quanta/data/dataset.h"

namespace quanta {

// The IDX format of MNIST (described with the data set): two zero bytes, the element type, the number of dimensions,
// each dimension as a big-endian 32-bit number, then the elements in row-major order. Quanta uses unsigned bytes (type
// 0x08) of one to four dimensions: labels [N], grey images [N, H, W], other images [N, C, H, W].

/// The array in `bytes` (not compressed), uint8, of the shape its header states. `name` heads the message of an Error:
/// wrong magic, another element type, too few or too many bytes for the shape. Memory is taken only after the shape is
/// known to fit the bytes that are there.
torch::Tensor parse_idx(std::string_view bytes, const std::string& name);

/// The same from a file, plain or gzip. Error as above, or if the file cannot be read.
torch::Tensor read_idx(const std::filesystem::path& path);

/// The IDX file of a uint8 tensor of one to four dimensions, not compressed.
std::string format_idx(const torch::Tensor& array);

/// Writes an IDX file whole or not at all; compressed if the name ends in .gz.
void write_idx(const std::filesystem::path& path, const torch::Tensor& array);

struct IdxOptions {
  std::string name = "images";
  std::vector<std::string> classes = {};           ///< one name a label; if empty "0", "1", ... up to the largest label
  std::optional<int64_t> height = {}, width = {};  ///< Error unless the images have this size
};

/// Images and labels from two IDX files. Error if they differ in number, the images have an unexpected size, or a label
/// has no class.
ImageSet read_idx_set(const std::filesystem::path& images, const std::filesystem::path& labels,
                      const IdxOptions& options = {});

/// A folder of four IDX files under their customary names: train-images, train-labels, t10k-images and t10k-labels,
/// each followed by "-idx3-ubyte" (images of one channel), "-idx4-ubyte" (of more) or "-idx1-ubyte" (labels), also with
/// '.' in place of the first '-', plain or with ".gz". Both sets get the folder as `source`.
ImageSplits read_idx_folder(const std::filesystem::path& folder, const IdxOptions& options = {});

/// True if the folder has a training image file of such a name.
bool is_idx_folder(const std::filesystem::path& folder);

/// Writes such a folder (made if need be) with four .gz files, each whole or not at all.
void write_idx_folder(const std::filesystem::path& folder, const ImageSplits& splits);

}  // namespace quanta
