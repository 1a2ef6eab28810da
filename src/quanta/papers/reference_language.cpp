#include "quanta/papers/reference_language.h"

#include <unistd.h>

#include <cstdlib>

#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/data/markov_text.h"
#include "quanta/data/text_data.h"
#include "quanta/models/checkpoint.h"
#include "quanta/text/plain_tokenizers.h"
#include "quanta/train/language.h"

namespace quanta {
namespace fs = std::filesystem;
namespace {

/// Everything that fixes the result, beside the training code: raise when that changes what comes out.
constexpr int kVersion = 1;

constexpr int64_t kCalibration = 64;

struct Plan {
  LanguageConfig config;
  std::optional<double> deviation{};  // of the start values
  LanguageTraining training;
  torch::Tensor tokens;
};

Plan mk64_plan(uint64_t seed, ReferenceLanguage& reference) {
  const Mk64 data = mk64(seed);
  reference.calibration = data.calibration;
  reference.test = data.test;
  reference.data = {"mk64", "generated", data.train.size(0), data.test.size(0)};
  return {.config = LanguageConfig::llama(kMk64Symbols, 64, 128, 2, 4, 64),
          .deviation = 0.05,
          .training = {.steps = 500,
                       .batch = 16,
                       .rate = 3e-3,
                       .beta2 = 0.999,
                       .weight_decay = 0.01,
                       .clip = 0,
                       .schedule = {.kind = RateSchedule::Kind::OneCycle, .warmup = 0.3, .last = 4e-6}},
          .tokens = data.train};
}

Plan text_plan(const LanguagePreset& preset, const fs::path& folder, ReferenceLanguage& reference) {
  const TextSplits text = load_text("tiny_shakespeare", folder, [](const std::string& line) { log_warn("{}", line); });
  reference.tokenizer = character_tokenizer(text.train + text.test);
  const torch::Tensor train = token_stream(reference.tokenizer->encode(text.train)),
                      test = token_stream(reference.tokenizer->encode(text.test));
  const int64_t T = preset.training.length, windows = test.numel() / T;
  reference.calibration = random_windows(train, kCalibration, T, 0, text.name).tokens;
  reference.test = test.narrow(0, 0, windows * T).view({windows, T});
  reference.data = {text.name, text.source, train.numel(), test.numel()};
  return {.config = preset.config(reference.tokenizer->size()), .training = preset.training, .tokens = train};
}

/// Trains, and puts the finished folder into its place in one step: two runs at a time do not disturb each other.
void make(const std::string& label, Plan plan, const ReferenceLanguage& reference, const RunContext& context) {
  LanguageModel model(plan.config);
  model->initialize(plan.training.seed, plan.deviation);
  plan.training.out = context.out;
  plan.training.label = label;
  plan.training.resume = context.resume;
  const LanguageHistory history = train_language(model, plan.tokens, {}, plan.training);
  if (history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", context.out.string()));
  const fs::path aside = fmt::format("{}.{}.part", reference.folder.string(), getpid());
  save_checkpoint(model, aside);
  if (reference.tokenizer) reference.tokenizer->save(aside);
  std::error_code error;
  fs::rename(aside, reference.folder, error);
  if (error) fs::remove_all(aside);  // another run was faster
}

}  // namespace

fs::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  if (const auto own = variable("QUANTA_CACHE"); !own.empty()) return own;
  if (const auto caches = variable("XDG_CACHE_HOME"); !caches.empty()) return caches / "quanta";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "quanta";
  return {};
}

ReferenceLanguage reference_language_model(const std::string& name, uint64_t seed, const RunContext& context) {
  ReferenceLanguage reference;
  Plan plan = name == "mk64" ? mk64_plan(seed, reference) : text_plan(language_preset(name), context.data, reference);
  plan.training.seed = seed;
  const std::string label = fmt::format("{}-s{}", name, seed);
  const std::string key =
      text_hash(fmt::format("{} {} {} {} {}", kVersion, plan.config.to_json().dump(), plan.deviation.value_or(0),
                            settings_of(plan.training).dump(), tokens_hash(plan.tokens)));
  fs::path cache = cache_folder();
  try {
    require(!cache.empty(), "none of QUANTA_CACHE, XDG_CACHE_HOME and HOME is set");
    make_directory(cache / "language");
  } catch (const Error& error) {
    log_warn("no cache ({}): {} is kept in the run's folder", error.what(), label);
    cache = context.out;
    make_directory(cache / "language");
  }
  reference.folder = cache / "language" / (label + "-" + key);
  if (fs::exists(reference.folder / "config.json"))
    log_info("{}: taken from {}", label, reference.folder.string());
  else
    make(label, std::move(plan), reference, context);
  reference.model = Checkpoint::open(reference.folder).model();
  reference.model->eval();
  return reference;
}

}  // namespace quanta
