#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cctype>
#include <chrono>

#include "quanta/core/file.h"
#include "quanta/core/signal.h"
#include "quanta/core/text.h"

namespace quanta {
namespace {

/// What fixes the result of a run: its settings, mode and seed.
std::string describe(const Recipe& recipe, const Config& config, const RunContext& context) {
  return fmt::format("# Recipe {}, {} run, seed {}\n{}", recipe.id(), context.full ? "full" : "small", context.seed,
                     config.to_toml());
}

void prepare_folder(const Recipe& recipe, const Config& config, const RunContext& context) {
  make_directory(context.out);
  const auto path = context.out / "config.toml";
  const std::string description = describe(recipe, config, context);
  if (context.resume) {
    require(std::filesystem::exists(path),
            "nothing to resume in {}: run without --resume, or name the folder of the run", context.out.string());
    require(read_file(path) == description,
            "{} is of a run with other settings: resume with the same ones, or choose another folder", path.string());
    return;
  }
  // What an earlier run of a system left is replaced; files of anyone else are not touched.
  const bool ours = std::filesystem::exists(path) && read_file(path).starts_with("# ");
  for (const auto& entry : std::filesystem::directory_iterator(context.out)) {
    const std::string name = entry.path().filename();
    if (name == "metrics.jsonl" || name == "model.safetensors" || name == "report.html" || name == "report.json" ||
        name.ends_with(".checkpoint.safetensors")) {
      require(ours, "{} is not of an earlier run and would be replaced: choose another folder", entry.path().string());
      std::filesystem::remove(entry.path());
    }
  }
  write_file(path, description);
}

}  // namespace

std::string Recipe::id() const {
  return fmt::format("{:02}", number);
}

const Recipe& find_recipe(std::string_view text) {
  std::string wanted(text);
  for (char& c : wanted) c = c == '_' ? '-' : char(std::tolower(static_cast<unsigned char>(c)));
  std::vector<std::string> known;
  std::vector<const Recipe*> matches;
  for (const Recipe& recipe : recipes()) {
    const std::string id = recipe.id(), full = id + "-" + recipe.name;
    if (wanted == id || wanted == std::to_string(recipe.number) || wanted == recipe.name || wanted == full)
      return recipe;
    if (!wanted.empty() && (recipe.name.starts_with(wanted) || full.starts_with(wanted))) matches.push_back(&recipe);
    known.insert(known.end(), {id, recipe.name});
  }
  if (matches.size() == 1) return *matches.front();
  if (matches.size() > 1)
    throw UsageError(fmt::format("'{}' may be {} or {}: name it in full", text, matches[0]->name, matches[1]->name));
  throw UsageError(
      fmt::format("there is no recipe '{}'; did you mean {}? See quanta list", text, nearest(wanted, known)));
}

Config recipe_config(const Recipe& recipe, bool full, const std::vector<std::string>& overrides) {
  Config config = Config::parse(recipe.small_toml, recipe.name + "/small.toml");
  if (full) config.overlay(Config::parse(recipe.full_toml, recipe.name + "/full.toml"));
  for (const auto& assignment : overrides) config.set(assignment);
  return config;
}

Report run_recipe(const Recipe& recipe, const Config& config, const RunContext& context) {
  const auto start = std::chrono::steady_clock::now();
  const InterruptGuard guard;
  prepare_folder(recipe, config, context);
  Report report = recipe.run(config, context);
  report.recipe = recipe.id();
  report.title = recipe.title;
  report.mode = context.full ? "full" : "small";
  report.seed = context.seed;
  report.config = config.to_toml();
  report.command = context.command;
  report.environment = environment_facts();
  if (context.resume) report.environment.emplace_back("resumed", "yes; the seconds are those since then");
  report.artifacts.insert(report.artifacts.end(), {"config.toml", "report.html", "report.json"});
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_html(report, context.out / "report.html");
  write_file(context.out / "report.json", to_json(report).dump(2) + "\n");
  return report;
}

}  // namespace quanta
