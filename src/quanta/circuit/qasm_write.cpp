#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "quanta/circuit/qasm.h"
#include "quanta/circuit/qasm_body.h"
#include "quanta/circuit/qasm_library.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

using namespace qasm;

constexpr double kPi = std::numbers::pi;
constexpr int kMaxDecomposedControls = 10;

// Gates that the libraries lack, exact in their phases. The reader knows them again.
struct Definition {
  GateKind kind;
  std::string_view text;
};
constexpr Definition kDefinitions[] = {
    {GateKind::SXdg, "gate sxdg a { h a; sdg a; h a; }\n"},
    {GateKind::ISWAP, "gate iswap a,b { s a; s b; h a; cx a,b; cx b,a; h b; }\n"},
    {GateKind::RXX, "gate rxx(t) a,b { h a; h b; cx a,b; rz(t) b; cx a,b; h a; h b; }\n"},
    {GateKind::RYY, "gate ryy(t) a,b { rx(pi/2) a; rx(pi/2) b; cx a,b; rz(t) b; cx a,b; rx(-pi/2) a; rx(-pi/2) b; }\n"},
    {GateKind::RZZ, "gate rzz(t) a,b { cx a,b; rz(t) b; cx a,b; }\n"},
};

// Reads back to the same double; a multiple of pi as such where that is exact.
std::string number(double value) {
  if (value == 0) return "0";
  for (const int denominator : {1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128}) {
    const double numerator = std::round(value / kPi * denominator);
    if (numerator == 0 || std::abs(numerator) > 256) continue;
    const double magnitude = std::abs(numerator);
    const double product = (magnitude == 1 ? kPi : magnitude * kPi) / denominator;
    if (product != std::abs(value)) continue;
    std::string text = numerator < 0 ? "-" : "";
    text += magnitude == 1 ? "pi" : fmt::format("{}*pi", int(magnitude));
    if (denominator > 1) text += fmt::format("/{}", denominator);
    return text;
  }
  return fmt::format("{}", value);
}

class Writer {
 public:
  Writer(const Circuit& circuit, const QasmOptions& options)
      : circuit_(circuit), options_(options), v3_(options.version == 3) {
    require(options.version == 2 || options.version == 3, "OpenQASM version {} is not known, expected 2 or 3",
            options.version);
    check_values(options.weights.size(), circuit.weights(), "weights");
    check_values(options.inputs.size(), circuit.inputs(), "inputs");
    name_registers();
  }

  std::string write() {
    for (const Operation& operation : circuit_.operations()) write(operation);
    std::string text = v3_ ? "OPENQASM 3.0;\ninclude \"stdgates.inc\";\n" : "OPENQASM 2.0;\ninclude \"qelib1.inc\";\n";
    for (const Definition& definition : kDefinitions)
      if (defined_.contains(definition.kind)) text += definition.text;
    if (weights_free())
      for (int i = 0; i < circuit_.weights(); ++i)
        text += fmt::format("@quanta.weight\ninput float[64] {}{};\n", weight_name_, i);
    if (inputs_free())
      for (int i = 0; i < circuit_.inputs(); ++i) text += fmt::format("input float[64] {}{};\n", input_name_, i);
    text += fmt::format(fmt::runtime(v3_ ? "qubit[{0}] {1};\n" : "qreg {1}[{0}];\n"), circuit_.wires(), qubits_);
    for (size_t r = 0; r < names_.size(); ++r)
      text += fmt::format(fmt::runtime(v3_ ? "bit[{0}] {1};\n" : "creg {1}[{0}];\n"), circuit_.registers()[r].size,
                          names_[r]);
    return text + body_;
  }

 private:
  void check_values(size_t given, int wanted, const char* what) const {
    require(given == size_t(wanted) || (given == 0 && v3_), "the circuit has {} {}, got values for {}{}", wanted, what,
            given, v3_ ? "" : "; OpenQASM 2 has no parameters, bind them");
  }
  bool weights_free() const { return circuit_.weights() > 0 && options_.weights.empty(); }
  bool inputs_free() const { return circuit_.inputs() > 0 && options_.inputs.empty(); }

  // --- names

  void name_registers() {
    std::set<std::string> taken = {
        "pi",     "tau",     "euler",    "sin",      "cos",     "tan",     "exp",     "ln",       "sqrt",    "log",
        "if",     "gate",    "opaque",   "measure",  "reset",   "barrier", "qreg",    "creg",     "include", "bit",
        "qubit",  "int",     "uint",     "float",    "angle",   "bool",    "const",   "input",    "output",  "let",
        "for",    "while",   "in",       "ctrl",     "negctrl", "inv",     "pow",     "def",      "extern",  "box",
        "delay",  "else",    "true",     "false",    "gphase",  "array",   "complex", "duration", "stretch", "return",
        "end",    "break",   "continue", "switch",   "pragma",  "defcal",  "cal",     "mod",      "arcsin",  "arccos",
        "arctan", "floor",   "ceiling",  "popcount", "sizeof",  "abs",     "asin",    "acos",     "atan",    "OPENQASM",
        "case",   "default", "readonly", "mutable",  "nop",     "void",    "rccx",    "rc3x"};
    for (const LibraryGate& gate : kLibrary) taken.emplace(gate.name);
    const auto fresh = [&](std::string name) {
      for (char& c : name)
        if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) c = '_';
      const bool starts = !name.empty() && ((name[0] >= 'a' && name[0] <= 'z') ||
                                            (v3_ && (name[0] == '_' || (name[0] >= 'A' && name[0] <= 'Z'))));
      if (!starts) name = "c_" + name;
      while (!taken.insert(name).second) name += '_';
      return name;
    };
    for (const ClassicalRegister& bits : circuit_.registers()) names_.push_back(fresh(bits.name));
    qubits_ = fresh("q");
    const auto prefix = [&](std::string name, int count) {
      const auto clashes = [&] {
        return std::ranges::any_of(taken, [&](const std::string& other) {
          return other.starts_with(name) && other.size() > name.size() &&
                 std::all_of(other.begin() + name.size(), other.end(), [](char c) { return c >= '0' && c <= '9'; });
        });
      };
      while (count > 0 && clashes()) name += '_';
      return name;
    };
    weight_name_ = prefix("w", circuit_.weights());
    input_name_ = prefix("x", circuit_.inputs());
  }

  const ClassicalRegister& register_of(int bit) const {
    return *std::prev(std::ranges::upper_bound(circuit_.registers(), bit, {}, &ClassicalRegister::first));
  }
  const std::string& name_of(const ClassicalRegister& bits) const {
    return names_[size_t(&bits - circuit_.registers().data())];
  }
  std::string clbit(int bit) const {
    const ClassicalRegister& bits = register_of(bit);
    return fmt::format("{}[{}]", name_of(bits), bit - bits.first);
  }

  // --- angles

  std::string angle(Angle a) const {
    const auto bind = [&](int& index, const std::vector<double>& values, double& factor) {
      if (index == Angle::kNone) return;
      factor *= values[size_t(index)];
      index = Angle::kNone;
    };
    if (!options_.weights.empty() || circuit_.weights() == 0) {
      bind(a.weight, options_.weights, a.scale);
      double offset = 1;
      if (a.offset != Angle::kNone) {
        bind(a.offset, options_.weights, offset);
        a.constant += offset;
      }
    }
    if (!options_.inputs.empty()) {
      bind(a.input, options_.inputs, a.scale);
      bind(a.input2, options_.inputs, a.scale);
    }
    if (a.scale != 0 && a.weight == Angle::kNone && a.input == Angle::kNone) {
      a.constant += a.scale;
      a.scale = 0;
    }
    require(std::isfinite(a.constant) && std::isfinite(a.scale), "an angle is not finite with the values given");
    std::string text;
    if (a.scale != 0) {
      if (a.scale == -1) text = "-";
      if (std::abs(a.scale) != 1) text = number(a.scale) + "*";
      const char* times = "";
      const auto factor = [&](const std::string& name, int index) {
        if (index == Angle::kNone) return;
        text += fmt::format("{}{}{}", times, name, index);
        times = "*";
      };
      factor(weight_name_, a.weight);
      factor(input_name_, a.input);
      factor(input_name_, a.input2);
    }
    const auto plus = [&](const std::string& term) {
      if (text.empty())
        text = term;
      else
        text += term[0] == '-' ? " - " + term.substr(1) : " + " + term;
    };
    if (a.offset != Angle::kNone) plus(fmt::format("{}{}", weight_name_, a.offset));
    if (a.constant != 0 || text.empty()) plus(number(a.constant));
    return text;
  }

  // --- statements

  void statement(const std::string& text) { body_ += prefix_ + text + ";" + suffix_ + "\n"; }

  std::string list(const std::vector<int>& wires) const {
    std::string text;
    for (const int q : wires) text += fmt::format("{}{}[{}]", text.empty() ? "" : ", ", qubits_, q);
    return text;
  }

  void gate(std::string_view name, const std::vector<Angle>& angles, const std::vector<int>& wires) {
    std::string text(name);
    for (size_t k = 0; k < angles.size(); ++k) text += (k == 0 ? "(" : ", ") + angle(angles[k]);
    statement(text + (angles.empty() ? " " : ") ") + list(wires));
  }

  void write(const Operation& operation) {
    const GateInfo& info = gate_info(operation.kind);
    prefix_.clear();
    suffix_.clear();
    for (const Condition& condition : operation.conditions) add_condition(condition);
    switch (operation.kind) {
      case GateKind::Barrier:
        return statement("barrier " + (operation.wires.empty() ? qubits_ : list(operation.wires)));
      case GateKind::Reset:
        return statement("reset " + list(operation.wires));
      case GateKind::Measure:
        require(operation.misread == std::array<double, 2>{}, "OpenQASM cannot say that a measurement is misread");
        return statement(v3_ ? clbit(operation.clbit) + " = measure " + list(operation.wires)
                             : "measure " + list(operation.wires) + " -> " + clbit(operation.clbit));
      case GateKind::AmplitudeEncoding:
      case GateKind::Channel:
        fail("OpenQASM has no {}; write the circuit without it",
             operation.kind == GateKind::Channel ? "noise channels" : "amplitude encoding");
      case GateKind::PauliRotation:
        return pauli_rotation(operation);
      case GateKind::Unitary: {
        require(operation.wires.size() == 1,
                "OpenQASM has no dense unitary of {} qubits; transpile the circuit to gates first",
                operation.wires.size());
        return matrix_gate(*operation.matrix, operation.wires[0], operation.controls);
      }
      default:
        break;
    }
    if (operation.controls.empty()) {
      define(operation.kind);
      return gate(info.qasm, operation.angles, operation.wires);
    }
    if (v3_) {
      std::vector<int> wires = operation.controls;
      wires.insert(wires.end(), operation.wires.begin(), operation.wires.end());
      size_t controls = operation.controls.size();
      std::vector<Angle> angles = operation.angles;
      std::string_view name = info.qasm;
      if (operation.kind == GateKind::U) {  // dialects differ in the phase of a controlled U, not in that of cu
        name = "cu";
        angles.emplace_back(0);
        --controls;
      }
      define(operation.kind);
      return gate(modifier(controls) + std::string(name), angles, wires);
    }
    controlled_gate(operation);
  }

  static std::string modifier(size_t controls) {
    return controls == 0 ? "" : controls == 1 ? "ctrl @ " : fmt::format("ctrl({}) @ ", controls);
  }

  // Sees to it that the gate is defined.
  void define(GateKind kind) {
    const bool in_qelib1 = kind == GateKind::SXdg || kind == GateKind::RXX || kind == GateKind::RZZ;
    if (v3_ || !in_qelib1) defined_.insert(kind);
  }

  // --- decompositions

  void pauli_rotation(const Operation& operation) {
    const auto& factors = operation.pauli.factors;
    if (factors.empty()) {  // a global phase, which counts if it is controlled
      std::vector<int> controls = operation.controls;
      if (controls.empty()) return;
      const int last = controls.back();
      controls.pop_back();
      return write_like(operation, GateKind::P, {last}, {-0.5 * operation.angles[0]}, controls);
    }
    const auto basis = [&](bool undo) {
      for (const auto& [q, letter] : factors) {
        if (letter == 'X') gate("h", {}, {q});
        if (letter == 'Y') gate("rx", {undo ? -kPi / 2 : kPi / 2}, {q});
      }
    };
    const auto ladder = [&](size_t k) { gate("cx", {}, {factors[k].first, factors[k + 1].first}); };
    basis(false);
    for (size_t k = 0; k + 1 < factors.size(); ++k) ladder(k);
    const Operation rz =
        make_operation(GateKind::RZ, {factors.back().first}, {operation.angles[0]}, operation.controls);
    write_like(operation, rz.kind, rz.wires, rz.angles, rz.controls);
    for (size_t k = factors.size() - 1; k-- > 0;) ladder(k);
    basis(true);
  }

  // Another gate under the same conditions.
  void write_like(const Operation& model, GateKind kind, std::vector<int> wires, std::vector<Angle> angles,
                  std::vector<int> controls) {
    Operation operation = make_operation(kind, std::move(wires), std::move(angles), std::move(controls));
    operation.conditions = model.conditions;
    write(operation);
  }

  void matrix_gate(const Matrix& matrix, int wire, const std::vector<int>& controls) {
    const EulerAngles u = euler_angles(matrix);
    if (controls.empty()) return gate("U", {u.theta, u.phi, u.lambda}, {wire});
    std::vector<int> wires = controls;
    wires.push_back(wire);
    if (v3_)
      gate(modifier(controls.size() - 1) + "cu", {u.theta, u.phi, u.lambda, u.phase}, wires);
    else
      controlled_matrix(matrix, wire, controls);
  }

  // Version 2: further controls by gates of qelib1.inc.
  void controlled_gate(const Operation& operation) {
    const GateInfo& info = gate_info(operation.kind);
    std::vector<int> controls = operation.controls;
    controls.insert(controls.end(), operation.wires.begin(), operation.wires.begin() + info.controls);
    const std::vector<int> targets(operation.wires.begin() + info.controls, operation.wires.end());
    require(int(controls.size()) <= kMaxDecomposedControls,
            "{} controls cannot be written in OpenQASM 2, expected at most {}; use version 3", controls.size(),
            kMaxDecomposedControls);
    if (controls.size() == 1) {  // the table may have the controlled gate
      for (const GateInfo& known : gate_table()) {
        if (known.controls != 1 || known.base != info.base) continue;
        std::vector<Angle> angles = operation.angles;
        if (known.kind == GateKind::CU) angles.emplace_back(0);
        std::vector<int> wires = controls;
        wires.insert(wires.end(), targets.begin(), targets.end());
        return gate(known.qasm, angles, wires);
      }
    }
    if (targets.size() == 1) {
      const size_t n = controls.size();
      std::vector<int> wires = controls;
      wires.push_back(targets[0]);
      if (info.base == GateKind::X && n == 2) return gate("ccx", {}, wires);
      if (info.base == GateKind::X && (n == 3 || n == 4)) return gate(n == 3 ? "c3x" : "c4x", {}, wires);
      if (info.base == GateKind::SX && (n == 1 || n == 3)) return gate(n == 1 ? "csx" : "c3sqrtx", {}, wires);
      Operation own = operation;
      own.wires = targets;
      own.controls.clear();
      Complex phase = 1;
      if (operation.kind == GateKind::CU) {
        phase = std::polar(1.0, own.angles.back().value(options_.weights.data(), options_.inputs.data()));
        own.angles.pop_back();
      }
      own.kind = info.base;
      Matrix matrix = own.unitary(options_.weights.data(), options_.inputs.data());
      for (Complex& element : matrix.data) element *= phase;
      return controlled_matrix(matrix, targets[0], controls);
    }
    const int a = targets[0], b = targets[1];
    const auto rotation = [&](char letter, const Angle& angle) {
      Operation rotated = operation;
      rotated.kind = GateKind::PauliRotation;
      rotated.pauli = PauliString({{a, letter}, {b, letter}});
      rotated.angles = {angle};
      rotated.controls = controls;
      pauli_rotation(rotated);
    };
    switch (info.base) {
      case GateKind::SWAP: {
        gate("cx", {}, {b, a});
        std::vector<int> all = controls;
        all.push_back(a);
        write_like(operation, GateKind::X, {b}, {}, all);
        return gate("cx", {}, {b, a});
      }
      case GateKind::ISWAP:
        rotation('X', -kPi / 2);
        return rotation('Y', -kPi / 2);
      case GateKind::RXX:
        return rotation('X', operation.angles[0]);
      case GateKind::RYY:
        return rotation('Y', operation.angles[0]);
      default:
        return rotation('Z', operation.angles[0]);
    }
  }

  // Barenco et al., arXiv quant-ph/9503016, Lemma 7.5: with V^2 = U, a control less a step.
  void controlled_matrix(const Matrix& matrix, int target, std::vector<int> controls) {
    const int last = controls.back();
    if (controls.size() == 1) {
      const EulerAngles u = euler_angles(matrix);
      return gate("cu", {u.theta, u.phi, u.lambda, u.phase}, {last, target});
    }
    const Matrix root = matrix_power(matrix, 0.5);
    controls.pop_back();
    const auto flip = [&] {
      std::vector<int> wires = controls;
      wires.push_back(last);
      const size_t n = controls.size();
      if (n <= 4)
        gate(n == 1 ? "cx" : n == 2 ? "ccx" : n == 3 ? "c3x" : "c4x", {}, wires);
      else
        controlled_matrix(gate_matrix(GateKind::X, {}), last, controls);
    };
    controlled_matrix(root, target, {last});
    flip();
    controlled_matrix(root.adjoint(), target, {last});
    flip();
    controlled_matrix(root, target, controls);
  }

  // --- conditions

  void add_condition(const Condition& condition) {
    const ClassicalRegister& bits = register_of(condition.first);
    const bool whole = condition.first == bits.first && condition.count == bits.size;
    if (!v3_) {
      require(whole && !condition.negated && prefix_.empty(),
              "OpenQASM 2 knows only conditions 'register == value', got one on bits {}..{}{}; use version 3",
              condition.first, condition.first + condition.count - 1,
              condition.negated ? ", negated"
              : prefix_.empty() ? ""
                                : " within another");
      prefix_ = fmt::format("if ({} == {}) ", name_of(bits), condition.value);
      return;
    }
    // One comparison a register that the condition reads.
    std::string all;
    int parts = 0;
    for (int first = condition.first; first < condition.first + condition.count; ++parts) {
      const ClassicalRegister& part = register_of(first);
      const int last = std::min(condition.first + condition.count, part.first + part.size);
      const int shift = first - condition.first, count = last - first;
      uint64_t value = shift < 64 ? condition.value >> shift : 0;
      if (count < 64 && last < condition.first + condition.count) value &= (uint64_t{1} << count) - 1;
      if (parts > 0) all += " && ";
      all +=
          comparison(part, first - part.first, count, value,
                     condition.negated && part.first <= condition.first && last == condition.first + condition.count);
      first = last;
    }
    if (parts > 1 && condition.negated) all = "!(" + all + ")";
    prefix_ += "if (" + all + ") { ";
    suffix_ += " }";
  }

  std::string comparison(const ClassicalRegister& bits, int first, int count, uint64_t value, bool negated) const {
    const std::string& name = name_of(bits);
    if (count == 1 && value == 1) return fmt::format("{}{}[{}]", negated ? "!" : "", name, first);
    const char* op = negated ? "!=" : "==";
    if (count == 1) return fmt::format("{}[{}] {} {}", name, first, op, value);
    if (count == bits.size) return fmt::format("{} {} {}", name, op, value);
    return fmt::format("{}[{}:{}] {} {}", name, first, first + count - 1, op, value);
  }

  const Circuit& circuit_;
  const QasmOptions& options_;
  const bool v3_;
  std::vector<std::string> names_;  // of the classical registers
  std::string qubits_, weight_name_, input_name_;
  std::set<GateKind> defined_;
  std::string body_;
  std::string prefix_, suffix_;  // conditions around each statement
};

}  // namespace

std::string write_qasm(const Circuit& circuit, const QasmOptions& options) {
  return Writer(circuit, options).write();
}

}  // namespace quanta
