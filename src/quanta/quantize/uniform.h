#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "quanta/quantize/quantizer.h"

namespace quanta {

/// How fit() chooses the range of values.
enum class RangeMethod {
  MinMax,
  Percentile,  ///< the share UniformOptions::percentile of the values, split evenly between the ends
  Mse,         ///< of the min-max range times 1, 0.99 ... 0.01 the one with the least mean |x - x^|^norm
  Kl,          ///< least divergence of histograms (8-bit calibration); per tensor only
};

struct UniformOptions {
  int bits = 8;            ///< 1 to 8 (16 for biases and experiments)
  bool symmetric = false;  ///< zero point 0
  bool is_signed = true;   ///< symmetric: codes [-2^(b-1), 2^(b-1)-1], else [0, 2^b-1]; affine codes are [0, 2^b-1]
  bool narrow = false;     ///< symmetric and signed: without the lowest code, so that products never reach -128 * -128
  int64_t axis = -1;       ///< one scale for each index of this dimension (0 for weights); -1: one for the tensor
  /// With axis 0: one scale for every so many values of a row (the flattened other dimensions), which it must divide.
  int64_t group = 0;
  bool power_of_two = false;  ///< scales are rounded up to powers of two
  /// The scale is a parameter, trained with LSQ's gradient (arXiv 1902.08153); fit() by MinMax then takes LSQ's start,
  /// 2 mean|x| / sqrt(qmax - zero point).
  bool learned = false;
  RangeMethod range = RangeMethod::MinMax;
  double percentile = 0.9999;
  double norm = 2.0;  ///< exponent of Mse; 2.4 in BRECQ
};

/// Parameters of a uniform grid: x^ = (code - zero_point) * scale, code in [qmin, qmax].
struct QuantParams {
  torch::Tensor scale{};       ///< float, [1], [channels] or [channels, groups]
  torch::Tensor zero_point{};  ///< int32, likewise
  int64_t qmin = 0;
  int64_t qmax = 255;
  int64_t axis = -1;
  int64_t group = 0;
};

/// The grid for ranges [low, high] (tensors of one shape). An affine range is first widened to hold 0, so that 0 is
/// exact; zero_point = clamp(round(-low / scale)), scale = (high - low) / (2^bits - 1), or 1 if the range is empty
/// (arXiv 1806.08342, section 2). Rounding is half to even. Errors: bits outside [1, 16], low > high, values that are
/// not finite, a signed symmetric grid of 1 bit (which BinaryQuantizer is for).
QuantParams choose_qparams(const torch::Tensor& low, const torch::Tensor& high, const UniformOptions& options);

/// clamp(round(x / scale) + zero_point, qmin, qmax) as int32, and back.
torch::Tensor quantize(const torch::Tensor& x, const QuantParams& params);
torch::Tensor dequantize(const torch::Tensor& codes, const QuantParams& params);
/// dequantize(quantize(x)), float32 or float64; NaN stays NaN. Gradients pass where x lies in the (nudged) range
/// [(qmin - z) scale, (qmax - z) scale] and are 0 elsewhere; a scale that requires gradients gets LSQ's,
/// sum dy (u - x / scale inside, u outside) / sqrt(n qmax) with u = code - z and n values a scale. In one pass over
/// memory each way.
torch::Tensor fake_quantize(const torch::Tensor& x, const QuantParams& params);

/// The least and the greatest values, each [1], [channels] or [channels, groups]. Error for NaN, infinity, no values.
std::pair<torch::Tensor, torch::Tensor> extremes(const torch::Tensor& x, int64_t axis = -1, int64_t group = 0);
/// x with one row for each scale: [1, n], [channels, n] or [channels * groups, group]; shares memory where it can.
torch::Tensor rows_of(const torch::Tensor& x, int64_t axis, int64_t group);

/// The uniform affine and symmetric quantizers. "scale" and "zero_point" are buffers, "scale" with `learned` a
/// parameter.
class UniformQuantizer : public Quantizer {
 public:
  explicit UniformQuantizer(const UniformOptions& options = {});
  void fit(const torch::Tensor& x) override;
  /// Sets the grid from a range, as fit() does from a tensor.
  void set_range(const torch::Tensor& low, const torch::Tensor& high);
  void set_params(const QuantParams& params);
  bool ready() const;
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return options_.bits; }
  std::string describe() const override;
  const UniformOptions& options() const { return options_; }
  QuantParams params() const;

 private:
  UniformOptions options_;
  torch::Tensor scale_, zero_point_;
};

}  // namespace quanta
