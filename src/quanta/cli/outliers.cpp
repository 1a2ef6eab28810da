#include "quanta/models/outliers.h"

#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/models/checkpoint.h"

namespace quanta::cli {
namespace {

struct Options {
  std::string model, out;
  std::string spec = "standard";
  uint64_t seed = 0;
};

void run(const Options& options) {
  const OutlierSpec spec = parse_outliers(options.spec, options.seed);
  const std::filesystem::path from = options.model, to = options.out;
  std::error_code ignored;
  require(!std::filesystem::equivalent(from, to, ignored), "--out is the model's own folder: give another one");
  LanguageModel model = Checkpoint::open(from).model();
  inject_outliers(model, spec);
  save_checkpoint(model, to, {.like = from});
  print(fmt::format("The same function with planted outliers ({}, seed {}): {}\n", options.spec, options.seed,
                    options.out));
}

}  // namespace

void add_outliers(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand(
      "outliers",
      "Plant outliers into a small language model that leave its function as it is, so that it meets\n"
      "quantization as a large one does");
  command->add_option("model", options->model, "A Hugging Face folder")->required()->type_name("MODEL");
  command->add_option("--out", options->out, "Folder for the result")->required()->type_name("DIR");
  command
      ->add_option("--spec", options->spec,
                   "standard, rsq, qllm, or PLACE=CHANNELSxGAIN,... with the places mlp, values, norms and keys")
      ->capture_default_str()
      ->type_name("SPEC");
  command->add_option("--seed", options->seed, "Which channels")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->callback([options, &status] {
    run(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
