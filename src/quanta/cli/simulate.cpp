#include <algorithm>
#include <cmath>
#include <map>

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

/// "depolarizing=0.01": after each gate, on each of its qubits' number.
NoiseModel noise_model(const std::string& text) {
  const size_t equal = text.find('=');
  const std::string name = text.substr(0, equal);
  double p = -1;
  try {
    size_t used = 0;
    const std::string value = equal == std::string::npos ? "" : text.substr(equal + 1);
    p = std::stod(value, &used);
    if (used != value.size()) p = -1;
  } catch (const std::exception&) {
    p = -1;
  }
  if (name != "depolarizing" || !(p >= 0 && p <= 1))
    throw UsageError(fmt::format("--noise '{}': expected depolarizing=P with P in 0..1", text));
  return NoiseModel::depolarizing(p, p);
}

/// The highest qubit left.
std::string basis_state(size_t index, int wires) {
  std::string text;
  for (int q = wires; q-- > 0;) text += index >> q & 1 ? '1' : '0';
  return text;
}

/// Each register with its highest bit left, the last one declared first.
std::string outcome(const Circuit& circuit, const Bits& bits) {
  std::string text;
  const auto& registers = circuit.registers();
  for (size_t r = registers.size(); r-- > 0;) {
    for (int i = registers[r].size; i-- > 0;) text += bits[size_t(registers[r].first + i)] ? '1' : '0';
    if (r > 0) text += ' ';
  }
  return text;
}

void simulate(const Options& options) {
  const int actions = int(options.state) + int(options.probs) + int(!options.expect.empty()) + int(options.shots > 0);
  if (actions != 1)
    throw UsageError(fmt::format("expected one of --state, --probs, --expect and --shots, got {}", actions));
  Circuit circuit = read_qasm(options.file);
  require(circuit.weights() == 0, "the circuit has {} trainable weights; write it with their values",
          circuit.weights());
  require(int(options.inputs.size()) == circuit.inputs(), "the circuit has {} inputs, got {} values with --inputs",
          circuit.inputs(), options.inputs.size());
  for (const double value : options.inputs) require(std::isfinite(value), "--inputs: {} is not a finite number", value);
  if (!options.noise.empty()) circuit = noise_model(options.noise).apply(circuit);

  const Random random(options.seed);
  const auto run = [&](const Circuit& c, Task task) {
    return make_backend(options.backend, c, options.inputs, task, options.precision == "float");
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
    nlohmann::ordered_json counts = nlohmann::ordered_json::object();
    std::map<std::string, int64_t> sorted;
    for (const auto& [bits, count] : backend->counts(options.shots, random)) sorted[outcome(circuit, bits)] += count;
    for (const auto& [key, count] : sorted) counts[key] = count;
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
  command->add_option("--noise", options->noise, "Noise after every gate: depolarizing=P")->type_name("MODEL");
  command->add_option("--precision", options->precision, "double or float")
      ->check(CLI::IsMember({"double", "float"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON (always)");
  add_threads_option(*command);
  command->callback([options, &status] {
    simulate(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
