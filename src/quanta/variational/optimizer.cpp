#include "quanta/variational/optimizer.h"

#include <numbers>
#include <numeric>

#include "quanta/core/random.h"
#include "quanta/variational/tracker.h"

namespace quanta {
namespace {

constexpr double kPi = std::numbers::pi;

double largest(std::span<const double> values) {
  double result = 0;
  for (const double value : values) result = std::max(result, std::abs(value));
  return result;
}

// --- methods on a gradient

// Iterates x <- x - direction(x, g).
template <class Method, class Direction>
Minimum descend(const char* name, const Method& method, Tracker& tracker, std::vector<double> x, Direction direction) {
  require(method.iterations >= 1, "{}: iterations is {}, expected at least 1", name, method.iterations);
  require(method.step > 0, "{}: step is {}, expected a positive number", name, method.step);
  std::vector<double> gradient(x.size());
  for (int k = 0; k < method.iterations; ++k) {
    const double value = tracker.gradient(x, gradient);
    const bool done = largest(gradient) <= method.tolerance;
    if (!done) direction(k, x, gradient);
    if (!tracker.step(value, x)) return tracker.at(std::move(x), "callback");
    if (done) return tracker.at(std::move(x), "tolerance");
  }
  return tracker.at(std::move(x), "iterations");
}

Minimum minimize_by(const GradientDescent& method, Tracker& tracker, std::vector<double> x) {
  return descend("gradient descent", method, tracker, std::move(x),
                 [&](int, std::vector<double>& x, const std::vector<double>& gradient) {
                   for (size_t j = 0; j < x.size(); ++j) x[j] -= method.step * gradient[j];
                 });
}

Minimum minimize_by(const Adam& method, Tracker& tracker, std::vector<double> x) {
  require(method.beta1 >= 0 && method.beta1 < 1 && method.beta2 >= 0 && method.beta2 < 1,
          "Adam: beta1 is {} and beta2 {}, expected numbers in [0, 1)", method.beta1, method.beta2);
  std::vector<double> mean(x.size()), square(x.size());
  return descend(
      "Adam", method, tracker, std::move(x), [&](int k, std::vector<double>& x, const std::vector<double>& gradient) {
        const double correction1 = 1 - std::pow(method.beta1, k + 1);
        const double correction2 = 1 - std::pow(method.beta2, k + 1);
        for (size_t j = 0; j < x.size(); ++j) {
          mean[j] = std::lerp(gradient[j], mean[j], method.beta1);
          square[j] = std::lerp(gradient[j] * gradient[j], square[j], method.beta2);
          x[j] -= method.step * (mean[j] / correction1) / (std::sqrt(square[j] / correction2) + method.epsilon);
        }
      });
}

// Solves a x = b for a positive definite matrix [n, n] by Cholesky's method; a is overwritten.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t j = 0; j < n; ++j) {
    for (size_t k = 0; k < j; ++k) a[j * n + j] -= a[j * n + k] * a[j * n + k];
    require(a[j * n + j] > 0, "natural gradient: the metric is not positive definite; raise the regularization");
    a[j * n + j] = std::sqrt(a[j * n + j]);
    for (size_t i = j + 1; i < n; ++i) {
      for (size_t k = 0; k < j; ++k) a[i * n + j] -= a[i * n + k] * a[j * n + k];
      a[i * n + j] /= a[j * n + j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return b;
}

Minimum minimize_by(const NaturalGradient& method, Tracker& tracker, std::vector<double> x) {
  require(method.regularization >= 0, "natural gradient: regularization is {}, expected at least 0",
          method.regularization);
  const size_t n = x.size();
  std::vector<double> metric(n * n);
  return descend("natural gradient", method, tracker, std::move(x),
                 [&](int, std::vector<double>& x, const std::vector<double>& gradient) {
                   tracker.metric(x, metric);
                   for (size_t j = 0; j < n; ++j) metric[j * n + j] += method.regularization;
                   const std::vector<double> direction = solve(metric, gradient);
                   for (size_t j = 0; j < n; ++j) x[j] -= method.step * direction[j];
                 });
}

// --- methods on values

Minimum minimize_by(const Spsa& method, Tracker& tracker, std::vector<double> x) {
  require(method.iterations >= 1, "SPSA: iterations is {}, expected at least 1", method.iterations);
  require(method.resamplings >= 1, "SPSA: resamplings is {}, expected at least 1", method.resamplings);
  require(method.calibrations >= 0, "SPSA: calibrations is {}, expected at least 0", method.calibrations);
  require(method.a > 0 && method.c > 0 && method.A >= 0, "SPSA: a is {}, c {} and A {}, expected a, c > 0 and A >= 0",
          method.a, method.c, method.A);
  const size_t n = x.size();
  Random random(method.seed);
  std::vector<double> gradient(n), signs(n), plus(n), minus(n);
  struct Pair {
    double mean, slope;
  };
  // The slope along random signs.
  const auto pair = [&](double c) {
    for (size_t j = 0; j < n; ++j) {
      signs[j] = random() & 1 ? 1 : -1;
      plus[j] = x[j] + c * signs[j];
      minus[j] = x[j] - c * signs[j];
    }
    const double up = tracker.value(plus);
    const double down = tracker.value(minus);
    return Pair{(up + down) / 2, (up - down) / (2 * c)};
  };

  double a = method.a;
  if (method.calibrations > 0) {
    double slope = 0;
    for (int i = 0; i < method.calibrations; ++i) slope += std::abs(pair(method.c).slope) / method.calibrations;
    if (slope > 0) a = method.first_step * std::pow(method.A + 1, method.alpha) / slope;
  }
  const bool blocking = method.allowed_increase >= 0;
  double accepted = blocking ? tracker.value(x) : 0;
  std::vector<double> next;
  for (int k = 0; k < method.iterations; ++k) {
    const double a_k = a / std::pow(method.A + k + 1, method.alpha);
    const double c_k = method.c / std::pow(k + 1, method.gamma);
    std::ranges::fill(gradient, 0);
    double value = 0;
    for (int r = 0; r < method.resamplings; ++r) {
      const Pair found = pair(c_k);
      value += found.mean / method.resamplings;
      for (size_t j = 0; j < n; ++j) gradient[j] += found.slope * signs[j] / method.resamplings;
    }
    next = x;
    for (size_t j = 0; j < n; ++j) next[j] -= a_k * gradient[j];
    if (blocking) {
      const double reached = tracker.value(next);
      if (reached <= accepted + method.allowed_increase) {
        accepted = reached;
        x = next;
      }
    } else {
      x = next;
    }
    if (!tracker.step(value, x)) return tracker.at(std::move(x), "callback");
  }
  return tracker.at(std::move(x), "iterations");
}

// t -> mean + sum_r cos[r] cos((r + 1) t) + sin[r] sin((r + 1) t)
struct TrigonometricPolynomial {
  double mean = 0;
  std::vector<double> cos, sin;

  // From its values at 2 pi k / (2 R + 1).
  explicit TrigonometricPolynomial(const std::vector<double>& values) : cos(values.size() / 2), sin(cos.size()) {
    const double count = double(values.size());
    for (size_t k = 0; k < values.size(); ++k) {
      mean += values[k] / count;
      for (size_t r = 0; r < cos.size(); ++r) {
        const double phase = 2 * kPi * double(k) * double(r + 1) / count;
        cos[r] += 2 * values[k] * std::cos(phase) / count;
        sin[r] += 2 * values[k] * std::sin(phase) / count;
      }
    }
  }

  // Its order-th derivative, order <= 2.
  double operator()(double t, int order = 0) const {
    double sum = order == 0 ? mean : 0;
    for (size_t r = 0; r < cos.size(); ++r) {
      const double f = double(r + 1);
      const double c = std::cos(f * t), s = std::sin(f * t);
      sum += order == 0   ? cos[r] * c + sin[r] * s
             : order == 1 ? f * (sin[r] * c - cos[r] * s)
                          : -f * f * (cos[r] * c + sin[r] * s);
    }
    return sum;
  }

  // In (-pi, pi].
  double minimizer() const {
    if (cos.size() == 1) return std::atan2(-sin[0], -cos[0]);
    const int points = 16 * int(cos.size());
    double best = 0;
    for (int i = 0; i < points; ++i) {
      const double t = 2 * kPi * i / points - kPi;
      if ((*this)(t) < (*this)(best)) best = t;
    }
    double low = best - 2 * kPi / points, high = best + 2 * kPi / points;
    for (int i = 0; i < 60; ++i) (((*this)((low + high) / 2, 1) > 0) ? high : low) = (low + high) / 2;
    return (*this)((low + high) / 2) < (*this)(best) ? (low + high) / 2 : best;
  }
};

Minimum minimize_by(const Rotosolve& method, Tracker& tracker, std::vector<double> x) {
  require(method.sweeps >= 1, "Rotosolve: sweeps is {}, expected at least 1", method.sweeps);
  require(method.frequencies >= 1, "Rotosolve: frequencies is {}, expected at least 1", method.frequencies);
  require(method.base > 0, "Rotosolve: base is {}, expected a positive number", method.base);
  const int points = 2 * method.frequencies + 1;
  const double period = 2 * kPi / method.base;
  double value = tracker.value(x);
  for (int sweep = 0; sweep < method.sweeps; ++sweep) {
    const double before = value;
    for (size_t j = 0; j < x.size(); ++j) {
      const double start = x[j];
      const auto at = [&](double t) {
        x[j] = start + t / method.base;
        return tracker.value(x);
      };
      std::vector<double> values = {value};
      for (int k = 1; k < points; ++k) values.push_back(at(2 * kPi * k / points));
      const TrigonometricPolynomial along(values);
      if (method.check && sweep == 0) {
        const double t = kPi / points;  // as far from the nodes as can be
        const double error = std::abs(at(t) - along(t));
        require(error <= 1e-6 * std::max(1.0, largest(values)),
                "Rotosolve: along parameter {} the objective is no trigonometric polynomial of {} frequencies with "
                "period {:.6g}: it misses a value by {:.2g}; set frequencies and base, or use another optimizer",
                j, method.frequencies, period, error);
      }
      const double t = along.minimizer();
      x[j] = std::remainder(start + t / method.base, period);
      value = along(t);
    }
    // The value carried along collects rounding.
    value = tracker.value(x);
    if (!tracker.step(before, x)) return tracker.best("callback");
    if (before - value < method.tolerance) return tracker.best("tolerance");
  }
  return tracker.best("iterations");
}

Minimum minimize_by(const Aqgd& method, Tracker& tracker, std::vector<double> x) {
  const size_t stages = method.iterations.size();
  require(stages >= 1 && method.eta.size() == stages && method.momentum.size() == stages,
          "AQGD: {} iterations, {} eta and {} momentum, expected lists of equal length", stages, method.eta.size(),
          method.momentum.size());
  for (size_t s = 0; s < stages; ++s) {
    require(method.iterations[s] >= 1, "AQGD: iterations is {}, expected at least 1", method.iterations[s]);
    require(method.momentum[s] >= 0 && method.momentum[s] < 1, "AQGD: momentum is {}, expected a number in [0, 1)",
            method.momentum[s]);
    require(method.eta[s] > 0, "AQGD: eta is {}, expected a positive number", method.eta[s]);
  }
  require(method.averaging >= 1, "AQGD: averaging is {}, expected at least 1", method.averaging);

  const size_t n = x.size();
  std::vector<double> gradient(n), momentum(n), previous, losses;
  for (size_t s = 0; s < stages; ++s) {
    for (int k = 0; k < method.iterations[s]; ++k) {
      if (!previous.empty()) {
        double change = 0;
        for (size_t j = 0; j < n; ++j) change = std::max(change, std::abs(x[j] - previous[j]));
        if (change < method.parameter_tolerance) return tracker.at(std::move(x), "tolerance");
      }
      if (previous.empty() || !method.compat_param_check) previous = x;

      double value = 0;
      if (method.mode == Aqgd::Mode::ChainRule) {
        value = tracker.gradient(x, gradient);
      } else {
        value = tracker.value(x);
        for (size_t j = 0; j < n; ++j) {
          const double start = x[j];
          x[j] = start + kPi / 2;
          const double plus = tracker.value(x);
          x[j] = start - kPi / 2;
          const double minus = tracker.value(x);
          x[j] = start;
          gradient[j] = (plus - minus) / 2;
        }
      }
      losses.push_back(value);
      // The windows of both means share all but these two.
      const bool converged =
          losses.size() > size_t(method.averaging) &&
          std::abs(value - losses[losses.size() - 1 - size_t(method.averaging)]) / method.averaging < method.tolerance;
      if (!converged) {
        for (size_t j = 0; j < n; ++j) {
          momentum[j] = std::lerp(gradient[j], momentum[j], method.momentum[s]);
          x[j] -= method.eta[s] * momentum[j];
        }
      }
      if (!tracker.step(value, x)) return tracker.at(std::move(x), "callback");
      if (converged) return tracker.at(std::move(x), "tolerance");
    }
  }
  return tracker.at(std::move(x), "iterations");
}

template <class Method>
bool needs_gradient(const Method& method) {
  if constexpr (std::is_same_v<Method, Aqgd>)
    return method.mode == Aqgd::Mode::ChainRule;
  else
    return std::is_same_v<Method, Lbfgs> || std::is_same_v<Method, GradientDescent> || std::is_same_v<Method, Adam> ||
           std::is_same_v<Method, NaturalGradient>;
}

}  // namespace

std::string name(const Optimizer& optimizer) {
  constexpr const char* kNames[] = {"COBYLA", "Nelder-Mead", "L-BFGS", "gradient descent", "Adam", "natural gradient",
                                    "SPSA",   "Rotosolve",   "AQGD"};
  static_assert(std::size(kNames) == std::variant_size_v<Optimizer>);
  return kNames[optimizer.index()];
}

Minimum minimize(const Objective& objective, std::vector<double> x0, const Optimizer& optimizer,
                 const OptimizerCallback& callback) {
  require(!x0.empty(), "{}: there are no parameters to optimize", name(optimizer));
  require(std::ranges::all_of(x0, [](double x) { return std::isfinite(x); }), "{}: the start is not finite",
          name(optimizer));
  return std::visit(
      [&](const auto& method) {
        require(!needs_gradient(method) || objective.gradient, "{}: the objective has no gradient", name(optimizer));
        require(!std::is_same_v<std::decay_t<decltype(method)>, NaturalGradient> || objective.metric,
                "{}: the objective has no metric", name(optimizer));
        Tracker tracker(objective, callback);
        return minimize_by(method, tracker, std::move(x0));
      },
      optimizer);
}

}  // namespace quanta
