#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

// `quanta train` has one set of options for every kind of model and one for each kind.

namespace quanta::cli {

/// What images and text share; what is not given depends on the model.
struct TrainCommand {
  std::string model;
  std::optional<double> width, rate, decay;
  std::optional<int> batch;
  uint64_t seed = 0;
  std::string out;
  bool resume = false;
  bool json = false;
};

struct TrainTextOptions {
  std::string text, folder;  ///< a known text or a file; where known ones are looked for first
  std::string tokenizer = "characters";
  std::optional<int64_t> steps, length, layers, heads, kv_heads, inner;
  std::string schedule = "cosine";
  double warmup = 0.1;
  std::optional<double> last;
};

/// Whether a name is one of train_text()'s: a preset's or "llama".
bool is_language_architecture(const std::string& name);
std::string language_architectures();  ///< for help and messages

/// Adds the options of the group "Text".
void add_train_text_options(CLI::App& command, TrainTextOptions& options);
void train_text(const TrainCommand& command, const TrainTextOptions& options);

}  // namespace quanta::cli
