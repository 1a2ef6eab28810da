#pragma once

#include <memory>
#include <vector>

#include "quanta/learn/samples.h"

namespace quanta {

/// What tells classes apart after having seen examples. All learners share this interface; a fitted one is const and
/// may predict from several threads.
class Classifier {
 public:
  virtual ~Classifier() = default;

  /// Learns from samples x [n, d] of classes y [n]; an earlier fit is forgotten. Throws Error if the sizes differ, a
  /// number is not finite, or the labels are not 0 .. C-1 with C >= 2.
  void fit(const Samples& x, const Labels& y);

  /// [n, C]: the larger, the likelier the class. Probabilities that add up to 1 if probabilistic(), else margins, of
  /// which 0 is the border. Throws Error before fit(), for another number of columns than fitted, and for a number
  /// that is not finite.
  Samples scores(const Samples& x) const;

  /// The class of the largest score, the first of equals unless the learner says otherwise.
  Labels predict(const Samples& x) const;

  virtual bool probabilistic() const { return true; }
  int classes() const { return classes_; }
  int64_t features() const { return features_; }

 protected:
  virtual void learn(const Samples& x, const Labels& y) = 0;
  virtual Samples score(const Samples& x) const = 0;
  virtual Labels decide(const Samples& x) const;

 private:
  void check(const Samples& x) const;

  int classes_ = 0;
  int64_t features_ = 0;
};

/// The index of each row's largest value, the first of equals.
Labels argmax(const Samples& scores);

/// exp(v) / sum exp(v) of each row, in place.
void softmax_rows(Samples& scores);

/// 1 / (1 + exp(-t)).
double logistic(double t);

}  // namespace quanta
