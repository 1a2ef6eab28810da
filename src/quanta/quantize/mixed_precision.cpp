#include "quanta/quantize/mixed_precision.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using Costs = std::vector<std::vector<double>>;

int64_t total(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

void check(const std::vector<int64_t>& sizes, const std::vector<int>& bits, const Costs& cost, int64_t budget) {
  require(!sizes.empty() && !bits.empty(), "bit allocation: no layers or no candidate widths");
  for (size_t k = 0; k < bits.size(); ++k)
    require(bits[k] >= 1 && bits[k] <= 32 && (k == 0 || bits[k] > bits[k - 1]),
            "bit allocation: candidate widths must ascend within [1, 32], got {} at {}", bits[k], k);
  require(cost.size() == sizes.size(), "bit allocation: costs of {} layers, sizes of {}", cost.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    require(sizes[i] >= 1, "bit allocation: layer {} has {} weights", i, sizes[i]);
    require(cost[i].size() == bits.size(), "bit allocation: layer {} has {} costs, expected one for each of {} widths",
            i, cost[i].size(), bits.size());
    for (const double c : cost[i]) require(std::isfinite(c), "bit allocation: a cost of layer {} is {}", i, c);
  }
  const int64_t least = total(sizes) * bits[0];
  require(budget >= least, "the budget of {} bits is below the smallest size, {} bits with every layer at {}", budget,
          least, bits[0]);
}

int64_t budget_of(const std::vector<int64_t>& sizes, double average_bits) {
  require(std::isfinite(average_bits), "bit allocation: the average budget is {}", average_bits);
  return int64_t(std::floor(average_bits * double(total(sizes)) * (1 + 1e-12)));
}

/// A partial choice: the width of the last layer and the choice for those before it.
struct State {
  int64_t size;
  double cost;
  int32_t before;
  int32_t choice;
};

/// Of states in any order keeps those that no other beats; sizes in one cell of the grid count as equal.
void prune(std::vector<State>& states, int64_t grid) {
  const auto cell = [grid](const State& state) { return (state.size + grid - 1) / grid; };
  std::ranges::sort(states, [&](const State& a, const State& b) {
    if (cell(a) != cell(b)) return cell(a) < cell(b);
    return a.cost != b.cost ? a.cost < b.cost : a.size < b.size;
  });
  size_t kept = 0;
  for (const State& state : states)
    if (kept == 0 || state.cost < states[kept - 1].cost) states[kept++] = state;
  states.resize(kept);
}

}  // namespace

const BitAllocation& ParetoFrontier::within(int64_t budget) const {
  require(!points.empty() && points.front().size <= budget, "the budget of {} bits is below the smallest size, {} bits",
          budget, points.empty() ? 0 : points[0].size);
  return *std::prev(std::ranges::upper_bound(points, budget, {}, &BitAllocation::size));
}

ParetoFrontier pareto_bits(const std::vector<int64_t>& sizes, const std::vector<int>& bits, const Costs& cost,
                           const ParetoOptions& options) {
  const int64_t budget = options.budget ? options.budget : bits.empty() ? 0 : total(sizes) * bits.back();
  check(sizes, bits, cost, budget);
  require(options.max_states >= 1, "max_states is {}, expected at least 1", options.max_states);
  ParetoFrontier frontier;
  std::vector<std::vector<State>> layers{{{0, 0, -1, -1}}};
  int64_t rest = total(sizes) * bits[0];  // the least that the layers to come take
  for (size_t i = 0; i < sizes.size(); ++i) {
    rest -= sizes[i] * bits[0];
    std::vector<State> next;
    const auto& before = layers.back();
    for (size_t s = 0; s < before.size(); ++s)
      for (size_t k = 0; k < bits.size(); ++k)
        if (const int64_t size = before[s].size + sizes[i] * bits[k]; size + rest <= budget)
          next.push_back({size, before[s].cost + cost[i][k], int32_t(s), int32_t(k)});
    prune(next, frontier.grid);
    if (int64_t(next.size()) > options.max_states) {
      frontier.grid = std::max<int64_t>(1, budget / 20000);
      prune(next, frontier.grid);
    }
    layers.push_back(std::move(next));
  }
  for (State state : layers.back()) {
    BitAllocation point{state.size, state.cost, std::vector<int>(sizes.size())};
    for (size_t i = sizes.size(); i-- > 0; state = layers[i][size_t(state.before)]) point.bits[i] = bits[state.choice];
    // Within a cell of the grid a later point may be the smaller one.
    while (!frontier.points.empty() && frontier.points.back().size >= point.size) frontier.points.pop_back();
    frontier.points.push_back(std::move(point));
  }
  return frontier;
}

BitAllocation monotone_bits(const std::vector<int64_t>& sizes, const std::vector<int>& bits, const Costs& cost,
                            const std::vector<int64_t>& order, int64_t budget) {
  check(sizes, bits, cost, budget);
  std::vector<int64_t> sorted = order;
  std::ranges::sort(sorted);
  bool permutation = order.size() == sizes.size();
  for (size_t i = 0; i < sorted.size(); ++i) permutation &= sorted[i] == int64_t(i);
  require(permutation, "the order of {} layers is no permutation of 0 to {}", sizes.size(), sizes.size() - 1);

  BitAllocation best, at{0, 0, std::vector<int>(sizes.size())};
  const auto extend = [&](const auto& self, size_t position, size_t widest, int64_t rest) -> void {
    if (position == order.size()) {
      if (best.bits.empty() || at.cost < best.cost || (at.cost == best.cost && at.size > best.size)) best = at;
      return;
    }
    const auto i = size_t(order[position]);
    const BitAllocation before{at.size, at.cost, {}};
    for (size_t k = 0; k <= widest; ++k) {
      at.size = before.size + sizes[i] * bits[k];
      at.cost = before.cost + cost[i][k];
      at.bits[i] = bits[k];
      const int64_t left = rest - sizes[i] * bits[0];
      if (at.size + left <= budget) self(self, position + 1, k, left);
    }
    at.size = before.size;
    at.cost = before.cost;
  };
  extend(extend, 0, bits.size() - 1, total(sizes) * bits[0]);
  return best;
}

BitAllocation greedy_bits(const std::vector<int64_t>& sizes, const std::vector<int>& bits, const Costs& cost,
                          double average_bits) {
  const int64_t budget = budget_of(sizes, average_bits);
  check(sizes, bits, cost, budget);
  BitAllocation result{total(sizes) * bits[0], 0, std::vector<int>(sizes.size(), bits[0])};
  struct Raise {
    double gain;
    size_t layer;
    size_t to;
    bool operator<(const Raise& other) const { return gain != other.gain ? gain < other.gain : layer > other.layer; }
  };
  std::priority_queue<Raise> heap;
  const auto offer = [&](size_t i, size_t to) {
    if (to == bits.size()) return;
    heap.push({(cost[i][to - 1] - cost[i][to]) / (double(bits[to] - bits[to - 1]) * double(sizes[i])), i, to});
  };
  for (size_t i = 0; i < sizes.size(); ++i) {
    result.cost += cost[i][0];
    offer(i, 1);
  }
  for (; !heap.empty() && heap.top().gain > 0;) {
    const Raise raise = heap.top();
    heap.pop();
    const int64_t more = sizes[raise.layer] * (bits[raise.to] - bits[raise.to - 1]);
    if (result.size + more > budget) continue;
    result.size += more;
    result.cost += cost[raise.layer][raise.to] - cost[raise.layer][raise.to - 1];
    result.bits[raise.layer] = bits[raise.to];
    offer(raise.layer, raise.to + 1);
  }
  return result;
}

BitAllocation binary_bits(const std::vector<int64_t>& sizes, const std::vector<double>& importance, int low, int high,
                          double average_bits) {
  const int64_t budget = budget_of(sizes, average_bits);
  Costs cost;
  for (const double value : importance) cost.push_back({value, 0});
  check(sizes, {low, high}, cost, budget);
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return importance[a] > importance[b]; });
  BitAllocation result{total(sizes) * low, 0, std::vector<int>(sizes.size(), low)};
  bool open = true;
  for (const size_t i : order) {
    const int64_t more = sizes[i] * (high - low);
    open &= result.size + more <= budget;
    if (!open) {
      result.cost += importance[i];
      continue;
    }
    result.size += more;
    result.bits[i] = high;
  }
  return result;
}

ModelCost model_cost(const std::vector<LayerBits>& layers) {
  ModelCost result;
  int64_t weights = 0, activations = 0, activation_bits = 0;
  for (const LayerBits& layer : layers) {
    weights += layer.weights;
    activations += layer.activations;
    activation_bits += layer.activations * layer.activation_bits;
    result.weight_bits += layer.weights * layer.weight_bits;
    result.bit_operations += double(layer.macs) * layer.weight_bits * layer.activation_bits;
  }
  require(weights > 0 && result.weight_bits > 0, "model cost: no weights");
  result.megabytes = double(result.weight_bits) / 8 / (1 << 20);
  result.average_bits = double(result.weight_bits) / double(weights);
  result.weight_compression = 32 / result.average_bits;
  if (activation_bits > 0) result.activation_compression = 32 * double(activations) / double(activation_bits);
  return result;
}

}  // namespace quanta
