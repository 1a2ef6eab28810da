#pragma once

#include <cstdint>
#include <vector>

#include "quanta/learn/samples.h"

namespace quanta {

/// How good predictions are. Precision, recall and F-score of a class without the samples that define them are 0.
struct ClassificationReport {
  double accuracy = 0;
  std::vector<double> precision{}, recall{}, f{};             ///< of each class
  double macro_precision = 0, macro_recall = 0, macro_f = 0;  ///< means over the classes
  std::vector<int64_t> confusion{};                           ///< [C * C], row: true class, column: prediction
};
ClassificationReport classification_report(const Labels& truth, const Labels& predicted, int classes);

double accuracy(const Labels& truth, const Labels& predicted);

/// Ranks from 1 in rising order, the mean rank for ties.
std::vector<double> ranks(const std::vector<double>& values);

/// Correlation of the ranks; 1 if both sides are constant, 0 if one is.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

/// Indices of the k largest values, the largest first, the first of equals first.
std::vector<int64_t> top_k(const std::vector<double>& values, int k);

/// The share of the k truly largest that are among the k largest scores.
double recall_at_k(const std::vector<double>& truth, const std::vector<double>& scores, int k);

/// Correlation of two lists; 0 if one is constant.
double pearson(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace quanta
