#pragma once

#include <vector>

#include "quanta/learn/tree.h"

namespace quanta {

/// Path-dependent Shapley values of a tree's features for one sample (Lundberg et al., arXiv 1802.03888, algorithm 2,
/// polynomial time): contributions phi [features, outputs] with sum_i phi_i = f(x) - E[f], where the value of a
/// coalition is the tree's mean with absent features' branches weighted by training cover. With several trees the mean
/// over them.
Samples tree_shap(const std::vector<Tree>& trees, const double* sample, int64_t features);

/// Mean |phi_i| over the rows, summed over outputs [features].
std::vector<double> tree_shap_importance(const std::vector<Tree>& trees, const Samples& rows);

/// E[f] [outputs], the mean of the trees' roots.
std::vector<double> expected_value(const std::vector<Tree>& trees);

}  // namespace quanta
