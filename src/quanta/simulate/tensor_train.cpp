#include "quanta/simulate/tensor_train.h"

#include <algorithm>
#include <cmath>

namespace quanta::simulate {

namespace {

struct Cut {
  int rank;
  double discarded, scale;
};

Cut cut(const std::vector<double>& values, const Truncation& truncation) {
  constexpr double kRounding = 1e-14;
  double total = 0, dropped = 0;
  for (const double value : values) total += value * value;
  int rank = int(values.size());
  while (rank > 1) {
    const double square = values[rank - 1] * values[rank - 1];
    if (rank <= truncation.max_bond && values[rank - 1] > kRounding * values[0] &&
        dropped + square > truncation.cutoff * total)
      break;
    dropped += square;
    --rank;
  }
  if (total == 0) return {1, 0, 1};
  return {rank, dropped / total, truncation.normalize ? 1 / std::sqrt(total - dropped) : 1.0};
}

std::vector<Scalar> first_rows(const std::vector<Scalar>& a, int rows, int columns, int count) {
  std::vector<Scalar> result(size_t(count) * columns);
  for (int j = 0; j < columns; ++j) std::copy_n(&a[size_t(j) * rows], count, &result[size_t(j) * count]);
  return result;
}

struct Split {
  int rank;
  double discarded;
  std::vector<Scalar> left, right;  // [m, rank], [rank, n]; one is an isometry, the other has the singular values
};

/// a [m, n] in two, the right one (the left one, if `to_left`) with the singular values.
Split split(int m, int n, const std::vector<Scalar>& a, const Truncation& truncation, bool to_left) {
  constexpr double kNoise = 1e-12;  // of half_svd's squared values, with a margin
  const int isometry = to_left ? n : m, other = to_left ? m : n;
  Split result;
  if (truncation.cutoff >= kNoise && isometry <= 2 * other && std::min(m, n) > 4) {
    HalfSvd half = half_svd(m, n, a, to_left);
    half.values.resize(std::min(m, n));
    const auto [rank, discarded, scale] = cut(half.values, truncation);
    result = {rank, discarded, std::vector<Scalar>(size_t(m) * rank), std::vector<Scalar>(size_t(rank) * n)};
    if (to_left) {
      result.right = first_rows(half.isometry, n, n, rank);
      multiply('N', 'C', m, rank, n, a.data(), result.right.data(), result.left.data());
    } else {
      std::copy_n(half.isometry.begin(), result.left.size(), result.left.begin());
      multiply('C', 'N', rank, n, m, result.left.data(), a.data(), result.right.data());
    }
    for (Scalar& element : to_left ? result.left : result.right) element *= scale;
    return result;
  }
  Svd parts = svd(m, n, a);
  const auto [rank, discarded, scale] = cut(parts.values, truncation);
  parts.u.resize(size_t(m) * rank);
  result = {rank, discarded, std::move(parts.u), first_rows(parts.vt, std::min(m, n), n, rank)};
  for (int i = 0; i < rank; ++i) {
    const double value = parts.values[i] * scale;
    if (to_left)
      for (int j = 0; j < m; ++j) result.left[size_t(i) * m + j] *= value;
    else
      for (int j = 0; j < n; ++j) result.right[size_t(j) * rank + i] *= value;
  }
  return result;
}

}  // namespace

TensorTrain::TensorTrain(int sites) : sites_(size_t(sites), SiteTensor{1, 1, {1, 0}}) {}

int TensorTrain::largest_bond() const {
  int largest = 1;
  for (const SiteTensor& site : sites_) largest = std::max(largest, site.right);
  return largest;
}

void TensorTrain::replace(int site, SiteTensor tensor) {
  if (tape) tape->emplace_back(site, std::move(sites_[size_t(site)]));
  sites_[size_t(site)] = std::move(tensor);
}

void TensorTrain::move_centre(int to) {
  std::vector<Scalar> q, r;
  for (; centre < to; ++centre) {
    const SiteTensor &a = (*this)[centre], &b = (*this)[centre + 1];
    const int rank = std::min(2 * a.left, a.right);
    qr(2 * a.left, a.right, a.data, q, r);
    SiteTensor right{rank, b.right, std::vector<Scalar>(size_t(rank) * 2 * b.right)};
    multiply('N', 'N', rank, 2 * b.right, a.right, r.data(), b.data.data(), right.data.data());
    replace(centre, {a.left, rank, std::move(q)});
    replace(centre + 1, std::move(right));
  }
  for (; centre > to; --centre) {
    const SiteTensor &a = (*this)[centre - 1], &b = (*this)[centre];
    const int rank = std::min(b.left, 2 * b.right);
    lq(b.left, 2 * b.right, b.data, r, q);
    SiteTensor left{a.left, rank, std::vector<Scalar>(size_t(2) * a.left * rank)};
    multiply('N', 'N', 2 * a.left, rank, a.right, a.data.data(), r.data(), left.data.data());
    replace(centre, {rank, b.right, std::move(q)});
    replace(centre - 1, std::move(left));
  }
}

std::vector<Scalar> TensorTrain::block(int first, int count) const {
  std::vector<Scalar> result = (*this)[first].data;
  const int left = (*this)[first].left;
  for (int k = 1; k < count; ++k) {
    const SiteTensor& next = (*this)[first + k];
    std::vector<Scalar> product((size_t(left) << (k + 1)) * next.right);
    multiply('N', 'N', left << k, 2 * next.right, next.left, result.data(), next.data.data(), product.data());
    result = std::move(product);
  }
  return result;
}

std::vector<Scalar> apply_gate(const Scalar* gate, int count, int left, int right, const std::vector<Scalar>& block) {
  const int dim = 1 << count;
  std::vector<Scalar> result(block.size());
  for (int r = 0; r < right; ++r) {
    const size_t slice = size_t(r) * dim * left;
    for (int row = 0; row < dim; ++row)
      for (int column = 0; column < dim; ++column)
        if (const Scalar element = gate[row * dim + column]; element != 0.0)
          add_multiple(left, element, &block[slice + size_t(column) * left], &result[slice + size_t(row) * left]);
  }
  return result;
}

double TensorTrain::apply(const Scalar* gate, int first, int count, const Truncation& truncation, bool to_left) {
  const int left = (*this)[first].left, right = (*this)[first + count - 1].right;
  std::vector<Scalar> rest = apply_gate(gate, count, left, right, block(first, count));
  double kept = 1;
  int bond = left;
  for (int k = 0; k + 1 < count; ++k) {
    const int columns = right << (count - k - 1);
    Split parts = split(2 * bond, columns, rest, truncation, to_left && count == 2);
    kept *= 1 - parts.discarded;
    replace(first + k, {bond, parts.rank, std::move(parts.left)});
    rest = std::move(parts.right);
    bond = parts.rank;
  }
  replace(first + count - 1, {bond, right, std::move(rest)});
  if (count > 1) centre = to_left && count == 2 ? first : first + count - 1;
  return 1 - kept;
}

double TensorTrain::truncate_right(const Truncation& truncation) {
  const SiteTensor &a = (*this)[centre], &b = (*this)[centre + 1];
  Split parts = split(2 * a.left, a.right, a.data, truncation, false);
  SiteTensor right{parts.rank, b.right, std::vector<Scalar>(size_t(parts.rank) * 2 * b.right)};
  multiply('N', 'N', parts.rank, 2 * b.right, a.right, parts.right.data(), b.data.data(), right.data.data());
  replace(centre, {a.left, parts.rank, std::move(parts.left)});
  replace(++centre, std::move(right));
  return parts.discarded;
}

}  // namespace quanta::simulate
