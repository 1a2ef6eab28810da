#include "quanta/quantize/weight_quantizers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/straight_through.h"
#include "quanta/quantize/uniform.h"

namespace quanta {
namespace {

void require_bits(int bits, int low, int high) {
  require(bits >= low && bits <= high, "a quantizer of {} bits: expected {} to {}", bits, low, high);
}

void require_finite(const torch::Tensor& x) {
  require(x.isfinite().all().item<bool>(),
          "NaN or infinite values have no code: look for what went wrong before quantizing");
}

std::string per(int64_t axis) {
  return axis < 0 ? "per tensor" : "per channel";
}

/// 1 where a row's scale would be 0 and would divide.
torch::Tensor usable(const torch::Tensor& scale) {
  return torch::where(scale > 0, scale, torch::ones_like(scale));
}

template <class Q>
std::shared_ptr<TensorTransform> copy_of(const Q& quantizer, std::shared_ptr<Q> made) {
  copy_values(quantizer, *made);
  return made;
}

}  // namespace

// --- fixed point

FixedPointQuantizer::FixedPointQuantizer(const FixedPointOptions& options) : options_(options) {
  require_bits(options.bits, options.is_signed ? 2 : 1, 16);
  fraction_bits_ = register_buffer("fraction_bits", torch::full({1}, options.fraction_bits, torch::kInt64));
  ready_ = register_buffer("ready", torch::full({1}, int64_t(!options.fitted), torch::kInt64));
}

void FixedPointQuantizer::fit(const torch::Tensor& x) {
  const auto [low, high] = extremes(x);
  ready_.fill_(1);
  if (!options_.fitted) return;
  const double top = std::exp2(options_.bits - (options_.is_signed ? 1 : 0));
  const double least = options_.is_signed ? low.item<double>() : 0, most = high.item<double>();
  int fraction = 30;
  while (fraction > -128 &&
         (std::nearbyint(std::ldexp(most, fraction)) > top - 1 || std::nearbyint(std::ldexp(least, fraction)) < -top))
    --fraction;
  fraction_bits_.fill_(fraction);
}

int FixedPointQuantizer::fraction_bits() const {
  require(ready_.item<int64_t>() != 0, "a fixed-point quantizer has no format yet: call fit() first");
  return int(fraction_bits_.item<int64_t>());
}

QuantParams FixedPointQuantizer::params() const {
  const int64_t top = int64_t{1} << (options_.bits - (options_.is_signed ? 1 : 0));
  return {torch::full({1}, std::exp2(-fraction_bits())), torch::zeros({1}, torch::kInt32),
          options_.is_signed ? -top : 0, top - 1};
}

torch::Tensor FixedPointQuantizer::encode(const torch::Tensor& x) const {
  return quantize(x, params());
}
torch::Tensor FixedPointQuantizer::decode(const torch::Tensor& codes) const {
  return dequantize(codes, params());
}
torch::Tensor FixedPointQuantizer::forward(const torch::Tensor& x) {
  return fake_quantize(x, params());
}
std::shared_ptr<TensorTransform> FixedPointQuantizer::copy() const {
  return copy_of(*this, std::make_shared<FixedPointQuantizer>(options_));
}
std::string FixedPointQuantizer::describe() const {
  return fmt::format("{} bits, fixed point{}", options_.bits, options_.is_signed ? "" : ", unsigned");
}

// --- a scale for each row

ScaledQuantizer::ScaledQuantizer(int64_t axis, bool follow) : axis_(axis), follow_(follow) {
  require(axis == 0 || axis == -1, "this quantizer has scales along dimension 0 or one in all (-1), got axis {}", axis);
  scale_ = register_buffer("scale", torch::zeros({1}));
}

void ScaledQuantizer::require_ready() const {
  require((scale_ != 0).all().item<bool>(), "a quantizer has no scale yet: call fit() first");
}

torch::Tensor ScaledQuantizer::rows(const torch::Tensor& x) const {
  require(x.numel() > 0, "a tensor without values has no range");
  require_finite(x);
  return rows_of(x.detach(), axis_, 0);
}

torch::Tensor ScaledQuantizer::spread(const torch::Tensor& per_row, const torch::Tensor& x) const {
  if (axis_ < 0) return per_row;
  require(x.dim() > 0 && x.size(0) == per_row.numel(), "{} scales for a tensor [{}]", per_row.numel(),
          fmt::join(x.sizes(), ", "));
  std::vector<int64_t> shape(size_t(x.dim()), 1);
  shape[0] = -1;
  return per_row.view(shape);
}

torch::Tensor ScaledQuantizer::forward(const torch::Tensor& x) {
  if (follow_ && is_training()) fit(x);
  const auto limit = reach();
  return straight_through(x, decode(encode(x.detach())), limit.defined() ? spread(limit, x) : limit);
}

// --- ternary

TernaryQuantizer::TernaryQuantizer(const TernaryOptions& options)
    : ScaledQuantizer(options.axis, options.follow), options_(options) {
  require(options.threshold >= 0, "a ternary threshold of {}: expected a share of mean|w|, not negative",
          options.threshold);
  threshold_ = register_buffer("threshold", torch::zeros({1}));
}

void TernaryQuantizer::fit(const torch::Tensor& x) {
  const auto size = rows(x).abs();
  const auto limit = options_.threshold * size.mean(1);
  const auto kept = (size > limit.unsqueeze(1)).to(size.scalar_type());
  set_scale(usable((size * kept).sum(1) / kept.sum(1).clamp_min(1)));
  threshold_.set_data(limit);
}

torch::Tensor TernaryQuantizer::encode(const torch::Tensor& x) const {
  require_ready();
  require_finite(x);
  return (x.sign() * (x.abs() > spread(threshold_, x))).to(torch::kInt32);
}
torch::Tensor TernaryQuantizer::decode(const torch::Tensor& codes) const {
  require_ready();
  return codes * spread(scale_, codes);
}
std::shared_ptr<TensorTransform> TernaryQuantizer::copy() const {
  return copy_of(*this, std::make_shared<TernaryQuantizer>(options_));
}
std::string TernaryQuantizer::describe() const {
  return "ternary, " + per(axis_);
}

// --- binary

BinaryQuantizer::BinaryQuantizer(const BinaryOptions& options) : ScaledQuantizer(options.axis, options.follow) {}

void BinaryQuantizer::fit(const torch::Tensor& x) {
  set_scale(usable(rows(x).abs().mean(1)));
}
torch::Tensor BinaryQuantizer::encode(const torch::Tensor& x) const {
  require_ready();
  require_finite(x);
  return (x >= 0).to(torch::kInt32);
}
torch::Tensor BinaryQuantizer::decode(const torch::Tensor& codes) const {
  require_ready();
  return (2 * codes - 1) * spread(scale_, codes);
}
std::shared_ptr<TensorTransform> BinaryQuantizer::copy() const {
  return copy_of(*this, std::make_shared<BinaryQuantizer>(BinaryOptions{axis_, follow_}));
}
std::string BinaryQuantizer::describe() const {
  return "binary, " + per(axis_);
}

// --- powers of two

PowerOfTwoQuantizer::PowerOfTwoQuantizer(const PowerOfTwoOptions& options)
    : ScaledQuantizer(options.axis, options.follow), options_(options) {
  require_bits(options.bits, 2, 8);
}

void PowerOfTwoQuantizer::fit(const torch::Tensor& x) {
  const auto largest = rows(x).abs().amax(1).to(torch::kFloat64);
  set_scale(torch::exp2(torch::floor(torch::log2(usable(largest) * 4 / 3))).to(x.scalar_type()));
}
torch::Tensor PowerOfTwoQuantizer::encode(const torch::Tensor& x) const {
  require_ready();
  require_finite(x);
  const int64_t top = (int64_t{1} << (options_.bits - 1)) - 1;
  // Two powers meet at 3/2 of the lower one, which is where floor(log2(4/3 x)) steps; below the least, at its half.
  const auto ratio = x.abs().to(torch::kFloat64) / spread(scale_, x);
  const auto exponent = torch::floor(torch::log2(ratio * 4 / 3)).clamp(-double(top), 0.0);
  const auto code =
      torch::where(ratio >= std::exp2(double(-top)), (exponent + double(top)).clamp_min(1), torch::zeros_like(ratio));
  return (x.sign() * code).to(torch::kInt32);
}
torch::Tensor PowerOfTwoQuantizer::decode(const torch::Tensor& codes) const {
  require_ready();
  const double top = std::exp2(options_.bits - 1) - 1;
  return (codes.sign() * torch::exp2(codes.abs().to(torch::kFloat64) - top) * spread(scale_, codes))
      .to(scale_.scalar_type());
}
std::shared_ptr<TensorTransform> PowerOfTwoQuantizer::copy() const {
  return copy_of(*this, std::make_shared<PowerOfTwoQuantizer>(options_));
}
std::string PowerOfTwoQuantizer::describe() const {
  return fmt::format("{} bits, powers of two, {}", options_.bits, per(axis_));
}

// --- power

namespace {

torch::Tensor power_codes(const torch::Tensor& x, const torch::Tensor& largest, double exponent, double top,
                          bool is_signed) {
  const auto u = (x.abs() / largest).clamp_max(1).pow(exponent) * top;
  return ((is_signed ? x.sign() : (x > 0)) * u).round();
}

torch::Tensor power_values(const torch::Tensor& codes, const torch::Tensor& largest, double exponent, double top) {
  return codes.sign() * largest * (codes.abs() / top).pow(1 / exponent);
}

}  // namespace

PowerQuantizer::PowerQuantizer(const PowerOptions& options) : ScaledQuantizer(options.axis, false), options_(options) {
  require_bits(options.bits, options.is_signed ? 2 : 1, 8);
  require(options.exponent >= 0 && options.exponent <= 1.2, "a power quantizer's exponent lies in (0, 1.2], got {}",
          options.exponent);
  for (const double a : options.set) require(a > 0, "a power quantizer's exponents are positive, got {}", a);
  exponent_ = register_buffer("exponent", torch::full({1}, options.exponent, torch::kFloat64));
}

void PowerQuantizer::fit(const torch::Tensor& x) {
  const auto values = rows(x);
  set_scale(usable(values.abs().amax(1)));
  if (options_.exponent > 0) return;
  const double top = std::exp2(options_.bits - (options_.is_signed ? 1 : 0)) - 1;
  const auto largest = scale_.unsqueeze(1);
  const auto error = [&](double a) {
    const auto back = power_values(power_codes(values, largest, a, top, options_.is_signed), largest, a, top);
    return (values - back).to(torch::kFloat64).square().sum().item<double>();
  };
  double best = 1, lowest = std::numeric_limits<double>::infinity();
  const auto attempt = [&](double a) {
    const double e = error(a);
    if (e < lowest) lowest = e, best = a;
    return e;
  };
  for (const double a : options_.set) attempt(a);
  if (options_.set.empty()) {
    for (int i = 20; i <= 120; ++i) attempt(i / 100.0);
    const double ratio = (std::sqrt(5.0) - 1) / 2;
    double left = best - 0.01, right = std::min(best + 0.01, 1.2);
    double a = right - ratio * (right - left), b = left + ratio * (right - left);
    double at_a = attempt(a), at_b = attempt(b);
    while (right - left > 1e-4) {
      if (at_a <= at_b) {
        right = b, b = a, at_b = at_a;
        at_a = attempt(a = right - ratio * (right - left));
      } else {
        left = a, a = b, at_a = at_b;
        at_b = attempt(b = left + ratio * (right - left));
      }
    }
  }
  exponent_.fill_(best);
}

torch::Tensor PowerQuantizer::encode(const torch::Tensor& x) const {
  require_ready();
  require_finite(x);
  const double top = std::exp2(options_.bits - (options_.is_signed ? 1 : 0)) - 1;
  return power_codes(x, spread(scale_, x), exponent(), top, options_.is_signed).to(torch::kInt32);
}
torch::Tensor PowerQuantizer::decode(const torch::Tensor& codes) const {
  require_ready();
  const double top = std::exp2(options_.bits - (options_.is_signed ? 1 : 0)) - 1;
  return power_values(codes.to(scale_.scalar_type()), spread(scale_, codes), exponent(), top);
}
std::shared_ptr<TensorTransform> PowerQuantizer::copy() const {
  return copy_of(*this, std::make_shared<PowerQuantizer>(options_));
}
std::string PowerQuantizer::describe() const {
  return fmt::format("{} bits, power {:.3f}, {}", options_.bits, exponent(), per(axis_));
}

// --- codebook

CodebookQuantizer::CodebookQuantizer(const CodebookOptions& options) : options_(options) {
  require_bits(options.bits, 1, 8);
  require(options.axis == 0 || options.axis == -1,
          "a codebook is for each row (axis 0) or one in all (-1), got axis {}", options.axis);
  table_ = register_buffer("table", torch::zeros({0, int64_t{1} << options.bits}));
}

namespace {

/// Weighted one-dimensional k-means on sorted values: with prefix sums a step takes k binary searches.
class Lloyd {
 public:
  Lloyd(const double* x, const double* weights, int64_t n) : order_(static_cast<size_t>(n)) {
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) { return x[a] < x[b]; });
    for (auto* sums : {&weight_, &first_, &second_}) sums->resize(size_t(n) + 1);
    for (size_t i = 0; i < size_t(n); ++i) {
      const double w = weights ? weights[order_[i]] : 1, v = x[order_[i]];
      values_.push_back(v);
      weight_[i + 1] = weight_[i] + w;
      first_[i + 1] = first_[i] + w * v;
      second_[i + 1] = second_[i] + w * v * v;
    }
  }

  std::vector<double> centres(size_t k) const {
    std::vector<double> quantiles(k), equal(k);
    const double low = values_.front(), high = values_.back();
    for (size_t j = 0; j < k; ++j) {
      const double at = (double(j) + 0.5) / double(k);
      quantiles[j] = values_[size_t(at * double(values_.size()))];
      equal[j] = low + at * (high - low);
    }
    const double a = improve(quantiles), b = improve(equal);
    return a <= b ? quantiles : equal;
  }

 private:
  /// Moves the centres until they rest; returns the squared error.
  double improve(std::vector<double>& c) const {
    double error = 0;
    for (int step = 0; step < 300; ++step) {
      const std::vector<double> before = c;
      error = 0;
      size_t begin = 0;
      for (size_t j = 0; j < c.size(); ++j) {
        const size_t end = j + 1 == c.size() ? values_.size()
                                             : size_t(std::upper_bound(values_.begin() + std::ptrdiff_t(begin),
                                                                       values_.end(), (before[j] + before[j + 1]) / 2) -
                                                      values_.begin());
        const double w = weight_[end] - weight_[begin], sum = first_[end] - first_[begin];
        if (w > 0) {
          c[j] = sum / w;
          error += second_[end] - second_[begin] - sum * c[j];
        }
        begin = end;
      }
      std::sort(c.begin(), c.end());
      if (c == before) break;
    }
    return error;
  }

  std::vector<int64_t> order_;
  std::vector<double> values_, weight_, first_, second_;
};

}  // namespace

void CodebookQuantizer::fit(const torch::Tensor& x, const torch::Tensor& weights) {
  require(x.numel() > 0, "a tensor without values has no range");
  require_finite(x);
  require(!weights.defined() || (weights.sizes() == x.sizes() && (weights >= 0).all().item<bool>()),
          "k-means wants a weight for each value, none negative");
  const auto rows = rows_of(x.detach(), options_.axis, 0).to(torch::kFloat64).contiguous();
  const auto w =
      weights.defined() ? rows_of(weights.detach(), options_.axis, 0).to(torch::kFloat64).contiguous() : weights;
  const int64_t n = rows.size(1), k = int64_t{1} << options_.bits;
  auto table = torch::empty({rows.size(0), k}, torch::kFloat64);
  parallel_for(rows.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Lloyd lloyd(rows.data_ptr<double>() + r * n, w.defined() ? w.data_ptr<double>() + r * n : nullptr, n);
      const auto centres = lloyd.centres(size_t(k));
      std::copy(centres.begin(), centres.end(), table.data_ptr<double>() + r * k);
    }
  });
  table_.set_data(table.to(x.scalar_type()));
}

torch::Tensor CodebookQuantizer::encode(const torch::Tensor& x) const {
  require(table_.size(0) > 0, "a codebook is empty: call fit() first");
  require_finite(x);
  const auto rows = rows_of(x.detach(), options_.axis, 0).contiguous();
  require(rows.size(0) == table_.size(0), "{} codebooks for a tensor that needs {}", table_.size(0), rows.size(0));
  const auto wide = table_.to(torch::kFloat64);
  const auto middles = ((wide.slice(1, 1) + wide.slice(1, 0, -1)) / 2).contiguous();
  return torch::searchsorted(middles, rows.to(torch::kFloat64)).to(torch::kInt32).view(x.sizes());
}

torch::Tensor CodebookQuantizer::decode(const torch::Tensor& codes) const {
  const auto rows = options_.axis < 0 ? codes.reshape({1, -1}) : codes.reshape({codes.size(0), -1});
  require(rows.size(0) == table_.size(0), "{} codebooks for codes that need {}", table_.size(0), rows.size(0));
  return table_.gather(1, rows.to(torch::kInt64)).view(codes.sizes());
}

torch::Tensor CodebookQuantizer::forward(const torch::Tensor& x) {
  return straight_through(x, decode(encode(x)));
}
std::shared_ptr<TensorTransform> CodebookQuantizer::copy() const {
  return copy_of(*this, std::make_shared<CodebookQuantizer>(options_));
}
std::string CodebookQuantizer::describe() const {
  return fmt::format("{} bits, codebook, {}", options_.bits, per(options_.axis));
}

}  // namespace quanta
