#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "quanta/core/aligned.h"
#include "quanta/lowbit/kernels.h"
#include "quanta/lowbit/operations.h"

namespace quanta {

/// A two-dimensional convolution, as torch::nn::Conv2d describes it. A linear layer is the 1 x 1 kernel of a 1 x 1
/// image.
struct ConvolutionShape {
  int in_channels = 1, out_channels = 1;
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int padding_h = 0, padding_w = 0;  // on both sides, with real zero
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;

  int output_h(int input_h) const { return (input_h + 2 * padding_h - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int output_w(int input_w) const { return (input_w + 2 * padding_w - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  int64_t weights() const { return int64_t{out_channels} * (in_channels / groups) * kernel_h * kernel_w; }
  bool is_depthwise() const { return groups > 1 && groups == in_channels && groups == out_channels; }
  bool operator==(const ConvolutionShape&) const = default;
};

/// Weight codes in PyTorch's order [out, in / groups, kernel_h, kernel_w] with what gives them meaning:
/// weight = scale * (code - zero_point). The narrow grid [-127, 127] and no zero points is the usual choice.
struct IntegerWeights {
  std::span<const int8_t> codes;
  std::span<const float> scales;              // one, or one for each output channel
  std::span<const int32_t> zero_points = {};  // none (symmetric), one, or one for each output channel
  std::span<const float> bias = {};           // none, or [out] real numbers: rounded to weight scale * input scale
  std::span<const int32_t> bias_codes = {};   // instead of bias: at weight scale * input scale
  int bits = 8;                               // 2 to 8: the codes fit this many bits, and a file stores no more
};

/// A convolution or linear layer over u8 codes with s8 weights and int32 accumulators. Images are [n, h, w, channels].
/// The weights are laid out once, for all instruction sets; each set gives the same bits, whatever the threads.
///   output = clamp(zero_point + M * (sum (w - zw)(x - zx) + bias)),  M = weight scale * input scale / output scale
/// The terms with zx are merged into the bias when packing (whitepaper, section "Affine quantizer").
class IntegerConvolution {
 public:
  /// Throws Error if counts do not fit the shape, a scale is not positive, a code does not fit the bits, or an
  /// accumulator could overflow int32.
  IntegerConvolution(const ConvolutionShape& shape, const IntegerWeights& weights, const AffineU8& input,
                     const AffineU8& output, CodeRange clamp);
  /// Without an output quantizer: run_integer and run_real only.
  IntegerConvolution(const ConvolutionShape& shape, const IntegerWeights& weights, const AffineU8& input);

  const ConvolutionShape& shape() const { return shape_; }
  const AffineU8& input() const { return input_; }

  /// The weights as they were given.
  std::vector<int8_t> codes() const;
  const std::vector<float>& scales() const { return scales_; }
  const std::vector<int32_t>& zero_points() const { return zero_points_; }
  const std::vector<int32_t>& bias_codes() const { return bias_codes_; }
  int bits() const { return bits_; }

  /// Bytes of working memory that a call with these images and threads needs.
  size_t scratch_bytes(int count, int h, int w, int threads) const;

  /// in [count, h, w, in_channels], out [count, output_h, output_w, out_channels]. Up to kReadAhead bytes behind `in`
  /// are read (their values do not matter). Allocates nothing.
  void run(const uint8_t* in, int count, int h, int w, uint8_t* out, std::span<uint8_t> scratch, int threads) const;
  /// The accumulators themselves, and their real values (accumulator * weight scale * input scale).
  void run_integer(const uint8_t* in, int count, int h, int w, int32_t* out, std::span<uint8_t> scratch,
                   int threads) const;
  void run_real(const uint8_t* in, int count, int h, int w, float* out, std::span<uint8_t> scratch, int threads) const;

  static constexpr size_t kReadAhead = 64;

 private:
  struct Call;
  void pack(std::span<const int8_t> codes);
  template <class Body>
  void for_each_column(const Body& body);                  // body(columns, column, output channel)
  size_t position(int out, int in, int ky, int kx) const;  // of a weight in packed_
  int panels() const { return (shape_.out_channels / shape_.groups + lowbit::kPanel - 1) / lowbit::kPanel; }
  int panel_width(int panel) const;
  size_t group_bytes() const;  // of packed_
  void run(lowbit::OutputStage stage, const uint8_t* in, int count, int h, int w, void* out, std::span<uint8_t> scratch,
           int threads) const;

  ConvolutionShape shape_;
  AffineU8 input_;
  std::optional<AffineU8> output_;
  CodeRange clamp_;
  std::vector<float> scales_;
  std::vector<int32_t> zero_points_, bias_codes_;
  int bits_ = 8;
  // A window's bytes lie in segments: whole kernel rows where nothing comes between their pixels, or single pixels.
  bool row_segments_ = false;
  int segments_ = 1, segment_bytes_ = 1, quads_ = 1;
  int repeats_ = 1;  // of a depthwise weight, see DepthwiseRow
  AlignedVector<int8_t> packed_;
  AlignedVector<lowbit::Columns<lowbit::kPanel>> panel_columns_;      // [groups][panels]
  AlignedVector<lowbit::Columns<lowbit::kChunk>> depthwise_columns_;  // [chunks]
};

}  // namespace quanta
