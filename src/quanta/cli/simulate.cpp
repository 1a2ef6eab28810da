#include <algorithm>
#include <charconv>
#include <cmath>

#include "quanta/circuit/noise.h"
#include "quanta/circuit/qasm.h"
#include "quanta/cli/backends.h"
#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/text.h"

namespace quanta::cli {
namespace {

constexpr int kMaxListedWires = 20;  // of a state or of probabilities that are printed
constexpr double kListed = 1e-12;    // smaller amplitudes and probabilities are left out

struct Options {
  std::string file;
  bool state = false;
  bool probs = false;
  std::vector<std::string> expect;
  int64_t shots = 0;
  uint64_t seed = 0;
  std::vector<double> inputs;
  std::string backend = "auto";
  std::string noise;
  std::string precision = "double";
  bool json = true;
};

struct NoiseKind {
  std::string_view name;
  size_t values;  // at most; a second one is the first unless given
  std::string_view meaning;
  void (*add)(NoiseModel&, const std::vector<double>&);
};
template <Channel (*channel)(double)>
void after_gates(NoiseModel& model, const std::vector<double>& p) {
  model.after(channel(p[0]));
}
const NoiseKind kNoise[] = {
    {"depolarizing", 2, "P1[,P2]: of gates on one qubit, and on two",
     [](NoiseModel& model, const std::vector<double>& p) {
       model.after_gates_of(1, depolarizing(p[0])).after_gates_of(2, depolarizing(p[1], 2));
     }},
    {"bit_flip", 1, "P", after_gates<bit_flip>},
    {"phase_flip", 1, "P", after_gates<phase_flip>},
    {"bit_phase_flip", 1, "P", after_gates<bit_phase_flip>},
    {"amplitude_damping", 1, "GAMMA", after_gates<amplitude_damping>},
    {"phase_damping", 1, "LAMBDA: on each qubit of every gate", after_gates<phase_damping>},
    {"readout", 2, "P01[,P10]: to read 1 for a 0, and 0 for a 1",
     [](NoiseModel& model, const std::vector<double>& p) { model.readout(p[0], p[1]); }},
};

std::string noise_names(bool meaning) {
  std::string text;
  for (const NoiseKind& kind : kNoise) {
    text += fmt::format("{}{}", text.empty() ? "" : meaning ? "; " : ", ", kind.name);
    if (meaning) text += fmt::format("={}", kind.meaning);
  }
  return text;
}

/// "depolarizing=0.001,0.01,readout=0.02": the kinds in the order in which they are given.
NoiseModel noise_model(const std::string& text) {
  NoiseModel model;
  const NoiseKind* kind = nullptr;
  std::vector<double> values;
  const auto wrong = [&](const std::string& what) {
    return UsageError(
        fmt::format("--noise '{}': {}; expected KIND=P,... of the kinds {}", text, what, noise_names(false)));
  };
  const auto finish = [&] {
    if (!kind) return;
    values.resize(2, values[0]);
    kind->add(model, values);
    values.clear();
  };
  const std::string list = text + ",";
  for (std::string_view rest = list; !rest.empty();) {
    std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(part.size() + 1);
    if (const size_t equal = part.find('='); equal != part.npos) {
      finish();
      const std::string_view name = part.substr(0, equal);
      kind = std::ranges::find(kNoise, name, &NoiseKind::name);
      if (kind == std::end(kNoise)) throw wrong(fmt::format("there is no '{}'", name));
      part.remove_prefix(equal + 1);
    }
    double p = -1;
    const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), p);
    if (status != std::errc() || end != part.data() + part.size() || !(p >= 0 && p <= 1))
      throw wrong(fmt::format("got '{}', not a probability in 0..1", part));
    if (!kind) throw wrong(fmt::format("'{}' has no kind", part));
    if (values.size() == kind->values) throw wrong(fmt::format("{} takes no {} values", kind->name, values.size() + 1));
    values.push_back(p);
  }
  finish();
  return model;
}

/// The highest qubit left.
std::string basis_state(size_t index, int wires) {
  std::string text;
  for (int q = wires; q-- > 0;) text += index >> q & 1 ? '1' : '0';
  return text;
}

void simulate(const Options& options) {
  const int actions = int(options.state) + int(options.probs) + int(!options.expect.empty()) + int(options.shots > 0);
  if (actions != 1)
    throw UsageError(fmt::format("expected one of --state, --probs, --expect and --shots, got {}", actions));
  Circuit circuit = read_qasm(options.file).without_initial_resets();
  require(circuit.weights() == 0, "the circuit has {} trainable weights; write it with their values",
          circuit.weights());
  require(int(options.inputs.size()) == circuit.inputs(), "the circuit has {} inputs, got {} values with --inputs",
          circuit.inputs(), options.inputs.size());
  for (const double value : options.inputs) require(std::isfinite(value), "--inputs: {} is not a finite number", value);
  if (!options.noise.empty()) circuit = noise_model(options.noise).apply(circuit);

  const Random random(options.seed);
  const auto run = [&](const Circuit& c, Task task) {
    const Precision precision = options.precision == "double"  ? Precision::Double
                                : options.precision == "float" ? Precision::Float
                                                               : Precision::Half;
    return make_backend(options.backend, c, options.inputs, task, precision);
  };
  nlohmann::ordered_json result = {{"file", options.file}, {"qubits", circuit.wires()}};
  if (options.shots > 0) {
    const bool measures = std::ranges::any_of(
        circuit.operations(), [](const Operation& operation) { return operation.kind == GateKind::Measure; });
    if (!measures) {  // all qubits, without the registers that are never written
      Circuit measured(circuit.wires());
      measured.add_register("meas", circuit.wires());
      require(std::ranges::all_of(circuit.operations(), [](const Operation& o) { return o.conditions.empty(); }),
              "the circuit has conditions but measures nothing");
      for (const Operation& operation : circuit.operations()) measured.add(operation);
      for (int q = 0; q < circuit.wires(); ++q) measured.measure(q, q);
      circuit = std::move(measured);
    }
    const auto [name, backend] = run(circuit, Task::Counts);
    const nlohmann::ordered_json counts = backend->counts(options.shots, random);
    result.update({{"backend", name}, {"shots", options.shots}, {"seed", options.seed}, {"counts", counts}});
    return print_json(result);
  }

  if (!options.expect.empty()) {
    std::vector<PauliSum> observables;
    for (const std::string& text : options.expect) {
      observables.push_back(PauliSum::parse(text));
      require(observables.back().max_wire() < circuit.wires(),
              "--expect '{}': qubit {} is out of range, expected 0..{}", text, observables.back().max_wire(),
              circuit.wires() - 1);
    }
    const auto [name, backend] = run(circuit, Task::Expectations);
    const std::vector<double> values = backend->expectations(observables, random);
    nlohmann::ordered_json listed = nlohmann::ordered_json::object();
    for (size_t k = 0; k < values.size(); ++k) listed[options.expect[k]] = values[k];
    result.update({{"backend", name}, {"expectations", listed}});
    return print_json(result);
  }

  require(circuit.wires() <= kMaxListedWires, "{} lists at most {} qubits, got {}; use --shots or --expect",
          options.state ? "--state" : "--probs", kMaxListedWires, circuit.wires());
  const auto [name, backend] = run(circuit, options.state ? Task::State : Task::Probabilities);
  nlohmann::ordered_json listed = nlohmann::ordered_json::object();
  result["backend"] = name;
  if (options.state) {
    const std::vector<Complex> amplitudes = backend->state();
    for (size_t i = 0; i < amplitudes.size(); ++i)
      if (std::abs(amplitudes[i]) > kListed)
        listed[basis_state(i, circuit.wires())] = {amplitudes[i].real(), amplitudes[i].imag()};
    result["state"] = listed;
  } else {
    const std::vector<double> values = backend->probabilities();
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i] > kListed) listed[basis_state(i, circuit.wires())] = values[i];
    result["probabilities"] = listed;
  }
  print_json(result);
}

}  // namespace

void add_simulate(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("simulate", "Run an OpenQASM file; print JSON, the highest qubit left");
  command->add_option("file", options->file, "An OpenQASM 2 or 3 file")->required()->type_name("FILE");
  command->add_flag("--state", options->state, "Amplitudes before the final measurements, as [re, im]");
  command->add_flag("--probs", options->probs, "Probabilities of the basis states");
  command->add_option("--expect", options->expect, "An expectation value, as \"Z0 Z1 + 0.5 X2\"; may be repeated")
      ->type_name("OBSERVABLE")
      ->allow_extra_args(false);
  command->add_option("--shots", options->shots, "Sample the classical bits (all qubits if nothing is measured)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->type_name("N");
  command->add_option("--seed", options->seed, "Seed of the samples")->capture_default_str();
  command->add_option("--inputs", options->inputs, "Values of the file's inputs, in order")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("X,Y,...");
  command->add_option("--backend", options->backend, "One of: " + backend_names())
      ->capture_default_str()
      ->type_name("NAME");
  command->add_option("--noise", options->noise, "Noise behind every gate, separated by commas: " + noise_names(true))
      ->type_name("KIND=P,...");
  command->add_option("--precision", options->precision, "double, float, or half (a state vector in 16-bit numbers)")
      ->check(CLI::IsMember({"double", "float", "half"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON (always)");
  add_threads_option(*command);
  command->callback([options, &status] {
    simulate(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
