#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "quanta/core/file.h"
#include "quanta/core/safetensors.h"
#include "quanta/papers/recipe.h"
#include "quanta/quantize/hawq.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Recipe27 : public testing::Test {
 protected:
  Recipe27() : recipe(find_recipe("27")) {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.data = std::filesystem::path(testing::TempDir()) / fmt::format("recipe27_{}", test->name());
    context.out = context.data / "out";
    std::filesystem::remove_all(context.data);
    std::filesystem::create_directories(context.data);
  }
  ~Recipe27() override { std::filesystem::remove_all(context.data); }

  Report run(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"data=['gratings']", "seeds=1", "train=128", "test=60", "size=8", "epochs=1",
                                         "hessian.samples=32", "hessian.iterations=4", "finetune.epochs=0.5"});
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe27, WritesAWholeReport) {
  const Report report = run({});
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  for (const auto& check : report.checks)
    for (const auto* sure : {"bits never rise", "eigenvalues take"})
      EXPECT_TRUE(check.holds || check.name.find(sure) == std::string::npos) << check.name << ": " << check.detail;
  const auto plan = HawqPlan::from_json(nlohmann::json::parse(read_file(context.out / "gratings-plan-0.json")));
  ASSERT_EQ(plan.blocks.size(), 8u);
  EXPECT_EQ(plan.blocks[6].weights, 73728);
  EXPECT_LE(plan.cost().average_bits, 3);
  EXPECT_TRUE(Safetensors::open(context.out / "model.safetensors").tensors().contains("fc.codes"));
}

TEST_F(Recipe27, BadSettings) {
  EXPECT_THAT([&] { run({"finetune.orders=['sideways']"}); }, ThrowsMessage<UsageError>(HasSubstr("sideways")));
  EXPECT_THAT([&] { run({"budget=1.5"}); }, ThrowsMessage<Error>(HasSubstr("below the smallest size")));
  EXPECT_THAT([&] { run({"hessian.iterations=0"}); }, ThrowsMessage<Error>(HasSubstr("0 iterations")));
}

}  // namespace
}  // namespace quanta
