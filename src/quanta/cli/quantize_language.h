#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

// Quantizing language models: the options of quanta quantize and quanta plan, and the work.

namespace quanta::cli {

inline constexpr const char* kLanguageModels = "Language models";  ///< the options' group in --help

struct LanguageQuantizeOptions {
  std::string model;
  std::vector<std::string> methods{"gptq"};
  std::vector<int> bits{4};
  int64_t group = 128;
  bool symmetric = false;
  bool search = false;
  double damping = 0.01;
  bool act_order = false;
  bool static_groups = false;
  bool true_sequential = false;
  std::string strategy = "attncon";
  double least = 0.01;
  int64_t expand = 1;
  std::string rotation = "hadamard";
  bool online = false;
  int activation_bits = 0;  ///< 0: 8 of smoothquant, 4 of qllm
  double ratio = 0.2;
  int64_t rank = 4;
  int64_t epochs = 10;
  double rate = 1e-4;
  int64_t blocks = 4;
  bool clip = true;
  double alpha = 0.5;
  std::string calibration;  ///< a text
  int64_t samples = 128;
  int64_t length = 0;   ///< of a sequence; 0: the model's positions, at most 2048
  std::string text;     ///< to measure perplexity on
  int64_t windows = 0;  ///< of it; 0: all
  std::string format = "safetensors";
  std::string gguf_type;
  std::string ram;
  bool compare = false;
  bool plan = false;
  bool fresh = false;
  bool allow_ruined = false;
  uint64_t seed = 0;
  std::string out;
  bool json = false;
};

/// All but the model, --method, --bits, --seed, --out and --json, which images have too.
void add_language_options(CLI::App& command, LanguageQuantizeOptions& options);

/// The methods with what they are, for --help.
std::string language_methods();

int quantize_language(LanguageQuantizeOptions options);

}  // namespace quanta::cli
