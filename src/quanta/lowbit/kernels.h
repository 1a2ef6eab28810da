#pragma once

#include <cstddef>
#include <cstdint>

#include "quanta/lowbit/operations.h"

namespace quanta::lowbit {

// --- weights and output channels as the kernels want them, the same for all instruction sets

constexpr int kPanel = 32;  // output channels side by side; a last panel of 16 or fewer is 16 wide
constexpr int kChunk = 64;  // channels of a depthwise convolution side by side

/// What turns the accumulators of W output channels into output. Channels beyond the last hold zeros.
///
/// The factor's fast form: with a shift n from 2 to 31 the floors of both roundings of scale_accumulator nest, and it
/// is
///   (acc * multiplier + 2^30 + 2^(n+30) - (acc < 0 ? 2^31 : 0)) >> (n + 31),
/// which is a shift by n - 1 of a 64-bit sum's upper half. A clamp at the zero point (a "rectified" stage) hides the
/// last term, which moves only halves of negative values. Products are made for even and odd channels apart.
template <int W>
struct alignas(64) Columns {
  int32_t bias[W];        // with the zero points' terms
  int32_t multiplier[W];  // of even channels, at their place
  int32_t next[W];        // of the odd channel behind, at the even one's place
  int64_t even_add[W / 2], odd_add[W / 2];
  int32_t shift[W];        // n - 1
  int32_t weight_zero[W];  // times the sum of a window's codes, taken off; used if there are such sums
  float scale[W];          // of an accumulator's real value
  FixedPoint factor[W];
  bool fast;  // every factor has a fast form

  void prepare() {
    fast = true;
    for (int i = 0; i < W; ++i) fast = fast && factor[i].shift >= 2;
    for (int i = 0; fast && i < W; ++i) {
      (i % 2 == 0 ? multiplier[i] : next[i - 1]) = factor[i].multiplier;
      (i % 2 == 0 ? even_add : odd_add)[i / 2] = (int64_t{1} << 30) + (int64_t{1} << (factor[i].shift + 30));
      shift[i] = factor[i].shift - 1;
    }
  }
};

enum class OutputKind { Codes, Integers, Reals };
struct OutputStage {
  OutputKind kind = OutputKind::Codes;
  bool rectified = false;
  int zero_point = 0;
  CodeRange clamp{};
};

/// `rows` pixels times one panel. Pixel i's bytes begin at in + i * in_stride; of each segment, at its offset, 4 *
/// quads bytes are read. Weights are [segment][quad][panel width][4].
struct Tile {
  const uint8_t* in;
  ptrdiff_t in_stride;
  const int32_t* segments;
  int segment_count, quads;
  const int8_t* weights;
  const Columns<kPanel>* columns;
  const int32_t* window_sums;  // [rows], or null
  const OutputStage* stage;
  void* out;             // of the panel's first channel
  ptrdiff_t out_stride;  // elements
  int width;             // of the panel: 16 or 32
  int channels;          // of the panel that exist
};

/// One output row of a depthwise convolution. Weights are [chunk][kernel column][row quad][repeat][64][4] in the order
/// of chunk_order(), columns one a chunk.
struct DepthwiseRow {
  const uint8_t* const* rows;  // [kernel_h] input rows [in_w, channels], each readable 64 bytes further
  int kernel_h, kernel_w, stride_w, dilation_w, padding_w;
  int repeats;  // weights a tap, which add up to it: 2 if it does not fit s8
  int in_w, out_w, channels;
  uint8_t input_zero;
  const int8_t* weights;
  const Columns<kChunk>* columns;
  const OutputStage* stage;
  void* out;         // [out_w, channels]
  uint8_t* scratch;  // depthwise_scratch() bytes, aligned to 64
};
/// Where in a chunk's arrays channel c is: vectors of any length up to 16 lanes that interleave bytes within 128 bits
/// find their channels side by side.
constexpr int chunk_order(int c) {
  return c % 16 / 4 * 16 + c / 16 * 4 + c % 4;
}
inline int row_quads(int kernel_h) {
  return (kernel_h + 3) / 4;
}
inline size_t depthwise_scratch(int in_w, int padding_w, int kernel_h) {
  return size_t(in_w + 2 * padding_w) * size_t(row_quads(kernel_h)) * kChunk * 4;
}

/// The kernels of one instruction set.
struct Kernels {
  const char* target;
  int most_rows;                      // of a tile
  void (*const* tiles)(const Tile&);  // [most_rows + 1], by the number of rows
  void (*depthwise)(const DepthwiseRow&);
  void (*add)(const AddFactors&, const uint8_t*, const uint8_t*, size_t, uint8_t*);
  void (*look_up)(const CodeTable&, const uint8_t*, size_t, uint8_t*);
  void (*quantize)(const float* in, size_t count, const AffineU8& to, uint8_t* out);
  void (*maximum)(const uint8_t* in, size_t count, uint8_t* out);      // out = max(out, in)
  void (*accumulate)(const uint8_t* in, size_t count, int32_t* sums);  // sums += in
  /// All with one factor, whose shift is from 2 to 31.
  void (*requantize)(const int32_t* acc, size_t count, const FixedPoint& factor, const OutputStage& stage,
                     uint8_t* out);
  /// The register-only peak: `count` times 24 independent multiply-adds of vectors, returns multiply-adds done.
  int64_t (*peak)(int64_t count);
};

/// Those of the best set that this processor has and Highway has not been told to avoid.
const Kernels& kernels();
/// Highway's bits of the sets that have been compiled.
int64_t kernel_targets();

/// One value by the definition: for other factors, and outputs that are not codes.
template <int W>
void store_slowly(const OutputStage& stage, const Columns<W>& columns, int column, int32_t acc, void* out,
                  ptrdiff_t at) {
  switch (stage.kind) {
    case OutputKind::Codes:
      static_cast<uint8_t*>(out)[at] =
          quanta::requantize(acc, columns.factor[column], stage.zero_point, stage.clamp.low, stage.clamp.high);
      return;
    case OutputKind::Integers:
      static_cast<int32_t*>(out)[at] = acc;
      return;
    case OutputKind::Reals:
      static_cast<float*>(out)[at] = float(acc) * columns.scale[column];
      return;
  }
}

}  // namespace quanta::lowbit
