#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quanta/core/safetensors.h"
#include "quanta/models/language_model.h"

namespace quanta {

/// A Hugging Face folder: config.json, model.safetensors or shards with their index, generation_config.json, tokenizer
/// files. Weights stay in the mapped files until they are asked for, so a model larger than memory can be worked on
/// block by block. F32, F16, BF16 (and F64) become float32.
class Checkpoint {
 public:
  /// Checks config and the names and shapes of all tensors; Error listing those that are missing, unexpected or of
  /// another shape, and for damaged files. Known leftovers (rotary_emb.inv_freq, attn.bias, attn.masked_bias) and the
  /// tied head's copy are accepted.
  static Checkpoint open(const std::filesystem::path& folder);

  const LanguageConfig& config() const;
  const std::filesystem::path& folder() const;

  DecoderBlock block(int64_t index) const;
  /// Everything but the blocks, which are empty: embed() and head() work.
  LanguageModel ends() const;
  /// The whole model in memory.
  LanguageModel model() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// The tensors of a block or of the ends under their names in the files, in Hugging Face's layout (GPT-2's linear weights
/// transposed). "model.layers.3.self_attn.q_proj.weight".
std::map<std::string, torch::Tensor> checkpoint_tensors(const DecoderBlock& block, int64_t index);
std::map<std::string, torch::Tensor> checkpoint_tensors(const LanguageModel& model_or_ends);
/// "model.layers.3." for LLaMA.
std::string block_prefix(const LanguageConfig& config, int64_t index);

enum class SaveType { F32, F16, BF16 };
/// Writes config.json (last), safetensors (shards of at most max_shard bytes), generation_config.json; copies the
/// tokenizer files of `like` if given.
void save_checkpoint(const LanguageModel& model, const std::filesystem::path& folder, SaveType type = SaveType::F32,
                     int64_t max_shard = int64_t{5} << 30, const std::filesystem::path& like = {});

}  // namespace quanta
