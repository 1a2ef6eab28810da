#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/learn/samples.h"

namespace quanta {

/// The stem of a lower-case English word by M. F. Porter's algorithm (Program 14(3), 1980): "relational" -> "relat".
std::string porter_stem(std::string word);

/// Words of a text in lower case: runs of the letters a-z, "n't" becoming "not".
std::vector<std::string> words(std::string_view text);

struct TfidfOptions {
  int max_terms = 1500;    ///< the most frequent ones
  bool stop_words = true;  ///< leave out English words without content; negations (no, not, nor, never) stay
  bool stem = true;        ///< porter_stem()
};

/// Bags of words: a text's counts of the training texts' terms, each times idf = ln((1 + N) / (1 + df)) + 1, scaled to
/// Euclidean length 1 (0 for a text without known terms).
class TfidfVectorizer {
 public:
  explicit TfidfVectorizer(TfidfOptions options = {}) : options_(options) {}

  /// Throws Error if no term is left.
  void fit(const std::vector<std::string>& texts);
  Samples transform(const std::vector<std::string>& texts) const;   ///< [texts, terms]
  const std::vector<std::string>& terms() const { return terms_; }  ///< in alphabetical order

 private:
  std::map<std::string, int> count(std::string_view text) const;
  TfidfOptions options_;
  std::vector<std::string> terms_;
  std::vector<double> idf_;
};

}  // namespace quanta
