#pragma once

#include <cstdint>

#include "quanta/quantize/quantizer.h"

namespace quanta {

/// Quantizers with a grid other than the uniform one of uniform.h. Where they take an axis it is 0 (one set of
/// parameters for each output channel) or -1 (one for the tensor). With `follow` each forward() in training mode fits
/// anew, as training with such weights does; else call fit() first.

struct FixedPointOptions {
  int bits = 8;           ///< in all, 1 to 16
  int fraction_bits = 0;  ///< of them behind the binary point; below 0 or above `bits` is fine: a scale is all it is
  bool fitted = true;     ///< fit() chooses fraction_bits, as many as leave the largest value in range
  bool is_signed = true;
};

/// Fixed-point numbers: integers [-2^(b-1), 2^(b-1) - 1] or [0, 2^b - 1] times 2^-fraction_bits, rounded half to even,
/// saturated. Gradients pass inside the range.
class FixedPointQuantizer : public Quantizer {
 public:
  explicit FixedPointQuantizer(const FixedPointOptions& options = {});
  void fit(const torch::Tensor& x) override;
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return options_.bits; }
  std::string describe() const override;
  int fraction_bits() const;
  /// Bits before the binary point, without the sign.
  int integer_bits() const { return options_.bits - (options_.is_signed ? 1 : 0) - fraction_bits(); }

 private:
  struct QuantParams params() const;

  FixedPointOptions options_;
  torch::Tensor fraction_bits_, ready_;
};

/// What the three below share: a scale for each row.
class ScaledQuantizer : public Quantizer {
 public:
  torch::Tensor forward(const torch::Tensor& x) override;
  /// [1] or [channels]
  const torch::Tensor& scale() const { return scale_; }

 protected:
  ScaledQuantizer(int64_t axis, bool follow);
  /// The values where gradients end, |x|, for straight_through(); undefined: nowhere.
  virtual torch::Tensor reach() const = 0;
  torch::Tensor rows(const torch::Tensor& x) const;  ///< [rows, n], checked
  torch::Tensor spread(const torch::Tensor& per_row, const torch::Tensor& x) const;
  void set_scale(const torch::Tensor& scale) { scale_.set_data(scale.detach().clone()); }
  void require_ready() const;

  int64_t axis_;
  bool follow_;
  torch::Tensor scale_;  ///< zeros before fit()
};

struct TernaryOptions {
  int64_t axis = -1;
  double threshold = 0.7;  ///< times mean|w|
  bool follow = false;
};

/// Ternary weights (arXiv 1605.04711): codes -1, 0, 1; 0 where |w| <= 0.7 mean|w|, and the scale that is then best, the
/// mean |w| of the others. Gradients pass everywhere.
class TernaryQuantizer : public ScaledQuantizer {
 public:
  explicit TernaryQuantizer(const TernaryOptions& options = {});
  void fit(const torch::Tensor& x) override;
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return 2; }
  std::string describe() const override;

 private:
  torch::Tensor reach() const override { return {}; }
  TernaryOptions options_;
  torch::Tensor threshold_;
};

struct BinaryOptions {
  int64_t axis = -1;
  bool follow = false;
};

/// Binary weights (arXiv 1603.05279): code 1 for w >= 0 and 0 for w < 0 stand for +-scale with the best scale, mean|w|.
/// Gradients pass where |w| <= 1.
class BinaryQuantizer : public ScaledQuantizer {
 public:
  explicit BinaryQuantizer(const BinaryOptions& options = {});
  void fit(const torch::Tensor& x) override;
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return 1; }
  std::string describe() const override;

 private:
  torch::Tensor reach() const override { return torch::ones_like(scale_); }
};

struct PowerOfTwoOptions {
  int bits = 4;  ///< 2 to 8
  int64_t axis = -1;
  bool follow = false;
};

/// Powers of two, so that products are shifts (arXiv 1702.03044): code c in [-K, K], K = 2^(bits - 1) - 1, stands for
/// sign(c) * largest * 2^(|c| - K), and 0 for 0. `largest`, the scale, is 2^floor(log2(4/3 max|w|)). A number goes to
/// the nearest value; halfway, to the larger one. Gradients pass where |x| <= 3/2 largest.
class PowerOfTwoQuantizer : public ScaledQuantizer {
 public:
  explicit PowerOfTwoQuantizer(const PowerOfTwoOptions& options = {});
  void fit(const torch::Tensor& x) override;
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return options_.bits; }
  std::string describe() const override;

 private:
  torch::Tensor reach() const override { return scale_ * 1.5; }
  PowerOfTwoOptions options_;
};

struct PowerOptions {
  int bits = 4;               ///< 2 to 8; 1 to 8 if unsigned
  int64_t axis = -1;          ///< a scale for each channel; the exponent is always one
  bool is_signed = true;      ///< else codes [0, 2^bits - 1], for values that are not negative
  double exponent = 0;        ///< in (0, 1.2]; 0: fit() searches it
  std::vector<double> set{};  ///< search among these only, such as 1, 1/2, 1/3, which need no tables in integers
};

/// Uniform in the domain of powers (arXiv 2308.05600): with M = max|x| and m = 2^(bits - 1) - 1 (unsigned: 2^bits - 1)
/// the code is round(sign(x) m (|x| / M)^a) in [-m, m], and stands for sign(c) M (|c| / m)^(1/a). fit() takes the
/// exponent a with the least sum of (x - x^)^2: a grid from 0.20 to 1.20 in steps of 0.01, then golden section to 1e-4.
/// a = 1 is the uniform symmetric grid. Gradients pass where |x| <= M.
class PowerQuantizer : public ScaledQuantizer {
 public:
  explicit PowerQuantizer(const PowerOptions& options = {});
  void fit(const torch::Tensor& x) override;
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return options_.bits; }
  std::string describe() const override;
  double exponent() const { return exponent_.item<double>(); }

 private:
  torch::Tensor reach() const override { return scale_; }
  PowerOptions options_;
  torch::Tensor exponent_;
};

struct CodebookOptions {
  int bits = 4;  ///< 1 to 8
  int64_t axis = -1;
};

/// A table of 2^bits values (for each row), the centres of one-dimensional k-means: of Lloyd's method from two starts
/// (quantiles, equal spacing) the better end. Codes are indices into the table, which is ascending; a number halfway
/// goes to the lower value. Gradients pass everywhere.
class CodebookQuantizer : public Quantizer {
 public:
  explicit CodebookQuantizer(const CodebookOptions& options = {});
  void fit(const torch::Tensor& x) override { fit(x, {}); }
  /// With weights of x's shape, not negative: the least weighted squared error.
  void fit(const torch::Tensor& x, const torch::Tensor& weights);
  torch::Tensor encode(const torch::Tensor& x) const override;
  torch::Tensor decode(const torch::Tensor& codes) const override;
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;
  int bits() const override { return options_.bits; }
  std::string describe() const override;
  /// [rows, 2^bits]
  const torch::Tensor& table() const { return table_; }

 private:
  CodebookOptions options_;
  torch::Tensor table_;
};

}  // namespace quanta
