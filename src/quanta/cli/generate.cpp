#include "quanta/models/generate.h"

#include <chrono>

#include "quanta/cli/command.h"
#include "quanta/cli/language.h"
#include "quanta/core/error.h"
#include "quanta/core/signal.h"

namespace quanta::cli {
namespace {

struct Options {
  std::string model, prompt;
  GenerateOptions generation{.temperature = 1};
  bool greedy = false;
  bool json = false;
};

void run(Options options) {
  const OpenedLanguage opened = open_language_model(options.model);
  const Tokenizer& tokenizer = opened.text();
  std::vector<int64_t> prompt = tokenizer.encode(options.prompt, /*special=*/true);
  if (prompt.empty() && opened.model->config().bos) prompt = {*opened.model->config().bos};
  require(!prompt.empty(), "the prompt is empty, and {} has no token that begins a text: give --prompt", options.model);

  GenerateOptions generation = options.generation;
  if (options.greedy) generation.temperature = 0;
  StreamDecoder decoder(tokenizer);
  std::string text;
  const auto show = [&](const std::string& piece) {
    text += piece;
    if (!options.json) print(piece);
  };
  const InterruptGuard guard;
  generation.on_token = [&](int64_t id) {
    show(decoder.push(id));
    return !interrupted();
  };
  if (!options.json) print(options.prompt);
  const auto start = std::chrono::steady_clock::now();
  const auto ids = generate(opened.model, prompt, generation);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  show(decoder.finish());
  if (options.json)
    print_json({{"prompt", options.prompt},
                {"text", text},
                {"prompt_tokens", prompt},
                {"tokens", ids},
                {"tokens_per_second", double(ids.size()) / seconds}});
  else
    print("\n");
}

}  // namespace

void add_generate(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  GenerateOptions& generation = options->generation;
  auto* command = app.add_subcommand("generate", "Text from a language model");
  command
      ->add_option("model", options->model, "A Hugging Face folder (also of quanta train or quantize) or a GGUF file")
      ->required()
      ->type_name("MODEL");
  command->add_option("--prompt", options->prompt, "The text to go on from")->type_name("TEXT");
  command->add_option("--max-tokens", generation.new_tokens, "At most so many new tokens")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->capture_default_str();
  command->add_option("--temperature", generation.temperature, "Divides the logits; 0 takes the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--top-k", generation.top_k, "Only the K likeliest tokens (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--top-p", generation.top_p, "Only the likeliest tokens that reach this probability together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--repetition-penalty", generation.repetition_penalty, "Makes tokens that were there less likely")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str();
  command->add_option("--seed", generation.seed, "Seed of the choice")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--greedy", options->greedy, "The likeliest token each time: temperature 0");
  add_threads_option(*command);
  command->add_flag("--json", options->json, "Print one JSON object at the end");
  command->callback([options, &status] {
    run(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
