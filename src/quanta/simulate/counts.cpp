#include "quanta/simulate/counts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <ranges>
#include <string_view>
#include <unordered_map>

#include "quanta/core/error.h"
#include "quanta/simulate/sampling.h"
#include "quanta/simulate/simulator.h"
#include "quanta/simulate/state_batch.h"
#include "quanta/simulate/trajectories.h"

namespace quanta {

using namespace simulate;

namespace {

void check_parameters(const Circuit& circuit, std::span<const double> weights, std::span<const double> inputs) {
  require(int(weights.size()) == circuit.weights(), "the circuit has {} weights, got {}", circuit.weights(),
          weights.size());
  require(int(inputs.size()) == circuit.inputs(), "the circuit has {} inputs, got {}", circuit.inputs(), inputs.size());
}

void check_observables(const Circuit& circuit, const std::vector<PauliSum>& observables) {
  for (const PauliSum& sum : observables)
    require(sum.max_wire() < circuit.wires(), "observable {}: wire {} is out of range, the circuit has wires 0..{}",
            sum.to_string(), sum.max_wire(), circuit.wires() - 1);
}

bool measures(const Operation& operation) {
  return operation.kind == GateKind::Measure;
}

/// The classical bits of each shot. The place to choose an engine.
template <class Real>
std::vector<uint8_t> run_shots(const Circuit& circuit, std::span<const double> weights, std::span<const double> inputs,
                               int64_t shots, const Random& random) {
  const std::vector<Real> w(weights.begin(), weights.end()), x(inputs.begin(), inputs.end());
  const size_t clbits = size_t(circuit.clbits());
  std::vector<uint8_t> bits(size_t(shots) * clbits, 0);
  const Circuit body = circuit.without_final_measurements();
  if (!body.is_unitary()) {
    Trajectories<Real>(circuit).shots(1, w.data(), x.data(), shots, random, bits.data());
    return bits;
  }
  std::vector<uint64_t> states(static_cast<size_t>(shots));
  Simulator<Real>(body).samples(1, w.data(), x.data(), shots, random, states.data());
  Random errors = random.split("misread");
  for (size_t s = 0; s < states.size(); ++s)
    for (const Operation& operation : circuit.operations() | std::views::filter(measures)) {
      const int outcome = int(states[s] >> operation.wires[0] & 1);
      const double wrong = operation.misread[size_t(outcome)];
      bits[s * clbits + size_t(operation.clbit)] = uint8_t(outcome ^ int(wrong > 0 && errors.uniform() < wrong));
    }
  return bits;
}

}  // namespace

Counts count_bits(const Circuit& circuit, std::span<const uint8_t> bits) {
  const size_t clbits = size_t(circuit.clbits());
  require(clbits > 0 && bits.size() % clbits == 0, "expected rows of {} classical bits, got {} numbers", clbits,
          bits.size());
  std::unordered_map<std::string_view, int64_t> rows;
  for (size_t at = 0; at < bits.size(); at += clbits)
    ++rows[std::string_view(reinterpret_cast<const char*>(bits.data() + at), clbits)];
  Counts counts;
  for (const auto& [row, count] : rows) {
    std::string key;
    for (const ClassicalRegister& reg : circuit.registers() | std::views::reverse) {
      if (!key.empty()) key += ' ';
      for (int bit = reg.size; bit-- > 0;) key += row[size_t(reg.first + bit)] ? '1' : '0';
    }
    counts[key] = count;
  }
  return counts;
}

Counts sample_counts(const Circuit& circuit, std::span<const double> weights, std::span<const double> inputs,
                     int64_t shots, const Random& random, SampleOptions options) {
  check_parameters(circuit, weights, inputs);
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  Circuit measured = circuit;
  if (std::ranges::none_of(circuit.operations(), measures)) measured.measure_all();
  const auto run = options.single_precision ? run_shots<float> : run_shots<double>;
  return count_bits(measured, run(measured, weights, inputs, shots, random));
}

std::vector<double> marginal(std::span<const double> probabilities, const std::vector<int>& wires) {
  require(std::has_single_bit(probabilities.size()), "expected the probabilities of 2^n basis states, got {}",
          probabilities.size());
  const int n = std::bit_width(probabilities.size()) - 1;
  uint64_t used = 0;
  for (const int q : wires) {
    require(q >= 0 && q < n, "marginal: wire {} is out of range, there are wires 0..{}", q, n - 1);
    require(!(used >> q & 1), "marginal: wire {} is used twice", q);
    used |= uint64_t{1} << q;
  }
  const BitMap outcome(n, [&](int bit) {
    const auto at = std::ranges::find(wires, bit);
    return at == wires.end() ? 0 : uint64_t{1} << (at - wires.begin());
  });
  std::vector<double> result(size_t{1} << wires.size(), 0.0);
  for (uint64_t i = 0; i < probabilities.size(); ++i) result[outcome(i)] += probabilities[i];
  return result;
}

std::vector<double> variances(const Circuit& circuit, const std::vector<PauliSum>& observables,
                              std::span<const double> weights, std::span<const double> inputs) {
  check_parameters(circuit, weights, inputs);
  check_observables(circuit, observables);
  require(circuit.is_unitary(), "variances: expected a circuit without measurements, resets, channels and conditions");
  std::vector<PauliSum> both = observables;
  for (const PauliSum& sum : observables) both.push_back(sum * sum);
  std::vector<double> values(both.size());
  Simulator<double>(circuit, both).expectations(1, weights.data(), inputs.data(), values.data());
  std::vector<double> result;
  for (size_t k = 0; k < observables.size(); ++k)
    result.push_back(std::max(0.0, values[observables.size() + k] - values[k] * values[k]));
  return result;
}

std::vector<MeasurementGroup> group_qubit_wise(std::span<const PauliSum::Term> terms) {
  std::vector<size_t> order(terms.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater(), [&](size_t i) { return std::abs(terms[i].coefficient); });
  std::vector<MeasurementGroup> groups;
  for (const size_t i : order) {
    const PauliString& pauli = terms[i].pauli;
    auto group = std::ranges::find_if(
        groups, [&](const MeasurementGroup& g) { return g.basis.qubit_wise_commutes_with(pauli); });
    if (group == groups.end()) group = groups.insert(groups.end(), MeasurementGroup{});
    group->terms.push_back(i);
    auto factors = group->basis.factors;
    for (const auto& factor : pauli.factors)
      if (group->basis.at(factor.first) == 'I') factors.push_back(factor);
    group->basis = PauliString(factors);
  }
  return groups;
}

namespace {

/// At least one each, the rest by largest remainders.
std::vector<int64_t> share_out(int64_t shots, const std::vector<double>& weights) {
  const int64_t rest = shots - int64_t(weights.size());
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> result;
  std::vector<std::pair<double, size_t>> remainders;
  int64_t given = 0;
  for (size_t g = 0; g < weights.size(); ++g) {
    const double exact = double(rest) * (total > 0 ? weights[g] / total : 1 / double(weights.size()));
    result.push_back(1 + int64_t(exact));
    given += result.back();
    remainders.emplace_back(exact - std::floor(exact), g);
  }
  std::ranges::stable_sort(remainders, std::ranges::greater(), &std::pair<double, size_t>::first);
  for (size_t i = 0; given < shots; ++i, ++given) ++result[remainders[i % remainders.size()].second];
  return result;
}

/// Turns the basis of each wire to Z.
Circuit basis_change(int wires, const PauliString& basis) {
  Circuit circuit(wires);
  for (const auto& [wire, letter] : basis.factors) {
    if (letter == 'Y') circuit.sdg(wire);
    if (letter != 'Z') circuit.h(wire);
  }
  return circuit;
}

}  // namespace

std::vector<Estimate> sample_expectations(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                          std::span<const double> weights, std::span<const double> inputs,
                                          const Random& random, ShotOptions options) {
  check_parameters(circuit, weights, inputs);
  check_observables(circuit, observables);
  const int n = circuit.wires();
  std::vector<Estimate> estimates(observables.size(), Estimate{0, 0});

  // Each string once, whichever observables have it.
  std::map<PauliString, std::vector<std::pair<size_t, double>>> strings;  // observable, coefficient
  for (size_t k = 0; k < observables.size(); ++k)
    for (const auto& [coefficient, pauli] : observables[k].simplified().terms) {
      if (pauli.factors.empty()) {
        estimates[k].value += coefficient;
      } else {
        strings[pauli].emplace_back(k, coefficient);
      }
    }
  std::vector<PauliSum::Term> terms;
  for (const auto& [pauli, uses] : strings) {
    double weight = 0;
    for (const auto& [k, coefficient] : uses) weight += std::abs(coefficient);
    terms.push_back({weight, pauli});
  }
  const std::vector<MeasurementGroup> groups = group_qubit_wise(terms);
  require(options.shots >= int64_t(groups.size()), "the observables need {} measurement settings, got {} shots",
          groups.size(), options.shots);
  std::vector<double> group_weights;
  for (const MeasurementGroup& group : groups) {
    double weight = 0;
    for (const size_t t : group.terms) weight += terms[t].coefficient;
    group_weights.push_back(options.by_weight ? weight : 1);
  }
  const std::vector<int64_t> shots = share_out(options.shots, group_weights);

  const Circuit body = circuit.without_final_measurements();
  std::vector<std::array<double, 2>> misread(size_t(n), {0, 0});  // of the wires' last measurements
  for (const Operation& operation : circuit.operations())
    if (measures(operation)) misread[size_t(operation.wires[0])] = operation.misread;

  // A unitary circuit is run once.
  const bool unitary = body.is_unitary();
  std::unique_ptr<StateBatch<double>> state, turned;
  std::vector<double> probabilities;
  if (unitary) {
    const Simulator<double> simulator(body);
    state = std::make_unique<StateBatch<double>>(n, 1);
    turned = std::make_unique<StateBatch<double>>(n, 1);
    std::vector<Complex> amplitudes(size_t{1} << n);
    simulator.states(1, weights.data(), inputs.data(), amplitudes.data());
    state->set_amplitudes(amplitudes.data());
    probabilities.resize(amplitudes.size());
  }

  for (size_t g = 0; g < groups.size(); ++g) {
    const PauliString& basis = groups[g].basis;
    const size_t measured = basis.factors.size();
    const Circuit change = basis_change(n, basis);
    const Random stream = random.split(uint64_t(g));
    std::vector<uint8_t> bits(size_t(shots[g]) * measured);  // [shot, wire of the basis]
    if (unitary) {
      const int64_t source[] = {0};
      turned->copy(*state, source);
      for (const Operation& operation : change.operations()) turned->apply(operation);
      turned->probabilities(0, probabilities.data());
      Random errors = stream.split("misread");
      std::vector<uint64_t> states(static_cast<size_t>(shots[g]));
      draw_cells(
          probabilities.size(),
          [&](uint64_t first, uint64_t count, double* out) {
            std::copy_n(probabilities.begin() + int64_t(first), count, out);
          },
          shots[g], stream, [&](int64_t s, uint64_t cell) { states[size_t(s)] = cell; });
      for (size_t s = 0; s < states.size(); ++s)
        for (size_t i = 0; i < measured; ++i) {
          const int wire = basis.factors[i].first, outcome = int(states[s] >> wire & 1);
          const double wrong = misread[size_t(wire)][size_t(outcome)];
          bits[s * measured + i] = uint8_t(outcome ^ int(wrong > 0 && errors.uniform() < wrong));
        }
    } else {
      Circuit run = body;
      for (const Operation& operation : change.operations()) run.add(operation);
      std::string name = "setting";
      while (std::ranges::find(run.registers(), name, &ClassicalRegister::name) != run.registers().end()) name += '_';
      const int first = run.add_register(name, int(measured));
      for (size_t i = 0; i < measured; ++i) {
        const int wire = basis.factors[i].first;
        Operation measure{.kind = GateKind::Measure, .wires = {wire}, .angles = {}, .controls = {}, .pauli = {}};
        measure.clbit = first + int(i);
        measure.misread = misread[size_t(wire)];
        run.add(measure);
      }
      const size_t clbits = size_t(run.clbits());
      std::vector<uint8_t> all(size_t(shots[g]) * clbits);
      Trajectories<double>(run).shots(1, weights.data(), inputs.data(), shots[g], stream, all.data());
      for (size_t s = 0; s < size_t(shots[g]); ++s)
        std::copy_n(all.begin() + int64_t(s * clbits) + first, measured, bits.begin() + int64_t(s * measured));
    }

    // A shot's value for each observable this group has a part of.
    std::map<size_t, std::vector<double>> values;
    for (const size_t t : groups[g].terms) {
      std::vector<size_t> columns;
      for (const auto& [wire, letter] : terms[t].pauli.factors)
        columns.push_back(
            size_t(std::ranges::lower_bound(basis.factors, std::pair(wire, '\0')) - basis.factors.begin()));
      for (const auto& [k, coefficient] : strings[terms[t].pauli]) {
        std::vector<double>& each = values.try_emplace(k, size_t(shots[g]), 0.0).first->second;
        for (size_t s = 0; s < each.size(); ++s) {
          int parity = 0;
          for (const size_t column : columns) parity ^= bits[s * measured + column];
          each[s] += parity ? -coefficient : coefficient;
        }
      }
    }
    for (const auto& [k, each] : values) {
      const double count = double(each.size());
      const double mean = std::accumulate(each.begin(), each.end(), 0.0) / count;
      double squares = 0;
      for (const double value : each) squares += (value - mean) * (value - mean);
      estimates[k].value += mean;
      // Variances add up; the root is taken at the end.
      estimates[k].standard_error +=
          count > 1 ? squares / (count - 1) / count : std::numeric_limits<double>::infinity();
    }
  }
  for (Estimate& estimate : estimates) estimate.standard_error = std::sqrt(estimate.standard_error);
  return estimates;
}

}  // namespace quanta
