#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quanta/models/language_model.h"

namespace quanta {

/// Which keys a query may see where attention is measured, besides those that are not later than itself.
struct AttentionMask {
  enum class Kind {
    Full,
    Block,    ///< those in the query's own block of `size` tokens
    Window,   ///< the last `size`, itself among them
    Top,      ///< the `size` with the highest scores, and itself
    Sink,     ///< the first `sinks` and the last `size`
    Shifted,  ///< half of the heads Block, the others Block with blocks that begin half a block earlier
  } kind = Kind::Full;
  int64_t size = 0;
  int64_t sinks = 4;
};

/// How important tokens are for the quantization of a block (RSQ, arXiv 2503.01820).
struct ImportanceOptions {
  /// What a token's value v_t is, h_t being the block's input:
  ///   attncon    the attention it receives: sum over heads and later queries of the block's probabilities
  ///   actnorm    |h_t|
  ///   actdiff    -|f(h)_t - h_t|, f the block: tokens that change little count
  ///   tokensim   mean over t' of |h_t - h_t'|^2: tokens unlike the others count
  ///   tokenfreq  -(occurrences of the token's id in all calibration data)
  ///   cluster    distance to the nearest of `clusters` centroids (k-means over the sequence)
  ///   dot        sum over t' of h_t . h_t'
  ///   chunks:A_B_..._N  1 in the chunks A, B ... of N, else 0; none of the options below is applied
  ///   uniform    1 for all
  std::string strategy = "attncon";
  double least = 0.01, most = 1;  ///< r_min and r_max of the linear map from the values' range
  AttentionMask mask{};           ///< of attncon

  // In this order: v is divided by the number T - t of tokens that can see t, or its root; raised to a power; reversed.
  enum class Division { None, Linear, Root } division = Division::None;
  double power = 1;  ///< of |v|, with v's sign: 2 or 0.5
  bool reverse = false;
  double low_quantile = 0, high_quantile = 1;  ///< of the values, that become `least` and `most`; those outside are cut
  int64_t bins = 0;        ///< > 0: equally many values in each of so many steps from `least` to `most`
  double top = 0;          ///< > 0: only this share of the tokens keeps its importance, the others get `least`
  bool truncate = false;   ///< ... or 0
  int64_t clusters = 100;  ///< of cluster
  int64_t iterations = 30;
};

nlohmann::json to_json(const ImportanceOptions& options);

class TokenImportance {
 public:
  /// UsageError for an unknown strategy; Error for a chunk that is not below their number, least > most or negative,
  /// and other options out of range.
  explicit TokenImportance(const ImportanceOptions& options);

  /// The calibration data int64 [sequences, T] whose ids tokenfreq counts.
  void count(const torch::Tensor& tokens);

  /// r [count, T] float32 of sequences with the block's float weights; h [count, T, width], tokens [count, T]. Error
  /// for values that are not finite and for a sequence in which no token counts.
  torch::Tensor operator()(DecoderBlock& block, const torch::Tensor& h, const torch::Tensor& tokens) const;

  /// Importances of raw values v [count, T], per sequence. Where all values are equal, all importances are 1.
  torch::Tensor scale(const torch::Tensor& v) const;

  const ImportanceOptions& options() const { return options_; }

 private:
  torch::Tensor raw(DecoderBlock& block, const torch::Tensor& h, const torch::Tensor& tokens) const;

  ImportanceOptions options_;
  std::vector<int64_t> chunks_;  // of the strategy "chunks", the last entry their number
  torch::Tensor counts_;         // of each id
};

/// The attention that each token receives, [B, T], from causal probabilities [B, heads, T, T], of which the mask leaves
/// some keys (the others' scores are -inf before the softmax).
torch::Tensor attention_received(const torch::Tensor& probabilities, const AttentionMask& mask = {});

/// Every sequence [n, T] and its copies shifted cyclically to the right by T / factor, 2 T / factor ... tokens,
/// [n factor, T]: no token is always at a sequence's end. Error unless factor divides T.
torch::Tensor expand_cyclic(const torch::Tensor& tokens, int64_t factor);

}  // namespace quanta
