#include "quanta/simulate/estimate.h"

#include <bit>
#include <numbers>

#include "quanta/core/error.h"

namespace quanta {
namespace {

struct Term {
  int output;
  double coefficient;
  uint64_t mask;
};

/// Strings that are measured together, and the circuit that ends in their basis.
struct Group {
  std::vector<char> basis;
  std::vector<Term> terms;

  bool takes(const PauliString& pauli) const {
    return std::ranges::all_of(pauli.factors,
                               [&](const auto& f) { return basis[f.first] == 'I' || basis[f.first] == f.second; });
  }
  void add(int output, const PauliSum::Term& term) {
    Term& lowered = terms.emplace_back(Term{output, term.coefficient, 0});
    for (const auto& [wire, letter] : term.pauli.factors) {
      basis[wire] = letter;
      lowered.mask |= uint64_t{1} << wire;
    }
  }
};

template <class Real>
class Shots {
 public:
  Shots(const Circuit& circuit, const std::vector<PauliSum>& observables, int64_t shots,
        const std::function<Sampler<Real>(const Circuit&)>& make)
      : shots_(shots), outputs_(observables.size()), constants_(observables.size(), 0), inputs_(circuit.inputs()) {
    for (size_t k = 0; k < observables.size(); ++k) {
      require(observables[k].max_wire() < circuit.wires(),
              "observable {}: wire {} is out of range, the circuit has wires 0..{}", observables[k].to_string(),
              observables[k].max_wire(), circuit.wires() - 1);
      for (const PauliSum::Term& term : observables[k].simplified().terms) {
        if (term.pauli.factors.empty()) {
          constants_[k] += term.coefficient;
          continue;
        }
        auto group = std::ranges::find_if(groups_, [&](const Group& g) { return g.takes(term.pauli); });
        if (group == groups_.end())
          group = groups_.insert(groups_.end(), Group{std::vector<char>(circuit.wires(), 'I'), {}});
        group->add(int(k), term);
      }
    }
    for (const Group& group : groups_) {
      Circuit measured = circuit;
      for (int q = 0; q < circuit.wires(); ++q) {
        if (group.basis[q] == 'X') measured.ry(q, -std::numbers::pi / 2);
        if (group.basis[q] == 'Y') measured.rx(q, std::numbers::pi / 2);
      }
      samplers_.push_back(make(measured));
    }
  }

  void operator()(int64_t batch, const Real* weights, const Real* inputs, const Random& random, Real* values,
                  Real* variances) const {
    for (int64_t b = 0; b < batch; ++b)
      for (size_t k = 0; k < outputs_; ++k) values[b * outputs_ + k] = Real(constants_[k]);
    if (variances) std::fill_n(variances, size_t(batch) * outputs_, Real(0));
    const int64_t together = std::max<int64_t>(1, (1 << 20) / shots_);
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
            for (const Term& term : groups_[g].terms)
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
  std::vector<Group> groups_;
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
