#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "quanta/quantize/block_method.h"
#include "quanta/quantize/ledger.h"

namespace quanta {

/// Where the blocks of a model come from and where the quantized ones go.
class BlockStore {
 public:
  virtual ~BlockStore() = default;
  virtual const LanguageConfig& config() const = 0;
  virtual LanguageModel ends() = 0;               ///< everything but the blocks, float
  virtual DecoderBlock block(int64_t index) = 0;  ///< float
  /// A block that an earlier, killed run has kept, with its ledger; none if it is still to be done.
  virtual std::optional<LedgerBlock> done(int64_t /*index*/) { return std::nullopt; }
  /// The block as it is kept, bit for bit.
  virtual DecoderBlock kept(int64_t index) = 0;
  /// Keeps a quantized block: one whose ledger comes later is not done yet.
  virtual void keep(int64_t index, DecoderBlock block, const std::vector<LayerResult>& results) = 0;
  virtual void keep(const LedgerBlock& ledger) = 0;
};

struct BlockwiseOptions {
  std::filesystem::path work{};  ///< folder for the hidden states
  int64_t memory = 0;            ///< bytes that statistics may take; 0: what the method would like
  int64_t probe = 4;             ///< calibration sequences that are compared with the float model for the ledger
  bool allow_ruined = false;     ///< go on although a layer is ruined()
  /// Called before each group of blocks with the number that are done; throws to stop (an interrupt).
  std::function<void(int64_t done, int64_t blocks)> progress{};
};

struct BlockwiseResult {
  LanguageModel model = nullptr;  ///< the ends, prepared and finished; quantize_in_memory(): the whole model
  Ledger ledger{};
};

/// Captures, quantizes and propagates block by block: at any time one group of blocks and its statistics are in memory,
/// the hidden states lie in `work`. `tokens` int64 [sequences, T], undefined if the method needs no data. What was done
/// before is not done again: a killed run loses the group it was in. Errors: a ruined layer, naming it; what the method
/// cannot do.
BlockwiseResult quantize_blockwise(BlockStore& store, const torch::Tensor& tokens, BlockMethod& method,
                                   const BlockwiseOptions& options);

/// The same for a model in memory, which stays as it is: the result's model is a quantized copy, whose weights are the
/// decoded ones. `work` is for hidden states and holds nothing afterwards.
BlockwiseResult quantize_in_memory(const LanguageModel& model, const torch::Tensor& tokens, BlockMethod& method,
                                   const BlockwiseOptions& options);

/// Mean negative log-likelihood of the tokens after the first of each sequence [n, T], one block in memory at a time;
/// the hidden states lie in `work`, which is removed afterwards. The same for any number of threads.
double mean_nll(LanguageModel ends, const std::function<DecoderBlock(int64_t)>& block, const torch::Tensor& sequences,
                const std::filesystem::path& work);

}  // namespace quanta
