#include "quanta/data/generated_tables.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {

std::string iris_like_csv(uint64_t seed) {
  constexpr double kMeans[4][3] = {{5.0, 5.9, 6.6}, {3.4, 2.8, 3.0}, {1.5, 4.3, 5.5}, {0.25, 1.33, 2.0}};
  constexpr double kDeviations[4][3] = {{0.5, 0.5, 0.5}, {0.33, 0.33, 0.33}, {0.17, 0.47, 0.55}, {0.1, 0.2, 0.27}};
  std::string text = "c0,c1,c2,c3,class\n";
  Random random = Random(seed).split("iris_like");
  for (int row = 0; row < 150; ++row) {
    const int label = row / 50;
    for (int column = 0; column < 4; ++column)
      text += fmt::format("{},", kMeans[column][label] + kDeviations[column][label] * random.normal());
    text += fmt::format("{}\n", label);
  }
  return text;
}

std::string pseudo_reviews_tsv(const PseudoReviewsOptions& options) {
  constexpr int kWords = 200, kPolar = 25;
  require(options.documents >= 1 && options.shortest >= 1 && options.longest >= options.shortest &&
              options.polar >= 0 && options.polar <= 1,
          "pseudo_reviews_tsv: expected documents, lengths from 1 on and a share in 0..1, got {}, {}..{} and {}",
          options.documents, options.shortest, options.longest, options.polar);
  Random random = Random(options.seed).split("pseudo_reviews");
  std::vector<std::string> words;
  while (int(words.size()) < kWords) {
    std::string word;
    for (int syllables = 2 + int(random.below(2)); syllables > 0; --syllables)
      word += {"bdfgklmnprstvz"[random.below(14)], "aeiou"[random.below(5)]};
    if (std::ranges::count(words, word) == 0) words.push_back(word);
  }
  // A gamma(1/2) number is half the square of a normal one; scaled to sum 1 they are Dirichlet.
  std::vector<double> upto;
  double sum = 0;
  for (int i = 0; i < kWords; ++i) upto.push_back(sum += std::pow(random.normal(), 2) / 2);
  const auto order = random.permutation(kWords);  // the first words are pleasant, the next unpleasant

  std::string text = "Review\tLiked\n";
  for (int document = 0; document < options.documents; ++document) {
    const int liked = int(random.below(2));
    const int length = options.shortest + int(random.below(uint64_t(options.longest - options.shortest + 1)));
    for (int i = 0; i < length; ++i) {
      int64_t word;
      if (random.uniform() < options.polar) {
        const bool pleasant = (random.uniform() < 0.85) == (liked == 1);
        word = order[(pleasant ? 0 : kPolar) + random.below(kPolar)];
      } else {
        word = std::ranges::upper_bound(upto, random.uniform() * sum) - upto.begin();
      }
      text += (i ? " " : "") + words[std::min<int64_t>(word, kWords - 1)];
    }
    text += fmt::format("\t{}\n", liked);
  }
  return text;
}

}  // namespace quanta
