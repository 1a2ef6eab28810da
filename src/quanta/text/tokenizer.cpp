#include "quanta/text/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/text/byte_bpe.h"
#include "quanta/text/plain_tokenizers.h"
#include "quanta/text/sentencepiece.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_json(const fs::path& path) {
  return parse_json(read_file(path), path.string());
}

// Whether a model's folder has its tokenizer of one of the classes whose own rules, not tokenizer.json's, say what goes
// around a text.
bool is_llama(const std::string& tokenizer_class) {
  return tokenizer_class == "LlamaTokenizer" || tokenizer_class == "LlamaTokenizerFast" ||
         tokenizer_class == "CodeLlamaTokenizer" || tokenizer_class == "CodeLlamaTokenizerFast" ||
         tokenizer_class == "GemmaTokenizer" || tokenizer_class == "GemmaTokenizerFast";
}

enum class Source { Json, SentencePiece, VocabAndMerges };

// What tokenizer_config.json and its fellows say, as Transformers would take it.
TokenizerSettings read_settings(const fs::path& folder, Source source, bool is_bpe) {
  TokenizerSettings settings;
  json config = json::object(), map = json::object();
  if (fs::exists(folder / "tokenizer_config.json")) {
    settings.source = read_file(folder / "tokenizer_config.json");
    config = parse_json(settings.source, (folder / "tokenizer_config.json").string());
  }
  if (fs::exists(folder / "special_tokens_map.json")) map = read_json(folder / "special_tokens_map.json");
  const auto token = [&](const char* key) -> std::optional<std::string> {
    for (const json* file : {&config, &map}) {
      const auto found = file->find(key);
      if (found == file->end() || found->is_null()) continue;
      return found->is_object() ? found->at("content").get<std::string>() : found->get<std::string>();
    }
    return {};
  };
  const auto flag = [&](const char* key) -> std::optional<bool> {
    const auto found = config.find(key);
    return found == config.end() || found->is_null() ? std::nullopt : std::optional(found->get<bool>());
  };
  settings.bos = token("bos_token");
  settings.eos = token("eos_token");
  settings.unknown = token("unk_token");
  const auto name = config.value("tokenizer_class", "");
  if (source != Source::Json || is_llama(name)) {
    settings.add_bos = flag("add_bos_token");
    settings.add_eos = flag("add_eos_token");
  }
  if (is_llama(name) || (source == Source::SentencePiece && name.empty() && is_bpe))
    settings.add_bos = settings.add_bos.value_or(true);
  if (source == Source::SentencePiece && name.starts_with("T5Tokenizer"))
    settings.add_eos = settings.add_eos.value_or(true);
  if (source == Source::VocabAndMerges && name.starts_with("GPT2")) {  // GPT2Tokenizer's own
    for (auto* ends : {&settings.bos, &settings.eos, &settings.unknown}) *ends = ends->value_or("<|endoftext|>");
  }

  if (const auto list = config.find("added_tokens_decoder"); list != config.end() && list->is_object())
    for (const auto& [id, part] : list->items()) {
      int64_t number = 0;
      for (const char c : id) {
        require(c >= '0' && c <= '9' && id.size() < 10, "the added token \"{}\" has no number for an id", id);
        number = 10 * number + (c - '0');
      }
      const bool special = part.value("special", false);
      settings.added.push_back({.id = number,
                                .content = part.at("content").get<std::string>(),
                                .special = special,
                                .strip_left = part.value("lstrip", false),
                                .strip_right = part.value("rstrip", false),
                                .single_word = part.value("single_word", false),
                                .normalized = part.value("normalized", !special)});
    }
  if (source != Source::Json && fs::exists(folder / "added_tokens.json")) {
    const json added = read_json(folder / "added_tokens.json");
    for (const auto& [content, id] : added.items())
      settings.added.push_back({.id = id.get<int64_t>(), .content = content, .special = false, .normalized = true});
  }
  std::sort(settings.added.begin(), settings.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  const auto same = [](const AddedToken& a, const AddedToken& b) { return a.id == b.id && a.content == b.content; };
  settings.added.erase(std::unique(settings.added.begin(), settings.added.end(), same), settings.added.end());
  return settings;
}

// Where no file says which token begins or ends a text: the ids of config.json.
void name_ends(TokenizerSettings& settings, const fs::path& folder, const std::vector<std::string>& names) {
  if (!fs::exists(folder / "config.json")) return;
  const json config = read_json(folder / "config.json");
  const auto fill = [&](std::optional<std::string>& end, const char* key) {
    if (end || !config.contains(key)) return;
    const json& given = config.at(key).is_array() && !config.at(key).empty() ? config.at(key)[0] : config.at(key);
    if (!given.is_number_integer()) return;
    const auto id = given.get<int64_t>();
    if (id >= 0 && id < int64_t(names.size()) && !names[size_t(id)].empty()) end = names[size_t(id)];
  };
  fill(settings.bos, "bos_token_id");
  fill(settings.eos, "eos_token_id");
}

std::vector<std::string> names_by_id(const json& document) {
  std::vector<std::string> names;
  const auto put = [&](const std::string& name, const json& id) {
    if (!id.is_number_integer()) return;
    const auto number = id.get<int64_t>();
    if (number < 0 || number > (1 << 24)) return;
    if (size_t(number) >= names.size()) names.resize(size_t(number) + 1);
    names[size_t(number)] = name;
  };
  const json& vocab = document.at("model").at("vocab");
  for (auto item = vocab.begin(); item != vocab.end(); ++item) put(item.key(), *item);
  if (document.contains("added_tokens"))
    for (const json& token : document.at("added_tokens")) put(token.at("content").get<std::string>(), token.at("id"));
  return names;
}

std::unique_ptr<Tokenizer> load(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json", model = folder / "tokenizer.model";
  if (fs::exists(file)) {
    const json document = read_json(file);
    // A unigram model's tokenizer.json has its twin beside it.
    const bool is_bpe = !document.is_object() || !document.contains("model") || !document.at("model").is_object() ||
                        document.at("model").value("type", "BPE") == "BPE";
    if (is_bpe || !fs::exists(model)) {
      TokenizerSettings settings = read_settings(folder, Source::Json, true);
      if (is_bpe) name_ends(settings, folder, names_by_id(document));
      return parse_tokenizer_json(document, file.string(), settings);
    }
  }
  if (fs::exists(model)) {
    SentencePieceModel pieces = parse_sentencepiece(read_file(model), model.string());
    const bool is_bpe = pieces.kind == SentencePieceModel::Kind::Bpe;
    return sentencepiece_tokenizer(std::move(pieces), model.string(),
                                   read_settings(folder, Source::SentencePiece, is_bpe));
  }
  const fs::path vocab = folder / "vocab.json", merges = folder / "merges.txt";
  require(fs::exists(vocab), "{}: no tokenizer; expected tokenizer.json, tokenizer.model or vocab.json",
          folder.string());
  const json document = read_json(vocab);
  require(document.is_object(), "{}: expected a JSON object", vocab.string());
  if (!fs::exists(merges)) {
    require(document.contains("type") && document.at("type").is_string(),
            "{}: neither characters nor bytes (no \"type\"), and there is no merges.txt beside it", vocab.string());
    return parse_plain_tokenizer(document, vocab.string());
  }
  TokenizerSettings settings = read_settings(folder, Source::VocabAndMerges, true);
  name_ends(settings, folder, names_by_id({{"model", {{"vocab", document}}}}));
  json config = json::object();
  if (!settings.source.empty()) config = parse_json(settings.source, "tokenizer_config.json");
  for (const auto& end : {settings.bos, settings.eos, settings.unknown, std::optional<std::string>("<|endoftext|>")})
    if (end && document.contains(*end))
      settings.added.push_back({.id = document.at(*end).get<int64_t>(), .content = *end, .special = true});
  return parse_tokenizer_json(
      tokenizer_json(document, read_file(merges), merges.string(), config.value("add_prefix_space", false)),
      vocab.string(), settings);
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& folder) {
  require(fs::is_directory(folder), "{}: no such folder", folder.string());
  try {
    return load(folder);
  } catch (const json::exception& error) {
    fail("{}: {}", folder.string(), error.what());
  }
}

std::unique_ptr<Tokenizer> tokenizer_from(const Vocabulary& v, std::string_view name) {
  require(!v.tokens.empty(), "{}: there are no tokens", name);
  TokenizerSettings settings{.add_bos = v.add_bos, .add_eos = v.add_eos};
  const auto end = [&](std::optional<int64_t> id, const char* what) -> std::optional<std::string> {
    if (!id) return {};
    require(*id >= 0 && *id < int64_t(v.tokens.size()), "{}: the {} token is {}, outside the vocabulary of {}", name,
            what, *id, v.tokens.size());
    return v.tokens[size_t(*id)];
  };
  settings.bos = end(v.bos, "first");
  settings.eos = end(v.eos, "last");
  settings.unknown = end(v.unknown, "unknown");
  if (v.model == "gpt2") return parse_tokenizer_json(tokenizer_json(v, name), name, settings);
  require(v.model == "llama" || v.model == "t5", "{}: the tokenizer model \"{}\" is not known (llama, gpt2, t5)", name,
          v.model);
  return sentencepiece_tokenizer(sentencepiece_model(v, name), name, settings);
}

std::string StreamDecoder::push(int64_t id) {
  const size_t known = tokenizer_.decode(context_).size();
  context_.push_back(id);
  held_ += tokenizer_.decode(context_).substr(known);
  if (!tokenizer_.decode({id}).empty()) context_ = {id};
  const size_t whole = complete_utf8(held_);
  std::string text = held_.substr(0, whole);
  held_.erase(0, whole);
  return text;
}

std::string StreamDecoder::finish() {
  context_.clear();
  return std::exchange(held_, {});
}

}  // namespace quanta
