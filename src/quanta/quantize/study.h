#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace quanta {

/// One choice of a method and what may be chosen, as "key=value" texts; an option of several keys has spaces between
/// them, the empty one is the base itself.
struct Factor {
  std::string name;
  std::vector<std::string> options;
};

struct FactorOption {
  std::string text;            ///< "" is shown as "base"
  std::vector<double> values;  ///< one a seed
  double mean = 0;
  double deviation = 0;  ///< of the sample (n - 1)
};

struct FactorResult {
  std::string name;
  std::vector<FactorOption> options;
  double spread = 0;     ///< largest mean - smallest mean
  double deviation = 0;  ///< pooled over the options
  bool robust = false;   ///< the spread is at most two deviations: the choice matters no more than the seed
  size_t best = 0;       ///< the option with the smallest mean
};

/// Changes one factor at a time around a base. `measure` returns what is to be small for the options that are set (the
/// words of one option; for the base none) and a seed; each different choice is measured once. Errors: no seeds (fewer
/// than two leave nothing to compare a spread with), a factor without options, a value that is not finite.
std::vector<FactorResult> factor_study(
    const std::vector<Factor>& factors, const std::vector<uint64_t>& seeds,
    const std::function<double(const std::vector<std::string>& changes, uint64_t seed)>& measure);

}  // namespace quanta
