#include "quanta/core/random.h"

#include <cmath>
#include <numbers>
#include <numeric>

namespace quanta {
namespace {

uint64_t mix(uint64_t x) {  // splitmix64's finalizer
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

std::array<uint32_t, 4> block_of(uint64_t key, uint64_t stream, uint64_t block) {
  return philox4x32({uint32_t(block), uint32_t(block >> 32), uint32_t(stream), uint32_t(stream >> 32)},
                    {uint32_t(key), uint32_t(key >> 32)});
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {uint32_t(p1 >> 32) ^ counter[1] ^ key[0], uint32_t(p1), uint32_t(p0 >> 32) ^ counter[3] ^ key[1],
               uint32_t(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

Random Random::split(uint64_t index) const {
  return Random(key_, mix(stream_ ^ mix(index)));
}

Random Random::split(std::string_view name) const {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (unsigned char byte : name) hash = (hash ^ byte) * 0x100000001B3;
  return split(hash);
}

uint32_t Random::operator()() {
  if (counter_ % 4 == 0) block_ = block_of(key_, stream_, counter_ / 4);
  return block_[counter_++ % 4];
}

void Random::seek(uint64_t position) {
  counter_ = position;
  if (counter_ % 4) block_ = block_of(key_, stream_, counter_ / 4);
}

uint64_t Random::bits64() {
  const uint64_t high = (*this)();
  return high << 32 | (*this)();
}

double Random::uniform() {
  return double(bits64() >> 11) * 0x1p-53;
}
double Random::uniform(double low, double high) {
  return low + (high - low) * uniform();
}

double Random::normal() {
  // Box-Muller; the second number is thrown away so that the position in the stream says everything.
  const double radius = std::sqrt(-2 * std::log1p(-uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

uint64_t Random::below(uint64_t bound) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  uint64_t x;
  do x = bits64();
  while (x >= limit);
  return x % bound;
}

std::vector<int64_t> Random::permutation(int64_t n) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[below(i + 1)]);
  return order;
}

}  // namespace quanta
