#include "quanta/learn/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <set>
#include <utility>

namespace quanta {
namespace {

const std::set<std::string, std::less<>> kStopWords = {
    "a",       "about",  "above", "after",   "again",   "against", "all",   "also",   "am",     "an",     "and",
    "any",     "are",    "as",    "at",      "be",      "because", "been",  "before", "being",  "below",  "between",
    "both",    "but",    "by",    "can",     "could",   "did",     "do",    "does",   "doing",  "down",   "during",
    "each",    "few",    "for",   "from",    "further", "had",     "has",   "have",   "having", "he",     "her",
    "here",    "hers",   "him",   "his",     "how",     "i",       "if",    "in",     "into",   "is",     "it",
    "its",     "itself", "just",  "ll",      "m",       "me",      "more",  "most",   "my",     "myself", "now",
    "of",      "off",    "on",    "once",    "only",    "or",      "other", "our",    "ours",   "out",    "over",
    "own",     "re",     "s",     "same",    "she",     "should",  "so",    "some",   "such",   "t",      "than",
    "that",    "the",    "their", "theirs",  "them",    "then",    "there", "these",  "they",   "this",   "those",
    "through", "to",     "too",   "under",   "until",   "up",      "ve",    "very",   "was",    "we",     "were",
    "what",    "when",   "where", "which",   "while",   "who",     "whom",  "why",    "will",   "with",   "would",
    "you",     "your",   "yours", "yourself"};

bool consonant(std::string_view word, size_t i) {
  if (std::string_view("aeiou").find(word[i]) != std::string_view::npos) return false;
  return word[i] != 'y' || i == 0 || !consonant(word, i - 1);
}

/// Porter's m: how often a vowel is followed by a consonant.
int measure(std::string_view word) {
  int m = 0;
  for (size_t i = 1; i < word.size(); ++i) m += consonant(word, i) && !consonant(word, i - 1);
  return m;
}

bool has_vowel(std::string_view word) {
  for (size_t i = 0; i < word.size(); ++i)
    if (!consonant(word, i)) return true;
  return false;
}

bool double_consonant(std::string_view word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && consonant(word, n - 1);
}

/// Ends consonant, vowel, consonant other than w, x, y.
bool short_end(std::string_view word) {
  const size_t n = word.size();
  return n >= 3 && consonant(word, n - 1) && !consonant(word, n - 2) && consonant(word, n - 3) &&
         std::string_view("wxy").find(word[n - 1]) == std::string_view::npos;
}

using Rules = std::vector<std::pair<std::string_view, std::string_view>>;

/// Replaces the longest suffix that a rule names if what is before it has more than `least` measures.
void replace_suffix(std::string& word, const Rules& rules, int least) {
  const std::pair<std::string_view, std::string_view>* best = nullptr;
  for (const auto& rule : rules)
    if (word.ends_with(rule.first) && (!best || rule.first.size() > best->first.size())) best = &rule;
  if (!best) return;
  const std::string_view stem(word.data(), word.size() - best->first.size());
  if (measure(stem) <= least) return;
  if (best->first == "ion" && !stem.ends_with('s') && !stem.ends_with('t')) return;
  word = std::string(stem) + std::string(best->second);
}

}  // namespace

std::string porter_stem(std::string word) {
  if (word.size() <= 2) return word;
  const auto cut = [&](size_t count) { word.resize(word.size() - count); };
  // Step 1a: plurals.
  if (word.ends_with("sses") || word.ends_with("ies"))
    cut(2);
  else if (word.ends_with('s') && !word.ends_with("ss"))
    cut(1);
  // Step 1b: -ed, -ing.
  if (word.ends_with("eed")) {
    if (measure(std::string_view(word).substr(0, word.size() - 3)) > 0) cut(1);
  } else {
    const size_t suffix = word.ends_with("ed") ? 2 : word.ends_with("ing") ? 3 : 0;
    if (suffix && has_vowel(std::string_view(word).substr(0, word.size() - suffix))) {
      cut(suffix);
      if (word.ends_with("at") || word.ends_with("bl") || word.ends_with("iz"))
        word += 'e';
      else if (double_consonant(word) && std::string_view("lsz").find(word.back()) == std::string_view::npos)
        cut(1);
      else if (measure(word) == 1 && short_end(word))
        word += 'e';
    }
  }
  // Step 1c.
  if (word.ends_with('y') && has_vowel(std::string_view(word).substr(0, word.size() - 1))) word.back() = 'i';
  // Steps 2 to 4.
  static const Rules kStep2 = {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},
                               {"izer", "ize"},    {"abli", "able"},   {"alli", "al"},     {"entli", "ent"},
                               {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
                               {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"},
                               {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"}};
  static const Rules kStep3 = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                               {"ical", "ic"},  {"ful", ""},   {"ness", ""}};
  static const Rules kStep4 = {{"al", ""},   {"ance", ""}, {"ence", ""}, {"er", ""},    {"ic", ""},
                               {"able", ""}, {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""},
                               {"ent", ""},  {"ion", ""},  {"ou", ""},   {"ism", ""},   {"ate", ""},
                               {"iti", ""},  {"ous", ""},  {"ive", ""},  {"ize", ""}};
  replace_suffix(word, kStep2, 0);
  replace_suffix(word, kStep3, 0);
  replace_suffix(word, kStep4, 1);
  // Step 5.
  if (word.ends_with('e')) {
    const std::string_view stem(word.data(), word.size() - 1);
    if (measure(stem) > 1 || (measure(stem) == 1 && !short_end(stem))) cut(1);
  }
  if (word.ends_with("ll") && measure(word) > 1) cut(1);
  return word;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> result;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) result.push_back(std::exchange(word, {}));
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = char(std::tolower(static_cast<unsigned char>(text[i])));
    if (c >= 'a' && c <= 'z') {
      word += c;
    } else if (c == '\'' && word.size() > 1 && word.back() == 'n' && i + 1 < text.size() &&
               std::tolower(static_cast<unsigned char>(text[i + 1])) == 't') {
      word.pop_back();
      finish();
      result.push_back("not");
      ++i;
    } else {
      finish();
    }
  }
  finish();
  return result;
}

std::map<std::string, int> TfidfVectorizer::count(std::string_view text) const {
  std::map<std::string, int> counts;
  for (auto& word : words(text))
    if (!options_.stop_words || !kStopWords.contains(word)) ++counts[options_.stem ? porter_stem(word) : word];
  return counts;
}

void TfidfVectorizer::fit(const std::vector<std::string>& texts) {
  struct Frequency {
    int64_t terms = 0;
    int64_t texts = 0;
  };
  std::map<std::string, Frequency> frequencies;
  for (const auto& text : texts)
    for (const auto& [term, times] : count(text)) {
      frequencies[term].terms += times;
      ++frequencies[term].texts;
    }
  terms_.clear();
  idf_.clear();
  for (const auto& [term, frequency] : frequencies) terms_.push_back(term);
  std::ranges::stable_sort(terms_, std::ranges::greater{}, [&](const auto& term) { return frequencies[term].terms; });
  if (int(terms_.size()) > options_.max_terms) terms_.resize(std::max(0, options_.max_terms));
  require(!terms_.empty(), "TF-IDF: no term is left of {} texts: are they empty, or all words stop words?",
          texts.size());
  std::ranges::sort(terms_);
  for (const auto& term : terms_)
    idf_.push_back(std::log((1.0 + double(texts.size())) / (1.0 + double(frequencies[term].texts))) + 1);
}

Samples TfidfVectorizer::transform(const std::vector<std::string>& texts) const {
  require(!terms_.empty(), "TF-IDF: transform() before fit()");
  Samples result(int64_t(texts.size()), int64_t(terms_.size()));
  for (int64_t i = 0; i < result.rows; ++i) {
    double square = 0;
    for (const auto& [term, times] : count(texts[i])) {
      const auto found = std::ranges::lower_bound(terms_, term);
      if (found == terms_.end() || *found != term) continue;
      const int64_t j = found - terms_.begin();
      result(i, j) = times * idf_[j];
      square += result(i, j) * result(i, j);
    }
    for (int64_t j = 0; square > 0 && j < result.columns; ++j) result(i, j) /= std::sqrt(square);
  }
  return result;
}

}  // namespace quanta
