#include "quanta/data/dataset.h"

#include <algorithm>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

/// For each class the indices of its samples in random order.
std::vector<std::vector<int64_t>> shuffled_by_class(const ImageSet& set, Random random) {
  std::vector<std::vector<int64_t>> members(set.classes.size());
  const auto labels = set.labels.accessor<int64_t, 1>();
  for (int64_t i : random.permutation(set.size())) members.at(labels[i]).push_back(i);
  return members;
}

}  // namespace

ImageSet ImageSet::take(int64_t n) const {
  require(n >= 0 && n <= size(), "{}: {} samples were asked for, it has {}", name, n, size());
  ImageSet result = *this;
  result.images = images.narrow(0, 0, n);
  result.labels = labels.narrow(0, 0, n);
  return result;
}

ImageSet ImageSet::select(const torch::Tensor& indices) const {
  require(indices.dim() == 1 && indices.scalar_type() == torch::kInt64, "{}: indices must be int64 [M]", name);
  if (indices.numel() > 0) {
    const int64_t low = indices.min().item<int64_t>(), high = indices.max().item<int64_t>();
    require(low >= 0 && high < size(), "{}: index {} is outside [0, {})", name, low < 0 ? low : high, size());
  }
  ImageSet result = *this;
  result.images = images.index_select(0, indices);
  result.labels = labels.index_select(0, indices);
  return result;
}

ImageSet ImageSet::keep_classes(const std::vector<int64_t>& kept) const {
  auto new_label = torch::full({int64_t(classes.size())}, -1, torch::kInt64);
  std::vector<std::string> names;
  for (int64_t label : kept) {
    require(label >= 0 && label < int64_t(classes.size()), "{}: class {} is outside [0, {})", name, label,
            classes.size());
    require(new_label[label].item<int64_t>() < 0, "{}: class {} was asked for twice", name, label);
    new_label[label] = int64_t(names.size());
    names.push_back(classes[label]);
  }
  const auto relabelled = new_label.index_select(0, labels);
  ImageSet result = select(relabelled.ge(0).nonzero().squeeze(1));
  result.labels = relabelled.masked_select(relabelled.ge(0));
  result.classes = std::move(names);
  return result;
}

torch::Tensor ImageSet::to_float() const {
  return images.to(torch::kFloat32).div_(255);
}

std::vector<int64_t> ImageSet::class_counts() const {
  std::vector<int64_t> counts(classes.size());
  const auto flat = labels.contiguous();
  for (int64_t i = 0; i < flat.numel(); ++i) ++counts.at(flat.data_ptr<int64_t>()[i]);
  return counts;
}

void ImageSet::check() const {
  require(images.defined() && images.dim() == 4 && images.scalar_type() == torch::kUInt8,
          "{}: images must be uint8 [N, C, H, W]", name);
  require(labels.defined() && labels.dim() == 1 && labels.scalar_type() == torch::kInt64,
          "{}: labels must be int64 [N]", name);
  require(images.size(0) == labels.size(0), "{}: {} images but {} labels", name, images.size(0), labels.size(0));
  require(channels() == 1 || channels() == 3, "{}: images have {} channels, expected 1 or 3", name, channels());
  if (size() == 0) return;
  const int64_t low = labels.min().item<int64_t>(), high = labels.max().item<int64_t>();
  require(low >= 0 && high < int64_t(classes.size()), "{}: label {} is outside [0, {}), the number of classes", name,
          low < 0 ? low : high, classes.size());
}

ImageSet subset(const ImageSet& set, int64_t n, uint64_t seed) {
  require(n >= 0 && n <= set.size(), "{}: a subset of {} samples was asked for, it has {}", set.name, n, set.size());
  const Random random = Random(seed).split("subset");
  auto members = shuffled_by_class(set, random.split("members"));
  // Round after round one of each class that has any left; a random class order decides who gets the last few.
  const auto order = random.split("classes").permutation(int64_t(members.size()));
  std::vector<int64_t> picked;
  picked.reserve(n);
  while (int64_t(picked.size()) < n) {
    for (int64_t label : order) {
      if (members[label].empty() || int64_t(picked.size()) == n) continue;
      picked.push_back(members[label].back());
      members[label].pop_back();
    }
  }
  auto shuffle = random.split("order").permutation(n);
  for (auto& position : shuffle) position = picked[position];
  return set.select(torch::tensor(shuffle, torch::kInt64));
}

ImageSplits split(const ImageSet& set, double fraction, uint64_t seed) {
  require(fraction > 0 && fraction < 1, "the training fraction must lie between 0 and 1, got {}", fraction);
  std::vector<int64_t> train, test;
  for (const auto& members : shuffled_by_class(set, Random(seed).split("split"))) {
    const auto cut = members.begin() + std::llround(fraction * double(members.size()));
    train.insert(train.end(), members.begin(), cut);
    test.insert(test.end(), cut, members.end());
  }
  std::sort(train.begin(), train.end());
  std::sort(test.begin(), test.end());
  return {set.select(torch::tensor(train, torch::kInt64)), set.select(torch::tensor(test, torch::kInt64))};
}

}  // namespace quanta
