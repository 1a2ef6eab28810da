#pragma once

#include "quanta/learn/classifier.h"

// Classifiers that are little more than their training samples; the defaults are scikit-learn's.

namespace quanta {

/// Gaussian naive Bayes; 1e-9 of the largest feature's variance is added to each variance.
class GaussianNb : public Classifier {
 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
  std::vector<double> prior_;
  Samples mean_, variance_;  // [C, d]
};

struct NearestOptions {
  int k = 3;
  /// Samples are rows of distances to the n training samples ([n, n] for fit, [m, n] later) instead of features.
  bool precomputed = false;
};

/// The k nearest training samples vote (Euclidean distance); among classes with equal votes the one met first in the
/// order of distance wins, equally distant samples counting in their order in training.
class NearestNeighbors : public Classifier {
 public:
  explicit NearestNeighbors(NearestOptions options = {}) : options_(options) {}

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
  Labels decide(const Samples& x) const override;
  Labels nearest(const double* sample) const;  // classes of the k nearest
  NearestOptions options_;
  Samples x_;
  Labels y_;
};

}  // namespace quanta
