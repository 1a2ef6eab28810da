#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quanta {

/// Philox4x32-10: a bijection of the counter's 128 bits for each key, as in Random123.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A seeded, counter-based random stream (Philox4x32-10, Salmon et al., SC 2011): the n-th number is a function of
/// (seed, stream, n) alone, so streams can be split among samples and threads without changing a result.
class Random {
 public:
  using result_type = uint32_t;
  explicit Random(uint64_t seed, uint64_t stream = 0) : key_(seed), stream_(stream) {}

  /// An independent stream; equal arguments give equal streams.
  Random split(uint64_t index) const;
  Random split(std::string_view name) const;

  uint32_t operator()();  // usable wherever the standard library wants a generator
  static constexpr uint32_t min() { return 0; }
  static constexpr uint32_t max() { return UINT32_MAX; }

  uint64_t bits64();                            // two words, the first one high
  double uniform();                             // [0, 1), 53 bits
  double uniform(double low, double high);      // [low, high), up to rounding
  double normal();                              // mean 0, standard deviation 1; takes four words
  uint64_t below(uint64_t bound);               // 0 .. bound - 1 without bias; bound > 0
  std::vector<int64_t> permutation(int64_t n);  // 0 .. n - 1 shuffled

  /// Position in the stream, in words of 32 bits, for exact resume.
  uint64_t position() const { return counter_; }
  void seek(uint64_t position);

 private:
  uint64_t key_;
  uint64_t stream_;
  uint64_t counter_ = 0;
  std::array<uint32_t, 4> block_{};
};

}  // namespace quanta
