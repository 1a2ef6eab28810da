#include "quanta/papers/statistics.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "quanta/core/error.h"

namespace quanta {

double mean(const std::vector<double>& values) {
  require(!values.empty(), "a mean needs at least one value");
  return std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  const double center = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - center) * (value - center);
  return values.size() > 1 ? std::sqrt(sum / double(values.size() - 1)) : 0;
}

std::string percent(const std::vector<double>& values) {
  if (values.size() == 1) return fmt::format("{:.2f} %", 100 * values[0]);
  return fmt::format("{:.2f} ± {:.2f} %", 100 * mean(values), 100 * standard_deviation(values));
}

double paired_p_value(const std::vector<double>& a, const std::vector<double>& b) {
  require(a.size() == b.size() && !a.empty() && a.size() <= 20,
          "a paired test needs 1 to 20 pairs, got {} and {} values", a.size(), b.size());
  const auto sum = [&](uint32_t flips) {
    double total = 0;
    for (size_t i = 0; i < a.size(); ++i) total += (flips >> i & 1) ? b[i] - a[i] : a[i] - b[i];
    return std::abs(total);
  };
  const double seen = sum(0) * (1 - 1e-12);  // ties count, whatever the rounding
  uint32_t as_large = 0;
  const uint32_t ways = 1u << a.size();
  for (uint32_t flips = 0; flips < ways; ++flips) as_large += sum(flips) >= seen;
  return double(as_large) / ways;
}

}  // namespace quanta
