#include "quanta/learn/classifier.h"

#include <algorithm>
#include <cmath>

namespace quanta {
namespace {

void check_finite(const Samples& x) {
  const auto bad = std::ranges::find_if(x.values, [](double v) { return !std::isfinite(v); });
  if (bad == x.values.end()) return;
  const int64_t at = bad - x.values.begin();
  fail("row {}, column {} is {}: expected finite numbers", at / x.columns, at % x.columns, *bad);
}

}  // namespace

void Classifier::fit(const Samples& x, const Labels& y) {
  require(x.rows == int64_t(y.size()), "fit: {} rows but {} labels", x.rows, y.size());
  require(x.columns > 0, "fit: the samples have no columns");
  check_finite(x);
  classes_ = count_classes(y);
  features_ = x.columns;
  learn(x, y);
}

void Classifier::check(const Samples& x) const {
  require(classes_ > 0, "this classifier was not fitted yet: call fit() first");
  require(x.columns == features_, "expected {} columns as in fit(), got {}", features_, x.columns);
  check_finite(x);
}

Samples Classifier::scores(const Samples& x) const {
  check(x);
  return score(x);
}

Labels Classifier::predict(const Samples& x) const {
  check(x);
  return decide(x);
}

Labels Classifier::decide(const Samples& x) const {
  return argmax(score(x));
}

Labels argmax(const Samples& scores) {
  Labels result(static_cast<size_t>(scores.rows));
  for (int64_t i = 0; i < scores.rows; ++i)
    result[i] = int(std::max_element(scores.row(i), scores.row(i) + scores.columns) - scores.row(i));
  return result;
}

void softmax_rows(Samples& scores) {
  for (int64_t i = 0; i < scores.rows; ++i) {
    double* row = scores.row(i);
    const double most = *std::max_element(row, row + scores.columns);
    double sum = 0;
    for (int64_t j = 0; j < scores.columns; ++j) sum += row[j] = std::exp(row[j] - most);
    for (int64_t j = 0; j < scores.columns; ++j) row[j] /= sum;
  }
}

double logistic(double t) {
  return t >= 0 ? 1 / (1 + std::exp(-t)) : std::exp(t) / (1 + std::exp(t));
}

}  // namespace quanta
