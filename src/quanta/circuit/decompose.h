#pragma once

#include <array>
#include <vector>

#include "quanta/circuit/gate.h"

namespace quanta {

/// Decompositions of unitary matrices, the mathematics under transpiling. Each is exact to rounding, degenerate cases
/// included.

/// m = e^{i phase} U(theta, phi, lambda), theta in 0..pi.
struct Euler {
  double theta, phi, lambda, phase;
};
Euler euler(const Matrix& m);

/// normal = vectors diag(values) vectors^dagger by Jacobi rotations (Cardoso and Souloumiac, SIAM J. Matrix Anal. Appl.
/// 17, 161, 1996). The vectors of a symmetric unitary matrix are real.
struct Eigen {
  Matrix vectors;
  std::vector<Complex> values;
};
Eigen diagonalize(const Matrix& normal);

/// u = (l0 + l1) [[C, -S], [S, C]] (r0 + r1), direct sums over the most significant bit, C = diag cos(angles).
struct CosineSine {
  Matrix l0, l1, r0, r1;
  std::vector<double> angles;
};
CosineSine cosine_sine(const Matrix& u);

/// u = e^{i phase} (after[1] x after[0]) exp(i (x XX + y YY + z ZZ)) (before[1] x before[0]), index 0 the less
/// significant wire, in the Weyl chamber pi/4 >= x >= y >= |z| (Zhang et al., PRA 67, 042313, 2003).
struct Cartan {
  std::array<Matrix, 2> before, after;
  std::array<double, 3> weyl;
  double phase;
};
Cartan cartan(const Matrix& u);

}  // namespace quanta
