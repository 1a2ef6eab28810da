#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>

namespace quanta {

/// mk64: sequences over 64 symbols whose four hidden topics each have two likely successors for every symbol. For each
/// topic z two random permutations A_z, B_z are drawn once (seed 7). A sequence starts with a uniform topic and a
/// symbol from Zipf's law, p(k) ~ 1 / (k + 1); at each step the topic is redrawn with probability 0.02, and the next
/// symbol is A_z[last] with probability 0.55, B_z[last] with 0.2, the symbol eight steps back (the first one if there
/// is none) with 0.1, and one from Zipf's law with 0.15. Sequences of one seed do not depend on how many are asked for.
constexpr int64_t kMk64Symbols = 64;
torch::Tensor mk64_sequences(int64_t count, uint64_t seed, int64_t length = 64);  ///< int64 [count, length]

/// The sets that language models of mk64 are trained on, calibrated with and compared on: 2048 sequences of seed
/// 100 + `seed`, 64 of seed 555 and 128 of seed 999.
struct Mk64 {
  torch::Tensor train{}, calibration{}, test{};
};
Mk64 mk64(uint64_t seed);

/// A text where no real one is at hand: characters drawn from a Markov chain of order 2 over a page of English prose
/// that is part of the program (about 4 kB, closed to a ring).
std::string markov_text(int64_t bytes = 1'000'000, uint64_t seed = 1);

}  // namespace quanta
