#pragma once

#include <algorithm>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/variational/optimizer.h"

namespace quanta {

/// Counts the evaluations of an objective, keeps the best point, and asks the callback. For optimizers.
class Tracker {
 public:
  Tracker(const Objective& objective, const OptimizerCallback& callback) : objective_(objective), callback_(callback) {}

  double value(std::span<const double> x) { return record(x, objective_.value(x)); }
  double gradient(std::span<const double> x, std::span<double> gradient) {
    const double value = record(x, objective_.gradient(x, gradient));
    require(std::ranges::all_of(gradient, [](double g) { return std::isfinite(g); }),
            "optimizer: the gradient is not finite at evaluation {}", trace_.size());
    return value;
  }

  void metric(std::span<const double> x, std::span<double> metric) const { objective_.metric(x, metric); }

  /// Ends an iteration; returns whether to go on.
  bool step(double value, std::span<const double> x) {
    values_.push_back(value);
    return !callback_ || callback_({int(values_.size()), int64_t(trace_.size()), value, x});
  }

  Minimum best(std::string reason) {
    return {best_, trace_.back(), int64_t(trace_.size()), int(values_.size()), std::move(reason), trace_, values_};
  }
  /// `x` itself, evaluated here.
  Minimum at(std::vector<double> x, std::string reason) {
    const double value = this->value(x);
    Minimum result = best(std::move(reason));
    result.x = std::move(x);
    result.value = value;
    return result;
  }

 private:
  double record(std::span<const double> x, double value) {
    require(std::isfinite(value), "optimizer: the objective is {} at evaluation {}", value, trace_.size() + 1);
    if (trace_.empty() || value < trace_.back()) best_.assign(x.begin(), x.end());
    trace_.push_back(trace_.empty() ? value : std::min(trace_.back(), value));
    return value;
  }

  const Objective& objective_;
  const OptimizerCallback& callback_;
  std::vector<double> best_;
  std::vector<double> trace_;
  std::vector<double> values_;
};

/// Methods of NLopt.
Minimum minimize_by(const Cobyla& method, Tracker& tracker, std::vector<double> x);
Minimum minimize_by(const NelderMead& method, Tracker& tracker, std::vector<double> x);
Minimum minimize_by(const Lbfgs& method, Tracker& tracker, std::vector<double> x);

}  // namespace quanta
