#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quanta {

// How many bits each layer (block, row) gets within a budget on the size. In all functions `sizes[i]` is the number of
// weights of layer i, `bits` the candidate widths and `cost[i][k]` what layer i costs with bits[k]; costs add up.
// Errors: nothing to choose, candidates that are not ascending or outside [1, 32], sizes below 1, a table of another
// shape, a cost that is not finite, a budget below the smallest size.

/// A choice of bits for every layer.
struct BitAllocation {
  int64_t size = 0;  ///< sum of sizes[i] * bits[i], in bits
  double cost = 0;
  std::vector<int> bits{};

  bool operator==(const BitAllocation&) const = default;
};

/// The choices that no other beats in both size and cost, by ascending size and descending cost.
struct ParetoFrontier {
  std::vector<BitAllocation> points{};
  int64_t grid = 1;  ///< above 1: sizes within a cell of so many bits were not told apart, so costs may be improvable

  /// The cheapest choice of at most `budget` bits; Error if even the smallest is larger.
  const BitAllocation& within(int64_t budget) const;
};

struct ParetoOptions {
  int64_t budget = 0;            ///< choices of more bits are left out; 0: none are
  int64_t max_states = 1000000;  ///< if a layer would leave more partial choices, sizes are rounded up to a grid of
                                 ///< 1/20000 of the budget for comparisons; reported sizes stay exact
};

/// Exact dynamic programming over the layers: of the partial choices, those that another one beats are dropped (ZeroQ,
/// arXiv 2001.00281, section 3.2).
ParetoFrontier pareto_bits(const std::vector<int64_t>& sizes, const std::vector<int>& bits,
                           const std::vector<std::vector<double>>& cost, const ParetoOptions& options = {});

/// Among the choices in which bits do not increase along `order` (layers from most to least sensitive) and the size is
/// within the budget, the cheapest; of equally cheap ones the largest (HAWQ, arXiv 1905.03696: the order is the
/// paper's, the rule for the absolute widths is ours). Error if the order is no permutation.
BitAllocation monotone_bits(const std::vector<int64_t>& sizes, const std::vector<int>& bits,
                            const std::vector<std::vector<double>>& cost, const std::vector<int64_t>& order,
                            int64_t budget);

/// From the lowest width on, raises the layer (row) whose cost falls most a bit of size, until no raise fits; optimal
/// for convex costs up to the last raise. Average budget in bits a weight (arXiv 2308.07662).
BitAllocation greedy_bits(const std::vector<int64_t>& sizes, const std::vector<int>& bits,
                          const std::vector<std::vector<double>>& cost, double average_bits);

/// The most important layers (rows) get the high width, the rest the low one, within an average budget. For comparison:
/// the greedy rule is better. The cost is the importance of what got the low width.
BitAllocation binary_bits(const std::vector<int64_t>& sizes, const std::vector<double>& importance, int low, int high,
                          double average_bits);

/// What a layer costs to store and to run.
struct LayerBits {
  std::string name{};
  int64_t weights = 0;
  int64_t activations = 0;  ///< elements of its output a sample
  int64_t macs = 0;         ///< a sample
  int weight_bits = 32;
  int activation_bits = 32;
};

struct ModelCost {
  int64_t weight_bits = 0;            ///< sum of weights * bits; scales not counted
  double megabytes = 0;               ///< of 2^20 bytes
  double average_bits = 0;            ///< a weight
  double weight_compression = 0;      ///< against 32 bits
  double activation_compression = 0;  ///< likewise
  double bit_operations = 0;          ///< sum of macs * weight bits * activation bits
};
ModelCost model_cost(const std::vector<LayerBits>& layers);

}  // namespace quanta
