#include "quanta/papers/reference_language.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "quanta/core/temporary_folder.h"
#include "quanta/models/checkpoint.h"
#include "quanta/models/evaluate_text.h"

namespace quanta {
namespace {

// The cache lies in the build folder: the ten seconds of training are spent once a build.
TEST(ReferenceLanguage, Mk64IsTrainedOnceAndKept) {
  setenv("QUANTA_CACHE", QUANTA_BINARY_DIR "/cache", 1);
  const testing::TemporaryFolder folder;
  const RunContext context{.out = folder / "run"};
  const ReferenceLanguage first = reference_language_model("mk64", 0, context);
  int64_t parameters = 0;
  for (const auto& p : first.model->parameters()) parameters += p.numel();
  EXPECT_EQ(parameters, 90'432);
  EXPECT_EQ(first.folder.parent_path().string(), QUANTA_BINARY_DIR "/cache/language");
  // Zipf's law alone has a perplexity of 29; the prototypes of paper 35 reached 9.3 to 9.8.
  const double perplexity = score_sequences(first.model, first.test).perplexity();
  EXPECT_GT(perplexity, 8.5);
  EXPECT_LT(perplexity, 10.5);

  const auto written = std::filesystem::last_write_time(first.folder / "model.safetensors");
  const ReferenceLanguage second = reference_language_model("mk64", 0, context);
  EXPECT_EQ(score_sequences(second.model, second.test).perplexity(), perplexity);
  EXPECT_EQ(std::filesystem::last_write_time(first.folder / "model.safetensors"), written);
  EXPECT_EQ(Checkpoint::open(first.folder).config().layers, 2);
  EXPECT_THROW(reference_language_model("mk65", 0, context), UsageError);
}

}  // namespace
}  // namespace quanta
