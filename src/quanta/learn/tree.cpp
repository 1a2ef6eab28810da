#include "quanta/learn/tree.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace quanta {
namespace {

// Values closer than this count as equal, as in scikit-learn.
constexpr double kSame = 1e-7;

struct Split {
  int feature = -1;
  double threshold = 0;
  double score = -INFINITY;  // sum over both sides and outputs of (sum of targets)^2 / weight
};

class Grower {
 public:
  Grower(const Samples& x, const Samples& targets, const std::vector<double>& weights, const TreeOptions& options,
         Random random)
      : x_(x), targets_(targets), weights_(weights), options_(options), random_(random) {
    for (int64_t i = 0; i < x.rows; ++i)
      if (weight(i) > 0) samples_.push_back(i);
    require(!samples_.empty(), "grow_tree: no sample has a positive weight");
    tree_.values.columns = targets.columns;
  }

  Tree grow() {
    add(0, samples_.size(), 0);
    return std::move(tree_);
  }

 private:
  double weight(int64_t i) const { return weights_.empty() ? 1 : weights_[i]; }

  int add(size_t begin, size_t end, int depth) {
    const int64_t outputs = targets_.columns;
    std::vector<double> sums(outputs);
    double cover = 0, squares = 0;
    for (size_t at = begin; at < end; ++at) {
      const int64_t i = samples_[at];
      cover += weight(i);
      for (int64_t k = 0; k < outputs; ++k) {
        sums[k] += weight(i) * targets_(i, k);
        squares += weight(i) * targets_(i, k) * targets_(i, k);
      }
    }
    const int node = int(tree_.nodes.size());
    tree_.nodes.push_back({.cover = cover});
    double score = 0;
    for (const double sum : sums) {
      tree_.values.values.push_back(sum / cover);
      score += sum * sum / cover;
    }
    ++tree_.values.rows;

    const int count = int(end - begin);
    if ((options_.max_depth > 0 && depth >= options_.max_depth) || count < options_.min_split ||
        count < 2 * options_.min_leaf || squares - score <= 1e-15 * cover)
      return node;
    const Split split = find_split(begin, end, sums, cover);
    if (split.feature < 0) return node;

    const auto middle = std::partition(samples_.begin() + begin, samples_.begin() + end,
                                       [&](int64_t i) { return x_(i, split.feature) <= split.threshold; });
    const size_t mid = size_t(middle - samples_.begin());
    const int left = add(begin, mid, depth + 1), right = add(mid, end, depth + 1);
    auto& self = tree_.nodes[node];
    self = {split.feature, split.threshold, left, right, cover, std::max(0.0, split.score - score)};
    return node;
  }

  Split find_split(size_t begin, size_t end, const std::vector<double>& sums, double cover) {
    std::vector<int64_t> features(x_.columns);
    if (options_.features > 0)
      features = random_.permutation(x_.columns);
    else
      std::iota(features.begin(), features.end(), 0);
    Split best;
    int tried = 0;
    for (const int64_t feature : features) {
      if (options_.features > 0 && tried == options_.features) break;
      order_.clear();
      for (size_t at = begin; at < end; ++at) order_.emplace_back(x_(samples_[at], feature), samples_[at]);
      std::ranges::sort(order_);
      const double low = order_.front().first, high = order_.back().first;
      if (high - low <= kSame) continue;
      ++tried;
      if (options_.random_split)
        try_random(int(feature), low, high, sums, cover, best);
      else
        try_all(int(feature), sums, cover, best);
    }
    return best;
  }

  // Moves sample after sample to the left; wants(at) says whether to judge a split before order_[at].
  template <class Wants>
  void sweep(int feature, const std::vector<double>& sums, double cover, Split& best, Wants wants) {
    const int64_t outputs = targets_.columns;
    const int count = int(order_.size());
    left_.assign(outputs, 0);
    double left_cover = 0;
    for (int at = 1; at < count; ++at) {
      const int64_t moved = order_[at - 1].second;
      left_cover += weight(moved);
      for (int64_t k = 0; k < outputs; ++k) left_[k] += weight(moved) * targets_(moved, k);
      if (at < options_.min_leaf || count - at < options_.min_leaf || !wants(at)) continue;
      double score = 0;
      for (int64_t k = 0; k < outputs; ++k) {
        const double right = sums[k] - left_[k];
        score += left_[k] * left_[k] / left_cover + right * right / (cover - left_cover);
      }
      if (score > best.score) best = {feature, order_[at - 1].first, score};
    }
  }

  void try_all(int feature, const std::vector<double>& sums, double cover, Split& best) {
    const double before = best.score;
    sweep(feature, sums, cover, best, [&](int at) { return order_[at].first - order_[at - 1].first > kSame; });
    if (best.score > before) {  // halfway to the next larger value
      const auto next = std::ranges::upper_bound(order_, best.threshold, {}, [](const auto& v) { return v.first; });
      const double middle = best.threshold / 2 + next->first / 2;
      if (middle < next->first) best.threshold = middle;
    }
  }

  void try_random(int feature, double low, double high, const std::vector<double>& sums, double cover, Split& best) {
    const double threshold = random_.uniform(low, high), before = best.score;
    sweep(feature, sums, cover, best,
          [&](int at) { return order_[at - 1].first <= threshold && order_[at].first > threshold; });
    if (best.score > before) best.threshold = threshold;
  }

  const Samples& x_;
  const Samples& targets_;
  const std::vector<double>& weights_;
  const TreeOptions& options_;
  Random random_;
  std::vector<int64_t> samples_;
  std::vector<std::pair<double, int64_t>> order_;
  std::vector<double> left_;
  Tree tree_;
};

}  // namespace

int Tree::leaf(const double* sample) const {
  int node = 0;
  while (nodes[node].feature >= 0)
    node = sample[nodes[node].feature] <= nodes[node].threshold ? nodes[node].left : nodes[node].right;
  return node;
}

int Tree::depth() const {
  const std::function<int(int)> below = [&](int node) {
    return nodes[node].feature < 0 ? 0 : 1 + std::max(below(nodes[node].left), below(nodes[node].right));
  };
  return below(0);
}

Tree grow_tree(const Samples& x, const Samples& targets, const std::vector<double>& weights, const TreeOptions& options,
               Random random) {
  require(x.rows == targets.rows && (weights.empty() || int64_t(weights.size()) == x.rows),
          "grow_tree: {} samples, {} targets, {} weights", x.rows, targets.rows, weights.size());
  return Grower(x, targets, weights, options, random).grow();
}

std::vector<double> importances(const std::vector<Tree>& trees, int64_t features) {
  std::vector<double> total(static_cast<size_t>(features));
  for (const Tree& tree : trees) {
    double sum = 0;
    for (const auto& node : tree.nodes) sum += node.gain;
    if (sum > 0)
      for (const auto& node : tree.nodes)
        if (node.feature >= 0) total[node.feature] += node.gain / sum;
  }
  const double sum = std::accumulate(total.begin(), total.end(), 0.0);
  if (sum > 0)
    for (double& value : total) value /= sum;
  return total;
}

}  // namespace quanta
