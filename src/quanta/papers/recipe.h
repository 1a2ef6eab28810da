#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/core/config.h"
#include "quanta/core/error.h"
#include "quanta/report/report.h"

namespace quanta {

/// How a recipe is run.
struct RunContext {
  std::filesystem::path out{};   ///< the run's folder, made if need be
  std::filesystem::path data{};  ///< where data sets are looked for first; empty: see data_roots()
  uint64_t seed = 0;
  bool full = false;      ///< the paper's setting instead of the small one
  bool resume = false;    ///< go on from what a killed or interrupted run left in `out`
  std::string command{};  ///< the command line, for the report
};

/// SIGINT or SIGTERM came and the state was saved: the command line says how to resume and exits with 130.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// One published system: trains it, compares it with the paper's figures and checks the paper's claims. Lives in a
/// folder papers/NN_name/ {recipe.cpp, small.toml, full.toml, README.md}; recipe.cpp defines `Recipe recipe_NN()` with
/// the fields from `title` on, the build adds the others.
struct Recipe {
  int number = 0;
  std::string name{};             ///< of the folder: "hybrid-parallel-qnn"
  std::string_view small_toml{};  ///< every key, for 2 CPU cores and about a minute
  std::string_view full_toml{};   ///< what differs in the paper's setting

  std::string title{};
  std::string kind{};  ///< "quantum", "quantized" or "hybrid"
  double seconds = 0;  ///< that the small run took on 2 cores
  /// Fills data, results, checks, artifacts, summary and sections; writes model.safetensors and metrics.jsonl to
  /// context.out. Throws Interrupted.
  Report (*run)(const Config& config, const RunContext& context) = nullptr;

  std::string id() const;  ///< "02"
};

/// All of them by number.
const std::vector<Recipe>& recipes();

/// By number ("2", "02"), name or the unambiguous beginning of a name; '_' and capitals count as '-' and small letters.
/// Throws UsageError naming the nearest.
const Recipe& find_recipe(std::string_view text);

/// The small settings, with the full ones over them if asked for, with "key=value" overrides. Throws UsageError.
Config recipe_config(const Recipe& recipe, bool full, const std::vector<std::string>& overrides = {});

/// Runs a recipe and writes config.toml (first), report.html and report.json (last) to context.out, each whole or not
/// at all. Without `resume` what an earlier run left there is removed first. Throws Error if a resumed run has another
/// config, mode or seed than the one it is to continue, and Interrupted.
Report run_recipe(const Recipe& recipe, const Config& config, const RunContext& context);

}  // namespace quanta
