#include "quanta/quantize/ledger.h"
#include <fmt/format.h>

#include "quanta/cli/command.h"

namespace quanta::cli {
namespace {

struct Options {
  std::string model, other;
  bool json = false;
};

void show(const Options& options) {
  const Ledger ledger = Ledger::load(options.model);
  if (options.other.empty()) {
    if (options.json) return print_json(ledger.to_json());
    return print(to_text(ledger, SIZE_MAX));
  }
  const Ledger other = Ledger::load(options.other);
  if (options.json) return print_json({{"a", ledger.to_json()}, {"b", other.to_json()}});
  print(fmt::format("A: {} ({})\nB: {} ({})\n{}", options.model, ledger.method, options.other, other.method,
                    compare(ledger, other)));
}

}  // namespace

void add_ledger(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("ledger", "What quantizing did to each layer of a language model; compare two");
  command->add_option("model", options->model, "A folder that quanta quantize wrote, or its ledger.json")
      ->required()
      ->type_name("MODEL");
  command->add_option("other", options->other, "Another one, to compare layer by layer")->type_name("OTHER");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &status] {
    show(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
