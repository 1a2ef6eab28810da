#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quanta/models/language_model.h"
#include "quanta/quantize/block_method.h"

namespace quanta {

/// What is to be done, as far as its cost depends on it.
struct PlanRequest {
  LanguageConfig config{};
  int bits = 4;
  int64_t group = 128;          ///< inputs that share a scale; -1: the whole row
  int64_t sequences = 0;        ///< of calibration; 0: none
  int64_t length = 0;           ///< tokens of each
  int64_t weight_bytes = 4;     ///< of a value of the embedding and the head in the result
  int64_t ram = 0;              ///< bytes that may be used; 0: what the machine has free
  std::filesystem::path out{};  ///< where the result and the hidden states go
  bool gguf = false;            ///< the result is a GGUF file
};

/// A kind of layer, which all blocks have, or a part outside of them.
struct PlanLayer {
  std::string name{};  ///< "layers.*.self_attn.q_proj"
  int64_t count = 1;
  int64_t rows = 0, columns = 0;
  std::string kernel{};  ///< what runs it: "4-bit codes, float activations"; "float"
  std::string reason{};  ///< why it stays in float
  int64_t bytes = 0;     ///< of all in the result
};

/// What quantizing will take, before any work.
struct Plan {
  std::vector<PlanLayer> layers{};
  int64_t memory = 0;                   ///< bytes at the peak, with the statistics within what is free
  int64_t statistics = 0;               ///< of these for the method's statistics at a time
  int64_t disk = 0;                     ///< bytes of hidden states at the peak
  int64_t result = 0;                   ///< bytes of the result
  double seconds = 0;                   ///< of one core, at this machine's rate of matrix products
  std::vector<std::string> refusals{};  ///< why it cannot be done; empty if it can

  nlohmann::ordered_json to_json() const;
};

/// Estimates. The rate of matrix products is measured (a tenth of a second).
Plan make_plan(const PlanRequest& request, const BlockMethod& method);

std::string to_text(const Plan& plan);

}  // namespace quanta
