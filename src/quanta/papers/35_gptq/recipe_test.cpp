#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/papers/recipe.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Recipe35 : public testing::Test {
 protected:
  Recipe35() {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.out = std::filesystem::path(testing::TempDir()) / fmt::format("recipe35_{}", test->name());
    std::filesystem::remove_all(context.out);
  }
  ~Recipe35() override { std::filesystem::remove_all(context.out); }

  Report run(const std::vector<std::string>& overrides, bool full = false) {
    return run_recipe(recipe, recipe_config(recipe, full, overrides), context);
  }

  const Recipe& recipe = find_recipe("35");
  RunContext context;
};

TEST_F(Recipe35, HoldsThePapersRelationsOnOneModel) {
  const Report report = run({"seeds=1", "groups=[32]", "speed.size=256", "speed.new_tokens=4", "layer.tokens=512"});
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_GE(report.checks.size(), 14u);
  for (const auto& check : report.checks) EXPECT_TRUE(check.holds) << check.name << ": " << check.detail;
  EXPECT_EQ(report.sections.size(), 3u);
  EXPECT_TRUE(!std::filesystem::exists(context.out / "work") || std::filesystem::is_empty(context.out / "work"));
}

TEST_F(Recipe35, BadSettings) {
  EXPECT_THAT([&] { run({"seeds=0"}); }, ThrowsMessage<Error>(HasSubstr("between 1 and 20")));
  EXPECT_THAT([&] { run({"bits=[9]"}); }, ThrowsMessage<Error>(HasSubstr("bits must hold")));
  EXPECT_THAT([&] { run({"groups=[0]"}); }, ThrowsMessage<Error>(HasSubstr("groups")));
  EXPECT_THAT([&] { run({}, true); }, ThrowsMessage<Error>(HasSubstr("model=FOLDER")));
  EXPECT_THAT([&] { run({"model=" + testing::TempDir()}); }, ThrowsMessage<Error>(HasSubstr("calibration=FILE")));
}

}  // namespace
}  // namespace quanta
