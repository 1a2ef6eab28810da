#include "quanta/circuit/ansaetze.h"

#include <gmock/gmock.h>

#include "quanta/circuit/naive.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

// A circuit as the definitions write it down: one line a gate, weights in order.
std::string listing(const Circuit& circuit) {
  std::string text;
  for (const Operation& operation : circuit.operations()) {
    text += text.empty() ? "" : " ";
    text += gate_info(operation.kind).name;
    for (const int q : operation.wires) text += std::to_string(q);
    for (const Angle& angle : operation.angles) text += fmt::format("({})", angle.to_string());
  }
  return text;
}

template <class... Args>
Circuit build(int wires, Circuit& (*ansatz)(Circuit&, Args...), std::type_identity_t<Args>... args) {
  Circuit circuit(wires);
  ansatz(circuit, args...);
  return circuit;
}

TEST(BasicEntangler, FollowsPennyLane) {
  EXPECT_EQ(listing(build(3, basic_entangler, 2, 'X')),
            "RX0(w0) RX1(w1) RX2(w2) CX01 CX12 CX20 RX0(w3) RX1(w4) RX2(w5) CX01 CX12 CX20");
  EXPECT_EQ(listing(build(2, basic_entangler, 1, 'Y')), "RY0(w0) RY1(w1) CX01");
  EXPECT_EQ(listing(build(1, basic_entangler, 2, 'Z')), "RZ0(w0) RZ0(w1)");
}

TEST(StronglyEntangling, RangesGrowWithTheLayer) {
  const Circuit circuit = build(4, strongly_entangling, 4, {});
  EXPECT_EQ(circuit.weights(), 4 * 4 * 3);
  std::vector<int> ranges;
  for (const Operation& operation : circuit.operations())
    if (operation.kind == GateKind::CX && operation.wires[0] == 0) ranges.push_back(operation.wires[1]);
  EXPECT_EQ(ranges, (std::vector<int>{1, 2, 3, 1}));
  EXPECT_EQ(listing(build(2, strongly_entangling, 1, {})), "RZ0(w0) RY0(w1) RZ0(w2) RZ1(w3) RY1(w4) RZ1(w5) CX01 CX10");
  EXPECT_EQ(listing(build(3, strongly_entangling, 1, {2})),
            "RZ0(w0) RY0(w1) RZ0(w2) RZ1(w3) RY1(w4) RZ1(w5) RZ2(w6) RY2(w7) RZ2(w8) CX02 CX10 CX21");
  EXPECT_EQ(build(1, strongly_entangling, 2, {}).operations().size(), 6u);
  EXPECT_THROW(build(3, strongly_entangling, 2, {1}), Error);
  EXPECT_THROW(build(3, strongly_entangling, 1, {3}), Error);
  EXPECT_THROW(build(3, strongly_entangling, 1, {0}), Error);
}

TEST(HardwareEfficient, RotatesAndRings) {
  EXPECT_EQ(listing(build(2, hardware_efficient, 1)), "RX0(w0) RY0(w1) RZ0(w2) RX1(w3) RY1(w4) RZ1(w5) CX01 CX10");
  EXPECT_EQ(build(5, hardware_efficient, 3).weights(), 45);
  EXPECT_EQ(build(5, hardware_efficient, 0).operations().size(), 0u);
  EXPECT_THROW(build(5, hardware_efficient, -1), Error);
}

TEST(EfficientSU2, FollowsQiskit) {
  EXPECT_EQ(listing(build(3, efficient_su2, 1, Entanglement::ReverseLinear)),
            "RY0(w0) RY1(w1) RY2(w2) RZ0(w3) RZ1(w4) RZ2(w5) CX12 CX01 "
            "RY0(w6) RY1(w7) RY2(w8) RZ0(w9) RZ1(w10) RZ2(w11)");
  Circuit circuit(4);
  EXPECT_EQ(efficient_su2(circuit).weights(), 32);
}

TEST(RealAmplitudes, FollowsQiskit) {
  EXPECT_EQ(listing(build(3, real_amplitudes, 1, Entanglement::Ring)),
            "RY0(w0) RY1(w1) RY2(w2) CX20 CX01 CX12 RY0(w3) RY1(w4) RY2(w5)");
  EXPECT_EQ(listing(build(1, real_amplitudes, 2, Entanglement::Full)), "RY0(w0) RY0(w1) RY0(w2)");
  Circuit circuit(4);
  EXPECT_EQ(real_amplitudes(circuit).weights(), 16);
  std::vector<double> weights(16);
  for (int i = 0; i < 16; ++i) weights[i] = std::sin(1 + 3 * i);
  for (const Complex& element : circuit.matrix(weights).data) EXPECT_EQ(element.imag(), 0);
}

TEST(Entanglement, ReverseLinearEqualsFullForCnots) {
  for (int n = 1; n <= 6; ++n) {
    Circuit full(n), reverse(n);
    for (const auto& [a, b] : entangled_pairs(Entanglement::Full, n)) full.cx(a, b);
    for (const auto& [a, b] : entangled_pairs(Entanglement::ReverseLinear, n)) reverse.cx(a, b);
    EXPECT_EQ(naive::distance(full.matrix(), reverse.matrix()), 0) << n;
  }
}

TEST(Qaoa, IsTheExponentialOfCostAndMixer) {
  const PauliSum cost = 0.5 * Z(0) * Z(1) - 1.5 * Z(1) * Z(2) + 0.25 * Z(0) + 3.0;
  Circuit circuit(3);
  qaoa_layer(circuit, cost);
  EXPECT_EQ(circuit.weights(), 2);
  const double gamma = 0.7, beta = -0.4;
  Matrix expected = naive::exp((cost - 3.0).simplified().matrix(3), Complex(0, -gamma));
  expected = naive::multiply(naive::exp(sum_of('X', 3).matrix(3), Complex(0, -beta)), expected);
  EXPECT_LT(naive::distance(circuit.matrix({gamma, beta}), expected), 1e-14);

  qaoa_layer(circuit, cost, 0.5 * weight(), weight(0) * input(0));
  EXPECT_EQ(circuit.weights(), 3);
  EXPECT_EQ(circuit.operations().back().angles[0], 2 * weight(0) * input(0));
  EXPECT_THROW(qaoa_layer(circuit, PauliSum(1)), Error);
  EXPECT_THROW(qaoa_layer(circuit, Z(3)), Error);
}

}  // namespace
}  // namespace quanta
