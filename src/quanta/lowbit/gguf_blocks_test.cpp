#include "quanta/lowbit/gguf_blocks.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/half.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr GgufType kBlockFormats[] = {GgufType::Q4_0, GgufType::Q4_1, GgufType::Q5_0, GgufType::Q5_1, GgufType::Q8_0,
                                      GgufType::Q2_K, GgufType::Q3_K, GgufType::Q4_K, GgufType::Q5_K, GgufType::Q6_K};

std::vector<float> normal_weights(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> result(static_cast<size_t>(count));
  for (float& x : result) x = 0.02f * float(random.normal());
  return result;
}

uint8_t at(const std::vector<std::byte>& bytes, size_t i) {
  return uint8_t(bytes[i]);
}
float half_at(const std::vector<std::byte>& bytes, size_t i) {
  return half_to_float(uint16_t(at(bytes, i) | at(bytes, i + 1) << 8));
}
void put_half(std::vector<std::byte>& bytes, size_t i, float value) {
  const uint16_t bits = float_to_half(value);
  std::memcpy(bytes.data() + i, &bits, 2);
}

double squared_error(std::span<const float> a, std::span<const float> b, std::span<const float> importance = {}) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = double(a[i]) - b[i];
    sum += (importance.empty() ? 1.0 : importance[i % importance.size()]) * difference * difference;
  }
  return sum;
}

std::vector<float> ramp() {
  std::vector<float> x(32);
  std::iota(x.begin(), x.end(), -16.0f);
  return x;
}

TEST(GgufBlocks, ARampInTheSimpleFormats) {
  const auto q4 = encode_gguf(GgufType::Q4_0, ramp(), 32);
  EXPECT_EQ(half_at(q4, 0), 2);
  for (size_t j = 0; j < 16; ++j) {
    EXPECT_EQ(at(q4, 2 + j) & 15, std::min<size_t>(15, (j + 1) / 2));
    EXPECT_EQ(at(q4, 2 + j) >> 4, std::min<size_t>(15, (j + 17) / 2));
  }
  const auto q8 = encode_gguf(GgufType::Q8_0, ramp(), 32);
  EXPECT_EQ(half_at(q8, 0), 0.1259765625f);
  for (size_t j = 0; j < 32; ++j) EXPECT_EQ(int8_t(at(q8, 2 + j)), std::lround((double(j) - 16) * 127 / 16)) << j;

  std::vector<float> x(32);
  for (size_t j = 0; j < 32; ++j) x[j] = float(j % 16) / 2 + 3;
  const auto q41 = encode_gguf(GgufType::Q4_1, x, 32);
  EXPECT_EQ(half_at(q41, 0), 0.5f);
  EXPECT_EQ(half_at(q41, 2), 3);
  for (size_t j = 0; j < 16; ++j) EXPECT_EQ(at(q41, 4 + j), 17 * j);

  for (size_t j = 0; j < 32; ++j) x[j] = float(j) - 16;
  const auto q50 = encode_gguf(GgufType::Q5_0, x, 32);
  EXPECT_EQ(half_at(q50, 0), 1);
  EXPECT_EQ(std::vector<std::byte>(q50.begin() + 2, q50.begin() + 6),
            (std::vector<std::byte>{std::byte{0}, std::byte{0}, std::byte{255}, std::byte{255}}));
  for (size_t j = 0; j < 16; ++j) EXPECT_EQ(at(q50, 6 + j), 17 * j);
  EXPECT_THAT(decode_gguf(GgufType::Q5_0, q50), ElementsAreArray(x));
  const auto q51 = encode_gguf(GgufType::Q5_1, x, 32);
  EXPECT_EQ(half_at(q51, 2), -16);
  EXPECT_THAT(decode_gguf(GgufType::Q5_1, q51), ElementsAreArray(x));
}

TEST(GgufBlocks, HalvesRoundAwayFromZeroInQ8) {
  std::vector<float> x(32);
  x[0] = 127;
  x[1] = 0.5f;
  x[2] = -0.5f;
  x[3] = 2.5f;
  x[4] = std::nextafterf(0.5f, 0);
  const auto codes = unpack_gguf(GgufType::Q8_0, encode_gguf(GgufType::Q8_0, x, 32));
  EXPECT_THAT(std::vector<int>(codes.begin(), codes.begin() + 5), ::testing::ElementsAre(127, 1, -1, 3, 0));
}

TEST(GgufBlocks, PlainTypes) {
  const std::vector<float> x{1, -2.5f, 65504, 1 / 3.0f};
  EXPECT_EQ(decode_gguf(GgufType::F32, encode_gguf(GgufType::F32, x, 2)), x);
  const auto half = decode_gguf(GgufType::F16, encode_gguf(GgufType::F16, x, 4));
  EXPECT_EQ(half[3], half_to_float(float_to_half(1 / 3.0f)));
  EXPECT_EQ(half[2], 65504);
  EXPECT_EQ(decode_gguf(GgufType::BF16, encode_gguf(GgufType::BF16, x, 4))[3], 0.333984375f);
}

// The packing of scales and minima, by the formats' descriptions.
TEST(GgufBlocks, SubScalesOfTheKFormats) {
  constexpr std::string_view bytes_of_parts = "81c9d1e1428587cb4832fecf";
  constexpr int scales[] = {1, 9, 17, 33, 40, 50, 62, 63}, mins[] = {2, 5, 7, 11, 20, 35, 47, 60};
  for (const GgufType type : {GgufType::Q4_K, GgufType::Q5_K}) {
    std::vector<std::byte> block(size_t(gguf_block_bytes(type)));
    put_half(block, 0, 0.5f);
    put_half(block, 2, 0.25f);
    for (size_t i = 0; i < 12; ++i)
      block[4 + i] = std::byte(std::stoi(std::string(bytes_of_parts.substr(2 * i, 2)), nullptr, 16));
    const GgufGrid grid = read_gguf_grid(type, block, 1, 256);
    for (size_t g = 0; g < 8; ++g) {
      EXPECT_EQ(grid.scale[g], 0.5f * float(scales[g]));
      EXPECT_EQ(grid.offset[g], -0.25f * float(mins[g]));
    }
  }
  {
    std::vector<std::byte> block(210);
    put_half(block, 208, -2);
    for (int g = 0; g < 16; ++g) block[size_t(192 + g)] = std::byte(int8_t(g - 8));
    const GgufGrid grid = read_gguf_grid(GgufType::Q6_K, block, 1, 256);
    for (int g = 0; g < 16; ++g) EXPECT_EQ(grid.scale[size_t(g)], -2 * (g - 8));
  }
  {
    std::vector<std::byte> block(84);
    put_half(block, 80, 1);
    put_half(block, 82, 3);
    for (size_t g = 0; g < 16; ++g) block[g] = std::byte(g | (15 - g) << 4);
    const GgufGrid grid = read_gguf_grid(GgufType::Q2_K, block, 1, 256);
    for (size_t g = 0; g < 16; ++g) {
      EXPECT_EQ(grid.scale[g], float(g));
      EXPECT_EQ(grid.offset[g], -3 * float(15 - g));
    }
  }
  {
    std::vector<std::byte> block(110);  // scale g: four low bits at g % 8, high or low half, two bits at 8 + g % 4
    put_half(block, 108, 1);
    for (size_t g = 0; g < 16; ++g) {
      const size_t stored = (5 * g + 3) % 64;
      block[96 + g % 8] |= std::byte((stored & 15) << (g < 8 ? 0 : 4));
      block[104 + g % 4] |= std::byte(stored >> 4 << 2 * (g / 4));
    }
    const GgufGrid grid = read_gguf_grid(GgufType::Q3_K, block, 1, 256);
    for (size_t g = 0; g < 16; ++g) EXPECT_EQ(grid.scale[g], float((5 * g + 3) % 64) - 32);
  }
}

// Where every format keeps the code of every element, written down as formulas of the element's number.
TEST(GgufBlocks, CodesLieWhereTheFormatsSay) {
  for (const GgufType type : kBlockFormats) {
    SCOPED_TRACE(gguf_type_name(type));
    GgufGrid grid(type, 1, gguf_block_size(type));
    Random random(7);
    std::vector<int8_t> codes(size_t(grid.columns));
    for (int8_t& code : codes) code = int8_t(grid.low + int(random.below(uint64_t(grid.high - grid.low + 1))));
    const auto bytes = pack_gguf(grid, codes);
    EXPECT_EQ(unpack_gguf(type, bytes), codes);
    for (size_t e = 0; e < codes.size(); ++e) {
      const size_t l = e % 32, half = e / 128, part = e / 32 % 4;
      int stored = 0;
      const auto bits = [&](size_t byte, size_t shift, int count) {
        return at(bytes, byte) >> shift & ((1 << count) - 1);
      };
      const auto simple = [&](size_t from) { return bits(from + e % 16, 4 * (e / 16), 4); };
      switch (type) {
        case GgufType::Q4_0:
          stored = simple(2);
          break;
        case GgufType::Q4_1:
          stored = simple(4);
          break;
        case GgufType::Q5_0:
          stored = simple(6) | bits(2 + e / 8, e % 8, 1) << 4;
          break;
        case GgufType::Q5_1:
          stored = simple(8) | bits(4 + e / 8, e % 8, 1) << 4;
          break;
        case GgufType::Q8_0:
          stored = int8_t(at(bytes, 2 + e)) + 128;
          break;
        case GgufType::Q2_K:
          stored = bits(16 + 32 * half + l, 2 * part, 2);
          break;
        case GgufType::Q3_K:
          stored = bits(32 + 32 * half + l, 2 * part, 2) | bits(l, e / 32, 1) << 2;
          break;
        case GgufType::Q4_K:
          stored = bits(16 + 32 * (e / 64) + l, 4 * (e / 32 % 2), 4);
          break;
        case GgufType::Q5_K:
          stored = bits(48 + 32 * (e / 64) + l, 4 * (e / 32 % 2), 4) | bits(16 + l, e / 32, 1) << 4;
          break;
        default:
          stored = bits(64 * half + e % 64, 4 * (e / 64 % 2), 4) | bits(128 + 32 * half + l, 2 * part, 2) << 4;
      }
      EXPECT_EQ(stored + grid.low, codes[e]) << e;
    }
  }
}

// Codes found elsewhere are stored without loss, and mean to the bit what the grid says.
TEST(GgufBlocks, GridsHoldGivenCodes) {
  constexpr int64_t kRows = 3, kColumns = 512;
  const auto weights = normal_weights(kRows * kColumns, 1);
  for (const GgufType type : kBlockFormats) {
    SCOPED_TRACE(gguf_type_name(type));
    const GgufGrid grid = fit_gguf_grid(type, weights, kRows, kColumns);
    ASSERT_EQ(int64_t(grid.scale.size()), kRows * kColumns / grid.group);
    Random random(2);
    std::vector<int8_t> codes(weights.size());
    for (int8_t& code : codes) code = int8_t(grid.low + int(random.below(uint64_t(grid.high - grid.low + 1))));
    const auto bytes = pack_gguf(grid, codes);
    const auto values = decode_gguf(type, bytes);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t g = i / size_t(grid.group);
      ASSERT_EQ(values[i], grid.scale[g] * float(codes[i]) + grid.offset[g]);
    }
    const GgufGrid again = read_gguf_grid(type, bytes, kRows, kColumns);
    EXPECT_EQ(again.scale, grid.scale);
    EXPECT_EQ(again.offset, grid.offset);
    // The encoder's own grid and codes.
    const auto encoded = encode_gguf(type, weights, kColumns);
    EXPECT_EQ(pack_gguf(grid, unpack_gguf(type, encoded)), encoded);
  }
}

TEST(GgufBlocks, AGridIsFittedPieceByPiece) {
  constexpr int64_t kRows = 4, kColumns = 768;
  const auto weights = normal_weights(kRows * kColumns, 3);
  std::vector<float> importance(kColumns);
  Random random(4);
  for (float& v : importance) v = float(random.uniform());
  for (const GgufType type : kBlockFormats) {
    SCOPED_TRACE(gguf_type_name(type));
    const GgufGrid whole = fit_gguf_grid(type, weights, kRows, kColumns, importance);
    GgufGrid grid(type, kRows, kColumns);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{256, 512}, {0, 256}})
      grid.fit(weights.data() + first, kColumns, first, count,
               std::span(importance).subspan(size_t(first), size_t(count)));
    EXPECT_EQ(grid.scale, whole.scale);
    EXPECT_EQ(grid.offset, whole.offset);
    EXPECT_EQ(grid.bytes, whole.bytes);
  }
}

// Least error of the best of many scales for plain codes: what no search without sub-scales can beat.
double best_symmetric_error(std::span<const float> x, std::span<const float> importance, int levels) {
  double least = INFINITY;
  float top = 0;
  for (const float v : x) top = std::max(top, std::abs(v));
  for (int sign : {-1, 1})
    for (int i = 0; i <= 4000; ++i) {
      const double scale = sign * (0.6 + i * 1e-4) * top / levels;
      double error = 0;
      for (size_t e = 0; e < x.size(); ++e) {
        const double q = std::clamp(std::round(x[e] / scale), double(-levels), double(levels - 1));
        error += importance[e] * (q * scale - x[e]) * (q * scale - x[e]);
      }
      least = std::min(least, error);
    }
  return least;
}

TEST(GgufBlocks, TheSearchIsNearTheBest) {
  constexpr int64_t kColumns = 32 * 64;
  const auto weights = normal_weights(kColumns, 5);
  std::vector<float> importance(kColumns);
  Random random(6);
  for (float& v : importance) v = float(std::exp(1.5 * random.normal()));
  for (const auto& [type, levels] : {std::pair{GgufType::Q4_0, 8}, {GgufType::Q5_0, 16}}) {
    double best = 0;
    for (size_t b = 0; b < 64; ++b)
      best += best_symmetric_error(std::span(weights).subspan(32 * b, 32), std::span(importance).subspan(32 * b, 32),
                                   levels);
    const auto found = decode_gguf(type, encode_gguf(type, weights, kColumns, importance));
    const auto reference = decode_gguf(type, encode_gguf(type, weights, kColumns));
    const double error = squared_error(weights, found, importance);
    EXPECT_LT(error, 1.15 * best);
    EXPECT_LT(error, 0.85 * squared_error(weights, reference, importance));
  }
}

TEST(GgufBlocks, ImportanceLowersTheErrorItWeighs) {
  constexpr int64_t kRows = 16, kColumns = 1024;
  const auto weights = normal_weights(kRows * kColumns, 8);
  std::vector<float> importance(kColumns);
  Random random(9);
  for (float& v : importance) v = float(std::exp(2 * random.normal()));
  for (const GgufType type : kBlockFormats) {
    if (type == GgufType::Q8_0) continue;
    const auto plain = decode_gguf(type, encode_gguf(type, weights, kColumns));
    const auto weighted = decode_gguf(type, encode_gguf(type, weights, kColumns, importance));
    EXPECT_LT(squared_error(weights, weighted, importance), 0.9 * squared_error(weights, plain, importance))
        << gguf_type_name(type);
  }
}

TEST(GgufBlocks, ExtremeWeights) {
  std::vector<std::vector<float>> cases(8, std::vector<float>(512));
  std::ranges::fill(cases[1], 65504.0f);
  std::ranges::fill(cases[2], -65504.0f);
  for (size_t i = 0; i < 512; ++i) {
    cases[3][i] = i % 2 ? 65504.0f : -65504.0f;
    cases[4][i] = i == 300 ? 1.0f : 0.0f;
    cases[5][i] = float(i) * 1e-42f;
    cases[6][i] = std::ldexp(i % 2 ? 1.0f : -1.0f, int(i / 2) % 160 - 145);
    cases[7][i] = -0.0f;
  }
  const std::vector<float> importance(512, 0);  // all alike
  for (const GgufType type : kBlockFormats)
    for (const auto& x : cases) {
      for (const auto& bytes : {encode_gguf(type, x, 512), encode_gguf(type, x, 512, importance)}) {
        const auto values = decode_gguf(type, bytes);
        for (size_t i = 0; i < 512; ++i) {
          ASSERT_TRUE(std::isfinite(values[i]));
          if (x == cases[0] || x == cases[7]) {
            EXPECT_EQ(values[i], 0);
          }
          if (x == cases[1] || x == cases[2]) {
            EXPECT_NEAR(values[i], x[i], 0.07 * 65504) << gguf_type_name(type);
          }
        }
      }
    }
}

TEST(GgufBlocks, RefusesWhatDoesNotFit) {
  const auto refusal = [](const auto& body) -> std::string {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const std::vector<float> x(512);
  EXPECT_THAT(refusal([&] { encode_gguf(GgufType::Q4_K, x, 128); }), HasSubstr("no whole number of Q4_K blocks"));
  EXPECT_THAT(refusal([&] { encode_gguf(GgufType::Q4_0, x, 96); }), HasSubstr("no whole number of rows of 96"));
  EXPECT_THAT(refusal([&] { encode_gguf(GgufType::IQ2_S, x, 512); }), HasSubstr("IQ2_S"));
  EXPECT_THAT(refusal([&] { decode_gguf(GgufType::IQ4_XS, {}); }), HasSubstr("IQ4_XS"));
  EXPECT_THAT(refusal([&] { decode_gguf(GgufType::Q8_0, std::vector<std::byte>(33)); }), HasSubstr("33 bytes"));
  EXPECT_THAT(refusal([&] { GgufGrid(GgufType::F16, 1, 32); }), HasSubstr("F16"));
  for (const float bad : {NAN, INFINITY, 65505.0f}) {
    auto y = x;
    y[500] = -bad;
    for (const GgufType type : kBlockFormats)
      EXPECT_THAT(refusal([&] { encode_gguf(type, y, 512); }), HasSubstr("must be finite and at most 65504"));
    EXPECT_THAT(refusal([&] { encode_gguf(GgufType::F16, y, 512); }), HasSubstr("finite"));
  }
  EXPECT_THAT(refusal([&] { encode_gguf(GgufType::Q4_0, x, 512, std::vector<float>(32)); }),
              HasSubstr("32 importances for 512 columns"));
  EXPECT_THAT(refusal([&] { encode_gguf(GgufType::Q4_0, x, 32, std::vector<float>(32, -1)); }), HasSubstr("got -1"));
  GgufGrid grid(GgufType::Q4_0, 1, 64);
  EXPECT_THAT(refusal([&] { pack_gguf(grid, std::vector<int8_t>(64, 8)); }), HasSubstr("from -8 to 7, got 8"));
  EXPECT_THAT(refusal([&] { pack_gguf(grid, std::vector<int8_t>(63)); }), HasSubstr("63 codes"));
  EXPECT_THAT(refusal([&] { grid.fit(x.data(), 64, 16, 32); }), HasSubstr("no whole blocks of 32"));
}

TEST(GgufBlocks, ThreadsChangeNothing) {
  const auto weights = normal_weights(64 * 1280, 10);
  const int before = threads();
  for (const GgufType type : kBlockFormats) {
    set_threads(1);
    const auto one = encode_gguf(type, weights, 1280);
    set_threads(3);
    EXPECT_EQ(encode_gguf(type, weights, 1280), one) << gguf_type_name(type);
    EXPECT_EQ(decode_gguf(type, one), decode_gguf(type, one));
  }
  set_threads(before);
}

}  // namespace
}  // namespace quanta
