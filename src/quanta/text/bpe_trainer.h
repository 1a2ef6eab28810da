#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/text/split_pattern.h"

namespace quanta {

struct BpeTraining {
  int64_t vocabulary = 4096;  ///< tokens in all: 256 bytes, merges, special tokens; fewer if pairs run out
  int64_t min_count = 2;      ///< pairs that come more rarely are not merged
  SplitPattern pattern = SplitPattern::Gpt2;
  std::vector<std::string> special{};  ///< the last ids, e.g. "<|endoftext|>"
};

/// A byte-level BPE tokenizer of a text (Sennrich et al., ACL 2016): merges the most frequent pair of neighbours within
/// words, of equals the one of the least ids, until the vocabulary is full. Ids are the bytes in order of their value,
/// then the merges, then the special tokens. Returns a tokenizer.json document, for parse_tokenizer_json() and for
/// Hugging Face's `tokenizers`. Counts are kept up to date, not taken anew: a merge costs what it changes.
nlohmann::json train_bpe(std::string_view text, const BpeTraining& options = {});

}  // namespace quanta
