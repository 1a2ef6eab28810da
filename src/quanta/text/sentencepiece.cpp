#include "quanta/text/sentencepiece.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/text/id_map.h"
#include "quanta/text/pair_merges.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// A protocol-buffer message, field by field.
class Message {
 public:
  Message(std::string_view bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  // The next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const uint64_t key = varint();
    field_ = key >> 3;
    wire_ = int(key & 7);
    require(field_ != 0, "{}: a field without a number; this is no SentencePiece model", name_);
    switch (wire_) {
      case 0:
        number_ = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        fail("{}: wire type {} in field {}; this is no SentencePiece model", name_, wire_, field_);
    }
    return true;
  }
  uint64_t field() const { return field_; }
  std::string_view bytes() const { return expect(2), data_; }
  int64_t integer() const { return expect(0), int64_t(number_); }
  bool boolean() const { return integer() != 0; }
  float real() const {
    expect(5);
    float value;
    std::memcpy(&value, data_.data(), 4);
    return value;
  }

 private:
  void expect(int wire) const {
    require(wire_ == wire, "{}: field {} has wire type {}, not {}; this is no SentencePiece model", name_, field_,
            wire_, wire);
  }
  void take(uint64_t length) {
    require(length <= bytes_.size() - at_, "{}: a field of {} bytes where {} are left; the file is cut or damaged",
            name_, length, bytes_.size() - at_);
    data_ = bytes_.substr(at_, length);
    at_ += length;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      require(at_ < bytes_.size(), "{}: the file ends within a number; it is cut or damaged", name_);
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= uint64_t(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("{}: a number of more than ten bytes; this is no SentencePiece model", name_);
  }

  std::string_view bytes_, name_, data_;
  size_t at_ = 0;
  uint64_t field_ = 0, number_ = 0;
  int wire_ = 0;
};

SentencePieceModel::Piece parse_piece(std::string_view bytes, size_t index, std::string_view name) {
  SentencePieceModel::Piece piece;
  for (Message m(bytes, name); m.next();) {
    if (m.field() == 1) {
      piece.text = m.bytes();
    } else if (m.field() == 2) {
      piece.score = m.real();
    } else if (m.field() == 3) {
      require(m.integer() >= 1 && m.integer() <= 6, "{}: piece {} has the type {}, expected 1 to 6", name, index,
              m.integer());
      piece.type = PieceType(m.integer());
    }
  }
  require(!piece.text.empty(), "{}: piece {} is empty", name, index);
  require(is_utf8(piece.text), "{}: piece {} is not UTF-8", name, index);
  return piece;
}

void parse_trainer(std::string_view bytes, SentencePieceModel& model, std::string_view name) {
  for (Message m(bytes, name); m.next();) switch (m.field()) {
      case 3:
        require(m.integer() == 1 || m.integer() == 2, "{}: the model type is {}; unigram (1) and BPE (2) are known",
                name, m.integer());
        model.kind = SentencePieceModel::Kind(m.integer());
        break;
      case 24:
        model.whitespace_suffix = m.boolean();
        break;
      case 35:
        model.byte_fallback = m.boolean();
        break;
      case 40:
        model.unknown = m.integer();
        break;
      case 41:
        model.bos = m.integer();
        break;
      case 42:
        model.eos = m.integer();
        break;
      case 43:
        model.pad = m.integer();
        break;
      case 44:
        model.unknown_surface = m.bytes();
        break;
    }
}

void parse_normalizer(std::string_view bytes, SentencePieceModel& model, std::string_view name) {
  for (Message m(bytes, name); m.next();) switch (m.field()) {
      case 2:
        model.charsmap = m.bytes();
        break;
      case 3:
        model.add_dummy_prefix = m.boolean();
        break;
      case 4:
        model.remove_extra_whitespaces = m.boolean();
        break;
      case 5:
        model.escape_whitespaces = m.boolean();
        break;
    }
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += char(value | 0x80);
  return bytes + char(value);
}
std::string field(uint64_t number, std::string_view bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}
std::string field(uint64_t number, int64_t value) {
  return varint(number << 3) + varint(uint64_t(value));
}
std::string field(uint64_t number, float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  std::string bytes = varint(number << 3 | 5);
  for (int shift = 0; shift < 32; shift += 8) bytes += char(bits >> shift);
  return bytes;
}

// SentencePiece's map of characters: the size of a double-array trie (Darts), the trie, and the texts it points to.
class CharacterMap {
 public:
  CharacterMap(std::string_view blob, std::string_view name) {
    if (blob.empty()) return;
    uint32_t size = 0;
    require(blob.size() > 4, "{}: the map of characters is cut", name);
    std::memcpy(&size, blob.data(), 4);
    require(size % 4 == 0 && size < blob.size() - 4 && size > 0,
            "{}: the map of characters has a trie of {} bytes in {}", name, size, blob.size());
    units_.resize(size / 4);
    std::memcpy(units_.data(), blob.data() + 4, size);
    texts_ = blob.substr(4 + size);
  }
  bool empty() const { return units_.empty(); }

  // The longest mapped prefix of a text: its length and what replaces it. Length 0 if there is none.
  std::pair<size_t, std::string_view> find(std::string_view text) const {
    std::pair<size_t, std::string_view> best{0, {}};
    if (empty()) return best;
    size_t node = offset(units_[0]);
    for (size_t k = 0; k < text.size(); ++k) {
      const auto label = static_cast<unsigned char>(text[k]);
      node ^= label;
      if (node >= units_.size() || (units_[node] & 0x800000FFu) != label) break;
      const uint32_t unit = units_[node];
      node ^= offset(unit);
      if (!(unit >> 8 & 1)) continue;
      if (node >= units_.size()) break;
      const size_t start = std::min<size_t>(units_[node] & 0x7FFFFFFFu, texts_.size());
      best = {k + 1, std::string_view(texts_).substr(start, texts_.find('\0', start) - start)};
    }
    return best;
  }

 private:
  static size_t offset(uint32_t unit) { return size_t(unit >> 10) << ((unit & 1u << 9) >> 6); }
  std::vector<uint32_t> units_;
  std::string texts_;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(SentencePieceModel model, std::string_view name, const TokenizerSettings& settings);

  std::vector<int64_t> encode(std::string_view text, bool special) const override;
  std::string decode(const std::vector<int64_t>& ids, bool special) const override;
  int64_t size() const override { return int64_t(model_.pieces.size()); }
  std::optional<int64_t> bos() const override { return bos_; }
  std::optional<int64_t> eos() const override { return eos_; }
  std::optional<int64_t> unknown() const override { return unknown_; }
  Vocabulary vocabulary() const override;
  void save(const std::filesystem::path& folder) const override;

 private:
  using Words = std::unordered_map<std::string_view, int32_t>;
  const SentencePieceModel::Piece& piece(int64_t id) const { return model_.pieces[size_t(id)]; }
  std::pair<size_t, std::string_view> normalized_prefix(std::string_view text) const;
  std::string normalize(std::string_view text) const;
  size_t symbol_length(std::string_view text, size_t at, bool& whole) const;
  void add(std::string_view text, int32_t id, std::vector<int64_t>& ids) const;
  void encode_bpe(std::string_view text, std::vector<int64_t>& ids) const;
  void merge(std::string_view text, std::vector<int64_t>& ids) const;
  void encode_unigram(std::string_view text, std::vector<int64_t>& ids) const;
  std::optional<int32_t> find(const Words& words, std::string_view text) const {
    const auto found = words.find(text);
    return found == words.end() ? std::nullopt : std::optional(found->second);
  }

  SentencePieceModel model_;
  CharacterMap map_;
  Words pieces_, reserved_;     // normal, user-defined and unused pieces; the others
  std::vector<int32_t> ranks_;  // of pieces in the order of merging (BPE)
  std::array<int32_t, 256> byte_ids_{};
  std::vector<int> bytes_;  // one a piece; -1 for what is no byte
  size_t longest_ = 0;
  bool cuts_at_marks_ = false;  // no piece crosses a space mark's left side
  float least_ = 0;
  Trie trie_, user_defined_, named_;
  std::optional<int64_t> bos_{}, eos_{}, unknown_{};
  bool add_bos_ = false, add_eos_ = false;
  std::string config_;
};

bool crosses_mark(std::string_view text) {
  for (size_t k = 1; (k = text.find(kSpaceMark, k)) != std::string_view::npos; ++k)
    if (k < kSpaceMark.size() || text.substr(k - kSpaceMark.size(), kSpaceMark.size()) != kSpaceMark) return true;
  return false;
}

SentencePieceTokenizer::SentencePieceTokenizer(SentencePieceModel model, std::string_view name,
                                               const TokenizerSettings& settings)
    : model_(std::move(model)), map_(model_.charsmap, name), config_(settings.source) {
  for (const AddedToken& token : settings.added) {
    require(token.id >= 0 && token.id <= size(),
            "{}: the added token {} has the id {}, which leaves a gap after {} pieces", name, token.content, token.id,
            size());
    if (token.id == size())
      model_.pieces.push_back({token.content, 0, token.special ? PieceType::Control : PieceType::UserDefined});
    require(piece(token.id).text == token.content, "{}: the added token {} has the id {} of the piece {}", name,
            token.content, token.id, piece(token.id).text);
    if (!token.content.empty()) named_[token.content] = int32_t(token.id);
  }
  require(!model_.pieces.empty(), "{}: the model has no pieces", name);
  byte_ids_.fill(-1);
  bytes_.assign(model_.pieces.size(), -1);
  cuts_at_marks_ = true;
  float least = std::numeric_limits<float>::infinity();
  for (size_t k = 0; k < model_.pieces.size(); ++k) {
    const auto& [text, score, type] = model_.pieces[k];
    const auto id = int32_t(k);
    require(!std::isnan(score), "{}: the score of piece {} is not a number", name, k);
    const bool normal = type == PieceType::Normal || type == PieceType::UserDefined || type == PieceType::Unused;
    require((normal ? pieces_ : reserved_).emplace(text, id).second, "{}: the piece \"{}\" comes twice, last as {}",
            name, text, k);
    if (normal) {
      trie_[text] = id;
      longest_ = std::max(longest_, text.size());
      cuts_at_marks_ = cuts_at_marks_ && !crosses_mark(text);
    }
    if (type == PieceType::Normal) {
      least = std::min(least, score);
    } else if (type == PieceType::UserDefined) {
      user_defined_[text] = id;
    } else if (type == PieceType::Unknown) {
      require(!unknown_, "{}: pieces {} and {} both are the unknown", name, *unknown_, k);
      unknown_ = id;
    } else if (type == PieceType::Byte) {
      for (int b = 0; b < 256 && bytes_[k] < 0; ++b)
        if (text == fmt::format("<0x{:02X}>", b)) {
          byte_ids_[size_t(b)] = id;
          bytes_[k] = b;
        }
      require(bytes_[k] >= 0, "{}: piece {}, \"{}\", is no byte; expected <0x00> to <0xFF>", name, k, text);
    }
    if (type == PieceType::Control || type == PieceType::Unknown) named_[text] = id;
  }
  require(!model_.byte_fallback || std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end(),
          "{}: the model falls back to bytes but lacks some of the 256 byte pieces", name);
  if (!std::isinf(least)) least_ = least;

  std::vector<float> scores;
  for (const auto& p : model_.pieces) scores.push_back(p.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  for (const auto& p : model_.pieces)
    ranks_.push_back(
        int32_t(std::lower_bound(scores.begin(), scores.end(), p.score, std::greater<>()) - scores.begin()));

  const auto end = [&](const std::optional<std::string>& token, int64_t given) -> std::optional<int64_t> {
    if (!token) {
      if (given < 0 || given >= size() || piece(given).type != PieceType::Control) return {};
      return given;
    }
    for (const Words* words : {&reserved_, &pieces_})
      if (const auto id = find(*words, *token)) return *id;
    fail("{}: the settings name the token {}, which is not in the vocabulary", name, *token);
  };
  bos_ = end(settings.bos, model_.bos);
  eos_ = end(settings.eos, model_.eos);
  add_bos_ = settings.add_bos.value_or(false);
  add_eos_ = settings.add_eos.value_or(false);
  require((!add_bos_ || bos_) && (!add_eos_ || eos_),
          "{}: a token is to begin or end every text, but the model has none for it", name);
}

// --- text to ids

// How the text's first character is written, and its length.
std::pair<size_t, std::string_view> SentencePieceTokenizer::normalized_prefix(std::string_view text) const {
  if (const auto [length, id] = user_defined_.longest_prefix(text, 0); id >= 0) return {length, text.substr(0, length)};
  if (const auto found = map_.find(text); found.first) return found;
  const Character c = character_at(text, 0);
  return {size_t(c.bytes), c.valid ? text.substr(0, size_t(c.bytes)) : kReplacement};
}

std::string SentencePieceTokenizer::normalize(std::string_view text) const {
  const bool remove = model_.remove_extra_whitespaces;
  const std::string_view space = model_.escape_whitespaces ? kSpaceMark : " ";
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  if (remove)
    while (!text.empty()) {
      const auto [length, written] = normalized_prefix(text);
      if (written != " ") break;
      text.remove_prefix(length);
    }
  if (text.empty()) return result;
  if (!model_.whitespace_suffix && model_.add_dummy_prefix) result += space;
  bool after_space = remove;
  while (!text.empty()) {
    auto [length, written] = normalized_prefix(text);
    while (after_space && written.starts_with(' ')) written.remove_prefix(1);
    for (const char c : written)
      if (c == ' ')
        result += space;
      else
        result += c;
    if (!written.empty()) after_space = remove && written.ends_with(' ');
    text.remove_prefix(length);
  }
  if (remove)
    while (result.ends_with(space)) result.resize(result.size() - space.size());
  if (model_.whitespace_suffix && model_.add_dummy_prefix) result += space;
  return result;
}

std::vector<int64_t> SentencePieceTokenizer::encode(std::string_view text, bool special) const {
  require(text.size() < size_t(1) << 29, "a text of {} bytes is too long to encode at once", text.size());
  std::vector<int64_t> ids;
  if (special && add_bos_) ids.push_back(*bos_);
  const auto part = [&](std::string_view words) {
    const std::string normalized = normalize(words);
    if (model_.kind == SentencePieceModel::Kind::Bpe)
      encode_bpe(normalized, ids);
    else
      encode_unigram(normalized, ids);
  };
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [length, id] = named_.longest_prefix(text, at);
    if (id < 0) {
      ++at;
      continue;
    }
    if (at > done) part(text.substr(done, at - done));
    ids.push_back(id);
    done = at += length;
  }
  if (done < text.size()) part(text.substr(done));
  if (special && add_eos_) ids.push_back(*eos_);
  return ids;
}

// A run of unknown characters is one unknown; with byte fallback there is none.
void SentencePieceTokenizer::add(std::string_view text, int32_t id, std::vector<int64_t>& ids) const {
  if (id >= 0 && id != unknown_.value_or(-1)) {
    ids.push_back(id);
  } else if (model_.byte_fallback) {
    for (const char c : text) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  } else {
    require(unknown_.has_value(), "there is no piece for \"{}\", and the vocabulary has none for the unknown", text);
    if (ids.empty() || ids.back() != *unknown_) ids.push_back(*unknown_);
  }
}

void SentencePieceTokenizer::encode_bpe(std::string_view text, std::vector<int64_t>& ids) const {
  if (!cuts_at_marks_ || !model_.escape_whitespaces) return merge(text, ids);
  // Equal words merge alike.
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> known;
  const auto word = [&](std::string_view w) {
    constexpr size_t kLongest = 64;
    const auto [at, is_new] = w.size() > kLongest ? std::pair(known.end(), false) : known.try_emplace(w, ids.size(), 0);
    if (w.size() > kLongest) return merge(w, ids);
    const size_t end = ids.size();
    if (is_new) {
      merge(w, ids);
      at->second.second = ids.size() - end;
      if (unknown_ && std::find(ids.begin() + std::ptrdiff_t(end), ids.end(), *unknown_) != ids.end()) known.erase(at);
      if (end == ids.size()) known.erase(w);
    } else {
      const auto [begin, count] = at->second;
      ids.resize(end + count);
      std::copy_n(ids.begin() + std::ptrdiff_t(begin), count, ids.begin() + std::ptrdiff_t(end));
    }
  };
  size_t begin = 0;
  for (size_t k = 1; (k = text.find(kSpaceMark, k)) != std::string_view::npos; ++k)
    if (k < kSpaceMark.size() || text.substr(k - kSpaceMark.size(), kSpaceMark.size()) != kSpaceMark) {
      word(text.substr(begin, k - begin));
      begin = k;
    }
  word(text.substr(begin));
}

void SentencePieceTokenizer::merge(std::string_view text, std::vector<int64_t>& ids) const {
  constexpr int32_t kWhole = -2;  // a user-defined piece: never merged
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < text.size();) {
    const auto [length, id] = user_defined_.longest_prefix(text, at);
    const size_t end = at + (id >= 0 ? length : size_t(character_at(text, at).bytes));
    const auto index = int32_t(symbols.size());
    symbols.push_back({id >= 0 ? kWhole : -1, uint32_t(at), uint32_t(end), index - 1, index + 1});
    at = end;
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  std::unordered_map<std::string_view, size_t> unused;  // how unused pieces come about: the left part's length
  merge_pairs(symbols, [&](const Symbol& left, const Symbol& right) -> Merge {
    if (left.id == kWhole || right.id == kWhole || right.end - left.begin > longest_) return {};
    const std::string_view both = text.substr(left.begin, right.end - left.begin);
    const auto id = find(pieces_, both);
    if (!id) return {};
    if (piece(*id).type == PieceType::Unused) unused[both] = left.end - left.begin;
    return {ranks_[size_t(*id)], *id};
  });
  std::vector<std::string_view> stack;
  for (int32_t k = 0; k >= 0; k = symbols[size_t(k)].next) {
    stack.push_back(text.substr(symbols[size_t(k)].begin, symbols[size_t(k)].end - symbols[size_t(k)].begin));
    while (!stack.empty()) {  // unused pieces fall apart again
      const std::string_view part = stack.back();
      stack.pop_back();
      const auto reserved = find(reserved_, part);
      const auto id = reserved ? reserved : find(pieces_, part);
      if (const auto split = unused.find(part); id && piece(*id).type == PieceType::Unused && split != unused.end()) {
        stack.push_back(part.substr(split->second));
        stack.push_back(part.substr(0, split->second));
      } else {
        add(part, id.value_or(-1), ids);
      }
    }
  }
}

// best[e]: the greatest sum of scores of pieces that cover text[0, e), in float as SentencePiece adds them, and the
// last of these pieces.
void SentencePieceTokenizer::encode_unigram(std::string_view text, std::vector<int64_t>& ids) const {
  constexpr float kUnknownPenalty = 10;
  struct Best {
    float score = 0;
    int64_t begin = -1;
    int32_t id = -1;
  };
  std::vector<Best> best(text.size() + 1);
  const float unknown_score = least_ - kUnknownPenalty;
  const auto reach = [&](size_t begin, size_t end, float score, int32_t id) {
    const float sum = best[begin].score + score;
    if (best[end].begin < 0 || sum > best[end].score) best[end] = {sum, int64_t(begin), id};
  };
  for (size_t at = 0; at < text.size();) {
    const auto bytes = size_t(character_at(text, at).bytes);
    bool single = false;
    trie_.visit_prefixes(text, at, [&](size_t length, int32_t id) {
      const auto& p = piece(id);
      if (p.type == PieceType::Unused) return;
      reach(at, at + length, p.type == PieceType::UserDefined ? 0 : p.score, id);  // the others' scores are below 0
      single = single || length == bytes;
    });
    if (!single) reach(at, at + bytes, unknown_score, -1);
    at += bytes;
  }
  std::vector<std::pair<std::string_view, int32_t>> path;
  for (auto end = int64_t(text.size()); end > 0; end = best[size_t(end)].begin)
    path.emplace_back(text.substr(size_t(best[size_t(end)].begin), size_t(end - best[size_t(end)].begin)),
                      best[size_t(end)].id);
  for (auto part = path.rbegin(); part != path.rend(); ++part) add(part->first, part->second, ids);
}

// --- ids to text

std::string SentencePieceTokenizer::decode(const std::vector<int64_t>& ids, bool special) const {
  std::string text;
  bool at_start = model_.add_dummy_prefix || model_.remove_extra_whitespaces, took_space = false;
  for (const int64_t id : ids) {
    require(id >= 0 && id < size(), "the id {} is outside the vocabulary of {}", id, size());
    const auto& [written, score, type] = piece(id);
    if (bytes_[size_t(id)] >= 0) {
      text += char(bytes_[size_t(id)]);
      continue;
    }
    if (type == PieceType::Control) {
      if (special) text += written;
      continue;
    }
    if (took_space || !text.empty()) at_start = false;
    took_space = false;
    if (type == PieceType::Unknown) {
      text += special ? written : model_.unknown_surface;
      continue;
    }
    std::string_view rest = written;
    if (at_start && rest.starts_with(kSpaceMark)) {
      rest.remove_prefix(kSpaceMark.size());
      took_space = !model_.remove_extra_whitespaces;
    }
    for (size_t at = 0; at < rest.size();) {
      const bool mark = rest.substr(at, kSpaceMark.size()) == kSpaceMark;
      text += mark ? ' ' : rest[at];
      at += mark ? kSpaceMark.size() : 1;
    }
  }
  return text;
}

// --- as other files hold it

Vocabulary SentencePieceTokenizer::vocabulary() const {
  require(model_.escape_whitespaces && !model_.whitespace_suffix,
          "GGUF has no place for a SentencePiece model whose spaces are not marked at the beginning of words");
  Vocabulary v{.model = model_.kind == SentencePieceModel::Kind::Bpe ? "llama" : "t5", .pre = "default"};
  for (const auto& p : model_.pieces) {
    v.tokens.push_back(p.text);
    v.scores.push_back(p.score);
    v.types.push_back(p.type);
  }
  v.bos = bos_;
  v.eos = eos_;
  v.unknown = unknown_;
  v.add_bos = add_bos_;
  v.add_eos = add_eos_;
  v.add_space_prefix = model_.add_dummy_prefix;
  v.remove_extra_whitespaces = model_.remove_extra_whitespaces;
  v.precompiled_charsmap = model_.charsmap;
  return v;
}

void SentencePieceTokenizer::save(const std::filesystem::path& folder) const {
  write_file(folder / "tokenizer.model", serialize_sentencepiece(model_));
  nlohmann::json config = {
      {"tokenizer_class", "LlamaTokenizer"}, {"add_bos_token", add_bos_}, {"add_eos_token", add_eos_}};
  if (bos_) config["bos_token"] = piece(*bos_).text;
  if (eos_) config["eos_token"] = piece(*eos_).text;
  if (unknown_) config["unk_token"] = piece(*unknown_).text;
  write_file(folder / "tokenizer_config.json", config_.empty() ? config.dump(2) : config_);
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, std::string_view name) {
  SentencePieceModel model;
  for (Message m(bytes, name); m.next();) {
    if (m.field() == 1)
      model.pieces.push_back(parse_piece(m.bytes(), model.pieces.size(), name));
    else if (m.field() == 2)
      parse_trainer(m.bytes(), model, name);
    else if (m.field() == 3)
      parse_normalizer(m.bytes(), model, name);
  }
  require(!model.pieces.empty(), "{}: there are no pieces; this is no SentencePiece model", name);
  return model;
}

std::string serialize_sentencepiece(const SentencePieceModel& model) {
  std::string bytes;
  for (const auto& p : model.pieces)
    bytes +=
        field(1, field(1, p.text) + field(2, p.score) + (p.type == PieceType::Normal ? "" : field(3, int64_t(p.type))));
  bytes += field(2, field(3, int64_t(model.kind)) + field(4, int64_t(model.pieces.size())) +
                        field(24, int64_t(model.whitespace_suffix)) + field(35, int64_t(model.byte_fallback)) +
                        field(40, model.unknown) + field(41, model.bos) + field(42, model.eos) + field(43, model.pad) +
                        field(44, model.unknown_surface));
  bytes += field(3, (model.charsmap.empty() ? field(1, "identity") : field(2, model.charsmap)) +
                        field(3, int64_t(model.add_dummy_prefix)) + field(4, int64_t(model.remove_extra_whitespaces)) +
                        field(5, int64_t(model.escape_whitespaces)));
  return bytes;
}

SentencePieceModel sentencepiece_model(const Vocabulary& v, std::string_view name) {
  require(v.model == "llama" || v.model == "t5", "{}: the tokenizer model \"{}\" is not SentencePiece's (llama, t5)",
          name, v.model);
  require(v.scores.size() == v.tokens.size() && v.types.size() == v.tokens.size(),
          "{}: {} tokens but {} scores and {} types", name, v.tokens.size(), v.scores.size(), v.types.size());
  SentencePieceModel model{.kind = v.model == "t5" ? SentencePieceModel::Kind::Unigram : SentencePieceModel::Kind::Bpe,
                           .unknown = v.unknown.value_or(-1),
                           .bos = v.bos.value_or(-1),
                           .eos = v.eos.value_or(-1),
                           .charsmap = v.precompiled_charsmap,
                           .add_dummy_prefix = v.add_space_prefix,
                           .remove_extra_whitespaces = v.remove_extra_whitespaces};
  for (size_t k = 0; k < v.tokens.size(); ++k) {
    const auto type = int32_t(v.types[k]);
    require(type >= 1 && type <= 6, "{}: the token {} has the type {}, expected 1 to 6", name, k, type);
    require(!v.tokens[k].empty() && is_utf8(v.tokens[k]), "{}: the token {} is empty or not UTF-8", name, k);
    model.byte_fallback = model.byte_fallback || v.types[k] == PieceType::Byte;
    model.pieces.push_back({v.tokens[k], v.scores[k], v.types[k]});
  }
  return model;
}

std::unique_ptr<Tokenizer> sentencepiece_tokenizer(SentencePieceModel model, std::string_view name,
                                                   const TokenizerSettings& settings) {
  return std::make_unique<SentencePieceTokenizer>(std::move(model), name, settings);
}

}  // namespace quanta
