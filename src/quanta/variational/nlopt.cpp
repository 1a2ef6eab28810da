#include <nlopt.h>

#include <climits>
#include <exception>
#include <memory>

#include "quanta/core/log.h"
#include "quanta/variational/tracker.h"

namespace quanta {
namespace {

struct Problem {
  Tracker& tracker;
  nlopt_opt opt;
  bool stopped = false;
  std::exception_ptr error{};
};

// NLopt is C: an exception must not pass through it.
double evaluate(unsigned n, const double* x, double* gradient, void* data) {
  auto& problem = *static_cast<Problem*>(data);
  double value = 0;
  try {
    const std::span<const double> point(x, n);
    value = gradient ? problem.tracker.gradient(point, {gradient, n}) : problem.tracker.value(point);
    problem.stopped = !problem.tracker.step(value, point);
  } catch (...) {
    problem.error = std::current_exception();
  }
  if (problem.stopped || problem.error) nlopt_force_stop(problem.opt);
  return value;
}

template <class Setup>
Minimum run(nlopt_algorithm algorithm, int64_t max_evaluations, Tracker& tracker, std::vector<double> x, Setup setup) {
  require(max_evaluations >= 1, "optimizer: max_evaluations is {}, expected at least 1", max_evaluations);
  const std::unique_ptr<nlopt_opt_s, void (*)(nlopt_opt)> opt(nlopt_create(algorithm, unsigned(x.size())),
                                                              nlopt_destroy);
  Problem problem{tracker, opt.get()};
  nlopt_set_min_objective(opt.get(), evaluate, &problem);
  nlopt_set_maxeval(opt.get(), int(std::min<int64_t>(max_evaluations, INT_MAX)));
  setup(opt.get());
  double value = 0;
  const nlopt_result result = nlopt_optimize(opt.get(), x.data(), &value);
  if (problem.error) std::rethrow_exception(problem.error);
  // Its line search reports an exhausted precision as a failure; the best point stands all the same.
  require(result > 0 || result == NLOPT_FORCED_STOP || result == NLOPT_ROUNDOFF_LIMITED || result == NLOPT_FAILURE,
          "optimizer: NLopt says {}", nlopt_result_to_string(result));
  return tracker.best(problem.stopped ? "callback" : result == NLOPT_MAXEVAL_REACHED ? "evaluations" : "tolerance");
}

}  // namespace

Minimum minimize_by(const Cobyla& method, Tracker& tracker, std::vector<double> x) {
  require(method.rho_begin > 0 && method.rho_end > 0 && method.rho_end <= method.rho_begin,
          "COBYLA: rho_begin is {} and rho_end {}, expected 0 < rho_end <= rho_begin", method.rho_begin,
          method.rho_end);
  if (method.max_evaluations >= 1 && method.max_evaluations < int64_t(x.size()) + 2)
    log_warn("COBYLA: {} evaluations for {} parameters; its first step is evaluation {}", method.max_evaluations,
             x.size(), x.size() + 2);
  return run(NLOPT_LN_COBYLA, method.max_evaluations, tracker, std::move(x), [&](nlopt_opt opt) {
    nlopt_set_initial_step1(opt, method.rho_begin);
    nlopt_set_xtol_abs1(opt, method.rho_end);
  });
}

Minimum minimize_by(const NelderMead& method, Tracker& tracker, std::vector<double> x) {
  require(method.step > 0 && method.tolerance > 0,
          "Nelder-Mead: step is {} and tolerance {}, expected both to be positive", method.step, method.tolerance);
  return run(NLOPT_LN_NELDERMEAD, method.max_evaluations, tracker, std::move(x), [&](nlopt_opt opt) {
    nlopt_set_initial_step1(opt, method.step);
    nlopt_set_xtol_abs1(opt, method.tolerance);
  });
}

Minimum minimize_by(const Lbfgs& method, Tracker& tracker, std::vector<double> x) {
  require(method.tolerance >= 0 && method.memory >= 1,
          "L-BFGS: tolerance is {} and memory {}, expected at least 0 and 1", method.tolerance, method.memory);
  return run(NLOPT_LD_LBFGS, method.max_evaluations, tracker, std::move(x), [&](nlopt_opt opt) {
    nlopt_set_ftol_rel(opt, method.tolerance);
    nlopt_set_vector_storage(opt, unsigned(method.memory));
  });
}

}  // namespace quanta
