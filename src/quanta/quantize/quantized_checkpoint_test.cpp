#include "quanta/quantize/quantized_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/nn/packed_linear.h"
#include "quanta/quantize/layerwise_method.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using quanta::testing::TemporaryFolder;
using ::testing::HasSubstr;

torch::Tensor some_tokens(int64_t sequences) {
  quanta::Random random(5);
  torch::Tensor tokens = torch::empty({sequences, 24}, torch::kInt64);
  for (int64_t i = 0; i < tokens.numel(); ++i) tokens.view(-1)[i] = int64_t(random.below(40));
  return tokens;
}

fs::path float_model(const fs::path& folder, bool gpt2 = false) {
  LanguageConfig config = LanguageConfig::llama(40, 64, 96, 3, 4, 24);
  if (gpt2)
    config = LanguageConfig::from_json({{"model_type", "gpt2"},
                                        {"architectures", {"GPT2LMHeadModel"}},
                                        {"n_embd", 64},
                                        {"n_layer", 2},
                                        {"n_head", 4},
                                        {"n_positions", 24},
                                        {"vocab_size", 40}},
                                       "test");
  LanguageModel model(config);
  model->initialize(1, 0.2);
  save_checkpoint(model, folder);
  return folder;
}

GptqMethod solver(int bits, bool act_order = false) {
  return {std::make_shared<AffineGrid>(AffineGridOptions{.bits = bits, .group = 32, .half_scales = true}),
          {.act_order = act_order},
          false};
}

// Quantizes the model in `source`; if `stop` is not negative, stops before that block as a killed program would.
void quantize(const fs::path& source, const fs::path& out, int bits, bool act_order = false, int64_t stop = -1) {
  GptqMethod method = solver(bits, act_order);
  QuantizedFolder folder(Checkpoint::open(source), out, {{"bits", bits}});
  const auto result = quantize_blockwise(folder, some_tokens(30), method,
                                         {.work = folder.work(), .progress = [&](int64_t done, int64_t) {
                                            if (done == stop) std::raise(SIGKILL);
                                          }});
  folder.finish(result, {{"bits", bits}});
}

TEST(QuantizedCheckpoint, HoldsWhatTheMethodMade) {
  const TemporaryFolder folder;
  for (const bool gpt2 : {false, true})
    for (const int bits : {2, 3, 4, 8})
      for (const bool act_order : {false, true}) {
        if ((gpt2 || act_order) && bits != 3) continue;
        const fs::path source = float_model(folder / "float", gpt2), out = folder / "out";
        quantize(source, out, bits, act_order);
        LanguageModel model = Checkpoint::open(source).model();
        GptqMethod method = solver(bits, act_order);
        auto expected = quantize_in_memory(model, some_tokens(30), method, {.work = folder / "work"});
        LanguageModel read = open_checkpoint(out).model();
        const torch::NoGradGuard no_grad;
        EXPECT_TRUE(torch::equal(read->forward(some_tokens(2)), expected.model->forward(some_tokens(2))))
            << bits << act_order << gpt2;
        // The kernels on the codes compute the same, up to the order of sums.
        LanguageModel packed = open_checkpoint(out, true).model();
        EXPECT_TRUE(
            torch::allclose(packed->forward(some_tokens(2)), expected.model->forward(some_tokens(2)), 1e-4, 1e-4))
            << bits << act_order << gpt2;
        EXPECT_NE(
            std::dynamic_pointer_cast<PackedLinearImpl>(packed->blocks[0]->layer(packed->blocks[0]->stages()[0][0])),
            nullptr);
        EXPECT_FALSE(fs::exists(out / ".work"));
        EXPECT_EQ(Ledger::load(out).blocks.size(), size_t(model->config().layers));
      }
}

TEST(QuantizedCheckpoint, GoesOnAfterAKillWithTheSameBits) {
  const TemporaryFolder folder;
  const fs::path source = float_model(folder / "float");
  quantize(source, folder / "whole", 3);
  for (const int64_t stop : {0, 1, 2, 3}) {
    const fs::path out = folder / fmt::format("killed-{}", stop);
    const int before = threads();
    set_threads(1);  // a forked child has one thread only
    const pid_t child = fork();
    if (child == 0) {
      quantize(source, out, 3, false, stop);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    set_threads(before);
    ASSERT_TRUE(WIFSIGNALED(status)) << stop;
    EXPECT_FALSE(fs::exists(out / "config.json"));
    quantize(source, out, 3);
    EXPECT_EQ(read_file(out / "model.safetensors"), read_file(folder / "whole" / "model.safetensors")) << stop;
    EXPECT_EQ(read_file(out / "config.json"), read_file(folder / "whole" / "config.json")) << stop;
  }
}

TEST(QuantizedCheckpoint, RefusesToGoOnWithAnotherJob) {
  const TemporaryFolder folder;
  const fs::path source = float_model(folder / "float");
  { QuantizedFolder first(Checkpoint::open(source), folder / "out", {{"bits", 3}}); }
  EXPECT_THROW(QuantizedFolder(Checkpoint::open(source), folder / "out", {{"bits", 4}}), Error);
  EXPECT_NO_THROW(QuantizedFolder(Checkpoint::open(source), folder / "out", {{"bits", 4}}, true));
}

TEST(QuantizedCheckpoint, MeasuresBlockByBlockWhatTheWholeModelDoes) {
  const TemporaryFolder folder;
  const fs::path source = float_model(folder / "float");
  const torch::Tensor tokens = some_tokens(7);
  LanguageModel model = Checkpoint::open(source).model();
  const torch::NoGradGuard no_grad;
  const torch::Tensor log_p = model->forward(tokens).slice(1, 0, 23).log_softmax(-1);
  const double expected = -log_p.gather(2, tokens.slice(1, 1).unsqueeze(2)).mean().item<double>();
  EXPECT_NEAR(mean_nll(Checkpoint::open(source), tokens, folder / "work"), expected, 1e-5);
  EXPECT_FALSE(fs::exists(folder / "work"));
}

TEST(QuantizedCheckpoint, RefusesDamagedFolders) {
  const TemporaryFolder folder;
  const fs::path source = float_model(folder / "float"), out = folder / "out";
  quantize(source, out, 4);
  auto config = read_json(out / "config.json");
  config["quantization_config"]["quant_method"] = "magic";
  write_file(out / "config.json", config.dump());
  try {
    open_checkpoint(out);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("magic"));
  }
  config["quantization_config"]["quant_method"] = "gptq";
  config["num_hidden_layers"] = 4;
  write_file(out / "config.json", config.dump());
  EXPECT_THROW(open_checkpoint(out), Error);
}

}  // namespace
}  // namespace quanta
