#include "quanta/data/text_data.h"

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/data/archive.h"
#include "quanta/data/known.h"
#include "quanta/data/markov_text.h"

namespace quanta {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBlock = 256;  // bytes that two texts must share to count as overlapping

bool is_json_lines(const fs::path& path) {
  const fs::path plain = path.extension() == ".gz" ? path.stem() : path;
  return plain.extension() == ".jsonl" || plain.extension() == ".ndjson";
}

TextSplits split(std::string name, std::string source, const std::string& text) {
  size_t cut = text.size() / 10 * 9 + text.size() % 10 * 9 / 10;
  while (cut > 0 && cut < text.size() && (text[cut] & 0xC0) == 0x80) --cut;
  return {std::move(name), std::move(source), text.substr(0, cut), text.substr(cut)};
}

/// The first block of `blocks`, cut from its beginning at multiples of kBlock, that `text` contains, or npos: a rolling
/// polynomial hash (Karp and Rabin) proposes, a comparison decides.
size_t shared_block(std::string_view text, std::string_view blocks) {
  constexpr uint64_t kBase = 0x100000001B3;
  const auto append = [](uint64_t hash, char c) { return hash * kBase + static_cast<unsigned char>(c) + 1; };
  const auto hash_of = [&](std::string_view bytes) {
    uint64_t hash = 0;
    for (const char c : bytes) hash = append(hash, c);
    return hash;
  };
  std::unordered_map<uint64_t, size_t> starts;
  for (size_t at = 0; at + kBlock <= blocks.size(); at += kBlock)
    starts.emplace(hash_of(blocks.substr(at, kBlock)), at);
  uint64_t oldest = 1;  // the factor of a window's first byte
  for (size_t i = 1; i < kBlock; ++i) oldest *= kBase;
  uint64_t hash = hash_of(text.substr(0, kBlock));
  for (size_t at = 0; at + kBlock <= text.size(); ++at) {
    if (const auto found = starts.find(hash);
        found != starts.end() && text.substr(at, kBlock) == blocks.substr(found->second, kBlock))
      return found->second;
    if (at + kBlock < text.size())
      hash = append(hash - oldest * (static_cast<unsigned char>(text[at]) + 1), text[at + kBlock]);
  }
  return std::string_view::npos;
}

void require_enough(int64_t tokens, int64_t count, int64_t length, const std::string& source) {
  require(count >= 1 && length >= 1, "calibration needs at least one sequence of one token, got {} of {}", count,
          length);
  require(tokens >= length,
          "the calibration text ({}) has {} tokens, fewer than a sequence of {}: take a longer text or "
          "shorter sequences",
          source, tokens, length);
}

}  // namespace

std::vector<std::string> read_documents(const fs::path& path) {
  const std::string content = read_maybe_gzip(path);
  std::vector<std::string> documents;
  if (is_json_lines(path)) {
    size_t line = 0;
    for (size_t begin = 0; begin < content.size();) {
      const size_t end = std::min(content.find('\n', begin), content.size());
      const std::string_view row = std::string_view(content).substr(begin, end - begin);
      begin = end + 1;
      ++line;
      if (row.find_first_not_of(" \t\r") == row.npos) continue;
      const auto json = nlohmann::json::parse(row, nullptr, /*allow_exceptions=*/false);
      require(json.is_object() && json.contains("text") && json.at("text").is_string(),
              "{}, line {}: expected a JSON object with a text field \"text\"", path.string(), line);
      documents.push_back(json.at("text"));
    }
  } else if (!content.empty()) {
    require(content.find('\0') == content.npos, "{} holds zero bytes: it is no text", path.string());
    documents.push_back(content);
  }
  require(!documents.empty(), "{} is empty: expected a text", path.string());
  return documents;
}

std::string read_text(const fs::path& path) {
  std::string text;
  for (const std::string& document : read_documents(path)) text += (text.empty() ? "" : "\n\n") + document;
  return text;
}

TextSplits load_text(const std::string& name, const fs::path& dir, const std::function<void(const std::string&)>& log) {
  std::string known = name;
  std::replace(known.begin(), known.end(), '-', '_');
  if (known == "tiny_shakespeare") {
    if (const auto path = find_data(known, dir)) return split(known, path->string(), read_text(*path));
    if (log)
      log("tiny_shakespeare was not found (quanta data get tiny_shakespeare says how to get it): markov_text, a "
          "generated text, is used instead");
    known = "markov_text";
  }
  if (known == "markov_text") return split(known, "generated", markov_text());
  std::error_code ignored;
  require(fs::is_regular_file(name, ignored), "text {}: {}; expected a file, tiny-shakespeare or markov-text", name,
          fs::exists(name, ignored) ? "not a file" : "no such file");
  return split(fs::path(name).filename().string(), name, read_text(name));
}

std::string text_hash(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", hash);
}

std::string tokens_hash(const torch::Tensor& tokens) {
  const torch::Tensor values = tokens.to(torch::kInt64).contiguous();
  return text_hash({static_cast<const char*>(values.data_ptr()), size_t(values.nbytes())});
}

void require_disjoint(std::string_view calibration, std::string_view evaluation) {
  const auto [less, more] =
      std::minmax(calibration, evaluation, [](std::string_view a, std::string_view b) { return a.size() < b.size(); });
  if (less.empty()) return;
  const size_t at = less.size() < kBlock ? (more.find(less) == more.npos ? more.npos : 0) : shared_block(more, less);
  require(at == std::string_view::npos,
          "the calibration text overlaps the evaluation text ('{}...' stands in both): perplexity on what a model was "
          "calibrated with says nothing; take another text",
          at == std::string_view::npos
              ? ""
              : nlohmann::json(less.substr(at, 24)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

CalibrationSet random_windows(const torch::Tensor& stream, int64_t count, int64_t length, uint64_t seed,
                              std::string source) {
  const int64_t tokens = stream.numel();
  require_enough(tokens, count, length, source);
  CalibrationSet set{.tokens = torch::empty({count, length}, torch::kInt64), .seed = seed, .source = std::move(source)};
  Random random(seed);
  for (int64_t i = 0; i < count; ++i)
    set.tokens[i] = stream.narrow(0, int64_t(random.below(uint64_t(tokens - length + 1))), length);
  return set;
}

CalibrationSet document_blocks(const std::vector<std::vector<int64_t>>& documents, int64_t count, int64_t length,
                               uint64_t seed, std::string source) {
  std::vector<int64_t> stream;
  for (const int64_t i : Random(seed).permutation(int64_t(documents.size()))) {
    stream.insert(stream.end(), documents[size_t(i)].begin(), documents[size_t(i)].end());
    if (int64_t(stream.size()) >= count * length) break;
  }
  require_enough(int64_t(stream.size()), count, length, source);
  require(
      int64_t(stream.size()) >= count * length,
      "the calibration text ({}) has {} tokens, fewer than {} sequences of {}: take a longer text or fewer sequences",
      source, stream.size(), count, length);
  stream.resize(size_t(count * length));
  return {.tokens = token_stream(stream).view({count, length}), .seed = seed, .source = std::move(source)};
}

torch::Tensor token_stream(const std::vector<int64_t>& ids) {
  return torch::tensor(ids, torch::kInt64);
}

}  // namespace quanta
