#include "quanta/quantize/study.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "quanta/core/error.h"

namespace quanta {

std::vector<FactorResult> factor_study(
    const std::vector<Factor>& factors, const std::vector<uint64_t>& seeds,
    const std::function<double(const std::vector<std::string>& changes, uint64_t seed)>& measure) {
  require(seeds.size() >= 2, "a study needs at least two seeds to tell a factor from chance, got {}", seeds.size());
  std::map<std::string, std::vector<double>> measured;  // by option
  std::vector<FactorResult> results;
  for (const Factor& factor : factors) {
    require(!factor.options.empty(), "factor '{}' has no options", factor.name);
    FactorResult result;
    result.name = factor.name;
    double variance = 0;
    for (const std::string& text : factor.options) {
      auto& values = measured[text];
      std::istringstream words(text);
      std::vector<std::string> changes;
      for (std::string word; words >> word;) changes.push_back(word);
      for (size_t i = values.size(); i < seeds.size(); ++i) {
        values.push_back(measure(changes, seeds[i]));
        require(std::isfinite(values.back()), "option '{}' of factor '{}' gives {}", text, factor.name, values.back());
      }
      FactorOption option{.text = text.empty() ? "base" : text, .values = values};
      const double n = double(values.size());
      for (const double v : values) option.mean += v / n;
      for (const double v : values) option.deviation += (v - option.mean) * (v - option.mean) / (n - 1);
      variance += option.deviation / double(factor.options.size());
      option.deviation = std::sqrt(option.deviation);
      result.options.push_back(std::move(option));
    }
    const auto [low, high] = std::ranges::minmax_element(result.options, {}, &FactorOption::mean);
    result.spread = high->mean - low->mean;
    result.deviation = std::sqrt(variance);
    result.robust = result.spread <= 2 * result.deviation;
    result.best = size_t(low - result.options.begin());
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace quanta
