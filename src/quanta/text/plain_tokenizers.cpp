#include "quanta/text/plain_tokenizers.h"

#include <set>
#include <unordered_map>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/text/byte_bpe.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

using nlohmann::json;

class PlainTokenizer : public Tokenizer {
 public:
  std::optional<int64_t> bos() const override { return {}; }
  std::optional<int64_t> eos() const override { return {}; }
  std::optional<int64_t> unknown() const override { return {}; }

 protected:
  void check(int64_t id) const {
    require(id >= 0 && id < size(), "the id {} is outside the vocabulary of {}", id, size());
  }
};

class CharacterTokenizer : public PlainTokenizer {
 public:
  explicit CharacterTokenizer(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
    for (size_t id = 0; id < tokens_.size(); ++id) ids_.emplace(character_at(tokens_[id], 0).code, int64_t(id));
  }
  int64_t size() const override { return int64_t(tokens_.size()); }

  std::vector<int64_t> encode(std::string_view text, bool) const override {
    std::vector<int64_t> ids;
    ids.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const Character c = character_at(text, at);
      require(c.valid, "the text is not UTF-8 at byte {}", at);
      const auto found = ids_.find(c.code);
      require(found != ids_.end(), "the character \"{}\" (U+{:04X}) at byte {} is not among the {} of this vocabulary",
              text.substr(at, size_t(c.bytes)), uint32_t(c.code), at, size());
      ids.push_back(found->second);
      at += size_t(c.bytes);
    }
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids, bool) const override {
    std::string text;
    for (const int64_t id : ids) {
      check(id);
      text += tokens_[size_t(id)];
    }
    return text;
  }
  Vocabulary vocabulary() const override {  // SentencePiece with pieces of one character each, nothing to merge
    Vocabulary v{.model = "llama", .pre = "default", .tokens = tokens_};
    v.scores.assign(tokens_.size(), 0);
    v.types.assign(tokens_.size(), PieceType::Normal);
    for (std::string& token : v.tokens) {
      require(token != "\xE2\x96\x81", "GGUF cannot tell the character U+2581 from a space");
      if (token == " ") token = "\xE2\x96\x81";
    }
    return v;
  }
  void save(const std::filesystem::path& folder) const override {
    write_file(folder / "vocab.json", json{{"type", "characters"}, {"tokens", tokens_}}.dump());
  }

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<char32_t, int64_t> ids_;
};

class ByteTokenizer : public PlainTokenizer {
 public:
  int64_t size() const override { return 256; }
  std::vector<int64_t> encode(std::string_view text, bool) const override {
    std::vector<int64_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids, bool) const override {
    std::string text;
    for (const int64_t id : ids) {
      check(id);
      text += char(id);
    }
    return text;
  }
  Vocabulary vocabulary() const override {  // byte-level BPE without merges
    Vocabulary v{.model = "gpt2", .pre = "gpt-2"};
    for (int b = 0; b < 256; ++b) v.tokens.push_back(bytes_to_printable(std::string(1, char(b))));
    v.types.assign(256, PieceType::Normal);
    return v;
  }
  void save(const std::filesystem::path& folder) const override {
    write_file(folder / "vocab.json", json{{"type", "bytes"}}.dump());
  }
};

}  // namespace

std::unique_ptr<Tokenizer> character_tokenizer(std::string_view text) {
  std::set<char32_t> codes;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    require(c.valid, "the text is not UTF-8 at byte {}", at);
    codes.insert(c.code);
    at += size_t(c.bytes);
  }
  require(!codes.empty(), "an empty text gives no vocabulary of characters");
  std::vector<std::string> tokens;
  for (const char32_t code : codes) append_utf8(tokens.emplace_back(), code);
  return std::make_unique<CharacterTokenizer>(std::move(tokens));
}

std::unique_ptr<Tokenizer> byte_tokenizer() {
  return std::make_unique<ByteTokenizer>();
}

std::unique_ptr<Tokenizer> parse_plain_tokenizer(const json& document, std::string_view name) {
  try {
    const auto type = document.at("type").get<std::string>();
    if (type == "bytes") return byte_tokenizer();
    require(type == "characters", "{}: the type \"{}\" is not known (characters, bytes)", name, type);
    auto tokens = document.at("tokens").get<std::vector<std::string>>();
    require(!tokens.empty(), "{}: there are no characters", name);
    std::set<std::string> seen;
    for (const std::string& token : tokens) {
      require(count_characters(token) == 1 && is_utf8(token), "{}: \"{}\" is not one character", name, token);
      require(seen.insert(token).second, "{}: \"{}\" comes twice", name, token);
    }
    return std::make_unique<CharacterTokenizer>(std::move(tokens));
  } catch (const json::exception& error) {
    fail("{}: {}", name, error.what());
  }
}

}  // namespace quanta
