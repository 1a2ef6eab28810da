#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>

#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/log.h"
#include "quanta/papers/recipe.h"

namespace quanta::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string name;
  bool full = false;
  std::vector<std::string> overrides;
  uint64_t seed = 0;
  std::string data;
  std::string out;
  bool resume = false;
  bool json = false;
  bool quiet = false;
};

/// runs/02_hybrid_parallel_qnn-full-seed7
fs::path default_folder(const Recipe& recipe, const Options& options) {
  std::string name = recipe.id() + "_" + recipe.name;
  std::replace(name.begin(), name.end(), '-', '_');
  if (options.full) name += "-full";
  if (options.seed != 0) name += fmt::format("-seed{}", options.seed);
  return name;
}

/// In single quotes if a shell would change it.
std::string quote(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) || std::strchr("-_./=,:+@%", c) != nullptr;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string command_line(const Recipe& recipe, const Options& options) {
  std::string line = "quanta run " + recipe.id();
  if (options.full) line += " --full";
  for (const auto& assignment : options.overrides) line += " --set " + quote(assignment);
  if (options.seed != 0) line += fmt::format(" --seed {}", options.seed);
  if (!options.data.empty()) line += " --data " + quote(options.data);
  return line;
}

std::string figure(double value, const std::string& unit) {
  const bool whole = std::abs(value) < 1e15 && value == std::round(value);
  const std::string number = whole ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value);
  return unit.empty() ? number : number + " " + unit;
}

std::string table(const Report& report) {
  std::vector<std::array<std::string, 4>> rows = {{"", "measured", "paper", ""}};
  for (const Result& result : report.results)
    rows.push_back({result.name, figure(result.value, result.unit),
                    result.paper ? figure(*result.paper, result.unit) : "-",
                    result.paper_source.empty() ? "" : "(" + result.paper_source + ")"});
  size_t width[3] = {};
  for (const auto& row : rows)
    for (int i = 0; i < 3; ++i) width[i] = std::max(width[i], row[size_t(i)].size());
  std::string text;
  for (const auto& row : rows) {
    std::string line =
        fmt::format("{:<{}}  {:>{}}  {:>{}}  {}", row[0], width[0], row[1], width[1], row[2], width[2], row[3]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

void print_report(const Report& report, const fs::path& folder) {
  std::string text = fmt::format("\n{} {} ({} run, seed {}, {:.0f} s)\n", report.recipe, report.title, report.mode,
                                 report.seed, report.seconds);
  text += fmt::format("data: {}, {} train and {} test samples ({})\n\n", report.data.name, report.data.train,
                      report.data.test, report.data.source);
  text += table(report) + "\n";
  for (const Check& check : report.checks)
    text += fmt::format("{}  {}: {}\n", check.holds ? "PASS" : "FAIL", check.name, check.detail);
  text += fmt::format("\nReport page: {}\n", fs::absolute(folder / "report.html").lexically_normal().string());
  print(text);
}

Report run_one(const Recipe& recipe, const Config& config, const Options& options, const fs::path& folder) {
  const RunContext context{.out = folder,
                           .data = options.data,
                           .seed = options.seed,
                           .full = options.full,
                           .resume = options.resume,
                           .command = command_line(recipe, options)};
  return run_recipe(recipe, config, context);
}

int run_single(const Options& options) {
  const Recipe& recipe = find_recipe(options.name);
  const Config config = recipe_config(recipe, options.full, options.overrides);
  const fs::path folder = options.out.empty() ? "runs" / default_folder(recipe, options) : fs::path(options.out);
  const Report report = run_one(recipe, config, options, folder);
  if (options.json)
    print_json(to_json(report));
  else
    print_report(report, folder);
  return report.passed() ? kDone : kCheckFailed;
}

int run_all(const Options& options) {
  std::vector<Config> configs;  // first of all: an override that does not fit a system is found before hours of work
  for (const Recipe& recipe : recipes()) configs.push_back(recipe_config(recipe, options.full, options.overrides));
  const fs::path parent = options.out.empty() ? "runs" : options.out;

  int status = kDone;
  auto all = nlohmann::json::array();
  std::string scoreboard = fmt::format("\n{:<4}{:<28}{:>8}{:>10}  {}\n", "no", "name", "checks", "seconds", "report");
  for (size_t i = 0; i < recipes().size(); ++i) {
    const Recipe& recipe = recipes()[i];
    const fs::path folder = parent / default_folder(recipe, options);
    try {
      const Report report = run_one(recipe, configs[i], options, folder);
      if (!options.json) print_report(report, folder);
      all.push_back(to_json(report));
      const auto held = std::count_if(report.checks.begin(), report.checks.end(), std::mem_fn(&Check::holds));
      scoreboard += fmt::format("{:<4}{:<28}{:>8}{:>10.0f}  {}\n", recipe.id(), recipe.name,
                                fmt::format("{}/{}", held, report.checks.size()), report.seconds,
                                (folder / "report.html").string());
      if (!report.passed() && status == kDone) status = kCheckFailed;
    } catch (const Interrupted&) {
      throw;
    } catch (const std::exception& error) {  // the others still run
      const std::string message = first_line(error.what());
      log_error("{} {}: {}", recipe.id(), recipe.name, message);
      all.push_back({{"recipe", recipe.id()}, {"title", recipe.title}, {"error", message}});
      scoreboard += fmt::format("{:<4}{:<28}{:>8}{:>10}  {}\n", recipe.id(), recipe.name, "failed", "", message);
      status = kFailed;
    }
  }
  if (options.json)
    print_json(all);
  else
    print(scoreboard);
  return status;
}

}  // namespace

void add_run(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("run", "Train a system, compare it with its paper, check the paper's claims");
  command->add_option("name", options->name, "Number or name of a system (see quanta list), or all")->required();
  command->add_flag("--full", options->full, "The paper's setting instead of the small one");
  command->add_option("--set", options->overrides, "Change a setting, for example --set parallel.epochs=10; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--seed", options->seed, "Seed of everything random")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--data", options->data, "Look for data sets here first, then in $QUANTA_DATA and ./data")
      ->type_name("DIR");
  command->add_option("--out", options->out, "Folder for the report and the model (default: runs/NN_name)")
      ->type_name("DIR");
  command->add_flag("--resume", options->resume, "Go on from what a killed or interrupted run left in its folder");
  add_threads_option(*command);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->add_flag("--quiet", options->quiet, "No progress and no messages, only results and errors");
  command->callback([options, &status] {
    if (options->quiet) set_log_level(LogLevel::kQuiet);
    status = options->name == "all" ? run_all(*options) : run_single(*options);
  });
}

}  // namespace quanta::cli
