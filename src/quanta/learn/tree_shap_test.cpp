#include "quanta/learn/tree_shap.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "quanta/learn/ensembles.h"

namespace quanta {
namespace {

/// E[f | x_S]: branches on absent features weighted by cover.
double conditional(const Tree& tree, const double* x, unsigned present, int64_t output, int node = 0) {
  const auto& at = tree.nodes[node];
  if (at.feature < 0) return tree.values(node, output);
  const auto below = [&](int child) { return conditional(tree, x, present, output, child); };
  if (present >> at.feature & 1) return below(x[at.feature] <= at.threshold ? at.left : at.right);
  return (tree.nodes[at.left].cover * below(at.left) + tree.nodes[at.right].cover * below(at.right)) / at.cover;
}

/// Shapley's formula over all 2^d coalitions.
double shapley(const Tree& tree, const double* x, int d, int feature, int64_t output) {
  double sum = 0;
  for (unsigned coalition = 0; coalition < 1u << d; ++coalition) {
    if (coalition >> feature & 1) continue;
    const int size = std::popcount(coalition);
    const double weight = std::exp(std::lgamma(size + 1) + std::lgamma(d - size) - std::lgamma(d + 1));
    sum += weight * (conditional(tree, x, coalition | 1u << feature, output) - conditional(tree, x, coalition, output));
  }
  return sum;
}

TEST(TreeShap, IsTheBruteForceOnRandomTrees) {
  constexpr int kFeatures = 6;
  for (int seed = 0; seed < 20; ++seed) {
    Random random(seed);
    Samples x(60, kFeatures), targets(60, 2);
    for (double& v : x.values) v = random.normal();
    for (double& v : targets.values) v = random.normal();
    const std::vector<Tree> trees = {
        grow_tree(x, targets, {}, {.max_depth = 1 + seed % 4, .random_split = seed % 2 == 1}, random.split("tree"))};
    EXPECT_LE(trees[0].depth(), 4);
    for (int i = 0; i < 3; ++i) {
      const Samples phi = tree_shap(trees, x.row(i), kFeatures);
      for (int64_t k = 0; k < 2; ++k) {
        double sum = expected_value(trees)[k];
        for (int j = 0; j < kFeatures; ++j) {
          sum += phi(j, k);
          EXPECT_NEAR(phi(j, k), shapley(trees[0], x.row(i), kFeatures, j, k), 1e-10);
        }
        EXPECT_NEAR(sum, trees[0].values(trees[0].leaf(x.row(i)), k), 1e-10);
      }
    }
  }
}

TEST(TreeShap, ForestIsTheMeanOfItsTrees) {
  Random random(1);
  Samples x(80, 4);
  Labels y;
  for (double& v : x.values) v = random.normal();
  for (int64_t i = 0; i < x.rows; ++i) y.push_back(x(i, 0) + 0.3 * x(i, 1) > 0);
  RandomForest forest({.trees = 10, .max_depth = 4});
  forest.fit(x, y);
  const Samples phi = tree_shap(forest.trees(), x.row(0), 4), scores = forest.scores(x);
  double sum = expected_value(forest.trees())[1];
  for (int j = 0; j < 4; ++j) sum += phi(j, 1);
  EXPECT_NEAR(sum, scores(0, 1), 1e-10);
  const auto importance = tree_shap_importance(forest.trees(), x);
  EXPECT_GT(importance[0], importance[1]);
  EXPECT_GT(importance[1], importance[2]);
}

}  // namespace
}  // namespace quanta
