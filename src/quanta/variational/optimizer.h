#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace quanta {

/// What is minimized: a function of P parameters, with its derivatives where they are known. A plain function of a
/// `std::span<const double>` is an Objective without derivatives. They must give finite numbers.
struct Objective {
  using Value = std::function<double(std::span<const double> x)>;
  using Gradient = std::function<double(std::span<const double> x, std::span<double> gradient)>;
  using Metric = std::function<void(std::span<const double> x, std::span<double> metric)>;

  Value value;
  Gradient gradient;  ///< writes df/dx [P] and returns f; methods that need it say so
  Metric metric;      ///< of natural gradients: writes the symmetric matrix [P, P], row-major

  template <class F>
  requires std::is_invocable_r_v<double, F&, std::span<const double>> Objective(F f)
      : value(std::move(f)) {}  // NOLINT: a function is an objective
  Objective(Value value, Gradient gradient, Metric metric = {})
      : value(std::move(value)), gradient(std::move(gradient)), metric(std::move(metric)) {}
};

struct Minimum {
  std::vector<double> x;
  double value;                ///< of the objective at x
  int64_t evaluations;         ///< of the objective, with or without its gradient
  int iterations;              ///< of the method; of COBYLA, Nelder-Mead and L-BFGS the evaluations
  std::string reason;          ///< why it stopped: "tolerance", "iterations", "evaluations" or "callback"
  std::vector<double> trace;   ///< the least value after each evaluation: never increases
  std::vector<double> values;  ///< at the start of each iteration, for SPSA the mean of the pair it evaluates
};

/// Where a minimization stands, at the end of each iteration.
struct OptimizerStep {
  int iteration;  ///< from 1
  int64_t evaluations;
  double value;               ///< the newest that was evaluated for an iterate
  std::span<const double> x;  ///< the iterate that follows; of COBYLA, Nelder-Mead and L-BFGS the evaluated point
};
/// Returns whether to go on.
using OptimizerCallback = std::function<bool(const OptimizerStep&)>;

/// M. J. D. Powell's constrained optimization by linear approximation, without constraints (1994; NLopt's). The first
/// P + 1 evaluations are x0 and, axis by axis, the best point so far moved by `rho_begin`.
struct Cobyla {
  int64_t max_evaluations = 1000;  ///< below P + 2 it warns: there is no step after the first simplex
  double rho_begin = 1;
  double rho_end = 1e-4;  ///< stops when the trust region's radius is this
};

/// Nelder and Mead's simplex search (NLopt's).
struct NelderMead {
  int64_t max_evaluations = 1000;
  double step = 1;          ///< of the first simplex
  double tolerance = 1e-6;  ///< on every parameter: the simplex' size at the end
};

/// Limited-memory BFGS (Nocedal, 1980; NLopt's). Needs a gradient.
struct Lbfgs {
  int64_t max_evaluations = 1000;
  double tolerance = 1e-12;  ///< relative change of the value
  int memory = 10;           ///< pairs of steps that are kept
};

/// x <- x - step g. Needs a gradient.
struct GradientDescent {
  int iterations = 100;
  double step = 0.1;
  double tolerance = 0;  ///< stops when no element of the gradient is larger
};

/// Kingma and Ba, arXiv 1412.6980. Needs a gradient.
struct Adam {
  int iterations = 100;
  double step = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double tolerance = 0;  ///< as above
};

/// Quantum natural gradient (Stokes et al., arXiv 1909.02108): x <- x - step (metric + regularization 1)^-1 g. Needs a
/// gradient and a metric.
struct NaturalGradient {
  int iterations = 100;
  double step = 0.1;
  double regularization = 1e-6;
  double tolerance = 0;  ///< as above
};

/// Simultaneous perturbation stochastic approximation (Spall, 1998): x <- x - a_k (f(x + c_k d) - f(x - c_k d)) / (2
/// c_k) d with random signs d, a_k = a / (A + k + 1)^alpha and c_k = c / (k + 1)^gamma. Two evaluations an iteration
/// for any number of parameters; bears noise. The result is the last iterate, evaluated once more.
struct Spsa {
  int iterations = 200;
  double a = 0.2;
  double c = 0.1;
  double A = 10;
  double alpha = 0.602;
  double gamma = 0.101;
  int resamplings = 1;          ///< pairs whose gradients are averaged
  int calibrations = 0;         ///< pairs at x0 that set a so that the first steps change a parameter by `first_step`
  double first_step = 0.62832;  ///< 2 pi / 10 (Kandala et al., Nature 549, 242, 2017)
  /// Blocking: one more evaluation an iteration; a step that raises the value by more than this is not taken. Twice the
  /// noise's standard deviation is usual. Negative: every step is taken.
  double allowed_increase = -1;
  uint64_t seed = 0;
};

/// Sets one parameter after another to its exact minimum (Ostaszewski et al., arXiv 1905.09692), for objectives that
/// are in each parameter a trigonometric polynomial of the frequencies base, 2 base, ..., frequencies base: 1 for
/// rotations exp(-i x P / 2) with P^2 = 1, {2, 0.5} for controlled ones, {r, 1} for r gates that share a parameter. 2
/// frequencies evaluations a parameter.
struct Rotosolve {
  int sweeps = 20;
  int frequencies = 1;
  double base = 1;
  double tolerance = 1e-10;  ///< stops when a sweep gains less
  bool check = true;  ///< one more evaluation a parameter in the first sweep: throws Error if it is no such polynomial
};

/// Analytic quantum gradient descent as in qiskit-aqua: m <- (1 - momentum) g + momentum m, x <- x - eta m, with
/// g_j = (f(x + pi/2 e_j) - f(x - pi/2 e_j)) / 2, the shift rule on the OBJECTIVE. That is the gradient of an
/// expectation value, and not of a function of expectation values such as a cross-entropy. 2 P + 1 evaluations an
/// iteration, and one of the result.
struct Aqgd {
  enum class Mode {
    ObjectiveShift,  ///< as published
    ChainRule,       ///< g is the objective's own gradient, one evaluation an iteration
  };
  /// Stages, equally long lists.
  std::vector<int> iterations = {1000};
  std::vector<double> eta = {1.0};
  std::vector<double> momentum = {0.25};  ///< in [0, 1)
  double tolerance = 1e-6;                ///< stops when the mean of the newest `averaging` values changes by less
  double parameter_tolerance = 1e-6;      ///< stops when no parameter changes by as much
  int averaging = 10;
  Mode mode = Mode::ObjectiveShift;
  /// Compares the parameters with x0, as published, instead of with those of the iteration before.
  bool compat_param_check = false;
};

using Optimizer =
    std::variant<Cobyla, NelderMead, Lbfgs, GradientDescent, Adam, NaturalGradient, Spsa, Rotosolve, Aqgd>;

/// minimize(f, {0.1, 0.2}, Cobyla{.rho_begin = 0.5}). The result is the best point that was evaluated; of Spsa and
/// Aqgd, GradientDescent, Adam and NaturalGradient the last iterate. Throws Error for options out of range, derivatives
/// that are missing, and an objective that is not finite; what the objective throws passes through.
Minimum minimize(const Objective& objective, std::vector<double> x0, const Optimizer& optimizer,
                 const OptimizerCallback& callback = {});

/// The method's name, as "COBYLA".
std::string name(const Optimizer& optimizer);

}  // namespace quanta
