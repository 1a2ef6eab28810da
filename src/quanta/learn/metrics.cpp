#include "quanta/learn/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quanta {
namespace {

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

bool constant(const std::vector<double>& values) {
  return std::ranges::all_of(values, [&](double v) { return v == values[0]; });
}

}  // namespace

double accuracy(const Labels& truth, const Labels& predicted) {
  require(truth.size() == predicted.size() && !truth.empty(), "accuracy: {} labels, {} predictions", truth.size(),
          predicted.size());
  int64_t right = 0;
  for (size_t i = 0; i < truth.size(); ++i) right += truth[i] == predicted[i];
  return double(right) / double(truth.size());
}

ClassificationReport classification_report(const Labels& truth, const Labels& predicted, int classes) {
  ClassificationReport report{.accuracy = accuracy(truth, predicted)};
  report.confusion.assign(size_t(classes) * classes, 0);
  for (size_t i = 0; i < truth.size(); ++i) {
    require(truth[i] >= 0 && truth[i] < classes && predicted[i] >= 0 && predicted[i] < classes,
            "classification_report: expected classes 0..{}, got {} and {}", classes - 1, truth[i], predicted[i]);
    ++report.confusion[size_t(truth[i]) * classes + predicted[i]];
  }
  for (int k = 0; k < classes; ++k) {
    double predictions = 0, samples = 0;
    for (int other = 0; other < classes; ++other) {
      predictions += double(report.confusion[size_t(other) * classes + k]);
      samples += double(report.confusion[size_t(k) * classes + other]);
    }
    const double right = double(report.confusion[size_t(k) * classes + k]);
    report.precision.push_back(ratio(right, predictions));
    report.recall.push_back(ratio(right, samples));
    report.f.push_back(ratio(2 * right, predictions + samples));
    report.macro_precision += report.precision[k] / classes;
    report.macro_recall += report.recall[k] / classes;
    report.macro_f += report.f[k] / classes;
  }
  return report;
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return values[i]; });
  std::vector<double> result(values.size());
  for (size_t begin = 0, end; begin < order.size(); begin = end) {
    for (end = begin; end < order.size() && values[order[end]] == values[order[begin]];) ++end;
    for (size_t i = begin; i < end; ++i) result[order[i]] = double(begin + end + 1) / 2;
  }
  return result;
}

double pearson(const std::vector<double>& a, const std::vector<double>& b) {
  require(a.size() == b.size() && !a.empty(), "correlation: lists of {} and {} numbers", a.size(), b.size());
  if (constant(a) || constant(b)) return 0;
  const double n = double(a.size()), mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n,
               mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  require(a.size() == b.size() && !a.empty(), "spearman: lists of {} and {} numbers", a.size(), b.size());
  if (constant(a) && constant(b)) return 1;
  return pearson(ranks(a), ranks(b));
}

std::vector<int64_t> top_k(const std::vector<double>& values, int k) {
  require(k >= 1 && k <= int(values.size()), "top_k: expected k in 1..{}, got {}", values.size(), k);
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](int64_t i) { return values[i]; });
  order.resize(k);
  return order;
}

double recall_at_k(const std::vector<double>& truth, const std::vector<double>& scores, int k) {
  require(truth.size() == scores.size(), "recall_at_k: {} true values, {} scores", truth.size(), scores.size());
  const auto wanted = top_k(truth, k), got = top_k(scores, k);
  return double(std::ranges::count_if(got, [&](int64_t i) { return std::ranges::count(wanted, i) > 0; })) / k;
}

}  // namespace quanta
