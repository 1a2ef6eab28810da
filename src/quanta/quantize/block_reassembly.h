#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quanta/quantize/block_method.h"
#include "quanta/quantize/low_bits.h"
#include "quanta/quantize/reassembly.h"

namespace quanta {

/// What becomes of channels with outliers.
enum class Channels {
  Keep,        ///< nothing
  Reassemble,  ///< split, and similar ones merged
  Widen,       ///< split only: layers grow (for comparison, in memory)
  Prune,       ///< split, and unimportant ones dropped (for comparison)
};

struct ReassemblyOptions {
  Channels channels = Channels::Reassemble;
  MergeScore score = MergeScore::Exact;
  double ratio = 0.1;    ///< gamma, [0, 0.5]: most sub-channels added, as a share of the channels
  double threshold = 0;  ///< theta as a share of the largest magnitude; 0: searched
  int64_t sample = 1;    ///< sequences on which merging and thresholds are judged
};

/// What was chosen for the linear layers that read one input, and how far their outputs are then from the float ones in
/// mean square.
struct InsertionPoint {
  int64_t block = 0;
  std::string layer{};  ///< the first of them
  int64_t channels = 0;
  int64_t added = 0;   ///< sub-channels, merged away again
  double largest = 0;  ///< magnitude of a channel
  double theta = 0;
  double loss = 0;
  double baseline_loss = 0;  ///< without reassembly
};

/// The largest magnitudes of the channels that each stage of each block reads, [C], over all sequences that go into the
/// first block.
std::vector<std::vector<torch::Tensor>> channel_magnitudes(std::vector<DecoderBlock>& blocks,
                                                           const ActivationStore& inputs);

/// A layer with its weight reassembled but not yet on a grid, and in its input slot the plan and the quantizer.
Linear reassembled(const LinearImpl& layer, const std::shared_ptr<Reassembly>& plan,
                   const DynamicAffineOptions& activations);

/// Chooses the plan for a stage of a float block: h [n, T, width] are the sample's hidden states in front of it, m [C]
/// the stage's magnitudes. Layers are judged with weights and inputs on their grids by what the attention (q, k, v) or
/// the MLP (gate, up) makes of them, or by their own output.
std::shared_ptr<Reassembly> choose_plan(DecoderBlock& exact, size_t stage, const torch::Tensor& m,
                                        const torch::Tensor& h, const ReassemblyOptions& options, const LowBits& bits,
                                        InsertionPoint& point);

}  // namespace quanta
