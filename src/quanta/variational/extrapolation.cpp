#include <algorithm>
#include <cmath>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/variational/mitigation.h"

namespace quanta {
namespace {

struct Points {
  std::vector<double> x, y, sigma;
};

// Checked, sorted by x, the `count` smallest of them (all if 0).
Points points(const std::string& name, const std::vector<double>& x, const std::vector<double>& y,
              const std::vector<double>& sigma, int count, int least) {
  require(x.size() == y.size() && (sigma.empty() || sigma.size() == x.size()),
          "{}: {} noise strengths, {} values and {} deviations, expected as many of each", name, x.size(), y.size(),
          sigma.size());
  require(std::ranges::all_of(sigma, [](double s) { return s > 0; }), "{}: a standard deviation is not positive", name);
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return x[i]; });
  Points result;
  size_t different = 0;
  for (const size_t i : order) {
    require(std::isfinite(x[i]) && std::isfinite(y[i]), "{}: the point ({}, {}) is not finite", name, x[i], y[i]);
    if (count > 0 && result.x.size() == size_t(count)) break;
    different += result.x.empty() || result.x.back() != x[i];
    result.x.push_back(x[i]);
    result.y.push_back(y[i]);
    result.sigma.push_back(sigma.empty() ? 1 : sigma[i]);
  }
  require(different >= size_t(least), "{}: {} different noise strengths, expected at least {}", name, different, least);
  return result;
}

class Polynomial : public Extrapolator {
 public:
  explicit Polynomial(int degree) : degree_(degree) {
    require(degree >= 0, "polynomial extrapolation: the degree is {}, expected at least 0", degree);
  }
  std::string name() const override {
    return degree_ == 1 ? "linear" : degree_ == 2 ? "quadratic" : fmt::format("polynomial {}", degree_);
  }

  // By polynomials that are orthogonal on the points (Forsythe, 1957): stable at any degree.
  void fit(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& sigma) override {
    const Points data = points(name(), x, y, sigma, 0, degree_ + 1);
    const size_t n = data.x.size();
    terms_.clear();
    std::vector<double> before(n, 0.0), now(n, 1.0);
    double norm_before = 1;
    for (int k = 0; k <= degree_; ++k) {
      Term term{};
      double norm = 0;
      for (size_t i = 0; i < n; ++i) {
        const double weighted = now[i] / (data.sigma[i] * data.sigma[i]);
        norm += weighted * now[i];
        term.coefficient += weighted * data.y[i];
        term.shift += weighted * now[i] * data.x[i];
      }
      term.coefficient /= norm;
      term.shift /= norm;
      term.damp = k ? norm / norm_before : 0;
      norm_before = norm;
      terms_.push_back(term);
      for (size_t i = 0; i < n; ++i)
        before[i] = std::exchange(now[i], (data.x[i] - term.shift) * now[i] - term.damp * before[i]);
    }
  }

  double at(double x) const override {
    require(!terms_.empty(), "{}: fit() comes first", name());
    double before = 0, now = 1, sum = 0;
    for (const Term& term : terms_) {
      sum += term.coefficient * now;
      before = std::exchange(now, (x - term.shift) * now - term.damp * before);
    }
    return sum;
  }

 private:
  struct Term {
    double coefficient, shift, damp;
  };
  int degree_;
  std::vector<Term> terms_;
};

class Richardson : public Extrapolator {
 public:
  explicit Richardson(int count) : count_(count) {
    require(count == 0 || count >= 2, "Richardson extrapolation: {} points, expected 0 (all) or at least 2", count);
  }
  std::string name() const override { return count_ ? fmt::format("Richardson {}", count_) : "Richardson"; }
  void fit(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>&) override {
    data_ = points(name(), x, y, {}, count_, std::max(2, count_));
    require(std::ranges::adjacent_find(data_.x) == data_.x.end(), "{}: two points have the same noise strength",
            name());
  }
  double at(double x) const override {
    require(!data_.x.empty(), "{}: fit() comes first", name());
    double sum = 0;
    for (size_t i = 0; i < data_.x.size(); ++i) {
      double term = data_.y[i];
      for (size_t j = 0; j < data_.x.size(); ++j)
        if (j != i) term *= (x - data_.x[j]) / (data_.x[i] - data_.x[j]);
      sum += term;
    }
    return sum;
  }

 private:
  int count_;
  Points data_;
};

class Exponential : public Extrapolator {
 public:
  explicit Exponential(int count) : count_(count), line_(1) {
    require(count == 0 || count >= 2, "exponential extrapolation: {} points, expected 0 (all) or at least 2", count);
  }
  std::string name() const override { return "exponential"; }
  void fit(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& sigma) override {
    const Points data = points(name(), x, y, sigma, count_, 2);
    negative_ = data.y[0] < 0;
    Points logs;
    for (size_t i = 0; i < data.x.size(); ++i)
      if (data.y[i] != 0 && (data.y[i] < 0) == negative_) {
        logs.x.push_back(data.x[i]);
        logs.y.push_back(std::log(std::abs(data.y[i])));
        logs.sigma.push_back(sigma.empty() ? 1 : data.sigma[i] / std::abs(data.y[i]));
      }
    require(logs.x.size() >= 2, "exponential: the values change their sign: {} of {} have the first one's",
            logs.x.size(), data.x.size());
    line_.fit(logs.x, logs.y, logs.sigma);
  }
  double at(double x) const override { return (negative_ ? -1 : 1) * std::exp(line_.at(x)); }

 private:
  int count_;
  bool negative_ = false;
  Polynomial line_;
};

}  // namespace

std::unique_ptr<Extrapolator> polynomial_extrapolator(int degree) {
  return std::make_unique<Polynomial>(degree);
}

std::unique_ptr<Extrapolator> linear_extrapolator() {
  return polynomial_extrapolator(1);
}

std::unique_ptr<Extrapolator> richardson_extrapolator(int points) {
  return std::make_unique<Richardson>(points);
}

std::unique_ptr<Extrapolator> exponential_extrapolator(int points) {
  return std::make_unique<Exponential>(points);
}

}  // namespace quanta
