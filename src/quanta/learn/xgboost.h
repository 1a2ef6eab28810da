#pragma once

#include <memory>

#include "quanta/learn/classifier.h"

namespace quanta {

struct XgBoostOptions {
  int rounds = 100;
  int depth = 3;
  double rate = 0.1;
  double lambda = 1;  ///< penalty on the leaves' squares
  uint64_t seed = 0;
};

/// Whether this build has XGBoost; without it XgBoost's constructor throws an Error that names the package.
bool have_xgboost();

/// Gradient boosted trees by XGBoost (Chen and Guestrin, KDD 2016), exact splits, one thread. Differs from
/// GradientBoosting in its penalties and second-order split gains. Probabilities are float32.
class XgBoost : public Classifier {
 public:
  explicit XgBoost(XgBoostOptions options = {});
  ~XgBoost() override;

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;

  XgBoostOptions options_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
