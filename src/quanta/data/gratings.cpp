#include "quanta/data/gratings.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

constexpr int64_t kClasses = 10, kChannels = 3;
constexpr double kDegree = std::numbers::pi / 180, kRange = 8;

}  // namespace

ImageSet gratings(const GratingOptions& options) {
  require(options.count >= 1, "gratings: the number of images must be at least 1, got {}", options.count);
  require(options.size >= 4 && options.size <= 1024, "gratings: images must have 4 to 1024 pixels a side, got {}",
          options.size);
  require(options.noise >= 0 && std::isfinite(options.noise), "gratings: the noise must be at least 0, got {}",
          options.noise);
  const Random random = Random(options.seed).split("gratings");
  const int64_t size = options.size;
  ImageSet set{.name = "gratings", .images = {}, .labels = {}, .classes = {}, .source = "generated"};
  for (int64_t c = 0; c < kClasses; ++c) set.classes.push_back(fmt::format("{} degrees", 180 / kClasses * c));
  auto shuffled = random.split("labels");
  set.labels = torch::tensor(shuffled.permutation(options.count), torch::kInt64).remainder_(kClasses);
  set.images = torch::empty({options.count, kChannels, size, size}, torch::kUInt8);
  const auto* labels = set.labels.data_ptr<int64_t>();
  auto* out = set.images.data_ptr<uint8_t>();
  parallel_for(options.count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Random sample = random.split(uint64_t(i));
      const double angle = std::numbers::pi * double(labels[i]) / kClasses + 5 * kDegree * sample.normal();
      const double frequency = sample.uniform(0.10, 0.18), phase = sample.uniform(0, 2 * std::numbers::pi);
      const double across = 2 * std::numbers::pi * frequency * std::cos(angle);
      const double down = 2 * std::numbers::pi * frequency * std::sin(angle);
      uint8_t* pixel = out + i * kChannels * size * size;
      for (int64_t c = 0; c < kChannels; ++c) {
        const double gain = sample.uniform(0.5, 1);
        for (int64_t v = 0; v < size; ++v)
          for (int64_t u = 0; u < size; ++u) {
            const double x =
                gain * std::sin(across * double(u) + down * double(v) + phase) + options.noise * sample.normal();
            *pixel++ = uint8_t(std::lround(255 * std::clamp(x / kRange + 0.5, 0.0, 1.0)));
          }
      }
    }
  });
  return set;
}

Normalization grating_units() {
  const auto each = [](double value) { return std::vector<double>(size_t(kChannels), value); };
  return {.mean = each(0.5), .standard_deviation = each(1 / kRange)};
}

}  // namespace quanta
