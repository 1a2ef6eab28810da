#include "quanta/simulate/differentiate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/simulate/unbind.h"

namespace quanta {
namespace {

/// What a circuit is evaluated on, and how much each value adds to each result: every method here is linear in the
/// values.
template <class Real>
struct Points {
  struct Effect {
    int64_t point, target;
    double factor;
  };
  std::vector<Real> inputs;     // [points, unbound inputs]
  std::vector<Effect> effects;  // of one sample behind the other
  int64_t count = 0;

  /// Effects of the point that comes next.
  void affect(int64_t target, double factor) { effects.push_back({count, target, factor}); }
  void add(const std::vector<double>& row) {
    inputs.insert(inputs.end(), row.begin(), row.end());
    // One effect a target, else variances would not add up.
    std::sort(effects.begin() + first_, effects.end(),
              [](const Effect& a, const Effect& b) { return a.target < b.target; });
    auto end = effects.begin() + first_;
    for (auto from = end; from != effects.end(); ++from) {
      if (end != effects.begin() + first_ && end[-1].target == from->target)
        end[-1].factor += from->factor;
      else
        *end++ = *from;
    }
    effects.erase(end, effects.end());
    first_ = std::ptrdiff_t(effects.size());
    ++count;
  }

 private:
  std::ptrdiff_t first_ = 0;  // effect of the point that comes next
};

}  // namespace

template <class Real>
struct Differentiator<Real>::Impl {
  Unbound unbound;
  Estimator<Real> estimate;
  DifferentiateOptions options;
  int W, I, K;

  using Rule = DifferentiateOptions::Rule;

  Impl(const Circuit& circuit, const std::vector<PauliSum>& observables, const EstimatorMaker<Real>& estimator,
       const DifferentiateOptions& o)
      : unbound(circuit), options(o), W(circuit.weights()), I(circuit.inputs()), K(int(observables.size())) {
    require(options.step >= 0 && std::isfinite(options.step), "a difference's step must be positive, got {}",
            options.step);
    require(options.directions >= 1, "SPSA: expected at least 1 direction, got {}", options.directions);
    if (options.step == 0) options.step = std::cbrt(double(std::numeric_limits<Real>::epsilon()));
    estimate = estimator(unbound.circuit, observables);
  }

  /// One sample's parameters: weights, then inputs.
  struct Sample {
    int W;
    std::vector<double> parameters;
    const double* weights() const { return parameters.data(); }
    const double* inputs() const { return parameters.data() + W; }
  };
  Sample sample(int64_t b, const Real* weights, const Real* inputs) const {
    Sample s{W, std::vector<double>(size_t(W + I))};
    std::copy_n(weights, W, s.parameters.begin());
    std::copy_n(inputs + b * I, I, s.parameters.begin() + W);
    return s;
  }

  /// The unbound circuit's inputs.
  std::vector<double> row(const Sample& s) const {
    std::vector<double> result(s.inputs(), s.inputs() + unbound.amplitudes);
    for (const GateAngle& a : unbound.angles) result.push_back(a.angle.value(s.weights(), s.inputs()));
    return result;
  }

  /// Calls build(sample, stream, points) for each sample, evaluates, and calls visit(b, sums [K][targets], variances).
  template <class Build, class Visit>
  void combine(int64_t batch, const Real* weights, const Real* inputs, int64_t targets, bool with_variances,
               const Random& random, Build build, Visit visit) const {
    require(batch >= 0, "the batch size is {}, expected 0 or more", batch);
    constexpr size_t kElements = (64 << 20) / sizeof(Real);
    std::vector<double> sums(size_t(K) * targets), squares(with_variances ? sums.size() : 0);
    for (int64_t first = 0, part = 0; first < batch; ++part) {
      Points<Real> points;
      std::vector<size_t> ends;
      int64_t last = first;
      while (last < batch && points.inputs.size() < kElements) {
        build(sample(last, weights, inputs), random.split("directions").split(uint64_t(last)), points);
        ends.push_back(points.effects.size());
        ++last;
      }
      std::vector<Real> values(size_t(points.count * K)), variances(with_variances ? values.size() : 0);
      if (points.count > 0)
        estimate(points.count, nullptr, points.inputs.data(), random.split("values").split(uint64_t(part)),
                 values.data(), with_variances ? variances.data() : nullptr);
      for (size_t at = 0; first < last; ++first) {
        std::ranges::fill(sums, 0);
        std::ranges::fill(squares, 0);
        for (const size_t end = ends[ends.size() - size_t(last - first)]; at < end; ++at) {
          const auto& [point, target, factor] = points.effects[at];
          for (int k = 0; k < K; ++k) {
            sums[k * targets + target] += factor * double(values[point * K + k]);
            if (with_variances) squares[k * targets + target] += factor * factor * double(variances[point * K + k]);
          }
        }
        visit(first, sums, squares);
      }
    }
  }

  // --- first derivatives: the target is the parameter

  void build_shifts(const Sample& s, bool want_weights, bool want_inputs, Points<Real>& points) const {
    const std::vector<double> start = row(s);
    for (size_t p = 0; p < unbound.angles.size(); ++p) {
      const GateAngle& angle = unbound.angles[p];
      if (!(want_weights && angle.angle.has_weight()) && !(want_inputs && angle.angle.has_input())) continue;
      std::vector<double> shifted = start;
      for (const Shift& term : angle.first_derivative()) {
        shifted[unbound.amplitudes + p] = start[unbound.amplitudes + p] + term.shift;
        visit_derivatives(angle.angle, W, s.weights(), s.inputs(),
                          [&](int i, double d) { points.affect(i, d * term.coefficient); });
        points.add(shifted);
      }
    }
    if (want_inputs && unbound.amplitudes) build_amplitudes(start, points);
  }

  /// |x|^2 f(x) is a quadratic form of the amplitudes, whose central differences are exact for any step.
  void build_amplitudes(const std::vector<double>& start, Points<Real>& points) const {
    double norm2 = 0;
    for (int j = 0; j < unbound.amplitudes; ++j) norm2 += start[j] * start[j];
    const double step = std::sqrt(norm2) / 2;
    for (int j = 0; j < unbound.amplitudes; ++j) points.affect(W + j, -2 * start[j] / norm2);
    points.add(start);
    for (int j = 0; j < unbound.amplitudes; ++j)
      for (const double h : {step, -step}) {
        std::vector<double> moved = start;
        moved[j] += h;
        const double moved_norm2 = norm2 + 2 * h * start[j] + h * h;
        points.affect(W + j, moved_norm2 / (2 * h * norm2));
        points.add(moved);
      }
  }

  void build_differences(const Sample& s, bool want_weights, bool want_inputs, Points<Real>& points) const {
    for (int i = want_weights ? 0 : W; i < (want_inputs ? W + I : W); ++i)
      for (const double h : {options.step, -options.step}) {
        Sample moved = s;
        moved.parameters[i] += h;
        points.affect(i, 1 / (2 * h));
        points.add(row(moved));
      }
  }

  void build_spsa(const Sample& s, bool want_weights, bool want_inputs, Random random, Points<Real>& points) const {
    for (int d = 0; d < options.directions; ++d) {
      std::vector<double> direction(s.parameters.size(), 0);
      for (int i = want_weights ? 0 : W; i < (want_inputs ? W + I : W); ++i) direction[i] = random() & 1 ? 1 : -1;
      for (const double h : {options.step, -options.step}) {
        Sample moved = s;
        for (size_t i = 0; i < direction.size(); ++i) {
          moved.parameters[i] += h * direction[i];
          if (direction[i] != 0) points.affect(int64_t(i), direction[i] / (2 * h * options.directions));
        }
        points.add(row(moved));
      }
    }
  }

  template <class Visit>
  void first_derivatives(int64_t batch, const Real* weights, const Real* inputs, bool want_weights, bool want_inputs,
                         bool with_variances, const Random& random, Visit visit) const {
    combine(
        batch, weights, inputs, W + I, with_variances, random,
        [&](const Sample& s, const Random& stream, Points<Real>& points) {
          if (options.rule == Rule::ParameterShift) build_shifts(s, want_weights, want_inputs, points);
          if (options.rule == Rule::FiniteDifference) build_differences(s, want_weights, want_inputs, points);
          if (options.rule == Rule::Spsa) build_spsa(s, want_weights, want_inputs, stream, points);
        },
        visit);
  }

  // --- second derivatives: the target is the pair of parameters

  void build_hessian(const Sample& s, Points<Real>& points) const {
    const int P = W + I;
    const std::vector<double> start = row(s);
    std::vector<std::vector<std::pair<int, double>>> slopes(unbound.angles.size());
    for (size_t p = 0; p < slopes.size(); ++p)
      visit_derivatives(unbound.angles[p].angle, W, s.weights(), s.inputs(),
                        [&](int i, double d) { slopes[p].emplace_back(i, d); });
    const auto affect = [&](size_t p, size_t q, double factor) {
      for (const auto& [i, di] : slopes[p])
        for (const auto& [j, dj] : slopes[q]) points.affect(int64_t(i) * P + j, di * dj * factor);
    };
    for (size_t p = 0; p < slopes.size(); ++p)
      for (const Shift& term : unbound.angles[p].second_derivative())
        if (term.shift == 0) affect(p, p, term.coefficient);
    points.add(start);
    for (size_t p = 0; p < slopes.size(); ++p) {
      const GateAngle& a = unbound.angles[p];
      std::vector<double> shifted = start;
      for (const Shift& term : a.second_derivative()) {
        if (term.shift == 0) continue;
        affect(p, p, term.coefficient);
        shifted[p] = start[p] + term.shift;
        points.add(shifted);
      }
      bool curved = false;
      visit_second_derivatives(a.angle, W, s.weights(), s.inputs(), [&](int, int, double) { curved = true; });
      for (const Shift& term : a.first_derivative()) {
        shifted[p] = start[p] + term.shift;
        if (curved) {
          visit_second_derivatives(a.angle, W, s.weights(), s.inputs(), [&](int i, int j, double d) {
            points.affect(int64_t(i) * P + j, d * term.coefficient);
          });
          points.add(shifted);
        }
        for (size_t q = 0; q < p; ++q) {
          for (const Shift& other : unbound.angles[q].first_derivative()) {
            affect(p, q, term.coefficient * other.coefficient);
            affect(q, p, term.coefficient * other.coefficient);
            shifted[q] = start[q] + other.shift;
            points.add(shifted);
          }
          shifted[q] = start[q];
        }
      }
    }
  }
};

template <class Real>
Differentiator<Real>::Differentiator(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                     const EstimatorMaker<Real>& estimator, const DifferentiateOptions& options)
    : impl_(std::make_unique<Impl>(circuit, observables, estimator, options)) {}
template <class Real>
Differentiator<Real>::~Differentiator() = default;
template <class Real>
Differentiator<Real>::Differentiator(Differentiator&&) noexcept = default;
template <class Real>
Differentiator<Real>& Differentiator<Real>::operator=(Differentiator&&) noexcept = default;

template <class Real>
int Differentiator<Real>::weights() const {
  return impl_->W;
}
template <class Real>
int Differentiator<Real>::inputs() const {
  return impl_->I;
}
template <class Real>
int Differentiator<Real>::outputs() const {
  return impl_->K;
}

template <class Real>
void Differentiator<Real>::expectations(int64_t batch, const Real* weights, const Real* inputs, Real* values,
                                        const Random& random) const {
  const int K = impl_->K;
  impl_->combine(
      batch, weights, inputs, 1, false, random,
      [&](const auto& s, const Random&, Points<Real>& points) {
        points.affect(0, 1);
        points.add(impl_->row(s));
      },
      [&](int64_t b, const auto& sums, const auto&) { std::copy_n(sums.begin(), K, values + b * K); });
}

template <class Real>
void Differentiator<Real>::vjp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream,
                               Real* dweights, Real* dinputs, const Random& random) const {
  const int W = impl_->W, I = impl_->I, K = impl_->K;
  std::vector<double> total(size_t(W), 0);
  impl_->first_derivatives(batch, weights, inputs, dweights, dinputs, false, random,
                           [&](int64_t b, const std::vector<double>& sums, const auto&) {
                             const auto contract = [&](int i) {
                               double sum = 0;
                               for (int k = 0; k < K; ++k) sum += double(upstream[b * K + k]) * sums[k * (W + I) + i];
                               return sum;
                             };
                             for (int i = 0; dweights && i < W; ++i) total[i] += contract(i);
                             for (int j = 0; dinputs && j < I; ++j) dinputs[b * I + j] = Real(contract(W + j));
                           });
  if (dweights) std::copy(total.begin(), total.end(), dweights);
}

template <class Real>
void Differentiator<Real>::jacobian(int64_t batch, const Real* weights, const Real* inputs, Real* jacobian,
                                    Real* errors, const Random& random) const {
  const size_t size = size_t(impl_->K) * (impl_->W + impl_->I);
  impl_->first_derivatives(batch, weights, inputs, true, true, errors, random,
                           [&](int64_t b, const std::vector<double>& sums, const std::vector<double>& variances) {
                             std::ranges::copy(sums, jacobian + b * size);
                             for (size_t i = 0; errors && i < size; ++i)
                               errors[b * size + i] = Real(std::sqrt(variances[i]));
                           });
}

template <class Real>
void Differentiator<Real>::hessian(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream,
                                   Real* hessian, Real* errors, const Random& random) const {
  const int K = impl_->K, P = impl_->W + impl_->I;
  require(impl_->unbound.amplitudes == 0,
          "second derivatives by shift rules: amplitude encoding has none; take JetSimulator::hvp");
  require(!errors || K == 1, "standard errors of a hessian: expected one observable, got {}", K);
  impl_->combine(
      batch, weights, inputs, int64_t(P) * P, errors, random,
      [&](const auto& s, const Random&, Points<Real>& points) { impl_->build_hessian(s, points); },
      [&](int64_t b, const std::vector<double>& sums, const std::vector<double>& variances) {
        for (int64_t i = 0; i < int64_t(P) * P; ++i) {
          double sum = 0;
          for (int k = 0; k < K; ++k) sum += double(upstream[b * K + k]) * sums[k * int64_t(P) * P + i];
          hessian[b * P * P + i] = Real(sum);
          if (errors) errors[b * P * P + i] = Real(std::abs(double(upstream[b])) * std::sqrt(variances[i]));
        }
      });
}

template <class Real>
int64_t Differentiator<Real>::evaluations() const {
  Points<Real> points;
  const typename Impl::Sample ones{impl_->W, std::vector<double>(size_t(impl_->W + impl_->I), 1)};
  if (impl_->options.rule == Impl::Rule::FiniteDifference) return 2 * int64_t(impl_->W + impl_->I);
  if (impl_->options.rule == Impl::Rule::Spsa) return 2 * int64_t(impl_->options.directions);
  impl_->build_shifts(ones, true, true, points);
  return points.count;
}

template class Differentiator<float>;
template class Differentiator<double>;

}  // namespace quanta
