#include "quanta/learn/linalg.h"

#include <algorithm>

extern "C" {
void dgesdd_(const char* job, const int* m, const int* n, double* a, const int* lda, double* s, double* u,
             const int* ldu, double* vt, const int* ldvt, double* work, const int* lwork, int* iwork, int* info);
void dposv_(const char* uplo, const int* n, const int* rhs, double* a, const int* lda, double* b, const int* ldb,
            int* info);
}

namespace quanta {

// LAPACK's matrices are stored by columns: a row-major a is its a^T, whose decomposition swaps u and vt.
Svd svd(const Samples& a) {
  const int m = int(a.columns), n = int(a.rows), r = std::min(m, n);
  require(r > 0, "svd: the matrix is empty");
  Svd result{Samples(n, r), std::vector<double>(r), Samples(r, m)};
  std::vector<double> copy = a.values, work(1);
  std::vector<int> iwork(size_t(8) * r);
  int info = 0;
  for (int lwork = -1, step = 0; step < 2; ++step) {  // first asks how much room it wants
    dgesdd_("S", &m, &n, copy.data(), &m, result.s.data(), result.vt.values.data(), &m, result.u.values.data(), &r,
            work.data(), &lwork, iwork.data(), &info);
    if (step == 0) work.resize(size_t(lwork = int(work[0])));
  }
  require(info == 0, "svd: LAPACK's dgesdd did not converge (info {})", info);
  return result;
}

std::vector<double> solve_spd(Samples a, std::vector<double> b) {
  const int n = int(a.rows), one = 1;
  int info = 0;
  dposv_("L", &n, &one, a.values.data(), &n, b.data(), &n, &info);
  require(info == 0, "solve_spd: the matrix is not positive definite (LAPACK's dposv: info {})", info);
  return b;
}

Samples gram(const Samples& a, const std::vector<double>& weights) {
  Samples result(a.columns, a.columns);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.columns; ++j) {
      const double factor = a(i, j) * (weights.empty() ? 1 : weights[i]);
      for (int64_t k = 0; k <= j; ++k) result(j, k) += factor * a(i, k);
    }
  for (int64_t j = 0; j < a.columns; ++j)
    for (int64_t k = 0; k < j; ++k) result(k, j) = result(j, k);
  return result;
}

}  // namespace quanta
