#include "quanta/circuit/transpile.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <set>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/naive.h"
#include "quanta/circuit/passes.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

using naive::random_circuit;
using naive::random_unitary;
using naive::random_values;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Names = std::vector<std::string>;
constexpr double kPi = std::numbers::pi;

const std::vector<Names>& continuous_bases() {
  static const std::vector<Names> all = {{"rz", "sx", "x", "cx"},
                                         {"u", "cx"},
                                         {"u3", "cz"},
                                         {"rx", "ry", "rz", "cz"},
                                         {"rx", "rz", "iswap"},
                                         {"ry", "rz", "rzz"},
                                         {"rx", "ry", "rxx"},
                                         {"p", "sxdg", "ryy"},
                                         {"p", "h", "cp"},
                                         {"rz", "h", "cx", "swap"},
                                         {"rx", "h", "cy"},
                                         {"ry", "s", "ch"},
                                         {"rx", "s", "crx"},
                                         {"u", "cry"},
                                         {"rz", "sx", "crz"},
                                         {"u", "cu"},
                                         {"ry", "h", "sx", "cx"}};
  return all;
}

// Global phases apart, and the layout undone: wire q of `original` starts at initial_layout[q] and ends at
// final_layout[q] of the result.
double difference(const Circuit& original, const Transpiled& result, Random& random) {
  EXPECT_EQ(result.circuit.weights(), original.weights());
  EXPECT_EQ(result.circuit.inputs(), original.inputs());
  const std::vector<double> weights = random_values(original.weights(), random);
  const std::vector<double> inputs = random_values(original.inputs(), random);
  const Matrix expected = original.matrix(weights, inputs), got = result.circuit.matrix(weights, inputs);
  Matrix undone(expected.dim);
  const auto place = [&](int state, const std::vector<int>& layout) {
    int index = 0;
    for (int q = 0; q < original.wires(); ++q) index |= (state >> q & 1) << layout[q];
    return index;
  };
  for (int i = 0; i < expected.dim; ++i)
    for (int j = 0; j < expected.dim; ++j)
      undone(i, j) = got(place(i, result.final_layout), place(j, result.initial_layout));
  return passes::distance_up_to_phase(expected, undone);
}

void expect_in_basis(const Circuit& circuit, const Names& names) {
  std::set<GateKind> kinds;
  for (const std::string& name : names) kinds.insert(name == "u3" ? GateKind::U : find_gate(name)->kind);
  for (const Operation& operation : circuit.operations()) {
    EXPECT_TRUE(operation.controls.empty());
    EXPECT_TRUE(!is_unitary(operation.kind) || kinds.contains(operation.kind)) << gate_info(operation.kind).name;
  }
}

int count(const Circuit& circuit, GateKind kind) {
  return int(std::ranges::count_if(circuit.operations(), [&](const Operation& o) { return o.kind == kind; }));
}

TEST(Transpile, EveryGateInEveryBasis) {
  Random random(1);
  for (const Names& basis : continuous_bases()) {
    for (const GateInfo& info : gate_table()) {
      if (!is_unitary(info.kind)) continue;
      for (int controls = 0; controls <= 2; ++controls) {
        for (const bool symbolic : {false, true}) {
          if (symbolic && info.angles == 0) continue;
          const int own = info.wires > 0 ? info.wires : 2;
          Circuit circuit(own + controls);
          Operation operation{.kind = info.kind, .wires = {}, .angles = {}, .controls = {}, .pauli = {}};
          for (int q = 0; q < own; ++q) operation.wires.push_back(own - 1 - q);
          for (int q = 0; q < controls; ++q) operation.controls.push_back(own + q);
          for (int k = 0; k < info.angles; ++k)
            operation.angles.push_back(symbolic ? weight() * input(0) + weight() + 0.2 : random.uniform(-3, 3));
          if (info.kind == GateKind::Unitary)
            operation.matrix = std::make_shared<const Matrix>(random_unitary(4, random));
          if (info.kind == GateKind::PauliRotation) {
            operation.wires.clear();
            operation.pauli = PauliString({{0, 'Y'}, {1, 'X'}});
          }
          circuit.add(operation);
          for (const int level : {0, 2}) {
            const Transpiled result = transpile(circuit, {.basis = basis, .optimization = level});
            expect_in_basis(result.circuit, basis);
            EXPECT_LT(difference(circuit, result, random), 1e-9)
                << info.name << " controls " << controls << " level " << level << " symbolic " << symbolic << " in "
                << ::testing::PrintToString(basis);
          }
        }
      }
    }
  }
}

TEST(Transpile, RandomCircuits) {
  Random random(2);
  for (int trial = 0; trial < 60; ++trial) {
    const int wires = 1 + int(random.below(5));
    const Circuit circuit = random_circuit(wires, 12, random);
    for (int level = 0; level <= 3; ++level) {
      const Names& basis = continuous_bases()[random.below(continuous_bases().size())];
      const Transpiled result = transpile(circuit, {.basis = basis, .optimization = level});
      expect_in_basis(result.circuit, basis);
      EXPECT_LT(difference(circuit, result, random), 1e-9) << ::testing::PrintToString(basis) << " level " << level;
    }
  }
}

TEST(Transpile, CliffordAndTExactly) {
  Random random(3);
  using enum GateKind;
  const std::vector<GateKind> kinds = {X, Y, Z, H, S, Sdg, T, Tdg, SX, SXdg, SWAP, ISWAP, CX, CY, CZ, CH, CCX, CSWAP};
  for (const Names& basis :
       std::vector<Names>{{"h", "s", "t", "cx"}, {"h", "t", "cz"}, {"sx", "t", "cy"}, {"h", "t", "iswap"}}) {
    for (int trial = 0; trial < 20; ++trial) {
      Circuit circuit(4);
      for (int k = 0; k < 15; ++k) {
        const GateKind kind = kinds[random.below(kinds.size())];
        const auto order = random.permutation(4);
        circuit.add(kind, std::vector<int>(order.begin(), order.begin() + gate_info(kind).wires));
      }
      circuit.rz(0, kPi / 4).add(X, {3}, {}, {1});
      const Transpiled result = transpile(circuit, {.basis = basis, .optimization = trial % 4});
      expect_in_basis(result.circuit, basis);
      EXPECT_LT(difference(circuit, result, random), 1e-9);
    }
  }
  const Circuit four = Circuit(5).add(X, {4}, {}, {0, 1, 2});
  EXPECT_LT(difference(four, transpile(four, {.basis = {"h", "s", "t", "cx"}}), random), 1e-9);
}

TEST(Transpile, ManyControls) {
  Random random(4);
  for (int controls = 1; controls <= 7; ++controls) {
    std::vector<int> all(controls);
    std::iota(all.begin(), all.end(), 0);
    for (const int idle : {0, 1, 2}) {
      if (controls + 1 + idle > 8) continue;
      Circuit x(controls + 1 + idle), rotation(controls + 1 + idle);
      x.add(GateKind::X, {controls}, {}, all);
      rotation.add(GateKind::RY, {controls}, {weight()}, all);
      for (const Circuit* circuit : {&x, &rotation}) {
        const Transpiled result = transpile(*circuit, {.basis = {"rz", "sx", "cx"}, .optimization = 1});
        EXPECT_LT(difference(*circuit, result, random), 1e-9) << controls << " controls, " << idle << " idle";
      }
      const int cnots = count(transpile(x, {.optimization = 1}).circuit, GateKind::CX);
      EXPECT_TRUE(controls > 4 || cnots <= (2 << controls) - 2) << cnots;
    }
  }
  const auto cnots = [](int controls) {
    std::vector<int> all(controls);
    std::iota(all.begin(), all.end(), 0);
    Circuit circuit(controls + 2);
    circuit.add(GateKind::RZ, {controls}, {weight()}, all);
    return count(transpile(circuit, {.optimization = 0}).circuit, GateKind::CX);
  };
  const int c20 = cnots(20), c40 = cnots(40), c60 = cnots(60);
  EXPECT_EQ(c60 - c40, c40 - c20) << "linear in the controls";
}

// The oracle: what number of CNOTs the literature gives for these classes of gates.
TEST(Transpile, CnotCounts) {
  Random random(5);
  const auto expect = [&](const Matrix& m, int cnots) {
    const Circuit circuit = Circuit(2).unitary({0, 1}, m);
    const Transpiled result = transpile(circuit, {.basis = {"u", "cx"}});
    EXPECT_EQ(count(result.circuit, GateKind::CX), cnots);
    EXPECT_LT(difference(circuit, result, random), 1e-10);
  };
  const auto fixed = [](GateKind kind) { return gate_matrix(kind, {}); };
  expect(fixed(GateKind::SWAP), 3);
  expect(fixed(GateKind::ISWAP), 2);
  expect(fixed(GateKind::CX), 1);
  expect(Matrix::identity(4), 0);
  for (int trial = 0; trial < 300; ++trial) {
    const auto local = [&] { return kron(random_unitary(2, random), random_unitary(2, random)); };
    const Matrix cx = fixed(GateKind::CX);
    expect(local(), 0);
    expect(local() * cx * local(), 1);
    expect(local() * cx * local() * cx * local(), 2);
    expect(local() * fixed(GateKind::SWAP) * local(), 3);
    expect(random_unitary(4, random), 3);
    const Matrix hermitian = naive::add(random_unitary(4, random), Matrix(4));
    for (const double size : {1e-4, 1e-7, 1e-9, 1e-12, 1e-14}) {
      const Matrix small = naive::exp(naive::add(hermitian, hermitian.adjoint()), Complex(0, size));
      for (const Matrix& base : {Matrix::identity(4), cx, fixed(GateKind::SWAP), fixed(GateKind::ISWAP), local()}) {
        const Circuit circuit = Circuit(2).unitary({0, 1}, base * small);
        EXPECT_LT(difference(circuit, transpile(circuit), random), 1e-10);
      }
    }
  }
}

TEST(Transpile, DenseUnitaries) {
  Random random(6);
  for (int wires = 1; wires <= 5; ++wires) {
    std::vector<int> on(wires);
    std::iota(on.rbegin(), on.rend(), 0);
    const Circuit circuit = Circuit(wires).unitary(on, random_unitary(1 << wires, random));
    EXPECT_LT(difference(circuit, transpile(circuit), random), 1e-9);
  }
}

TEST(Transpile, CancelsThroughWhatCommutes) {
  const auto gates = [](const Circuit& circuit, Names basis = {"rz", "sx", "x", "cx"}) {
    return transpile(circuit, {.basis = std::move(basis)}).circuit.operations().size();
  };
  EXPECT_EQ(gates(Circuit(2).rz(0, weight()).cx(0, 1).rz(0, -weight(0))), 1u);
  EXPECT_EQ(gates(Circuit(3).cx(0, 1).cx(0, 2).cx(0, 1).cx(0, 2)), 0u);
  EXPECT_EQ(gates(Circuit(3).cx(0, 2).cx(1, 2).cx(0, 2)), 1u);
  EXPECT_EQ(gates(Circuit(2).h(0).h(0).x(1).x(1)), 0u);
  EXPECT_EQ(gates(Circuit(2).rx(1, input(1)).cx(0, 1).rx(1, input(0)), {"rx", "rz", "cx"}), 3u) << "no such sum";
  EXPECT_EQ(gates(Circuit(2).rx(1, weight()).cx(0, 1).rx(1, 0.5), {"rx", "rz", "cx"}), 2u);
  EXPECT_EQ(gates(Circuit(1).h(0).t(0).tdg(0).h(0)), 0u);
  EXPECT_EQ(gates(Circuit(1).h(0)), 3u) << "RZ SX RZ";
  EXPECT_EQ(gates(Circuit(1).sx(0)), 1u);
  EXPECT_EQ(gates(Circuit(1).u(0, 1, 2, 3)), 5u);
  EXPECT_EQ(gates(Circuit(1).h(0).u(0, 1, 2, 3).s(0), {"u", "cx"}), 1u);
  EXPECT_EQ(gates(Circuit(2).rzz(0, 1, weight()), {"rz", "rx", "rzz"}), 1u) << "kept as it is";
  EXPECT_EQ(gates(Circuit(2).cp(0, 1, 0.3), {"rz", "rx", "rzz"}), 3u) << "one rotation";
}

TEST(Transpile, OptimizationNeverAddsGates) {
  Random random(7);
  for (int trial = 0; trial < 40; ++trial) {
    const Circuit circuit = random_circuit(4, 15, random);
    int before = 1 << 30;
    for (int level = 0; level <= 2; ++level) {
      const int now = transpile(circuit, {.basis = {"u", "cx"}, .optimization = level}).after.two_qubit;
      EXPECT_LE(now, before);
      before = now;
    }
  }
}

TEST(Transpile, RoutesAlongTheCoupling) {
  Random random(8);
  for (int trial = 0; trial < 12; ++trial) {
    const Circuit circuit = random_circuit(4 + int(random.below(2)), 12, random);
    for (const char* name : {"line", "ring", "grid:2x3", "full", "0-1,0-2,0-3,3-4,4-5"}) {
      const int level = trial % 4;
      const Coupling coupling = Coupling::parse(name, circuit.wires());
      const Names& basis = continuous_bases()[random.below(continuous_bases().size())];
      const TranspileOptions options{
          .basis = basis, .coupling = coupling, .optimization = level, .seed = uint64_t(trial)};
      const Transpiled result = transpile(circuit, options);
      expect_in_basis(result.circuit, basis);
      std::set<std::pair<int, int>> edges;
      for (const auto& [a, b] : coupling.edges) edges.insert({a, b}), edges.insert({b, a});
      for (const Operation& operation : result.circuit.operations()) {
        if (!is_unitary(operation.kind)) continue;
        ASSERT_LE(operation.wires.size(), 2u);
        EXPECT_TRUE(operation.wires.size() < 2 || edges.contains({operation.wires[0], operation.wires[1]}));
      }
      EXPECT_LT(difference(circuit, result, random), 1e-9) << name << " level " << level;
      EXPECT_EQ(transpile(circuit, options).circuit.operations().size(), result.circuit.operations().size());
    }
  }
}

TEST(Transpile, KeepsWhatIsNoGate) {
  Circuit circuit(3, 2);
  circuit.h(0).measure(0, 0).h(0).reset(1).h(1).channel(bit_flip(0.1), {1}).h(1).barrier().h(0).h(0);
  circuit.when({.first = 0}, Circuit(3, 2).swap(1, 2).h(2));
  circuit.measure(2, 1);
  const Transpiled result = transpile(circuit, {.basis = {"u", "cx"}, .optimization = 3});
  int conditional = 0;
  for (const Operation& operation : result.circuit.operations()) conditional += !operation.conditions.empty();
  EXPECT_EQ(conditional, 4) << "three CNOTs and one U";
  using enum GateKind;
  EXPECT_EQ(count(result.circuit, U), 5) << "none is merged across a measurement, a reset or a channel";
  EXPECT_EQ(count(result.circuit, CX), 3);
  EXPECT_EQ(count(result.circuit, Measure), 2);
  EXPECT_EQ(result.circuit.operations().back().kind, Measure);
  EXPECT_EQ(result.circuit.registers(), circuit.registers());
  EXPECT_EQ(count(transpile(circuit, {.coupling = Coupling::parse("line", 3)}).circuit, Reset), 1);
}

TEST(Transpile, AmplitudeEncodingStaysInFront) {
  const Circuit circuit = Circuit(3).amplitude_encoding().cx(0, 2).h(1);
  const Transpiled result = transpile(circuit, {.coupling = Coupling::parse("line", 3), .optimization = 3});
  EXPECT_EQ(result.circuit.operations()[0].kind, GateKind::AmplitudeEncoding);
  EXPECT_THAT(result.initial_layout, ElementsAre(0, 1, 2));
}

TEST(Transpile, ReportsCounts) {
  const Transpiled result = transpile(Circuit(3).h(0).ccx(0, 1, 2), {.optimization = 1});
  EXPECT_EQ(result.before.gates.at("ccx"), 1);
  EXPECT_EQ(result.before.depth, 2);
  EXPECT_EQ(result.after.gates.at("cx"), 6);
  EXPECT_EQ(result.after.two_qubit, 6);
  EXPECT_EQ(result.after.depth, result.circuit.depth());
}

TEST(Transpile, RefusesBadInput) {
  const Circuit circuit = Circuit(3).h(0).cx(0, 1).rx(2, 0.3);
  const auto message = [&](const TranspileOptions& options) -> std::string {
    try {
      transpile(circuit, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({.basis = {"rz", "sy"}}), HasSubstr("no gate 'sy'"));
  EXPECT_THAT(message({.basis = {}}), HasSubstr("empty"));
  EXPECT_THAT(message({.basis = {"rz", "measure"}}), HasSubstr("Measure"));
  EXPECT_THAT(message({.basis = {"rz", "sx"}}), HasSubstr("entangles"));
  EXPECT_THAT(message({.basis = {"rz", "sx", "swap"}}), HasSubstr("entangles"));
  EXPECT_THAT(message({.basis = {"rz", "cx"}}), HasSubstr("cannot express H"));
  EXPECT_THAT(message({.basis = {"h", "s", "t", "cx"}}), HasSubstr("cannot express RX(0.3)"));
  EXPECT_THAT(message({.optimization = 4}), HasSubstr("0..3"));
  EXPECT_THAT(message({.coupling = {.wires = 2, .edges = {{0, 1}}}}), HasSubstr("2 wires, the circuit 3"));
  EXPECT_THAT(message({.coupling = {.wires = 4, .edges = {{0, 1}, {2, 3}}}}), HasSubstr("several parts"));
  EXPECT_THAT(message({.coupling = {.wires = 3, .edges = {{0, 5}}}}), HasSubstr("0-5 is no edge"));
  EXPECT_THROW(transpile(Circuit(1).rx(0, weight()), {.basis = {"h", "t", "cx"}}), Error);
  for (const char* text : {"", "grid:2", "grid:0x3", "0-1,", "1", "a-b", "circle"})
    EXPECT_THROW(Coupling::parse(text, 3), Error) << text;
}

}  // namespace
}  // namespace quanta
