#include "quanta/learn/ensembles.h"

#include <algorithm>
#include <cmath>

#include "quanta/core/parallel.h"

namespace quanta {
namespace {

int best_class(const Tree& tree, const double* sample) {
  const double* leaf = tree.values.row(tree.leaf(sample));
  return int(std::max_element(leaf, leaf + tree.values.columns) - leaf);
}

// Class probabilities of one sample from its raw scores: one a class, or the log odds of class 1.
void probabilities(const double* raw, int64_t classes, double* out) {
  if (classes == 2) {
    out[1] = logistic(raw[0]);
    out[0] = 1 - out[1];
    return;
  }
  const double most = *std::max_element(raw, raw + classes);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += out[k] = std::exp(raw[k] - most);
  for (int64_t k = 0; k < classes; ++k) out[k] /= sum;
}

}  // namespace

Samples TreeClassifier::score(const Samples& x) const {
  Samples result(x.rows, classes());
  for (int64_t i = 0; i < x.rows; ++i)
    for (const Tree& tree : trees_) {
      const double* leaf = tree.values.row(tree.leaf(x.row(i)));
      for (int k = 0; k < classes(); ++k) result(i, k) += leaf[k] / double(trees_.size());
    }
  return result;
}

void DecisionTree::learn(const Samples& x, const Labels& y) {
  trees_ = {grow_tree(x, one_hot(y, classes()), {}, options_, Random(0))};
}

void RandomForest::learn(const Samples& x, const Labels& y) {
  require(options_.trees >= 1, "random forest: expected at least 1 tree, got {}", options_.trees);
  const TreeOptions tree{.max_depth = options_.max_depth,
                         .features = options_.features > 0 ? options_.features : std::max(1, int(std::sqrt(x.columns))),
                         .random_split = options_.extra};
  const Samples targets = one_hot(y, classes());
  const Random random(options_.seed);
  trees_.assign(options_.trees, {});
  parallel_for(options_.trees, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      Random draw = random.split(uint64_t(t));
      std::vector<double> weights;
      if (!options_.extra) {
        weights.assign(x.rows, 0);
        for (int64_t i = 0; i < x.rows; ++i) ++weights[draw.below(x.rows)];
      }
      trees_[t] = grow_tree(x, targets, weights, tree, draw.split("splits"));
    }
  });
}

void AdaBoost::learn(const Samples& x, const Labels& y) {
  require(options_.rounds >= 1, "AdaBoost: expected at least 1 round, got {}", options_.rounds);
  trees_.clear();
  weights_.clear();
  const Samples targets = one_hot(y, classes());
  std::vector<double> weights(x.rows, 1.0 / double(x.rows));
  for (int round = 0; round < options_.rounds; ++round) {
    Tree tree = grow_tree(x, targets, weights, {.max_depth = options_.depth}, Random(0));
    double error = 0, sum = 0;
    std::vector<bool> wrong(x.rows);
    for (int64_t i = 0; i < x.rows; ++i) {
      wrong[i] = best_class(tree, x.row(i)) != y[i];
      error += wrong[i] ? weights[i] : 0;
      sum += weights[i];
    }
    error /= sum;
    const bool guess = error >= 1 - 1.0 / classes();
    if (guess && !trees_.empty()) return;
    trees_.push_back(std::move(tree));
    if (guess || error <= 0) {
      weights_.push_back(1);
      return;
    }
    const double weight = options_.rate * (std::log((1 - error) / error) + std::log(classes() - 1.0));
    weights_.push_back(weight);
    for (int64_t i = 0; i < x.rows; ++i)
      if (wrong[i]) weights[i] *= std::exp(weight);
    sum = 0;
    for (const double w : weights) sum += w;
    for (double& w : weights) w /= sum;
  }
}

Samples AdaBoost::score(const Samples& x) const {
  Samples result(x.rows, classes());
  double sum = 0;
  for (const double weight : weights_) sum += weight;
  for (int64_t i = 0; i < x.rows; ++i)
    for (size_t t = 0; t < trees_.size(); ++t) result(i, best_class(trees_[t], x.row(i))) += weights_[t] / sum;
  return result;
}

void GradientBoosting::learn(const Samples& x, const Labels& y) {
  require(options_.rounds >= 1 && options_.depth >= 1 && options_.rate > 0,
          "gradient boosting: expected rounds and depth of at least 1 and a positive rate, got {}, {} and {}",
          options_.rounds, options_.depth, options_.rate);
  const int64_t n = x.rows, c = classes(), outputs = c == 2 ? 1 : c;
  std::vector<double> share(c);
  for (const int label : y) share[label] += 1.0 / double(n);
  start_.clear();
  for (int64_t k = 0; k < outputs; ++k) start_.push_back(c == 2 ? std::log(share[1] / share[0]) : std::log(share[k]));
  trees_.clear();

  Samples f(n, outputs), p(n, c), residual(n, 1);
  for (int64_t i = 0; i < n; ++i) std::ranges::copy(start_, f.row(i));
  for (int round = 0; round < options_.rounds; ++round) {
    for (int64_t i = 0; i < n; ++i) probabilities(f.row(i), c, p.row(i));
    for (int64_t k = 0; k < outputs; ++k) {
      const int64_t klass = c == 2 ? 1 : k;
      for (int64_t i = 0; i < n; ++i) residual(i, 0) = (y[i] == klass) - p(i, klass);
      Tree tree = grow_tree(x, residual, {}, {.max_depth = options_.depth}, Random(0));
      // Leaves take one Newton step of the deviance.
      std::vector<int> leaf(n);
      std::vector<double> gradient(tree.nodes.size()), hessian(tree.nodes.size());
      for (int64_t i = 0; i < n; ++i) {
        leaf[i] = tree.leaf(x.row(i));
        gradient[leaf[i]] += residual(i, 0);
        hessian[leaf[i]] += p(i, klass) * (1 - p(i, klass));
      }
      const double factor = c == 2 ? 1 : (double(c) - 1) / double(c);
      for (size_t node = 0; node < tree.nodes.size(); ++node)
        tree.values.values[node] =
            options_.rate * (hessian[node] < 1e-150 ? 0 : factor * gradient[node] / hessian[node]);
      for (int64_t i = 0; i < n; ++i) f(i, k) += tree.values.values[leaf[i]];
      trees_.push_back(std::move(tree));
    }
  }
}

Samples GradientBoosting::score(const Samples& x) const {
  Samples result(x.rows, classes());
  const size_t outputs = start_.size();
  for (int64_t i = 0; i < x.rows; ++i) {
    std::vector<double> f = start_;
    for (size_t t = 0; t < trees_.size(); ++t) f[t % outputs] += trees_[t].values.values[trees_[t].leaf(x.row(i))];
    probabilities(f.data(), classes(), result.row(i));
  }
  return result;
}

}  // namespace quanta
