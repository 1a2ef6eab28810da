#include "quanta/quantize/reassembly.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/nn/gradient_check.h"

namespace quanta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;
using Indices = std::vector<int64_t>;

Tensor random_tensor(torch::IntArrayRef shape, uint64_t seed) {
  Random random(seed);
  auto made = torch::empty(shape, torch::kFloat64);
  for (int64_t i = 0; i < made.numel(); ++i) made.data_ptr<double>()[i] = random.normal();
  return made;
}

double difference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

Tensor product(const Tensor& x, const Tensor& w) {
  return x.matmul(w.t());
}

// Exact check 1 of the paper's specification.
TEST(Disassembly, SplitsTheOutlierAndKeepsTheOutputs) {
  const auto x = torch::tensor({8.0, 1.0, 1.0, 2.0}).unsqueeze(0);
  const auto repeat = disassemble(x[0].abs(), 3);
  EXPECT_THAT(repeat, ElementsAre(3, 1, 1, 1));
  const auto plan = widen(repeat);
  const auto wide = plan->forward(x);
  EXPECT_LT(difference(wide, torch::tensor({8.0 / 3, 8.0 / 3, 8.0 / 3, 1.0, 1.0, 2.0}).unsqueeze(0)), 1e-6);
  EXPECT_NEAR(wide.abs().max().item<double>(), 8.0 / 3, 1e-6);
  const auto w = random_tensor({5, 4}, 1).to(torch::kFloat32);
  EXPECT_LT(difference(product(wide, plan->apply_weight(w)), product(x, w)), 1e-5);
  EXPECT_EQ(plan->width(), 6);
}

// Exact check 2: x rows (1, 2), (3, 1), columns (1, 2), (3, -1).
TEST(Assembly, CostsWhatTheOutputsChange) {
  const auto x = torch::tensor({{1.0, 3.0}, {2.0, 1.0}});  // [tokens, channels]
  const auto w = torch::tensor({{1.0, 3.0}, {2.0, -1.0}});
  EXPECT_NEAR(merge_costs(x, w)[0][1].item<double>(), 16.25, 1e-12);
  const Reassembly merged({1, 1}, {0, 0});
  Reassembly plan = merged;
  const auto change = product(plan.forward(x), plan.apply_weight(w)) - product(x, w);
  EXPECT_NEAR(change.square().sum().item<double>(), 16.25, 1e-5);
}

TEST(Assembly, ExactCostIsTheSquaredChangeOfAnyPair) {
  const auto x = random_tensor({7, 6}, 2), w = random_tensor({5, 6}, 3);
  const auto costs = merge_costs(x, w);
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t j = 0; j < i; ++j) {
      Indices group;
      for (int64_t k = 0, next = 0; k < 6; ++k) group.push_back(k == i ? j : next++);
      for (int64_t k = i + 1; k < 6; ++k) group[size_t(k)] = k - 1;
      Reassembly plan(Indices(6, 1), group);
      const auto change = product(plan.forward(x), plan.apply_weight(w)) - product(x, w);
      EXPECT_NEAR(change.square().sum().item<double>(), costs[i][j].item<double>(), 1e-5);
    }
}

TEST(Assembly, ReleasedScore) {
  const auto x = torch::tensor({{1.0, 3.0}, {2.0, 1.0}}), w = torch::tensor({{1.0, 3.0}, {2.0, -1.0}});
  // (sum W_0 + sum W_1)^2 ||x_0 - x_1||^2 = (3 + 2)^2 (4 + 1)
  EXPECT_NEAR(merge_costs(x, w, MergeScore::Released)[0][1].item<double>(), 125, 1e-9);
}

// Exact check 3.
TEST(Assembly, IdenticalChannelsMergeForNothing) {
  auto x = random_tensor({9, 4}, 4), w = random_tensor({3, 4}, 5);
  x.select(1, 2).copy_(x.select(1, 1));
  w.select(1, 3).copy_(w.select(1, 0));
  const auto costs = merge_costs(x, w);
  EXPECT_LT(costs[1][2].item<double>(), 1e-12);
  EXPECT_LT(costs[3][0].item<double>(), 1e-12);
  for (const Indices& group : {Indices{0, 1, 1, 2}, Indices{0, 1, 2, 0}}) {
    Reassembly plan(Indices(4, 1), group);
    EXPECT_LT(difference(product(plan.forward(x), plan.apply_weight(w)), product(x, w)), 1e-6);
  }
}

TEST(Assembly, GroupsAreMeansOfActivationsAndSumsOfColumns) {
  const auto x = random_tensor({2, 3, 5}, 6), w = random_tensor({4, 5}, 7);
  Reassembly plan({1, 2, 1, 1, 1}, {0, 1, 2, 0, 0, 3});  // channels 0, 2, 3 in one group
  const auto y = plan.forward(x);
  const auto v = plan.apply_weight(w);
  EXPECT_LT(difference(y.select(2, 0), (x.select(2, 0) + x.select(2, 2) + x.select(2, 3)) / 3), 1e-6);
  EXPECT_LT(difference(y.select(2, 1), x.select(2, 1) / 2), 1e-6);
  EXPECT_LT(difference(v.select(1, 0), w.select(1, 0) + w.select(1, 2) + w.select(1, 3)), 1e-12);
  EXPECT_LT(difference(v.select(1, 2), w.select(1, 1)), 1e-12);
  EXPECT_LT(difference(y, x.matmul(plan.matrix().to(torch::kFloat64).t())), 1e-6);
}

// Exact checks 4 and 8.
TEST(Assembly, KeepsTheWidthAndNeverMergesSplitChannels) {
  for (const int64_t C : {8, 9, 31}) {
    const auto x = random_tensor({20, C}, uint64_t(C));
    auto m = x.abs().amax(0);
    m[2] = 20.0;
    m[C - 1] = 9.0;
    const auto costs = merge_costs(x, random_tensor({6, C}, 8));
    for (const auto& candidate : thresholds(m, C / 4)) {
      ASSERT_GE(candidate.added, 1);
      const auto plan = assemble(candidate.repeat, costs);
      EXPECT_EQ(plan->width(), C);
      EXPECT_EQ(plan->added(), candidate.added);
      EXPECT_EQ(plan->forward(x).size(1), C);
      std::map<int64_t, int64_t> size;
      for (const int64_t g : plan->group()) ++size[g];
      int64_t k = 0;
      for (int64_t i = 0; i < C; ++i)
        for (int64_t n = 0; n < plan->repeat()[size_t(i)]; ++n, ++k)
          if (plan->repeat()[size_t(i)] > 1) {
            EXPECT_EQ(size[plan->group()[size_t(k)]], 1) << "sub-channel " << k;
          }
    }
    const auto none = assemble(Indices(size_t(C), 1), costs);
    EXPECT_TRUE(torch::equal(none->matrix(), torch::eye(C)));
    EXPECT_TRUE(torch::equal(none->forward(x), x));
  }
}

// The bipartite matching by brute force: the cheapest pairs of an even place and the best odd one.
TEST(Assembly, TakesTheCheapestPairs) {
  const int64_t C = 11;
  const auto costs = merge_costs(random_tensor({8, C}, 10), random_tensor({4, C}, 11));
  const Indices repeat{1, 3, 1, 1, 1, 1, 2, 1, 1, 1, 1};
  Indices source;
  for (int64_t i = 0; i < C; ++i) source.insert(source.end(), size_t(repeat[size_t(i)]), i);
  struct Pair {
    double cost;
    size_t a, b;
  };
  std::vector<Pair> pairs;
  for (size_t a = 0; a < source.size(); a += 2) {
    Pair best{1e300, a, 0};
    for (size_t b = 1; b < source.size(); b += 2)
      if (repeat[size_t(source[a])] == 1 && repeat[size_t(source[b])] == 1)
        if (const double cost = costs[source[a]][source[b]].item<double>(); cost < best.cost) best = {cost, a, b};
    if (best.cost < 1e300) pairs.push_back(best);
  }
  std::sort(pairs.begin(), pairs.end(), [](const Pair& x, const Pair& y) { return x.cost < y.cost; });
  const auto plan = assemble(repeat, costs);
  ASSERT_EQ(plan->added(), 3);
  for (size_t i = 0; i < pairs.size(); ++i)
    EXPECT_EQ(plan->group()[pairs[i].a] == plan->group()[pairs[i].b], i < 3) << i;
}

TEST(Assembly, PruningDropsTheLeastImportant) {
  const auto x = torch::tensor({{1.0, 0.1, 2.0, 9.0}}), w = torch::ones({2, 4});
  const auto plan = prune({1, 1, 1, 2}, x, w);
  EXPECT_THAT(plan->group(), ElementsAre(0, -1, 1, 2, 3));
  EXPECT_LT(difference(plan->forward(x), torch::tensor({{1.0, 2.0, 4.5, 4.5}})), 1e-6);
}

// Exact check 5: gamma C = 3 lets channel 0 have 4 sub-channels at most.
TEST(Threshold, NeverAddsMoreThanAllowed) {
  const auto m = torch::tensor({10.0, 1.0, 1.0, 1.0});
  const auto found = thresholds(m, 3);
  ASSERT_EQ(found.size(), 3u);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].added, int64_t(i) + 1);
    EXPECT_EQ(found[i].repeat[0], int64_t(i) + 2);
    EXPECT_THAT(Indices(found[i].repeat.begin() + 1, found[i].repeat.end()), ElementsAre(1, 1, 1));
  }
  EXPECT_NEAR(found[0].theta, 10 - 0.09, 1e-9);  // the grid has 100 steps of 0.09
}

TEST(Threshold, SearchKeepsTheBestAndFallsBackToTheIdentity) {
  const auto m = torch::tensor({10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0});
  const auto loss_at = [](int64_t best) {
    return [best](const std::shared_ptr<Reassembly>& plan) { return std::abs(double(plan->added() - best)); };
  };
  const auto choice = search_reassembly(m, thresholds(m, 3), widen, loss_at(2));
  EXPECT_EQ(choice.plan->added(), 2);
  EXPECT_EQ(choice.loss, 0);
  EXPECT_EQ(choice.baseline_loss, 2);
  EXPECT_LT(choice.theta, 10.0 / 2);
  EXPECT_EQ(search_reassembly(m, thresholds(m, 3), widen, loss_at(0)).plan->added(), 0);
}

TEST(Reassembly, GradientsPassThrough) {
  auto x = random_tensor({3, 5}, 12).requires_grad_(true);
  Reassembly plan({1, 2, 1, 1, 1}, {0, 1, 2, 0, 0, 3});
  expect_gradient([&] { return plan.forward(x).square(); }, x, 1e-6);
}

TEST(Reassembly, IsItsSpec) {
  const auto x = random_tensor({4, 9}, 13);
  const auto costs = merge_costs(x, random_tensor({3, 9}, 14));
  const Indices repeat{1, 1, 3, 1, 1, 1, 1, 2, 1};
  for (const auto& plan : {assemble(repeat, costs), prune(repeat, x, torch::ones({2, 9})), widen(repeat)}) {
    const auto read = std::dynamic_pointer_cast<Reassembly>(make_transform(plan->spec()));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->repeat(), plan->repeat());
    EXPECT_EQ(read->group(), plan->group());
    EXPECT_TRUE(torch::equal(read->forward(x), plan->forward(x)));
    EXPECT_TRUE(torch::equal(plan->copy()->forward(x), plan->forward(x)));
  }
}

TEST(Reassembly, Errors) {
  const auto error = [](auto f, const std::string& text) { EXPECT_THAT(f, ThrowsMessage<Error>(HasSubstr(text))); };
  error([] { disassemble(torch::ones(3), 0); }, "a threshold of 0");
  error([] { disassemble(torch::tensor({1.0, double(NAN)}), 1); }, "not finite");
  error([] { thresholds(torch::tensor({1.0, double(INFINITY)}), 1); }, "not finite");
  error([] { assemble({4, 1, 1, 1}, torch::ones({4, 4})); }, "only 2 channels can be merged");
  error([] { Reassembly({1, 1}, {0, 1}).apply_weight(torch::ones({2, 3})); }, "a plan of 2 channels");
  const nlohmann::json good = Reassembly({1, 2, 1}, {0, 1, 2, 0}).spec();
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"channels", 0},
                                                           {"channels", int64_t{1} << 40},
                                                           {"split", {{3, 2}}},
                                                           {"split", {{1, int64_t{1} << 40}}},
                                                           {"split", {{1, 1 << 24}, {0, 1 << 24}}},
                                                           {"join", {{4, 0}}},
                                                           {"join", {{2, 3}}},
                                                           {"join", {{1, 0}, {2, 1}}},
                                                           {"join", "all"}}) {
    nlohmann::json bad = good;
    bad[key] = value;
    EXPECT_THROW(make_transform(bad), Error) << bad.dump();
  }
}

}  // namespace
}  // namespace quanta
