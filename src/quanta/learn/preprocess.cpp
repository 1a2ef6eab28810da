#include "quanta/learn/preprocess.h"

#include <algorithm>
#include <cmath>

#include "quanta/learn/linalg.h"

namespace quanta {
namespace {

void check(const char* name, const Samples& x, size_t fitted) {
  require(fitted > 0, "{}: transform() before fit()", name);
  require(x.columns == int64_t(fitted), "{}: fitted to {} columns, got {}", name, fitted, x.columns);
}

std::vector<double> means(const Samples& x) {
  require(x.rows > 0 && x.columns > 0, "expected samples to fit to, got {} x {}", x.rows, x.columns);
  std::vector<double> result(static_cast<size_t>(x.columns));
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) result[j] += x(i, j) / double(x.rows);
  return result;
}

}  // namespace

void StandardScaler::fit(const Samples& x) {
  mean_ = means(x);
  deviation_.assign(x.columns, 0);
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) deviation_[j] += (x(i, j) - mean_[j]) * (x(i, j) - mean_[j]);
  // What rounding leaves of a constant column is no deviation.
  for (int64_t j = 0; j < x.columns; ++j) {
    deviation_[j] = std::sqrt(deviation_[j] / double(x.rows));
    if (deviation_[j] <= 1e-12 * std::abs(mean_[j])) deviation_[j] = 0;
  }
}

Samples StandardScaler::transform(const Samples& x) const {
  check("StandardScaler", x, mean_.size());
  Samples result(x);
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) result(i, j) = deviation_[j] > 0 ? (x(i, j) - mean_[j]) / deviation_[j] : 0;
  return result;
}

std::vector<int64_t> StandardScaler::constant_columns() const {
  std::vector<int64_t> result;
  for (size_t j = 0; j < deviation_.size(); ++j)
    if (deviation_[j] == 0) result.push_back(int64_t(j));
  return result;
}

void MinMaxScaler::fit(const Samples& x) {
  low_ = means(x);
  high_ = low_;
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) {
      low_[j] = i ? std::min(low_[j], x(i, j)) : x(i, j);
      high_[j] = i ? std::max(high_[j], x(i, j)) : x(i, j);
    }
}

Samples MinMaxScaler::transform(const Samples& x, int64_t* clipped) const {
  check("MinMaxScaler", x, low_.size());
  Samples result(x);
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) {
      const double v = high_[j] > low_[j] ? (x(i, j) - low_[j]) / (high_[j] - low_[j]) : 0;
      result(i, j) = std::clamp(v, 0.0, 1.0);
      if (clipped) *clipped += v < 0 || v > 1;
    }
  return result;
}

void Pca::fit(const Samples& x) {
  require(k_ >= 1 && k_ <= std::min(x.rows, x.columns),
          "PCA: {} samples with {} features have at most {} components, got k = {}", x.rows, x.columns,
          std::min(x.rows, x.columns), k_);
  mean_ = means(x);
  Samples centred(x);
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) centred(i, j) -= mean_[j];
  const Svd decomposition = svd(centred);
  double total = 0;
  for (const double s : decomposition.s) total += s * s;
  components_ = Samples(k_, x.columns);
  ratio_.clear();
  for (int r = 0; r < k_; ++r) {
    const double* v = decomposition.vt.row(r);
    const double largest =
        *std::max_element(v, v + x.columns, [](double a, double b) { return std::abs(a) < std::abs(b); });
    for (int64_t j = 0; j < x.columns; ++j) components_(r, j) = largest < 0 ? -v[j] : v[j];
    ratio_.push_back(total > 0 ? decomposition.s[r] * decomposition.s[r] / total : 0);
  }
}

Samples Pca::transform(const Samples& x) const {
  check("PCA", x, mean_.size());
  Samples result(x.rows, k_);
  for (int64_t i = 0; i < x.rows; ++i)
    for (int r = 0; r < k_; ++r)
      for (int64_t j = 0; j < x.columns; ++j) result(i, r) += (x(i, j) - mean_[j]) * components_(r, j);
  return result;
}

Split stratified_split(const Labels& labels, double test, Random random) {
  require(test > 0 && test < 1, "stratified_split: the test share must lie between 0 and 1, got {}", test);
  Split split;
  for (int k = 0, classes = count_classes(labels); k < classes; ++k) {
    std::vector<int64_t> members;
    for (size_t i = 0; i < labels.size(); ++i)
      if (labels[i] == k) members.push_back(int64_t(i));
    const auto order = random.permutation(int64_t(members.size()));
    const int64_t tested = std::llround(test * double(members.size()));
    require(tested >= 1 && tested < int64_t(members.size()),
            "stratified_split: {} samples of class {} are too few for a test share of {}", members.size(), k, test);
    for (int64_t i = 0; i < int64_t(order.size()); ++i)
      (i < tested ? split.test : split.train).push_back(members[order[i]]);
  }
  std::ranges::sort(split.train);
  std::ranges::sort(split.test);
  return split;
}

}  // namespace quanta
