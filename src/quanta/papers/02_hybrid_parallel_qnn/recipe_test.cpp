#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "quanta/core/file.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/idx.h"
#include "quanta/models/hqnn.h"
#include "quanta/papers/recipe.h"
#include "quanta/train/checkpoint.h"

namespace quanta {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::vector<std::string> kTiny = {"dataset=glyph_digits", "parallel.seeds=1",  "parallel.train=100",
                                        "parallel.test=100",    "parallel.epochs=1", "quanv.seeds=2",
                                        "quanv.train=60",       "quanv.test=100",    "quanv.epochs=1"};

/// Runs on a folder with a few glyphs, which is quicker than the whole generated set.
class Recipe02 : public testing::Test {
 protected:
  Recipe02() : recipe(find_recipe("02")) {
    const auto test = testing::UnitTest::GetInstance()->current_test_info();
    context.data = std::filesystem::path(testing::TempDir()) / fmt::format("recipe02_{}", test->name());
    context.out = context.data / "out";
    std::filesystem::remove_all(context.data);
    write_idx_folder(context.data / "glyph_digits", {.train = glyph_digits({.count = 200}),
                                                     .test = glyph_digits({.count = 100, .split = GlyphSplit::kTest})});
    GlyphOptions hues{.count = 100, .size = 32, .classes = {0, 1}};
    write_idx_folder(context.data / "glyph_hues", {.train = glyph_hues(hues), .test = glyph_hues(hues)});
  }
  ~Recipe02() override { std::filesystem::remove_all(context.data); }

  Report run(std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), kTiny.begin(), kTiny.end());
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe02, WritesAWholeReport) {
  const Report report = run();
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;

  const json saved = json::parse(read_file(context.out / "report.json"));
  EXPECT_EQ(saved.at("recipe"), "02");
  EXPECT_EQ(saved.at("data").at("name"), "glyph_digits");
  EXPECT_EQ(saved.at("data").at("train"), 100);
  EXPECT_GE(saved.at("checks").size(), 12);
  EXPECT_THAT(read_file(context.out / "report.html"), HasSubstr("HQNN-Parallel"));
  // Seven models (one of them the frozen quanvolution); one epoch each: 3 x 1 + 4 x 2 lines.
  EXPECT_EQ(std::ranges::count(read_file(context.out / "metrics.jsonl"), '\n'), 11);

  HqnnParallel model;
  EXPECT_EQ(load_module(*model, context.out / "model.safetensors").at("model"), "hqnn_parallel");

  // What does not depend on how long the training was.
  for (const auto& check : report.checks)
    for (const auto* sure : {"parameters", "kernel weights", "gradients reach", "alone"})
      EXPECT_TRUE(check.holds || check.name.find(sure) == std::string::npos) << check.name << ": " << check.detail;
  const auto value = [&](const std::string& name) {
    for (const auto& result : report.results)
      if (result.name == name) return result.value;
    return -1.0;
  };
  EXPECT_EQ(value("HQNN-Parallel, parameters"), 45194);
  EXPECT_EQ(value("Classical twin, parameters"), 372234);
  EXPECT_EQ(value("HQNN-Quanv, parameters"), 1986);
  EXPECT_EQ(value("CNN-1, parameters"), 517);
  EXPECT_EQ(value("CNN-4, parameters"), 2038);
}

TEST_F(Recipe02, ResumeGivesTheSameResult) {
  const std::vector<std::string> two = {"models=['hqnn_parallel', 'cnn1']"};
  const Report whole = run(two);
  // As if killed between the two models.
  for (const auto* name :
       {"report.json", "report.html", "cnn1-0.checkpoint.safetensors", "cnn1-1.checkpoint.safetensors"})
    ASSERT_TRUE(std::filesystem::remove(context.out / name)) << name;
  context.resume = true;
  const Report resumed = run(two);
  ASSERT_EQ(whole.results.size(), resumed.results.size());
  for (size_t i = 0; i < whole.results.size(); ++i) EXPECT_EQ(whole.results[i].value, resumed.results[i].value);
  EXPECT_THAT([&] { run({"models=['cnn1']"}); }, ThrowsMessage<Error>(HasSubstr("other settings")));
}

TEST_F(Recipe02, ColourImagesWithAugmentation) {
  const Report report = run({"dataset=glyph_hues", "models=['hqnn_parallel']", "parallel.crop_padding=4",
                             "parallel.flip=true", "parallel.channels=[4, 8, 8]", "parallel.angle_range=tanh"});
  EXPECT_EQ(report.data.name, "glyph_hues");
  EXPECT_FALSE(report.checks.empty());
}

TEST_F(Recipe02, BadSettings) {
  EXPECT_THAT([&] { run({"models=['hqnn_paralel']"}); },
              ThrowsMessage<UsageError>(HasSubstr("did you mean hqnn_parallel?")));
  EXPECT_THAT([&] { run({"parallel.entangler=star"}); },
              ThrowsMessage<UsageError>(HasSubstr("expected ring or strong")));
  EXPECT_THAT([&] { run({"parallel.readout=Q"}); }, ThrowsMessage<UsageError>(HasSubstr("X or Y or Z")));
  EXPECT_THAT(
      [&] {
        run({"quanv.optimizer=lion", "models=['cnn1']"});
      },
      ThrowsMessage<UsageError>(HasSubstr("adam or sgd")));
  EXPECT_THAT([&] { run({"models=[]"}); }, ThrowsMessage<UsageError>(HasSubstr("models")));
}

}  // namespace
}  // namespace quanta
