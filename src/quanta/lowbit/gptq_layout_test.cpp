#include "quanta/lowbit/gptq_layout.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class F>
std::string message(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<uint8_t> random_codes(size_t count, int bits) {
  Random random(1);
  std::vector<uint8_t> codes(count);
  for (uint8_t& code : codes) code = uint8_t(random.below(1u << bits));
  return codes;
}

TEST(GptqLayout, ThreeBitWordsByHand) {
  std::vector<uint8_t> codes(32);
  for (size_t k = 0; k < 32; ++k) codes[k] = uint8_t(k % 8);
  EXPECT_THAT(pack_gptq(codes, 1, 32, 3), ElementsAre(0x88FAC688u, 0xC688FAC6u, 0xFAC688FAu));
  for (size_t k = 0; k < 32; ++k) codes[k] = uint8_t((5 * k + 3) % 8);
  EXPECT_THAT(pack_gptq(codes, 1, 32, 3), ElementsAre(0x43C67543u, 0x7543C675u, 0xC67543C6u));
}

TEST(GptqLayout, NeighbouringOutputsAreSideBySide) {
  // Output 0: codes 0, 1, 2, ... of 4 bits; output 1: all 15.
  const std::vector<uint8_t> codes{0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,  //
                                   15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15};
  EXPECT_THAT(pack_gptq(codes, 2, 16, 4), ElementsAre(0x76543210u, 0xFFFFFFFFu, 0xFEDCBA98u, 0xFFFFFFFFu));
}

TEST(GptqLayout, ComesBack) {
  for (const int bits : {2, 3, 4, 8}) {
    const auto codes = random_codes(7 * 96, bits);
    const auto words = pack_gptq(codes, 7, 96, bits);
    EXPECT_EQ(words.size(), size_t(7 * 96 * bits / 32));
    EXPECT_EQ(unpack_gptq(words, 7, 96, bits), codes) << bits;
    std::vector<float> zeros;
    for (const uint8_t code : random_codes(32 * 3, bits)) zeros.push_back(float(code));
    zeros[5] = 0;
    EXPECT_EQ(unpack_gptq_zeros(pack_gptq_zeros(zeros, 32, 3, bits), 32, 3, bits), zeros) << bits;
  }
}

TEST(GptqLayout, ZerosAreStoredLessOne) {
  const std::vector<float> zeros{8, 1, 15, 2, 0, 9, 3, 4};  // one group
  EXPECT_THAT(pack_gptq_zeros(zeros, 8, 1, 4), ElementsAre(0x328F1E07u));
}

TEST(GptqLayout, AwqOrder) {
  // Nibbles 0 to 7 of the word are outputs 0, 2, 4, 6, 1, 3, 5, 7.
  const std::vector<uint32_t> words{0x76543210u, 0xFFFFFFFFu, 0x01234567u, 0u};  // two inputs of 16 outputs
  const auto codes = unpack_awq(words, 16, 2);
  std::vector<int> first, second;
  for (size_t n = 0; n < 8; ++n) {
    first.push_back(codes[2 * n]);
    second.push_back(codes[2 * n + 1]);
  }
  EXPECT_THAT(first, ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  EXPECT_THAT(second, ElementsAre(7, 3, 6, 2, 5, 1, 4, 0));
  EXPECT_EQ(codes[2 * 8], 15);
  EXPECT_EQ(codes[2 * 8 + 1], 0);
}

TEST(GptqLayout, GroupsBecomeRuns) {
  EXPECT_THAT(order_of_groups(std::vector<int32_t>{1, 0, 2, 0, 1}, 2), ElementsAre(1, 3, 0, 4, 2));
  EXPECT_TRUE(order_of_groups(std::vector<int32_t>{0, 0, 1, 1, 2}, 2).empty());
  EXPECT_THAT(message([] { order_of_groups(std::vector<int32_t>{0, 1, 1, 1}, 2); }), HasSubstr("see group 0"));
  EXPECT_THAT(message([] { order_of_groups(std::vector<int32_t>{0, 0, -1, 1}, 2); }), HasSubstr("see group 0"));
}

TEST(GptqLayout, Trits) {
  EXPECT_THAT(pack_trits(std::vector<uint8_t>{2, 0, 1, 1, 2}), ElementsAre(200));
  std::vector<uint8_t> codes(1003);
  Random random(3);
  for (uint8_t& code : codes) code = uint8_t(random.below(3));
  const auto packed = pack_trits(codes);
  EXPECT_EQ(packed.size(), 201u);
  EXPECT_EQ(unpack_trits(packed, codes.size()), codes);
  EXPECT_THAT(message([] { pack_trits(std::vector<uint8_t>{3}); }), HasSubstr("0 to 2, got 3"));
  EXPECT_THAT(message([] { unpack_trits(std::vector<uint8_t>{243}, 5); }), HasSubstr("0 to 242, got 243"));
}

TEST(GptqLayout, RefusesWhatDoesNotFit) {
  const std::vector<uint8_t> codes(40);
  EXPECT_THAT(message([&] { pack_gptq(codes, 1, 40, 3); }), HasSubstr("pad them to a multiple of 32"));
  EXPECT_THAT(message([&] { pack_gptq(codes, 1, 40, 5); }), HasSubstr("2, 3, 4 or 8 bits, got 5"));
  EXPECT_THAT(message([&] { pack_gptq(codes, 2, 40, 4); }), HasSubstr("80 codes were expected, got 40"));
  EXPECT_THAT(message([&] { pack_gptq(std::vector<uint8_t>(8, 16), 1, 8, 4); }), HasSubstr("from 0 to 15, got 16"));
  EXPECT_THAT(message([] { unpack_gptq(std::vector<uint32_t>(3), 2, 32, 3); }), HasSubstr("6 words"));
  EXPECT_THAT(message([] { pack_gptq_zeros(std::vector<float>(8, 0.5f), 8, 1, 4); }), HasSubstr("integers"));
  EXPECT_THAT(message([] { unpack_awq(std::vector<uint32_t>(3), 12, 2); }), HasSubstr("multiple of 8"));
}

}  // namespace
}  // namespace quanta
