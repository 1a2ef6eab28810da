#include "quanta/learn/tree_shap.h"

#include <cmath>

namespace quanta {
namespace {

// One feature on the way from the root to a node: the share of absent (zero) and present (one) paths through it, and
// the weight of coalitions of each size.
struct Step {
  int feature;
  double zero;
  double one;
  double weight;
};
using Path = std::vector<Step>;

void extend(Path& path, double zero, double one, int feature) {
  const int length = int(path.size());
  path.push_back({feature, zero, one, length == 0 ? 1.0 : 0.0});
  for (int i = length - 1; i >= 0; --i) {
    path[i + 1].weight += one * path[i].weight * (i + 1) / (length + 1);
    path[i].weight *= zero * (length - i) / (length + 1);
  }
}

// The path without step `at`.
Path unwind(const Path& path, int at) {
  const int last = int(path.size()) - 1;
  Path result(path);
  double next = path[last].weight;
  for (int i = last - 1; i >= 0; --i) {
    if (path[at].one != 0) {
      const double weight = result[i].weight;
      result[i].weight = next * (last + 1) / ((i + 1) * path[at].one);
      next = weight - result[i].weight * path[at].zero * (last - i) / (last + 1);
    } else {
      result[i].weight = result[i].weight * (last + 1) / (path[at].zero * (last - i));
    }
  }
  for (int i = at; i < last; ++i) {
    result[i].feature = path[i + 1].feature;
    result[i].zero = path[i + 1].zero;
    result[i].one = path[i + 1].one;
  }
  result.pop_back();
  return result;
}

struct Walk {
  const Tree& tree;
  const double* sample;
  double share;  // of the tree among all
  Samples& phi;

  void visit(int at, Path path, double zero, double one, int feature) const {
    extend(path, zero, one, feature);
    const Tree::Node& node = tree.nodes[at];
    if (node.feature < 0) {
      for (int i = 1; i < int(path.size()); ++i) {
        double weight = 0;
        for (const Step& step : unwind(path, i)) weight += step.weight;
        for (int64_t k = 0; k < phi.columns; ++k)
          phi(path[i].feature, k) += share * weight * (path[i].one - path[i].zero) * tree.values(at, k);
      }
      return;
    }
    double zero_before = 1, one_before = 1;
    for (int i = 1; i < int(path.size()); ++i)
      if (path[i].feature == node.feature) {
        zero_before = path[i].zero;
        one_before = path[i].one;
        path = unwind(path, i);
        break;
      }
    const bool left = sample[node.feature] <= node.threshold;
    for (const int child : {node.left, node.right})
      visit(child, path, zero_before * tree.nodes[child].cover / node.cover,
            (child == node.left) == left ? one_before : 0, node.feature);
  }
};

}  // namespace

Samples tree_shap(const std::vector<Tree>& trees, const double* sample, int64_t features) {
  require(!trees.empty(), "tree_shap: there are no trees");
  Samples phi(features, trees[0].values.columns);
  for (const Tree& tree : trees) Walk{tree, sample, 1 / double(trees.size()), phi}.visit(0, {}, 1, 1, -1);
  return phi;
}

std::vector<double> tree_shap_importance(const std::vector<Tree>& trees, const Samples& rows) {
  std::vector<double> result(static_cast<size_t>(rows.columns));
  for (int64_t i = 0; i < rows.rows; ++i) {
    const Samples phi = tree_shap(trees, rows.row(i), rows.columns);
    for (int64_t j = 0; j < rows.columns; ++j)
      for (int64_t k = 0; k < phi.columns; ++k) result[j] += std::abs(phi(j, k)) / double(rows.rows);
  }
  return result;
}

std::vector<double> expected_value(const std::vector<Tree>& trees) {
  require(!trees.empty(), "expected_value: there are no trees");
  std::vector<double> result(static_cast<size_t>(trees[0].values.columns));
  for (const Tree& tree : trees)
    for (size_t k = 0; k < result.size(); ++k) result[k] += tree.values(0, int64_t(k)) / double(trees.size());
  return result;
}

}  // namespace quanta
