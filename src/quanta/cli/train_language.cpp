#include <fmt/ranges.h>

#include <map>

#include "quanta/cli/command.h"
#include "quanta/cli/train_options.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/signal.h"
#include "quanta/data/text_data.h"
#include "quanta/models/checkpoint.h"
#include "quanta/models/evaluate_text.h"
#include "quanta/models/generate.h"
#include "quanta/papers/recipe.h"
#include "quanta/report/plot.h"
#include "quanta/text/plain_tokenizers.h"
#include "quanta/train/language.h"
#include "quanta/train/trainer.h"

namespace quanta::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kValidationWindows = 64;  // looked at during training; the result is of the whole part
constexpr int64_t kSampleTokens = 400;

const std::map<std::string, RateSchedule> kSchedules = {
    {"constant", {.kind = RateSchedule::Kind::Constant}},
    {"linear", {.kind = RateSchedule::Kind::Linear, .last = 0}},
    {"cosine", {.kind = RateSchedule::Kind::Cosine, .last = 0.1}},
    {"wsd", {.kind = RateSchedule::Kind::Wsd, .last = 0}},
    {"one-cycle", {.kind = RateSchedule::Kind::OneCycle, .last = 4e-6}},
};

std::shared_ptr<Tokenizer> make_tokenizer(const std::string& kind, const TextSplits& text) {
  if (kind == "characters") return character_tokenizer(text.train + text.test);
  if (kind == "bytes") return byte_tokenizer();
  return load_tokenizer(kind);
}

/// The model and its training: a preset with what the options change. "llama" starts from nano.
LanguagePreset preset_of(const TrainCommand& command, const TrainTextOptions& options) {
  LanguagePreset preset = language_preset(command.model == "llama" ? "nano" : command.model);
  preset.name = command.model;
  const auto set = [](auto& value, const auto& given) {
    if (given) value = std::remove_reference_t<decltype(value)>(*given);
  };
  const double width = command.width.value_or(double(preset.width));
  if (width != std::floor(width))
    throw UsageError(fmt::format("--width: a language model's must be whole, got {}", width));
  set(preset.layers, options.layers);
  set(preset.width, command.width);
  set(preset.heads, options.heads);
  preset.inner = options.inner.value_or(command.width ? 3 * preset.width : preset.inner);
  LanguageTraining& training = preset.training;
  set(training.steps, options.steps);
  set(training.length, options.length);
  set(training.batch, command.batch);
  set(training.rate, command.rate);
  set(training.weight_decay, command.decay);
  training.schedule = kSchedules.at(options.schedule);
  training.schedule.warmup = options.warmup;
  set(training.schedule.last, options.last);
  training.seed = command.seed;
  training.report_every = std::clamp<int64_t>(training.steps / 20, 1, 100);
  training.resume = command.resume;
  training.label = command.model;
  return preset;
}

std::string sample_of(LanguageModel model, const Tokenizer& tokenizer, const torch::Tensor& text, uint64_t seed) {
  const torch::Tensor first = text.slice(0, 0, std::min<int64_t>(16, model->config().longest() / 2));
  std::vector<int64_t> ids(first.data_ptr<int64_t>(), first.data_ptr<int64_t>() + first.numel());
  // A model of few positions reads on from the last half of what it wrote.
  std::string written = tokenizer.decode(ids);
  for (int64_t left = kSampleTokens; left > 0;) {
    const auto fresh = generate(model, ids,
                                {.new_tokens = left,
                                 .temperature = 0.8,
                                 .top_k = 0,
                                 .top_p = 0.95,
                                 .seed = seed + uint64_t(left),
                                 .eos = std::vector<int64_t>{}});
    if (fresh.empty()) break;
    written += tokenizer.decode(fresh);
    left -= int64_t(fresh.size());
    ids.insert(ids.end(), fresh.begin(), fresh.end());
    ids.erase(ids.begin(), ids.end() - std::min<int64_t>(int64_t(ids.size()), model->config().longest() / 2));
  }
  return written;
}

Section training_section(const LanguageHistory& history) {
  Series train{.name = "train"}, validation{.name = "validation"};
  Section section{.title = "Training"};
  Table table{.caption = "", .columns = {"step", "loss", "validation", "rate", "tokens/s"}};
  for (const LanguageProgress& row : history.rows) {
    for (auto* series : {&train, &validation}) series->x.push_back(double(row.step));
    train.y.push_back(row.loss);
    validation.y.push_back(row.val_loss);
    table.rows.push_back({std::to_string(row.step), fmt::format("{:.4f}", row.loss),
                          fmt::format("{:.4f}", row.val_loss), fmt::format("{:.2e}", row.rate),
                          fmt::format("{:.0f}", row.tokens_per_second)});
  }
  section.figures = {
      line_plot({.title = "Loss in nats a token", .x = {.label = "step"}, .y = {}, .series = {train, validation}})};
  section.tables = {table};
  return section;
}

}  // namespace

bool is_language_architecture(const std::string& name) {
  if (name == "llama") return true;
  for (const LanguagePreset& preset : language_presets())
    if (preset.name == name) return true;
  return false;
}

std::string language_architectures() {
  std::string names;
  for (const LanguagePreset& preset : language_presets()) names += preset.name + ", ";
  return names + "llama";
}

void add_train_text_options(CLI::App& command, TrainTextOptions& options) {
  const auto add = [&](const char* name, auto& value, const char* text, const char* type) {
    return command.add_option(name, value, text)->type_name(type)->group("Language models");
  };
  const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 31);
  add("--text", options.text, "What to learn: tiny-shakespeare, markov-text, or a file (.txt, .jsonl, .gz)", "TEXT");
  add("--tokenizer", options.tokenizer, "characters, bytes, or the folder of a tokenizer", "NAME")
      ->capture_default_str();
  add("--steps", options.steps, "Steps (default: the model's)", "N")->check(positive);
  add("--length", options.length, "Tokens of a sequence", "N")->check(positive);
  add("--layers", options.layers, "Blocks", "N")->check(positive);
  add("--heads", options.heads, "Attention heads", "N")->check(positive);
  add("--kv-heads", options.kv_heads, "Key and value heads (default: as many)", "N")->check(positive);
  add("--inner", options.inner, "Width of the MLP (default: 3 times the model's)", "N")->check(positive);
  add("--schedule", options.schedule, "How the rate falls: constant, linear, cosine, wsd, one-cycle", "NAME")
      ->check(CLI::IsMember(kSchedules))
      ->capture_default_str();
  add("--warmup", options.warmup, "Share of the steps in which the rate rises", "SHARE")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str();
  add("--last-rate", options.last, "The rate's factor at the end (default: the schedule's)", "FACTOR")
      ->check(CLI::Range(0.0, 1.0));
}

void train_text(const TrainCommand& command, const TrainTextOptions& options) {
  if (options.text.empty()) throw UsageError("--text is required: tiny-shakespeare, markov-text or a file");
  LanguagePreset preset = preset_of(command, options);
  LanguageTraining& training = preset.training;
  const TextSplits text =
      load_text(options.text, options.folder, [](const std::string& line) { log_warn("{}", line); });
  const auto tokenizer = make_tokenizer(options.tokenizer, text);
  const torch::Tensor train = token_stream(tokenizer->encode(text.train)),
                      test = token_stream(tokenizer->encode(text.test));
  const int64_t T = training.length;
  require(train.numel() > T && test.numel() >= T,
          "{} has {} tokens to train on and {} to compare on, fewer than a sequence of {}: take a longer text or a "
          "shorter --length",
          text.source, train.numel(), test.numel(), T);

  require(preset.width % preset.heads == 0 && preset.width / preset.heads % 2 == 0,
          "a width of {} cannot be cut into {} heads of an even size: change --width or --heads", preset.width,
          preset.heads);
  LanguageConfig config = preset.config(tokenizer->size());
  config.kv_heads = options.kv_heads.value_or(config.heads);
  require(config.heads % config.kv_heads == 0, "{} key heads do not divide {} heads", config.kv_heads, config.heads);
  config.bos = tokenizer->bos();
  if (const auto eos = tokenizer->eos()) config.eos = {*eos};
  LanguageModel model(config);
  model->initialize(training.seed);

  const fs::path out = command.out.empty() ? fs::path("runs") / (preset.name + "-" + text.name) : fs::path(command.out);
  make_directory(out);
  training.out = out;
  const int64_t windows = std::min(kValidationWindows, test.numel() / T);
  const InterruptGuard guard;
  const LanguageHistory history =
      train_language(model, train, test.narrow(0, 0, windows * T).view({windows, T}), training);
  if (history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", out.string()));
  save_checkpoint(model, out);
  tokenizer->save(out);

  const TextScore score = perplexity(model, test, {.length = T});
  const std::string sample = sample_of(model, *tokenizer, test, training.seed);
  Report report{.recipe = preset.name,
                .title = fmt::format("{} on {}", preset.name, text.name),
                .mode = "training",
                .seed = training.seed,
                .seconds = history.seconds,
                .data = {text.name, text.source, train.numel(), test.numel()}};
  report.results = {
      {.name = "validation loss", .value = score.mean(), .unit = "nats/token"},
      {.name = "validation perplexity", .value = score.perplexity()},
      {.name = "validation bits per byte", .value = score.bits_per_byte(test.numel(), int64_t(text.test.size()))},
      {.name = "parameters", .value = double(count_parameters(*model))},
      {.name = "tokens seen", .value = double(training.steps * training.batch * T)}};
  report.artifacts = {"config.json", "model.safetensors", "report.html", "report.json", "metrics.jsonl"};
  report.environment = environment_facts();
  report.sections = {training_section(history),
                     {.title = "A sample",
                      .text = "Behind the validation text's first characters, temperature 0.8, "
                              "nucleus 0.95:\n\n" +
                              sample}};
  write_html(report, out / "report.html");
  write_file(out / "report.json", to_json(report).dump(2) + "\n");
  if (command.json)
    print_json(to_json(report));
  else
    print(fmt::format("{}: {:.4f} nats a token on {} tokens after {} steps ({:.0f} s)\nModel: {}\nReport page: {}\n",
                      report.title, score.mean(), score.predicted, training.steps, history.seconds, out.string(),
                      (out / "report.html").string()));
}

}  // namespace quanta::cli
