#include "quanta/simulate/linear_algebra.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "quanta/core/error.h"

using Scalar = quanta::simulate::Scalar;

// LAPACK's Fortran interface: Debian's OpenBLAS brings no other.
extern "C" {
void zgemm_(const char*, const char*, const int*, const int*, const int*, const Scalar*, const Scalar*, const int*,
            const Scalar*, const int*, const Scalar*, Scalar*, const int*);
void zgesdd_(const char*, const int*, const int*, Scalar*, const int*, double*, Scalar*, const int*, Scalar*,
             const int*, Scalar*, const int*, double*, int*, int*);
void zgesvd_(const char*, const char*, const int*, const int*, Scalar*, const int*, double*, Scalar*, const int*,
             Scalar*, const int*, Scalar*, const int*, double*, int*);
void zheevd_(const char*, const char*, const int*, Scalar*, const int*, double*, Scalar*, const int*, double*,
             const int*, int*, const int*, int*);
void zgeqrf_(const int*, const int*, Scalar*, const int*, Scalar*, Scalar*, const int*, int*);
void zungqr_(const int*, const int*, const int*, Scalar*, const int*, const Scalar*, Scalar*, const int*, int*);
void zgelqf_(const int*, const int*, Scalar*, const int*, Scalar*, Scalar*, const int*, int*);
void zunglq_(const int*, const int*, const int*, Scalar*, const int*, const Scalar*, Scalar*, const int*, int*);
int openblas_get_num_threads();
void openblas_set_num_threads(int);
}

namespace quanta::simulate {

namespace {
std::mutex blas_mutex;
int blas_users = 0, blas_threads = 1;

constexpr int kBlock = 32;  // LAPACK's usual block size, for its work space

void check(int info, const char* routine) {
  require(info == 0, "LAPACK's {} failed with info = {}", routine, info);
}
void check_finite(const std::vector<Scalar>& a) {
  for (const Scalar& element : a)
    require(std::isfinite(element.real()) && std::isfinite(element.imag()),
            "the state is not finite: check the weights and inputs");
}
}  // namespace

OneBlasThread::OneBlasThread() {
  const std::lock_guard lock(blas_mutex);
  if (blas_users++ > 0) return;
  blas_threads = openblas_get_num_threads();
  if (blas_threads > 1) openblas_set_num_threads(1);
}

OneBlasThread::~OneBlasThread() {
  const std::lock_guard lock(blas_mutex);
  if (--blas_users == 0 && blas_threads > 1) openblas_set_num_threads(blas_threads);
}

void multiply(char op_a, char op_b, int m, int n, int k, const Scalar* a, const Scalar* b, Scalar* c) {
  const int lda = std::max(1, op_a == 'N' ? m : k), ldb = std::max(1, op_b == 'N' ? k : n);
  const Scalar one = 1, zero = 0;
  zgemm_(&op_a, &op_b, &m, &n, &k, &one, a, &lda, b, &ldb, &zero, c, &m);
}

Svd svd(int m, int n, const std::vector<Scalar>& a) {
  check_finite(a);
  const int rank = std::min(m, n), large = std::max(m, n);
  Svd result{std::vector<Scalar>(size_t(m) * rank), std::vector<Scalar>(size_t(rank) * n), std::vector<double>(rank)};
  std::vector<Scalar> copy = a, work(size_t(rank) * rank + 3 * size_t(rank) + size_t(large) * kBlock);
  const int size = int(work.size());
  std::vector<double> real(size_t(rank) * std::max(5 * rank + 7, 2 * large + 2 * rank + 1));
  std::vector<int> integers(8 * size_t(rank));
  int info = 0;
  zgesdd_("S", &m, &n, copy.data(), &m, result.values.data(), result.u.data(), &m, result.vt.data(), &rank, work.data(),
          &size, real.data(), integers.data(), &info);
  if (info == 0) return result;
  copy = a;  // divide and conquer gives up on a few matrices that plain QR iteration solves
  zgesvd_("S", "S", &m, &n, copy.data(), &m, result.values.data(), result.u.data(), &m, result.vt.data(), &rank,
          work.data(), &size, real.data(), &info);
  require(info == 0, "the singular value decomposition of a {} x {} matrix did not converge", m, n);
  return result;
}

HalfSvd half_svd(int m, int n, const std::vector<Scalar>& a, bool right) {
  check_finite(a);
  const int dim = right ? n : m;
  std::vector<Scalar> gram(size_t(dim) * dim);
  if (right)
    multiply('C', 'N', n, n, m, a.data(), a.data(), gram.data());
  else
    multiply('N', 'C', m, m, n, a.data(), a.data(), gram.data());
  std::vector<Scalar> work(size_t(dim) * (dim + 2));
  std::vector<double> values(dim), real(1 + 5 * size_t(dim) + 2 * size_t(dim) * dim);
  std::vector<int> integers(3 + 5 * size_t(dim));
  const int size = int(work.size()), reals = int(real.size()), ints = int(integers.size());
  int info = 0;
  zheevd_("V", "L", &dim, gram.data(), &dim, values.data(), work.data(), &size, real.data(), &reals, integers.data(),
          &ints, &info);
  require(info == 0, "the eigenvalues of a {} x {} matrix did not converge", dim, dim);
  HalfSvd result{std::vector<Scalar>(gram.size()), std::vector<double>(dim)};
  for (int k = 0; k < dim; ++k) {  // LAPACK's eigenvalues increase
    const Scalar* vector = &gram[size_t(dim - 1 - k) * dim];
    result.values[k] = std::sqrt(std::max(0.0, values[dim - 1 - k]));
    for (int i = 0; i < dim; ++i)
      result.isometry[right ? k + size_t(i) * dim : i + size_t(k) * dim] = right ? std::conj(vector[i]) : vector[i];
  }
  return result;
}

void qr(int m, int n, std::vector<Scalar> a, std::vector<Scalar>& q, std::vector<Scalar>& r) {
  const int rank = std::min(m, n), size = std::max(1, n) * kBlock;
  std::vector<Scalar> tau(rank), work(size);
  int info = 0;
  zgeqrf_(&m, &n, a.data(), &m, tau.data(), work.data(), &size, &info);
  check(info, "zgeqrf");
  r.assign(size_t(rank) * n, 0);
  for (int j = 0; j < n; ++j) std::copy_n(&a[size_t(j) * m], std::min(j + 1, rank), &r[size_t(j) * rank]);
  zungqr_(&m, &rank, &rank, a.data(), &m, tau.data(), work.data(), &size, &info);
  check(info, "zungqr");
  a.resize(size_t(m) * rank);
  q = std::move(a);
}

void lq(int m, int n, std::vector<Scalar> a, std::vector<Scalar>& l, std::vector<Scalar>& q) {
  const int rank = std::min(m, n), size = std::max(1, m) * kBlock;
  std::vector<Scalar> tau(rank), work(size);
  int info = 0;
  zgelqf_(&m, &n, a.data(), &m, tau.data(), work.data(), &size, &info);
  check(info, "zgelqf");
  l.assign(size_t(m) * rank, 0);
  for (int j = 0; j < rank; ++j) std::copy(&a[size_t(j) * m + j], &a[size_t(j) * m] + m, &l[size_t(j) * m + j]);
  zunglq_(&rank, &n, &rank, a.data(), &m, tau.data(), work.data(), &size, &info);
  check(info, "zunglq");
  q.resize(size_t(rank) * n);
  for (int j = 0; j < n; ++j) std::copy_n(&a[size_t(j) * m], rank, &q[size_t(j) * rank]);
}

}  // namespace quanta::simulate
