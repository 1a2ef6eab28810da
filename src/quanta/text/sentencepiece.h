#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/text/byte_bpe.h"
#include "quanta/text/tokenizer.h"

namespace quanta {

/// What a SentencePiece tokenizer.model holds (a protocol-buffer message ModelProto), as far as it tells how to encode.
struct SentencePieceModel {
  struct Piece {
    std::string text{};
    float score = 0;
    PieceType type = PieceType::Normal;
    bool operator==(const Piece&) const = default;
  };
  enum class Kind { Unigram = 1, Bpe = 2 };
  std::vector<Piece> pieces{};
  Kind kind = Kind::Unigram;
  bool byte_fallback = false;
  int64_t unknown = 0, bos = 1, eos = 2, pad = -1;  ///< -1: none
  std::string unknown_surface = " \xE2\x81\x87 ";   ///< what the unknown decodes to
  std::string charsmap{};                           ///< precompiled map of characters (Darts trie); empty: identity
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool whitespace_suffix = false;  ///< spaces end words instead of beginning them
  bool operator==(const SentencePieceModel&) const = default;
};

/// The message read and written. Fields that do not matter for encoding are skipped. Error naming `name` and the fault;
/// memory is bounded by the size of `bytes`.
SentencePieceModel parse_sentencepiece(std::string_view bytes, std::string_view name);
std::string serialize_sentencepiece(const SentencePieceModel& model);

/// The tokenizer of a model: ids as SentencePiece itself gives them, for BPE (merging by score) and for unigram (the
/// best path; Kudo, ACL 2018). `special` of encode() adds the tokens that the settings ask for. Control tokens that
/// stand in the text by name are recognized, and each part of the text between them is encoded as a text of its own, as
/// Transformers does. Error for an inconsistent model.
std::unique_ptr<Tokenizer> sentencepiece_tokenizer(SentencePieceModel model, std::string_view name,
                                                   const TokenizerSettings& settings = {});

/// Between a model and the vocabulary of kind "llama" or "t5".
SentencePieceModel sentencepiece_model(const Vocabulary& vocabulary, std::string_view name);

}  // namespace quanta
