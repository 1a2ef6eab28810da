#include "quanta/simulate/stabilizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "quanta/circuit/naive.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/simulator.h"

// The oracles: the state vector (Simulator<double>) and naive density matrices on few wires, known stabilizers on many.

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr double kPi = std::numbers::pi;

const std::vector<GateKind> kFixed{GateKind::X,   GateKind::Y,  GateKind::Z,    GateKind::H,    GateKind::S,
                                   GateKind::Sdg, GateKind::SX, GateKind::SXdg, GateKind::SWAP, GateKind::ISWAP,
                                   GateKind::CX,  GateKind::CY, GateKind::CZ,   GateKind::I};
const std::vector<GateKind> kRightAngles{GateKind::RX, GateKind::RY,  GateKind::RZ,  GateKind::P,
                                         GateKind::U,  GateKind::RXX, GateKind::RYY, GateKind::RZZ};
const std::vector<GateKind> kStraightAngles{GateKind::CP, GateKind::CRX, GateKind::CRY, GateKind::CRZ};

void add_random_clifford(Circuit& circuit, Random& random) {
  const int n = circuit.wires();
  std::vector<int> order;
  for (const int64_t q : random.permutation(n)) order.push_back(int(q));
  const auto wires = [&](GateKind kind) { return std::vector(order.begin(), order.begin() + gate_info(kind).wires); };
  const auto choose = [&](const std::vector<GateKind>& kinds) {
    for (;;)
      if (const GateKind kind = kinds[random.below(kinds.size())]; gate_info(kind).wires <= n) return kind;
  };
  switch (random.below(n > 1 ? 5 : 2)) {
    case 0: {
      const GateKind kind = choose(kFixed);
      circuit.add(kind, wires(kind));
      return;
    }
    case 1: {
      const GateKind kind = choose(kRightAngles);
      std::vector<Angle> angles;
      for (int k = 0; k < gate_info(kind).angles; ++k) angles.push_back(kPi / 2 * (double(random.below(9)) - 4));
      circuit.add(kind, wires(kind), angles);
      return;
    }
    case 2: {
      const GateKind kind = choose(kStraightAngles);
      circuit.add(kind, wires(kind), {kPi * double(random.below(8))});
      return;
    }
    case 3: {
      PauliString pauli;
      for (int q = 0; q < n; ++q)
        if (const char letter = "IXYZ"[random.below(4)]; letter != 'I') pauli.factors.emplace_back(q, letter);
      circuit.pauli_rotation(pauli, kPi / 2 * (double(random.below(9)) - 4));
      return;
    }
    default:
      circuit.add(GateKind::X, {order[0]}, {}, {order[1]});
  }
}

Circuit random_clifford(int wires, int gates, Random& random, int clbits = 0) {
  Circuit circuit(wires, clbits);
  for (int k = 0; k < gates; ++k) add_random_clifford(circuit, random);
  return circuit;
}

std::vector<double> expectations(const StabilizerSimulator& simulator) {
  std::vector<double> values(simulator.outputs(), NAN);
  simulator.expectations(values.data());
  return values;
}

/// Every Pauli string on n wires.
std::vector<PauliSum> all_strings(int n) {
  std::vector<PauliSum> strings;
  for (int code = 0; code < 1 << (2 * n); ++code) {
    PauliString pauli;
    for (int q = 0; q < n; ++q)
      if (const char letter = "IXYZ"[code >> (2 * q) & 3]; letter != 'I') pauli.factors.emplace_back(q, letter);
    strings.push_back(pauli);
  }
  return strings;
}

std::vector<uint64_t> samples(const Circuit& circuit, int64_t shots, uint64_t seed) {
  const StabilizerSimulator simulator(circuit);
  std::vector<uint64_t> result(shots * simulator.words());
  simulator.samples(shots, Random(seed), result.data());
  return result;
}

void expect_distribution(const std::vector<uint64_t>& samples, const std::vector<double>& p) {
  std::vector<double> counts(p.size());
  for (const uint64_t sample : samples) ++counts.at(sample);
  double chi_square = 0;
  int cells = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * double(samples.size());
    if (expected < 1e-9) {
      EXPECT_EQ(counts[i], 0) << "outcome " << i;
    } else if (expected >= 5) {
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      ++cells;
    }
  }
  EXPECT_GT(cells, 0);
  EXPECT_LT(chi_square, cells + 5 * std::sqrt(2.0 * cells));
}

// --- gates
// ------------------------------------------------------------------------------------------------------------

TEST(Stabilizer, ExpectationsEqualTheStateVectorOnEveryString) {
  Random random(1);
  for (int trial = 0; trial < 60; ++trial) {
    const int n = 1 + trial % 5;
    const Circuit circuit = random_clifford(n, 3 + trial, random);
    const std::vector<PauliSum> strings = all_strings(n);
    std::vector<double> expected(strings.size());
    Simulator<double>(circuit, strings).expectations(1, nullptr, nullptr, expected.data());
    const std::vector<double> values = expectations(StabilizerSimulator(circuit, strings));
    for (size_t i = 0; i < strings.size(); ++i) {
      EXPECT_TRUE(values[i] == -1 || values[i] == 0 || values[i] == 1);
      ASSERT_NEAR(values[i], expected[i], 1e-10) << strings[i].to_string() << ", trial " << trial;
    }
  }
}

TEST(Stabilizer, ExpectationsOnEightWires) {
  Random random(2);
  const Circuit circuit = random_clifford(8, 60, random);
  const std::vector<PauliSum> strings = all_strings(8);
  const std::vector<double> values = expectations(StabilizerSimulator(circuit, strings));
  // A stabilizer state has 2^n strings of value +-1, and they are the coefficients of its density matrix.
  EXPECT_EQ(std::ranges::count_if(values, [](double value) { return value != 0; }), 256);
  std::vector<double> expected(strings.size() / 64);
  std::vector<PauliSum> some;
  for (size_t i = 0; i < strings.size(); i += 64) some.push_back(strings[i + i / 64 % 64]);
  Simulator<double>(circuit, some).expectations(1, nullptr, nullptr, expected.data());
  for (size_t k = 0; k < some.size(); ++k) EXPECT_NEAR(values[64 * k + k % 64], expected[k], 1e-10);
}

TEST(Stabilizer, RecognizesEveryCliffordMatrix) {
  Random random(3);
  for (int trial = 0; trial < 200; ++trial) {
    const Matrix u = random_clifford(2, 12, random).matrix();
    Circuit circuit = random_clifford(2, 6, random);
    circuit.unitary({1, 0}, u);
    const std::vector<PauliSum> strings = all_strings(2);
    std::vector<double> expected(16);
    Simulator<double>(circuit, strings).expectations(1, nullptr, nullptr, expected.data());
    EXPECT_THAT(expectations(StabilizerSimulator(circuit, strings)),
                testing::Pointwise(testing::DoubleNear(1e-10), expected));
  }
}

TEST(Stabilizer, SamplesFollowTheStateVector) {
  Random random(4);
  for (const uint64_t seed : {1, 2, 3}) {
    for (int n = 1; n <= 7; n += 2) {
      Circuit circuit = random_clifford(n, 40, random);
      std::vector<double> p(size_t{1} << n);
      Simulator<double>(circuit).probabilities(1, nullptr, nullptr, p.data());
      expect_distribution(samples(circuit.measure_all(), 10000, seed), p);
    }
  }
}

// --- measurements in the midst
// ----------------------------------------------------------------------------------------

TEST(Stabilizer, RepeatedMeasurementsAgree) {
  Random random(5);
  constexpr int n = 70;
  Circuit circuit = random_clifford(n, 600, random, 2 * n);
  for (int q = 0; q < n; ++q) circuit.measure(q, q);
  for (int q = 0; q < n; ++q) circuit.cx(q, (q + 1) % n);
  for (int q = n - 1; q >= 0; --q) circuit.cx(q, (q + 1) % n);
  for (int q = 0; q < n; ++q) circuit.measure(q, n + q);
  const auto shots = samples(circuit, 2000, 1);
  ASSERT_EQ(shots.size(), 2000 * 3);
  int ones = 0;
  for (size_t s = 0; s < 2000; ++s) {
    for (int q = 0; q < n; ++q) {
      const auto bit = [&](int c) { return shots[3 * s + c / 64] >> (c % 64) & 1; };
      ASSERT_EQ(bit(q), bit(n + q)) << "shot " << s << ", wire " << q;
      ones += int(bit(q));
    }
  }
  EXPECT_GT(ones, 0);
}

// X and Z corrections by the outcomes take the state over; the frames carry the conditions.
TEST(Stabilizer, Teleportation) {
  for (const int state : {0, 1, 2, 3}) {
    Circuit circuit(3, 3);
    const auto prepare = [&](Circuit& c, int q, bool forward) {
      if (forward && state & 1) c.x(q);
      if (forward && state & 2) c.h(q).s(q);
      if (!forward && state & 2) c.sdg(q).h(q);
      if (!forward && state & 1) c.x(q);
    };
    prepare(circuit, 0, true);
    circuit.h(1).cx(1, 2).cx(0, 1).h(0).measure(0, 0).measure(1, 1);
    circuit.when({.first = 1}, Circuit(3, 3).x(2)).when({.first = 0}, Circuit(3, 3).z(2));
    prepare(circuit, 2, false);
    circuit.measure(2, 2);
    expect_distribution(samples(circuit, 4000, 7), {0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0});
  }
}

// The same with a condition that guards a Hadamard gate: shot by shot.
TEST(Stabilizer, ConditionalCliffordGates) {
  Circuit circuit(2, 2);
  circuit.h(0).measure(0, 0).when({.first = 0, .count = 1, .value = 0}, Circuit(2, 2).h(1)).measure(1, 1);
  expect_distribution(samples(circuit, 4000, 8), {0.25, 0.5, 0.25, 0});

  Circuit reset(1, 2);  // only after a 1: always 0 in the end
  reset.h(0).measure(0, 0).when({.first = 0}, Circuit(1, 2).reset(0)).measure(0, 1);
  expect_distribution(samples(reset, 4000, 9), {0.5, 0.5, 0, 0});
}

TEST(Stabilizer, ConditionsOnRegistersAndMisreadBits) {
  Circuit circuit(3, 3);
  circuit.h(0).h(1).measure(0, 0).measure(1, 1);
  circuit.when({.first = 0, .count = 2, .value = 2, .negated = true}, Circuit(3, 3).x(2)).measure(2, 2);
  expect_distribution(samples(circuit, 4000, 10), {0, 0, 0.25, 0, 0.25, 0.25, 0, 0.25});

  Circuit misread(2, 2);
  misread.add({.kind = GateKind::Measure,
               .wires = {0},
               .angles = {},
               .controls = {},
               .pauli = {},
               .clbit = 0,
               .misread = {0.3, 0.1}});
  misread.when({.first = 0}, Circuit(2, 2).x(1)).measure(1, 1);
  expect_distribution(samples(misread, 10000, 11), {0.7, 0, 0, 0.3});
  Circuit one(1, 1);
  one.x(0).add({.kind = GateKind::Measure,
                .wires = {0},
                .angles = {},
                .controls = {},
                .pauli = {},
                .clbit = 0,
                .misread = {0.3, 0.1}});
  expect_distribution(samples(one, 10000, 12), {0.1, 0.9});
}

TEST(Stabilizer, ResetForgetsTheOutcome) {
  Circuit circuit(2);
  circuit.h(0).cx(0, 1).reset(0).measure_all();
  expect_distribution(samples(circuit, 4000, 13), {0.5, 0, 0.5, 0});
}

// --- noise
// ------------------------------------------------------------------------------------------------------------

Matrix evolve(const Matrix& rho, const std::vector<Matrix>& kraus, const std::vector<int>& wires, int n) {
  Matrix result(rho.dim);
  for (const Matrix& k : kraus) {
    const Matrix full = naive::embed(k, wires, {}, n);
    result = naive::add(result, naive::multiply(naive::multiply(full, rho), full.adjoint()));
  }
  return result;
}

Matrix density(const Circuit& circuit) {
  const int n = circuit.wires();
  Matrix rho(1 << n);
  rho(0, 0) = 1;
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Channel) {
      rho = evolve(rho, operation.channel->kraus(), operation.wires, n);
    } else if (operation.kind == GateKind::Measure) {
      rho = evolve(rho, {Matrix(2, {1, 0, 0, 0}), Matrix(2, {0, 0, 0, 1})}, operation.wires, n);
    } else if (operation.kind == GateKind::Reset) {
      rho = evolve(rho, {Matrix(2, {1, 0, 0, 0}), Matrix(2, {0, 1, 0, 0})}, operation.wires, n);
    } else {
      rho = evolve(rho, {operation.unitary()}, operation.all_wires(), n);
    }
  }
  return rho;
}

TEST(Stabilizer, NoiseEqualsTheDensityMatrix) {
  Random random(14);
  for (int trial = 0; trial < 12; ++trial) {
    constexpr int n = 3;
    Circuit circuit(n, n);
    for (int k = 0; k < 12; ++k) {
      add_random_clifford(circuit, random);
      const int a = int(random.below(n)), b = (a + 1 + int(random.below(n - 1))) % n;
      const std::vector<Channel> channels{bit_flip(0.2), phase_flip(0.1), bit_phase_flip(0.3), depolarizing(0.2)};
      if (k % 3 == 0) circuit.channel(channels[random.below(4)], {a});
      if (k % 4 == 1) circuit.channel(depolarizing(0.15, 2), {a, b});
      if (k % 6 == 5) circuit.measure(a, a);
      if (k == 8) circuit.reset(b);
      if (k == 9) {
        std::vector<double> p(16, 0);
        p[0] = 0.5, p[6] = 0.3, p[13] = 0.2;
        circuit.channel(pauli_channel(p), {a, b});
      }
    }
    const Matrix rho = density(circuit);
    const std::vector<PauliSum> strings = all_strings(n);
    const std::vector<double> values = expectations(StabilizerSimulator(circuit, strings));
    for (size_t i = 0; i < strings.size(); ++i) {
      const Matrix product = naive::multiply(rho, strings[i].matrix(n));
      Complex trace = 0;
      for (int k = 0; k < product.dim; ++k) trace += product(k, k);
      EXPECT_NEAR(values[i], trace.real(), 1e-12) << strings[i].to_string();
    }
    std::vector<double> p(8);
    for (int i = 0; i < 8; ++i) p[i] = rho(i, i).real();
    for (int q = 0; q < n; ++q) circuit.measure(q, q);
    for (const uint64_t seed : {1, 2, 3}) expect_distribution(samples(circuit, 5000, seed), p);
  }
}

// The same noise by tableaus alone: a condition that always holds takes the fast way off.
TEST(Stabilizer, ShotsByTableauFollowTheDensityMatrix) {
  Circuit circuit(2, 3);
  circuit.h(0)
      .channel(phase_flip(0.2), {0})
      .channel(depolarizing(0.3, 2), {0, 1})
      .cx(0, 1)
      .channel(bit_flip(0.1), {1})
      .h(0);
  const Matrix rho = density(circuit);
  std::vector<double> p(4);
  for (int i = 0; i < 4; ++i) p[i] = rho(i, i).real();
  circuit.when({.first = 2, .count = 1, .value = 0}, Circuit(2, 3).h(0).h(0)).measure(0, 0).measure(1, 1);
  expect_distribution(samples(circuit, 5000, 1), p);
}

// --- many wires
// -------------------------------------------------------------------------------------------------------

TEST(Stabilizer, GhzOnAThousandWires) {
  constexpr int n = 1000;
  Circuit circuit(n);
  circuit.h(0).cnot_chain();
  PauliString all_x, all_z;
  for (int q = 0; q < n; ++q) {
    all_x.factors.emplace_back(q, 'X');
    all_z.factors.emplace_back(q, 'Z');
  }
  EXPECT_THAT(expectations(StabilizerSimulator(circuit, {all_x, all_z, Z(0) * Z(999), sum_of('Z', n), Y(0) * Y(999)})),
              testing::ElementsAre(1, 1, 1, 0, 0));
  const auto shots = samples(circuit.measure_all(), 1500, 1);
  int ones = 0;
  for (size_t s = 0; s < 1500; ++s) {
    const uint64_t expected = shots[16 * s] & 1 ? ~uint64_t{0} : 0;
    for (size_t w = 0; w < 16; ++w) ASSERT_EQ(shots[16 * s + w], w < 15 ? expected : expected >> 24);
    ones += expected != 0;
  }
  EXPECT_NEAR(ones, 750, 100);  // five standard deviations
}

// Rounds of a toric code's stabilizer measurements: without noise each round repeats the first; the Z checks start in
// |0...0> at 0, and one flipped qubit lights up its two Z checks.
TEST(Stabilizer, ToricCodeRoundsRepeat) {
  constexpr int L = 6, data = 2 * L * L, checks = 2 * L * L, rounds = 3;
  const auto link = [](int row, int column, int direction) {
    return 2 * ((row + L) % L * L + (column + L) % L) + direction;
  };
  Circuit circuit(data + checks, rounds * checks);
  for (int round = 0; round < rounds; ++round) {
    if (round == 2) circuit.x(link(2, 3, 0));
    for (int row = 0; row < L; ++row) {
      for (int column = 0; column < L; ++column) {
        const int plaquette = data + row * L + column, star = plaquette + L * L;
        for (const int q :
             {link(row, column, 0), link(row, column, 1), link(row + 1, column, 0), link(row, column + 1, 1)})
          circuit.cx(q, plaquette);
        circuit.h(star);
        for (const int q :
             {link(row, column, 0), link(row, column, 1), link(row, column - 1, 0), link(row - 1, column, 1)})
          circuit.cx(star, q);
        circuit.h(star);
      }
    }
    for (int c = 0; c < checks; ++c) circuit.measure(data + c, round * checks + c).reset(data + c);
  }
  const StabilizerSimulator simulator(circuit);
  const int words = simulator.words();
  std::vector<uint64_t> shots(300 * words);
  simulator.samples(300, Random(3), shots.data());
  for (int s = 0; s < 300; ++s) {
    const auto bit = [&](int round, int c) {
      const int at = round * checks + c;
      return shots[s * words + at / 64] >> (at % 64) & 1;
    };
    int lit = 0, star_ones = 0;
    for (int c = 0; c < checks; ++c) {
      if (c < L * L) {
        ASSERT_EQ(bit(0, c), 0u);
      } else {
        star_ones += int(bit(0, c));
        ASSERT_EQ(bit(2, c), bit(1, c));
      }
      ASSERT_EQ(bit(0, c), bit(1, c));
      lit += int(bit(2, c) ^ bit(1, c));
    }
    EXPECT_EQ(lit, 2);
    EXPECT_EQ(star_ones % 2, 0);  // the product of all stars is the identity
  }
}

// --- threads, bits, errors
// --------------------------------------------------------------------------------------------

TEST(Stabilizer, ThreadsAndSeeds) {
  Random random(15);
  Circuit circuit = random_clifford(9, 60, random);
  circuit.channel(depolarizing(0.1), {3}).measure_all();
  const int before = threads();
  set_threads(1);
  const auto one = samples(circuit, 5000, 1), other = samples(circuit, 5000, 2);
  set_threads(3);
  const auto three = samples(circuit, 5000, 1);
  set_threads(before);
  EXPECT_EQ(one, three);
  EXPECT_NE(one, other);
}

TEST(Stabilizer, BitsStandWhereTheyWereMeasured) {
  Circuit circuit(3, 130);
  circuit.x(1).measure(1, 64).measure(0, 65).measure(1, 129).measure(1, 0);
  EXPECT_THAT(samples(circuit, 2, 1), testing::ElementsAre(1, 1, 2, 1, 1, 2));
}

TEST(Stabilizer, SaysWhatItCannotDo) {
  const auto message = [](const Circuit& circuit, const std::vector<PauliSum>& observables = {},
                          const std::vector<double>& weights = {}) {
    return [=] { StabilizerSimulator(circuit, observables, weights); };
  };
  EXPECT_TRUE(is_clifford(Circuit(2).h(0).cx(0, 1).rz(1, kPi / 2)));
  EXPECT_FALSE(is_clifford(Circuit(2).h(0).t(1)));
  EXPECT_FALSE(is_clifford(Circuit(1).rx(0, weight()), {0.1}));
  EXPECT_TRUE(is_clifford(Circuit(1).rx(0, weight()), {kPi}));
  EXPECT_THAT(message(Circuit(2).h(0).t(1)),
              ThrowsMessage<Error>(HasSubstr("operation 1: T on wires 1 is not a Clifford gate")));
  EXPECT_THAT(message(Circuit(2).rx(1, weight()), {}, {0.5}),
              ThrowsMessage<Error>(HasSubstr("operation 0: RX(0.5) on wires 1")));
  EXPECT_THAT(message(Circuit(3).ccx(0, 1, 2)), ThrowsMessage<Error>(HasSubstr("CCX on wires 0, 1, 2")));
  EXPECT_THAT(message(Circuit(1).channel(amplitude_damping(0.1), {0})),
              ThrowsMessage<Error>(HasSubstr("Pauli strings")));
  EXPECT_THAT(message(Circuit(1).amplitude_encoding()), ThrowsMessage<Error>(HasSubstr("AmplitudeEncoding")));
  EXPECT_THAT(message(Circuit(1), {Z(1)}), ThrowsMessage<Error>(HasSubstr("wire 1")));
  EXPECT_THAT(message(Circuit(1).rx(0, weight())), ThrowsMessage<Error>(HasSubstr("1 weights")));
  EXPECT_THAT([] { samples(Circuit(1).h(0), 1, 1); }, ThrowsMessage<Error>(HasSubstr("measure_all")));
  EXPECT_THAT([] { expectations(StabilizerSimulator(Circuit(1, 1).when({}, Circuit(1, 1).x(0)), {Z(0)})); },
              ThrowsMessage<Error>(HasSubstr("conditions")));
}

}  // namespace
}  // namespace quanta
