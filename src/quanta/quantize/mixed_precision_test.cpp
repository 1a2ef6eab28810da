#include "quanta/quantize/mixed_precision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Instance {
  std::vector<int64_t> sizes;
  std::vector<int> bits{2, 4, 8};
  std::vector<std::vector<double>> cost;

  int64_t size_at(int width) const {
    int64_t sum = 0;
    for (const int64_t size : sizes) sum += size * width;
    return sum;
  }
};

Instance random_instance(int layers, uint64_t seed, bool falling = false) {
  Random random(seed);
  Instance instance;
  for (int i = 0; i < layers; ++i) {
    instance.sizes.push_back(1 + int64_t(random.below(500)));
    instance.cost.emplace_back();
    for (size_t k = 0; k < instance.bits.size(); ++k) instance.cost.back().push_back(random.uniform());
    if (falling) std::ranges::sort(instance.cost.back(), std::ranges::greater{});
  }
  return instance;
}

/// Every choice, its size and cost.
std::vector<BitAllocation> all_choices(const Instance& instance) {
  std::vector<BitAllocation> all{{}};
  for (size_t i = 0; i < instance.sizes.size(); ++i) {
    std::vector<BitAllocation> next;
    for (const auto& partial : all)
      for (size_t k = 0; k < instance.bits.size(); ++k) {
        next.push_back(partial);
        next.back().size += instance.sizes[i] * instance.bits[k];
        next.back().cost += instance.cost[i][k];
        next.back().bits.push_back(instance.bits[k]);
      }
    all = std::move(next);
  }
  return all;
}

void expect_consistent(const Instance& instance, const BitAllocation& choice) {
  int64_t size = 0;
  double cost = 0;
  for (size_t i = 0; i < choice.bits.size(); ++i) {
    const auto k = std::ranges::find(instance.bits, choice.bits[i]) - instance.bits.begin();
    size += instance.sizes[i] * choice.bits[i];
    cost += instance.cost[i][size_t(k)];
  }
  EXPECT_EQ(choice.size, size);
  EXPECT_NEAR(choice.cost, cost, 1e-12);
}

TEST(ParetoBits, SpecifiedExample) {
  const auto solve = [](int64_t budget) {
    return pareto_bits({100, 200, 50}, {2, 4, 8}, {{0.9, 0.2, 0.0}, {0.5, 0.3, 0.05}, {1.2, 0.4, 0.01}},
                       {.budget = budget})
        .within(budget);
  };
  EXPECT_THAT(solve(1000).bits, ElementsAre(4, 2, 4));
  EXPECT_NEAR(solve(1000).cost, 1.1, 1e-12);
  EXPECT_THAT(solve(1400).bits, ElementsAre(4, 2, 8));
  EXPECT_EQ(solve(1400).size, 1200);
  EXPECT_NEAR(solve(1400).cost, 0.71, 1e-12);
  EXPECT_THAT(solve(1800).bits, ElementsAre(4, 4, 8));
  EXPECT_EQ(solve(1800).size, 1600);
  EXPECT_NEAR(solve(1800).cost, 0.51, 1e-12);
}

TEST(ParetoBits, EqualsBruteForce) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Instance instance = random_instance(7, seed);
    const auto all = all_choices(instance);
    ASSERT_EQ(all.size(), 2187u);
    const auto frontier = pareto_bits(instance.sizes, instance.bits, instance.cost);
    // The whole frontier: exactly the choices no other beats.
    std::vector<std::pair<int64_t, double>> expected;
    for (const auto& a : all)
      if (std::ranges::none_of(all, [&](const auto& b) {
            return (b.size <= a.size && b.cost < a.cost - 1e-13) || (b.size < a.size && b.cost < a.cost + 1e-13);
          }))
        expected.emplace_back(a.size, a.cost);
    std::ranges::sort(expected);
    ASSERT_EQ(frontier.points.size(), expected.size()) << seed;
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(frontier.points[i].size, expected[i].first);
      EXPECT_NEAR(frontier.points[i].cost, expected[i].second, 1e-12);
      expect_consistent(instance, frontier.points[i]);
    }
    // And the best within a budget, with the budget given before and after.
    for (const double share : {0.3, 0.5, 0.8}) {
      const auto budget = int64_t(share * double(instance.size_at(8)));
      double best = std::numeric_limits<double>::infinity();
      for (const auto& a : all)
        if (a.size <= budget) best = std::min(best, a.cost);
      EXPECT_NEAR(frontier.within(budget).cost, best, 1e-12);
      EXPECT_NEAR(pareto_bits(instance.sizes, instance.bits, instance.cost, {.budget = budget}).points.back().cost,
                  best, 1e-12);
    }
  }
}

TEST(ParetoBits, CoarseGridKeepsTheBudgetAndSaysSo) {
  const Instance instance = random_instance(12, 3, true);
  const int64_t budget = instance.size_at(4);
  const auto exact = pareto_bits(instance.sizes, instance.bits, instance.cost, {.budget = budget});
  EXPECT_EQ(exact.grid, 1);
  Instance large = instance;  // sizes that leave more states than allowed, and a grid above one bit
  for (auto& size : large.sizes) size *= 1000;
  const auto coarse = pareto_bits(large.sizes, large.bits, large.cost, {.budget = 1000 * budget, .max_states = 10});
  EXPECT_GT(coarse.grid, 1);
  for (const auto& point : coarse.points) {
    EXPECT_LE(point.size, 1000 * budget);
    expect_consistent(large, point);
  }
  EXPECT_GE(coarse.points.back().cost, exact.points.back().cost - 1e-12);
  EXPECT_LE(coarse.points.back().cost, exact.points.back().cost + 0.05);
  EXPECT_TRUE(std::ranges::is_sorted(coarse.points, {}, &BitAllocation::size));
}

TEST(MonotoneBits, EqualsBruteForce) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Instance instance = random_instance(7, 100 + seed);
    const auto order = Random(seed).permutation(7);
    const auto all = all_choices(instance);
    for (const double share : {0.26, 0.4, 0.7, 1.0}) {
      const auto budget = int64_t(share * double(instance.size_at(8)));
      const BitAllocation* best = nullptr;
      for (const auto& a : all) {
        bool monotone = a.size <= budget;
        for (size_t i = 1; i < order.size(); ++i) monotone &= a.bits[order[i]] <= a.bits[order[i - 1]];
        if (monotone && (!best || a.cost < best->cost)) best = &a;
      }
      const auto found = monotone_bits(instance.sizes, instance.bits, instance.cost, order, budget);
      EXPECT_NEAR(found.cost, best->cost, 1e-12) << seed;
      EXPECT_LE(found.size, budget);
      expect_consistent(instance, found);
    }
  }
}

TEST(MonotoneBits, TiesGoToTheLarger) {
  const std::vector<std::vector<double>> free(3, {0, 0, 0});
  EXPECT_THAT(monotone_bits({10, 10, 10}, {2, 4, 8}, free, {2, 0, 1}, 170).bits, ElementsAre(4, 4, 8));
  EXPECT_THAT(monotone_bits({10, 10, 10}, {2, 4, 8}, free, {2, 0, 1}, 1000).bits, ElementsAre(8, 8, 8));
}

TEST(GreedyBits, SpecifiedExample) {
  const std::vector<std::vector<double>> cost{{8, 2, 1}, {4, 3, 2.9}, {1, 0.5, 0.4}};
  const auto result = greedy_bits({1, 1, 1}, {2, 3, 4}, cost, 3.0);
  EXPECT_THAT(result.bits, ElementsAre(4, 3, 2));
  EXPECT_EQ(result.size, 9);
  EXPECT_DOUBLE_EQ(result.cost, 1 + 3 + 1);
}

TEST(GreedyBits, IsOptimalForConvexCostsAndNeverExceedsTheBudget) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    Instance instance;
    instance.bits = {2, 3, 4};
    for (int i = 0; i < 7; ++i) {
      instance.sizes.push_back(5);  // equal sizes: no gap is left at the budget
      const double first = random.uniform(), second = first * random.uniform();
      instance.cost.push_back({first + second, second, 0});
    }
    for (const double average : {2.0, 2.5, 3.0, 3.7}) {
      const auto found = greedy_bits(instance.sizes, instance.bits, instance.cost, average);
      const auto budget = int64_t(average * 35);
      double best = std::numeric_limits<double>::infinity();
      for (const auto& a : all_choices(instance))
        if (a.size <= budget) best = std::min(best, a.cost);
      EXPECT_NEAR(found.cost, best, 1e-12);
      expect_consistent(instance, found);
    }
    const Instance uneven = random_instance(30, seed, true);
    const auto found = greedy_bits(uneven.sizes, uneven.bits, uneven.cost, 3.3);
    EXPECT_LE(double(found.size), 3.3 * double(uneven.size_at(1)));
  }
}

TEST(BinaryBits, TopGetsTheHighWidth) {
  const auto result = binary_bits({10, 10, 10, 10}, {1, 4, 3, 2}, 2, 4, 3.0);
  EXPECT_THAT(result.bits, ElementsAre(2, 4, 4, 2));
  EXPECT_DOUBLE_EQ(result.cost, 3);
}

TEST(ModelCost, SpecifiedCompression) {
  const auto cost = model_cost(
      {{.name = "a", .weights = 1000, .activations = 10, .macs = 7, .weight_bits = 8},
       {.name = "b", .weights = 3000, .activations = 30, .macs = 5, .weight_bits = 2, .activation_bits = 8}});
  EXPECT_NEAR(cost.weight_compression, 32.0 * 4000 / 14000, 1e-12);
  EXPECT_EQ(cost.weight_bits, 14000);
  EXPECT_DOUBLE_EQ(cost.megabytes, 14000.0 / 8 / 1048576);
  EXPECT_DOUBLE_EQ(cost.average_bits, 3.5);
  EXPECT_DOUBLE_EQ(cost.activation_compression, 32.0 * 40 / (320 + 240));
  EXPECT_DOUBLE_EQ(cost.bit_operations, 7 * 8 * 32 + 5 * 2 * 8);
}

TEST(BitAllocation, BadInput) {
  const std::vector<std::vector<double>> cost{{1, 0}, {1, 0}};
  EXPECT_THAT(
      [&] {
        pareto_bits({10, 10}, {2, 4}, cost, {.budget = 39});
      },
      ThrowsMessage<Error>(HasSubstr("below the smallest size, 40 bits")));
  EXPECT_THAT([&] { pareto_bits({10, 10}, {4, 2}, cost); }, ThrowsMessage<Error>(HasSubstr("ascend")));
  EXPECT_THAT([&] { pareto_bits({10}, {2, 4}, cost); }, ThrowsMessage<Error>(HasSubstr("costs of 2 layers")));
  EXPECT_THAT([&] { pareto_bits({10, 10}, {2, 4}, {{1, NAN}, {1, 0}}); }, ThrowsMessage<Error>(HasSubstr("is nan")));
  EXPECT_THAT([&] { pareto_bits({}, {2, 4}, {}); }, ThrowsMessage<Error>(HasSubstr("no layers")));
  EXPECT_THAT(
      [&] {
        monotone_bits({10, 10}, {2, 4}, cost, {0, 0}, 100);
      },
      ThrowsMessage<Error>(HasSubstr("no permutation")));
  EXPECT_THAT([&] { greedy_bits({10, 10}, {2, 4}, cost, 1.5); }, ThrowsMessage<Error>(HasSubstr("below the smallest")));
  EXPECT_THAT(
      [&] {
        pareto_bits({10, 10}, {2, 4}, cost).within(3);
      },
      ThrowsMessage<Error>(HasSubstr("below the smallest")));
}

}  // namespace
}  // namespace quanta
