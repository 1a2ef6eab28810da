#include "quanta/cli/backends.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/simulate/simulator.h"
#if __has_include("quanta/simulate/trajectories.h")
#include "quanta/simulate/trajectories.h"
#define QUANTA_HAS_TRAJECTORIES
#endif
#if __has_include("quanta/simulate/density.h")
#include "quanta/simulate/density.h"
#define QUANTA_HAS_DENSITY
#endif
#if __has_include("quanta/simulate/mps.h")
#include "quanta/simulate/mps.h"
#define QUANTA_HAS_MPS
#endif
#if __has_include("quanta/simulate/stabilizer.h")
#include "quanta/simulate/stabilizer.h"
#define QUANTA_HAS_STABILIZER
#endif

namespace quanta::cli {
namespace {

/// A wire's outcome in a sample of `words` words.
bool bit(const uint64_t* sample, int wire) {
  return sample[wire / 64] >> (wire % 64) & 1;
}

/// Samples of the wires [shots, words] as classical bits, by the measurements at the circuit's end.
std::map<Bits, int64_t> count(const Circuit& circuit, const std::vector<uint64_t>& samples, int words) {
  std::map<Bits, int64_t> counts;
  for (size_t s = 0; s < samples.size(); s += size_t(words)) {
    Bits bits(size_t(circuit.clbits()), 0);
    for (const Operation& operation : circuit.operations())
      if (operation.kind == GateKind::Measure) bits[size_t(operation.clbit)] = bit(&samples[s], operation.wires[0]);
    ++counts[bits];
  }
  return counts;
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
  StateVector(const Circuit& circuit, const std::vector<double>& inputs)
      : circuit_(circuit), body_(circuit.without_final_measurements()), inputs_(inputs.begin(), inputs.end()) {
    require_state(circuit, "statevector");
  }

  std::vector<Complex> state() const override {
    std::vector<std::complex<Real>> amplitudes(size_t{1} << body_.wires());
    Simulator<Real>(body_).states(1, nullptr, inputs_.data(), amplitudes.data());
    return {amplitudes.begin(), amplitudes.end()};
  }
  std::vector<double> probabilities() const override {
    std::vector<Real> values(size_t{1} << body_.wires());
    Simulator<Real>(body_).probabilities(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random&) const override {
    std::vector<Real> values(observables.size());
    Simulator<Real>(body_, observables).expectations(1, nullptr, inputs_.data(), values.data());
    return {values.begin(), values.end()};
  }
  std::map<Bits, int64_t> counts(int64_t shots, const Random& random) const override {
    require(body_.wires() <= 64, "the backend statevector draws samples of at most 64 qubits, got {}", body_.wires());
    std::vector<uint64_t> samples(static_cast<size_t>(shots));
    Simulator<Real>(body_).samples(1, nullptr, inputs_.data(), shots, random, samples.data());
    return count(circuit_, samples, 1);
  }

 private:
  Circuit circuit_;
  Circuit body_;
  std::vector<Real> inputs_;
};

#ifdef QUANTA_HAS_STABILIZER
template <class Real>
class Stabilizer : public Backend {
 public:
  Stabilizer(const Circuit& circuit, const std::vector<double>& inputs) : circuit_(circuit), inputs_(inputs) {}

  std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random&) const override {
    std::vector<double> values(observables.size());
    StabilizerSimulator(circuit_.without_final_measurements(), observables, {}, inputs_).expectations(values.data());
    return values;
  }
  std::map<Bits, int64_t> counts(int64_t shots, const Random& random) const override {
    const StabilizerSimulator simulator(circuit_, {}, {}, inputs_);
    const size_t words = size_t(simulator.words());
    std::vector<uint64_t> samples(static_cast<size_t>(shots) * words);
    simulator.samples(shots, random, samples.data());
    std::map<Bits, int64_t> counts;
    for (size_t s = 0; s < samples.size(); s += words) {
      Bits bits;
      for (int c = 0; c < circuit_.clbits(); ++c) bits.push_back(bit(&samples[s], c));
      ++counts[bits];
    }
    return counts;
  }

 private:
  Circuit circuit_;
  std::vector<double> inputs_;
};
#endif

#ifdef QUANTA_HAS_DENSITY
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
  std::map<Bits, int64_t> counts(int64_t shots, const Random& random) const override {
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
#endif

#ifdef QUANTA_HAS_TRAJECTORIES
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
  std::map<Bits, int64_t> counts(int64_t shots, const Random& random) const override {
    const size_t clbits = size_t(circuit_.clbits());
    std::vector<uint8_t> bits(static_cast<size_t>(shots) * clbits);
    Trajectories<Real>(circuit_).shots(1, nullptr, inputs_.data(), shots, random, bits.data());
    std::map<Bits, int64_t> counts;
    for (size_t s = 0; s < size_t(shots); ++s) ++counts[Bits(&bits[s * clbits], &bits[s * clbits] + clbits)];
    return counts;
  }

 private:
  Circuit circuit_;
  std::vector<Real> inputs_;
};
#endif

#ifdef QUANTA_HAS_MPS
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
  std::map<Bits, int64_t> counts(int64_t shots, const Random& random) const override {
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
#endif

template <template <class> class Engine>
std::unique_ptr<Backend> make(const Circuit& circuit, const std::vector<double>& inputs, bool single_precision) {
  if (single_precision) return std::make_unique<Engine<float>>(circuit, inputs);
  return std::make_unique<Engine<double>>(circuit, inputs);
}

constexpr int kLargestState = 28;    // qubits that `auto` gives to a state vector
constexpr int kLargestDensity = 10;  // and to a density matrix

/// In the order in which `auto` asks them.
struct Engine {
  std::string_view name;
  bool (*fits)(const Circuit&, const std::vector<double>& inputs, Task);
  std::unique_ptr<Backend> (*make)(const Circuit&, const std::vector<double>& inputs, bool single_precision);
};
const Engine kEngines[] = {
    {"statevector",
     [](const Circuit& c, const std::vector<double>&, Task) { return c.wires() <= kLargestState && runs_as_state(c); },
     make<StateVector>},
#ifdef QUANTA_HAS_STABILIZER
    {"stabilizer",
     [](const Circuit& c, const std::vector<double>& inputs, Task task) {
       const bool conditional = std::ranges::any_of(
           c.operations(), [](const Operation& operation) { return !operation.conditions.empty(); });
       return (task == Task::Counts || (task == Task::Expectations && !conditional)) && is_clifford(c, {}, inputs);
     },
     make<Stabilizer>},
#endif
#ifdef QUANTA_HAS_DENSITY
    {"density",
     [](const Circuit& c, const std::vector<double>&, Task task) {
       return c.wires() <= kLargestDensity && task != Task::State &&
              (task != Task::Counts || measures_at_the_end_only(c));
     },
     make<Density>},
#endif
#ifdef QUANTA_HAS_TRAJECTORIES
    {"trajectories",
     [](const Circuit& c, const std::vector<double>&, Task task) {
       return c.wires() <= kLargestState && (task == Task::Counts || task == Task::Expectations);
     },
     make<TrajectoryBackend>},
#endif
#ifdef QUANTA_HAS_MPS
    {"mps", [](const Circuit& c, const std::vector<double>&, Task) { return runs_as_state(c); }, make<Mps>},
#endif
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
std::map<Bits, int64_t> Backend::counts(int64_t, const Random&) const {
  fail("this backend draws no samples");
}

std::pair<std::string, std::unique_ptr<Backend>> make_backend(const std::string& name, const Circuit& circuit,
                                                              const std::vector<double>& inputs, Task task,
                                                              bool single_precision) {
  for (const Engine& engine : kEngines)
    if (engine.name == name || (name == "auto" && engine.fits(circuit, inputs, task)))
      return {std::string(engine.name), engine.make(circuit, inputs, single_precision)};
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
