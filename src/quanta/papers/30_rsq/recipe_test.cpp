#include <gtest/gtest.h>

#include "quanta/core/temporary_folder.h"
#include "quanta/papers/recipe.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;

TEST(Recipe30, BadSettingsAreRefusedBeforeAnyWork) {
  const TemporaryFolder folder;
  const Recipe& recipe = find_recipe("30");
  for (const char* setting : {"seeds=0", "strategies=[\"fame\"]", "strategies=[\"chunks:4_4\"]", "model=nobody",
                              "outliers=\"mlp=many\"", "model=\"\""}) {
    const RunContext context{.out = folder.path() / "run"};
    EXPECT_THROW(run_recipe(recipe, recipe_config(recipe, false, {setting}), context), Error) << setting;
  }
  EXPECT_THROW(run_recipe(recipe, recipe_config(recipe, true), {.out = folder.path() / "full", .full = true}), Error);
}

}  // namespace
}  // namespace quanta
