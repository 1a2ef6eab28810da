#include "quanta/circuit/encodings.h"

#include <gmock/gmock.h>

#include <numbers>

#include "quanta/circuit/naive.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr double kPi = std::numbers::pi;
const std::vector<double> kFeatures{0.31, -0.72, 1.93, 0.44};

std::vector<double> features(int count) {
  return {kFeatures.begin(), kFeatures.begin() + count};
}

naive::State column0(const Matrix& matrix) {
  naive::State state(matrix.dim);
  for (int i = 0; i < matrix.dim; ++i) state[i] = matrix(i, 0);
  return state;
}

// (-1)^bit
double sign(int index, int wire) {
  return index >> wire & 1 ? -1 : 1;
}

naive::State hadamards(const naive::State& state, int wires) {
  const double half = std::sqrt(0.5);
  naive::State result = state;
  for (int q = 0; q < wires; ++q) naive::apply(Matrix(2, {half, half, half, -half}), {q}, {}, result);
  return result;
}

TEST(AngleEncoding, IsAProductState) {
  Circuit circuit(3);
  angle_encoding(circuit, 'Y', {2, 0}, 1, 0.5);
  EXPECT_EQ(circuit.inputs(), 3);
  const naive::State state = column0(circuit.matrix({}, features(3)));
  for (int b = 0; b < 8; ++b) {
    const auto factor = [&](int wire, double x) { return b >> wire & 1 ? std::sin(x / 4) : std::cos(x / 4); };
    const double expected = b >> 1 & 1 ? 0 : factor(2, kFeatures[1]) * factor(0, kFeatures[2]);
    EXPECT_NEAR(std::abs(state[b] - expected), 0, 1e-15);
  }
  for (const auto& [axis, kind] : {std::pair('X', GateKind::RX), {'Y', GateKind::RY}, {'Z', GateKind::RZ}}) {
    Circuit all(2);
    angle_encoding(all, axis);
    ASSERT_EQ(all.operations().size(), 2u);
    EXPECT_EQ(all.operations()[1].kind, kind);
    EXPECT_EQ(all.operations()[1].angles[0], input(1));
  }
  EXPECT_THROW(angle_encoding(circuit, 'W'), Error);
  EXPECT_THROW(angle_encoding(circuit, 'X', {3}), Error);
  EXPECT_THROW(angle_encoding(circuit, 'X', {}, -1), Error);
}

TEST(IqpEncoding, IsDiagonalBetweenHadamards) {
  const auto x = features(4);
  for (int repeats = 1; repeats <= 3; ++repeats) {
    naive::State expected(16);
    expected[0] = 1;
    for (int r = 0; r < repeats; ++r) {
      expected = hadamards(expected, 4);
      for (int b = 0; b < 16; ++b) {
        double energy = 0;
        for (int i = 0; i < 4; ++i) {
          energy += x[i] * sign(b, i);
          for (int j = i + 1; j < 4; ++j) energy += x[i] * x[j] * sign(b, i) * sign(b, j);
        }
        expected[b] *= std::polar(1.0, -energy / 2);
      }
    }
    Circuit circuit(4);
    iqp_encoding(circuit, repeats);
    EXPECT_EQ(circuit.weights(), 0);
    EXPECT_LT(naive::distance(column0(circuit.matrix({}, x)), expected), 1e-14);
  }
  Circuit circuit(4);
  EXPECT_THROW(iqp_encoding(circuit, 0), Error);
}

TEST(ZZFeatureMap, HasQiskitsPhases) {
  // CX P(a) CX is the phase e^{ia} where the two bits differ.
  using Pairs = std::vector<std::pair<int, int>>;
  const std::pair<Entanglement, Pairs> cases[] = {
      {Entanglement::Full, {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}},
      {Entanglement::Linear, {{0, 1}, {1, 2}, {2, 3}}},
      {Entanglement::ReverseLinear, {{2, 3}, {1, 2}, {0, 1}}},
      {Entanglement::Ring, {{3, 0}, {0, 1}, {1, 2}, {2, 3}}},
  };
  const auto x = features(4);
  for (const auto& [entanglement, pairs] : cases) {
    EXPECT_EQ(entangled_pairs(entanglement, 4), pairs);
    naive::State expected(16);
    expected[0] = 1;
    for (int r = 0; r < 2; ++r) {
      expected = hadamards(expected, 4);
      for (int b = 0; b < 16; ++b) {
        double phase = 0;
        for (int i = 0; i < 4; ++i) phase += (b >> i & 1) * 2 * x[i];
        for (const auto& [i, j] : pairs) phase += ((b >> i ^ b >> j) & 1) * 2 * (kPi - x[i]) * (kPi - x[j]);
        expected[b] *= std::polar(1.0, phase);
      }
    }
    Circuit circuit(4);
    zz_feature_map(circuit, 2, entanglement);
    EXPECT_LT(naive::distance(column0(circuit.matrix({}, x)), expected), 1e-13);
  }
  EXPECT_EQ(entangled_pairs(Entanglement::Ring, 2), (Pairs{{0, 1}}));
  EXPECT_TRUE(entangled_pairs(Entanglement::Ring, 1).empty());
}

TEST(DataReuploading, OneQubitFollowsThePaper) {
  // L(x) = U(w + v x), U = RZ RY RZ, features in threes.
  Circuit circuit(1);
  data_reuploading(circuit, 2, 4);
  EXPECT_EQ(circuit.weights(), 2 * (6 + 4));
  EXPECT_EQ(circuit.inputs(), 4);
  std::vector<double> w(20);
  for (int i = 0; i < 20; ++i) w[i] = std::sin(1 + 3 * i);
  const auto x = features(4);
  Matrix expected = naive::one(2);
  int next = 0;
  for (int layer = 0; layer < 2; ++layer) {
    for (int k = 0; k < 6; ++k) {
      double angle = 0;
      if (k < 4) angle = w[next++] * x[k];
      angle += w[next++];
      const Matrix rotation = naive::exp(naive::pauli(k % 3 == 1 ? 'Y' : 'Z'), Complex(0, -angle / 2));
      expected = naive::multiply(rotation, expected);
    }
  }
  EXPECT_LT(naive::distance(circuit.matrix(w, x), expected), 1e-14);
}

TEST(DataReuploading, EntanglesNeighboursInTurn) {
  const auto pairs = [](int wires) {
    Circuit circuit(wires);
    data_reuploading(circuit, 3, 2);
    EXPECT_EQ(circuit.weights(), 3 * wires * (3 + 2));
    std::vector<std::vector<int>> result;
    for (const Operation& operation : circuit.operations())
      if (operation.kind == GateKind::CZ) result.push_back(operation.wires);
    return result;
  };
  using Pairs = std::vector<std::vector<int>>;
  EXPECT_EQ(pairs(1), Pairs{});
  EXPECT_EQ(pairs(2), (Pairs{{0, 1}, {1, 0}}));
  EXPECT_EQ(pairs(3), (Pairs{{0, 1}, {1, 2}}));
  EXPECT_EQ(pairs(4), (Pairs{{0, 1}, {2, 3}, {1, 2}, {3, 0}}));
  Circuit circuit(2);
  EXPECT_THROW(data_reuploading(circuit, 0, 1), Error);
  EXPECT_THROW(data_reuploading(circuit, 1, 0), Error);
}

}  // namespace
}  // namespace quanta
