#include "quanta/text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "quanta/core/error.h"
#include "quanta/text/byte_bpe.h"
#include "quanta/text/id_map.h"

namespace quanta {
namespace {

using nlohmann::json;

struct Word {
  std::vector<uint32_t> ids;
  int64_t count;
};

struct Pair {
  int64_t count = 0;
  std::vector<uint32_t> words{};  // in which it came up; some may have lost it
};

struct Candidate {
  int64_t count;
  uint32_t left, right;
  bool operator<(const Candidate& other) const {  // the queue's top is its greatest
    if (count != other.count) return count < other.count;
    return std::pair(left, right) > std::pair(other.left, other.right);
  }
};

std::vector<Word> words_of(std::string_view text, SplitPattern pattern) {
  std::unordered_map<std::string_view, size_t> index;
  std::vector<Word> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = word_end(pattern, text, at);
    const auto [found, is_new] = index.try_emplace(text.substr(at, end - at), words.size());
    if (is_new) {
      Word& word = words.emplace_back();
      word.count = 0;
      for (const char c : found->first) word.ids.push_back(static_cast<unsigned char>(c));
    }
    ++words[found->second].count;
    at = end;
  }
  return words;
}

}  // namespace

json train_bpe(std::string_view text, const BpeTraining& options) {
  const int64_t least = 256 + int64_t(options.special.size());
  require(options.vocabulary >= least && options.vocabulary <= 1 << 24,
          "a vocabulary of {} was asked for; bytes and special tokens alone are {}", options.vocabulary, least);
  require(!text.empty(), "there is no text to train a tokenizer on");
  std::vector<Word> words = words_of(text, options.pattern);
  IdMap<Pair> pairs;
  const auto count_pair = [&](uint32_t left, uint32_t right, int64_t change, uint32_t word) {
    Pair& pair = pairs(left, right);
    pair.count += change;
    if (change > 0 && (pair.words.empty() || pair.words.back() != word)) pair.words.push_back(word);
  };
  for (uint32_t w = 0; w < words.size(); ++w)
    for (size_t k = 1; k < words[w].ids.size(); ++k)
      count_pair(words[w].ids[k - 1], words[w].ids[k], words[w].count, w);
  std::priority_queue<Candidate> queue;
  for (uint32_t w = 0; w < words.size(); ++w)
    for (size_t k = 1; k < words[w].ids.size(); ++k) {
      Pair& pair = pairs(words[w].ids[k - 1], words[w].ids[k]);
      if (pair.words.front() == w) queue.push({pair.count, words[w].ids[k - 1], words[w].ids[k]});
    }

  std::vector<std::string> tokens;
  std::unordered_set<std::string> known(options.special.begin(), options.special.end());
  for (int b = 0; b < 256; ++b) known.insert(tokens.emplace_back(1, char(b)));
  std::vector<std::pair<uint32_t, uint32_t>> merges;
  const auto wanted = size_t(options.vocabulary) - options.special.size();
  while (tokens.size() < wanted && !queue.empty()) {
    const auto [count, left, right] = queue.top();
    queue.pop();
    const Pair found = pairs(left, right);
    if (found.count != count) {  // it changed meanwhile
      if (found.count > 0 && found.count < count) queue.push({found.count, left, right});
      continue;
    }
    if (count < options.min_count) break;
    // Two ways to the same token would give it two ids.
    if (!known.insert(tokens[left] + tokens[right]).second) continue;
    const auto id = uint32_t(tokens.size());
    tokens.push_back(tokens[left] + tokens[right]);
    merges.emplace_back(left, right);
    std::vector<std::pair<uint32_t, uint32_t>> grown;
    for (const uint32_t w : found.words) {
      std::vector<uint32_t>& ids = words[w].ids;
      bool present = false;
      for (size_t k = 1; k < ids.size() && !present; ++k) present = ids[k - 1] == left && ids[k] == right;
      if (!present) continue;
      for (size_t k = 1; k < ids.size(); ++k) count_pair(ids[k - 1], ids[k], -words[w].count, w);
      size_t length = 0;
      for (size_t k = 0; k < ids.size(); ++k) {
        const bool merge = k + 1 < ids.size() && ids[k] == left && ids[k + 1] == right;
        ids[length++] = merge ? id : ids[k];
        k += merge;
      }
      ids.resize(length);
      for (size_t k = 1; k < ids.size(); ++k) {
        count_pair(ids[k - 1], ids[k], words[w].count, w);
        if (ids[k - 1] == id || ids[k] == id) grown.emplace_back(ids[k - 1], ids[k]);
      }
    }
    std::sort(grown.begin(), grown.end());
    grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
    for (const auto& [a, b] : grown) queue.push({pairs(a, b).count, a, b});
  }

  Vocabulary v{.model = "gpt2", .pre = std::string(gguf_name(options.pattern))};
  for (const std::string& token : tokens) v.tokens.push_back(bytes_to_printable(token));
  v.types.assign(v.tokens.size(), PieceType::Normal);
  for (const std::string& special : options.special) {
    v.tokens.push_back(special);
    v.types.push_back(PieceType::Control);
  }
  for (const auto& [left, right] : merges)
    v.merges.push_back(bytes_to_printable(tokens[left]) + " " + bytes_to_printable(tokens[right]));
  return tokenizer_json(v, "trained tokenizer");
}

}  // namespace quanta
