#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/file.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/data/markov_text.h"
#include "quanta/models/checkpoint.h"
#include "quanta/papers/recipe.h"
#include "quanta/text/plain_tokenizers.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// On a small random model in a folder, which need not be trained.
class Recipe39 : public ::testing::Test {
 protected:
  Recipe39() : recipe(find_recipe("39")) {
    context.out = folder / "out";
    const std::string before = markov_text(4000, 1), after = markov_text(2000, 2);
    write_file(folder / "before.txt", before);
    write_file(folder / "after.txt", after);
    const auto tokenizer = character_tokenizer(before + after);
    LanguageModel model(LanguageConfig::llama(tokenizer->size(), 32, 64, 3, 4, 16));
    model->initialize(1, 0.2);
    save_checkpoint(model, folder / "model");
    tokenizer->save(folder / "model");
  }

  Report run(std::vector<std::string> overrides = {}) {
    const auto path = [&](const char* key, const char* name) {
      return fmt::format("{}=\"{}\"", key, (folder / name).string());
    };
    const std::vector<std::string> tiny{path("model", "model"),
                                        path("calibration", "before.txt"),
                                        path("test", "after.txt"),
                                        "sequences=8",
                                        "length=16",
                                        "windows=8",
                                        "seeds=2",
                                        "reassembly.sample=2",
                                        "correction.epochs=1",
                                        "ablation.seeds=1",
                                        "ablation.ranks=[2]",
                                        "ablation.thresholds=[0.5]"};
    overrides.insert(overrides.begin(), tiny.begin(), tiny.end());
    return run_recipe(recipe, recipe_config(recipe, false, overrides), context);
  }

  const TemporaryFolder folder;
  const Recipe& recipe;
  RunContext context;
};

TEST_F(Recipe39, WritesAWholeReportTwiceTheSame) {
  const Report report = run();
  for (const auto& name : report.artifacts) EXPECT_TRUE(std::filesystem::exists(context.out / name)) << name;
  EXPECT_EQ(report.checks.size(), 9u);
  EXPECT_TRUE(report.checks.front().holds) << report.checks.front().detail;  // planting keeps the function
  EXPECT_EQ(report.sections.size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(context.out / "work" / "hidden-00000.safetensors"));
  const std::string metrics = read_file(context.out / "metrics.jsonl");
  run();
  EXPECT_EQ(read_file(context.out / "metrics.jsonl"), metrics);
}

TEST_F(Recipe39, WithoutOutliersAndAblations) {
  const Report report = run({"outliers=\"\"", "ablation.seeds=0", "attention=true", "weights=8", "activations=8"});
  EXPECT_EQ(report.checks.size(), 8u);
  EXPECT_EQ(report.sections.size(), 2u);
}

TEST_F(Recipe39, BadSettings) {
  EXPECT_THAT([&] { run({"seeds=0"}); }, ThrowsMessage<Error>(HasSubstr("between 1 and 20")));
  EXPECT_THAT([&] { run({"reassembly.ratio=0.7"}); }, ThrowsMessage<Error>(HasSubstr("0 to 0.5")));
  EXPECT_THAT([&] { run({"correction.rank=0"}); }, ThrowsMessage<Error>(HasSubstr("rank 0")));
  EXPECT_THAT([&] { run({"model=\"\""}); }, ThrowsMessage<Error>(HasSubstr("add --set model=FOLDER")));
  EXPECT_THAT([&] { run({"test=\"\""}); }, ThrowsMessage<Error>(HasSubstr("needs two texts")));
}

}  // namespace
}  // namespace quanta
