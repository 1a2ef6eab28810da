#include "quanta/circuit/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/noise.h"
#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using testing::HasSubstr;

Matrix apply(const Channel& channel, const Matrix& rho) {
  Matrix result(rho.dim);
  for (const Matrix& k : channel.kraus()) {
    const Matrix term = k * rho * k.adjoint();
    for (size_t i = 0; i < result.data.size(); ++i) result.data[i] += term.data[i];
  }
  return result;
}

// A mixed state of one qubit.
const Matrix kRho(2, {0.7, Complex(0.2, 0.1), Complex(0.2, -0.1), 0.3});

void expect_equal(const Matrix& a, const Matrix& b, const std::string& what) {
  ASSERT_EQ(a.dim, b.dim);
  for (size_t i = 0; i < a.data.size(); ++i) EXPECT_LT(std::abs(a.data[i] - b.data[i]), 1e-12) << what << " " << i;
}

TEST(Channel, OneQubitChannelsDoWhatTheirClosedFormsSay) {
  const Complex c(0.2, 0.1);
  const auto rho = [](double a, Complex b) { return Matrix(2, {a, b, std::conj(b), 1 - a}); };
  expect_equal(apply(bit_flip(0.25), kRho), rho(0.75 * 0.7 + 0.25 * 0.3, 0.75 * c + 0.25 * std::conj(c)), "bit flip");
  expect_equal(apply(phase_flip(0.25), kRho), rho(0.7, 0.5 * c), "phase flip");
  expect_equal(apply(bit_phase_flip(0.25), kRho), rho(0.75 * 0.7 + 0.25 * 0.3, 0.75 * c - 0.25 * std::conj(c)), "Y");
  expect_equal(apply(depolarizing(0.3), kRho), rho(0.7 * 0.7 + 0.3 * 0.5, 0.7 * c), "depolarizing");
  expect_equal(apply(amplitude_damping(0.36), kRho), rho(0.7 + 0.36 * 0.3, 0.8 * c), "amplitude damping");
  expect_equal(apply(phase_damping(0.36), kRho), rho(0.7, 0.8 * c), "phase damping");
  // Towards diag(0.9, 0.1).
  expect_equal(apply(generalized_amplitude_damping(0.36, 0.1), kRho), rho(0.64 * 0.7 + 0.36 * 0.9, 0.8 * c), "GAD");
  const double t1 = 50, t2 = 70, t = 20, decay = std::exp(-t / t1);
  expect_equal(apply(thermal_relaxation(t1, t2, t, 0.1), kRho),
               rho(decay * 0.7 + (1 - decay) * 0.9, std::exp(-t / t2) * c), "thermal relaxation");
  expect_equal(apply(thermal_relaxation(t1, 2 * t1, t), kRho), rho(1 - decay * 0.3, std::exp(-t / 2 / t1) * c),
               "T2 = 2 T1");
}

TEST(Channel, CompleteDepolarizingLeavesNothing) {
  Random random(1);
  const Matrix psi = naive::random_unitary(4, random);  // a state is a column
  Matrix rho(4);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) rho(i, j) = psi(i, 0) * std::conj(psi(j, 0));
  Matrix mixed = Matrix::identity(4);
  for (Complex& element : mixed.data) element *= 0.25;
  expect_equal(apply(depolarizing(1, 2), rho), mixed, "p = 1");
}

TEST(Channel, KnowsPauliChannels) {
  EXPECT_THAT(bit_flip(0.1).pauli_probabilities(),
              testing::Pointwise(testing::DoubleNear(1e-12), {0.9, 0.1, 0.0, 0.0}));
  EXPECT_THAT(depolarizing(0.4).pauli_probabilities(),
              testing::Pointwise(testing::DoubleNear(1e-12), {0.7, 0.1, 0.1, 0.1}));
  EXPECT_TRUE(amplitude_damping(0.1).pauli_probabilities().empty());
  // Index: wires[0] is the low digit, so Z on wire 0 and X on wire 1 is 3 + 4 * 1.
  std::vector<double> probabilities(16);
  probabilities[7] = 1;
  const Channel zx = pauli_channel(probabilities);
  expect_equal(zx.kraus()[0], kron(gate_matrix(GateKind::X, {}), gate_matrix(GateKind::Z, {})), "XZ");
}

TEST(Channel, TransferMatricesOfKnownChannels) {
  const double p = 0.3, g = 0.36;
  EXPECT_THAT(depolarizing(p).transfer_matrix(),
              testing::Pointwise(testing::DoubleNear(1e-12),
                                 {1., 0., 0., 0., 0., 1 - p, 0., 0., 0., 0., 1 - p, 0., 0., 0., 0., 1 - p}));
  EXPECT_THAT(amplitude_damping(g).transfer_matrix(),
              testing::Pointwise(testing::DoubleNear(1e-12),
                                 {1., 0., 0., 0., 0., 0.8, 0., 0., 0., 0., 0.8, 0., g, 0., 0., 1 - g}));
}

TEST(Channel, RefusesWhatIsNoChannel) {
  const auto message = [](auto&& make) -> std::string {
    try {
      make();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message([] { bit_flip(1.5); }), HasSubstr("bit_flip: p must be in 0..1, got 1.5"));
  EXPECT_THAT(message([] { depolarizing(NAN); }), HasSubstr("got nan"));
  EXPECT_THAT(message([] { thermal_relaxation(1, 3, 1); }), HasSubstr("T2 <= 2 T1"));
  EXPECT_THAT(message([] { pauli_channel(std::vector<double>{0.5, 0.5}); }), HasSubstr("4^k"));
  EXPECT_THAT(message([] { pauli_channel(std::vector<double>{0.5, 0.4, 0, 0}); }), HasSubstr("sum to 0.9"));
  EXPECT_THAT(message([] { Channel("half", {Matrix(2, {0.5, 0, 0, 0.5})}); }), HasSubstr("not complete"));
  EXPECT_THAT(message([] { Channel("none", {}); }), HasSubstr("at least one"));
  EXPECT_THAT(message([] { Channel("odd", {Matrix(3)}); }), HasSubstr("dimension"));
}

TEST(NoiseModel, PutsChannelsBehindGates) {
  NoiseModel noise = NoiseModel::depolarizing(0.1, 0.2);
  noise.after(phase_flip(0.5), {GateKind::H}, {0}).readout(0.01, 0.02).readout(0.03, 0.04, 1);
  Circuit circuit(2, 2);
  circuit.h(0).h(1).cnot(0, 1).barrier().measure(0, 0).measure(1, 1);
  const Circuit noisy = noise.apply(circuit);
  std::string text;
  for (const Operation& operation : noisy.operations()) {
    text += operation.channel ? operation.channel->name() : std::string(gate_info(operation.kind).name);
    for (const int q : operation.wires) text += std::to_string(q);
    text += ' ';
  }
  EXPECT_EQ(text, "H0 depolarizing0 phase_flip0 H1 depolarizing1 CX01 depolarizing01 Barrier Measure0 Measure1 ");
  EXPECT_EQ(noisy.operations()[8].misread, (std::array{0.01, 0.02}));
  EXPECT_EQ(noisy.operations()[9].misread, (std::array{0.03, 0.04}));
}

TEST(NoiseModel, KeepsParametersThatNoGateReads) {
  const Circuit noisy = NoiseModel().apply(Circuit(1).declare(3, 2).ry(0, weight(1)));
  EXPECT_EQ(noisy.weights(), 3);
  EXPECT_EQ(noisy.inputs(), 2);
}

TEST(NoiseModel, KnowsTheOrderOfWires) {
  const Circuit noisy = NoiseModel()
                            .after_on({1, 0}, depolarizing(0.1, 2), {GateKind::CX})
                            .apply(Circuit(2).cnot(0, 1).cnot(1, 0).cz(1, 0));
  ASSERT_EQ(noisy.operations().size(), 4u);
  EXPECT_EQ(noisy.operations()[2].wires, (std::vector{1, 0}));
  ASSERT_NE(noisy.operations()[2].channel, nullptr);
  EXPECT_EQ(noisy.operations()[2].channel->name(), "depolarizing");
  EXPECT_THROW(NoiseModel().after_on({0, 1, 2}, depolarizing(0.1, 2)), Error);
  EXPECT_THROW(NoiseModel().after_on({}, depolarizing(0.1)), Error);
}

TEST(Dynamics, CircuitsCheckMeasurementsAndConditions) {
  Circuit circuit(2, 1);
  EXPECT_THROW(circuit.measure(0, 1), Error);
  EXPECT_THROW(circuit.measure(2, 0), Error);
  EXPECT_THROW(circuit.add_register("c", 1), Error);
  EXPECT_THROW(circuit.channel(depolarizing(0.1, 2), {0}), Error);
  EXPECT_THROW(circuit.add(GateKind::Reset, {0}, {}, {1}), Error);
  Circuit body(2, 1);
  body.x(1);
  circuit.measure(0, 0).when({.first = 0, .count = 1, .value = 1}, body);
  EXPECT_THROW(circuit.when({.first = 0, .count = 2}, body), Error);
  EXPECT_THROW(circuit.when({.first = 0}, Circuit(2, 1).measure(1, 0)), Error);
  EXPECT_FALSE(circuit.is_unitary());
  EXPECT_THROW(circuit.inverse(), Error);
  EXPECT_THROW(circuit.matrix(), Error);
  EXPECT_EQ(circuit.operations().size(), 2u);
  // A measurement that a condition reads is not final.
  EXPECT_EQ(circuit.without_final_measurements().operations().size(), 2u);
  circuit.add_register("d", 1);
  EXPECT_TRUE(circuit.final_measurements().empty());
  circuit.measure(1, 1);
  EXPECT_EQ(circuit.without_final_measurements().operations().size(), 2u);
  ASSERT_EQ(circuit.final_measurements().size(), 1u);
  EXPECT_EQ(circuit.final_measurements()[0].clbit, 1);

  const uint8_t bits[] = {1, 0, 1};
  EXPECT_TRUE((Condition{.first = 0, .count = 3, .value = 5}).holds(bits));
  EXPECT_FALSE((Condition{.first = 1, .count = 2, .value = 1}).holds(bits));
  EXPECT_TRUE((Condition{.first = 1, .count = 2, .value = 1, .negated = true}).holds(bits));
  EXPECT_FALSE((Condition{.first = 0, .count = 1, .value = 3}).holds(bits));
}

TEST(Circuit, InitialResetsDoNothing) {
  const Circuit circuit = Circuit(3, 1).reset(0).barrier().reset(0).h(0).reset(0).cx(0, 1).reset(1).reset(2);
  const Circuit kept = circuit.without_initial_resets();
  std::vector<int> reset;
  for (const Operation& operation : kept.operations())
    if (operation.kind == GateKind::Reset) reset.push_back(operation.wires[0]);
  EXPECT_EQ(reset, (std::vector<int>{0, 1}));
  EXPECT_EQ(kept.operations().size(), circuit.operations().size() - 3);
  EXPECT_EQ(kept.clbits(), 1);
}

}  // namespace
}  // namespace quanta
