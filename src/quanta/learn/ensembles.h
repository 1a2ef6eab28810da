#pragma once

#include <vector>

#include "quanta/learn/classifier.h"
#include "quanta/learn/tree.h"

// Classifiers made of trees; the defaults are scikit-learn's. All of them grow on grow_tree().

namespace quanta {

/// A classifier whose score is the mean of its trees' leaves, class by class.
class TreeClassifier : public Classifier {
 public:
  const std::vector<Tree>& trees() const { return trees_; }
  /// Gini importance of each feature.
  std::vector<double> importances() const { return quanta::importances(trees_, features()); }

 protected:
  Samples score(const Samples& x) const override;
  std::vector<Tree> trees_;
};

/// One tree (CART, Gini impurity).
class DecisionTree : public TreeClassifier {
 public:
  explicit DecisionTree(TreeOptions options = {}) : options_(options) {}

 private:
  void learn(const Samples& x, const Labels& y) override;
  TreeOptions options_;
};

struct ForestOptions {
  int trees = 100;
  int max_depth = 0;   ///< 0: without bound
  int features = 0;    ///< candidates for each split; 0: the root of their number
  bool extra = false;  ///< extra-trees (Geurts et al., 2006): random thresholds on all samples, no bootstrap
  uint64_t seed = 0;
};

/// Random forest (Breiman, 2001): each tree on a bootstrap sample. The same for any number of threads.
class RandomForest : public TreeClassifier {
 public:
  explicit RandomForest(ForestOptions options = {}) : options_(options) {}

 private:
  void learn(const Samples& x, const Labels& y) override;
  ForestOptions options_;
};

struct AdaBoostOptions {
  int rounds = 50;
  int depth = 1;
  double rate = 1;
};

/// AdaBoost SAMME (Zhu et al., 2009). Scores are shares of the trees' weights.
class AdaBoost : public Classifier {
 public:
  explicit AdaBoost(AdaBoostOptions options = {}) : options_(options) {}
  const std::vector<double>& tree_weights() const { return weights_; }

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
  AdaBoostOptions options_;
  std::vector<Tree> trees_;
  std::vector<double> weights_;
};

struct GradientBoostingOptions {
  int rounds = 100;
  int depth = 3;
  double rate = 0.1;
};

/// Gradient boosting of regression trees (Friedman, 2001) on the deviance: binomial for two classes, else softmax with
/// a tree a class.
class GradientBoosting : public Classifier {
 public:
  explicit GradientBoosting(GradientBoostingOptions options = {}) : options_(options) {}

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
  GradientBoostingOptions options_;
  std::vector<double> start_;
  std::vector<Tree> trees_;  // round by round, class by class
};

}  // namespace quanta
