#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace quanta::cli {

/// What a language model is evaluated on: one of the three.
struct EvalTextOptions {
  std::string text;                             ///< a known text or a file
  std::string folder;                           ///< where known ones are looked for first
  std::string part;                             ///< "test", "train", "all" or empty
  int64_t length = 0, stride = 0, windows = 0;  ///< as PerplexityOptions
  std::string choices, task;                    ///< multiple choice
  std::vector<int64_t> tokens;

  bool asked() const { return !text.empty() || !choices.empty() || !tokens.empty(); }
};

/// Adds the options of the group "Language models".
void add_eval_text_options(CLI::App& command, EvalTextOptions& options);
void evaluate_text(const std::string& model, const EvalTextOptions& options, bool json);

}  // namespace quanta::cli
