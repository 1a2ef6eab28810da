#include "quanta/quantize/inverse_factor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/finite.h"
#include "quanta/quantize/tiled_blas.h"

namespace quanta {
namespace {

using tiled::Matrix;

constexpr int64_t kSmall = 64;

/// a = L L' becomes x = L^-1, both lower triangular, for a small matrix. Where a pivot is not above its `floor`, the
/// column is decoupled: as if it had been so in the whole matrix, L and x hold a 1 in its row and column. Appends such
/// columns, counted from `first`.
template <class T>
void invert_small(Matrix<T> a, const T* floor, int64_t first, std::vector<int64_t>& alone) {
  const int64_t n = a.rows;
  for (int64_t j = 0; j < n; ++j) {
    T pivot = a(j, j);
    for (int64_t k = 0; k < j; ++k) pivot -= a(j, k) * a(j, k);
    const bool sound = pivot > floor[j];
    if (!sound) {
      alone.push_back(first + j);
      std::fill_n(&a(j, 0), j, T(0));
    }
    a(j, j) = sound ? std::sqrt(pivot) : T(1);
    for (int64_t i = j + 1; i < n; ++i) {
      T sum = a(i, j);
      for (int64_t k = 0; k < j; ++k) sum -= a(i, k) * a(j, k);
      a(i, j) = sound ? sum / a(j, j) : T(0);
    }
  }
  T row[kSmall];
  for (int64_t i = 0; i < n; ++i) {  // from the rows above: x_i = (e_i - sum_k<i L_ik x_k) / L_ii
    std::fill_n(row, i, T(0));
    for (int64_t k = 0; k < i; ++k)
      for (int64_t j = 0; j <= k; ++j) row[j] -= a(i, k) * a(k, j);
    row[i] = 1;
    for (int64_t j = 0; j <= i; ++j) row[j] /= a(i, i);
    std::copy_n(row, i + 1, &a(i, 0));
  }
}

/// The same for any size, by halves.
template <class T>
void invert(Matrix<T> a, const T* floor, int64_t first, std::vector<int64_t>& alone) {
  const int64_t n = a.rows;
  if (n <= kSmall) return invert_small(a, floor, first, alone);
  const int64_t m = (n / 2 + kSmall - 1) / kSmall * kSmall, rest = n - m;
  const Matrix<T> a11 = a.part(0, 0, m, m), a21 = a.part(m, 0, rest, m), a22 = a.part(m, m, rest, rest);

  const size_t before = alone.size();
  invert(a11, floor, first, alone);
  tiled::times_lower<T>(a21, a11, true);  // L21 = a21 x11'
  const size_t between = alone.size();
  for (size_t c = before; c < between; ++c)
    for (int64_t i = 0; i < rest; ++i) a21(i, alone[c] - first) = 0;
  tiled::add_product<T>(-1, a21, a21, true, a22, tiled::Shape::Lower);
  invert(a22, floor + m, first + m, alone);
  for (size_t c = between; c < alone.size(); ++c) std::fill_n(&a21(alone[c] - first - m, 0), m, T(0));
  tiled::times_lower<T>(a21, a11, false);  // x21 = -x22 L21 x11
  tiled::minus_lower_times<T>(a22, a21);
}

template <class T>
InverseFactor damped(const torch::Tensor& input, double damping, int raises) {
  const torch::Tensor h = input.contiguous();
  const int64_t n = h.size(0);
  const T* from = h.data_ptr<T>();
  const double mean = h.diagonal().to(torch::kFloat64).mean().item<double>();
  InverseFactor result;
  result.u = torch::empty_like(h);
  T* const to = result.u.data_ptr<T>();
  std::vector<T> floor(static_cast<size_t>(n));
  const T noise = T(8 + std::sqrt(double(n))) * std::numeric_limits<T>::epsilon();  // of a pivot, by its diagonal
  std::vector<double> dampings{damping};
  for (int raise = 0; raise < raises; ++raise) dampings.push_back(dampings.back() > 0 ? 2 * dampings.back() : 0.01);
  if (raises > 0) dampings.push_back(damping);  // what no damping mends is left alone with the one asked for
  for (size_t attempt = 0; attempt < dampings.size(); ++attempt) {
    damping = dampings[attempt];
    const T lambda = T(damping * mean);
    // Reversed, the lower triangle's element (i, j) is (n - 1 - i, n - 1 - j), which by symmetry the lower triangle of
    // h holds at (n - 1 - j, n - 1 - i).
    constexpr int64_t kSide = 64;
    parallel_for((n + kSide - 1) / kSide, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin * kSide; p < std::min(n, end * kSide); p += kSide)
        for (int64_t q = 0; q <= p; q += kSide)
          for (int64_t i = p; i < std::min(n, p + kSide); ++i)
            for (int64_t j = q; j < std::min(i + 1, q + kSide); ++j) to[i * n + j] = from[(n - 1 - j) * n + n - 1 - i];
    });
    for (int64_t i = 0; i < n; ++i) {
      T& diagonal = to[i * n + i];
      diagonal += lambda;
      floor[size_t(i)] = noise * std::max(diagonal, T(0));
    }
    std::vector<int64_t> alone;
    invert<T>({to, n, n, n}, floor.data(), 0, alone);
    for (int64_t& column : alone) column = n - 1 - column;
    std::sort(alone.begin(), alone.end());
    if (attempt == 0) result.troubled = alone;
    result.alone = alone;
    if (alone.empty() || !(mean > 0)) break;
  }
  // Reversed, first with last, the lower triangle is the upper one.
  std::reverse(to, to + n * n);
  for (int64_t i = 1; i < n; ++i) std::fill_n(to + i * n, i, T(0));
  for (const int64_t c : result.alone) {  // for itself a column has the precision its own diagonal gives
    const T own = from[c * n + c] + T(damping * mean);
    if (own > 0) to[c * n + c] = 1 / std::sqrt(own);
  }
  result.damping = damping;
  return result;
}

}  // namespace

InverseFactor inverse_factor(const torch::Tensor& h, double damping, int raises) {
  require(h.dim() == 2 && h.size(0) == h.size(1) && h.size(0) > 0, "a Hessian is square, got [{}]",
          fmt::join(h.sizes(), ", "));
  require(std::isfinite(damping) && damping >= 0, "damping {}: expected a number of at least 0, usually 0.01", damping);
  const auto wide = h.scalar_type() == torch::kFloat64 ? h : h.to(torch::kFloat32);
  require(all_finite(wide), "the Hessian has NaN or infinite elements: look for what went wrong in the layers before");
  return wide.scalar_type() == torch::kFloat64 ? damped<double>(wide, damping, raises)
                                               : damped<float>(wide, damping, raises);
}

}  // namespace quanta
