#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

namespace quanta {

/// Labelled images in memory. The tensors share storage when a set is copied; every function here returns a new set.
struct ImageSet {
  std::string name;
  torch::Tensor images;              ///< uint8 [N, C, H, W], C = 1 (grey) or 3 (RGB)
  torch::Tensor labels;              ///< int64 [N], each in [0, classes.size())
  std::vector<std::string> classes;  ///< one name a label
  std::string source;                ///< the file or folder it came from, or "generated"

  int64_t size() const { return images.defined() ? images.size(0) : 0; }
  int64_t channels() const { return images.size(1); }
  int64_t height() const { return images.size(2); }
  int64_t width() const { return images.size(3); }

  /// The first n samples; Error if there are fewer.
  ImageSet take(int64_t n) const;
  /// The samples of the given indices (int64 [M], each in [0, size())), in that order.
  ImageSet select(const torch::Tensor& indices) const;
  /// The samples of the given classes only, in their order; label i becomes the position of i in `kept`.
  ImageSet keep_classes(const std::vector<int64_t>& kept) const;
  /// Pixels as float32 [N, C, H, W] in [0, 1].
  torch::Tensor to_float() const;
  /// Number of samples of each class.
  std::vector<int64_t> class_counts() const;
  /// Throws Error unless the fields fit each other as described above.
  void check() const;
};

struct ImageSplits {
  ImageSet train;
  ImageSet test;
};

/// n random samples in random order, as nearly the same number of each class as the set allows. Depends on the seed and
/// the labels alone. Error if n exceeds the size.
ImageSet subset(const ImageSet& set, int64_t n, uint64_t seed);

/// Splits each class at random: `fraction` (in (0, 1)) of it to train, the rest to test; both keep the set's order.
ImageSplits split(const ImageSet& set, double fraction, uint64_t seed);

}  // namespace quanta
