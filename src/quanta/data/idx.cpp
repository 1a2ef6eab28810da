#include "quanta/data/idx.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/data/archive.h"

namespace quanta {
namespace fs = std::filesystem;
namespace {

constexpr uint8_t kUnsignedByte = 0x08;
constexpr int kMaxRank = 4;

std::optional<fs::path> find_part(const fs::path& folder, const std::string& stem, const std::string& ranks) {
  for (char separator : {'-', '.'})
    for (char rank : ranks)
      for (const char* suffix : {".gz", ""}) {
        const fs::path path = folder / fmt::format("{}{}idx{}-ubyte{}", stem, separator, rank, suffix);
        std::error_code ignored;
        if (fs::exists(path, ignored)) return path;
      }
  return std::nullopt;
}

fs::path require_part(const fs::path& folder, const std::string& stem, const std::string& ranks) {
  const auto path = find_part(folder, stem, ranks);
  require(path.has_value(), "{}: {}-idx{}-ubyte (plain or .gz) is missing", folder.string(), stem, ranks[0]);
  return *path;
}

}  // namespace

torch::Tensor parse_idx(std::string_view bytes, const std::string& name) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  require(bytes.size() >= 4, "{}: truncated: {} bytes, an IDX header has at least 4", name, bytes.size());
  const int rank = byte(3);
  require(byte(0) == 0 && byte(1) == 0 && rank >= 1 && rank <= kMaxRank,
          "{}: not an IDX file: starts with {:02x} {:02x} {:02x} {:02x}, expected 00 00 08 and 1 to {} dimensions",
          name, byte(0), byte(1), byte(2), byte(3), kMaxRank);
  require(byte(2) == kUnsignedByte, "{}: IDX elements of type {:#04x}; only unsigned bytes (0x08) are supported", name,
          byte(2));
  const size_t header = 4 + 4 * size_t(rank);
  require(bytes.size() >= header, "{}: truncated: {} bytes, an IDX header of {} dimensions has {}", name, bytes.size(),
          rank, header);
  std::vector<int64_t> shape;
  int64_t count = 1;
  for (size_t i = 4; i < header; i += 4) {
    shape.push_back(int64_t{byte(i)} << 24 | byte(i + 1) << 16 | byte(i + 2) << 8 | byte(i + 3));
    if (__builtin_mul_overflow(count, shape.back(), &count)) count = INT64_MAX;
  }
  require(count > 0, "{}: IDX shape {} has no elements", name, fmt::join(shape, " x "));
  const auto present = int64_t(bytes.size() - header);
  require(present >= count, "{}: truncated: the IDX header promises {} bytes of data ({}), there are {}", name, count,
          fmt::join(shape, " x "), present);
  require(present == count, "{}: {} bytes left over after the {} bytes of data ({}) that the IDX header promises", name,
          present - count, count, fmt::join(shape, " x "));
  auto array = torch::empty(shape, torch::kUInt8);
  std::memcpy(array.data_ptr<uint8_t>(), bytes.data() + header, count);
  return array;
}

torch::Tensor read_idx(const fs::path& path) {
  return parse_idx(read_maybe_gzip(path), path.string());
}

std::string format_idx(const torch::Tensor& array) {
  require(array.scalar_type() == torch::kUInt8 && array.dim() >= 1 && array.dim() <= kMaxRank && array.numel() > 0,
          "an IDX file holds a non-empty uint8 array of 1 to {} dimensions", kMaxRank);
  std::string bytes{0, 0, char(kUnsignedByte), char(array.dim())};
  for (int64_t size : array.sizes()) {
    require(size <= UINT32_MAX, "a dimension of {} does not fit the IDX format", size);
    for (int shift : {24, 16, 8, 0}) bytes.push_back(char(size >> shift));
  }
  const auto flat = array.contiguous();
  return bytes.append(reinterpret_cast<const char*>(flat.data_ptr<uint8_t>()), flat.numel());
}

void write_idx(const fs::path& path, const torch::Tensor& array) {
  const std::string bytes = format_idx(array);
  write_file(path, path.extension() == ".gz" ? gzip(bytes) : bytes);
}

ImageSet read_idx_set(const fs::path& images_path, const fs::path& labels_path, const IdxOptions& options) {
  ImageSet set;
  set.name = options.name;
  set.source = images_path.string();
  set.classes = options.classes;
  set.images = read_idx(images_path);
  require(set.images.dim() >= 3, "{}: {} dimensions, images have 3 (or 4 with channels)", images_path.string(),
          set.images.dim());
  if (set.images.dim() == 3) set.images = set.images.unsqueeze(1);
  require(set.channels() == 1 || set.channels() == 3, "{}: images of {} channels, expected 1 or 3",
          images_path.string(), set.channels());
  const int64_t height = options.height.value_or(set.height()), width = options.width.value_or(set.width());
  require(set.height() == height && set.width() == width, "{}: images of {} x {} pixels, expected {} x {}",
          images_path.string(), set.height(), set.width(), height, width);
  const auto labels = read_idx(labels_path);
  require(labels.dim() == 1, "{}: {} dimensions, labels have 1", labels_path.string(), labels.dim());
  require(labels.size(0) == set.size(), "{}: {} labels, but {} has {} images", labels_path.string(), labels.size(0),
          images_path.string(), set.size());
  set.labels = labels.to(torch::kInt64);
  const int64_t largest = set.labels.max().item<int64_t>();
  if (set.classes.empty())
    for (int64_t i = 0; i <= largest; ++i) set.classes.push_back(std::to_string(i));
  require(largest < int64_t(set.classes.size()), "{}: label {}, expected 0 to {}", labels_path.string(), largest,
          set.classes.size() - 1);
  return set;
}

ImageSplits read_idx_folder(const fs::path& folder, const IdxOptions& options) {
  ImageSplits splits;
  splits.train =
      read_idx_set(require_part(folder, "train-images", "34"), require_part(folder, "train-labels", "1"), options);
  IdxOptions like_train = options;  // the test set must fit the model of the training set
  like_train.height = splits.train.height();
  like_train.width = splits.train.width();
  like_train.classes = splits.train.classes;
  const fs::path test_images = require_part(folder, "t10k-images", "34");
  splits.test = read_idx_set(test_images, require_part(folder, "t10k-labels", "1"), like_train);
  require(splits.test.channels() == splits.train.channels(), "{}: images of {} channels, the training images have {}",
          test_images.string(), splits.test.channels(), splits.train.channels());
  splits.train.source = splits.test.source = folder.string();
  return splits;
}

bool is_idx_folder(const fs::path& folder) {
  return find_part(folder, "train-images", "34").has_value();
}

void write_idx_folder(const fs::path& folder, const ImageSplits& splits) {
  make_directory(folder);
  for (const auto& [stem, set] : {std::pair("train", &splits.train), std::pair("t10k", &splits.test)}) {
    set->check();
    require(set->classes.size() <= 256, "{}: {} classes, an IDX label has one byte", set->name, set->classes.size());
    const bool grey = set->channels() == 1;
    write_idx(folder / fmt::format("{}-images-idx{}-ubyte.gz", stem, grey ? 3 : 4),
              grey ? set->images.squeeze(1) : set->images);
    write_idx(folder / fmt::format("{}-labels-idx1-ubyte.gz", stem), set->labels.to(torch::kUInt8));
  }
}

}  // namespace quanta
