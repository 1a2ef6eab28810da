#include "quanta/circuit/draw.h"

#include <functional>
#include <map>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/circuit/qasm.h"
#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/text.h"
#include "quanta/nn/quantum_dense.h"
#include "quanta/nn/quanv2d.h"

namespace quanta::cli {
namespace {

struct Options {
  std::string name;
  int wires = 4;
  int layers = 1;
  int features = 3;
  std::string svg;
  bool json = false;
};

using Builder = std::function<Circuit(const Options&)>;

/// A circuit on options.wires wires to which `append` is applied.
template <class Append>
Builder on_wires(Append append) {
  return [append](const Options& options) {
    Circuit circuit(options.wires);
    append(circuit, options);
    return circuit;
  };
}

const std::map<std::string, Builder>& builders() {
  static const std::map<std::string, Builder> all = {
      {"amplitude_encoding", on_wires([](Circuit& c, const Options&) { c.amplitude_encoding(); })},
      {"angle_encoding", on_wires([](Circuit& c, const Options&) { angle_encoding(c); })},
      {"iqp_encoding", on_wires([](Circuit& c, const Options& o) { iqp_encoding(c, o.layers); })},
      {"zz_feature_map", on_wires([](Circuit& c, const Options& o) { zz_feature_map(c, o.layers); })},
      {"data_reuploading", on_wires([](Circuit& c, const Options& o) { data_reuploading(c, o.layers, o.features); })},
      {"basic_entangler", on_wires([](Circuit& c, const Options& o) { basic_entangler(c, o.layers); })},
      {"strongly_entangling", on_wires([](Circuit& c, const Options& o) { strongly_entangling(c, o.layers); })},
      {"hardware_efficient", on_wires([](Circuit& c, const Options& o) { hardware_efficient(c, o.layers); })},
      {"efficient_su2", on_wires([](Circuit& c, const Options& o) { efficient_su2(c, o.layers); })},
      {"real_amplitudes", on_wires([](Circuit& c, const Options& o) { real_amplitudes(c, o.layers); })},
      {"qaoa", on_wires([](Circuit& c, const Options& o) {
         PauliSum cost;  // MaxCut on a ring
         for (int q = 0; q + 1 < o.wires; ++q) cost = cost + Z(q) * Z(q + 1);
         if (o.wires > 2) cost = cost + Z(o.wires - 1) * Z(0);
         for (int q = 0; q < o.wires; ++q) c.h(q);
         for (int l = 0; l < o.layers; ++l) qaoa_layer(c, cost);
       })},
      {"quantum_dense", [](const Options& o) { return quantum_dense_circuit({.qubits = o.wires, .depth = o.layers}); }},
      {"quanv", [](const Options& o) { return quanv_circuit({.layers = o.layers}); }},
  };
  return all;
}

std::string names() {
  std::string text;
  for (const auto& [name, builder] : builders()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Circuit build(const Options& options) {
  if (options.name.ends_with(".qasm")) return read_qasm(options.name);
  const auto found = builders().find(options.name);
  if (found == builders().end()) {
    std::vector<std::string> known;
    for (const auto& [name, builder] : builders()) known.push_back(name);
    throw UsageError(fmt::format("there is no circuit '{}'; did you mean {}? Known: {}", options.name,
                                 nearest(options.name, known), names()));
  }
  return found->second(options);
}

void draw(const Options& options) {
  const Circuit circuit = build(options);
  if (!options.svg.empty()) write_file(options.svg, draw_svg(circuit));
  if (options.json) {
    print_json({{"name", options.name},
                {"wires", circuit.wires()},
                {"operations", circuit.operations().size()},
                {"depth", circuit.depth()},
                {"weights", circuit.weights()},
                {"inputs", circuit.inputs()},
                {"svg", options.svg.empty() ? nlohmann::json() : nlohmann::json(options.svg)},
                {"text", draw_text(circuit)}});
  } else if (options.svg.empty()) {
    print(draw_text(circuit));
    print(fmt::format("{} wires, {} operations, depth {}, {} weights, {} inputs\n", circuit.wires(),
                      circuit.operations().size(), circuit.depth(), circuit.weights(), circuit.inputs()));
  } else {
    print(options.svg + "\n");
  }
}

}  // namespace

void add_draw(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("draw", "Draw an OpenQASM file, an encoding or an ansatz as text or SVG");
  command->add_option("name", options->name, "FILE.qasm, or one of: " + names())->required();
  command->add_option("--wires", options->wires, "Qubits")->check(CLI::Range(1, 64))->capture_default_str();
  command->add_option("--layers", options->layers, "Layers or repetitions")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_option("--features", options->features, "Features of data_reuploading")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--svg", options->svg, "Write a picture instead of printing text")->type_name("FILE");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &status] {
    draw(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
