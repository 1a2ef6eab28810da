#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quanta/quantize/block_method.h"
#include "quanta/quantize/block_reassembly.h"
#include "quanta/quantize/low_rank.h"
#include "quanta/quantize/match_outputs.h"

namespace quanta {

struct QllmOptions {
  LowBits bits{};
  bool attention = true;  ///< queries, keys and values get the activations' grids, too
  ReassemblyOptions reassembly{};
  LowRankOptions correction{};
  MatchOptions training{};      ///< no epochs: no correction
  bool merge = true;            ///< false: weights keep an unrounded correction (for comparison, in memory)
  bool train_norms = true;      ///< a block's normalizations are trained along
  bool last_norm = true;        ///< that before the head is trained, too
  bool last_norm_bias = false;  ///< and given a bias, in the head's input slot (for comparison, in memory)
  int64_t blocks = 4;           ///< trained together
  uint64_t seed = 0;
};

/// Mean squares of the difference between a group's outputs and the float blocks'.
struct Correction {
  int64_t block = 0;  ///< the group's first
  double before = 0;
  double unmerged = 0;  ///< as it was trained
  double merged = 0;
};

/// QLLM (arXiv 2310.08041): weights and activations of few bits. Channel reassembly against outliers in activations,
/// found by a search against the float block, then a low-rank correction of the quantized weights, trained against the
/// float blocks' outputs and merged. What is deployed are plain weights of few bits; the reassembly and the quantizers
/// of activations stay in the input slots of the linear layers and the slots of queries, keys and values.
class QllmMethod : public BlockMethod {
 public:
  /// Error for options out of range.
  explicit QllmMethod(const QllmOptions& options);

  std::string name() const override { return "qllm"; }
  nlohmann::json settings() const override;
  bool needs_float_inputs() const override { return true; }
  int64_t group() const override { return options_.blocks; }
  int64_t memory(const LanguageConfig& config) const override;
  double operations(const LanguageConfig& config, int64_t tokens) const override;
  void check(const LanguageConfig& config) const override;
  std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) override;
  void finish(LanguageModel& ends, const ActivationStore* last, const ActivationStore* float_last) override;

  const std::vector<InsertionPoint>& insertion_points() const { return points_; }
  const std::vector<Correction>& corrections() const { return corrections_; }

 private:
  QllmOptions options_;
  std::vector<InsertionPoint> points_;
  std::vector<Correction> corrections_;
};

}  // namespace quanta
