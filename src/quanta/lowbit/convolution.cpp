#include "quanta/lowbit/convolution.h"

#include <cmath>

#include "quanta/core/error.h"

namespace quanta {
namespace {

void check_affine(const AffineU8& q, const char* which) {
  require(std::isfinite(q.scale) && q.scale > 0, "the {} scale must be positive and finite, got {}", which, q.scale);
  require(q.max_code >= 1 && q.max_code <= 255, "the {} codes must end between 1 and 255, got {}", which, q.max_code);
  require(q.zero_point >= 0 && q.zero_point <= q.max_code, "the {} zero point must lie from 0 to {}, got {}", which,
          q.max_code, q.zero_point);
}

template <class T>
T of_channel(const std::vector<T>& values, int64_t channel) {
  return values.empty() ? T(0) : values[values.size() == 1 ? 0 : size_t(channel)];
}

}  // namespace

IntegerConvolution::IntegerConvolution(const ConvolutionShape& shape, const IntegerWeights& weights,
                                       const AffineU8& input)
    : shape_(shape), input_(input), bits_(weights.bits) {
  const auto& s = shape;
  require(s.in_channels >= 1 && s.out_channels >= 1 && s.kernel_h >= 1 && s.kernel_w >= 1 && s.stride_h >= 1 &&
              s.stride_w >= 1 && s.dilation_h >= 1 && s.dilation_w >= 1 && s.padding_h >= 0 && s.padding_w >= 0,
          "a convolution's channels, kernel, stride and dilation must be at least 1 and its padding not negative");
  require(s.groups >= 1 && s.in_channels % s.groups == 0 && s.out_channels % s.groups == 0,
          "{} groups must divide {} input and {} output channels", s.groups, s.in_channels, s.out_channels);
  check_affine(input, "input");
  const size_t out = size_t(s.out_channels);
  require(int64_t(weights.codes.size()) == s.weights(), "{} weights were expected, got {}", s.weights(),
          weights.codes.size());
  require(weights.scales.size() == 1 || weights.scales.size() == out, "1 or {} weight scales were expected, got {}",
          out, weights.scales.size());
  require(weights.zero_points.size() <= 1 || weights.zero_points.size() == out,
          "0, 1 or {} weight zero points were expected, got {}", out, weights.zero_points.size());
  require(weights.bias.empty() || weights.bias_codes.empty(), "a bias is given as real numbers or as codes, not both");
  require(weights.bias.empty() || weights.bias.size() == out, "{} biases were expected, got {}", out,
          weights.bias.size());
  require(weights.bias_codes.empty() || weights.bias_codes.size() == out, "{} bias codes were expected, got {}", out,
          weights.bias_codes.size());
  require(bits_ >= 2 && bits_ <= 8, "weights have 2 to 8 bits, got {}", bits_);
  for (const float scale : weights.scales)
    require(std::isfinite(scale) && scale > 0, "a weight scale must be positive and finite, got {}", scale);
  const int lowest = -(1 << (bits_ - 1)), highest = (1 << (bits_ - 1)) - 1;
  for (const int8_t code : weights.codes)
    require(code >= lowest && code <= highest, "a weight code of {} bits must lie from {} to {}, got {}", bits_, lowest,
            highest, int(code));
  for (const int32_t zero : weights.zero_points)
    require(zero >= -128 && zero <= 127, "a weight zero point must lie from -128 to 127, got {}", zero);

  scales_.assign(weights.scales.begin(), weights.scales.end());
  zero_points_.assign(weights.zero_points.begin(), weights.zero_points.end());
  bias_codes_.assign(weights.bias_codes.begin(), weights.bias_codes.end());
  for (size_t o = 0; o < weights.bias.size(); ++o) {
    const double code =
        std::nearbyint(double(weights.bias[o]) / (double(of_channel(scales_, int64_t(o))) * input.scale));
    require(std::abs(code) < 0x1p31, "the bias {} of output channel {} does not fit int32 at scale {} * {}",
            weights.bias[o], o, of_channel(scales_, int64_t(o)), input.scale);
    bias_codes_.push_back(int32_t(code));
  }
  const int64_t per_channel = s.weights() / s.out_channels;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    int64_t most = std::abs(int64_t{of_channel(bias_codes_, o)});
    for (int64_t k = 0; k < per_channel; ++k)
      most += std::abs(weights.codes[size_t(o * per_channel + k)] - of_channel(zero_points_, o)) * int64_t{255};
    require(most < int64_t{1} << 31, "output channel {} of {} weights can overflow an int32 accumulator", o,
            per_channel);
  }
  plain_.assign(weights.codes.begin(), weights.codes.end());
}

IntegerConvolution::IntegerConvolution(const ConvolutionShape& shape, const IntegerWeights& weights,
                                       const AffineU8& input, const AffineU8& output, CodeRange clamp)
    : IntegerConvolution(shape, weights, input) {
  check_affine(output, "output");
  require(0 <= clamp.low && clamp.low <= clamp.high && clamp.high <= output.max_code,
          "the output codes {} to {} do not lie from 0 to {}", clamp.low, clamp.high, output.max_code);
  output_ = output;
  clamp_ = clamp;
  for (const float scale : scales_) fixed_point(double(scale) * double(input.scale) / double(output.scale));
}

std::vector<int8_t> IntegerConvolution::codes() const {
  return plain_;
}

size_t IntegerConvolution::scratch_bytes(int, int, int, int) const {
  return 0;
}

void IntegerConvolution::run_integer(const uint8_t* in, int count, int h, int w, int32_t* out,
                                     std::span<uint8_t>) const {
  const auto& s = shape_;
  const int in_each = s.in_channels / s.groups, out_each = s.out_channels / s.groups;
  for (int n = 0; n < count; ++n, in += int64_t{h} * w * s.in_channels)
    for (int oy = 0; oy < s.output_h(h); ++oy)
      for (int ox = 0; ox < s.output_w(w); ++ox)
        for (int o = 0; o < s.out_channels; ++o) {
          const int8_t* weight = &plain_[size_t(o) * size_t(in_each * s.kernel_h * s.kernel_w)];
          int32_t sum = of_channel(bias_codes_, o);
          for (int c = 0; c < in_each; ++c)
            for (int ky = 0; ky < s.kernel_h; ++ky)
              for (int kx = 0; kx < s.kernel_w; ++kx, ++weight) {
                const int y = oy * s.stride_h - s.padding_h + ky * s.dilation_h;
                const int x = ox * s.stride_w - s.padding_w + kx * s.dilation_w;
                if (y < 0 || y >= h || x < 0 || x >= w) continue;
                const int code = in[(int64_t{y} * w + x) * s.in_channels + o / out_each * in_each + c];
                sum += (code - input_.zero_point) * (*weight - of_channel(zero_points_, o));
              }
          *out++ = sum;
        }
}

void IntegerConvolution::run(const uint8_t* in, int count, int h, int w, uint8_t* out,
                             std::span<uint8_t> scratch) const {
  std::vector<int32_t> sums(size_t(count) * size_t(shape_.output_h(h)) * size_t(shape_.output_w(w)) *
                            size_t(shape_.out_channels));
  run_integer(in, count, h, w, sums.data(), scratch);
  for (size_t i = 0; i < sums.size(); ++i) {
    const float scale = of_channel(scales_, int64_t(i % size_t(shape_.out_channels)));
    out[i] = requantize(sums[i], fixed_point(double(scale) * double(input_.scale) / double(output_.scale)),
                        output_.zero_point, clamp_.low, clamp_.high);
  }
}

void IntegerConvolution::run_real(const uint8_t* in, int count, int h, int w, float* out,
                                  std::span<uint8_t> scratch) const {
  std::vector<int32_t> sums(size_t(count) * size_t(shape_.output_h(h)) * size_t(shape_.output_w(w)) *
                            size_t(shape_.out_channels));
  run_integer(in, count, h, w, sums.data(), scratch);
  for (size_t i = 0; i < sums.size(); ++i)
    out[i] = float(sums[i]) * (of_channel(scales_, int64_t(i % size_t(shape_.out_channels))) * input_.scale);
}

}  // namespace quanta
