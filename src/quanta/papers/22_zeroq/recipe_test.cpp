#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/safetensors.h"
#include "quanta/papers/recipe.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Recipe22 : public testing::Test {
 protected:
  Recipe22() : recipe(find_recipe("22")) {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.data = std::filesystem::path(testing::TempDir()) / fmt::format("recipe22_{}", test->name());
    context.out = context.data / "out";
    std::filesystem::remove_all(context.data);
    std::filesystem::create_directories(context.data);  // empty: no data set is found
  }
  ~Recipe22() override { std::filesystem::remove_all(context.data); }

  Report run(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"data=['gratings']", "seeds=1", "train=200", "test=60", "size=8", "epochs=1",
                                         "random=2", "real=40", "distill.batch=8", "distill.iterations=25"});
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe22, WritesAWholeReport) {
  const Report report = run({});
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_EQ(report.data.name, "gratings");
  EXPECT_EQ(report.data.train, 200);
  for (const auto& check : report.checks)
    for (const auto* sure : {"file alone", "keep their bits", "stored codes", "read again"})
      EXPECT_TRUE(check.holds || check.name.find(sure) == std::string::npos) << check.name << ": " << check.detail;
  EXPECT_TRUE(Safetensors::open(context.out / "model.safetensors").tensors().contains("stem.conv.codes"));

  // A resumed run takes the network from the folder and measures the same.
  const auto trained = std::filesystem::last_write_time(context.out / "gratings-float-0.safetensors");
  context.resume = true;
  const Report again = run({});
  EXPECT_EQ(std::filesystem::last_write_time(context.out / "gratings-float-0.safetensors"), trained);
  for (size_t i = 0; i < report.results.size(); ++i)
    if (report.results[i].unit == "%") {
      EXPECT_EQ(report.results[i].value, again.results[i].value);
    }
}

TEST_F(Recipe22, MissingDataIsLeftOut) {
  if (std::filesystem::exists("../shared/data") || std::filesystem::exists("data") || std::getenv("QUANTA_DATA"))
    GTEST_SKIP() << "there is a data folder";
  EXPECT_EQ(run({"data=['mnist']"}).data.name, "gratings");
}

TEST_F(Recipe22, BadSettings) {
  EXPECT_THAT([&] { run({"data=['grids']"}); }, ThrowsMessage<UsageError>(HasSubstr("grids")));
  EXPECT_THAT([&] { run({"distill.init=zeros"}); }, ThrowsMessage<UsageError>(HasSubstr("uniform_small or gaussian")));
  EXPECT_THAT([&] { run({"bits=[2, 9]"}); }, ThrowsMessage<Error>(HasSubstr("2 to 8 bits")));
  EXPECT_THAT([&] { run({"budget=1.0"}); }, ThrowsMessage<Error>(HasSubstr("below the smallest size")));
  EXPECT_THAT([&] { run({"seeds=0"}); }, ThrowsMessage<Error>(HasSubstr("at least 1")));
  EXPECT_THAT([&] { run({"network=resnet21"}); }, ThrowsMessage<Error>(HasSubstr("resnet")));
}

}  // namespace
}  // namespace quanta
