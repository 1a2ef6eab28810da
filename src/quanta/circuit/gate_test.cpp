#include "quanta/circuit/gate.h"

#include <gmock/gmock.h>

#include <functional>
#include <limits>
#include <map>
#include <numbers>

#include "quanta/circuit/naive.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr double kPi = std::numbers::pi;
const Complex kI(0, 1);

Matrix combination(const std::vector<std::pair<Complex, std::string>>& terms) {
  Matrix sum(1 << terms[0].second.size());
  for (const auto& [factor, letters] : terms) sum = naive::add(sum, naive::pauli(letters), factor);
  return sum;
}

// |1><1| and |0><0| on the first (least significant) wires.
Matrix control(const Matrix& base) {
  const Matrix zero = combination({{0.5, "I"}, {0.5, "Z"}}), one = combination({{0.5, "I"}, {-0.5, "Z"}});
  return naive::add(kron(naive::one(base.dim), zero), kron(base, one));
}

// Each gate's definition as an exponential or a sum of Pauli matrices.
Matrix definition(GateKind kind, const std::vector<double>& a) {
  const auto pauli_rotation = [&](const char* p) { return naive::exp(naive::pauli(p), -kI * a[0] / 2.0); };
  const Matrix n = combination({{0.5, "I"}, {-0.5, "Z"}});      // |1><1|
  const Matrix minus = combination({{0.5, "I"}, {-0.5, "X"}});  // |-><-|
  switch (kind) {
    case GateKind::I:
      return naive::pauli("I");
    case GateKind::X:
      return naive::pauli("X");
    case GateKind::Y:
      return naive::pauli("Y");
    case GateKind::Z:
      return naive::pauli("Z");
    case GateKind::H:
      return combination({{std::sqrt(0.5), "X"}, {std::sqrt(0.5), "Z"}});
    case GateKind::S:
      return naive::exp(n, kI * kPi / 2.0);
    case GateKind::Sdg:
      return naive::exp(n, -kI * kPi / 2.0);
    case GateKind::T:
      return naive::exp(n, kI * kPi / 4.0);
    case GateKind::Tdg:
      return naive::exp(n, -kI * kPi / 4.0);
    case GateKind::SX:
      return naive::exp(minus, kI * kPi / 2.0);
    case GateKind::SXdg:
      return naive::exp(minus, -kI * kPi / 2.0);
    case GateKind::RX:
      return pauli_rotation("X");
    case GateKind::RY:
      return pauli_rotation("Y");
    case GateKind::RZ:
      return pauli_rotation("Z");
    case GateKind::P:
      return naive::exp(n, kI * a[0]);
    case GateKind::U:
      return naive::multiply(naive::multiply(naive::exp(n, kI * a[1]), naive::exp(naive::pauli("Y"), -kI * a[0] / 2.0)),
                             naive::exp(n, kI * a[2]));
    case GateKind::SWAP:
      return combination({{0.5, "II"}, {0.5, "XX"}, {0.5, "YY"}, {0.5, "ZZ"}});
    case GateKind::ISWAP:
      return naive::exp(combination({{1, "XX"}, {1, "YY"}}), kI * kPi / 4.0);
    case GateKind::RXX:
      return pauli_rotation("XX");
    case GateKind::RYY:
      return pauli_rotation("YY");
    case GateKind::RZZ:
      return pauli_rotation("ZZ");
    case GateKind::CX:
      return control(naive::pauli("X"));
    case GateKind::CY:
      return control(naive::pauli("Y"));
    case GateKind::CZ:
      return control(naive::pauli("Z"));
    case GateKind::CH:
      return control(definition(GateKind::H, {}));
    case GateKind::CRX:
      return control(pauli_rotation("X"));
    case GateKind::CRY:
      return control(pauli_rotation("Y"));
    case GateKind::CRZ:
      return control(pauli_rotation("Z"));
    case GateKind::CP:
      return control(definition(GateKind::P, a));
    case GateKind::CU:
      return control(naive::scale(definition(GateKind::U, a), std::exp(kI * a[3])));
    case GateKind::CCX:
      return control(control(naive::pauli("X")));
    case GateKind::CSWAP:
      return control(definition(GateKind::SWAP, {}));
    default:
      throw std::logic_error("a new gate needs a definition here");
  }
}

TEST(Gate, MatricesFollowTheirDefinitions) {
  Random random(1);
  for (const GateInfo& info : gate_table()) {
    if (info.wires == 0 || !is_unitary(info.kind)) continue;
    for (int trial = 0; trial < 5; ++trial) {
      std::vector<double> angles;
      for (int k = 0; k < info.angles; ++k) angles.push_back(random.uniform(-7, 7));
      const Matrix matrix = gate_matrix(info.kind, angles);
      ASSERT_EQ(matrix.dim, 1 << info.wires) << info.name;
      EXPECT_LT(naive::distance(matrix, definition(info.kind, angles)), 1e-13) << info.name;
      EXPECT_LT(matrix.unitarity_error(), 1e-14) << info.name;
      EXPECT_EQ(naive::distance(matrix, matrix.adjoint()) < 1e-14, info.hermitian) << info.name;
    }
  }
}

TEST(Gate, ControlsOfTheTableControlTheBase) {
  for (const GateInfo& info : gate_table()) {
    EXPECT_EQ(gate_info(info.kind).name, info.name);
    EXPECT_FALSE(info.summary.empty());
    if (info.controls == 0) {
      EXPECT_EQ(info.base, info.kind);
      continue;
    }
    const GateInfo& base = gate_info(info.base);
    EXPECT_EQ(info.wires, info.controls + base.wires) << info.name;
    std::vector<double> angles{0.3, 0.7, -1.1, 0};
    angles.resize(info.angles);
    const Matrix own = gate_matrix(base.kind, std::span(angles).first(base.angles));
    EXPECT_LT(naive::distance(gate_matrix(info.kind, angles), controlled(own, info.controls)), 1e-15) << info.name;
  }
}

TEST(Gate, SpecialAngles) {
  const auto u = [](double t, double p, double l) { return gate_matrix(GateKind::U, std::vector{t, p, l}); };
  EXPECT_LT(naive::distance(u(kPi / 2, 0, kPi), gate_matrix(GateKind::H, {})), 1e-15);
  EXPECT_LT(naive::distance(u(kPi, 0, kPi), gate_matrix(GateKind::X, {})), 1e-15);
  EXPECT_LT(naive::distance(u(0, 0, 0.4), gate_matrix(GateKind::P, std::vector{0.4})), 1e-15);
  const Matrix sx = gate_matrix(GateKind::SX, {});
  EXPECT_EQ(naive::distance(sx * sx, gate_matrix(GateKind::X, {})), 0);
}

TEST(Gate, FoundByNameInAnyCase) {
  for (const GateInfo& info : gate_table()) {
    EXPECT_EQ(find_gate(info.name), &info);
    if (!info.qasm.empty()) {
      EXPECT_EQ(find_gate(info.qasm), &info);
    }
  }
  EXPECT_EQ(find_gate("cSwAp")->kind, GateKind::CSWAP);
  EXPECT_EQ(find_gate(""), nullptr);
  EXPECT_EQ(find_gate("rxy"), nullptr);
}

TEST(Gate, WrongUseIsAnError) {
  EXPECT_THROW(gate_matrix(GateKind::RX, {}), Error);
  EXPECT_THROW(gate_matrix(GateKind::X, std::vector{1.0}), Error);
  for (const GateKind kind :
       {GateKind::PauliRotation, GateKind::Unitary, GateKind::AmplitudeEncoding, GateKind::Barrier, GateKind::Measure})
    EXPECT_THROW(gate_matrix(kind, {}), Error);
  EXPECT_THROW(rotation_about('x'), Error);
  EXPECT_EQ(rotation_about('Y'), GateKind::RY);
}

TEST(Matrix, UnitarityError) {
  Random random(2);
  Matrix m = naive::random_unitary(16, random);
  EXPECT_LT(m.unitarity_error(), 1e-14);
  m(3, 5) += 1e-3;
  const Matrix excess = naive::add(naive::multiply(m.adjoint(), m), naive::one(16), -1);
  double largest = 0;
  for (const Complex& element : excess.data) largest = std::max(largest, std::abs(element));
  EXPECT_NEAR(m.unitarity_error(), largest, 1e-15);
  m(15, 0) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(m.unitarity_error(), std::numeric_limits<double>::infinity());
}

TEST(Matrix, KroneckerAndProduct) {
  EXPECT_EQ(kron(naive::pauli('X'), naive::pauli('Z')).data, naive::pauli("ZX").data);
  Random random(3);
  const Matrix a = naive::random_unitary(8, random), b = naive::random_unitary(8, random);
  EXPECT_LT(naive::distance(a * b, naive::multiply(a, b)), 1e-15);
  EXPECT_THROW(a * Matrix::identity(4), Error);
}

}  // namespace
}  // namespace quanta
