#include "quanta/cli/backends.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/mps.h"
#include "quanta/simulate/simulator.h"
#include "quanta/simulate/stabilizer.h"
#include "quanta/simulate/trajectories.h"

namespace quanta::cli {
namespace {

/// A wire's outcome in a sample of `words` words.
bool bit(const uint64_t* sample, int wire) {
  return sample[wire / 64] >> (wire % 64) & 1;
}

/// Of samples of the wires [shots, words], by the measurements at the circuit's end.
Counts count(const Circuit& circuit, const std::vector<uint64_t>& samples, int words) {
  std::vector<std::pair<int, int>> measured;  // wire, classical bit
  for (const Operation& operation : circuit.operations())
    if (operation.kind == GateKind::Measure) measured.emplace_back(operation.wires[0], operation.clbit);
  const size_t clbits = size_t(circuit.clbits()), shots = samples.size() / size_t(words);
  std::vector<uint8_t> bits(shots * clbits, 0);
  for (size_t s = 0; s < shots; ++s)
    for (const auto& [wire, clbit] : measured)
      bits[s * clbits + size_t(clbit)] = bit(&samples[s * size_t(words)], wire);
  return count_bits(circuit, bits);
}

bool measures_at_the_end_only(const Circuit& circuit) {
  const Circuit body = circuit.without_final_measurements();
  return std::ranges::none_of(body.operations(), [](const Operation& operation) {
    return operation.kind == GateKind::Measure || !operation.conditions.empty();
  });
}

bool misreads(const Circuit& circuit) {
  return std::ranges::any_of(circuit.operations(),
                             [](const Operation& operation) { return operation.misread != std::array<double, 2>{}; });
}

bool runs_as_state(const Circuit& circuit) {
  return circuit.without_final_measurements().is_unitary() && !misreads(circuit);
}

void require_state(const Circuit& circuit, std::string_view name) {
  require(runs_as_state(circuit),
          "the circuit measures or resets in its midst or has conditions or noise, which the backend {} cannot run",
          name);
}

template <class Real>
class StateVector : public Backend {
 public:
  StateVector(const Circuit& circuit, const std::vector<double>& inputs, Storage storage = Storage::Full)
      : circuit_(circuit),
        body_(circuit.without_final_measurements()),
        inputs_(inputs.begin(), inputs.end()),
        storage_(storage) {
    require_state(circuit, "statevector");
  }

  std::vector<Complex> state() const override {
    std::vector<std::complex<Real>> amplitudes(size_t{1} << body_.wires());
    Simulator<Real>(body_, {}, storage_).states(1, nullptr, inputs_.data(), amplitudes.data());
    return {amplitudes.begin(), amplitudes.end()};
  }
  std::vector<double> probabilities() const override {
    std::vector<Real> values(size_t{1} << body_.wires());
    Simulator<Real>(body_, {}, storage_).probabilities(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random&) const override {
    std::vector<Real> values(observables.size());
    Simulator<Real>(body_, observables, storage_).expectations(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  Counts counts(int64_t shots, const Random& random) const override {
    require(body_.wires() <= 64, "the backend statevector draws samples of at most 64 qubits, got {}", body_.wires());
    std::vector<uint64_t> samples(static_cast<size_t>(shots));
    Simulator<Real>(body_, {}, storage_).samples(1, nullptr, inputs_.data(), shots, random, samples.data());
    return count(circuit_, samples, 1);
  }

 private:
  Circuit circuit_;
  Circuit body_;
  std::vector<Real> inputs_;
  Storage storage_;
};

template <class Real>
class Stabilizer : public Backend {
 public:
  Stabilizer(const Circuit& circuit, const std::vector<double>& inputs) : circuit_(circuit), inputs_(inputs) {}

  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random&) const override {
    std::vector<double> values(observables.size());
    StabilizerSimulator(circuit_.without_final_measurements(), observables, {}, inputs_).expectations(values.data());
    return values;
  }
  Counts counts(int64_t shots, const Random& random) const override {
    const StabilizerSimulator simulator(circuit_, {}, {}, inputs_);
    const size_t words = size_t(simulator.words());
    std::vector<uint64_t> samples(static_cast<size_t>(shots) * words);
    simulator.samples(shots, random, samples.data());
    std::vector<uint8_t> bits;
    bits.reserve(size_t(shots) * size_t(circuit_.clbits()));
    for (size_t s = 0; s < samples.size(); s += words)
      for (int c = 0; c < circuit_.clbits(); ++c) bits.push_back(bit(&samples[s], c));
    return count_bits(circuit_, bits);
  }

 private:
  Circuit circuit_;
  std::vector<double> inputs_;
};

template <class Real>
class Density : public Backend {
 public:
  Density(const Circuit& circuit, const std::vector<double>& inputs)
      : circuit_(circuit), inputs_(inputs.begin(), inputs.end()) {}

  std::vector<double> probabilities() const override {
    std::vector<Real> values(size_t{1} << circuit_.wires());
    DensitySimulator<Real>(circuit_).probabilities(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random&) const override {
    std::vector<Real> values(observables.size());
    DensitySimulator<Real>(circuit_, observables).expectations(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  Counts counts(int64_t shots, const Random& random) const override {
    require(measures_at_the_end_only(circuit_),
            "the backend density draws outcomes of measurements at the circuit's end only; use trajectories");
    std::vector<uint64_t> samples(static_cast<size_t>(shots));
    DensitySimulator<Real>(circuit_).samples(1, nullptr, inputs_.data(), shots, random, samples.data());
    return count(circuit_, samples, 1);
  }

 private:
  Circuit circuit_;
  std::vector<Real> inputs_;
};

template <class Real>
class TrajectoryBackend : public Backend {
 public:
  TrajectoryBackend(const Circuit& circuit, const std::vector<double>& inputs)
      : circuit_(circuit), inputs_(inputs.begin(), inputs.end()) {}

  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random& random) const override {
    std::vector<Real> values(observables.size());
    Trajectories<Real>(circuit_, observables).expectations(1, nullptr, inputs_.data(), random, values.data());
    return {values.begin(), values.end()};
  }
  Counts counts(int64_t shots, const Random& random) const override {
    const size_t clbits = size_t(circuit_.clbits());
    std::vector<uint8_t> bits(static_cast<size_t>(shots) * clbits);
    Trajectories<Real>(circuit_).shots(1, nullptr, inputs_.data(), shots, random, bits.data());
    return count_bits(circuit_, bits);
  }

 private:
  Circuit circuit_;
  std::vector<Real> inputs_;
};

template <class Real>
class Mps : public Backend {
 public:
  Mps(const Circuit& circuit, const std::vector<double>& inputs)
      : circuit_(circuit), body_(circuit.without_final_measurements()), inputs_(inputs.begin(), inputs.end()) {
    require_state(circuit, "mps");
  }

  std::vector<Complex> state() const override {
    std::vector<std::complex<Real>> amplitudes(size_t{1} << body_.wires());
    MpsSimulator<Real>(body_).states(1, nullptr, inputs_.data(), amplitudes.data());
    return {amplitudes.begin(), amplitudes.end()};
  }
  std::vector<double> probabilities() const override {
    std::vector<Real> values(size_t{1} << body_.wires());
    MpsSimulator<Real>(body_).probabilities(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random&) const override {
    std::vector<Real> values(observables.size());
    MpsSimulator<Real>(body_, observables).expectations(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  Counts counts(int64_t shots, const Random& random) const override {
    const MpsSimulator<Real> simulator(body_);
    std::vector<uint64_t> samples(static_cast<size_t>(shots) * size_t(simulator.words()));
    simulator.samples(1, nullptr, inputs_.data(), shots, random, samples.data());
    return count(circuit_, samples, simulator.words());
  }

 private:
  Circuit circuit_;
  Circuit body_;
  std::vector<Real> inputs_;
};

template <template <class> class Engine>
std::unique_ptr<Backend> make(const Circuit& circuit, const std::vector<double>& inputs, Precision precision) {
  require(precision != Precision::Half, "half precision is for the backend statevector only; use float");
  if (precision == Precision::Float) return std::make_unique<Engine<float>>(circuit, inputs);
  return std::make_unique<Engine<double>>(circuit, inputs);
}

std::unique_ptr<Backend> make_state_vector(const Circuit& circuit, const std::vector<double>& inputs,
                                           Precision precision) {
  if (precision != Precision::Half) return make<StateVector>(circuit, inputs, precision);
  return std::make_unique<StateVector<float>>(circuit, inputs, Storage::Half);
}

constexpr int kLargestState = 28;    // qubits that `auto` gives to a state vector
constexpr int kLargestDensity = 10;  // and to a density matrix

/// In the order in which `auto` asks them.
struct Engine {
  std::string_view name;
  bool (*fits)(const Circuit&, const std::vector<double>& inputs, Task);
  std::unique_ptr<Backend> (*make)(const Circuit&, const std::vector<double>& inputs, Precision precision);
};
const Engine kEngines[] = {
    {"statevector",
     [](const Circuit& c, const std::vector<double>&, Task) { return c.wires() <= kLargestState && runs_as_state(c); },
     make_state_vector},
    {"stabilizer",
     [](const Circuit& c, const std::vector<double>& inputs, Task task) {
       const bool conditional = std::ranges::any_of(
           c.operations(), [](const Operation& operation) { return !operation.conditions.empty(); });
       return (task == Task::Counts || (task == Task::Expectations && !conditional)) && is_clifford(c, {}, inputs);
     },
     make<Stabilizer>},
    {"density",
     [](const Circuit& c, const std::vector<double>&, Task task) {
       return c.wires() <= kLargestDensity && task != Task::State &&
              (task != Task::Counts || measures_at_the_end_only(c));
     },
     make<Density>},
    {"trajectories",
     [](const Circuit& c, const std::vector<double>&, Task task) {
       return c.wires() <= kLargestState && (task == Task::Counts || task == Task::Expectations);
     },
     make<TrajectoryBackend>},
    {"mps", [](const Circuit& c, const std::vector<double>&, Task) { return runs_as_state(c); }, make<Mps>},
};

}  // namespace

std::vector<Complex> Backend::state() const {
  fail("this backend has no state vector; use --backend statevector, or --shots or --expect");
}
std::vector<double> Backend::probabilities() const {
  fail("this backend has no probabilities; use --backend statevector or density, or --shots");
}
std::vector<double> Backend::expectations(const std::vector<PauliSum>&, const Random&) const {
  fail("this backend has no expectation values");
}
Counts Backend::counts(int64_t, const Random&) const {
  fail("this backend draws no samples");
}

std::pair<std::string, std::unique_ptr<Backend>> make_backend(const std::string& name, const Circuit& circuit,
                                                              const std::vector<double>& inputs, Task task,
                                                              Precision precision) {
  for (const Engine& engine : kEngines)
    if (engine.name == name || (name == "auto" && engine.fits(circuit, inputs, task)))
      return {std::string(engine.name), engine.make(circuit, inputs, precision)};
  if (name == "auto")
    fail(
        "no backend can do this: the circuit measures or resets in its midst, has conditions or noise, or is too "
        "large");
  throw UsageError(fmt::format("there is no backend '{}'; known: {}", name, backend_names()));
}

std::string backend_names() {
  std::string text = "auto";
  for (const Engine& engine : kEngines) text += fmt::format(", {}", engine.name);
  return text;
}

}  // namespace quanta::cli
