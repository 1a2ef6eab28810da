#pragma once

#include <vector>

#include "quanta/core/random.h"
#include "quanta/learn/classifier.h"

// Linear classifiers; the defaults are scikit-learn's. All but Lda treat C > 2 classes one against the rest.

namespace quanta {

/// A classifier with a hyperplane w x + b a class (one for class 1 if there are two).
class LinearClassifier : public Classifier {
 public:
  const Samples& weights() const { return weights_; }  ///< [planes, d]
  const std::vector<double>& biases() const { return biases_; }
  /// Mean |w| over the planes, a feature's importance.
  std::vector<double> magnitudes() const;

 protected:
  /// w x + b [n, C]; of two classes {-m, m}.
  Samples margins(const Samples& x) const;
  Samples score(const Samples& x) const override { return margins(x); }
  /// Fits each plane to targets +1 / -1 [n].
  template <class Fit>
  void each_plane(const Samples& x, const Labels& y, Fit fit);

  Samples weights_;
  std::vector<double> biases_;
};

struct LogisticOptions {
  double c = 1;  ///< weight of the data against the penalty
  enum class Penalty { kL2, kL1 } penalty = Penalty::kL2;
  int max_iterations = 0;   ///< 0: 100 of Newton (L2), 10,000 of the proximal gradient (L1)
  double tolerance = 1e-8;  ///< largest change of a coefficient at the end
};

/// Logistic regression, penalty + c sum log(1 + exp(-y (w x + b))); the penalty is |w|^2 / 2 by Newton's method or
/// |w|_1 by FISTA (Beck and Teboulle, 2009). The bias is free. Scores are the planes' probabilities, normalized.
class LogisticRegression : public LinearClassifier {
 public:
  explicit LogisticRegression(LogisticOptions options = {}) : options_(options) {}

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
  LogisticOptions options_;
};

/// Least squares with targets +1 / -1 and penalty alpha |w|^2; the bias by centring.
class RidgeClassifier : public LinearClassifier {
 public:
  explicit RidgeClassifier(double alpha = 1) : alpha_(alpha) {}
  bool probabilistic() const override { return false; }

 private:
  void learn(const Samples& x, const Labels& y) override;
  double alpha_;
};

struct PerceptronOptions {
  int epochs = 1000;        ///< at most
  double tolerance = 1e-3;  ///< ends when 5 epochs have not lowered the mean loss by this
  uint64_t seed = 0;
};

/// Rosenblatt's perceptron, rate 1, samples shuffled each epoch.
class Perceptron : public LinearClassifier {
 public:
  explicit Perceptron(PerceptronOptions options = {}) : options_(options) {}
  bool probabilistic() const override { return false; }

 private:
  void learn(const Samples& x, const Labels& y) override;
  PerceptronOptions options_;
};

/// Linear discriminant analysis: Gaussians with one covariance, through singular value decompositions, so features may
/// be linearly dependent. Scores are probabilities.
class Lda : public LinearClassifier {
 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
};

}  // namespace quanta
