#include "quanta/lowbit/operations.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/lowbit/kernels.h"

namespace quanta {

CodeRange code_range(Activation activation, const AffineU8& output) {
  CodeRange range{0, output.max_code};
  if (activation != Activation::None) range.low = output.zero_point;
  if (activation == Activation::Relu6) range.high = quantize(6, output);
  return range;
}

void quantize_images(const float* images, int count, int channels, int64_t pixels, const AffineU8& to, uint8_t* codes) {
  const lowbit::Kernels& kernels = lowbit::kernels();
  constexpr int64_t kBlock = 256;
  uint8_t block[kBlock];
  for (int n = 0; n < count; ++n, codes += channels * pixels)
    for (int c = 0; c < channels; ++c, images += pixels) {
      if (channels == 1) {
        kernels.quantize(images, size_t(pixels), to, codes);
        continue;
      }
      for (int64_t p = 0; p < pixels; p += kBlock) {
        const int64_t there = std::min(kBlock, pixels - p);
        kernels.quantize(images + p, size_t(there), to, block);
        for (int64_t i = 0; i < there; ++i) codes[(p + i) * channels + c] = block[i];
      }
    }
}

void dequantize_images(const uint8_t* codes, int count, int channels, int64_t pixels, const AffineU8& from,
                       float* images) {
  for (int n = 0; n < count; ++n)
    for (int c = 0; c < channels; ++c)
      for (int64_t p = 0; p < pixels; ++p)
        images[(int64_t{n} * channels + c) * pixels + p] = dequantize(codes[(n * pixels + p) * channels + c], from);
}

CodeTable rescale_table(const AffineU8& from, const AffineU8& to, CodeRange clamp) {
  const FixedPoint factor = fixed_point(double(from.scale) / double(to.scale));
  CodeTable table;
  for (int code = 0; code < 256; ++code)
    table[size_t(code)] = requantize(code - from.zero_point, factor, to.zero_point, clamp.low, clamp.high);
  return table;
}

void look_up(const CodeTable& table, const uint8_t* in, size_t count, uint8_t* out) {
  lowbit::kernels().look_up(table, in, count, out);
}

void look_up_channels(const CodeTable& table, const uint8_t* in, int64_t pixels, int channels, int out_channels,
                      uint8_t* out) {
  for (int64_t p = 0; p < pixels; ++p) look_up(table, in + p * channels, size_t(channels), out + p * out_channels);
}

AddFactors add_factors(const AffineU8& a, const AffineU8& b, const AffineU8& output, CodeRange clamp) {
  const double ratio_a = double(a.scale) / double(output.scale), ratio_b = double(b.scale) / double(output.scale);
  const double larger = std::max(ratio_a, ratio_b);
  require(larger >= 0x1p-9 && larger < 0x1p19,
          "an addition's input scales {} and {} must lie within 2^-9 to 2^19 of its output scale {}", a.scale, b.scale,
          output.scale);
  const int shift = 20 - std::ilogb(larger);
  return {int32_t(std::llrint(std::ldexp(ratio_a, shift))),
          int32_t(std::llrint(std::ldexp(ratio_b, shift))),
          shift,
          a.zero_point,
          b.zero_point,
          output.zero_point,
          clamp};
}

void add(const AddFactors& factors, const uint8_t* a, const uint8_t* b, size_t count, uint8_t* out) {
  lowbit::kernels().add(factors, a, b, count, out);
}

namespace {

// Calls body(first row, end row, first column, end column) with each window's part inside the image.
template <class Body>
void for_each_window(const PoolShape& pool, int h, int w, const Body& body) {
  const int out_h = pool.output_h(h), out_w = pool.output_w(w);
  for (int oy = 0; oy < out_h; ++oy)
    for (int ox = 0; ox < out_w; ++ox) {
      const int y = oy * pool.stride_h - pool.padding_h, x = ox * pool.stride_w - pool.padding_w;
      body(std::max(y, 0), std::min(y + pool.kernel_h, h), std::max(x, 0), std::min(x + pool.kernel_w, w));
    }
}

}  // namespace

void max_pool(const PoolShape& pool, const uint8_t* in, int count, int h, int w, int channels, uint8_t* out) {
  const lowbit::Kernels& kernels = lowbit::kernels();
  for (int n = 0; n < count; ++n, in += int64_t{h} * w * channels)
    for_each_window(pool, h, w, [&](int y0, int y1, int x0, int x1) {
      std::memset(out, 0, size_t(channels));
      for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) kernels.maximum(in + (int64_t{y} * w + x) * channels, size_t(channels), out);
      out += channels;
    });
}

AverageFactors average_factors(const PoolShape& pool, const AffineU8& input, const AffineU8& output, CodeRange clamp) {
  const int pixels = pool.kernel_h * pool.kernel_w;
  AverageFactors factors{{}, input.zero_point, output.zero_point, clamp};
  factors.of_count.resize(size_t(pixels) + 1);
  for (int n = 1; n <= pixels; ++n)
    factors.of_count[size_t(n)] = fixed_point(double(input.scale) / double(output.scale) / n);
  return factors;
}

void average_pool(const PoolShape& pool, const AverageFactors& factors, const uint8_t* in, int count, int h, int w,
                  int channels, uint8_t* out) {
  const lowbit::Kernels& kernels = lowbit::kernels();
  const CodeRange clamp = factors.clamp;
  const lowbit::OutputStage stage{
      .rectified = clamp.low >= factors.zero_point, .zero_point = factors.zero_point, .clamp = clamp};
  constexpr int kBlock = 256;  // channels at once
  int32_t sums[kBlock];
  for (int n = 0; n < count; ++n, in += int64_t{h} * w * channels)
    for_each_window(pool, h, w, [&](int y0, int y1, int x0, int x1) {
      const int inside = (y1 - y0) * (x1 - x0);
      const FixedPoint& factor = factors.of_count[size_t(pool.count_padding ? pool.kernel_h * pool.kernel_w : inside)];
      for (int first = 0; first < channels; first += kBlock) {
        const size_t there = size_t(std::min(kBlock, channels - first));
        std::fill_n(sums, there, -inside * factors.input_zero_point);
        for (int y = y0; y < y1; ++y)
          for (int x = x0; x < x1; ++x) kernels.accumulate(in + (int64_t{y} * w + x) * channels + first, there, sums);
        if (factor.shift >= 2) {
          kernels.requantize(sums, there, factor, stage, out + first);
        } else {
          for (size_t c = 0; c < there; ++c)
            out[first + int(c)] = requantize(sums[c], factor, factors.zero_point, clamp.low, clamp.high);
        }
      }
      out += channels;
    });
}

void transpose_codes(const uint8_t* in, int64_t pixels, int channels, uint8_t* out) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int c = 0; c < channels; ++c) out[c * pixels + p] = in[p * channels + c];
}

void channel_shuffle(const uint8_t* in, int64_t pixels, int channels, int groups, uint8_t* out) {
  const int each = channels / groups;
  for (int64_t p = 0; p < pixels; ++p, in += channels, out += channels)
    for (int g = 0; g < groups; ++g)
      for (int k = 0; k < each; ++k) out[k * groups + g] = in[g * each + k];
}

}  // namespace quanta
