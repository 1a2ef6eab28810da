#include "quanta/circuit/qasm.h"
#include "quanta/circuit/transpile.h"
#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta::cli {
namespace {

struct Options {
  std::string file;
  std::vector<std::string> basis = {"rz", "sx", "x", "cx"};
  std::string coupling;
  int level = 2;
  uint64_t seed = 0;
  std::string out;
  bool json = false;
};

nlohmann::ordered_json to_json(const CircuitCost& cost) {
  return {{"gates", cost.gates}, {"two_qubit", cost.two_qubit}, {"depth", cost.depth}};
}

std::string line(const std::string& name, const CircuitCost& cost) {
  std::string gates;
  for (const auto& [gate, count] : cost.gates) gates += fmt::format("  {} {}", gate, count);
  return fmt::format("{:<7} depth {}, {} gates of two or more qubits;{}\n", name, cost.depth, cost.two_qubit, gates);
}

void compile(const Options& options) {
  const Circuit circuit = read_qasm(options.file);
  TranspileOptions how{.basis = options.basis, .optimization = options.level, .seed = options.seed};
  if (!options.coupling.empty()) how.coupling = Coupling::parse(options.coupling, circuit.wires());
  const Transpiled result = transpile(circuit, how);
  if (!options.out.empty()) write_file(options.out, write_qasm(result.circuit));
  if (options.json) {
    print_json({{"before", to_json(result.before)},
                {"after", to_json(result.after)},
                {"wires", result.circuit.wires()},
                {"initial_layout", result.initial_layout},
                {"final_layout", result.final_layout}});
    return;
  }
  std::string text = line("before:", result.before) + line("after:", result.after);
  if (!options.coupling.empty())
    text += fmt::format("layout: wire q starts at [{}], ends at [{}]\n", fmt::join(result.initial_layout, ", "),
                        fmt::join(result.final_layout, ", "));
  print(text);
}

}  // namespace

void add_compile(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("compile", "Translate an OpenQASM circuit to a machine's gates and couplings");
  command->add_option("file", options->file, "OpenQASM 2 or 3")->required();
  command->add_option("--basis", options->basis, "Gates of the machine, separated by commas")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--coupling", options->coupling, "line, ring, full, grid:2x3, or edges as 0-1,1-2");
  command->add_option("--level", options->level, "Optimization: 0 (none) to 3")
      ->check(CLI::Range(0, 3))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the search for a layout")->capture_default_str();
  command->add_option("--out", options->out, "Write the result as OpenQASM 3")->type_name("FILE");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &status] {
    compile(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
