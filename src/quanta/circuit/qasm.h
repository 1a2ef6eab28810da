#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// What a reader refuses to exceed, so that no text can exhaust time or memory.
struct QasmLimits {
  size_t bytes = size_t{256} << 20;  // of one file
  int64_t operations = 10'000'000;   // after expansion
  int depth = 200;                   // of parentheses, blocks, definitions and includes
};

/// Reads OpenQASM 2.0 (arXiv 1707.03429) or the part of OpenQASM 3 that is a circuit (docs/qasm.md). Qubit registers
/// become wires in the order of their declaration, classical registers keep their names, and gate definitions are
/// expanded to gates of the gate table: equal to the definition up to a global phase, and exactly wherever a gate is
/// controlled. The inputs of OpenQASM 3 become the circuit's inputs in the order of their declaration, or its weights
/// if annotated with @quanta.weight. Without a version line a text is OpenQASM 3 if it declares `qubit`, `bit` or
/// `input` or includes stdgates.inc, and 2 otherwise. Files included are looked for beside the file that names them.
/// Throws Error "file:line:column: message".
Circuit read_qasm(const std::filesystem::path& path, const QasmLimits& limits = {});
/// The same for a text; `file` is what messages call it, and its folder is where includes are looked for.
Circuit parse_qasm(std::string_view text, const std::string& file = "<text>", const QasmLimits& limits = {});

struct QasmOptions {
  int version = 3;                // 2 or 3
  std::vector<double> weights{};  // values to write in place of the circuit's weights and inputs; version 2 needs them
  std::vector<double> inputs{};
};

/// The circuit as OpenQASM that reads back to the same operations, numbers to the last bit. What the standard library
/// of the version lacks is written as a gate definition or decomposed: a Pauli rotation always, further controls in
/// version 2. Throws Error for what the language has no words for: channels, misread measurements, amplitude encoding,
/// unitaries of several qubits; in version 2 conditions other than `register == value` and parameters without values.
std::string write_qasm(const Circuit& circuit, const QasmOptions& options = {});

}  // namespace quanta
