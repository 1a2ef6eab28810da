#include "quanta/text/bpe_trainer.h"

#include <gmock/gmock.h>

#include <map>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/text/byte_bpe.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;

// The algorithm without its bookkeeping: counts all pairs anew for each merge.
std::vector<std::string> brute_force(std::string_view text, int merges) {
  std::vector<std::vector<int>> words;
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, char(b));
  for (size_t at = 0; at < text.size();) {
    const size_t end = word_end(SplitPattern::Gpt2, text, at);
    auto& word = words.emplace_back();
    for (; at < end; ++at) word.push_back(static_cast<unsigned char>(text[at]));
  }
  std::vector<std::string> result;
  while (int(result.size()) < merges) {
    std::map<std::pair<int, int>, int> counts;
    for (const auto& word : words)
      for (size_t k = 1; k < word.size(); ++k) ++counts[{word[k - 1], word[k]}];
    std::pair<int, int> best{-1, -1};
    int most = 1;
    for (const auto& [pair, count] : counts) {
      const std::string whole = tokens[size_t(pair.first)] + tokens[size_t(pair.second)];
      if (count > most && std::find(tokens.begin(), tokens.end(), whole) == tokens.end()) {
        best = pair;
        most = count;
      }
    }
    if (best.first < 0) break;
    const int id = int(tokens.size());
    tokens.push_back(tokens[size_t(best.first)] + tokens[size_t(best.second)]);
    result.push_back(bytes_to_printable(tokens[size_t(best.first)]) + " " +
                     bytes_to_printable(tokens[size_t(best.second)]));
    for (auto& word : words)
      for (size_t k = 0; k + 1 < word.size(); ++k)
        if (word[k] == best.first && word[k + 1] == best.second) {
          word[k] = id;
          word.erase(word.begin() + std::ptrdiff_t(k) + 1);
        }
  }
  return result;
}

TEST(BpeTrainer, MergesAsCountingAnewWould) {
  Random random(2);
  for (int round = 0; round < 20; ++round) {
    std::string text;
    for (int k = 0; k < 400; ++k) text += random.below(5) ? char('a' + random.below(3)) : ' ';
    const auto document = train_bpe(text, {.vocabulary = 256 + 60});
    EXPECT_EQ(document.at("model").at("merges").get<std::vector<std::string>>(), brute_force(text, 60));
  }
}

TEST(BpeTrainer, StopsWhenPairsRunOut) {
  const auto document = train_bpe("abab abab", {.vocabulary = 1000, .special = {"<|endoftext|>"}});
  EXPECT_THAT(document.at("model").at("merges").get<std::vector<std::string>>(), ElementsAre("a b", "ab ab"));
  const auto t = parse_tokenizer_json(document, "t");
  EXPECT_EQ(t->size(), 259);
  EXPECT_EQ(t->encode("abab<|endoftext|>"), (std::vector<int64_t>{257, 258}));
  EXPECT_THROW(train_bpe("a", {.vocabulary = 256, .special = {"x"}}), Error);
  EXPECT_THROW(train_bpe(""), Error);
}

}  // namespace
}  // namespace quanta
