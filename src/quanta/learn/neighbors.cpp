#include "quanta/learn/neighbors.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace quanta {

void GaussianNb::learn(const Samples& x, const Labels& y) {
  const int c = classes();
  const auto moments = [&](auto&& members, double* mean, double* variance) {
    double count = 0;
    for (int64_t i = 0; i < x.rows; ++i) count += members(i);
    for (int64_t j = 0; j < x.columns; ++j) {
      mean[j] = variance[j] = 0;
      for (int64_t i = 0; i < x.rows; ++i) mean[j] += members(i) ? x(i, j) / count : 0;
      for (int64_t i = 0; i < x.rows; ++i)
        variance[j] += members(i) ? (x(i, j) - mean[j]) * (x(i, j) - mean[j]) / count : 0;
    }
    return count / double(x.rows);
  };
  std::vector<double> mean(x.columns), variance(x.columns);
  moments([](int64_t) { return true; }, mean.data(), variance.data());
  const double floor = 1e-9 * std::ranges::max(variance);
  require(floor > 0, "naive Bayes: all samples are alike");
  prior_.assign(c, 0);
  mean_ = variance_ = Samples(c, x.columns);
  for (int k = 0; k < c; ++k) prior_[k] = moments([&](int64_t i) { return y[i] == k; }, mean_.row(k), variance_.row(k));
  for (double& v : variance_.values) v += floor;
}

Samples GaussianNb::score(const Samples& x) const {
  Samples result(x.rows, classes());
  for (int64_t i = 0; i < x.rows; ++i)
    for (int k = 0; k < classes(); ++k) {
      double log_density = std::log(prior_[k]);
      for (int64_t j = 0; j < x.columns; ++j) {
        const double offset = x(i, j) - mean_(k, j);
        log_density -= (std::log(2 * std::numbers::pi * variance_(k, j)) + offset * offset / variance_(k, j)) / 2;
      }
      result(i, k) = log_density;
    }
  softmax_rows(result);
  return result;
}

void NearestNeighbors::learn(const Samples& x, const Labels& y) {
  require(options_.k >= 1 && options_.k <= x.rows, "nearest neighbours: expected k in 1..{}, got {}", x.rows,
          options_.k);
  require(!options_.precomputed || x.columns == x.rows,
          "nearest neighbours: expected distances [{}, {}], got {} columns", x.rows, x.rows, x.columns);
  if (!options_.precomputed) x_ = x;
  y_ = y;
}

Labels NearestNeighbors::nearest(const double* sample) const {
  std::vector<std::pair<double, int64_t>> order;
  for (int64_t i = 0; i < int64_t(y_.size()); ++i) {
    double distance = options_.precomputed ? sample[i] : 0;
    if (!options_.precomputed)
      for (int64_t j = 0; j < x_.columns; ++j) distance += (sample[j] - x_(i, j)) * (sample[j] - x_(i, j));
    order.emplace_back(distance, i);
  }
  std::ranges::partial_sort(order, order.begin() + options_.k);
  Labels result;
  for (int i = 0; i < options_.k; ++i) result.push_back(y_[order[i].second]);
  return result;
}

Samples NearestNeighbors::score(const Samples& x) const {
  Samples result(x.rows, classes());
  for (int64_t i = 0; i < x.rows; ++i)
    for (const int label : nearest(x.row(i))) result(i, label) += 1.0 / options_.k;
  return result;
}

Labels NearestNeighbors::decide(const Samples& x) const {
  Labels result;
  for (int64_t i = 0; i < x.rows; ++i) {
    const Labels met = nearest(x.row(i));
    result.push_back(*std::ranges::max_element(
        met, {}, [&](int label) { return std::ranges::count(met, label); }));  // the first of equals
  }
  return result;
}

}  // namespace quanta
