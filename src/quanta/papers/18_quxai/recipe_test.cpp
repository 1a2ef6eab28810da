#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "quanta/core/file.h"
#include "quanta/data/generated_tables.h"
#include "quanta/papers/recipe.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Recipe18 : public testing::Test {
 protected:
  Recipe18() : recipe(find_recipe("18")) {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.data = std::filesystem::path(testing::TempDir()) / fmt::format("recipe18_{}", test->name());
    context.out = context.data / "out";
    std::filesystem::remove_all(context.data);
    std::filesystem::create_directories(context.data / "tables");
  }
  ~Recipe18() override { std::filesystem::remove_all(context.data); }

  Report run(const std::vector<std::string>& overrides) {
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe18, ChecksHoldOnOneSeed) {
  const Report report = run({"seeds=1", "models=['qknn', 'qridge']"});
  EXPECT_GE(report.checks.size(), 8);
  for (const auto& check : report.checks) EXPECT_TRUE(check.holds) << check.name << ": " << check.detail;
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_THAT(read_file(context.out / "importances-iris_like.csv"), HasSubstr("copy of c2"));
}

TEST_F(Recipe18, ReadsTablesWithNamedClasses) {
  std::string csv = "species;a;b\n";
  for (int i = 0; i < 40; ++i)
    csv += fmt::format("{};{};{}\n", i % 2 ? "rose" : "iris", i % 2 ? 2.0 + 0.01 * i : 0.1 * (i % 5), i % 7);
  write_file(context.data / "tables" / "flowers.csv", csv);
  const Report report =
      run({"data=['flowers.csv', 'absent.csv']", "target=species", "separator=';'", "seeds=1", "models=['qnb']"});
  EXPECT_EQ(report.data.name, "flowers.csv");
  EXPECT_EQ(report.data.train, 28);
  EXPECT_THAT(report.summary, HasSubstr("absent.csv"));
}

TEST_F(Recipe18, BadSettings) {
  EXPECT_THAT([&] { run({"models=['qtree']"}); }, ThrowsMessage<UsageError>(HasSubstr("qrf, qextra")));
  EXPECT_THAT([&] { run({"map=rz"}); }, ThrowsMessage<UsageError>(HasSubstr("rx, ry or zz")));
  EXPECT_THAT([&] { run({"scaler=none"}); }, ThrowsMessage<UsageError>(HasSubstr("train or all")));
  EXPECT_THAT([&] { run({"data=['absent.csv']"}); }, ThrowsMessage<Error>(HasSubstr("DATA/tables")));
  EXPECT_THAT([&] { run({"target=colour"}); }, ThrowsMessage<Error>(HasSubstr("no column 'colour'")));
  EXPECT_THAT([&] { run({"repeats=0"}); }, ThrowsMessage<Error>(HasSubstr("at least 1 repeat")));
  EXPECT_THAT([&] { run({"max_qubits=3", "models=['qnb']"}); }, ThrowsMessage<Error>(HasSubstr("truncate")));
}

}  // namespace
}  // namespace quanta
