#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "quanta/core/file.h"
#include "quanta/core/safetensors.h"
#include "quanta/data/generated_tables.h"
#include "quanta/papers/recipe.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Recipe14 : public testing::Test {
 protected:
  Recipe14() : recipe(find_recipe("14")) {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.data = std::filesystem::path(testing::TempDir()) / fmt::format("recipe14_{}", test->name());
    context.out = context.data / "out";
    std::filesystem::remove_all(context.data);
    std::filesystem::create_directories(context.data);
  }
  ~Recipe14() override { std::filesystem::remove_all(context.data); }

  Report run(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"seeds=1", "maxiter=[2, 3]", "cobyla_maxiter=[45, 50]", "cobyla_long=60"});
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe14, WritesAWholeReport) {
  const Report report = run({"data=['stand_in']"});
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_EQ(report.data.name, "pseudo_reviews");
  EXPECT_NEAR(double(report.data.train), 200, 1);
  EXPECT_EQ(report.results.size(), 14);  // seven models, accuracy and F-score
  for (const auto& check : report.checks)
    for (const auto* sure : {"never rises", "shift of the cost"})
      EXPECT_TRUE(check.holds || check.name.find(sure) == std::string::npos) << check.name << ": " << check.detail;
  EXPECT_EQ(Safetensors::open(context.out / "pseudo_reviews.safetensors").at("theta").shape,
            (std::vector<int64_t>{40}));
  // An AQGD iteration is 81 evaluations, and its result one more.
  const std::string lines = read_file(context.out / "pseudo_reviews.jsonl");
  const auto line = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(line.at("model"), "VQC, AQGD 2");
  EXPECT_EQ(line.at("evaluations"), 2 * 81 + 1);
}

TEST_F(Recipe14, ReadsAFileOfReviews) {
  write_file(context.data / "restaurant-reviews.tsv", pseudo_reviews_tsv({.documents = 100, .seed = 9}));
  const Report report = run({"data=['reviews']", "map=zz", "ansatz=real_amplitudes", "cobyla_long=0", "shots=64"});
  EXPECT_EQ(report.data.name, "restaurant_reviews");
  EXPECT_EQ(report.data.train + report.data.test, 100);
}

TEST_F(Recipe14, BadSettings) {
  EXPECT_THAT([&] { run({"map=raw"}); }, ThrowsMessage<UsageError>(HasSubstr("angle or zz")));
  EXPECT_THAT([&] { run({"data=['tweets']"}); }, ThrowsMessage<UsageError>(HasSubstr("reviews or stand_in")));
  EXPECT_THAT([&] { run({"maxiter=[5]"}); }, ThrowsMessage<Error>(HasSubstr("two numbers")));
  EXPECT_THAT([&] { run({"data=['stand_in']", "momentum=1.5"}); }, ThrowsMessage<Error>(HasSubstr("momentum")));
}

}  // namespace
}  // namespace quanta
