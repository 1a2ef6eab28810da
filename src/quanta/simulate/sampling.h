#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "quanta/core/parallel.h"
#include "quanta/core/random.h"

namespace quanta::simulate {

/// Cells are weighed in runs of so many.
inline constexpr uint64_t kRun = 8;

/// Draws `shots` of `cells` cells, independently, each with a probability proportional to its weight; visit(s, cell)
/// takes the s-th. weigh(first, count, out) writes the weights (>= 0, not all 0) of a run: `first` is a multiple of
/// kRun, `count` kRun or what is left at the end.
///
/// One pass over the cells and O(1) expected work a shot: inversion with a guide table (Chen and Asau 1974) to blocks
/// of cells. Shot s reads words 2s and 2s + 1 from `random`'s position on: results do not depend on the number of
/// threads. Cells without weight are never drawn.
template <class Weigh, class Visit>
void draw_cells(uint64_t cells, Weigh weigh, int64_t shots, const Random& random, Visit visit) {
  // As many blocks as the second-level cache takes, or of one run each.
  const uint64_t block_cells = std::max<uint64_t>(kRun, std::bit_ceil(cells) >> 20);
  const uint64_t blocks = (cells + block_cells - 1) / block_cells;
  const auto end_of = [&](uint64_t block) { return std::min(cells, (block + 1) * block_cells); };
  const auto weigh_run = [&](uint64_t first, double* weights) {
    if (cells - first >= kRun) {
      weigh(first, kRun, weights);  // a constant, for the compiler
    } else {
      weigh(first, cells - first, weights);
    }
  };
  std::vector<double> before(blocks + 1, 0.0);  // the weight before each block
  parallel_for(int64_t(blocks), std::max<int64_t>(1, (1 << 14) / int64_t(block_cells)),
               [&](int64_t begin, int64_t end) {
                 for (uint64_t block = uint64_t(begin); block < uint64_t(end); ++block)
                   for (uint64_t i = block * block_cells; i < end_of(block); i += kRun) {
                     double weights[kRun] = {}, sum = 0;
                     weigh_run(i, weights);
                     for (const double w : weights) sum += w;
                     before[block + 1] += sum;
                   }
               });
  for (uint64_t block = 0; block < blocks; ++block) before[block + 1] += before[block];
  const double total = before[blocks];

  const uint64_t steps = 2 * blocks;
  std::vector<uint32_t> guide(steps);  // the first block that reaches beyond j / steps of the weight
  for (uint64_t j = 0, block = 0; j < steps; ++j) {
    while (block + 1 < blocks && before[block + 1] <= double(j) / double(steps) * total) ++block;
    guide[j] = uint32_t(block);
  }
  uint64_t last = blocks - 1;  // with weight
  while (last > 0 && before[last] == total) --last;

  parallel_for(shots, 1 << 12, [&](int64_t begin, int64_t end) {
    Random stream = random;
    stream.seek(random.position() + 2 * uint64_t(begin));
    // Many shots at a time, in the order of their places up to a bucket: so memory is walked through, not jumped about.
    constexpr int64_t kGroup = 1 << 16;
    constexpr int kBuckets = 1024;
    std::vector<double> uniform(size_t(std::min(kGroup, end - begin)));
    std::vector<uint32_t> order(uniform.size());
    for (int64_t first = begin; first < end; first += kGroup) {
      const auto count = uint32_t(std::min(kGroup, end - first));
      std::array<uint32_t, kBuckets + 1> place{};
      for (uint32_t k = 0; k < count; ++k) {
        uniform[k] = stream.uniform();
        ++place[size_t(uniform[k] * kBuckets) + 1];
      }
      for (int bucket = 0; bucket < kBuckets; ++bucket) place[size_t(bucket) + 1] += place[size_t(bucket)];
      for (uint32_t k = 0; k < count; ++k) order[place[size_t(uniform[k] * kBuckets)]++] = k;
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t k = order[i];
        double left = uniform[k] * total;
        uint64_t block = guide[std::min(steps - 1, uint64_t(uniform[k] * double(steps)))];
        while (block < last && before[block + 1] <= left) ++block;
        while (before[block] > left) --block;  // the guide's rounding
        left -= before[block];
        uint64_t reached = 0;  // if rounding leads beyond the block: its last cell with weight
        for (uint64_t run = block * block_cells; run < end_of(block); run += kRun) {
          double weights[kRun] = {}, sum = 0;
          weigh_run(run, weights);
          uint64_t passed = 0, behind = kRun;
          for (uint64_t c = 0; c < kRun; ++c) passed += (sum += weights[c]) <= left;
          if (passed < kRun) {
            reached = run + passed;
            break;
          }
          left -= sum;
          while (behind > 0 && weights[behind - 1] <= 0) --behind;
          if (behind > 0) reached = run + behind - 1;
        }
        visit(first + int64_t(k), reached);
      }
    }
  });
}

/// A linear map over bits, by tables of bytes.
class BitMap {
 public:
  /// image(bit): of a number with that bit alone.
  template <class Image>
  BitMap(int bits, Image image) : tables_(size_t(bits + 7) / 8) {
    for (int bit = 0; bit < bits; ++bit) {
      auto& table = tables_[size_t(bit / 8)];
      const size_t half = size_t{1} << bit % 8;
      const uint64_t column = image(bit);
      for (size_t i = 0; i < half; ++i) table[half + i] = table[i] ^ column;
    }
  }
  uint64_t operator()(uint64_t x) const {
    uint64_t result = 0;
    for (const auto& table : tables_) {
      result ^= table[x & 255];
      x >>= 8;
    }
    return result;
  }

 private:
  std::vector<std::array<uint64_t, 256>> tables_;
};

}  // namespace quanta::simulate
