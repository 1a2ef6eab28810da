#include "quanta/learn/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/learn/oracle_data.h"
#include "quanta/learn/preprocess.h"

namespace quanta {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Metrics, ReportByHand) {
  // Confusion: class 0: 2 right, 1 as class 1; class 1: 1 right, 1 as class 0; class 2 is never predicted.
  const auto report = classification_report({0, 0, 0, 1, 1, 2}, {0, 0, 1, 1, 0, 0}, 3);
  EXPECT_DOUBLE_EQ(report.accuracy, 0.5);
  EXPECT_THAT(report.confusion, ElementsAre(2, 1, 0, 1, 1, 0, 1, 0, 0));
  EXPECT_THAT(report.precision, ElementsAre(DoubleEq(0.5), DoubleEq(0.5), DoubleEq(0)));
  EXPECT_THAT(report.recall, ElementsAre(DoubleEq(2. / 3), DoubleEq(0.5), DoubleEq(0)));
  EXPECT_THAT(report.f, ElementsAre(DoubleEq(4. / 7), DoubleEq(0.5), DoubleEq(0)));
  EXPECT_DOUBLE_EQ(report.macro_f, (4. / 7 + 0.5) / 3);
}

TEST(Metrics, Spearman) {
  EXPECT_NEAR(spearman({1, 2, 2, 4}, {1, 2, 3, 4}), 0.948683, 1e-6);
  EXPECT_EQ(spearman({1, 1, 1}, {1, 2, 3}), 0);
  EXPECT_EQ(spearman({1, 1, 1}, {2, 2, 2}), 1);
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {9, 4, 1}), -1);
  EXPECT_THAT(ranks({3, 1, 3, 2}), ElementsAre(3.5, 1, 3.5, 2));
}

TEST(Metrics, Recall) {
  EXPECT_THAT(top_k({0.1, 0.5, 0.5, 0.2}, 3), ElementsAre(1, 2, 3));
  EXPECT_DOUBLE_EQ(recall_at_k({4, 3, 2, 1}, {1, 5, 4, 3}, 3), 2. / 3);
  EXPECT_THAT([] { top_k({1}, 2); }, ThrowsMessage<Error>(HasSubstr("1..1")));
}

TEST(Preprocess, Scalers) {
  const Samples x(3, 2, std::vector<double>{1, 7, 2, 7, 6, 7});
  StandardScaler standard;
  EXPECT_THAT([&] { standard.transform(x); }, ThrowsMessage<Error>(HasSubstr("before fit")));
  standard.fit(x);
  const Samples scaled = standard.transform(x);
  EXPECT_NEAR(scaled(2, 0), 3 / std::sqrt(14. / 3), 1e-12);
  EXPECT_EQ(scaled(2, 1), 0);
  EXPECT_THAT(standard.constant_columns(), ElementsAre(1));

  MinMaxScaler range;
  range.fit(x);
  int64_t clipped = 0;
  const Samples mapped = range.transform(Samples(2, 2, std::vector<double>{0, 7, 3.5, 7}), &clipped);
  EXPECT_THAT(mapped.values, ElementsAre(0, 0, 0.5, 0));
  EXPECT_EQ(clipped, 1);
}

TEST(Preprocess, PcaAsScikitLearn) {
  const OracleData data(2, 60);
  Pca pca(2);
  pca.fit(data.x);
  const std::vector<double> first = {-0.690086549137, 0.723519751484, 0.016582262761, 0.004975185946};
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(pca.components()(0, j), first[j], 1e-9);
  EXPECT_NEAR(pca.components()(1, 3), 0.607100856157, 1e-9);
  EXPECT_NEAR(pca.explained_variance_ratio()[0], 0.32033151561, 1e-9);
  EXPECT_NEAR(pca.explained_variance_ratio()[1], 0.238160534718, 1e-9);
  EXPECT_THAT([&] { Pca(5).fit(data.x); }, ThrowsMessage<Error>(HasSubstr("at most 4 components")));
}

TEST(Preprocess, SplitKeepsTheShares) {
  Labels labels;
  for (int i = 0; i < 50; ++i) labels.push_back(i % 5 == 0);
  const Split split = stratified_split(labels, 0.3, Random(3));
  EXPECT_EQ(split.test.size(), 15);
  EXPECT_EQ(split.train.size(), 35);
  EXPECT_EQ(std::ranges::count(take(labels, split.test), 1), 3);
  std::vector<int64_t> all(split.train);
  all.insert(all.end(), split.test.begin(), split.test.end());
  std::ranges::sort(all);
  for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(all[i], i);
  EXPECT_NE(split.test, stratified_split(labels, 0.3, Random(4)).test);
}

}  // namespace
}  // namespace quanta
