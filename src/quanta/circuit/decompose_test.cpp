#include "quanta/circuit/decompose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "quanta/circuit/naive.h"

namespace quanta {
namespace {

using naive::distance;
using naive::multiply;
using naive::random_unitary;
constexpr double kPi = std::numbers::pi;

Matrix direct_sum(const Matrix& a, const Matrix& b) {
  Matrix result(a.dim + b.dim);
  for (int i = 0; i < a.dim; ++i)
    for (int j = 0; j < a.dim; ++j) result(i, j) = a(i, j);
  for (int i = 0; i < b.dim; ++i)
    for (int j = 0; j < b.dim; ++j) result(a.dim + i, a.dim + j) = b(i, j);
  return result;
}

// Unitaries that trip decompositions: permutations, equal eigenvalues, blocks, near-identities.
std::vector<Matrix> awkward(int dim, Random& random) {
  std::vector<Matrix> all{naive::one(dim), naive::scale(naive::one(dim), Complex(0, 1))};
  Matrix cycle(dim), flip(dim);
  for (int i = 0; i < dim; ++i) cycle(i, (i + 1) % dim) = flip(i, dim - 1 - i) = 1;
  all.push_back(cycle);
  all.push_back(flip);
  const Matrix u = random_unitary(dim, random), v = random_unitary(dim, random);
  Matrix signs = naive::one(dim);
  signs(0, 0) = -1;
  all.push_back(multiply(multiply(u, signs), u.adjoint()));
  if (dim >= 4) {
    const Matrix a = random_unitary(dim / 2, random), b = random_unitary(dim / 2, random);
    all.push_back(direct_sum(a, b));
    all.push_back(multiply(flip, direct_sum(a, b)));
    all.push_back(kron(a, naive::one(2)));
    all.push_back(kron(naive::one(2), a));
    all.push_back(kron(b, naive::pauli('X')));
  }
  Matrix hermitian = naive::add(u, u.adjoint());
  for (const double size : {1e-3, 1e-6, 1e-8, 1e-10, 1e-13}) {
    const Matrix small = naive::exp(hermitian, Complex(0, size));
    for (const Matrix& base : {naive::one(dim), cycle, flip, signs}) all.push_back(multiply(base, small));
  }
  all.push_back(v);
  return all;
}

TEST(Decompose, EulerAngles) {
  Random random(1);
  std::vector<Matrix> all = awkward(2, random);
  for (int k = 0; k < 1000; ++k) all.push_back(random_unitary(2, random));
  for (const Matrix& m : all) {
    const Euler e = euler(m);
    const Matrix u = gate_matrix(GateKind::U, std::vector{e.theta, e.phi, e.lambda});
    EXPECT_LT(distance(naive::scale(u, std::polar(1.0, e.phase)), m), 1e-14);
  }
}

TEST(Decompose, Eigenvectors) {
  Random random(2);
  for (const int dim : {2, 3, 4, 8, 16}) {
    for (const Matrix& m : awkward(dim, random)) {
      const Eigen eigen = diagonalize(m);
      Matrix diagonal(dim);
      for (int i = 0; i < dim; ++i) diagonal(i, i) = eigen.values[i];
      EXPECT_LT(eigen.vectors.unitarity_error(), 1e-13);
      EXPECT_LT(distance(multiply(multiply(eigen.vectors, diagonal), eigen.vectors.adjoint()), m), 1e-12) << dim;
    }
  }
}

TEST(Decompose, CosineSine) {
  Random random(3);
  for (const int dim : {2, 4, 8, 16}) {
    for (const Matrix& m : awkward(dim, random)) {
      const CosineSine d = cosine_sine(m);
      Matrix middle(dim);
      for (int i = 0; i < dim / 2; ++i) {
        middle(i, i) = middle(dim / 2 + i, dim / 2 + i) = std::cos(d.angles[i]);
        middle(dim / 2 + i, i) = std::sin(d.angles[i]);
        middle(i, dim / 2 + i) = -std::sin(d.angles[i]);
      }
      for (const Matrix* part : {&d.l0, &d.l1, &d.r0, &d.r1}) EXPECT_LT(part->unitarity_error(), 1e-12);
      EXPECT_LT(distance(multiply(multiply(direct_sum(d.l0, d.l1), middle), direct_sum(d.r0, d.r1)), m), 1e-12) << dim;
    }
  }
}

TEST(Decompose, CartanInTheWeylChamber) {
  Random random(4);
  std::vector<Matrix> all = awkward(4, random);
  for (int k = 0; k < 2000; ++k) all.push_back(random_unitary(4, random));
  const Matrix iswap = gate_matrix(GateKind::ISWAP, {}), cx = gate_matrix(GateKind::CX, {});
  for (int k = 0; k < 200; ++k) {
    const auto local = [&] { return kron(random_unitary(2, random), random_unitary(2, random)); };
    all.push_back(local());
    for (const Matrix& entangler : {iswap, cx, gate_matrix(GateKind::SWAP, {})})
      all.push_back(multiply(multiply(local(), entangler), local()));
  }
  for (const Matrix& m : all) {
    const Cartan d = cartan(m);
    const auto& [x, y, z] = d.weyl;
    EXPECT_LT(x, kPi / 4 + 1e-11);
    EXPECT_GE(x, y);
    EXPECT_GE(y, std::abs(z) - 1e-15);
    Matrix n = multiply(naive::exp(naive::pauli("XX"), Complex(0, x)), naive::exp(naive::pauli("YY"), Complex(0, y)));
    n = multiply(n, naive::exp(naive::pauli("ZZ"), Complex(0, z)));
    n = multiply(multiply(kron(d.after[1], d.after[0]), n), kron(d.before[1], d.before[0]));
    EXPECT_LT(distance(naive::scale(n, std::polar(1.0, d.phase)), m), 1e-12);
  }
  const auto near = [](const Matrix& m, double x, double y, double z) {
    const Cartan d = cartan(m);
    EXPECT_NEAR(d.weyl[0], x, 1e-13);
    EXPECT_NEAR(d.weyl[1], y, 1e-13);
    EXPECT_NEAR(d.weyl[2], z, 1e-13);
  };
  near(cx, kPi / 4, 0, 0);
  near(iswap, kPi / 4, kPi / 4, 0);
  near(gate_matrix(GateKind::SWAP, {}), kPi / 4, kPi / 4, kPi / 4);
  near(gate_matrix(GateKind::CP, std::vector{1.0}), 0.25, 0, 0);
  near(gate_matrix(GateKind::RYY, std::vector{-0.6}), 0.3, 0, 0);
}

}  // namespace
}  // namespace quanta
