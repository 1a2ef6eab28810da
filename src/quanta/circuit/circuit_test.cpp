#include "quanta/circuit/circuit.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

using naive::random_circuit;
using naive::random_values;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// The product of the operations, each spread over all wires by definition.
Matrix reference(const Circuit& circuit, const std::vector<double>& weights, const std::vector<double>& inputs) {
  Matrix result = naive::one(1 << circuit.wires());
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Barrier) continue;
    Operation own = operation;
    own.controls.clear();
    const Matrix matrix = own.unitary(weights.data(), inputs.data());
    result = naive::multiply(naive::embed(matrix, own.wires, operation.controls, circuit.wires()), result);
  }
  return result;
}

TEST(Operation, UnitaryPutsControlsLast) {
  Circuit circuit(3);
  circuit.add(GateKind::RY, {2}, {0.7}, {0});
  const Matrix unitary = circuit.operations()[0].unitary();
  EXPECT_LT(naive::distance(unitary, naive::embed(gate_matrix(GateKind::RY, std::vector{0.7}), {0}, {1}, 2)), 1e-16);
  EXPECT_THAT(circuit.operations()[0].all_wires(), ElementsAre(2, 0));
}

TEST(Operation, PauliRotationIsTheExponential) {
  Random random(1);
  for (const char* letters : {"X", "ZY", "XIZ", "YXZY"}) {
    std::vector<std::pair<int, char>> factors;
    for (int q = 0; letters[q]; ++q)
      if (letters[q] != 'I') factors.emplace_back(q, letters[q]);
    const double angle = random.uniform(-9, 9);
    Circuit circuit(int(std::string(letters).size()));
    circuit.pauli_rotation(PauliString(factors), angle);
    EXPECT_LT(naive::distance(circuit.matrix(), naive::exp(naive::pauli(letters), Complex(0, -angle / 2))), 1e-13);
  }
  EXPECT_NEAR(std::arg(Circuit(1).pauli_rotation({}, 0.8).matrix()(1, 1)), -0.4, 1e-15) << "a global phase";
}

TEST(Circuit, MatrixIsTheProductOfItsGates) {
  Random random(2);
  for (int wires = 1; wires <= 5; ++wires) {
    for (int trial = 0; trial < 12; ++trial) {
      const Circuit circuit = random_circuit(wires, 15, random);
      const auto weights = random_values(circuit.weights(), random), inputs = random_values(circuit.inputs(), random);
      EXPECT_LT(naive::distance(circuit.matrix(weights, inputs), reference(circuit, weights, inputs)), 1e-13);
    }
  }
}

TEST(Circuit, MethodsAddWhatTheirNamesSay) {
  const auto same = [](const std::function<void(Circuit&)>& method, GateKind kind, std::vector<int> wires,
                       std::vector<Angle> angles = {}) {
    Circuit a(4), b(4);
    method(a);
    b.add(kind, wires, angles);
    ASSERT_EQ(a.operations().size(), 1u);
    EXPECT_EQ(a.operations()[0].kind, kind);
    EXPECT_EQ(a.operations()[0].wires, wires) << gate_info(kind).name;
    EXPECT_EQ(a.operations()[0].angles, angles) << gate_info(kind).name;
  };
  same([](Circuit& c) { c.i(2); }, GateKind::I, {2});
  same([](Circuit& c) { c.x(2); }, GateKind::X, {2});
  same([](Circuit& c) { c.y(2); }, GateKind::Y, {2});
  same([](Circuit& c) { c.z(2); }, GateKind::Z, {2});
  same([](Circuit& c) { c.h(2); }, GateKind::H, {2});
  same([](Circuit& c) { c.s(2); }, GateKind::S, {2});
  same([](Circuit& c) { c.sdg(2); }, GateKind::Sdg, {2});
  same([](Circuit& c) { c.t(2); }, GateKind::T, {2});
  same([](Circuit& c) { c.tdg(2); }, GateKind::Tdg, {2});
  same([](Circuit& c) { c.sx(2); }, GateKind::SX, {2});
  same([](Circuit& c) { c.sxdg(2); }, GateKind::SXdg, {2});
  same([](Circuit& c) { c.rx(2, 0.1); }, GateKind::RX, {2}, {0.1});
  same([](Circuit& c) { c.ry(2, 0.1); }, GateKind::RY, {2}, {0.1});
  same([](Circuit& c) { c.rz(2, 0.1); }, GateKind::RZ, {2}, {0.1});
  same([](Circuit& c) { c.p(2, 0.1); }, GateKind::P, {2}, {0.1});
  same([](Circuit& c) { c.u(2, 0.1, 0.2, 0.3); }, GateKind::U, {2}, {0.1, 0.2, 0.3});
  same([](Circuit& c) { c.cnot(2, 1); }, GateKind::CX, {2, 1});
  same([](Circuit& c) { c.cx(2, 1); }, GateKind::CX, {2, 1});
  same([](Circuit& c) { c.cy(2, 1); }, GateKind::CY, {2, 1});
  same([](Circuit& c) { c.cz(2, 1); }, GateKind::CZ, {2, 1});
  same([](Circuit& c) { c.ch(2, 1); }, GateKind::CH, {2, 1});
  same([](Circuit& c) { c.crx(2, 1, 0.1); }, GateKind::CRX, {2, 1}, {0.1});
  same([](Circuit& c) { c.cry(2, 1, 0.1); }, GateKind::CRY, {2, 1}, {0.1});
  same([](Circuit& c) { c.crz(2, 1, 0.1); }, GateKind::CRZ, {2, 1}, {0.1});
  same([](Circuit& c) { c.cp(2, 1, 0.1); }, GateKind::CP, {2, 1}, {0.1});
  same([](Circuit& c) { c.cu(2, 1, 0.1, 0.2, 0.3, 0.4); }, GateKind::CU, {2, 1}, {0.1, 0.2, 0.3, 0.4});
  same([](Circuit& c) { c.swap(2, 1); }, GateKind::SWAP, {2, 1});
  same([](Circuit& c) { c.iswap(2, 1); }, GateKind::ISWAP, {2, 1});
  same([](Circuit& c) { c.rxx(2, 1, 0.1); }, GateKind::RXX, {2, 1}, {0.1});
  same([](Circuit& c) { c.ryy(2, 1, 0.1); }, GateKind::RYY, {2, 1}, {0.1});
  same([](Circuit& c) { c.rzz(2, 1, 0.1); }, GateKind::RZZ, {2, 1}, {0.1});
  same([](Circuit& c) { c.ccx(2, 0, 1); }, GateKind::CCX, {2, 0, 1});
  same([](Circuit& c) { c.cswap(2, 0, 1); }, GateKind::CSWAP, {2, 0, 1});
  same([](Circuit& c) { c.barrier(); }, GateKind::Barrier, {});
}

TEST(Circuit, NewWeightsCountUp) {
  Circuit circuit(2);
  circuit.rot(0, weight(), weight(), weight()).rx(1, weight(7)).ry(1, weight() * input(4) + weight());
  ASSERT_EQ(circuit.operations().size(), 5u);
  EXPECT_EQ(circuit.operations()[0].angles[0], weight(0));
  EXPECT_EQ(circuit.operations()[1].angles[0], weight(1));
  EXPECT_EQ(circuit.operations()[2].angles[0], weight(2));
  EXPECT_EQ(circuit.operations()[4].angles[0], weight(8) * input(4) + weight(9));
  EXPECT_EQ(circuit.weights(), 10);
  EXPECT_EQ(circuit.inputs(), 5);
}

TEST(Circuit, RotIsZYZ) {
  Circuit circuit(1);
  circuit.rot(0, 0.3, -1.2, 2.2);
  const auto matrix = [](GateKind kind, double a) { return gate_matrix(kind, std::vector{a}); };
  const Matrix expected = matrix(GateKind::RZ, 2.2) * matrix(GateKind::RY, -1.2) * matrix(GateKind::RZ, 0.3);
  EXPECT_LT(naive::distance(circuit.matrix(), expected), 1e-15);
}

TEST(Circuit, RefusesBadOperations) {
  const auto throws = [](const std::function<void(Circuit&)>& add, const char* message) {
    Circuit circuit(4);
    circuit.rx(0, weight());
    EXPECT_THAT([&] { add(circuit); }, ThrowsMessage<Error>(HasSubstr(message)));
    EXPECT_EQ(circuit.operations().size(), 1u) << "a refused operation leaves no trace";
    EXPECT_EQ(circuit.weights(), 1);
    EXPECT_EQ(circuit.inputs(), 0);
  };
  throws([](Circuit& c) { c.cx(0, 5); }, "CX: wire 5 is out of range, the circuit has wires 0..3");
  throws([](Circuit& c) { c.h(-1); }, "H: wire -1 is out of range");
  throws([](Circuit& c) { c.cx(2, 2); }, "CX: wire 2 is used twice");
  throws([](Circuit& c) { c.add(GateKind::X, {2}, {}, {0, 2}); }, "X: wire 2 is used twice");
  throws([](Circuit& c) { c.add(GateKind::CX, {2}); }, "CX: expected 2 wires, got 1");
  throws([](Circuit& c) { c.add(GateKind::U, {0}, {weight(), input(3)}); }, "U: expected 3 angles, got 2");
  throws([](Circuit& c) { c.add(GateKind::H, {0}, {1.0}); }, "H: expected 0 angles, got 1");
  throws([](Circuit& c) { c.rx(0, NAN); }, "RX: angle nan is not finite");
  throws([](Circuit& c) { c.rx(0, input(0) / 0); }, "is not finite");
  throws([](Circuit& c) { c.rx(0, weight(2000000000)); }, "RX: weight 2000000000 of angle");
  throws([](Circuit& c) { c.rx(0, input(2000000000)); }, "RX: input 2000000000 of angle");
  throws([](Circuit& c) { c.u(0, weight(), input(9), NAN); }, "is not finite");
  throws([](Circuit& c) { c.pauli_rotation(PauliString({{4, 'X'}}), 1); }, "PauliRotation: wire 4 is out of range");
  throws([](Circuit& c) { c.amplitude_encoding(); }, "AmplitudeEncoding: must be the first operation");
  throws([](Circuit& c) { c.add(GateKind::Barrier, {0}, {}, {1}); }, "Barrier: cannot be controlled");
  throws([](Circuit& c) { c.cnot_ring(4); }, "stride of 4 on 4 wires");

  Matrix matrix = Matrix::identity(4);
  throws([&](Circuit& c) { c.unitary({0}, matrix); }, "Unitary on wires 0: expected a 2 x 2 matrix, got dimension 4");
  throws([&](Circuit& c) { c.unitary({}, matrix); }, "Unitary: expected 1..10 wires, got 0");
  throws([&](Circuit& c) { c.unitary({1, 1}, matrix); }, "Unitary: wire 1 is used twice");
  throws([&](Circuit& c) { c.unitary({1, 2}, Matrix(4, {1, 0})); }, "dimension 4 with 2 elements");
  matrix(0, 0) = 1.1;
  throws(
      [&](Circuit& c) {
        c.unitary({0, 1}, matrix);
      },
      "Unitary on wires 0,1: the matrix is not unitary (|U+U - 1| = 0.21), expected below 1e-06");
  matrix(0, 0) = NAN;
  throws([&](Circuit& c) { c.unitary({0, 1}, matrix); }, "is not unitary");
  throws([](Circuit& c) { c.add(Operation{GateKind::Unitary, {0}, {}, {}, {}}); }, "the matrix is missing");

  EXPECT_THAT([] { Circuit(0); }, ThrowsMessage<Error>(HasSubstr("a circuit has 1..65536 wires, got 0")));
  EXPECT_THROW(Circuit(kMaxWires + 1), Error);
  EXPECT_THROW(Circuit(2).rx(0, weight()).matrix(), Error);
  EXPECT_THROW(Circuit(13).matrix(), Error);
}

TEST(Circuit, AmplitudeEncodingTakesTheFirstInputs) {
  Circuit circuit(3);
  circuit.amplitude_encoding().rx(0, input(2));
  EXPECT_TRUE(circuit.has_amplitude_encoding());
  EXPECT_EQ(circuit.inputs(), 8);
  EXPECT_EQ(circuit.rx(0, input(8)).inputs(), 9);
  EXPECT_THROW(circuit.inverse(), Error);
  EXPECT_THROW(circuit.matrix({}, std::vector<double>(9)), Error);
  EXPECT_THROW(circuit.operations()[0].unitary(), Error);
  EXPECT_THROW(Circuit(29).amplitude_encoding(), Error);
  EXPECT_TRUE(Circuit(3).append(circuit).has_amplitude_encoding());
  EXPECT_THROW(Circuit(4).append(circuit), Error);
  EXPECT_THROW(Circuit(3).append(circuit, {1, 0, 2}), Error);
  EXPECT_THROW(Circuit(3).append(circuit, {}, 0, 1), Error);
  EXPECT_THROW(Circuit(3).x(0).append(circuit), Error);
}

TEST(Circuit, Depth) {
  EXPECT_EQ(Circuit(3).depth(), 0);
  EXPECT_EQ(Circuit(3).h(0).h(1).h(2).depth(), 1);
  EXPECT_EQ(Circuit(3).h(0).barrier().h(1).barrier().depth(), 1);
  EXPECT_EQ(Circuit(4).cnot_chain().depth(), 3);
  EXPECT_EQ(Circuit(4).cnot_ring().depth(), 4);
  EXPECT_EQ(Circuit(4).cnot(0, 1).cnot(2, 3).add(GateKind::X, {0}, {}, {3}).h(1).depth(), 2);
}

TEST(Circuit, Rings) {
  const auto pairs = [](const Circuit& circuit) {
    std::vector<std::pair<int, int>> result;
    for (const Operation& operation : circuit.operations()) result.emplace_back(operation.wires[0], operation.wires[1]);
    return result;
  };
  using P = std::pair<int, int>;
  EXPECT_THAT(pairs(Circuit(3).cnot_ring()), ElementsAre(P(0, 1), P(1, 2), P(2, 0)));
  EXPECT_THAT(pairs(Circuit(4).cnot_ring(2)), ElementsAre(P(0, 2), P(1, 3), P(2, 0), P(3, 1)));
  EXPECT_THAT(pairs(Circuit(3).cnot_ring(-1)), ElementsAre(P(0, 2), P(1, 0), P(2, 1)));
  EXPECT_THAT(pairs(Circuit(2).cnot_ring()), ElementsAre(P(0, 1), P(1, 0)));
  EXPECT_THAT(pairs(Circuit(1).cnot_ring()), ElementsAre());
  EXPECT_THAT(pairs(Circuit(3).cnot_chain()), ElementsAre(P(0, 1), P(1, 2)));
  EXPECT_THAT(pairs(Circuit(1).cnot_chain()), ElementsAre());
}

TEST(Circuit, AppendMovesWiresAndParameters) {
  Random random(3);
  for (int trial = 0; trial < 20; ++trial) {
    const Circuit inner = random_circuit(3, 12, random);
    const std::vector<int> on{4, 0, 2};
    Circuit outer(5);
    outer.h(1).append(inner, on, 2, 1);
    const auto weights = random_values(outer.weights(), random), inputs = random_values(outer.inputs(), random);
    if (inner.weights() > 0) {
      EXPECT_EQ(outer.weights(), inner.weights() + 2);
    }
    if (inner.inputs() > 0) {
      EXPECT_EQ(outer.inputs(), inner.inputs() + 1);
    }
    const auto tail = [](const std::vector<double>& all, size_t from) {
      return all.size() < from ? std::vector<double>() : std::vector<double>(all.begin() + from, all.end());
    };
    const Matrix expected = naive::multiply(naive::embed(inner.matrix(tail(weights, 2), tail(inputs, 1)), on, {}, 5),
                                            naive::embed(gate_matrix(GateKind::H, {}), {1}, {}, 5));
    EXPECT_LT(naive::distance(outer.matrix(weights, inputs), expected), 1e-13);
  }
}

TEST(Circuit, AppendToItselfAndErrors) {
  Circuit circuit(2);
  circuit.rx(0, weight()).cx(0, 1);
  circuit.append(circuit, {1, 0}, 1);
  ASSERT_EQ(circuit.operations().size(), 4u);
  EXPECT_EQ(circuit.weights(), 2);
  EXPECT_THAT(circuit.operations()[3].wires, ElementsAre(1, 0));

  Circuit wide(3);
  wide.h(0).cx(1, 2);
  Circuit narrow(2);
  EXPECT_THAT([&] { narrow.append(wide); }, ThrowsMessage<Error>(HasSubstr("CX: wire 2 is out of range")));
  EXPECT_TRUE(narrow.operations().empty()) << "all or nothing";
  EXPECT_THROW(narrow.append(wide, {0, 1}), Error);
  EXPECT_THAT([&] { Circuit(5).append(wide, {0, 1, 1}); }, ThrowsMessage<Error>(HasSubstr("wire 1 is used twice")));
  EXPECT_THROW(Circuit(3).append(wide, {}, -1), Error);
}

TEST(Circuit, InverseUndoes) {
  Random random(4);
  for (int trial = 0; trial < 60; ++trial) {
    const int wires = 1 + trial % 4;
    const Circuit circuit = random_circuit(wires, 15, random), inverse = circuit.inverse();
    EXPECT_EQ(inverse.weights(), circuit.weights());
    EXPECT_EQ(inverse.inputs(), circuit.inputs());
    const auto weights = random_values(circuit.weights(), random), inputs = random_values(circuit.inputs(), random);
    const Matrix product = naive::multiply(inverse.matrix(weights, inputs), circuit.matrix(weights, inputs));
    EXPECT_LT(naive::distance(product, naive::one(1 << wires)), 1e-12);
  }
}

TEST(Circuit, InverseOfEachGate) {
  for (const GateInfo& info : gate_table()) {
    if (info.wires == 0 || !is_unitary(info.kind)) continue;
    Circuit circuit(4);
    std::vector<int> wires{2, 0, 3};
    wires.resize(info.wires);
    circuit.add(info.kind, wires, std::vector<Angle>(info.angles, weight() * input(0) + weight() - 0.4), {1});
    const std::vector<double> weights{0.3, -0.9, 1.4, 0.2, 2.1, -0.5, 0.8, 1.9}, inputs{0.7};
    const Circuit inverse = circuit.inverse();
    const std::vector<double> w(weights.begin(), weights.begin() + circuit.weights());
    const std::vector<double> x(inputs.begin(), inputs.begin() + circuit.inputs());
    EXPECT_LT(naive::distance(naive::multiply(inverse.matrix(w, x), circuit.matrix(w, x)), naive::one(16)), 1e-14)
        << info.name;
    if (info.hermitian) {
      EXPECT_EQ(inverse.operations()[0].kind, info.kind);
    }
  }
  EXPECT_EQ(Circuit(1).s(0).inverse().operations()[0].kind, GateKind::Sdg);
  EXPECT_EQ(Circuit(1).rx(0, weight()).inverse().operations()[0].angles[0], -weight(0));
}

}  // namespace
}  // namespace quanta
