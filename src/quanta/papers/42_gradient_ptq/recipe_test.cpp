#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "quanta/core/file.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/idx.h"
#include "quanta/papers/recipe.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const std::vector<std::string> kTiny = {"dataset=glyph_hues",
                                        "train=80",
                                        "test=40",
                                        "size=8",
                                        "cnn.widths=[4, 8]",
                                        "cnn.epochs=1",
                                        "vit.epochs=1",
                                        "vit.width=8",
                                        "vit.depth=1",
                                        "vit.heads=2",
                                        "ptq.calibration=16",
                                        "ptq.steps=3",
                                        "ptq.batch=8",
                                        "ptq.activation_steps=2",
                                        "study.seeds=2",
                                        "study.steps=2",
                                        "mixed.samples=8",
                                        "seeds=2"};

/// On a folder with a few glyphs, which is quicker than the whole generated set.
class Recipe42 : public testing::Test {
 protected:
  Recipe42() : recipe(find_recipe("42")) {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.data = std::filesystem::path(testing::TempDir()) / fmt::format("recipe42_{}", test->name());
    context.out = context.data / "out";
    std::filesystem::remove_all(context.data);
    GlyphOptions hues{.count = 100, .size = 32, .classes = {0, 1}};
    write_idx_folder(context.data / "glyph_hues", {.train = glyph_hues(hues), .test = glyph_hues(hues)});
  }
  ~Recipe42() override { std::filesystem::remove_all(context.data); }

  Report run(std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), kTiny.begin(), kTiny.end());
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe42, WritesAWholeReportAndTrainsOnce) {
  const Report report = run();
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_GE(report.checks.size(), 15u);
  EXPECT_EQ(report.sections.size(), 4u);
  for (const auto& check : report.checks)
    if (check.name.find("budget") != std::string::npos) {
      EXPECT_TRUE(check.holds) << check.detail;
    }
  // Resumed, the networks come from the folder and everything else is the same, bit for bit.
  const std::string metrics = read_file(context.out / "metrics.jsonl");
  std::filesystem::remove(context.out / "report.json");
  context.resume = true;
  const Report again = run();
  EXPECT_EQ(read_file(context.out / "metrics.jsonl"), metrics);
  ASSERT_EQ(again.results.size(), report.results.size());
  for (size_t i = 0; i < report.results.size(); ++i) EXPECT_EQ(again.results[i].value, report.results[i].value);
}

TEST_F(Recipe42, BadSettings) {
  EXPECT_THAT([&] { run({"seeds=0"}); }, ThrowsMessage<Error>(HasSubstr("between 1 and 20")));
  EXPECT_THAT([&] { run({"mixed.average=5.0"}); }, ThrowsMessage<Error>(HasSubstr("average")));
  EXPECT_THAT([&] { run({"size=4"}); }, ThrowsMessage<Error>(HasSubstr("8 pixels")));
  EXPECT_THAT([&] { run({"ptq.calibration=2"}); }, ThrowsMessage<Error>(HasSubstr("8 images")));
}

}  // namespace
}  // namespace quanta
