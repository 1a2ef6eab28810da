#include <gmock/gmock.h>

#include "quanta/core/temporary_folder.h"
#include "quanta/papers/recipe.h"
#include "quanta/quantize/quantized_model.h"

namespace quanta {
namespace {

/// So little training that no relation can hold; what is tested is that each figure, check and file is there.
TEST(Recipe16, LeavesWhatItPromises) {
  const testing::TemporaryFolder folder;
  const Recipe& recipe = find_recipe("16");
  const Config config = recipe_config(recipe, false,
                                      {"dataset=gratings", "train=128", "test=64", "seeds=1", "epochs=1",
                                       "qat_epochs=1", "calibration=64", "width=8", "wide=0.0"});
  const Report report = run_recipe(recipe, config, {.out = folder.path(), .seed = 3});
  std::vector<std::string> checks, results;
  for (const Check& check : report.checks) checks.push_back(check.name);
  for (const Result& result : report.results) results.push_back(result.name);
  for (const char* name :
       {"folding is exact", "outliers keep the function", "integer network", "size", "training helps at 2 bits"})
    EXPECT_THAT(checks, ::testing::Contains(name));
  for (const char* name : {"float", "W8, per layer, affine", "W8A8, per channel, affine", "A8", "W2A8, trained",
                           "W4A8, trained, naive folding"})
    EXPECT_THAT(results, ::testing::Contains(name));
  for (const Check& check : report.checks)
    if (check.name == "folding is exact" || check.name == "outliers keep the function" || check.name == "size") {
      EXPECT_TRUE(check.holds) << check.name << ": " << check.detail;
    }
  for (const char* file :
       {"model.safetensors", "model.onnx", "integer.safetensors", "report.html", "float-seed3.safetensors"})
    EXPECT_TRUE(std::filesystem::exists(folder / file)) << file;
  EXPECT_TRUE(is_quantized(folder / "model.safetensors"));
}

}  // namespace
}  // namespace quanta
