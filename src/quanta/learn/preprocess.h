#pragma once

#include <cstdint>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/learn/samples.h"

// Transformations that are fitted on training samples and then applied to any. Each throws Error if applied before
// fit() or to another number of columns.

namespace quanta {

/// (x - mean) / standard deviation (of the population). A constant column becomes 0.
class StandardScaler {
 public:
  void fit(const Samples& x);
  Samples transform(const Samples& x) const;
  std::vector<int64_t> constant_columns() const;

 private:
  std::vector<double> mean_, deviation_;
};

/// Maps the training range of each column to [0, 1]; values outside are clipped. A constant column becomes 0.
class MinMaxScaler {
 public:
  void fit(const Samples& x);
  /// Adds the number of clipped values to `clipped` if given.
  Samples transform(const Samples& x, int64_t* clipped = nullptr) const;

 private:
  std::vector<double> low_, high_;
};

/// Principal components: the first k right singular vectors of the centred samples, each signed so that its entry of
/// largest magnitude is positive.
class Pca {
 public:
  /// Throws Error from fit() if k > min(rows, columns).
  explicit Pca(int k) : k_(k) {}
  void fit(const Samples& x);
  Samples transform(const Samples& x) const;                 ///< [n, k]
  const Samples& components() const { return components_; }  ///< [k, columns]
  const std::vector<double>& explained_variance_ratio() const { return ratio_; }

 private:
  int k_;
  std::vector<double> mean_, ratio_;
  Samples components_;
};

/// Rows of a training and a test set, each in rising order.
struct Split {
  std::vector<int64_t> train;
  std::vector<int64_t> test;
};

/// Draws the share `test` of each class, rounded, for the test set.
Split stratified_split(const Labels& labels, double test, Random random);

}  // namespace quanta
