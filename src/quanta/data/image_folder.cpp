#include "quanta/data/image_folder.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/data/archive.h"
#include "quanta/data/image.h"
#include "quanta/data/transform.h"

namespace quanta {
namespace fs = std::filesystem;
namespace {

struct Item {
  std::string member;                // path within the folder or archive
  std::optional<std::string> bytes;  // of an archive's member; a file in a folder is read when it is decoded
  std::string split;                 // "train", "test", "val" or ""
  std::string label;
};

bool is_wanted(const std::string& member) {
  for (const auto& part : fs::path(member))
    if (part.string().starts_with('.') || part == "__MACOSX") return false;
  return is_image_name(member);
}

std::vector<Item> collect(const fs::path& path) {
  std::vector<Item> items;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      const std::string member = it->path().lexically_relative(path).generic_string();
      if (is_wanted(member) && it->is_regular_file(error)) items.push_back({member, std::nullopt, {}, {}});
    }
    require(!error, "{}: the folder cannot be read: {}", path.string(), error.message());
  } else {
    for_each_member(path, is_wanted, [&](const std::string& member, std::string bytes) {
      items.push_back({member, std::move(bytes), {}, {}});
    });
  }
  require(!items.empty(), "{}: no JPEG or PNG images in it, expected class/name.jpg or train/class/name.jpg",
          path.string());
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.member < b.member; });
  return items;
}

std::string split_name(const std::string& folder) {
  static const std::map<std::string, std::string> names{{"train", "train"}, {"training", "train"},
                                                        {"test", "test"},   {"testing", "test"},
                                                        {"val", "val"},     {"validation", "val"}};
  const auto found = names.find(folder);
  return found == names.end() ? "" : found->second;
}

/// Fills in split and label from the path.
void read_layout(const fs::path& path, std::vector<Item>& items) {
  std::string first_above;
  for (auto& item : items) {
    const fs::path folder = fs::path(item.member).parent_path();
    item.label = folder.filename().string();
    require(!item.label.empty(), "{}: image {} is in no class folder, expected class/name.jpg or train/class/name.jpg",
            path.string(), item.member);
    fs::path above = folder.parent_path();
    item.split = split_name(above.filename().string());
    if (!item.split.empty()) above = above.parent_path();
    if (&item == &items.front()) first_above = above.string();
    require(
        above.string() == first_above && item.split.empty() == items.front().split.empty(),
        "{}: images {} and {} lie at different levels, expected all as class/name.jpg or all as train/class/name.jpg",
        path.string(), items.front().member, item.member);
  }
}

std::string shown_name(const fs::path& path, const Item& item) {
  return !item.bytes ? (path / item.member).string() : fmt::format("{}: member {}", path.string(), item.member);
}

Image decode(const fs::path& path, const Item& item, int channels, const ImageFolderOptions& options) {
  const std::string name = shown_name(path, item);
  Image image = decode_image(item.bytes ? *item.bytes : read_maybe_gzip(path / item.member, 1 << 28), name, channels);
  if (options.size && *options.size != std::pair(image.height, image.width)) {
    const auto [height, width] = *options.size;
    auto pixels = torch::from_blob(image.pixels.data(), {1, image.channels, image.height, image.width}, torch::kUInt8);
    pixels = resize_area(pixels, height, width).contiguous();
    const auto* data = pixels.data_ptr<uint8_t>();
    image = {image.channels, height, width, std::vector<uint8_t>(data, data + pixels.numel())};
  }
  return image;
}

/// uint8 [N, C, H, W] of all items.
torch::Tensor decode_all(const fs::path& path, std::vector<Item>& items, const ImageFolderOptions& options) {
  const Image first = decode(path, items.front(), 0, options);
  const auto count = int64_t(items.size()), bytes = int64_t(first.pixels.size());
  require(bytes <= options.max_bytes / count,
          "{}: {} images of {} x {} pixels and {} channels take more than {} bytes; resize them or read fewer",
          path.string(), count, first.height, first.width, first.channels, options.max_bytes);
  auto images = torch::empty({count, first.channels, first.height, first.width}, torch::kUInt8);
  auto* out = images.data_ptr<uint8_t>();
  // The first bad image in the order of names is reported, whichever thread finds one first.
  std::mutex mutex;
  int64_t bad = count;
  std::string message;
  parallel_for(count, 16, [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    for (int64_t i = begin; i < end; ++i) {
      try {
        const Image image = decode(path, items[i], int(first.channels), options);
        require(image.height == first.height && image.width == first.width,
                "{}: an image of {} x {} pixels, but {} has {} x {}; all must have one size, or be resized",
                shown_name(path, items[i]), image.height, image.width, items.front().member, first.height, first.width);
        std::memcpy(out + i * bytes, image.pixels.data(), bytes);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        if (i < bad) {
          bad = i;
          message = error.what();
        }
        return;  // what follows in this range can only be later
      }
    }
  });
  require(bad == count, "{}", message);
  return images;
}

}  // namespace

ImageSplits load_image_folder(const fs::path& path, const ImageFolderOptions& options) {
  if (options.size)
    require(options.size->first > 0 && options.size->second > 0, "images cannot be resized to {} x {}",
            options.size->first, options.size->second);
  auto items = collect(path);
  read_layout(path, items);
  const auto has_split = [&](const char* split) {
    return std::any_of(items.begin(), items.end(), [&](const Item& item) { return item.split == split; });
  };
  const bool is_split = !items.front().split.empty();
  if (is_split) {
    const std::string test = has_split("test") ? "test" : "val";
    require(has_split("train") && has_split(test.c_str()), "{}: it has a folder of {} images, but none of {} images",
            path.string(), has_split("train") ? "training" : "test", has_split("train") ? "test" : "training");
    std::erase_if(items, [&](const Item& item) { return item.split != "train" && item.split != test; });
  }

  ImageSet all;
  all.name = options.name.empty() ? path.filename().string() : options.name;
  all.source = path.string();
  std::map<std::string, int64_t> index;  // of the classes, in the order of their names
  for (const auto& item : items)
    if (!is_split || item.split == "train") index.emplace(item.label, 0);
  for (auto& [label, number] : index) {
    number = int64_t(all.classes.size());
    all.classes.push_back(label);
  }
  std::vector<int64_t> labels, train, test;
  for (const auto& item : items) {
    const auto found = index.find(item.label);
    require(found != index.end(), "{}: class {} has test images but no training images", path.string(), item.label);
    (item.split == "train" ? train : test).push_back(int64_t(labels.size()));
    labels.push_back(found->second);
  }
  all.labels = torch::tensor(labels, torch::kInt64);
  all.images = decode_all(path, items, options);
  if (!is_split) return split(all, options.train_fraction, options.seed);
  return {all.select(torch::tensor(train, torch::kInt64)), all.select(torch::tensor(test, torch::kInt64))};
}

}  // namespace quanta
