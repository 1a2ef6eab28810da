#include "quanta/models/rotary.h"

#include <bit>
#include <cmath>
#include <mutex>
#include <numbers>

namespace quanta {
namespace {

using torch::Tensor;
using Kind = RopeScaling::Kind;

Tensor plain_frequencies(double theta, int64_t head_dim) {
  return 1.0 / torch::pow(theta, torch::arange(0, head_dim, 2).to(torch::kFloat32) / head_dim);
}

/// Wavelengths beyond original / low are stretched, those below original / high kept, between them a mixture.
Tensor llama3_frequencies(const RopeScaling& s, const Tensor& plain) {
  const double original = double(s.original_positions);
  const auto wavelength = 2 * std::numbers::pi / plain;
  const auto share = (original / wavelength - s.low_frequency) / (s.high_frequency - s.low_frequency);
  const auto mixed = (1 - share) * plain / s.factor + share * plain;
  return torch::where(wavelength > original / s.low_frequency, plain / s.factor,
                      torch::where(wavelength < original / s.high_frequency, plain, mixed));
}

/// YaRN (arXiv 2309.00071): stretched below beta_slow turns within the original length, kept above beta_fast.
Tensor yarn_frequencies(const RopeScaling& s, double theta, int64_t head_dim) {
  const auto dimension = [&](double turns) {
    return double(head_dim) * std::log(double(s.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension(s.beta_fast), high = dimension(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, double(head_dim - 1));
  if (low == high) high += 0.001;
  const auto stretched = ((torch::arange(head_dim / 2).to(torch::kFloat32) - low) / (high - low)).clamp(0, 1);
  const auto plain = plain_frequencies(theta, head_dim);
  return plain / s.factor * stretched + plain * (1 - stretched);
}

}  // namespace

struct Rotary::Cache {
  std::mutex mutex;
  Tensor cosine, sine;  // [positions so far, D/2]
};

Rotary::Rotary(const LanguageConfig& config) : config_(config), cache_(std::make_shared<Cache>()) {}

Tensor Rotary::frequencies(int64_t length) const {
  const int64_t D = config_.head_dim;
  const auto plain = plain_frequencies(config_.rope_theta, D);
  if (!config_.rope_scaling) return plain;
  const RopeScaling& s = *config_.rope_scaling;
  switch (s.kind) {
    case Kind::Linear:
      return plain / s.factor;
    case Kind::Llama3:
      return llama3_frequencies(s, plain);
    case Kind::Yarn:
      return yarn_frequencies(s, config_.rope_theta, D);
    case Kind::Dynamic:
      break;
  }
  if (length <= s.original_positions) return plain;
  const double stretch = s.factor * double(length) / double(s.original_positions) - (s.factor - 1);
  return plain_frequencies(config_.rope_theta * std::pow(stretch, double(D) / double(D - 2)), D);
}

std::pair<Tensor, Tensor> Rotary::compute(int64_t count, int64_t length, torch::ScalarType type) const {
  const torch::NoGradGuard no_grad;
  const auto angles = torch::outer(torch::arange(count).to(torch::kFloat32), frequencies(length)).to(torch::kFloat64);
  const double scale = config_.rope_scaling && config_.rope_scaling->kind == Kind::Yarn
                           ? config_.rope_scaling->yarn_attention_factor()
                           : 1;
  return {(angles.cos() * scale).to(type), (angles.sin() * scale).to(type)};
}

std::pair<Tensor, Tensor> Rotary::tables(int64_t first, int64_t count, int64_t length, torch::ScalarType type) const {
  const int64_t end = first + count;
  const auto part = [&](const Tensor& table) { return table.narrow(0, first, count); };
  if (config_.rope_scaling && config_.rope_scaling->kind == Kind::Dynamic &&
      length > config_.rope_scaling->original_positions) {
    const auto [cosine, sine] = compute(end, length, type);
    return {part(cosine), part(sine)};
  }
  const std::scoped_lock lock(cache_->mutex);
  auto& [mutex, cosine, sine] = *cache_;
  if (!cosine.defined() || cosine.size(0) < end || cosine.scalar_type() != type)
    std::tie(cosine, sine) = compute(int64_t(std::bit_ceil(uint64_t(end))), 0, type);
  return {part(cosine), part(sine)};
}

Tensor Rotary::rotate(const Tensor& x, int64_t first, int64_t length) const {
  const auto [cosine, sine] = tables(first, x.size(-2), length, x.scalar_type());
  const auto halves = x.chunk(2, -1);
  return torch::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

}  // namespace quanta
