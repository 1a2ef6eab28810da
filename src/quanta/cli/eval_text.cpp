#include "quanta/cli/eval_text.h"

#include <chrono>
#include <cmath>

#include "quanta/cli/command.h"
#include "quanta/cli/language.h"
#include "quanta/core/error.h"
#include "quanta/core/log.h"
#include "quanta/data/text_data.h"
#include "quanta/models/evaluate_text.h"

namespace quanta::cli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The part of a text that is asked for; by default all of a file, and of a known text what models do not train on.
std::string part_of(const EvalTextOptions& options) {
  const TextSplits text =
      load_text(options.text, options.folder, [](const std::string& line) { log_warn("{}", line); });
  const std::string part = !options.part.empty()                   ? options.part
                           : std::filesystem::exists(options.text) ? "all"
                                                                   : "test";
  return part == "all" ? text.train + text.test : part == "test" ? text.test : text.train;
}

void print_perplexity(const OpenedLanguage& opened, const EvalTextOptions& options, bool json) {
  const std::string text = part_of(options);
  const torch::Tensor stream = token_stream(opened.text().encode(text, /*special=*/true));
  const auto start = std::chrono::steady_clock::now();
  const TextScore score = perplexity(opened.model, stream,
                                     {.length = options.length, .stride = options.stride, .windows = options.windows});
  const double rate = double(score.predicted) / seconds_since(start);
  const double bits = score.bits_per_byte(stream.numel(), int64_t(text.size()));
  if (json)
    return print_json({{"model", opened.path},
                       {"text", options.text},
                       {"tokens", stream.numel()},
                       {"windows", score.windows},
                       {"predicted", score.predicted},
                       {"perplexity", score.perplexity()},
                       {"nll", score.mean()},
                       {"bits_per_byte", bits},
                       {"tokens_per_second", rate}});
  print(fmt::format(
      "{} on {}: perplexity {:.4f} ({:.4f} nats a token, {:.4f} bits a byte) of {} predictions in {} "
      "windows, {:.0f} tokens/s\n",
      opened.path, options.text, score.perplexity(), score.mean(), bits, score.predicted, score.windows, rate));
}

void print_tokens(const OpenedLanguage& opened, const std::vector<int64_t>& tokens, bool json) {
  const TokensScore score = score_tokens(opened.model, token_stream(tokens));
  const float* logits = score.last_logits.data_ptr<float>();
  const nlohmann::json nll = std::isfinite(score.nll) ? nlohmann::json(score.nll) : nlohmann::json(nullptr);
  if (json)
    return print(nlohmann::ordered_json{{"nll", nll},
                                        {"last_logits", std::vector<float>(logits, logits + score.last_logits.numel())}}
                     .dump() +
                 "\n");
  const auto [values, ids] = score.last_logits.topk(std::min<int64_t>(5, score.last_logits.numel()));
  std::string text = fmt::format("{:.6f} nats a token; the largest logits after the last:", score.nll);
  for (int64_t i = 0; i < ids.numel(); ++i)
    text += fmt::format(" {} ({:.4f})", ids[i].item<int64_t>(), values[i].item<double>());
  print(text + "\n");
}

void print_choices(const OpenedLanguage& opened, const EvalTextOptions& options, bool json) {
  const auto items = load_multiple_choice(options.choices);
  const ChoiceScore score = score_choices(opened.model, opened.text(), items);
  if (json)
    return print_json({{"model", opened.path},
                       {"choices", options.choices},
                       {"items", score.items},
                       {"acc", score.accuracy},
                       {"acc_norm", score.normalized_accuracy},
                       {"acc_stderr", score.standard_error(score.accuracy)},
                       {"acc_norm_stderr", score.standard_error(score.normalized_accuracy)}});
  print(fmt::format("{} on {}: acc {:.4f} +- {:.4f}, acc_norm {:.4f} +- {:.4f} of {} items\n", opened.path,
                    options.choices, score.accuracy, score.standard_error(score.accuracy), score.normalized_accuracy,
                    score.standard_error(score.normalized_accuracy), score.items));
}

}  // namespace

void add_eval_text_options(CLI::App& command, EvalTextOptions& options) {
  const auto add = [&](const char* name, auto& value, const char* text, const char* type) {
    return command.add_option(name, value, text)->type_name(type)->group("Language models");
  };
  auto* text =
      add("--text", options.text, "Perplexity on tiny-shakespeare, markov-text or a file (.txt, .jsonl, .gz)", "TEXT");
  add("--part", options.part, "test (the last tenth), train or all (default: test of a known text, all of a file)",
      "PART")
      ->check(CLI::IsMember({"test", "train", "all"}));
  add("--length", options.length, "Tokens of a window (default: 2048 or the model's positions)", "N")
      ->check(CLI::PositiveNumber);
  add("--stride", options.stride, "Tokens between the starts of windows (default: no overlap)", "N")
      ->check(CLI::PositiveNumber);
  add("--windows", options.windows, "The first N windows only", "N")->check(CLI::PositiveNumber);
  auto* choices = add(
      "--choices", options.choices,
      "Multiple choice by log-likelihood: lines of PIQA, ARC, HellaSwag, WinoGrande, BoolQ, or context, choices, label",
      "FILE.jsonl");
  auto* tokens =
      add("--tokens", options.tokens, "Score these ids: 1,17,5", "IDS")->delimiter(',')->allow_extra_args(false);
  text->excludes(choices)->excludes(tokens);
  choices->excludes(tokens);
}

void evaluate_text(const std::string& model, const EvalTextOptions& options, bool json) {
  if (!options.asked()) throw UsageError("say what to evaluate the language model on: --text, --choices or --tokens");
  const OpenedLanguage opened = open_language_model(model);
  if (!options.text.empty()) return print_perplexity(opened, options, json);
  if (!options.choices.empty()) return print_choices(opened, options, json);
  print_tokens(opened, options.tokens, json);
}

}  // namespace quanta::cli
