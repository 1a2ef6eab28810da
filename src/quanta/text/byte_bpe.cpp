#include "quanta/text/byte_bpe.h"

#include <algorithm>
#include <array>
#include <deque>
#include <unordered_map>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/text/id_map.h"
#include "quanta/text/pair_merges.h"
#include "quanta/text/split_pattern.h"
#include "quanta/text/unicode.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

using nlohmann::json;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, a space that shows

const std::array<char32_t, 256>& printable() {
  static const auto table = [] {
    std::array<char32_t, 256> codes{};
    char32_t other = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      codes[b] = itself ? b : other++;
    }
    return codes;
  }();
  return table;
}

bool starts_with(std::string_view text, size_t at, std::string_view word) {
  return text.compare(at, word.size(), word) == 0;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    result.append(text.substr(at, found - at));
    if (found == std::string_view::npos) return result;
    result += to;
    at = found + from.size();
  }
}

// The steps of a tokenizer.json, in the order in which they run.
struct Rewrite {  // normalizer
  enum class Kind { Prepend, Replace, Nfc, Nfd } kind;
  std::string from{}, to{};
};

enum class Prefix { Never, First, Always };

struct Cut {  // pre_tokenizer
  enum class Kind { Pattern, Literal, Digits, Metaspace, PrefixSpace } kind;
  SplitPattern pattern{};
  std::string text{};  // Literal: what is looked for; Metaspace: what replaces a space
  enum class Join { Alone, Removed, Previous, Next } join = Join::Alone;
  bool one_by_one = false;        // Digits
  bool split = true;              // Metaspace
  Prefix prefix = Prefix::Never;  // Metaspace
};

struct Undo {  // decoder
  enum class Kind { ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace } kind;
  std::string from{}, to{};
  int64_t start = 0, stop = 0;
  bool drop_first = false;  // Metaspace
};

const json& at(const json& object, const char* key, std::string_view name) {
  require(object.is_object() && object.contains(key), "{}: the key \"{}\" is missing", name, key);
  return object.at(key);
}

// A value, or the default if the key is missing or null.
template <class T>
T value(const json& object, const char* key, T fallback) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? fallback : found->get<T>();
}

std::string type_of(const json& part, std::string_view name) {
  return at(part, "type", name).get<std::string>();
}

std::string quote(const json& part) {
  std::string text = part.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 300) text = text.substr(0, 300) + "...";
  return text;
}

// The parts of a "Sequence", or the one part; none for null.
std::vector<json> parts(const json& document, const char* key, const char* list, std::string_view name) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return {};
  if (type_of(*found, name) != "Sequence") return {*found};
  std::vector<json> all;
  for (const json& part : at(*found, list, name)) {
    if (type_of(part, name) == "Sequence")
      for (const json& inner : parts(json{{key, part}}, key, list, name)) all.push_back(inner);
    else
      all.push_back(part);
  }
  return all;
}

std::string literal(const json& part, std::string_view name) {
  const json& pattern = at(part, "pattern", name);
  require(pattern.is_object() && pattern.contains("String"),
          "{}: {} has a regular expression where only a string is known: {}", name, type_of(part, name),
          quote(pattern));
  const auto text = pattern.at("String").get<std::string>();
  require(!text.empty(), "{}: {} looks for an empty string", name, type_of(part, name));
  return text;
}

Prefix prefix_scheme(const json& part, std::string_view name) {
  const auto scheme =
      value<std::string>(part, "prepend_scheme", value(part, "add_prefix_space", true) ? "always" : "never");
  if (scheme == "never") return Prefix::Never;
  if (scheme == "first") return Prefix::First;
  require(scheme == "always", "{}: prepend_scheme \"{}\" is not known (always, first, never)", name, scheme);
  return Prefix::Always;
}

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(const json& document, std::string_view name, const TokenizerSettings& settings);

  std::vector<int64_t> encode(std::string_view text, bool special) const override;
  std::string decode(const std::vector<int64_t>& ids, bool special) const override;
  int64_t size() const override { return int64_t(tokens_.size()); }
  std::optional<int64_t> bos() const override { return bos_; }
  std::optional<int64_t> eos() const override { return eos_; }
  std::optional<int64_t> unknown() const override { return unknown_; }
  Vocabulary vocabulary() const override;
  void save(const std::filesystem::path& folder) const override;

 private:
  void read_normalizer(const json& document, std::string_view name);
  void read_pre_tokenizer(const json& document, std::string_view name);
  void read_decoder(const json& document, std::string_view name);
  void read_model(const json& document, std::string_view name);
  void read_vocabulary(const json& document, std::string_view name, const std::vector<AddedToken>& more);
  void read_merges(const json& model, std::string_view name);
  void read_post_processor(const json& document, std::string_view name);
  void set_ends(const TokenizerSettings& settings, std::string_view name);

  struct Encoding;
  std::string normalize(std::string_view text) const;
  template <class Token, class Text>
  void split_added(std::string_view text, const Trie& tokens, Token token, Text other) const;
  void encode_text(std::string_view text, bool first, Encoding& to) const;
  void encode_word(std::string_view word, Encoding& to) const;
  void merge_word(std::string_view word, Encoding& to) const;
  bool cuts_at_marks() const;

  std::optional<int32_t> find(std::string_view piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  // The model. `tokens_` as written in the file, `bytes_` as they stand in a text.
  std::deque<std::string> tokens_, bytes_;
  std::vector<bool> in_model_;                           // one a token: of model.vocab, not only added
  std::unordered_map<std::string_view, int32_t> ids_;    // of the model's tokens, by bytes_
  std::unordered_map<std::string_view, int32_t> names_;  // of all tokens, by tokens_
  IdMap<Merge> merges_;
  std::vector<std::pair<int32_t, int32_t>> merge_list_;
  std::array<int32_t, 256> byte_ids_{};  // of a byte: its token (byte-level) or its fallback "<0xNN>"
  bool byte_level_ = false, byte_fallback_ = false, ignore_merges_ = false, fuse_unknown_ = false;
  bool cuts_at_marks_ = false;  // no merge crosses a space mark's left side
  std::optional<int32_t> model_unknown_{};

  std::vector<Rewrite> rewrites_;
  std::vector<Cut> cuts_;
  std::vector<Undo> undo_;
  bool has_decoder_ = false;
  std::vector<int64_t> before_, after_;

  std::vector<AddedToken> added_;
  std::vector<int32_t> added_index_;  // one an id; -1: not added
  Trie plain_, normalized_;           // of added tokens, by index

  std::optional<int64_t> bos_{}, eos_{}, unknown_{};
  json shell_;  // the document without vocabulary and merges
  std::string config_;
};

BpeTokenizer::BpeTokenizer(const json& document, std::string_view name, const TokenizerSettings& settings)
    : config_(settings.source) {
  require(document.is_object(), "{}: expected a JSON object", name);
  read_normalizer(document, name);
  read_pre_tokenizer(document, name);
  read_decoder(document, name);
  read_model(document, name);
  read_vocabulary(document, name, settings.added);
  read_merges(document.at("model"), name);
  cuts_at_marks_ = cuts_at_marks();
  read_post_processor(document, name);
  for (const auto& [key, part] : document.items())
    if (key != "model") shell_[key] = part;
  for (const auto& [key, part] : document.at("model").items())
    if (key != "vocab" && key != "merges") shell_["model"][key] = part;
  set_ends(settings, name);
}

void BpeTokenizer::read_normalizer(const json& document, std::string_view name) {
  for (const json& part : parts(document, "normalizer", "normalizers", name)) {
    const std::string type = type_of(part, name);
    using Kind = Rewrite::Kind;
    if (type == "Prepend")
      rewrites_.push_back({Kind::Prepend, "", at(part, "prepend", name).get<std::string>()});
    else if (type == "Replace")
      rewrites_.push_back({Kind::Replace, literal(part, name), at(part, "content", name).get<std::string>()});
    else if (type == "NFC" || type == "NFD")
      rewrites_.push_back({type == "NFC" ? Kind::Nfc : Kind::Nfd});
    else
      fail("{}: the normalizer {} is not known (Prepend, Replace of a string, NFC, NFD)", name, quote(part));
  }
}

void BpeTokenizer::read_pre_tokenizer(const json& document, std::string_view name) {
  for (const json& part : parts(document, "pre_tokenizer", "pretokenizers", name)) {
    require(!byte_level_, "{}: a pre-tokenizer after ByteLevel, {}, is not supported", name, quote(part));
    const std::string type = type_of(part, name);
    using Kind = Cut::Kind;
    if (type == "ByteLevel") {
      byte_level_ = true;
      if (value(part, "add_prefix_space", true)) cuts_.push_back({.kind = Kind::PrefixSpace});
      if (value(part, "use_regex", true)) cuts_.push_back({.kind = Kind::Pattern, .pattern = SplitPattern::Gpt2});
    } else if (type == "Digits") {
      cuts_.push_back({.kind = Kind::Digits, .one_by_one = value(part, "individual_digits", false)});
    } else if (type == "Metaspace") {
      cuts_.push_back({.kind = Kind::Metaspace,
                       .text = value<std::string>(part, "replacement", std::string(kSpaceMark)),
                       .split = value(part, "split", true),
                       .prefix = prefix_scheme(part, name)});
    } else if (type == "Split") {
      const json& pattern = at(part, "pattern", name);
      const auto behavior = at(part, "behavior", name).get<std::string>();
      const bool invert = value(part, "invert", false);
      if (pattern.is_object() && pattern.contains("Regex")) {
        const auto text = pattern.at("Regex").get<std::string>();
        const auto known = split_pattern(text);
        require(known.has_value(),
                "{}: the regular expression of a Split is not one of those known (GPT-2's, Llama 3's, Qwen2's): {}",
                name, text);
        // The patterns match every character: what is kept is the matches, either way.
        require((behavior == "Isolated" && !invert) || (behavior == "Removed" && invert),
                "{}: a Split with behavior {} and invert {} is not known (Isolated, or Removed inverted)", name,
                behavior, invert);
        cuts_.push_back({.kind = Kind::Pattern, .pattern = *known});
      } else {
        require(!invert, "{}: an inverted Split at a string is not known", name);
        using Join = Cut::Join;
        const Join join = behavior == "Isolated"             ? Join::Alone
                          : behavior == "Removed"            ? Join::Removed
                          : behavior == "MergedWithPrevious" ? Join::Previous
                                                             : Join::Next;
        require(join != Join::Next || behavior == "MergedWithNext",
                "{}: the behavior {} of a Split at a string is not known", name, behavior);
        cuts_.push_back({.kind = Kind::Literal, .text = literal(part, name), .join = join});
      }
    } else {
      fail("{}: the pre-tokenizer {} is not known (ByteLevel, Metaspace, Split, Digits)", name, quote(part));
    }
  }
}

void BpeTokenizer::read_decoder(const json& document, std::string_view name) {
  const auto list = parts(document, "decoder", "decoders", name);
  has_decoder_ = !list.empty();
  for (const json& part : list) {
    const std::string type = type_of(part, name);
    using Kind = Undo::Kind;
    if (type == "ByteLevel") {
      undo_.push_back({.kind = Kind::ByteLevel});
    } else if (type == "Replace") {
      undo_.push_back(
          {.kind = Kind::Replace, .from = literal(part, name), .to = at(part, "content", name).get<std::string>()});
    } else if (type == "ByteFallback") {
      undo_.push_back({.kind = Kind::ByteFallback});
    } else if (type == "Fuse") {
      undo_.push_back({.kind = Kind::Fuse});
    } else if (type == "Strip") {
      undo_.push_back({.kind = Kind::Strip,
                       .from = at(part, "content", name).get<std::string>(),
                       .start = value<int64_t>(part, "start", 0),
                       .stop = value<int64_t>(part, "stop", 0)});
      require(!undo_.back().from.empty(), "{}: a Strip of nothing", name);
    } else if (type == "Metaspace") {
      undo_.push_back({.kind = Kind::Metaspace,
                       .from = value<std::string>(part, "replacement", std::string(kSpaceMark)),
                       .drop_first = prefix_scheme(part, name) != Prefix::Never});
      require(!undo_.back().from.empty(), "{}: a Metaspace that replaces nothing", name);
    } else {
      fail("{}: the decoder {} is not known (ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace)", name,
           quote(part));
    }
  }
}

void BpeTokenizer::read_model(const json& document, std::string_view name) {
  const json& model = at(document, "model", name);
  const auto type = value<std::string>(model, "type", "BPE");
  require(type == "BPE",
          "{}: the model is {}; only BPE is read from tokenizer.json (a SentencePiece model is read from "
          "tokenizer.model)",
          name, type);
  const double dropout = value(model, "dropout", 0.0);
  require(dropout == 0, "{}: dropout {} would make ids random; set it to null", name, dropout);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    require(value<std::string>(model, key, "").empty(), "{}: \"{}\" is not supported", name, key);
  byte_fallback_ = value(model, "byte_fallback", false);
  ignore_merges_ = value(model, "ignore_merges", false);
  fuse_unknown_ = value(model, "fuse_unk", false);
  // A byte-level vocabulary needs its pre-tokenizer: its tokens are bytes in disguise.
  require(byte_level_ ||
              std::none_of(undo_.begin(), undo_.end(), [](const Undo& u) { return u.kind == Undo::Kind::ByteLevel; }),
          "{}: a ByteLevel decoder without a ByteLevel pre-tokenizer", name);
}

void BpeTokenizer::read_vocabulary(const json& document, std::string_view name, const std::vector<AddedToken>& more) {
  const json& model = document.at("model");
  const json& vocab = at(model, "vocab", name);
  require(vocab.is_object(), "{}: model.vocab is not an object of tokens and their ids", name);
  if (const auto list = document.find("added_tokens"); list != document.end() && !list->is_null())
    for (const json& token : *list) {
      const bool special = value(token, "special", false);
      added_.push_back({.id = at(token, "id", name).get<int64_t>(),
                        .content = at(token, "content", name).get<std::string>(),
                        .special = special,
                        .strip_left = value(token, "lstrip", false),
                        .strip_right = value(token, "rstrip", false),
                        .single_word = value(token, "single_word", false),
                        .normalized = value(token, "normalized", !special)});
    }
  for (const AddedToken& token : more)
    if (std::none_of(added_.begin(), added_.end(), [&](const AddedToken& a) { return a.content == token.content; }))
      added_.push_back(token);

  // Ids are 0, 1, ... without gaps, so there are no more than there are names: nothing is allocated on a number's word.
  const size_t most = vocab.size() + added_.size();
  std::vector<const std::string*> by_id(most);
  const auto place = [&](const std::string& token, int64_t id) {
    require(id >= 0 && size_t(id) < most, "{}: the id {} of {} leaves gaps: {} tokens must have the ids from 0", name,
            id, quote(token), most);
    const std::string*& slot = by_id[size_t(id)];
    require(!slot || *slot == token, "{}: {} and {} have the same id {}", name, quote(slot ? *slot : ""), quote(token),
            id);
    slot = &token;
  };
  for (auto item = vocab.begin(); item != vocab.end(); ++item) {
    require(item->is_number_integer(), "{}: the id of {} is {}, not an integer", name, quote(item.key()), quote(*item));
    place(item.key(), item->get<int64_t>());
  }
  for (const AddedToken& token : added_) {
    const auto known = vocab.find(token.content);
    require(known == vocab.end() || known->get<int64_t>() == token.id,
            "{}: the added token {} has the id {}, but {} in the vocabulary", name, quote(token.content), token.id,
            known == vocab.end() ? "" : quote(*known));
    place(token.content, token.id);
  }
  while (!by_id.empty() && !by_id.back()) by_id.pop_back();
  added_index_.assign(by_id.size(), -1);
  for (size_t id = 0; id < by_id.size(); ++id) {
    require(by_id[id], "{}: no token has the id {} (there are larger ones)", name, id);
    const std::string& token = tokens_.emplace_back(*by_id[id]);
    const auto raw = byte_level_ ? printable_to_bytes(token) : std::optional(token);
    const std::string& bytes = bytes_.emplace_back(raw.value_or(token));
    names_.emplace(token, int32_t(id));
    in_model_.push_back(vocab.contains(token));
    if (raw && in_model_.back()) ids_.emplace(bytes, int32_t(id));
  }
  for (size_t k = 0; k < added_.size(); ++k) {
    const AddedToken& token = added_[k];
    added_index_[size_t(token.id)] = int32_t(k);
    if (token.content.empty()) continue;
    if (token.normalized)
      normalized_[normalize(token.content)] = int32_t(k);
    else
      plain_[token.content] = int32_t(k);
  }

  for (int b = 0; b < 256; ++b) {
    const char byte = char(b);
    byte_ids_[size_t(b)] = byte_level_      ? find({&byte, 1}).value_or(-1)
                           : byte_fallback_ ? find(fmt::format("<0x{:02X}>", b)).value_or(-1)
                                            : -1;
  }
  if (const auto unknown = value<std::string>(model, "unk_token", ""); !unknown.empty()) {
    const auto found = names_.find(unknown);
    require(found != names_.end(), "{}: the token for the unknown, {}, is not in the vocabulary", name, quote(unknown));
    model_unknown_ = found->second;
    unknown_ = found->second;
  }
}

void BpeTokenizer::read_merges(const json& model, std::string_view name) {
  const json& list = at(model, "merges", name);
  require(list.is_array(), "{}: model.merges is not a list", name);
  const auto id_of = [&](std::string_view token, size_t line) {
    const auto found = names_.find(token);
    require(found != names_.end(), "{}: merge {} names {}, which is not in the vocabulary", name, line,
            quote(std::string(token)));
    return found->second;
  };
  merge_list_.reserve(list.size());
  for (size_t k = 0; k < list.size(); ++k) {
    const json& merge = list[k];
    std::string a, b;
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      require(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
              "{}: merge {} is {}, not two tokens with a space between", name, k, quote(merge));
      a = text.substr(0, space);
      b = text.substr(space + 1);
    } else {
      require(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
              "{}: merge {} is {}, not a pair of tokens", name, k, quote(merge));
      a = merge[0].get<std::string>();
      b = merge[1].get<std::string>();
    }
    const int32_t left = id_of(a, k), right = id_of(b, k), whole = id_of(a + b, k);
    require(!a.empty() && !b.empty(), "{}: merge {} has an empty part", name, k);
    merges_(uint32_t(left), uint32_t(right)) = {int32_t(k), whole};
    merge_list_.emplace_back(left, right);
  }
}

void BpeTokenizer::read_post_processor(const json& document, std::string_view name) {
  const auto check = [&](int64_t id) {
    require(id >= 0 && id < size(), "{}: the post-processor names the id {}, outside the vocabulary of {}", name, id,
            size());
    return id;
  };
  for (const json& part : parts(document, "post_processor", "processors", name)) {
    const std::string type = type_of(part, name);
    if (type == "ByteLevel") continue;  // concerns offsets alone
    if (type == "RobertaProcessing" || type == "BertProcessing") {
      before_.push_back(check(at(part, "cls", name).at(1)));
      after_.push_back(check(at(part, "sep", name).at(1)));
      continue;
    }
    require(type == "TemplateProcessing", "{}: the post-processor {} is not known (ByteLevel, TemplateProcessing)",
            name, quote(part));
    bool seen = false;
    for (const json& item : at(part, "single", name)) {
      if (item.contains("Sequence")) {
        require(!seen, "{}: the template repeats the text", name);
        seen = true;
        continue;
      }
      const auto token = at(at(item, "SpecialToken", name), "id", name).get<std::string>();
      for (const json& id : at(at(at(part, "special_tokens", name), token.c_str(), name), "ids", name))
        (seen ? after_ : before_).push_back(check(id.get<int64_t>()));
    }
    require(seen, "{}: the template leaves the text out: {}", name, quote(part));
  }
}

void BpeTokenizer::set_ends(const TokenizerSettings& settings, std::string_view name) {
  const auto id_of = [&](const std::optional<std::string>& token) -> std::optional<int64_t> {
    if (!token) return {};
    const auto found = names_.find(*token);
    require(found != names_.end(), "{}: the settings name the token {}, which is not in the vocabulary", name,
            quote(*token));
    return found->second;
  };
  bos_ = id_of(settings.bos);
  eos_ = id_of(settings.eos);
  if (const auto unknown = id_of(settings.unknown)) unknown_ = unknown;
  if (!bos_ && !before_.empty()) bos_ = before_.front();
  if (!settings.add_bos && !settings.add_eos) return;
  if (settings.add_bos) {
    require(!*settings.add_bos || bos_, "{}: a token is to begin every text, but which is not said (bos_token)", name);
    before_.clear();
    if (*settings.add_bos) before_.push_back(*bos_);
  }
  if (settings.add_eos) {
    require(!*settings.add_eos || eos_, "{}: a token is to end every text, but which is not said (eos_token)", name);
    after_.clear();
    if (*settings.add_eos) after_.push_back(*eos_);
  }
  json single = json::array(), special = json::object();
  const auto add = [&](int64_t id) {
    const std::string& token = tokens_[size_t(id)];
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  for (const int64_t id : before_) add(id);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const int64_t id : after_) add(id);
  json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  shell_["post_processor"] = {
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

// Whether cutting a word before each space mark that follows another character changes nothing: such a cut makes words
// short and lets equal ones be merged once.
bool BpeTokenizer::cuts_at_marks() const {
  if (byte_level_ || ignore_merges_ || !ids_.contains(kSpaceMark)) return false;
  for (const auto& [left, right] : merge_list_) {
    const std::string whole = tokens_[size_t(left)] + tokens_[size_t(right)];
    for (size_t k = 3; (k = whole.find(kSpaceMark, k)) != std::string::npos; ++k)
      if (!starts_with(whole, k - 3, kSpaceMark)) return false;
    if (whole.find(kSpaceMark, 1) < 3) return false;
  }
  return true;
}

// --- text to ids

struct BpeTokenizer::Encoding {
  std::vector<int64_t> ids{};
  std::deque<std::string> texts{};                                          // what the words' views point to
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> known{};  // words whose ids stand in `ids` already
  std::vector<Symbol> symbols{};
};

std::string BpeTokenizer::normalize(std::string_view text) const {
  std::string result(text);
  for (const Rewrite& step : rewrites_) switch (step.kind) {
      case Rewrite::Kind::Prepend:
        if (!result.empty()) result.insert(0, step.to);
        break;
      case Rewrite::Kind::Replace:
        result = replace_all(result, step.from, step.to);
        break;
      case Rewrite::Kind::Nfc:
        result = nfc(result);
        break;
      case Rewrite::Kind::Nfd:
        result = nfd(result);
        break;
    }
  return result;
}

bool is_word(CharClass kind) {
  return kind != CharClass::Other && kind != CharClass::Space;
}

// The start of the character that ends at `end` (> 0).
size_t character_before(std::string_view text, size_t end) {
  for (size_t bytes = std::min<size_t>(4, end); bytes > 1; --bytes)
    if (const Character c = character_at(text, end - bytes); size_t(c.bytes) == bytes) return end - bytes;
  return end - 1;
}

CharClass class_at(std::string_view text, size_t at) {
  const Character c = character_at(text, at);
  return c.valid ? char_class(c.code) : CharClass::Other;
}

// Calls token(index) and other(text, start) for what lies between, in order. The longest token that begins first wins.
template <class Token, class Text>
void BpeTokenizer::split_added(std::string_view text, const Trie& tokens, Token token, Text other) const {
  size_t done = 0;
  if (!tokens.empty())
    for (size_t at = 0; at < text.size();) {
      const auto [length, index] = tokens.longest_prefix(text, at);
      if (index < 0) {
        ++at;
        continue;
      }
      size_t begin = at, end = at + length;
      at = end;
      const AddedToken& added = added_[size_t(index)];
      if (added.single_word && ((begin > 0 && is_word(class_at(text, character_before(text, begin)))) ||
                                (end < text.size() && is_word(class_at(text, end)))))
        continue;
      if (begin < done) continue;
      if (added.strip_left)
        while (begin > done && class_at(text, character_before(text, begin)) == CharClass::Space)
          begin = character_before(text, begin);
      if (added.strip_right)
        while (end < text.size() && class_at(text, end) == CharClass::Space)
          end += size_t(character_at(text, end).bytes);
      if (begin > done) other(text.substr(done, begin - done), done);
      token(index);
      done = end;
    }
  if (done < text.size()) other(text.substr(done), done);
}

std::vector<int64_t> BpeTokenizer::encode(std::string_view text, bool special) const {
  Encoding to;
  if (special) to.ids = before_;
  const auto token = [&](int32_t index) { to.ids.push_back(added_[size_t(index)].id); };
  split_added(text, plain_, token, [&](std::string_view part, size_t start) {
    if (!rewrites_.empty()) part = to.texts.emplace_back(normalize(part));
    split_added(part, normalized_, token,
                [&](std::string_view rest, size_t inner) { encode_text(rest, start == 0 && inner == 0, to); });
  });
  if (special) to.ids.insert(to.ids.end(), after_.begin(), after_.end());
  return std::move(to.ids);
}

// Cuts words at what match(word, at) finds (its length there; 0: nothing) and joins it to a neighbour or to none.
template <class Match>
void split(std::vector<std::string_view>& words, Cut::Join join, Match match) {
  using Join = Cut::Join;
  struct Part {
    size_t begin, end;
    bool found;
  };
  std::vector<std::string_view> result;
  std::vector<Part> parts;
  for (const std::string_view word : words) {
    parts.clear();
    for (size_t at = 0; at < word.size();) {
      const size_t length = match(word, at);
      if (length)
        parts.push_back({at, at + length, true});
      else if (!parts.empty() && !parts.back().found)
        ++parts.back().end;
      else
        parts.push_back({at, at + 1, false});
      at += std::max<size_t>(length, 1);
    }
    for (size_t k = 0; k < parts.size(); ++k) {
      Part part = parts[k];
      if (join == Join::Removed && part.found) continue;
      // A part takes one match beside it; of several in a row the others stand alone.
      if (join == Join::Next && part.found && k + 1 < parts.size() && !parts[k + 1].found) part.end = parts[++k].end;
      if (join == Join::Previous && !part.found && k + 1 < parts.size()) part.end = parts[++k].end;
      result.push_back(word.substr(part.begin, part.end - part.begin));
    }
  }
  words = std::move(result);
}

size_t number_length(std::string_view text, size_t at) {
  return class_at(text, at) == CharClass::Number ? size_t(character_at(text, at).bytes) : 0;
}

void BpeTokenizer::encode_text(std::string_view text, bool first, Encoding& to) const {
  std::vector<std::string_view> words{text};
  for (const Cut& cut : cuts_) switch (cut.kind) {
      case Cut::Kind::PrefixSpace:
        for (std::string_view& word : words)
          if (!starts_with(word, 0, " ")) word = to.texts.emplace_back(" " + std::string(word));
        break;
      case Cut::Kind::Pattern:
        split(words, Cut::Join::Alone,
              [&](std::string_view word, size_t at) { return word_end(cut.pattern, word, at) - at; });
        break;
      case Cut::Kind::Literal:
        split(words, cut.join,
              [&](std::string_view word, size_t at) { return starts_with(word, at, cut.text) ? cut.text.size() : 0; });
        break;
      case Cut::Kind::Digits:
        split(words, Cut::Join::Alone, [&](std::string_view word, size_t at) {
          size_t length = number_length(word, at);
          if (length && !cut.one_by_one)
            while (at + length < word.size()) {
              const size_t more = number_length(word, at + length);
              if (!more) break;
              length += more;
            }
          return length;
        });
        break;
      case Cut::Kind::Metaspace:
        for (size_t k = 0; k < words.size(); ++k) {
          std::string marked = replace_all(words[k], " ", cut.text);
          if ((cut.prefix == Prefix::Always || (cut.prefix == Prefix::First && first && k == 0)) &&
              !starts_with(marked, 0, cut.text))
            marked.insert(0, cut.text);
          words[k] = to.texts.emplace_back(std::move(marked));
        }
        if (cut.split)
          split(words, Cut::Join::Next, [&](std::string_view word, size_t at) {
            return starts_with(word, at, cut.text) ? cut.text.size() : 0;
          });
        break;
    }
  for (const std::string_view word : words) {
    size_t begin = 0;
    if (cuts_at_marks_)
      for (size_t k = 1; (k = word.find(kSpaceMark, k)) != std::string_view::npos; ++k)
        if (k < kSpaceMark.size() || !starts_with(word, k - kSpaceMark.size(), kSpaceMark)) {
          encode_word(word.substr(begin, k - begin), to);
          begin = k;
        }
    encode_word(word.substr(begin), to);
  }
}

void BpeTokenizer::encode_word(std::string_view word, Encoding& to) const {
  constexpr size_t kLongest = 64;  // longer words hardly come twice
  if (word.size() > kLongest) return merge_word(word, to);
  const auto [known, is_new] = to.known.try_emplace(word, to.ids.size(), 0);
  if (is_new) {
    merge_word(word, to);
    known->second.second = to.ids.size() - known->second.first;
  } else {
    const auto [begin, count] = known->second;
    const size_t end = to.ids.size();
    to.ids.resize(end + count);
    std::copy_n(to.ids.begin() + std::ptrdiff_t(begin), count, to.ids.begin() + std::ptrdiff_t(end));
  }
}

void BpeTokenizer::merge_word(std::string_view word, Encoding& to) const {
  if (ignore_merges_)
    if (const auto whole = find(word)) {
      to.ids.push_back(*whole);
      return;
    }
  std::vector<Symbol>& symbols = to.symbols;
  symbols.clear();
  const auto add = [&](int32_t id, size_t begin, size_t end) {
    const auto index = int32_t(symbols.size());
    symbols.push_back({id, uint32_t(begin), uint32_t(end), index - 1, index + 1});
  };
  bool after_unknown = false;
  const auto add_unknown = [&](size_t begin, size_t end) {
    if (!model_unknown_) return;
    if (after_unknown && fuse_unknown_)
      symbols.back().end = uint32_t(end);
    else
      add(*model_unknown_, begin, end);
    after_unknown = true;
  };
  for (size_t at = 0; at < word.size();) {
    const size_t bytes = byte_level_ ? 1 : size_t(character_at(word, at).bytes);
    const auto byte_id = [&](size_t k) { return byte_ids_[static_cast<unsigned char>(word[at + k])]; };
    const auto id = byte_level_ ? std::nullopt : find(word.substr(at, bytes));
    bool all = true;
    for (size_t k = 0; k < bytes; ++k) all = all && byte_id(k) >= 0;
    if (id)
      add(*id, at, at + bytes);
    else if (all)
      for (size_t k = 0; k < bytes; ++k) add(byte_id(k), at + k, at + k + 1);
    else
      add_unknown(at, at + bytes);
    if (id || all) after_unknown = false;
    at += bytes;
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  // Characters without a token leave no hole: what merges need is that neighbours touch.
  for (size_t k = 1; k < symbols.size(); ++k) symbols[k - 1].end = symbols[k].begin;
  merge_pairs(symbols, [&](const Symbol& left, const Symbol& right) {
    const Merge* merge = merges_.find(uint32_t(left.id), uint32_t(right.id));
    return merge ? *merge : Merge{};
  });
  for (int32_t k = 0; k >= 0; k = symbols[size_t(k)].next) to.ids.push_back(symbols[size_t(k)].id);
}

// --- ids to text

std::optional<int> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !starts_with(token, 0, "<0x") || token[5] != '>') return {};
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return {};
    byte = 16 * byte + digit;
  }
  return byte;
}

std::string BpeTokenizer::decode(const std::vector<int64_t>& ids, bool special) const {
  std::vector<std::string> texts;
  texts.reserve(ids.size());
  for (const int64_t id : ids) {
    require(id >= 0 && id < size(), "the id {} is outside the vocabulary of {}", id, size());
    const int32_t added = added_index_[size_t(id)];
    if (added >= 0 && added_[size_t(added)].special && !special) continue;
    const std::string& text = added >= 0 ? tokens_[size_t(id)] : bytes_[size_t(id)];
    texts.push_back(added >= 0 && added_[size_t(added)].normalized ? normalize(text) : text);
  }
  for (const Undo& step : undo_) switch (step.kind) {
      case Undo::Kind::ByteLevel:  // bytes_ has done it
        break;
      case Undo::Kind::Replace:
        for (std::string& text : texts) text = replace_all(text, step.from, step.to);
        break;
      case Undo::Kind::ByteFallback:
        for (std::string& text : texts)
          if (const auto byte = fallback_byte(text)) text.assign(1, char(*byte));
        break;
      case Undo::Kind::Fuse:
        for (size_t k = 1; k < texts.size(); ++k) texts[0] += texts[k];
        if (!texts.empty()) texts.resize(1);
        break;
      case Undo::Kind::Strip:
        for (std::string& text : texts) {
          size_t begin = 0, end = text.size();
          const size_t length = step.from.size();
          for (int64_t n = 0; n < step.start && starts_with(text, begin, step.from); ++n) begin += length;
          for (int64_t n = 0; n < step.stop && end >= begin + length && starts_with(text, end - length, step.from); ++n)
            end -= length;
          text = text.substr(begin, end - begin);
        }
        break;
      case Undo::Kind::Metaspace:
        for (size_t k = 0; k < texts.size(); ++k)
          texts[k] = replace_all(texts[k], step.from, k == 0 && step.drop_first ? "" : " ");
        break;
    }
  std::string result;
  for (const std::string& text : texts) {
    if (!has_decoder_ && !result.empty()) result += ' ';
    result += text;
  }
  return result;
}

// --- as other files hold it

Vocabulary BpeTokenizer::vocabulary() const {
  Vocabulary v;
  v.tokens.assign(tokens_.begin(), tokens_.end());
  v.types.assign(tokens_.size(), PieceType::Normal);
  for (const AddedToken& token : added_)
    v.types[size_t(token.id)] = token.special ? PieceType::Control : PieceType::UserDefined;
  v.bos = bos_;
  v.eos = eos_;
  v.unknown = unknown_;
  v.add_bos = bos_ && before_ == std::vector<int64_t>{*bos_};
  v.add_eos = eos_ && after_ == std::vector<int64_t>{*eos_};
  require((before_.empty() || v.add_bos) && (after_.empty() || v.add_eos),
          "GGUF has no place for what this tokenizer puts around a text (other than one token that begins and one that "
          "ends)");
  if (byte_level_) {
    v.model = "gpt2";
    for (const Rewrite& step : rewrites_)  // readers of GGUF take texts as they are; most are composed (NFC) already
      require(step.kind == Rewrite::Kind::Nfc,
              "GGUF has no place for the normalizer of a byte-level tokenizer (other than NFC, which it leaves out)");
    int patterns = 0;
    for (const Cut& cut : cuts_) {
      v.add_space_prefix |= cut.kind == Cut::Kind::PrefixSpace;
      require(cut.kind == Cut::Kind::PrefixSpace || cut.kind == Cut::Kind::Pattern,
              "GGUF has no name for a pre-tokenizer with Digits, Metaspace or a Split at a string");
      if (cut.kind != Cut::Kind::Pattern) continue;
      ++patterns;
      v.pre = gguf_name(cut.pattern);
    }
    require(patterns == 1, "GGUF has no name for a pre-tokenizer of {} patterns", patterns);
    for (const auto& [left, right] : merge_list_)
      v.merges.push_back(tokens_[size_t(left)] + " " + tokens_[size_t(right)]);
    return v;
  }
  // SentencePiece merges by the whole piece's score, so each piece takes the rank of the first merge that makes it.
  require(byte_fallback_ || ids_.contains(kSpaceMark),
          "GGUF holds byte-level and SentencePiece-like tokenizers; this one is neither");
  v.model = "llama";
  v.pre = "default";
  for (const Rewrite& step : rewrites_) v.add_space_prefix |= step.kind == Rewrite::Kind::Prepend;
  for (const Cut& cut : cuts_) v.add_space_prefix |= cut.kind == Cut::Kind::Metaspace && cut.prefix != Prefix::Never;
  v.scores.assign(tokens_.size(), 0);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (v.types[id] != PieceType::Normal) continue;
    if (fallback_byte(tokens_[id]))
      v.types[id] = PieceType::Byte;
    else
      v.scores[id] = -1e6f;  // a character of its own: nothing merges to it
  }
  if (unknown_) v.types[size_t(*unknown_)] = PieceType::Unknown;
  for (size_t k = merge_list_.size(); k-- > 0;) {
    const auto [left, right] = merge_list_[k];
    v.scores[size_t(merges_.find(uint32_t(left), uint32_t(right))->id)] = -float(k);
  }
  return v;
}

void BpeTokenizer::save(const std::filesystem::path& folder) const {
  json document = shell_;
  json vocab = json::object(), merges = json::array(), added = json::array();
  std::vector<AddedToken> sorted = added_;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (const AddedToken& token : sorted)
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"single_word", token.single_word},
                     {"lstrip", token.strip_left},
                     {"rstrip", token.strip_right},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  document["added_tokens"] = std::move(added);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (in_model_[id]) vocab[tokens_[id]] = id;
  }
  for (const auto& [left, right] : merge_list_) {
    const std::string &a = tokens_[size_t(left)], &b = tokens_[size_t(right)];
    if (a.find(' ') == std::string::npos && b.find(' ') == std::string::npos)
      merges.push_back(a + " " + b);
    else
      merges.push_back({a, b});
  }
  document["model"]["type"] = "BPE";
  document["model"]["vocab"] = std::move(vocab);
  document["model"]["merges"] = std::move(merges);
  write_file(folder / "tokenizer.json", document.dump());
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const auto name = [&](const char* key, std::optional<int64_t> id) {
    if (id) config[key] = tokens_[size_t(*id)];
  };
  name("bos_token", bos_);
  name("eos_token", eos_);
  name("unk_token", unknown_);
  write_file(folder / "tokenizer_config.json", config_.empty() ? config.dump(2) : config_);
}

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer_json(const json& document, std::string_view name,
                                                const TokenizerSettings& settings) {
  try {
    return std::make_unique<BpeTokenizer>(document, name, settings);
  } catch (const json::exception& error) {
    fail("{}: {}", name, error.what());
  }
}

json tokenizer_json(const json& vocab, std::string_view merges, std::string_view name, bool add_prefix_space) {
  json list = json::array();
  for (size_t at = 0; at < merges.size();) {
    const size_t end = std::min(merges.find('\n', at), merges.size());
    std::string_view line = merges.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty() && !(at == 0 && line.starts_with("#version"))) {
      require(is_utf8(line), "{}: merges.txt is not UTF-8 at byte {}", name, at);
      list.push_back(line);
    }
    at = end + 1;
  }
  const json level = {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", level},
          {"post_processor", level},
          {"decoder", level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", std::move(list)}}}};
}

json tokenizer_json(const Vocabulary& v, std::string_view name) {
  const auto pattern = split_pattern_of_gguf(v.pre);
  require(pattern.has_value(), "{}: the pre-tokenizer \"{}\" is not known (gpt-2, llama-bpe, qwen2)", name, v.pre);
  require(v.types.empty() || v.types.size() == v.tokens.size(), "{}: {} tokens but {} types", name, v.tokens.size(),
          v.types.size());
  json vocab = json::object(), added = json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const std::string& token = v.tokens[id];
    require(is_utf8(token), "{}: the token {} is not UTF-8", name, id);
    require(!vocab.contains(token), "{}: the tokens {} and {} are the same", name, vocab.value(token, 0), id);
    vocab[token] = id;
    const PieceType type = v.types.empty() ? PieceType::Normal : v.types[id];
    if (type != PieceType::Control && type != PieceType::UserDefined && type != PieceType::Unknown) continue;
    added.push_back(
        {{"id", id}, {"content", token}, {"special", type != PieceType::UserDefined}, {"normalized", false}});
  }
  for (const std::string& merge : v.merges) require(is_utf8(merge), "{}: a merge is not UTF-8", name);
  json document = tokenizer_json(vocab, "", name);
  document["added_tokens"] = std::move(added);
  document["model"]["merges"] = v.merges;
  document["model"]["ignore_merges"] = *pattern == SplitPattern::Llama3;
  json level = document["pre_tokenizer"];
  level["add_prefix_space"] = v.add_space_prefix;
  if (*pattern == SplitPattern::Qwen2) document["normalizer"] = {{"type", "NFC"}};
  if (*pattern != SplitPattern::Gpt2) {
    level["use_regex"] = false;
    const json split = {
        {"type", "Split"}, {"pattern", {{"Regex", regex(*pattern)}}}, {"behavior", "Isolated"}, {"invert", false}};
    document["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, level}}};
  } else {
    document["pre_tokenizer"] = level;
  }
  return document;
}

json parse_json(std::string_view text, std::string_view name) {
  constexpr int kDeepest = 100;  // the library copies and writes values by recursion
  int depth = 0;
  for (size_t k = 0; k < text.size(); ++k) {
    if (text[k] == '"')
      while (++k < text.size() && text[k] != '"') k += text[k] == '\\';
    else if (text[k] == '[' || text[k] == '{')
      require(++depth <= kDeepest, "{}: brackets are nested more than {} deep", name, kDeepest);
    else if (text[k] == ']' || text[k] == '}')
      --depth;
  }
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    fail("{}: {}", name, error.what());
  }
}

std::string bytes_to_printable(std::string_view bytes) {
  std::string result;
  for (const char c : bytes) append_utf8(result, printable()[static_cast<unsigned char>(c)]);
  return result;
}

std::optional<std::string> printable_to_bytes(std::string_view text) {
  static const auto inverse = [] {
    std::array<int, 324> table;
    table.fill(-1);
    for (int b = 0; b < 256; ++b) table[printable()[size_t(b)]] = b;
    return table;
  }();
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (!c.valid || c.code >= inverse.size() || inverse[c.code] < 0) return {};
    bytes += char(inverse[c.code]);
    at += size_t(c.bytes);
  }
  return bytes;
}

}  // namespace quanta
