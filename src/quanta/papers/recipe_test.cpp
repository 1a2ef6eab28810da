#include "quanta/papers/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Recipes, AreListedByNumberWithConfigsThatFit) {
  std::set<int> numbers;
  int last = 0;
  for (const Recipe& recipe : recipes()) {
    SCOPED_TRACE(recipe.id());
    EXPECT_GT(recipe.number, last);
    last = recipe.number;
    EXPECT_FALSE(recipe.title.empty());
    EXPECT_THAT((std::vector<std::string>{"quantum", "quantized", "hybrid"}), testing::Contains(recipe.kind));
    EXPECT_GT(recipe.seconds, 0);
    EXPECT_NE(recipe.run, nullptr);
    const Config small = recipe_config(recipe, false);
    EXPECT_FALSE(small.keys().empty());
    EXPECT_NO_THROW(recipe_config(recipe, true));  // a key of full.toml that small.toml lacks throws
    EXPECT_FALSE(Config::parse(recipe.full_toml, "full.toml").keys().empty());
  }
  EXPECT_GE(recipes().size(), 1);
}

TEST(Recipes, AreFoundByNumberAndName) {
  for (const auto* text :
       {"2", "02", "hybrid-parallel-qnn", "hybrid_parallel", "Hybrid-Parallel", "02_hybrid_parallel_qnn"})
    EXPECT_EQ(find_recipe(text).number, 2) << text;
  EXPECT_THAT([] { find_recipe("hibrid-paralel-qnn"); },
              ThrowsMessage<UsageError>(HasSubstr("did you mean hybrid-parallel-qnn?")));
  EXPECT_THAT([] { find_recipe("99"); }, ThrowsMessage<UsageError>(HasSubstr("no recipe '99'")));
  EXPECT_THROW(find_recipe(""), UsageError);
}

TEST(Recipes, OverridesAreChecked) {
  const Recipe& recipe = find_recipe("2");
  EXPECT_EQ(recipe_config(recipe, false, {"parallel.epochs=7"}).get<int>("parallel.epochs"), 7);
  EXPECT_EQ(recipe_config(recipe, true, {"parallel.epochs=7"}).get<int>("parallel.epochs"), 7);
  EXPECT_THAT([&] { recipe_config(recipe, false, {"parallel.epoch=7"}); },
              ThrowsMessage<UsageError>(HasSubstr("parallel.epochs")));
}

}  // namespace
}  // namespace quanta
