#include "quanta/learn/q_medley.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "quanta/core/log.h"
#include "quanta/core/random.h"
#include "quanta/learn/metrics.h"

namespace quanta {
namespace {

using Config = QMedleyOptions::Config;

Samples with_column(Samples x, int64_t column, double value) {
  for (int64_t i = 0; i < x.rows; ++i) x(i, column) = value;
  return x;
}

double deviation(const std::vector<double>& values) {
  double mean = 0, square = 0;
  for (const double v : values) mean += v / double(values.size());
  for (const double v : values) square += (v - mean) * (v - mean) / double(values.size());
  return std::sqrt(square);
}

/// The other column most correlated with this one.
int64_t companion(const Samples& x, int64_t column) {
  int64_t best = column;
  double most = -1;
  for (int64_t j = 0; j < x.columns; ++j) {
    if (j == column) continue;
    const double r = std::abs(pearson(x.column(column), x.column(j)));
    if (r > most) most = r, best = j;
  }
  return best;
}

}  // namespace

QMedley::QMedley(QMedleyOptions options) : options_(options) {
  require(options.repeats >= 1, "Q-MEDLEY: expected at least 1 repeat, got {}", options.repeats);
  require(options.local_rows >= 1, "Q-MEDLEY: expected at least 1 row for local explanations, got {}",
          options.local_rows);
}

double QMedley::combine(double dci, double pi) const {
  switch (options_.config) {
    case Config::Dci:
      return dci;
    case Config::Pi:
      return pi;
    case Config::Average:
    case Config::Interaction:
      return (dci + pi) / 2;
    case Config::Adaptive:
    case Config::Both:
      if (std::abs(dci) > 1.2 * std::abs(pi)) return 0.7 * dci + 0.3 * pi;
      if (std::abs(pi) > 1.2 * std::abs(dci)) return 0.3 * dci + 0.7 * pi;
      return (dci + pi) / 2;
  }
  return 0;
}

void QMedley::fit(const Classifier& model, const Samples& x, const Labels& y) {
  const double right = accuracy(y, model.predict(x));
  const bool interacting = options_.config == Config::Interaction || options_.config == Config::Both;
  Importance found;
  for (int64_t column = 0; column < x.columns; ++column) {
    const std::vector<double> values = x.column(column);
    if (std::ranges::all_of(values, [&](double v) { return v == values[0]; })) {
      log_warn("Q-MEDLEY: column {} is constant, its importance is 0", column);
      for (auto* list : {&found.dci, &found.pi, &found.score}) list->push_back(0);
      continue;
    }
    const double dci = right - accuracy(y, model.predict(with_column(x, column, 0)));
    const int64_t partner = interacting ? companion(x, column) : column;
    const double noise = 0.01 * deviation(x.column(partner));
    double pi = 0;
    for (int repeat = 0; repeat < options_.repeats; ++repeat) {
      Random random = Random(options_.seed).split(uint64_t(column)).split(uint64_t(repeat));
      const auto order = random.permutation(x.rows);
      Samples shuffled(x);
      for (int64_t i = 0; i < x.rows; ++i) shuffled(i, column) = x(order[i], column);
      if (partner != column)
        for (int64_t i = 0; i < x.rows; ++i) shuffled(i, partner) += noise * random.normal();
      pi += (right - accuracy(y, model.predict(shuffled))) / options_.repeats;
    }
    found.dci.push_back(dci);
    found.pi.push_back(pi);
    found.score.push_back(combine(dci, pi));
  }
  model_ = &model;
  x_ = x;
  global_ = found;
}

const Importance& QMedley::global() const {
  require(model_ != nullptr, "Q-MEDLEY: call fit() before asking for explanations");
  return global_;
}

Importance QMedley::local(const std::vector<double>& row) const {
  require(model_ != nullptr, "Q-MEDLEY: call fit() before asking for explanations");
  require(int64_t(row.size()) == x_.columns, "Q-MEDLEY: expected a row of {} columns, got {}", x_.columns, row.size());
  // One batch: the row; then for each column the row with 0, and with the column of each reference row.
  const int64_t count = std::min<int64_t>(options_.local_rows, x_.rows);
  auto references = Random(options_.seed).split("local").permutation(x_.rows);
  references.resize(count);
  Samples batch(1 + x_.columns * (1 + count), x_.columns);
  for (int64_t i = 0; i < batch.rows; ++i) std::ranges::copy(row, batch.row(i));
  for (int64_t column = 0, at = 1; column < x_.columns; ++column) {
    batch(at++, column) = 0;
    for (const int64_t reference : references) batch(at++, column) = x_(reference, column);
  }
  const int label = model_->predict(batch.take({0}))[0];
  const Samples scores = model_->scores(batch);
  const auto score = [&](int64_t i) { return model_->probabilistic() ? scores(i, label) : logistic(scores(i, label)); };
  Importance found;
  for (int64_t column = 0, at = 1; column < x_.columns; ++column) {
    const double drop = score(0) - score(at++);
    double permuted = 0;
    for (int64_t i = 0; i < count; ++i) permuted += (score(0) - score(at++)) / double(count);
    found.dci.push_back(drop);
    found.pi.push_back(permuted);
    found.score.push_back(combine(drop, permuted));
  }
  return found;
}

const std::vector<std::string>& medley_names() {
  static const std::vector<std::string> names = {"dci", "pi", "average", "adaptive", "interaction", "both"};
  return names;
}

QMedleyOptions::Config parse_medley(const std::string& word) {
  const auto found = std::ranges::find(medley_names(), word);
  if (found == medley_names().end())
    throw UsageError(fmt::format("unknown explainer '{}': expected {}", word, fmt::join(medley_names(), ", ")));
  return Config(found - medley_names().begin());
}

}  // namespace quanta
