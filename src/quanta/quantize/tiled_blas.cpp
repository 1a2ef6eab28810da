#include "quanta/quantize/tiled_blas.h"

#include <cblas.h>

#include <algorithm>

#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"

namespace quanta::tiled {
namespace {

constexpr int64_t kTile = 512;

void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, float alpha, const float* a, int lda,
          const float* b, int ldb, float* c, int ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, 1, c, ldc);
}
void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, double alpha, const double* a, int lda,
          const double* b, int ldb, double* c, int ldc) {
  cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, 1, c, ldc);
}
void trmm(CBLAS_SIDE side, CBLAS_TRANSPOSE t, int m, int n, float alpha, const float* a, int lda, float* b, int ldb) {
  cblas_strmm(CblasRowMajor, side, CblasLower, t, CblasNonUnit, m, n, alpha, a, lda, b, ldb);
}
void trmm(CBLAS_SIDE side, CBLAS_TRANSPOSE t, int m, int n, double alpha, const double* a, int lda, double* b,
          int ldb) {
  cblas_dtrmm(CblasRowMajor, side, CblasLower, t, CblasNonUnit, m, n, alpha, a, lda, b, ldb);
}

/// body(first, how many) for tiles of [0, n).
template <class Body>
void strips(int64_t n, const Body& body) {
  const SingleThreadedBlas one_thread;
  parallel_for((n + kTile - 1) / kTile, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i * kTile, std::min(kTile, n - i * kTile));
  });
}

}  // namespace

template <class T>
void add_product(T alpha, Matrix<const T> a, Matrix<const T> b, bool transpose_b, Matrix<T> c, Shape shape) {
  const int64_t across = (c.columns + kTile - 1) / kTile, tiles = (c.rows + kTile - 1) / kTile * across;
  const int64_t k = transpose_b ? a.columns : a.rows;
  const SingleThreadedBlas one_thread;
  parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t / across * kTile, j = t % across * kTile;
      if (shape == Shape::Lower && j > i) continue;
      const int m = int(std::min(kTile, c.rows - i)), n = int(std::min(kTile, c.columns - j));
      if (transpose_b)
        gemm(CblasNoTrans, CblasTrans, m, n, int(k), alpha, &a(i, 0), int(a.stride), &b(j, 0), int(b.stride), &c(i, j),
             int(c.stride));
      else
        gemm(CblasTrans, CblasNoTrans, m, n, int(k), alpha, &a(0, i), int(a.stride), &b(0, j), int(b.stride), &c(i, j),
             int(c.stride));
    }
  });
}

template <class T>
void times_lower(Matrix<T> b, Matrix<const T> l, bool transpose) {
  strips(b.rows, [&](int64_t i, int64_t m) {
    trmm(CblasRight, transpose ? CblasTrans : CblasNoTrans, int(m), int(b.columns), T(1), l.data, int(l.stride),
         &b(i, 0), int(b.stride));
  });
}

template <class T>
void minus_lower_times(Matrix<const T> l, Matrix<T> b) {
  strips(b.columns, [&](int64_t j, int64_t n) {
    trmm(CblasLeft, CblasNoTrans, int(b.rows), int(n), T(-1), l.data, int(l.stride), &b(0, j), int(b.stride));
  });
}

template void add_product(float, Matrix<const float>, Matrix<const float>, bool, Matrix<float>, Shape);
template void add_product(double, Matrix<const double>, Matrix<const double>, bool, Matrix<double>, Shape);
template void times_lower(Matrix<float>, Matrix<const float>, bool);
template void times_lower(Matrix<double>, Matrix<const double>, bool);
template void minus_lower_times(Matrix<const float>, Matrix<float>);
template void minus_lower_times(Matrix<const double>, Matrix<double>);

}  // namespace quanta::tiled
