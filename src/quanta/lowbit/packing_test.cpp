#include "quanta/lowbit/packing.h"

#include <gtest/gtest.h>

#include "quanta/core/random.h"

namespace quanta {
namespace {

TEST(Packing, ThreeBitsByHand) {
  // 1, -1, 2 as 001, 111, 010: bits 0-2, 3-5, 6-8.
  const std::vector<int8_t> codes{1, -1, 2};
  EXPECT_EQ(pack_bits(codes, 3), (std::vector<uint8_t>{0b10'111'001, 0}));
}

TEST(Packing, ComesBackAtEveryWidth) {
  Random random(1);
  for (int bits = 1; bits <= 8; ++bits) {
    std::vector<int8_t> codes(101);
    for (auto& code : codes) code = int8_t(int(random.below(1u << bits)) - (1 << (bits - 1)));
    const auto packed = pack_bits(codes, bits);
    EXPECT_EQ(packed.size(), (101 * size_t(bits) + 7) / 8);
    EXPECT_EQ(unpack_bits(std::as_bytes(std::span(packed)), codes.size(), bits), codes) << bits;
  }
}

}  // namespace
}  // namespace quanta
