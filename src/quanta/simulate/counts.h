#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta {

/// How often each value of the classical bits came up. A key is written as Qiskit does: in each register the highest
/// bit left, several registers parted by blanks, the last declared first: "01 1" for registers a (1 bit) and b (2
/// bits).
using Counts = std::map<std::string, int64_t>;

struct SampleOptions {
  bool single_precision = false;  // half the memory, up to twice as fast
};

/// Runs a circuit `shots` times. A circuit without measurements is measured on all qubits first. Circuits that measure
/// at their end only are run once and sampled; others shot by shot as trajectories. `weights` and `inputs` hold
/// circuit.weights() and circuit.inputs() numbers. Throws Error for other sizes and if a state does not fit into
/// memory.
Counts sample_counts(const Circuit& circuit, std::span<const double> weights, std::span<const double> inputs,
                     int64_t shots, const Random& random, SampleOptions options = {});

/// Counts of rows [shots, circuit.clbits()] of bits.
Counts count_bits(const Circuit& circuit, std::span<const uint8_t> bits);

/// The distribution of some wires' outcomes, wires[0] least significant, from the probabilities of all 2^n basis
/// states.
std::vector<double> marginal(std::span<const double> probabilities, const std::vector<int>& wires);

/// <O^2> - <O>^2 of each observable in the circuit's final state, exactly; the circuit must be unitary.
std::vector<double> variances(const Circuit& circuit, const std::vector<PauliSum>& observables,
                              std::span<const double> weights, std::span<const double> inputs);

/// Pauli strings that one measurement setting serves: all commute qubit by qubit.
struct MeasurementGroup {
  PauliString basis;          // what is measured on each wire; every member agrees with it
  std::vector<size_t> terms;  // indices
};

/// Greedy: the strings in the order of falling |coefficient|, each into the first group that takes it ("sorted
/// insertion", Crawford et al., Quantum 5, 385).
std::vector<MeasurementGroup> group_qubit_wise(std::span<const PauliSum::Term> terms);

struct ShotOptions {
  int64_t shots = 1000;   // over all settings
  bool by_weight = true;  // shots in proportion to the sum of |coefficients| a setting serves; else evenly
};

struct Estimate {
  double value;
  double standard_error;  // from the scatter of the shots; infinite if a setting that matters had one shot only
};

/// Expectation values as an experiment would get them: the strings of all observables are grouped, each group is
/// measured in its basis (at least once, what remains of the shots being shared out as the options say), and the
/// identity's part is added exactly. Unbiased. Circuits with channels, mid-circuit measurements, resets and conditions
/// are run as trajectories, one a shot. Measurements at the circuit's end are left out, but their read-out errors count
/// where an observable reads their wire. Throws Error if there are fewer shots than groups.
std::vector<Estimate> sample_expectations(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                          std::span<const double> weights, std::span<const double> inputs,
                                          const Random& random, ShotOptions options = {});

}  // namespace quanta
