#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quanta/models/language_model.h"
#include "quanta/nn/state.h"
#include "quanta/text/tokenizer.h"

namespace quanta {

/// The tensors of a Hugging Face folder: model.safetensors, or shards with model.safetensors.index.json. The files are
/// mapped, so a tensor takes memory only once it is touched. Error for a folder without them, a damaged file, a shard
/// or a tensor that the index names and that is missing, and a tensor in two shards.
class SafetensorsFolder {
 public:
  static SafetensorsFolder open(const std::filesystem::path& folder);
  const TensorViews& tensors() const { return tensors_; }
  /// The files, without their folder.
  const std::vector<std::string>& names() const { return names_; }

  /// See MappedFile::release().
  void release() const {
    for (const Safetensors& file : files_) file.release();
  }

 private:
  std::vector<std::string> names_;
  std::vector<Safetensors> files_;
  TensorViews tensors_;
};

/// Where a checkpoint's weights come from. Names are Hugging Face's ("model.layers.3.self_attn.q_proj.weight") or those
/// without the first part ("layers.3...."), layouts too (GPT-2's linear weights are [in, out]).
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// Names and shapes of all weights.
  virtual ParameterShapes shapes() const = 0;
  /// One of them as a new float32 tensor. May be called from several threads.
  virtual torch::Tensor read(const std::string& name) const = 0;
  /// Called when a part has been read: what was touched for it may leave memory.
  virtual void release() const {}
  /// What else a block has besides its weights, such as transforms in slots; `prefix` is the block's in the names.
  virtual void fill(DecoderBlockImpl& /*block*/, const std::string& /*prefix*/) const {}
};

/// config.json of a folder. Error naming the file for one that is missing or is not JSON.
nlohmann::json read_json(const std::filesystem::path& path);

/// A Hugging Face folder: config.json, generation_config.json and weights (F32, F16, BF16 or F64, which become
/// float32). Weights stay in the mapped files until they are asked for, so a model larger than memory can be worked on
/// block by block.
class Checkpoint {
 public:
  /// Checks the configuration and the names and shapes of all tensors; Error listing those that are missing, unexpected
  /// or of another shape, for damaged files, and for one that holds quantized weights. Known leftovers
  /// (rotary_emb.inv_freq, GPT-2's attn.bias and attn.masked_bias, the copy that a tied head is) are accepted.
  static Checkpoint open(const std::filesystem::path& folder);
  /// The same with weights from elsewhere, say from codes in the folder's files.
  static Checkpoint open(const std::filesystem::path& folder, std::shared_ptr<const WeightSource> source);

  const LanguageConfig& config() const;
  const std::filesystem::path& folder() const;

  /// A parameter's name in the source, for its own ("model.norm.weight"), which may have one more part in front.
  const std::string& source_name(const std::string& name) const;
  const WeightSource& source() const;

  DecoderBlock block(int64_t index) const;
  /// Everything but the blocks, which are empty: embed() and head() work.
  LanguageModel ends() const;
  /// The whole model in memory.
  LanguageModel model() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// The tensors of a block or of the ends under their names in the files, in Hugging Face's layout (GPT-2's linear
/// weights transposed). "model.layers.3.self_attn.q_proj.weight". Error for a block with replaced layers.
TensorMap checkpoint_tensors(const DecoderBlock& block, int64_t index);
TensorMap checkpoint_tensors(const LanguageModel& model_or_ends);
/// "model.layers.3." for LLaMA.
std::string block_prefix(const LanguageConfig& config, int64_t index);

/// Error if the tokenizer has ids that the model's vocabulary lacks.
void require_vocabulary(const LanguageConfig& config, const Tokenizer& tokenizer);

enum class SaveType { F32, F16, BF16 };

struct SaveOptions {
  SaveType type = SaveType::F32;
  int64_t max_shard = int64_t{5} << 30;  ///< bytes of a file's tensors, unless a single one is larger
  std::filesystem::path like{};          ///< a folder whose tokenizer files and generation_config.json are copied
};

/// Writes config.json, generation_config.json and model.safetensors, or shards and their index. What the folder held of
/// these is replaced once all is written; a write that fails leaves it as it was.
void save_checkpoint(const LanguageModel& model, const std::filesystem::path& folder, const SaveOptions& options = {});
/// The same with one block at a time in memory (and a shard): `block` is asked for 0, 1, ... once each.
void save_checkpoint(const LanguageModel& ends, const std::function<DecoderBlock(int64_t)>& block,
                     const std::filesystem::path& folder, const SaveOptions& options = {});

/// Writes a folder's files tensor by tensor: model.safetensors, or shards of at most `max_shard` bytes and their index,
/// then generation_config.json, the tokenizer of `like`, and last config.json. Without finish() the folder stays as it
/// was.
class CheckpointWriter {
 public:
  CheckpointWriter(const std::filesystem::path& folder, int64_t max_shard);
  ~CheckpointWriter();
  void add(const std::string& name, const torch::Tensor& tensor);
  void add(const std::string& name, const TensorView& view);  ///< its bytes must live until finish()
  void finish(const LanguageConfig& config, const nlohmann::json& config_json, const std::filesystem::path& like = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Copies tokenizer.json, tokenizer.model, tokenizer_config.json, special_tokens_map.json, vocab.json, merges.txt,
/// added_tokens.json and chat_template.jinja, as far as there are such.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace quanta
