#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "quanta/cli/command.h"
#include "quanta/papers/recipe.h"

namespace quanta::cli {
namespace {

void list_text() {
  std::string text = fmt::format("{:<4}{:<26}{:<10}{:>9}  {}\n", "no", "name", "kind", "small run", "title");
  for (const Recipe& recipe : recipes())
    text += fmt::format("{:<4}{:<26}{:<10}{:>7.0f} s  {}\n", recipe.id(), recipe.name, recipe.kind, recipe.seconds,
                        recipe.title);
  print(text + "\nquanta run NO trains one; its folder in src/quanta/papers says more.\n");
}

void list_markdown() {
  std::string text = "| | System | Kind | Small run on 2 cores |\n| --- | --- | --- | --- |\n";
  for (const Recipe& recipe : recipes()) {
    std::string folder = recipe.id() + "_" + recipe.name;
    std::replace(folder.begin(), folder.end(), '-', '_');
    text += fmt::format("| {} | [{}](src/quanta/papers/{}) | {} | {:.0f} s |\n", recipe.id(), recipe.title, folder,
                        recipe.kind, recipe.seconds);
  }
  print(text);
}

void list_json() {
  auto list = nlohmann::ordered_json::array();
  for (const Recipe& recipe : recipes())
    list.push_back({{"number", recipe.number},
                    {"name", recipe.name},
                    {"title", recipe.title},
                    {"kind", recipe.kind},
                    {"seconds", recipe.seconds}});
  print_json(list);
}

}  // namespace

void add_list(CLI::App& app, int& status) {
  struct Options {
    bool markdown = false;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("list", "The systems: number, name, kind, seconds of the small run, title");
  auto* markdown = command->add_flag("--markdown", options->markdown, "Print the table of the README");
  command->add_flag("--json", options->json, "Print one JSON array")->excludes(markdown);
  command->callback([options, &status] {
    if (options->markdown)
      list_markdown();
    else if (options->json)
      list_json();
    else
      list_text();
    status = kDone;
  });
}

}  // namespace quanta::cli
