#include "quanta/lowbit/gptq_layout.h"

#include <algorithm>
#include <numeric>

#include "quanta/core/error.h"

namespace quanta {
namespace {

/// Words of a stream of `count` codes.
int64_t words_of(int64_t count, int bits, const char* what) {
  require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "the GPTQ layout has codes of 2, 3, 4 or 8 bits, got {}",
          bits);
  const int64_t unit = bits == 3 ? 32 : 32 / bits;
  require(count >= 0 && count % unit == 0,
          "{} {} of {} bits do not fill whole 32-bit words: pad them to a multiple of {} first", count, what, bits,
          unit);
  return count * bits / 32;
}

void expect(const char* what, size_t got, int64_t expected) {
  require(int64_t(got) == expected, "{} {} were expected, got {}", expected, what, got);
}

/// A stream of `count` codes whose word r is words[r * stride].
template <class Code>
void write_stream(int64_t count, int bits, const Code& code, uint32_t* words, int64_t stride) {
  uint64_t pending = 0;
  int filled = 0;
  for (int64_t i = 0; i < count; ++i) {
    pending |= uint64_t(code(i)) << filled;
    filled += bits;
    if (filled < 32) continue;
    *words = uint32_t(pending);
    words += stride;
    pending >>= 32;
    filled -= 32;
  }
}
template <class Take>
void read_stream(int64_t count, int bits, const uint32_t* words, int64_t stride, const Take& take) {
  uint64_t pending = 0;
  int left = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (left < bits) {
      pending |= uint64_t{*words} << left;
      words += stride;
      left += 32;
    }
    take(i, uint8_t(pending & ((1u << bits) - 1)));
    pending >>= bits;
    left -= bits;
  }
}

}  // namespace

std::vector<uint32_t> pack_gptq(std::span<const uint8_t> codes, int64_t n, int64_t k, int bits) {
  std::vector<uint32_t> words(size_t(words_of(k, bits, "inputs") * n));
  expect("codes", codes.size(), n * k);
  for (const uint8_t code : codes)
    require(code < 1 << bits, "a code of {} bits must lie from 0 to {}, got {}", bits, (1 << bits) - 1, code);
  for (int64_t i = 0; i < n; ++i)
    write_stream(
        k, bits, [&](int64_t at) { return codes[size_t(i * k + at)]; }, words.data() + i, n);
  return words;
}

std::vector<uint8_t> unpack_gptq(std::span<const uint32_t> words, int64_t n, int64_t k, int bits) {
  expect("words of codes", words.size(), words_of(k, bits, "inputs") * n);
  std::vector<uint8_t> codes(size_t(n * k));
  for (int64_t i = 0; i < n; ++i)
    read_stream(k, bits, words.data() + i, n, [&](int64_t at, uint8_t code) { codes[size_t(i * k + at)] = code; });
  return codes;
}

std::vector<uint32_t> pack_gptq_zeros(std::span<const float> zeros, int64_t n, int64_t groups, int bits) {
  const int64_t each = words_of(n, bits, "outputs"), highest = (1 << bits) - 1;
  expect("zero points", zeros.size(), n * groups);
  for (const float zero : zeros)
    require(zero >= 0 && zero <= float(highest) && zero == float(int(zero)),
            "the GPTQ layout has zero points that are integers from 0 to {}, got {}", highest, zero);
  std::vector<uint32_t> words(size_t(each * groups));
  for (int64_t g = 0; g < groups; ++g)
    write_stream(
        n, bits, [&](int64_t i) { return uint8_t((int(zeros[size_t(i * groups + g)]) - 1) & highest); },
        words.data() + g * each, 1);
  return words;
}

std::vector<float> unpack_gptq_zeros(std::span<const uint32_t> words, int64_t n, int64_t groups, int bits) {
  const int64_t each = words_of(n, bits, "outputs"), highest = (1 << bits) - 1;
  expect("words of zero points", words.size(), each * groups);
  std::vector<float> zeros(size_t(n * groups));
  for (int64_t g = 0; g < groups; ++g)
    read_stream(n, bits, words.data() + g * each, 1,
                [&](int64_t i, uint8_t stored) { zeros[size_t(i * groups + g)] = float((stored + 1) & highest); });
  return zeros;
}

std::vector<uint8_t> unpack_awq(std::span<const uint32_t> words, int64_t n, int64_t rows) {
  require(n >= 0 && n % 8 == 0, "the AWQ layout has a multiple of 8 outputs, got {}", n);
  expect("words of AWQ codes", words.size(), n / 8 * rows);
  constexpr int kOutput[] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<uint8_t> codes(size_t(n * rows));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t w = 0; w < n / 8; ++w)
      for (int i = 0; i < 8; ++i)
        codes[size_t((8 * w + kOutput[i]) * rows + r)] = uint8_t(words[size_t(r * (n / 8) + w)] >> 4 * i & 15);
  return codes;
}

std::vector<int32_t> order_of_groups(std::span<const int32_t> group_index, int64_t group) {
  const auto count = int64_t(group_index.size());
  require(group >= 1, "a group must have at least one input, got {}", group);
  std::vector<int32_t> order(group_index.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t k) { return group_index[size_t(k)]; });
  for (int64_t k = 0; k < count; ++k)
    require(group_index[size_t(order[size_t(k)])] == k / group,
            "{} inputs in groups of {}: the group index does not put {} inputs into each, see group {}", count, group,
            group, k / group);
  if (std::ranges::is_sorted(order)) order.clear();
  return order;
}

std::vector<uint8_t> pack_trits(std::span<const uint8_t> codes) {
  std::vector<uint8_t> packed((codes.size() + 4) / 5);
  for (size_t i = codes.size(); i-- > 0;) {
    require(codes[i] <= 2, "a ternary code must lie from 0 to 2, got {}", codes[i]);
    packed[i / 5] = uint8_t(packed[i / 5] * 3 + codes[i]);
  }
  return packed;
}

std::vector<uint8_t> unpack_trits(std::span<const uint8_t> packed, size_t count) {
  expect("bytes of ternary codes", packed.size(), int64_t(count + 4) / 5);
  std::vector<uint8_t> codes(count);
  for (size_t i = 0; i < count; i += 5) {
    int byte = packed[i / 5];
    require(byte <= 242, "a byte of five ternary codes must lie from 0 to 242, got {}", byte);
    for (size_t j = i; j < std::min(i + 5, count); ++j, byte /= 3) codes[j] = uint8_t(byte % 3);
  }
  return codes;
}

}  // namespace quanta
