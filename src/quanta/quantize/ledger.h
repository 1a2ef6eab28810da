#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quanta/quantize/block_method.h"

namespace quanta {

/// What became of one linear layer.
struct LedgerLayer {
  std::string name{};  ///< "layers.3.mlp.down_proj"
  int64_t rows = 0, columns = 0;
  int bits = 0;
  int64_t group = 0;                ///< inputs that share a scale
  double error = 0;                 ///< ||(W - W^) X||^2 / ||W X||^2 on the calibration data; -1: not measured
  double rounded_error = 0;         ///< the same of rounding to nearest on the same grid; -1: not measured
  double damping = 0;               ///< lambda / mean of the Hessian's diagonal
  std::vector<int64_t> dead{};      ///< inputs that are always 0
  std::vector<int64_t> troubled{};  ///< inputs without error feedback: the Hessian is not positive there
  double saturated = 0;             ///< share of the codes at either end of the grid
  double constant = 0;              ///< share of the scales all of whose codes are one number
  double seconds = 0;
};

/// What became of one block, measured on a few calibration sequences against the float model.
struct LedgerBlock {
  int64_t block = 0;
  double error = 0;  ///< ||h - h^||^2 / ||h||^2 of the hidden states behind it
  double kl = 0;     ///< nats a token between the distributions that the last norm and the head read off both
  std::vector<LedgerLayer> layers{};
};

/// The account of a quantized language model, written beside it as ledger.json.
struct Ledger {
  std::string method{};
  std::vector<LedgerBlock> blocks{};

  nlohmann::ordered_json to_json() const;
  static Ledger from_json(const nlohmann::json& json, std::string_view name);
  static Ledger load(const std::filesystem::path& file_or_folder);
};
nlohmann::ordered_json to_json(const LedgerBlock& block);
LedgerBlock ledger_block(const nlohmann::json& json);

LedgerLayer ledger_layer(const LayerResult& result);

/// What is wrong with a block so badly that going on is a waste: values that are not finite, a layer whose error is
/// larger than leaving the layer out (1), a layer with most scales' codes constant. Empty if nothing is.
std::vector<std::string> ruined(const LedgerBlock& block);

/// A table of two artifacts layer by layer, the largest change of error first. Error if they are of different models.
std::string compare(const Ledger& a, const Ledger& b);

/// The ledger as a table for the terminal: a line a layer, the worst ones if there are more than `most`.
std::string to_text(const Ledger& ledger, size_t most = 20);

}  // namespace quanta
