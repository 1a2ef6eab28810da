#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
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
  int64_t original_positions = 8192;
  double beta_fast = 32, beta_slow = 1, attention_factor = 0;  ///< Yarn; 0: 0.1 ln(factor) + 1
};

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
  int64_t positions = 2048;  ///< the longest sequence
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling{};
  bool tied = false;            ///< the head's weight is the embedding's
  bool attention_bias = false;  ///< at q, k, v (and o if output_bias)
  bool output_bias = false;
  bool mlp_bias = false;
  std::optional<int64_t> bos{};
  std::vector<int64_t> eos{};
  nlohmann::json source = nlohmann::json::object();  ///< config.json as it was read, kept when a model is written

  /// Error naming `name` and the key for what is missing, out of range, contradictory, or an architecture or an option
  /// (activation, sliding window ...) that is not known.
  static LanguageConfig from_json(const nlohmann::json& json, std::string_view name);
  /// config.json: `source` with the fields above written over it.
  nlohmann::json to_json() const;

  /// A LLaMA of the given sizes, untied.
  static LanguageConfig llama(int64_t vocabulary, int64_t width, int64_t inner, int64_t layers, int64_t heads,
                              int64_t positions);
};

/// The paths of a block's linear layers in the order in which they run, those that read the same input together:
/// {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"self_attn.o_proj"},
///  {"mlp.gate_proj", "mlp.up_proj"}, {"mlp.down_proj"}} for LLaMA.
std::vector<std::vector<std::string>> linear_stages(const LanguageConfig& config);

/// Keys and values of the positions seen so far, one a block: [batch, kv_heads, capacity, head_dim].
struct LayerCache {
  torch::Tensor key{}, value{};
};
struct KeyValueCache {
  std::vector<LayerCache> layers{};
  int64_t length = 0;  ///< positions in use
  KeyValueCache(const LanguageConfig& config, int64_t batch, int64_t capacity);
};

/// One normalization of either kind; `bias` is undefined for RMSNorm. Statistics in float32 or wider.
class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(const LanguageConfig& config);
  torch::Tensor forward(const torch::Tensor& x);
  torch::Tensor weight{}, bias{};

 private:
  double eps_;
};
TORCH_MODULE(Norm);

/// One decoder block. Its modules have Hugging Face's paths below the block's own ("self_attn.q_proj",
/// "mlp.down_proj", "input_layernorm"), the linear layers are quanta::Linear with their slots.
class DecoderBlockImpl : public torch::nn::Module {
 public:
  DecoderBlockImpl(const LanguageConfig& config, int64_t index);

  /// h [batch, T, width] at positions first, first + 1, ...; with a cache also of what was before.
  torch::Tensor forward(const torch::Tensor& h, int64_t first = 0, LayerCache* cache = nullptr);

  /// The two halves of forward(): h + attention(norm(h)) and h + mlp(norm(h)).
  torch::Tensor attend(const torch::Tensor& h, int64_t first = 0, LayerCache* cache = nullptr);
  torch::Tensor transform(const torch::Tensor& h);

  /// softmax(q k^T / sqrt(head_dim) + mask) of attend(): [batch, heads, T, T].
  torch::Tensor attention_probabilities(const torch::Tensor& h);

  /// A linear layer by its path. Error if there is none.
  Linear linear(const std::string& path) const;
  /// linear_stages() of this block's family.
  const std::vector<std::vector<std::string>>& stages() const { return stages_; }

  /// The norms before attention and before the MLP.
  Norm attention_norm = nullptr, mlp_norm = nullptr;
  /// What queries and keys (after the rotation), values, [batch, heads, T, head_dim], and the MLP's gated product pass
  /// through; empty at first. Online rotations and activation quantizers go here or into the linear layers' input slots.
  Slot query{}, key{}, value{};

  const LanguageConfig& config() const { return config_; }

 private:
  LanguageConfig config_;
  int64_t index_;
  std::vector<std::vector<std::string>> stages_;
};
TORCH_MODULE(DecoderBlock);

/// The decoder: embedding, blocks, last norm, head.
class LanguageModelImpl : public torch::nn::Module {
 public:
  explicit LanguageModelImpl(const LanguageConfig& config);

  /// ids int64 [batch, T] -> logits [batch, T, vocabulary]. Error for ids outside the vocabulary and for sequences longer
  /// than config().positions. With a cache the ids follow what is in it.
  torch::Tensor forward(const torch::Tensor& ids, KeyValueCache* cache = nullptr);

  torch::Tensor embed(const torch::Tensor& ids, int64_t first = 0);  ///< [batch, T, width]
  torch::Tensor head(const torch::Tensor& h);                        ///< last norm and head: logits

  /// Normal(0, 0.02), residual outputs 0.02 / sqrt(2 layers), norms 1, biases 0 (`deviation` replaces 0.02 and, if
  /// given, holds for all matrices).
  void initialize(uint64_t seed, std::optional<double> deviation = {});

  const LanguageConfig& config() const { return config_; }
  std::vector<DecoderBlock> blocks{};
  torch::nn::Embedding tokens = nullptr, positions = nullptr;  ///< positions: null for LLaMA
  Norm norm = nullptr;
  Linear output = nullptr;  ///< null if tied

 private:
  LanguageConfig config_;
};
TORCH_MODULE(LanguageModel);

}  // namespace quanta
