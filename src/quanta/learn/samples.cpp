#include "quanta/learn/samples.h"

#include <algorithm>

namespace quanta {

std::vector<double> Samples::column(int64_t j) const {
  std::vector<double> result(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) result[i] = (*this)(i, j);
  return result;
}

Samples Samples::take(const std::vector<int64_t>& indices) const {
  Samples result(int64_t(indices.size()), columns);
  for (int64_t i = 0; i < result.rows; ++i) std::copy_n(row(indices[i]), columns, result.row(i));
  return result;
}

Samples Samples::take_columns(const std::vector<int64_t>& indices) const {
  Samples result(rows, int64_t(indices.size()));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < result.columns; ++j) result(i, j) = (*this)(i, indices[j]);
  return result;
}

Labels take(const Labels& labels, const std::vector<int64_t>& rows) {
  Labels result;
  for (const int64_t i : rows) result.push_back(labels[i]);
  return result;
}

int count_classes(const Labels& labels) {
  require(!labels.empty(), "labels: there are none");
  const auto [least, most] = std::ranges::minmax(labels);
  require(least >= 0, "labels: expected classes 0 .. C-1, got {}", least);
  std::vector<bool> seen(size_t(most) + 1);
  for (const int label : labels) seen[label] = true;
  const auto absent = std::ranges::find(seen, false) - seen.begin();
  require(absent > most, "labels: expected classes 0 .. C-1, but no sample is of class {}", absent);
  require(most >= 1, "labels: all samples are of one class, expected at least 2 classes");
  return most + 1;
}

Samples one_hot(const Labels& labels, int classes, double off) {
  Samples result(int64_t(labels.size()), classes, off);
  for (int64_t i = 0; i < result.rows; ++i) result(i, labels[i]) = 1;
  return result;
}

}  // namespace quanta
