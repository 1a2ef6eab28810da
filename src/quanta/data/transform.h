#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "quanta/data/dataset.h"

namespace quanta {

/// Shift and scale of each channel.
struct Normalization {
  std::vector<double> mean;                ///< one a channel, of pixels in [0, 1]
  std::vector<double> standard_deviation;  ///< positive

  /// Exact mean and (population) standard deviation of each channel over all images; a constant channel gets 1.
  static Normalization measure(const ImageSet& set);
  /// (x - mean) / standard_deviation for floating-point x [N, C, H, W].
  torch::Tensor apply(const torch::Tensor& x) const;
  /// The inverse of apply.
  torch::Tensor undo(const torch::Tensor& x) const;
};

/// Resizes [N, C, H, W]: a new pixel is the exact mean of the image over the new pixel's area (OpenCV's INTER_AREA when
/// shrinking). Differentiable for floating point; uint8 is rounded back to uint8.
torch::Tensor resize_area(const torch::Tensor& images, int64_t height, int64_t width);

/// Random changes to training images. Each part is off at its default.
struct Augmentation {
  int64_t crop_padding = 0;  ///< pads with zeros by this many pixels on each side, then crops back at a random place
  bool flip = false;         ///< mirrors left and right with probability 1/2
  double rotation = 0;       ///< rotates by up to +- this angle in radians ...
  double scale = 0;          ///< ... and scales by a factor in [1 - scale, 1 + scale] (scale < 1) ...
  double translation =
      0;  ///< ... and shifts by up to +- this fraction of the size along each axis, bilinear, zeros outside

  bool any() const { return crop_padding != 0 || flip || rotation != 0 || scale != 0 || translation != 0; }
};

/// Augments floating-point images [B, C, H, W]. `ids` (int64 [B]) are the samples' indices in their set: what happens
/// to a sample depends on (seed, epoch, its id) alone, so neither the batches nor the threads nor a resumed run change
/// it.
torch::Tensor augment(const torch::Tensor& images, const torch::Tensor& ids, const Augmentation& augmentation,
                      uint64_t seed, int64_t epoch);

}  // namespace quanta
