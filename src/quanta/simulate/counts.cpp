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
#include "quanta/simulate/checks.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/sampling.h"
#include "quanta/simulate/simulator.h"
#include "quanta/simulate/stabilizer.h"
#include "quanta/simulate/state_batch.h"
#include "quanta/simulate/trajectories.h"

namespace quanta {

using namespace simulate;

namespace {

void check_parameters(const Circuit& circuit, std::span<const double> weights, std::span<const double> inputs) {
  require(int(weights.size()) == circuit.weights(), "the circuit has {} weights, got {}", circuit.weights(),
          weights.size());
  require(int(inputs.size()) == circuit.inputs(), "the circuit has {} inputs, got {}", circuit.inputs(), inputs.size());
  const auto finite = [](double value) { return std::isfinite(value); };
  require(std::ranges::all_of(weights, finite) && std::ranges::all_of(inputs, finite),
          "there are weights or inputs that are not finite");
}

bool measures(const Operation& operation) {
  return operation.kind == GateKind::Measure;
}

/// What runs a circuit whose final measurements are taken off.
enum class Runner { StateVector, Density, Stabilizer, Trajectories };

Runner choose_runner(const Circuit& body, std::span<const double> weights, std::span<const double> inputs,
                     int64_t shots) {
  constexpr int kSmall = 16, kDensity = 10;
  const bool unitary = body.is_unitary();
  if (unitary && body.wires() <= kSmall) return Runner::StateVector;
  if (is_clifford(body, {weights.begin(), weights.end()}, {inputs.begin(), inputs.end()})) return Runner::Stabilizer;
  if (unitary) return Runner::StateVector;
  const bool keeps_bits = std::ranges::any_of(body.operations(), [](const Operation& operation) {
    return measures(operation) || !operation.conditions.empty();
  });
  if (!keeps_bits && body.wires() <= kDensity && shots >> body.wires() > 0) return Runner::Density;
  return Runner::Trajectories;
}

/// Outcomes as they are read.
uint8_t read(int outcome, const std::array<double, 2>& misread, Random& errors) {
  const double wrong = misread[size_t(outcome)];
  return uint8_t(outcome ^ int(wrong > 0 && errors.uniform() < wrong));
}

/// The classical bits of each shot, [shots, clbits].
template <class Real>
std::vector<uint8_t> run_shots(const Circuit& circuit, std::span<const double> weights, std::span<const double> inputs,
                               int64_t shots, const Random& random) {
  const std::vector<Real> w(weights.begin(), weights.end()), x(inputs.begin(), inputs.end());
  const size_t clbits = size_t(circuit.clbits());
  require_memory(fmt::format("an array of {} shots", shots), double(shots) * double(clbits + 8));
  std::vector<uint8_t> bits(size_t(shots) * clbits, 0);
  const Circuit body = circuit.without_final_measurements();
  std::vector<uint64_t> states;
  switch (choose_runner(body, weights, inputs, shots)) {
    case Runner::Trajectories:
      Trajectories<Real>(circuit).shots(1, w.data(), x.data(), shots, random, bits.data());
      return bits;
    case Runner::Stabilizer: {
      const StabilizerSimulator simulator(circuit, {}, {weights.begin(), weights.end()},
                                          {inputs.begin(), inputs.end()});
      const size_t words = size_t(simulator.words());
      states.resize(size_t(shots) * words);
      simulator.samples(shots, random, states.data());
      for (size_t s = 0; s < size_t(shots); ++s)
        for (size_t c = 0; c < clbits; ++c) bits[s * clbits + c] = states[s * words + c / 64] >> (c % 64) & 1;
      return bits;
    }
    case Runner::StateVector:
      states.resize(size_t(shots));
      Simulator<Real>(body).samples(1, w.data(), x.data(), shots, random, states.data());
      break;
    case Runner::Density:
      states.resize(size_t(shots));
      DensitySimulator<Real>(body).samples(1, w.data(), x.data(), shots, random, states.data());
      break;
  }
  Random errors = random.split("misread");
  for (size_t s = 0; s < states.size(); ++s)
    for (const Operation& operation : circuit.operations() | std::views::filter(measures))
      bits[s * clbits + size_t(operation.clbit)] =
          read(int(states[s] >> operation.wires[0] & 1), operation.misread, errors);
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
  Circuit measured = circuit.without_initial_resets();
  if (std::ranges::none_of(circuit.operations(), measures)) measured.measure_all();
  const auto run = options.single_precision ? run_shots<float> : run_shots<double>;
  // In parts, so that any number of shots fits into memory.
  const int64_t part = std::max<int64_t>(1, (int64_t{1} << 30) / (measured.clbits() + 8));
  Counts counts;
  for (int64_t done = 0; done < shots; done += part) {
    const Random stream = done == 0 ? random : random.split("part").split(uint64_t(done));
    const auto bits = run(measured, weights, inputs, std::min(part, shots - done), stream);
    for (const auto& [key, count] : count_bits(measured, bits)) counts[key] += count;
  }
  return counts;
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
  require_wires(observables, circuit.wires());
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
  for (size_t i = 0; !weights.empty() && given < shots; ++i, ++given)
    ++result[remainders[i % remainders.size()].second];
  return result;
}

}  // namespace

Circuit turned_to_z(Circuit circuit, const PauliString& basis) {
  for (const auto& [wire, letter] : basis.factors) {
    if (letter == 'Y') circuit.sdg(wire);
    if (letter != 'Z') circuit.h(wire);
  }
  return circuit;
}

std::vector<Estimate> sample_expectations(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                          std::span<const double> weights, std::span<const double> inputs,
                                          const Random& random, ShotOptions options) {
  check_parameters(circuit, weights, inputs);
  require_wires(observables, circuit.wires());
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

  const Circuit body = circuit.without_initial_resets().without_final_measurements();
  std::vector<std::array<double, 2>> misread(size_t(n), {0, 0});  // of the wires' last measurements
  for (const Operation& measurement : circuit.final_measurements())
    misread[size_t(measurement.wires[0])] = measurement.misread;

  // A state vector is computed once.
  const bool once = choose_runner(body, weights, inputs, options.shots) == Runner::StateVector;
  std::unique_ptr<StateBatch<double>> state, turned;
  std::vector<double> probabilities;
  if (once) {
    require_memory(fmt::format("sampling {} qubits", n), std::ldexp(72.0, n));
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
    const Random stream = random.split(uint64_t(g));
    require_memory(fmt::format("an array of {} shots", shots[g]),
                   double(shots[g]) * double(measured + 8 * observables.size() + 8));
    std::vector<uint8_t> bits(size_t(shots[g]) * measured);  // [shot, wire of the basis]
    if (once) {
      const int64_t source[] = {0};
      turned->copy(*state, source);
      const Circuit turn = turned_to_z(Circuit(n), basis);
      for (const Operation& operation : turn.operations()) turned->apply(operation);
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
          const int wire = basis.factors[i].first;
          bits[s * measured + i] = read(int(states[s] >> wire & 1), misread[size_t(wire)], errors);
        }
    } else {
      Circuit run = turned_to_z(body, basis);
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
      const std::vector<uint8_t> all = run_shots<double>(run, weights, inputs, shots[g], stream);
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
