#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/nn/layers.h"

namespace quanta {

/// Decoders with Hugging Face's names and arithmetic.
enum class Family {
  Llama,  ///< RMSNorm, rotary positions, SwiGLU, no biases (also Mistral, and Qwen2 with biases at q, k, v)
  Gpt2,   ///< LayerNorm, learned positions, GELU (tanh), fused q, k, v, biases
  Opt,    ///< LayerNorm, learned positions at index position + 2, ReLU, biases
};

/// Stretched rotary positions.
struct RopeScaling {
  enum class Kind { Linear, Dynamic, Llama3, Yarn } kind = Kind::Linear;
  double factor = 1;
  double low_frequency = 1, high_frequency = 4;  ///< Llama3
  int64_t original_positions = 8192;             ///< the length before stretching; all kinds but Linear
  double beta_fast = 32, beta_slow = 1;          ///< Yarn
  double attention_factor = 0;                   ///< Yarn: of cosine and sine; 0: 0.1 ln(factor) + 1
  bool truncate = true;                          ///< Yarn: the ramp's ends are rounded outwards

  double yarn_attention_factor() const;
};

/// Between an MLP's two linear layers. Gelu: with erf; GeluTanh: Hugging Face's gelu_new and gelu_pytorch_tanh.
enum class MlpActivation { Silu, Relu, Gelu, GeluTanh };

/// What config.json says of a decoder.
struct LanguageConfig {
  Family family = Family::Llama;
  int64_t vocabulary = 0;
  int64_t width = 0;  ///< d, hidden_size
  int64_t inner = 0;  ///< f, intermediate_size
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  ///< divides heads; head h reads key and value head h / (heads / kv_heads)
  int64_t head_dim = 0;
  int64_t positions = 2048;         ///< max_position_embeddings; see longest()
  std::optional<int64_t> window{};  ///< sliding_window: longer sequences are refused
  MlpActivation activation = MlpActivation::Silu;
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling{};
  bool tied = false;            ///< the head's weight is the embedding's
  bool attention_bias = false;  ///< at q, k, v (and o if output_bias)
  bool output_bias = false;
  bool mlp_bias = false;
  std::optional<int64_t> bos{};
  std::vector<int64_t> eos{};                        ///< any of them ends a text
  nlohmann::json source = nlohmann::json::object();  ///< config.json as it was read, kept when a model is written

  /// Error naming `name` and the key for what is missing, out of range, contradictory, or an architecture or an option
  /// (activation, sliding window ...) that is not known.
  static LanguageConfig from_json(const nlohmann::json& json, std::string_view name);
  /// config.json: `source` with the fields above written over it.
  nlohmann::json to_json() const;

  /// A LLaMA of the given sizes, untied; kv_heads = heads, head_dim = width / heads.
  static LanguageConfig llama(int64_t vocabulary, int64_t width, int64_t inner, int64_t layers, int64_t heads,
                              int64_t positions);

  /// The longest sequence: `positions`, more with RopeScaling::Kind::Dynamic (times its factor), at most `window`.
  int64_t longest() const;
  /// The longest a KeyValueCache serves. Beyond `positions` a Dynamic stretch turns all earlier keys anew with every
  /// token, so nothing can be kept.
  int64_t longest_cached() const;
};

/// A linear layer of a block: its path below the block and its sizes.
struct LinearShape {
  std::string path{};
  int64_t in = 0, out = 0;
  bool bias = false;
};
/// A block's linear layers in the order in which they run, those that read the same input together.
std::vector<std::vector<LinearShape>> linear_shapes(const LanguageConfig& config);

/// Their paths:
/// {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"self_attn.o_proj"},
///  {"mlp.gate_proj", "mlp.up_proj"}, {"mlp.down_proj"}} for LLaMA.
std::vector<std::vector<std::string>> linear_stages(const LanguageConfig& config);

/// Hugging Face's names of a family's other parts. Norms of a block lie below it.
struct LanguageNames {
  const char* blocks;  ///< a block's parameters begin with this, its index and ".": "model.layers."
  const char *attention_norm, *mlp_norm;
  const char *tokens, *positions, *norm;  ///< positions: null if there are none
};
const LanguageNames& language_names(Family family);

/// Names and shapes of a block's parameters below its path, and of everything but the blocks, as state_of() has them.
using ParameterShapes = std::map<std::string, std::vector<int64_t>>;
ParameterShapes block_parameters(const LanguageConfig& config);
ParameterShapes end_parameters(const LanguageConfig& config);

/// Rows of the table of learned positions: OPT looks position p up in row p + 2.
int64_t position_offset(const LanguageConfig& config);

/// Keys and values of the positions seen so far, one a block: [batch, kv_heads, capacity, head_dim].
struct LayerCache {
  torch::Tensor key{}, value{};
};
struct KeyValueCache {
  std::vector<LayerCache> layers{};
  int64_t length = 0;  ///< positions in use
  KeyValueCache(const LanguageConfig& config, int64_t batch, int64_t capacity,
                torch::ScalarType type = torch::kFloat32);
};

/// RMSNorm, or LayerNorm for GPT-2 and OPT. Statistics in float32 or wider.
class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(const LanguageConfig& config);
  torch::Tensor forward(const torch::Tensor& x);
  torch::Tensor weight{};  ///< [width], starts at 1
  torch::Tensor bias{};    ///< [width], or undefined for RMSNorm

 private:
  double eps_;
};
TORCH_MODULE(Norm);

class Rotary;

/// One decoder block. Its modules have Hugging Face's paths below the block's own ("self_attn.q_proj",
/// "mlp.down_proj", "input_layernorm"), the linear layers are quanta::Linear with their slots. Start values: weights
/// and biases 0, norms 1.
class DecoderBlockImpl : public torch::nn::Module {
 public:
  DecoderBlockImpl(const LanguageConfig& config, int64_t index);

  /// h [batch, T, width] at positions first, first + 1, ...; with a cache also of what was before (no gradients then).
  /// Attention runs over tiles of queries, so its scores take some 16 MB, however long the sequence, unless gradients
  /// keep them. May be called from several threads at once.
  torch::Tensor forward(const torch::Tensor& h, int64_t first = 0, LayerCache* cache = nullptr);

  /// The two halves of forward(): h + attention(norm(h)) and h + mlp(norm(h)).
  torch::Tensor attend(const torch::Tensor& h, int64_t first = 0, LayerCache* cache = nullptr);
  torch::Tensor transform(const torch::Tensor& h);

  /// softmax(q k^T / sqrt(head_dim) + mask) of attend(): [batch, heads, T, T].
  torch::Tensor attention_probabilities(const torch::Tensor& h);

  /// A linear layer by its path. Error if there is none, or linear() if it has been replaced by one of another kind.
  std::shared_ptr<QuantizableLayer> layer(const std::string& path) const;
  Linear linear(const std::string& path) const;
  /// Puts another layer of the same sizes (a packed one) in its place.
  void replace(const std::string& path, std::shared_ptr<QuantizableLayer> layer);

  /// linear_stages() of this block's family.
  const std::vector<std::vector<std::string>>& stages() const { return stages_; }

  /// The norms before attention and before the MLP.
  Norm attention_norm = nullptr, mlp_norm = nullptr;
  /// What queries and keys (after the rotation) and values pass through, [batch, heads or kv_heads, T, head_dim]; empty
  /// at first. Online rotations and activation quantizers go here or into the linear layers' input slots.
  Slot query{}, key{}, value{};

  const LanguageConfig& config() const { return config_; }
  int64_t index() const { return index_; }

 private:
  struct Heads;
  Heads heads(const torch::Tensor& h, int64_t first, LayerCache* cache);

  LanguageConfig config_;
  int64_t index_;
  std::vector<std::vector<std::string>> stages_;
  std::vector<std::vector<std::shared_ptr<QuantizableLayer>>> layers_;  // in the order of stages_
  std::shared_ptr<Rotary> rotary_;                                      // null but for LLaMA
};
TORCH_MODULE(DecoderBlock);

/// A deep copy, slots included, as block `index`.
DecoderBlock copy(const DecoderBlock& block, int64_t index);

/// The decoder: embedding, blocks, last norm, head. Its parameters have Hugging Face's names (GPT-2's linear weights
/// are [out, in] all the same), so state_of() gives a checkpoint's.
class LanguageModelImpl : public torch::nn::Module {
 public:
  /// Weights and biases 0, norms 1; see initialize(). Without blocks: embed() and head() alone.
  explicit LanguageModelImpl(const LanguageConfig& config, bool with_blocks = true);

  /// ids int64 [batch, T] -> logits [batch, T, vocabulary]. Error for ids outside the vocabulary and for sequences
  /// longer than config().longest(). With a cache the ids follow what is in it, and no gradients are kept.
  torch::Tensor forward(const torch::Tensor& ids, KeyValueCache* cache = nullptr);

  torch::Tensor embed(const torch::Tensor& ids, int64_t first = 0);                ///< [batch, T, width]
  torch::Tensor hidden(const torch::Tensor& ids, KeyValueCache* cache = nullptr);  ///< what the last block puts out
  torch::Tensor head(const torch::Tensor& h);                                      ///< last norm and head: logits

  /// Normal(0, 0.02), residual outputs 0.02 / sqrt(2 layers), norms 1, biases 0 (`deviation` replaces 0.02 and, if
  /// given, holds for all matrices). A value depends on the seed and its parameter's name alone.
  void initialize(uint64_t seed, std::optional<double> deviation = {});

  /// Takes the blocks in, one for each of config().layers, if it was made without or instead of those it has.
  void set_blocks(std::vector<DecoderBlock> made);

  const LanguageConfig& config() const { return config_; }
  std::vector<DecoderBlock> blocks{};
  torch::nn::Embedding tokens = nullptr, positions = nullptr;  ///< positions: null for LLaMA
  Norm norm = nullptr;
  Linear output = nullptr;  ///< null if tied

 private:
  LanguageConfig config_;
};
TORCH_MODULE(LanguageModel);

/// Deep copies: of all, slots included, and without the blocks.
LanguageModel copy(const LanguageModel& model);
LanguageModel copy_ends(const LanguageModel& model);

}  // namespace quanta
