#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "quanta/models/checkpoint.h"
#include "quanta/models/gguf_model.h"
#include "quanta/quantize/blockwise.h"

namespace quanta {

// A Hugging Face folder with quantized weights. Each linear layer of the blocks is stored as GPTQ's programs have it:
// NAME.qweight (I32 [K b / 32, N]: codes along K, the first in the lowest bits), NAME.qzeros (I32 [G, N b / 32]: zero
// points along N), NAME.scales ([G, N]) and NAME.g_idx (I32 [K]); AWQ's folders (codes along N) are read too. Layers
// whose grid does not go into this are stored as NAME.weight, decoded. "quantization_config" of config.json says which;
// "quant_method" is "gptq" if other programs can run the model, and "quanta" if it has transforms in its slots
// (rotations, activation quantizers), which are stored below NAME.input and the like.

/// Whether a folder's config.json says that its weights are quantized in a way that open_checkpoint() reads.
bool is_quantized_checkpoint(const std::filesystem::path& folder);

/// A folder with float or quantized weights; quantized ones are decoded or, if `packed`, stay codes that kernels
/// multiply with (nn/packed_linear.h); slots are filled.
Checkpoint open_checkpoint(const std::filesystem::path& folder, bool packed = false);

/// Bytes of the tensors of a folder's model.
int64_t weight_bytes(const std::filesystem::path& folder);

/// What tells a folder's weights from others without reading them all: names, types, shapes, sizes, and the first bytes
/// of each tensor.
std::string fingerprint(const std::filesystem::path& folder);

/// Mean negative log-likelihood of the tokens after the first of each sequence [n, T], one block in memory at a time;
/// hidden states lie in `work`, which is removed afterwards. The same for any number of threads.
double mean_nll(const Checkpoint& model, const torch::Tensor& sequences, const std::filesystem::path& work);

/// Where a block-wise job on a checkpoint keeps its blocks: a file each in OUT/.work, until finish() makes one model of
/// them. A job that was killed goes on from there.
class QuantizedFolder : public BlockStore {
 public:
  /// `job` is all that fixes the result. Error if `out` has the blocks of another one, unless `fresh` removes them.
  QuantizedFolder(Checkpoint source, std::filesystem::path out, const nlohmann::json& job, bool fresh = false);

  const LanguageConfig& config() const override { return source_.config(); }
  LanguageModel ends() override { return source_.ends(); }
  DecoderBlock block(int64_t index) override { return source_.block(index); }
  std::optional<LedgerBlock> done(int64_t index) override;
  DecoderBlock kept(int64_t index) override;
  void keep(int64_t index, DecoderBlock block, const std::vector<LayerResult>& results) override;
  void keep(const LedgerBlock& ledger) override;

  const std::filesystem::path& work() const { return work_; }  ///< for hidden states

  /// Writes the model's files, config.json last, and removes the work folder. `description` goes into
  /// quantization_config. Safetensors of at most `max_shard` bytes.
  void finish(const BlockwiseResult& result, const nlohmann::json& description, int64_t max_shard = int64_t{5} << 30);
  /// The same as one GGUF file OUT/model.gguf: layers that were solved on a GGUF grid bit for bit, the ends as `rest`
  /// (its type is that of the embedding and the head). Returns weights that had to take another type.
  std::map<std::string, GgufType> finish_gguf(const BlockwiseResult& result, const Tokenizer* tokenizer, GgufType rest);
  /// The same as a folder of float weights, for programs that know no quantized ones.
  void finish_float(const BlockwiseResult& result, SaveType type);

 private:
  std::filesystem::path block_file(int64_t index) const;

  Checkpoint source_;
  std::filesystem::path out_, work_;
};

}  // namespace quanta
