#include "quanta/quantize/histogram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

constexpr int64_t kBins = Histogram::kBins;

/// Joins neighbouring bins of both sides.
void halve(double* counts) {
  for (double* side : {counts, counts + kBins})
    for (int64_t i = 0; i < kBins; ++i) side[i] = 2 * i < kBins ? side[2 * i] + side[2 * i + 1] : 0;
}

}  // namespace

void Histogram::add(const torch::Tensor& input) {
  const auto [low, high] = quanta::extremes(input);
  const double least = low.item<double>(), most = high.item<double>();
  double* range = extremes.data_ptr<double>();
  const bool first = empty();
  range[0] = first ? least : std::min(range[0], least);
  range[1] = first ? most : std::max(range[1], most);

  double& end = *limit.data_ptr<double>();
  const double reach = std::max(-least, most);
  if (end == 0) end = reach;
  for (; end < reach; end *= 2) halve(counts.data_ptr<double>());

  const auto x = input.detach().to(torch::kFloat64).contiguous();
  const double* values = x.data_ptr<double>();
  const double per_value = end > 0 ? double(kBins) / end : 0;
  std::mutex mutex;
  parallel_for(x.numel(), 1 << 16, [&](int64_t begin, int64_t stop) {
    std::vector<double> local(2 * kBins);
    double none = 0;
    for (int64_t i = begin; i < stop; ++i) {
      const double v = values[i];
      if (v == 0)
        ++none;
      else
        ++local[size_t((v > 0 ? kBins : 0) + std::min(int64_t(std::abs(v) * per_value), kBins - 1))];
    }
    const std::lock_guard lock(mutex);
    for (int64_t i = 0; i < 2 * kBins; ++i) counts.data_ptr<double>()[i] += local[size_t(i)];
    *zeros.data_ptr<double>() += none;
  });
}

std::pair<double, double> Histogram::percentile_range(double share) const {
  require(share > 0 && share <= 1, "a percentile of {}: expected a share in (0, 1]", share);
  const double* negative = counts.data_ptr<double>();
  const double* positive = negative + kBins;
  const double width = limit.item<double>() / double(kBins);
  const double tail = (1 - share) / 2 * (counts.sum().item<double>() + zeros.item<double>());
  // From an end inwards until the tail is used up.
  const auto inwards = [&](const double* near, const double* far) {
    double left = tail;
    for (int64_t i = kBins; i-- > 0;) {
      if (near[i] > left) return (double(i + 1) - left / near[i]) * width;
      left -= near[i];
    }
    left -= zeros.item<double>();
    if (left <= 0) return 0.0;
    for (int64_t i = 0; i < kBins; ++i) {
      if (far[i] > left) return -(double(i) + left / far[i]) * width;
      left -= far[i];
    }
    return 0.0;
  };
  const double least = extremes[0].item<double>(), most = extremes[1].item<double>();
  return {std::clamp(-inwards(negative, positive), least, most), std::clamp(inwards(positive, negative), least, most)};
}

std::pair<double, double> Histogram::mse_range(const UniformOptions& options) const {
  std::vector<double> values, weights;
  const double width = limit.item<double>() / double(kBins);
  for (int64_t i = 0; i < 2 * kBins; ++i)
    if (const double count = counts.data_ptr<double>()[i]; count > 0) {
      values.push_back((i < kBins ? -1 : 1) * (double(i % kBins) + 0.5) * width);
      weights.push_back(count);
    }
  UniformOptions one = options;
  one.axis = -1;
  one.group = 0;
  const double least = extremes[0].item<double>(), most = extremes[1].item<double>();
  std::pair<double, double> best{least, most};
  double lowest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 100; ++i) {
    const double factor = 1 - i / 100.0;
    const auto like = torch::kFloat64;
    const QuantParams p =
        choose_qparams(torch::full({1}, least * factor, like), torch::full({1}, most * factor, like), one);
    const double scale = p.scale.item<double>();
    const double low = double(p.qmin - p.zero_point.item<int64_t>()),
                 high = double(p.qmax - p.zero_point.item<int64_t>());
    double error = 0;
    for (size_t k = 0; k < values.size(); ++k) {
      const double gap = std::abs(values[k] - std::nearbyint(std::clamp(values[k] / scale, low, high)) * scale);
      error += weights[k] * (options.norm == 2 ? gap * gap : std::pow(gap, options.norm));
    }
    if (error < lowest) {
      lowest = error;
      best = {least * factor, most * factor};
    }
  }
  return best;
}

std::pair<double, double> Histogram::kl_range(const UniformOptions& options) const {
  const double least = extremes[0].item<double>(), most = extremes[1].item<double>();
  const bool one_sided = options.symmetric ? !options.is_signed : least >= 0 || most <= 0;
  const int64_t levels = std::min(int64_t{1} << (one_sided ? options.bits : options.bits - 1), kBins);
  const double* c = counts.data_ptr<double>();
  std::vector<double> size(static_cast<size_t>(kBins)), beyond(size_t(kBins) + 1);
  for (int64_t i = 0; i < kBins; ++i) size[size_t(i)] = c[i] + c[kBins + i];
  for (size_t i = size_t(kBins); i-- > 0;) beyond[i] = beyond[i + 1] + size[i];
  const double total = beyond[0];
  if (total == 0) return {least, most};

  int64_t best = kBins;
  double lowest = std::numeric_limits<double>::infinity();
  for (int64_t bins = levels; bins <= kBins; ++bins) {
    const double kept = total - beyond[size_t(bins)];
    if (kept == 0) continue;
    double divergence = 0;
    for (int64_t level = 0; level < levels; ++level) {
      const int64_t from = level * bins / levels, to = (level + 1) * bins / levels;
      double sum = 0;
      int64_t filled = 0;
      for (int64_t i = from; i < to; ++i) {
        sum += size[size_t(i)];
        filled += size[size_t(i)] > 0;
      }
      const double q = filled > 0 ? sum / double(filled) / kept : 0;
      for (int64_t i = from; i < to; ++i) {
        const double p = (size[size_t(i)] + (i + 1 == bins ? beyond[size_t(bins)] : 0)) / total;
        if (p > 0) divergence += p * std::log(p / std::max(size[size_t(i)] > 0 ? q : 0, 1e-9));
      }
    }
    if (divergence < lowest) {
      lowest = divergence;
      best = bins;
    }
  }
  const double reach = double(best) / double(kBins) * limit.item<double>();
  return {std::max(least, -reach), std::min(most, reach)};
}

}  // namespace quanta
