#include "quanta/simulate/estimate.h"

#include <bit>

#include "quanta/core/error.h"
#include "quanta/simulate/checks.h"
#include "quanta/simulate/counts.h"

namespace quanta {
namespace {

struct Term {
  size_t output;
  double coefficient;
  uint64_t mask;
};

uint64_t mask(const PauliString& pauli) {
  uint64_t bits = 0;
  for (const auto& [wire, letter] : pauli.factors) bits |= uint64_t{1} << wire;
  return bits;
}

template <class Real>
class Shots {
 public:
  Shots(const Circuit& circuit, const std::vector<PauliSum>& observables, int64_t shots,
        const std::function<Sampler<Real>(const Circuit&)>& make)
      : shots_(shots), outputs_(observables.size()), constants_(observables.size(), 0), inputs_(circuit.inputs()) {
    simulate::require_wires(observables, circuit.wires());
    std::vector<PauliSum::Term> strings;
    std::vector<size_t> outputs;  // of each string
    for (size_t k = 0; k < observables.size(); ++k)
      for (const PauliSum::Term& term : observables[k].simplified().terms) {
        if (term.pauli.factors.empty()) {
          constants_[k] += term.coefficient;
        } else {
          strings.push_back(term);
          outputs.push_back(k);
        }
      }
    for (const MeasurementGroup& group : group_qubit_wise(strings)) {
      std::vector<Term>& terms = groups_.emplace_back();
      for (const size_t i : group.terms) terms.push_back({outputs[i], strings[i].coefficient, mask(strings[i].pauli)});
      Circuit measured = turned_to_z(circuit.without_final_measurements(), group.basis);
      for (const Operation& measurement : circuit.final_measurements()) measured.add(measurement);
      samplers_.push_back(make(measured));
    }
  }

  void operator()(int64_t batch, const Real* weights, const Real* inputs, const Random& random, Real* values,
                  Real* variances) const {
    for (int64_t b = 0; b < batch; ++b)
      for (size_t k = 0; k < outputs_; ++k) values[b * outputs_ + k] = Real(constants_[k]);
    if (variances) std::fill_n(variances, size_t(batch) * outputs_, Real(0));
    const int64_t together = std::max<int64_t>(1, (1 << 20) / shots_);
    simulate::require_memory(fmt::format("an array of {} shots", shots_),
                             double(std::min(batch, together)) * double(shots_) * 8);
    std::vector<uint64_t> samples(size_t(std::min(batch, together) * shots_));
    std::vector<double> outcome(outputs_), sum(outputs_), squares(outputs_);
    for (size_t g = 0; g < groups_.size(); ++g)
      for (int64_t first = 0; first < batch; first += together) {
        const int64_t count = std::min(together, batch - first);
        samplers_[g](count, weights, inputs + first * inputs_, shots_, random.split(g).split(uint64_t(first)),
                     samples.data());
        for (int64_t b = 0; b < count; ++b) {
          std::ranges::fill(sum, 0);
          std::ranges::fill(squares, 0);
          for (int64_t s = 0; s < shots_; ++s) {
            std::ranges::fill(outcome, 0);
            for (const Term& term : groups_[g])
              outcome[term.output] +=
                  std::popcount(samples[b * shots_ + s] & term.mask) % 2 ? -term.coefficient : term.coefficient;
            for (size_t k = 0; k < outputs_; ++k) {
              sum[k] += outcome[k];
              squares[k] += outcome[k] * outcome[k];
            }
          }
          for (size_t k = 0; k < outputs_; ++k) {
            const double mean = sum[k] / double(shots_);
            values[(first + b) * outputs_ + k] += Real(mean);
            if (variances)
              variances[(first + b) * outputs_ + k] +=
                  Real(std::max(0.0, squares[k] / double(shots_) - mean * mean) / double(shots_ - 1));
          }
        }
      }
  }

 private:
  int64_t shots_;
  size_t outputs_;
  std::vector<double> constants_;
  int64_t inputs_;
  std::vector<std::vector<Term>> groups_;
  std::vector<Sampler<Real>> samplers_;
};

}  // namespace

template <class Real>
EstimatorMaker<Real> estimator_from_samples(int64_t shots, std::function<Sampler<Real>(const Circuit&)> make) {
  require(shots >= 2, "an estimate from measurements needs at least 2 shots, got {}", shots);
  return [=](const Circuit& circuit, const std::vector<PauliSum>& observables) -> Estimator<Real> {
    require(circuit.wires() <= 64, "estimates from measurements: expected at most 64 wires, got {}", circuit.wires());
    const auto estimator = std::make_shared<const Shots<Real>>(circuit, observables, shots, make);
    return [estimator](int64_t batch, const Real* weights, const Real* inputs, const Random& random, Real* values,
                       Real* variances) { (*estimator)(batch, weights, inputs, random, values, variances); };
  };
}

template <class Real>
EstimatorMaker<Real> trajectories_estimator(const TrajectoryOptions& options) {
  return [options](const Circuit& circuit, const std::vector<PauliSum>& observables) -> Estimator<Real> {
    const auto simulator = std::make_shared<const Trajectories<Real>>(circuit, observables, options);
    return [simulator](int64_t batch, const Real* weights, const Real* inputs, const Random& random, Real* values,
                       Real* variances) {
      simulator->expectations(batch, weights, inputs, random, values, variances);
      for (int64_t i = 0; variances && i < batch * simulator->outputs(); ++i) variances[i] *= variances[i];
    };
  };
}

template EstimatorMaker<float> estimator_from_samples(int64_t, std::function<Sampler<float>(const Circuit&)>);
template EstimatorMaker<double> estimator_from_samples(int64_t, std::function<Sampler<double>(const Circuit&)>);

template EstimatorMaker<float> trajectories_estimator(const TrajectoryOptions&);
template EstimatorMaker<double> trajectories_estimator(const TrajectoryOptions&);

}  // namespace quanta
