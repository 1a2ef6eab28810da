#pragma once

#include <complex>
#include <vector>

/// The few calls of BLAS and LAPACK that tensors need. Matrices are column-major and packed.
namespace quanta::simulate {

using Scalar = std::complex<double>;

/// While one exists, OpenBLAS starts no threads of its own: the loops over samples use them already.
class OneBlasThread {
 public:
  OneBlasThread();
  ~OneBlasThread();
  OneBlasThread(const OneBlasThread&) = delete;
};

/// c [m, n] = op(a) [m, k] op(b) [k, n]; op is 'N', 'T' or 'C' (adjoint).
void multiply(char op_a, char op_b, int m, int n, int k, const Scalar* a, const Scalar* b, Scalar* c);

struct Svd {
  std::vector<Scalar> u, vt;   // [m, rank], [rank, n]
  std::vector<double> values;  // decreasing
};
/// a [m, n] = u diag(values) vt. Throws Error if it does not converge or a is not finite.
Svd svd(int m, int n, const std::vector<Scalar>& a);

struct HalfSvd {
  std::vector<Scalar> isometry;  // u [m, m], or vt [n, n] if `right`
  std::vector<double> values;    // decreasing, as many
};
/// One side of svd() by the eigenvectors of a a^dagger (a^dagger a): several times faster. The isometry is one to
/// rounding, but values below 1e-8 of the largest are noise.
HalfSvd half_svd(int m, int n, const std::vector<Scalar>& a, bool right);

/// a [m, n] = q [m, rank] r [rank, n] with rank = min(m, n) and orthonormal columns of q.
void qr(int m, int n, std::vector<Scalar> a, std::vector<Scalar>& q, std::vector<Scalar>& r);
/// a [m, n] = l [m, rank] q [rank, n] with orthonormal rows of q.
void lq(int m, int n, std::vector<Scalar> a, std::vector<Scalar>& l, std::vector<Scalar>& q);

}  // namespace quanta::simulate
