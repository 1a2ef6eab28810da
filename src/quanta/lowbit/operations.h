#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quanta/lowbit/requantize.h"

namespace quanta {

/// The operations of an integer network that have no weights, on codes [.., channels]. All allocate nothing, and give
/// the same bits on every instruction set and for every number of threads.

/// Codes a layer's output may have.
struct CodeRange {
  int low = 0, high = 255;
  bool operator==(const CodeRange&) const = default;
};

enum class Activation { None, Relu, Relu6 };

/// The codes that the function's values can have: ReLU cuts at real 0, ReLU6 also at real 6.
CodeRange code_range(Activation activation, const AffineU8& output);

/// The window of a pooling layer. Padding counts as real zero in an average if count_padding (PyTorch's default).
struct PoolShape {
  int kernel_h = 2, kernel_w = 2;
  int stride_h = 2, stride_w = 2;
  int padding_h = 0, padding_w = 0;
  bool count_padding = true;

  int output_h(int input_h) const { return (input_h + 2 * padding_h - kernel_h) / stride_h + 1; }
  int output_w(int input_w) const { return (input_w + 2 * padding_w - kernel_w) / stride_w + 1; }
  bool operator==(const PoolShape&) const = default;
};

/// images [count, channels, pixels] -> codes [count, pixels, channels]: quantize() of each value.
void quantize_images(const float* images, int count, int channels, int64_t pixels, const AffineU8& to, uint8_t* codes);

/// The way back: codes [count, pixels, channels] -> [count, channels, pixels].
void dequantize_images(const uint8_t* codes, int count, int channels, int64_t pixels, const AffineU8& from,
                       float* images);

/// The code of every input code under another quantizer: clamp(zero_point + scale_accumulator(code - zero_point)).
using CodeTable = std::array<uint8_t, 256>;
CodeTable rescale_table(const AffineU8& from, const AffineU8& to, CodeRange clamp);
void look_up(const CodeTable& table, const uint8_t* in, size_t count, uint8_t* out);
/// The same into a slice of wider pixels: in [pixels, channels], out [pixels, out_channels].
void look_up_channels(const CodeTable& table, const uint8_t* in, int64_t pixels, int channels, int out_channels,
                      uint8_t* out);

/// Both factors of a rescaled sum at one power of two: output = zero_point + ((a - za) a_factor + (b - zb) b_factor) /
/// 2^shift, half away from zero. The larger factor has 21 bits, so that rounding it is no part of the result's error.
struct AddFactors {
  int32_t a_factor, b_factor;
  int shift;
  int a_zero_point, b_zero_point, zero_point;
  CodeRange clamp;
};
AddFactors add_factors(const AffineU8& a, const AffineU8& b, const AffineU8& output, CodeRange clamp);
void add(const AddFactors& factors, const uint8_t* a, const uint8_t* b, size_t count, uint8_t* out);

/// in [count, h, w, channels] -> out [count, output_h, output_w, channels]; padding is never the largest.
void max_pool(const PoolShape& pool, const uint8_t* in, int count, int h, int w, int channels, uint8_t* out);

/// One requantization for each number of pixels that a window may hold.
struct AverageFactors {
  std::vector<FixedPoint> of_count;  // [pixels + 1]; entry 0 is not used
  int input_zero_point, zero_point;
  CodeRange clamp;
};
AverageFactors average_factors(const PoolShape& pool, const AffineU8& input, const AffineU8& output, CodeRange clamp);
void average_pool(const PoolShape& pool, const AverageFactors& factors, const uint8_t* in, int count, int h, int w,
                  int channels, uint8_t* out);

/// [pixels, channels] -> [channels, pixels].
void transpose_codes(const uint8_t* in, int64_t pixels, int channels, uint8_t* out);

/// Channel g * (channels / groups) + k goes to k * groups + g (ShuffleNet, arXiv 1707.01083).
void channel_shuffle(const uint8_t* in, int64_t pixels, int channels, int groups, uint8_t* out);

}  // namespace quanta
