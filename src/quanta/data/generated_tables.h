#pragma once

#include <cstdint>
#include <string>

namespace quanta {

/// A table like Fisher's irises as CSV text: columns c0 .. c3 and class; 50 rows of each of the classes 0, 1, 2, normal
/// in each column about the irises' rounded means (system 18). Columns 2 and 3 tell the classes apart.
std::string iris_like_csv(uint64_t seed);

struct PseudoReviewsOptions {
  int documents = 400;
  double polar = 0.4;  ///< share of words that carry sentiment
  int shortest = 8;    ///< words
  int longest = 20;
  uint64_t seed = 0;
};

/// Reviews in made-up words as TSV text, columns Review and Liked (system 14): 200 words in Dirichlet(0.5) proportions,
/// 25 of them pleasant and 25 unpleasant; of a document's words the share `polar` are drawn from these, 85 % of its own
/// polarity.
std::string pseudo_reviews_tsv(const PseudoReviewsOptions& options = {});

}  // namespace quanta
