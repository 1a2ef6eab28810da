#pragma once

#include <cstdint>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/learn/samples.h"

namespace quanta {

/// A binary decision tree with vectors in its leaves; node 0 is the root. A sample goes left if
/// x[feature] <= threshold.
struct Tree {
  struct Node {
    int feature = -1;  ///< -1: a leaf
    double threshold = 0;
    int left = -1;
    int right = -1;
    double cover = 0;  ///< the weight of the training samples that pass
    double gain = 0;   ///< by how much the split lowers the weighted impurity
  };
  std::vector<Node> nodes{};
  Samples values{};  ///< [nodes, outputs]: the weighted mean of the training targets that pass

  /// The leaf that a sample ends in.
  int leaf(const double* sample) const;
  int depth() const;
};

struct TreeOptions {
  int max_depth = 0;          ///< 0: without bound
  int min_split = 2;          ///< samples that a node needs to be split
  int min_leaf = 1;           ///< samples that stay on either side
  int features = 0;           ///< that vary, drawn afresh for each split; 0: all
  bool random_split = false;  ///< one uniform threshold a feature instead of the best (extra-trees)
};

/// Grows a tree (CART) on samples [n, d] with targets [n, outputs] and weights [n] (empty: all 1; samples of weight 0
/// are left out). A split lowers the targets' variance, summed over the outputs, as much as it can: for one-hot targets
/// this is the Gini impurity. Splits are tried until a node is pure.
Tree grow_tree(const Samples& x, const Samples& targets, const std::vector<double>& weights, const TreeOptions& options,
               Random random);

/// Each feature's share of the trees' gains, the mean over trees; adds up to 1 unless no tree has a split.
std::vector<double> importances(const std::vector<Tree>& trees, int64_t features);

}  // namespace quanta
