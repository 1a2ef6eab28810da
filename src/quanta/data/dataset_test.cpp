#include "quanta/data/dataset.h"

#include <algorithm>
#include <numeric>

#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

/// Sample i has all pixels i and label i % classes.
ImageSet numbered(int64_t n, int64_t classes) {
  ImageSet set{.name = "numbered", .images = {}, .labels = {}, .classes = {}, .source = "test"};
  set.images = torch::arange(n, torch::kUInt8).view({n, 1, 1, 1}).expand({n, 1, 2, 3}).contiguous();
  set.labels = torch::arange(n, torch::kInt64).remainder(classes);
  for (int64_t i = 0; i < classes; ++i) set.classes.push_back(fmt::format("c{}", i));
  return set;
}

std::vector<int64_t> identities(const ImageSet& set) {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < set.size(); ++i) result.push_back(set.images[i][0][0][0].item<int64_t>());
  return result;
}

TEST(ImageSet, TakesAndSelects) {
  const auto set = numbered(10, 3);
  EXPECT_EQ(set.size(), 10);
  EXPECT_EQ(set.height(), 2);
  EXPECT_EQ(set.width(), 3);
  EXPECT_THAT(identities(set.take(3)), ElementsAre(0, 1, 2));
  const auto chosen = set.select(torch::tensor({7, 7, 2}, torch::kInt64));
  EXPECT_THAT(identities(chosen), ElementsAre(7, 7, 2));
  EXPECT_TRUE(chosen.labels.equal(torch::tensor({1, 1, 2}, torch::kInt64)));
  EXPECT_THAT(set.class_counts(), ElementsAre(4, 3, 3));
  EXPECT_THAT(error_of([&] { set.take(11); }), HasSubstr("numbered: 11 samples were asked for, it has 10"));
  EXPECT_THAT(error_of([&] { set.select(torch::tensor({10}, torch::kInt64)); }),
              HasSubstr("index 10 is outside [0, 10)"));
  EXPECT_THAT(error_of([&] { set.select(torch::tensor({-1}, torch::kInt64)); }), HasSubstr("index -1"));
}

TEST(ImageSet, ConvertsToFloat) {
  auto set = numbered(2, 2);
  set.images[1].fill_(255);
  const auto x = set.to_float();
  EXPECT_EQ(x.scalar_type(), torch::kFloat32);
  EXPECT_EQ(x.max().item<float>(), 1);
  EXPECT_EQ(x.min().item<float>(), 0);
  EXPECT_EQ(set.images.scalar_type(), torch::kUInt8);
}

TEST(ImageSet, KeepsClassesUnderNewLabels) {
  const auto kept = numbered(9, 3).keep_classes({2, 0});
  EXPECT_THAT(identities(kept), ElementsAre(0, 2, 3, 5, 6, 8));
  EXPECT_TRUE(kept.labels.equal(torch::tensor({1, 0, 1, 0, 1, 0}, torch::kInt64)));
  EXPECT_THAT(kept.classes, ElementsAre("c2", "c0"));
  EXPECT_THAT(error_of([] { numbered(9, 3).keep_classes({3}); }), HasSubstr("class 3"));
  EXPECT_THAT(error_of([] { numbered(9, 3).keep_classes({1, 1}); }), HasSubstr("twice"));
}

TEST(ImageSet, ChecksItself) {
  EXPECT_NO_THROW(numbered(5, 2).check());
  auto set = numbered(5, 2);
  set.labels = set.labels.narrow(0, 0, 4);
  EXPECT_THAT(error_of([&] { set.check(); }), HasSubstr("5 images but 4 labels"));
  set = numbered(5, 2);
  set.classes.pop_back();
  EXPECT_THAT(error_of([&] { set.check(); }), HasSubstr("label 1 is outside [0, 1)"));
  set = numbered(5, 2);
  set.images = set.images.to(torch::kFloat32);
  EXPECT_THAT(error_of([&] { set.check(); }), HasSubstr("uint8"));
}

TEST(Subset, IsBalancedRandomAndReproducible) {
  const auto set = numbered(100, 4);
  const auto a = subset(set, 22, 1), b = subset(set, 22, 1), c = subset(set, 22, 2);
  EXPECT_EQ(identities(a), identities(b));
  EXPECT_NE(identities(a), identities(c));
  auto counts = a.class_counts();
  std::sort(counts.begin(), counts.end());
  EXPECT_THAT(counts, ElementsAre(5, 5, 6, 6));
  auto all = identities(a);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end()) << "a sample was taken twice";
  EXPECT_FALSE(std::is_sorted(identities(a).begin(), identities(a).end()));
}

TEST(Subset, FillsUpFromTheOtherClassesWhenOneRunsOut) {
  auto set = numbered(20, 2);
  set.labels = torch::zeros({20}, torch::kInt64);
  set.labels[3] = 1;
  EXPECT_THAT(subset(set, 10, 0).class_counts(), ElementsAre(9, 1));
  EXPECT_EQ(subset(set, 20, 0).size(), 20);
  EXPECT_EQ(subset(set, 0, 0).size(), 0);
  EXPECT_THAT(error_of([&] { subset(set, 21, 0); }), HasSubstr("21 samples was asked for, it has 20"));
}

TEST(Split, KeepsEachClassInProportionAndLosesNothing) {
  const auto set = numbered(50, 5);
  const auto parts = split(set, 0.8, 3);
  EXPECT_THAT(parts.train.class_counts(), ElementsAre(8, 8, 8, 8, 8));
  EXPECT_THAT(parts.test.class_counts(), ElementsAre(2, 2, 2, 2, 2));
  auto all = identities(parts.train);
  for (int64_t i : identities(parts.test)) all.push_back(i);
  std::sort(all.begin(), all.end());
  std::vector<int64_t> expected(50);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
  EXPECT_NE(identities(parts.test), identities(split(set, 0.8, 4).test));
  EXPECT_THAT(error_of([&] { split(set, 1.0, 0); }), HasSubstr("between 0 and 1"));
}

}  // namespace
}  // namespace quanta
