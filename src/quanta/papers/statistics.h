#pragma once

#include <string>
#include <vector>

namespace quanta {

/// Of at least one value; the standard deviation is the sample's (n - 1), 0 for a single value.
double mean(const std::vector<double>& values);
double standard_deviation(const std::vector<double>& values);

/// Values in [0, 1] as mean and standard deviation in percent, "93.12 ± 0.41 %", or "93.12 %" if there is only one.
std::string percent(const std::vector<double>& values);

/// Two-sided p-value of the paired sign-flip test: the share of all 2^n ways to swap a[i] and b[i] whose difference of
/// means is at least as large as the one seen. 1 <= n <= 20. The least p-value it can give is 2 / 2^n.
double paired_p_value(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace quanta
