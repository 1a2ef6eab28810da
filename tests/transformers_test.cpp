// Language models beside Hugging Face's transformers: its checkpoints give the same logits here, ours give them there.
#include <gmock/gmock.h>

#include <algorithm>

#include <cstdlib>

#include "quanta/core/error.h"
#include "quanta/core/process.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/checkpoint.h"
#include "quanta/models/generate.h"

namespace quanta {
namespace {

double distance(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Transformers, LogitsOfItsCheckpointsHereAndOfOursThere) {
  const char* python = std::getenv("QUANTA_TRANSFORMERS_PYTHON");
  if (!python) GTEST_SKIP() << "set QUANTA_TRANSFORMERS_PYTHON to a Python that has torch and transformers";
  const torch::NoGradGuard no_grad;
  const testing::TemporaryFolder folder;
  const auto run = [&](const char* task) {
    const auto result =
        run_process(python, {QUANTA_SOURCE_DIR "/tests/transformers_run.py", task, folder.path().string()}, {}, 600);
    EXPECT_EQ(result.status, 0) << result.errors;
    return result.output;
  };

  run("make");
  std::vector<std::string> cases;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    if (entry.is_directory()) cases.push_back(entry.path().filename().string());
  std::ranges::sort(cases);
  ASSERT_GE(cases.size(), 20u);

  std::map<std::string, torch::Tensor> expected;
  for (const auto& name : cases) {
    SCOPED_TRACE(name);
    const auto file = Safetensors::open(folder / (name + ".safetensors"));
    const auto get = [&](const char* key) { return read_tensor(file.at(key), key); };
    const auto checkpoint = Checkpoint::open(folder / name);
    LanguageModel model = checkpoint.model();
    const auto ids = get("ids");
    expected[name] = get("logits");
    const double error = distance(model->forward(ids), expected[name]);
    RecordProperty(name, fmt::format("{:.2e} of {:.1f}", error, expected[name].abs().max().item<double>()));
    EXPECT_LT(error, 1e-4);

    const auto greedy = get("greedy");
    const std::vector<int64_t> prompt(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + 8);
    const std::vector<int64_t> text(greedy.data_ptr<int64_t>(), greedy.data_ptr<int64_t>() + greedy.numel());
    GenerateOptions options{
        .new_tokens = int64_t(text.size()), .repetition_penalty = 1.3, .eos = std::vector<int64_t>{}};
    EXPECT_EQ(generate(model, prompt, options), text);
    options.cache = false;
    EXPECT_EQ(generate(model, prompt, options), text);

    // Half of the cases as shards.
    const int64_t shard = name.size() % 2 ? int64_t{1} << 30 : 30'000;
    save_checkpoint(model, folder / (name + ".ours"), {.max_shard = shard});
  }

  run("load");
  for (const auto& name : cases) {
    SCOPED_TRACE(name);
    const auto file = Safetensors::open(folder / (name + ".ours.safetensors"));
    const double error = distance(read_tensor(file.at("logits"), "logits"), expected[name]);
    RecordProperty(name + "_ours", fmt::format("{:.2e}", error));
    EXPECT_LT(error, 1e-4);
  }
}

}  // namespace
}  // namespace quanta
