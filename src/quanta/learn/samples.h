#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "quanta/core/error.h"

namespace quanta {

/// A row-major matrix of numbers: one sample a row, one feature a column. Also holds scores [samples, classes] and
/// kernels [samples, training samples].
struct Samples {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<double> values{};

  Samples() = default;
  Samples(int64_t rows, int64_t columns, double value = 0)
      : rows(rows), columns(columns), values(size_t(rows * columns), value) {}
  Samples(int64_t rows, int64_t columns, std::vector<double> values)
      : rows(rows), columns(columns), values(std::move(values)) {
    require(int64_t(this->values.size()) == rows * columns, "samples: expected {} x {} numbers, got {}", rows, columns,
            this->values.size());
  }

  double* row(int64_t i) { return values.data() + i * columns; }
  const double* row(int64_t i) const { return values.data() + i * columns; }
  double& operator()(int64_t i, int64_t j) { return values[size_t(i * columns + j)]; }
  double operator()(int64_t i, int64_t j) const { return values[size_t(i * columns + j)]; }

  std::vector<double> column(int64_t j) const;
  /// The rows, or columns, with these indices, in their order.
  Samples take(const std::vector<int64_t>& rows) const;
  Samples take_columns(const std::vector<int64_t>& columns) const;
};

/// Classes of samples, 0 .. C - 1.
using Labels = std::vector<int>;

Labels take(const Labels& labels, const std::vector<int64_t>& rows);

/// 1 + the largest label. Throws Error if a label is negative, a class has no sample or there are fewer than 2 classes.
int count_classes(const Labels& labels);

/// [n, classes]: 1 at the label, else `off`.
Samples one_hot(const Labels& labels, int classes, double off = 0);

}  // namespace quanta
