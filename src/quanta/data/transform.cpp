#include "quanta/data/transform.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

torch::Tensor channel_vector(const std::vector<double>& values, const torch::Tensor& x) {
  require(x.dim() == 4 && x.is_floating_point() && x.size(1) == int64_t(values.size()),
          "normalization of {} channels needs floating-point images [N, {}, H, W]", values.size(), values.size());
  return torch::tensor(values, torch::kFloat64).to(x.options()).view({1, -1, 1, 1});
}

/// [to, from]: the share of each old pixel in each new one along one axis.
torch::Tensor area_weights(int64_t from, int64_t to) {
  auto weights = torch::zeros({to, from}, torch::kFloat64);
  auto w = weights.accessor<double, 2>();
  // A new pixel covers [i from, (i + 1) from) and an old one [j to, (j + 1) to): integers, so the overlaps are exact.
  for (int64_t i = 0; i < to; ++i)
    for (int64_t j = i * from / to; j < from && j * to < (i + 1) * from; ++j)
      w[i][j] = double(std::min((i + 1) * from, (j + 1) * to) - std::max(i * from, j * to)) / double(from);
  return weights;
}

}  // namespace

Normalization Normalization::measure(const ImageSet& set) {
  require(set.size() > 0, "{}: no images to measure", set.name);
  const auto images = set.images.contiguous();
  const int64_t channels = set.channels(), plane = set.height() * set.width(), total = set.size() * plane;
  const auto* data = images.data_ptr<uint8_t>();
  Normalization result;
  for (int64_t c = 0; c < channels; ++c) {
    std::array<int64_t, 256> histogram{};  // exact whatever the number of pixels
    for (int64_t i = 0; i < set.size(); ++i) {
      const uint8_t* pixels = data + (i * channels + c) * plane;
      for (int64_t p = 0; p < plane; ++p) ++histogram[pixels[p]];
    }
    double mean = 0, variance = 0;
    for (int value = 0; value < 256; ++value) mean += value / 255. * double(histogram[value]);
    mean /= double(total);
    for (int value = 0; value < 256; ++value)
      variance += (value / 255. - mean) * (value / 255. - mean) * double(histogram[value]);
    variance /= double(total);
    result.mean.push_back(mean);
    // The variance of equal pixels is 0 up to rounding, that of any others at least about 1 / (255^2 total).
    result.standard_deviation.push_back(
        *std::max_element(histogram.begin(), histogram.end()) < total ? std::sqrt(variance) : 1);
  }
  return result;
}

torch::Tensor Normalization::apply(const torch::Tensor& x) const {
  return (x - channel_vector(mean, x)) / channel_vector(standard_deviation, x);
}

torch::Tensor Normalization::undo(const torch::Tensor& x) const {
  return x * channel_vector(standard_deviation, x) + channel_vector(mean, x);
}

torch::Tensor resize_area(const torch::Tensor& images, int64_t height, int64_t width) {
  require(images.dim() == 4 && images.numel() > 0, "resize_area needs images [N, C, H, W]");
  require(height >= 1 && width >= 1 && height <= 65536 && width <= 65536, "images cannot be resized to {} x {}", height,
          width);
  if (images.size(2) == height && images.size(3) == width) return images;
  const bool is_byte = images.scalar_type() == torch::kUInt8;
  const auto x = is_byte ? images.to(torch::kFloat32) : images;
  const auto rows = area_weights(x.size(2), height).to(x.options());
  const auto columns = area_weights(x.size(3), width).to(x.options());
  const auto resized = torch::matmul(torch::matmul(rows, x), columns.t());
  return is_byte ? resized.round().clamp(0, 255).to(torch::kUInt8) : resized;
}

torch::Tensor augment(const torch::Tensor& images, const torch::Tensor& ids, const Augmentation& augmentation,
                      uint64_t seed, int64_t epoch) {
  require(images.dim() == 4 && images.is_floating_point(), "augment needs floating-point images [B, C, H, W]");
  require(ids.dim() == 1 && ids.scalar_type() == torch::kInt64 && ids.size(0) == images.size(0),
          "augment needs the int64 index of each of the {} images", images.size(0));
  require(augmentation.crop_padding >= 0, "the crop padding must be at least 0, got {}", augmentation.crop_padding);
  require(augmentation.scale >= 0 && augmentation.scale < 1, "the scale range must lie in [0, 1), got {}",
          augmentation.scale);
  require(augmentation.rotation >= 0 && augmentation.translation >= 0, "rotation and translation must be at least 0");
  if (!augmentation.any() || images.size(0) == 0) return images;

  const int64_t batch = images.size(0), channels = images.size(1), height = images.size(2), width = images.size(3);
  const bool affine = augmentation.rotation > 0 || augmentation.scale > 0 || augmentation.translation > 0;
  struct Move {
    int64_t down, right;  // where in the padded image the crop starts, less the padding
    bool flip;
  };
  std::vector<Move> moves(batch);
  auto theta = torch::zeros({batch, 2, 3}, torch::kFloat64);
  auto t = theta.accessor<double, 3>();
  const auto id = ids.accessor<int64_t, 1>();
  const Random epoch_stream = Random(seed).split("augment").split(uint64_t(epoch));
  for (int64_t i = 0; i < batch; ++i) {
    Random random = epoch_stream.split(uint64_t(id[i]));
    // Every number is drawn whether used or not, so that one option does not change what another one does.
    const int64_t padding = augmentation.crop_padding;
    const auto down = int64_t(random.below(2 * padding + 1)) - padding;
    const auto right = int64_t(random.below(2 * padding + 1)) - padding;
    moves[i] = {down, right, random.uniform() < 0.5 && augmentation.flip};
    const double angle = augmentation.rotation * random.uniform(-1, 1);
    const double zoom = 1 / (1 + augmentation.scale * random.uniform(-1, 1));
    // affine_grid maps output to input positions in units of half the size; the aspect keeps a rotation a rotation.
    const double aspect = double(height) / double(width);
    t[i][0][0] = zoom * std::cos(angle);
    t[i][0][1] = -zoom * std::sin(angle) * aspect;
    t[i][0][2] = 2 * augmentation.translation * random.uniform(-1, 1);
    t[i][1][0] = zoom * std::sin(angle) / aspect;
    t[i][1][1] = zoom * std::cos(angle);
    t[i][1][2] = 2 * augmentation.translation * random.uniform(-1, 1);
  }

  auto result = images;
  if (affine) {
    namespace F = torch::nn::functional;
    const auto grid = F::affine_grid(theta.to(images.options()), images.sizes().vec(), /*align_corners=*/false);
    result = F::grid_sample(
        result, grid,
        F::GridSampleFuncOptions().mode(torch::kBilinear).padding_mode(torch::kZeros).align_corners(false));
  }
  if (augmentation.crop_padding > 0 || augmentation.flip) {
    const auto source = result.contiguous();
    result = torch::zeros_like(source);
    AT_DISPATCH_FLOATING_TYPES(source.scalar_type(), "augment", [&] {
      const auto* in = source.data_ptr<scalar_t>();
      auto* out = result.data_ptr<scalar_t>();
      parallel_for(batch, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          for (int64_t row = 0; row < channels * height; ++row) {
            const int64_t from_row = row % height + moves[i].down;
            if (from_row < 0 || from_row >= height) continue;
            const auto* from = in + (i * channels * height + row - row % height + from_row) * width;
            auto* to = out + (i * channels * height + row) * width;
            for (int64_t column = 0; column < width; ++column) {
              const int64_t from_column = column + moves[i].right;
              if (from_column >= 0 && from_column < width)
                to[moves[i].flip ? width - 1 - column : column] = from[from_column];
            }
          }
        }
      });
    });
  }
  return result;
}

}  // namespace quanta
