#include <optional>

#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/gratings.h"
#include "quanta/data/idx.h"
#include "quanta/data/known.h"

namespace quanta::cli {
namespace {

struct Options {
  std::string name;
  std::string dir;
  std::string out;
  int64_t train = 10000;
  int64_t test = 2000;
  uint64_t seed = 0;
  std::optional<double> noise;
  bool json = false;
};

void list_data(const Options& options) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::string text = fmt::format("{:<20}{:<11}{}\n", "name", "kind", "where");
  for (const KnownData& data : known_data()) {
    const auto found = find_data(data.name, options.dir);
    all.push_back({{"name", data.name},
                   {"title", data.title},
                   {"kind", data.kind},
                   {"found", found ? nlohmann::json(found->string()) : nlohmann::json()},
                   {"generated", data.generated}});
    const std::string where = found            ? found->string()
                              : data.generated ? "generated when needed"
                                               : "not found: quanta data get " + data.name;
    text += fmt::format("{:<20}{:<11}{}\n", data.name, data.kind, where);
  }
  if (options.json) return print_json(all);
  text += "\nLooked in:";
  for (const auto& root : data_roots(options.dir)) text += " " + root.string();
  print(text + "\n");
}

void get_data(const Options& options) {
  const KnownData& data = known_data(options.name);
  const auto found = find_data(options.name, options.dir);
  if (options.json)
    return print_json({{"name", data.name},
                       {"title", data.title},
                       {"found", found ? nlohmann::json(found->string()) : nlohmann::json()},
                       {"get", data.get}});
  print(fmt::format("{}: {}\n{}\n", data.name, data.title, found ? "Found at " + found->string() + "." : data.get));
}

void make_data(const Options& options) {
  const KnownData& data = known_data(options.name);
  if (!data.generated) throw UsageError(data.name + " is not generated; see: quanta data get " + data.name);
  const double noise = options.noise.value_or(data.name == "gratings" ? GratingOptions{}.noise : GlyphOptions{}.noise);
  const auto make = [&](int64_t count, GlyphSplit split) {
    if (data.name == "gratings")  // two seeds, as the set that is generated when it is asked for
      return gratings({.count = count, .seed = options.seed + (split == GlyphSplit::kTrain ? 1 : 2), .noise = noise});
    if (data.name == "glyph_hues")
      return glyph_hues(
          {.count = count, .size = 32, .classes = {0, 1}, .seed = options.seed, .noise = noise, .split = split});
    require(data.name == "glyph_digits", "do not know how to write {}", data.name);
    return glyph_digits({.count = count, .seed = options.seed, .noise = noise, .split = split});
  };
  write_idx_folder(options.out, {make(options.train, GlyphSplit::kTrain), make(options.test, GlyphSplit::kTest)});
  if (options.json)
    return print_json({{"name", data.name}, {"train", options.train}, {"test", options.test}, {"out", options.out}});
  print(fmt::format("{}: {} train and {} test images in {}\n", data.name, options.train, options.test, options.out));
}

}  // namespace

void add_data(CLI::App& app, int&) {
  auto* data = app.add_subcommand("data", "Known data sets: where they are, how to get them, making generated ones");
  data->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  const auto add = [&](const char* name, const char* summary, void (*action)(const Options&)) {
    auto* command = data->add_subcommand(name, summary);
    command->add_flag("--json", options->json, "Print JSON");
    command->callback([options, action] { action(*options); });
    return command;
  };
  auto* list = add("list", "All of them, and where each was found", list_data);
  list->add_option("--data", options->dir, "Look here first")->type_name("DIR");

  auto* get = add("get", "How to get one", get_data);
  get->add_option("name", options->name, "Its name")->required();
  get->add_option("--data", options->dir, "Look here first")->type_name("DIR");

  auto* make = add("make", "Write a generated one as IDX files", make_data);
  make->add_option("name", options->name, "Its name")->required();
  make->add_option("--out", options->out, "Folder to write to")->required()->type_name("DIR");
  make->add_option("--train", options->train, "Training images")->check(CLI::Range(1, 10000000))->capture_default_str();
  make->add_option("--test", options->test, "Test images")->check(CLI::Range(1, 10000000))->capture_default_str();
  make->add_option("--seed", options->seed, "Seed")->check(CLI::NonNegativeNumber)->capture_default_str();
  make->add_option("--noise", options->noise,
                   "Standard deviation of the noise (glyphs: 0.1 of pixels in [0, 1]; gratings: 0.6)")
      ->check(CLI::Range(0.0, 10.0));
}

}  // namespace quanta::cli
