#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quanta/core/gguf.h"
#include "quanta/models/language_model.h"
#include "quanta/text/tokenizer.h"

namespace quanta {

/// A weight that has been quantized already: rows [out, in] in a GGUF format, in the order of the layer's own rows
/// (pack_gguf() makes them).
struct GgufRows {
  GgufType type = GgufType::F32;
  std::span<const std::byte> bytes{};
};

struct GgufOptions {
  GgufType type = GgufType::F16;            ///< of the blocks' linear weights
  std::optional<GgufType> embedding{};      ///< nothing: as `type`
  std::optional<GgufType> output{};         ///< of an untied head; nothing: as `type`
  std::map<std::string, GgufType> types{};  ///< of single weights, by their Hugging Face names, instead of the above
  /// Weights that are stored as they are, by their Hugging Face names. The bytes must live until the file is written.
  std::map<std::string, GgufRows> packed{};
  /// By Hugging Face names: for each column how much its error counts (see encode_gguf()).
  std::map<std::string, std::vector<float>> importance{};
  const Tokenizer* tokenizer = nullptr;  ///< null: a file without a vocabulary
  std::string name{};                    ///< general.name
};

/// Writes a decoder as a GGUF file as llama.cpp reads it (architectures "llama", "qwen2" and "gpt2"), a block at a
/// time. Norms, biases and positions are F32. A weight whose rows are no whole number of its type's blocks takes
/// another type, as llama.cpp does: Q2_K and Q3_K become Q4_0, Q4_K Q5_0, Q5_K Q5_1, Q6_K Q8_0, and what does not fit
/// these F16. Returns these weights' names with the types they took.
///
/// `ends` is a model without its blocks, block(i) gives them. Throws Error for what such files cannot express (OPT,
/// other activations, some kinds of stretched positions), for a weight that is no float weight any more and not in
/// `packed`, and for names in the options that no weight has.
std::map<std::string, GgufType> write_gguf(const std::filesystem::path& path, const LanguageModel& ends,
                                           const std::function<DecoderBlock(int64_t)>& block,
                                           const GgufOptions& options = {});
std::map<std::string, GgufType> write_gguf(const std::filesystem::path& path, const LanguageModel& model,
                                           const GgufOptions& options = {});

/// A decoder with float32 weights, and its tokenizer (null if the file has none).
struct GgufModel {
  LanguageModel model = nullptr;
  std::unique_ptr<Tokenizer> tokenizer{};
};

/// The inverse. Throws Error naming the file and the fault for another architecture, missing or contradictory metadata,
/// tensors that are missing, unexpected or of another shape, and types that cannot be decoded.
GgufModel read_gguf(const std::filesystem::path& path);

}  // namespace quanta
