#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "quanta/core/gguf.h"
#include "quanta/models/language_model.h"
#include "quanta/quantize/activation_store.h"
#include "quanta/quantize/quantized_matrix.h"

namespace quanta {

/// What a method did to one linear layer.
struct LayerResult {
  int64_t block = 0;
  std::string layer{};       ///< "self_attn.q_proj"
  QuantizedMatrix matrix{};  ///< the layer's weight is matrix.dequantize() from now on
  torch::Tensor gguf{};      ///< uint8 [N, row bytes]: the same weight in a GGUF block format, if the grid was one's
  GgufType gguf_type = GgufType::F32;  ///< which
  /// ||(W - W^) X||^2 / ||W X||^2 over the calibration data; -1: not measured.
  double error = -1;
  double rounded_error = -1;        ///< the same of rounding to nearest on this grid
  double damping = 0;               ///< lambda that was added to the Hessian's diagonal, as a share of its mean
  std::vector<int64_t> dead{};      ///< columns whose input is always 0
  std::vector<int64_t> troubled{};  ///< columns that were rounded to nearest because the Hessian is not positive there
  double seconds = 0;
};

/// The calibration data at the first of a group of blocks.
struct BlockInputs {
  int64_t block = 0;                               ///< index of the group's first block
  torch::Tensor tokens{};                          ///< int64 [sequences, T]
  const ActivationStore* inputs = nullptr;         ///< hidden states behind the quantized blocks; null without data
  const ActivationStore* float_inputs = nullptr;   ///< behind the float blocks, if the method asked for them
  const ActivationStore* float_outputs = nullptr;  ///< of the group's last block, likewise
  int64_t memory = 0;                              ///< bytes that statistics may take
};

/// A way to quantize a language model block by block: round to nearest, GPTQ, RSQ, QLLM, AWQ, SmoothQuant. It never
/// reads or writes files: quantize_blockwise() feeds it.
class BlockMethod {
 public:
  virtual ~BlockMethod() = default;

  virtual std::string name() const = 0;
  /// All settings that fix the result; part of the artifact and of what a resumed job must agree with.
  virtual nlohmann::json settings() const = 0;

  virtual bool needs_data() const { return true; }
  virtual bool needs_float_inputs() const { return false; }
  /// Blocks that are handed over together.
  virtual int64_t group() const { return 1; }
  /// Bytes of statistics that quantize() would like for a block (Hessians), besides the block itself.
  virtual int64_t memory(const LanguageConfig&) const { return 0; }
  /// The same at least, with more passes over the data.
  virtual int64_t least_memory(const LanguageConfig& config) const { return memory(config); }
  /// The part of these that is used only while a layer is solved, when no sequence is on its way.
  virtual int64_t workspace(const LanguageConfig&) const { return 0; }
  /// Multiply-adds for a block and so many tokens of calibration, besides two forward passes.
  virtual double operations(const LanguageConfig&, int64_t /*tokens*/) const { return 0; }
  /// Error if the method cannot work on such a model (a group that does not divide a layer's inputs, a head dimension
  /// that is no power of two).
  virtual void check(const LanguageConfig&) const {}

  /// Rewrites that keep the function of the float model and need no data, before all else: rotations, folded norms.
  virtual void prepare(LanguageModel& /*ends*/) {}
  virtual void prepare(DecoderBlock& /*block*/, int64_t /*index*/) {}

  /// Quantizes the linear layers of the blocks: sets their weights to the decoded ones and fills their slots.
  virtual std::vector<LayerResult> quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) = 0;

  /// What is left after the last block, of which `last` are the outputs (null without data).
  virtual void finish(LanguageModel& /*ends*/, const ActivationStore* /*last*/, const ActivationStore* /*float_last*/) {
  }
};

/// Runs f(first, h [count, T, width]) for all sequences, some of them together if they are short; the calls run on
/// several threads, each of which runs LibTorch and BLAS with one, so that results do not depend on their number.
/// Without gradients.
void for_each_sequence(const ActivationStore& inputs,
                       const std::function<void(int64_t first, const torch::Tensor& h)>& f);

/// The inputs of some of a block's linear layers, as their weights see them, for all calibration sequences in order:
/// use(first, {input [count, T, in] of each path}) on the calling thread. The block runs on several threads.
void collect_inputs(DecoderBlock& block, const std::vector<std::string>& paths, const ActivationStore& inputs,
                    const std::function<void(int64_t first, const std::vector<torch::Tensor>& x)>& use);

}  // namespace quanta
