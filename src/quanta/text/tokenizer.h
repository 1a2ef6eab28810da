#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// What a piece of a vocabulary is; the numbers are those of SentencePiece and GGUF.
enum class PieceType : int32_t { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

/// A tokenizer as GGUF files hold it (tokenizer.ggml.*).
struct Vocabulary {
  std::string model{};  ///< "llama": SentencePiece BPE; "gpt2": byte-level BPE; "t5": SentencePiece unigram
  std::string pre{};    ///< how words are cut: "gpt-2", "llama-bpe", "qwen2"; "default" for SentencePiece
  std::vector<std::string> tokens{};  ///< as written in such files: "\u2581the" (llama), "\u0120the" (gpt2), "<0x0A>"
  std::vector<float> scores{};        ///< one a token, greatest merged first; empty for gpt2
  std::vector<PieceType> types{};     ///< one a token
  std::vector<std::string> merges{};  ///< gpt2: "a b", the first merged first
  std::optional<int64_t> bos{}, eos{}, unknown{};
  bool add_bos = false, add_eos = false;  ///< what encode(text, true) puts around a text
  bool add_space_prefix = false;          ///< a space is put before a text
  bool remove_extra_whitespaces = false;  ///< llama, t5
  std::string precompiled_charsmap{};     ///< llama, t5: SentencePiece's map of characters; empty for none
  bool operator==(const Vocabulary&) const = default;
};

/// Text to the numbers a language model reads, and back. All functions may be called by several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of a text (UTF-8). Special tokens that stand in the text by name are recognized. `special`: also what the
  /// tokenizer puts around every text (a beginning-of-sequence token), if it does.
  virtual std::vector<int64_t> encode(std::string_view text, bool special = false) const = 0;
  /// The bytes of the ids; special tokens are left out unless asked for. Error for an id that is not in the vocabulary.
  virtual std::string decode(const std::vector<int64_t>& ids, bool special = false) const = 0;

  virtual int64_t size() const = 0;  ///< ids are 0 .. size() - 1
  virtual std::optional<int64_t> bos() const = 0;
  virtual std::optional<int64_t> eos() const = 0;
  virtual std::optional<int64_t> unknown() const = 0;

  /// For files that hold the tokenizer beside the weights. Error for one that such a file cannot describe.
  virtual Vocabulary vocabulary() const = 0;
  /// Writes the files from which load_tokenizer() makes this tokenizer again into an existing folder.
  virtual void save(const std::filesystem::path& folder) const = 0;
};

/// The tokenizer of a model's folder: tokenizer.json (BPE), else SentencePiece's tokenizer.model, else vocab.json and
/// merges.txt, else vocab.json of characters or bytes. tokenizer_config.json, special_tokens_map.json and config.json
/// say which tokens begin and end a text. Error naming what was looked for if there is none, and the file and the fault
/// if it is damaged.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

/// The inverse of Tokenizer::vocabulary(). Error naming `name` and the fault.
std::unique_ptr<Tokenizer> tokenizer_from(const Vocabulary& vocabulary, std::string_view name = "vocabulary");

/// Text of ids that come one by one: characters whose bytes have not all come are held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  /// What can be shown after one more id: maybe nothing.
  std::string push(int64_t id);
  /// What is left: bytes of a character that never became whole.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  // A token's text can depend on whether it comes first: the last id that shows alone, and what followed it.
  std::vector<int64_t> context_{};
  std::string held_{};
};

}  // namespace quanta
