#include "quanta/data/glyph_digits.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

constexpr int kHues = 5;
constexpr int kRows = 7, kColumns = 5;

// One byte a line, the leftmost of the 5 dots in bit 4.
constexpr std::array<std::array<uint8_t, kRows>, 10> kFont{{
    {0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E},
    {0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E},
    {0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F},
    {0x1F, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0E},
    {0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02},
    {0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E},
    {0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E},
    {0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08},
    {0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E},
    {0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C},
}};

// (x, y) in the glyph's frame of 7 x 9 dots: the font's dots and a border of zeros. Outside of it all is 0 too.
double dot(int64_t digit, int64_t x, int64_t y) {
  if (x < 1 || x > kColumns || y < 1 || y > kRows) return 0;
  return kFont[digit][y - 1] >> (kColumns - x) & 1;
}

double bilinear(int64_t digit, double x, double y) {
  const double x0 = std::floor(x), y0 = std::floor(y);
  const double fx = x - x0, fy = y - y0;
  const auto ix = int64_t(x0), iy = int64_t(y0);
  return (1 - fy) * ((1 - fx) * dot(digit, ix, iy) + fx * dot(digit, ix + 1, iy)) +
         fy * ((1 - fx) * dot(digit, ix, iy + 1) + fx * dot(digit, ix + 1, iy + 1));
}

/// A distorted glyph without noise, [S * S].
std::vector<double> draw_glyph(int64_t digit, int64_t size, Random& random) {
  const double s = double(size);
  const double centre_x = (s - 1) / 2 + random.uniform(-0.07, 0.07) * s;
  const double centre_y = (s - 1) / 2 + random.uniform(-0.07, 0.07) * s;
  const double angle = random.uniform(-0.25, 0.25), sine = std::sin(angle), cosine = std::cos(angle);
  const double shear = random.uniform(-0.2, 0.2);
  const double cell_y = 0.72 * s / kRows * random.uniform(0.85, 1.15);
  const double cell_x = cell_y * random.uniform(0.85, 1.15);
  const double gain = random.uniform(0.7, 1);
  std::vector<double> pixels(size * size);
  for (int64_t row = 0; row < size; ++row) {
    for (int64_t column = 0; column < size; ++column) {
      const double x = double(column) - centre_x, y = double(row) - centre_y;
      const double v = sine * x + cosine * y;
      const double u = cosine * x - sine * y + shear * v;
      pixels[row * size + column] = gain * bilinear(digit, u / cell_x + 3, v / cell_y + 4);
    }
  }
  return pixels;
}

uint8_t to_byte(double value) {
  return uint8_t(std::lround(255 * std::clamp(value, 0.0, 1.0)));
}

/// Red, green and blue of a fully saturated colour; the hue in turns.
std::array<double, 3> rgb_of_hue(double hue) {
  std::array<double, 3> rgb;
  const std::array<double, 3> offsets{0, 4, 2};
  for (int c = 0; c < 3; ++c) {
    double x = 6 * hue + offsets[c];
    x -= 6 * std::floor(x / 6);
    rgb[c] = std::clamp(std::abs(x - 3) - 1, 0.0, 1.0);
  }
  return rgb;
}

void check_options(const GlyphOptions& options) {
  require(options.count >= 1, "glyphs: the number of images must be at least 1, got {}", options.count);
  require(options.size >= 4 && options.size <= 1024, "glyphs: images must have 4 to 1024 pixels a side, got {}",
          options.size);
  require(options.noise >= 0 && std::isfinite(options.noise), "glyphs: the noise must be at least 0, got {}",
          options.noise);
  require(!options.classes.empty(), "glyphs: at least one digit is needed");
  for (int64_t digit : options.classes) require(digit >= 0 && digit <= 9, "glyphs: digits are 0 to 9, got {}", digit);
}

Random stream_of(const GlyphOptions& options, const char* name) {
  return Random(options.seed).split(name).split(options.split == GlyphSplit::kTrain ? "train" : "test");
}

/// Each of `classes` labels count / classes times or once more, shuffled.
torch::Tensor balanced_labels(int64_t count, int64_t classes, Random random) {
  auto labels = torch::tensor(random.permutation(count), torch::kInt64);
  return labels.remainder_(classes);
}

}  // namespace

ImageSet glyph_digits(const GlyphOptions& options) {
  check_options(options);
  const Random random = stream_of(options, "glyph_digits");
  const int64_t pixels = options.size * options.size;
  ImageSet set{.name = "glyph_digits", .images = {}, .labels = {}, .classes = {}, .source = "generated"};
  for (int64_t digit : options.classes) set.classes.push_back(std::to_string(digit));
  set.labels = balanced_labels(options.count, int64_t(options.classes.size()), random.split("labels"));
  set.images = torch::empty({options.count, 1, options.size, options.size}, torch::kUInt8);
  const auto* labels = set.labels.data_ptr<int64_t>();
  auto* out = set.images.data_ptr<uint8_t>();
  parallel_for(options.count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Random sample = random.split(uint64_t(i));
      const auto glyph = draw_glyph(options.classes[labels[i]], options.size, sample);
      for (int64_t p = 0; p < pixels; ++p) out[i * pixels + p] = to_byte(glyph[p] + options.noise * sample.normal());
    }
  });
  return set;
}

ImageSet glyph_hues(GlyphOptions options) {
  check_options(options);
  require(options.classes.size() == 2, "glyph_hues: two digits are needed, got {}", options.classes.size());
  const Random random = stream_of(options, "glyph_hues");
  const int64_t pixels = options.size * options.size;
  ImageSet set{.name = "glyph_hues", .images = {}, .labels = {}, .classes = {}, .source = "generated"};
  for (int hue = 0; hue < kHues; ++hue)
    for (int64_t digit : options.classes)
      set.classes.push_back(fmt::format("{} at {} degrees", digit, 360 / kHues * hue));
  set.labels = balanced_labels(options.count, int64_t(set.classes.size()), random.split("labels"));
  set.images = torch::empty({options.count, 3, options.size, options.size}, torch::kUInt8);
  const auto* labels = set.labels.data_ptr<int64_t>();
  auto* out = set.images.data_ptr<uint8_t>();
  parallel_for(options.count, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Random sample = random.split(uint64_t(i));
      const auto glyph = draw_glyph(options.classes[labels[i] % 2], options.size, sample);
      const auto rgb = rgb_of_hue(double(labels[i] / 2) / kHues + sample.uniform(-0.03, 0.03));
      for (int c = 0; c < 3; ++c)
        for (int64_t p = 0; p < pixels; ++p)
          out[(3 * i + c) * pixels + p] = to_byte(rgb[c] * glyph[p] + options.noise * sample.normal());
    }
  });
  return set;
}

}  // namespace quanta
