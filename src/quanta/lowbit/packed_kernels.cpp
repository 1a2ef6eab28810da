#include "quanta/lowbit/packed_kernels.h"

// Vector kernels for AVX2, AVX-512 and AVX-512 with VNNI; plain loops, which compilers vectorize, for the rest.
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "quanta/core/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/lowbit/packed_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL && HWY_COMPILER_GCC_ACTUAL
#pragma GCC target("avx512vnni")  // Highway names the 256-bit set only
#endif
namespace quanta::lowbit::HWY_NAMESPACE {

#undef QUANTA_VECTORS
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
#define QUANTA_VECTORS 1
#else
#define QUANTA_VECTORS 0
#endif

#if QUANTA_VECTORS
namespace hn = hwy::HWY_NAMESPACE;

constexpr int L = HWY_TARGET == HWY_AVX2 ? 8 : 16;         // lanes of a register
constexpr int kMostRows = HWY_TARGET == HWY_AVX2 ? 4 : 8;  // of a tile: rows times two vectors of accumulators
constexpr int kWidth = 2 * L;                              // outputs of a tile
constexpr hn::FixedTag<int32_t, L> di;
constexpr hn::FixedTag<float, L> df;
constexpr hn::FixedTag<uint8_t, 4 * L> db;
constexpr hn::FixedTag<int16_t, 2 * L> dw;
constexpr hn::FixedTag<uint16_t, 2 * L> duw;
using VI = hn::Vec<decltype(di)>;
using VF = hn::Vec<decltype(df)>;

HWY_INLINE VI bytes_set(int byte) {
  return hn::Set(di, byte * 0x01010101);
}
HWY_INLINE int32_t load_quad(const void* from) {
  int32_t value;
  std::memcpy(&value, from, 4);
  return value;
}

/// Codes of quad q for L outputs, four a lane. `unit` is that of the panel's first byte for these outputs.
template <int kBits>
HWY_INLINE VI quad(const uint8_t* unit, int q) {
  const auto block = [&](int j) { return hn::LoadU(di, reinterpret_cast<const int32_t*>(unit + j * kBlock)); };
  const auto shifted = [](VI v, int count) {  // right; bytes take bits of their neighbours, which are masked off
    return count > 0 ? hn::ShiftRightSame(v, count) : count < 0 ? hn::ShiftLeftSame(v, -count) : v;
  };
  if constexpr (kBits == 8) return block(q);
  if constexpr (kBits == 4) return hn::And(shifted(block(q / 2), 4 * (q % 2)), bytes_set(15));
  const VI low = hn::And(shifted(block(q / 4), 2 * (q % 4)), bytes_set(3));
  if constexpr (kBits == 2) return low;
  return hn::Or(low, hn::And(shifted(block(2), q - 2), bytes_set(4)));
}

// --- products of bytes: unsigned weights, signed activations ---------------------------------------------------------

#if HWY_TARGET == HWY_AVX3_DL
template <int kBits>
struct Operand {
  VI all;
};
template <int kBits>
HWY_INLINE Operand<kBits> weights(VI v) {
  return {v};
}
template <int kBits>
HWY_INLINE Operand<kBits> activations(VI v) {
  return {v};
}
template <int kBits>
HWY_INLINE VI dot(VI sum, const Operand<kBits>& w, const Operand<kBits>& x) {
  return VI{_mm512_dpbusd_epi32(sum.raw, w.all.raw, x.all.raw)};
}
HWY_INLINE VI dot_pairs(VI sum, VI a, VI b) {
  return VI{_mm512_dpwssd_epi32(sum.raw, a.raw, b.raw)};
}
#else
HWY_INLINE VI pairs_product(VI a, VI b) {
#if HWY_TARGET == HWY_AVX2
  return VI{_mm256_madd_epi16(a.raw, b.raw)};
#else
  return VI{_mm512_madd_epi16(a.raw, b.raw)};
#endif
}
HWY_INLINE VI dot_pairs(VI sum, VI a, VI b) {
  return hn::Add(sum, pairs_product(a, b));
}
/// Up to 4 bits a pair of products fits 16 bits; codes of 8 bits are widened first, even and odd ones apart.
template <int kBits>
struct Operand {
  VI all;
};
template <>
struct Operand<8> {
  VI even, odd;
};
template <int kBits>
HWY_INLINE Operand<kBits> weights(VI v) {
  if constexpr (kBits == 8) {
    const auto pairs = hn::BitCast(duw, v);
    return {hn::BitCast(di, hn::And(pairs, hn::Set(duw, 0xFF))), hn::BitCast(di, hn::ShiftRight<8>(pairs))};
  } else {
    return {v};
  }
}
template <int kBits>
HWY_INLINE Operand<kBits> activations(VI v) {
  if constexpr (kBits == 8) {
    const auto pairs = hn::BitCast(dw, v);
    return {hn::BitCast(di, hn::ShiftRight<8>(hn::ShiftLeft<8>(pairs))), hn::BitCast(di, hn::ShiftRight<8>(pairs))};
  } else {
    return {v};
  }
}
template <int kBits>
HWY_INLINE VI dot(VI sum, const Operand<kBits>& w, const Operand<kBits>& x) {
  if constexpr (kBits == 8) {
    return hn::Add(hn::Add(sum, pairs_product(w.even, x.even)), pairs_product(w.odd, x.odd));
  } else {
    const VI ones = hn::Set(di, 0x00010001);
#if HWY_TARGET == HWY_AVX2
    return hn::Add(sum, pairs_product(VI{_mm256_maddubs_epi16(w.all.raw, x.all.raw)}, ones));
#else
    return hn::Add(sum, pairs_product(VI{_mm512_maddubs_epi16(w.all.raw, x.all.raw)}, ones));
#endif
  }
}
#endif

// --- scales and zero points ------------------------------------------------------------------------------------------

HWY_INLINE VF scales_at(const PanelGroups& of, int64_t at) {
  if (of.half_scales)
    return hn::PromoteTo(
        df, hn::LoadU(hn::Rebind<hwy::float16_t, decltype(df)>(), static_cast<const hwy::float16_t*>(of.scales) + at));
  return hn::LoadU(df, static_cast<const float*>(of.scales) + at);
}
/// Zero points that are integers.
HWY_INLINE VI zeros_at(const PanelGroups& of, int64_t at) {
  if (of.zeros == nullptr) return hn::Set(di, of.zero);
  return hn::PromoteTo(di, hn::LoadU(hn::Rebind<uint8_t, decltype(di)>(), static_cast<const uint8_t*>(of.zeros) + at));
}
/// The same as the other side of split_sum(); zero for those that are not.
HWY_INLINE VI zero_pair(const PanelGroups& of, int64_t at) {
  const VI zero = of.float_zeros ? hn::Zero(di) : zeros_at(of, at);
  return hn::Or(zero, hn::ShiftLeft<23>(zero));
}
HWY_INLINE VF float_zeros_at(const PanelGroups& of, int64_t at) {
  return of.float_zeros ? hn::LoadU(df, static_cast<const float*>(of.zeros) + at) : hn::ConvertTo(df, zeros_at(of, at));
}

// --- what a tile begins and ends with --------------------------------------------------------------------------------

/// The tile's sums so far, [row][kWidth], from output `first` on: in memory, for registers hold a group's accumulators.
template <int kRows>
struct Sums {
  HWY_ALIGN float of[kRows][kWidth];

  HWY_INLINE void begin(const PackedTile& t, int first) {
    for (int r = 0; r < kRows; ++r)
      for (int j = 0; j < 2; ++j)
        hn::Store(hn::LoadU(df, t.from + r * t.from_stride + first + j * L), df, of[r] + j * L);
  }
  /// Row r plus a product for each half.
  HWY_INLINE void add(int r, VF a0, VF b0, VF a1, VF b1) {
    hn::Store(hn::MulAdd(a0, b0, hn::Load(df, of[r])), df, of[r]);
    hn::Store(hn::MulAdd(a1, b1, hn::Load(df, of[r] + L)), df, of[r] + L);
  }
  HWY_INLINE void end(const PackedTile& t, int first) {
    const int there = std::min(kWidth, t.columns - first);
    for (int r = 0; r < kRows; ++r)
      if (HWY_LIKELY(there == kWidth))
        for (int j = 0; j < 2; ++j) hn::StoreU(hn::Load(df, of[r] + j * L), df, t.to + r * t.to_stride + first + j * L);
      else
        std::memcpy(t.to + r * t.to_stride + first, of[r], size_t(there) * sizeof(float));
  }
};

/// Fetches a unit's part of what comes next.
template <int kBits>
HWY_INLINE void fetch(const PackedTile& t, const uint8_t* unit, const uint8_t*& ahead) {
  if (t.ahead == nullptr) {
    constexpr int kDistance = 2048;
#pragma GCC unroll 16
    for (int i = 0; i < 2 * kBits; ++i) hwy::Prefetch(unit + kDistance + 64 * i);
  } else if (ahead < t.ahead_end) {
#pragma GCC unroll 4
    for (int i = 0; i < kAheadOfUnit; i += 64, ahead += 64) hwy::Prefetch(ahead);
  }
}

/// Apart, so that the usual tile reads sums of activations from memory as it broadcasts them.
template <int kRows>
HWY_NOINLINE void add_float_zeros(const PackedTile& t, int64_t g, int first, Sums<kRows>& y) {
  const int64_t at = g * kPackedPanel + first;
  const VF zero0 = hn::Mul(float_zeros_at(t.of, at), scales_at(t.of, at)),
           zero1 = hn::Mul(float_zeros_at(t.of, at + L), scales_at(t.of, at + L));
  for (int r = 0; r < kRows; ++r) {
    const int64_t i = g * kRows + r;
    const VF sum = hn::Set(df, float(joined_sum(static_cast<const int32_t*>(t.x_sums)[i])) * t.x_scales[i]);
    y.add(r, sum, zero0, sum, zero1);
  }
}

template <int kBits, int kRows>
void integer_tile(const PackedTile& t) {
  constexpr int kSplit = kRows == 1 ? 2 : 1;  // sums a row and vector, so that one need not wait for the last
  for (int first = 0; first < t.columns; first += kWidth) {
    Sums<kRows> y;
    y.begin(t, first);
    const uint8_t *unit = t.codes + 4 * first, *ahead = t.ahead;
    const auto* x = static_cast<const int8_t*>(t.x);
    const float* x_scales = t.x_scales;
    const auto* x_sums = static_cast<const int32_t*>(t.x_sums);
    for (int64_t g = 0; g < t.groups; ++g, x_scales += kRows, x_sums += kRows) {
      VI acc[kSplit][kRows][2];
      const int64_t at = g * kPackedPanel + first;
      const VI pair0 = zero_pair(t.of, at), pair1 = zero_pair(t.of, at + L);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const VI sum = hn::Set(di, x_sums[r]);
        acc[0][r][0] = dot_pairs(hn::Zero(di), pair0, sum);
        acc[0][r][1] = dot_pairs(hn::Zero(di), pair1, sum);
        if constexpr (kSplit == 2) acc[1][r][0] = acc[1][r][1] = hn::Zero(di);
      }
      for (int u = 0; u < t.of.units; ++u, unit += unit_bytes(kBits), x += kUnit * kRows) {
        fetch<kBits>(t, unit, ahead);
#pragma GCC unroll 8
        for (int q = 0; q < kUnitQuads; ++q) {
          const Operand<kBits> w0 = weights<kBits>(quad<kBits>(unit, q)),
                               w1 = weights<kBits>(quad<kBits>(unit + 4 * L, q));
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) {
            const auto value = activations<kBits>(hn::Set(di, load_quad(x + (q * kRows + r) * 4)));
            acc[q % kSplit][r][0] = dot<kBits>(acc[q % kSplit][r][0], w0, value);
            acc[q % kSplit][r][1] = dot<kBits>(acc[q % kSplit][r][1], w1, value);
          }
        }
      }
      const VF scale0 = scales_at(t.of, at), scale1 = scales_at(t.of, at + L);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        if constexpr (kSplit == 2)
          for (int j = 0; j < 2; ++j) acc[0][r][j] = hn::Add(acc[0][r][j], acc[1][r][j]);
        const VF x_scale = hn::Set(df, x_scales[r]);
        y.add(r, hn::ConvertTo(df, acc[0][r][0]), hn::Mul(x_scale, scale0), hn::ConvertTo(df, acc[0][r][1]),
              hn::Mul(x_scale, scale1));
      }
      if (HWY_UNLIKELY(t.of.float_zeros)) add_float_zeros(t, g, first, y);
    }
    y.end(t, first);
  }
}

/// Input i of each lane's quad as a number.
HWY_INLINE VF number(VI codes, int i) {
  HWY_ALIGN static constexpr auto kIndices = [] {
    std::array<std::array<uint8_t, 64>, 4> at{};
    for (int k = 0; k < 4; ++k)
      for (int b = 0; b < 64; ++b) at[size_t(k)][size_t(b)] = b % 4 == 0 ? uint8_t(b % 16 + k) : 0x80;
    return at;
  }();
  return hn::ConvertTo(
      df, hn::BitCast(di, hn::TableLookupBytesOr0(hn::BitCast(db, codes), hn::LoadU(db, kIndices[size_t(i)].data()))));
}

template <int kBits, int kRows>
void floating_tile(const PackedTile& t) {
  constexpr int kSplit = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  for (int first = 0; first < t.columns; first += kWidth) {
    Sums<kRows> y;
    y.begin(t, first);
    const uint8_t *unit = t.codes + 4 * first, *ahead = t.ahead;
    const auto *x = static_cast<const float*>(t.x), *x_sums = static_cast<const float*>(t.x_sums);
    for (int64_t g = 0; g < t.groups; ++g, x_sums += kRows) {
      VF acc[kSplit][kRows][2];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const VF zero = float_zeros_at(t.of, g * kPackedPanel + first + j * L);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          acc[0][r][j] = hn::Neg(hn::Mul(zero, hn::Set(df, x_sums[r])));
          for (int s = 1; s < kSplit; ++s) acc[s][r][j] = hn::Zero(df);
        }
      }
      for (int u = 0; u < t.of.units; ++u, unit += unit_bytes(kBits), x += kUnit * kRows) {
        fetch<kBits>(t, unit, ahead);
#pragma GCC unroll 8
        for (int q = 0; q < kUnitQuads; ++q) {
          const VI w0 = quad<kBits>(unit, q), w1 = quad<kBits>(unit + 4 * L, q);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            const VF f0 = number(w0, i), f1 = number(w1, i);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
              const VF value = hn::Set(df, x[(4 * q + i) * kRows + r]);
              acc[i % kSplit][r][0] = hn::MulAdd(f0, value, acc[i % kSplit][r][0]);
              acc[i % kSplit][r][1] = hn::MulAdd(f1, value, acc[i % kSplit][r][1]);
            }
          }
        }
      }
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const VF scale = scales_at(t.of, g * kPackedPanel + first + j * L);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          VF sum = acc[0][r][j];
          for (int s = 1; s < kSplit; ++s) sum = hn::Add(sum, acc[s][r][j]);
          float* to = y.of[r] + j * L;
          hn::Store(hn::MulAdd(sum, scale, hn::Load(df, to)), df, to);
        }
      }
    }
    y.end(t, first);
  }
}

template <int kRows>
void dense_tile(const PackedTile& t, const float* weights, int64_t inputs, const float* activations) {
  for (int first = 0; first < t.columns; first += kWidth) {
    Sums<kRows> y;
    y.begin(t, first);
    VF acc[kRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) acc[r][j] = hn::Load(df, y.of[r] + j * L);
    const float *w = weights + first, *x = activations;
    const uint8_t* ahead = t.ahead;
    for (int64_t k = 0; k < inputs; k += kUnit) {
      for (int i = 0; i < kAheadOfUnit && ahead < t.ahead_end; i += 64, ahead += 64) hwy::Prefetch(ahead);
#pragma GCC unroll 4
      for (int i = 0; i < kUnit; ++i, w += kPackedPanel, x += kRows) {
        const VF w0 = hn::Load(df, w), w1 = hn::Load(df, w + L);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const VF value = hn::Set(df, x[r]);
          acc[r][0] = hn::MulAdd(w0, value, acc[r][0]);
          acc[r][1] = hn::MulAdd(w1, value, acc[r][1]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) hn::Store(acc[r][j], df, y.of[r] + j * L);
    y.end(t, first);
  }
}

template <int kBits>
void unpack(const uint8_t* codes, int64_t units, uint8_t* unpacked) {
  for (int64_t u = 0; u < units; ++u, codes += unit_bytes(kBits), unpacked += kUnpackedUnit)
    for (int at = 0; at < kBlock; at += 4 * L)
#pragma GCC unroll 8
      for (int q = 0; q < kUnitQuads; ++q)
        hn::Store(quad<kBits>(codes + at, q), di, reinterpret_cast<int32_t*>(unpacked + q * kBlock + at));
}

template <int kBits>
void dequantize(const uint8_t* codes, const PanelGroups& of, int64_t first, int64_t units, float* weights) {
  for (int64_t u = first; u < first + units; ++u, codes += unit_bytes(kBits), weights += kUnit * kPackedPanel)
    for (int output = 0; output < kPackedPanel; output += L) {
      const int64_t at = u / of.units * kPackedPanel + output;
      const VF scale = scales_at(of, at), zero = float_zeros_at(of, at);
#pragma GCC unroll 8
      for (int q = 0; q < kUnitQuads; ++q) {
        const VI w = quad<kBits>(codes + 4 * output, q);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
          hn::Store(hn::Mul(scale, hn::Sub(number(w, i), zero)), df, weights + (4 * q + i) * kPackedPanel + output);
      }
    }
}

void quantize(const float* x, int64_t groups, int64_t group, int rows, int row, int8_t* codes, float* scales,
              int32_t* sums) {
  codes += 4 * row;
  for (int64_t g = 0; g < groups; ++g, x += group) {
    // As bits without the sign, where what is not finite is largest.
    VI most = hn::Zero(di);
    for (int64_t k = 0; k < group; k += L)
      most = hn::Max(most, hn::And(hn::LoadU(di, reinterpret_cast<const int32_t*>(x + k)), hn::Set(di, 0x7FFFFFFF)));
    const auto largest = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, most)));
    const bool finite = std::isfinite(largest), zero = !finite || largest < 0x1p-100f;
    const VF inverse = hn::Set(df, zero ? 0 : 127 / largest);
    VI sum = hn::Zero(di);
    for (int64_t k = 0; k < group; k += L) {
      const VI code = zero ? hn::Zero(di) : hn::NearestInt(hn::Mul(hn::LoadU(df, x + k), inverse));
      sum = hn::Add(sum, code);
      const auto bytes = hn::DemoteTo(hn::Rebind<int8_t, decltype(di)>(), code);
      if (rows == 1) {
        hn::StoreU(bytes, hn::Rebind<int8_t, decltype(di)>(), codes + k);
      } else {
        HWY_ALIGN int8_t buffer[L];
        hn::StoreU(bytes, hn::Rebind<int8_t, decltype(di)>(), buffer);
        for (int i = 0; i < L; i += 4) std::memcpy(codes + (k + i) * rows, buffer + i, 4);
      }
    }
    codes += group * rows;
    scales[g * rows + row] = finite ? zero ? 0 : largest / 127 : std::numeric_limits<float>::quiet_NaN();
    sums[g * rows + row] = split_sum(hn::GetLane(hn::SumOfLanes(di, sum)));
  }
}

uint64_t read(const uint8_t* from, size_t bytes) {
  constexpr int kStreams = 4, kAhead = 1024;
  const hn::FixedTag<uint64_t, L / 2> d;
  const size_t part = bytes / kStreams;
  hn::Vec<decltype(d)> sums[kStreams];
#pragma GCC unroll 4
  for (int s = 0; s < kStreams; ++s) sums[s] = hn::Zero(d);
  for (size_t at = 0; at < part; at += 256)
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s)
      for (size_t i = 0; i < 256; i += 4 * L) {
        const uint8_t* p = from + size_t(s) * part + at + i;
        if (i % 64 == 0) hwy::Prefetch(p + kAhead);
        sums[s] = hn::Add(sums[s], hn::LoadU(d, reinterpret_cast<const uint64_t*>(p)));
      }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

#else  // plain loops

constexpr int kMostRows = 4;

uint64_t read(const uint8_t* from, size_t bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t value;
    std::memcpy(&value, from + i, 8);
    sum += value;
  }
  return sum;
}

/// Code of output n, input i of a unit.
template <int kBits>
int code_at(const uint8_t* unit, int n, int i) {
  const int q = i / 4;
  const auto byte = [&](int j) { return unit[j * kBlock + 4 * n + i % 4]; };
  if (kBits == 8) return byte(q);
  if (kBits == 4) return byte(q / 2) >> 4 * (q % 2) & 15;
  const int low = byte(q / 4) >> 2 * (q % 4) & 3;
  return kBits == 2 ? low : low | (byte(2) >> q & 1) << 2;
}

template <int kBits>
void unpack(const uint8_t* codes, int64_t units, uint8_t* unpacked) {
  for (int64_t u = 0; u < units; ++u, codes += unit_bytes(kBits))
    for (int q = 0; q < kUnitQuads; ++q)
      for (int n = 0; n < kPackedPanel; ++n)
        for (int i = 0; i < 4; ++i) *unpacked++ = uint8_t(code_at<kBits>(codes, n, 4 * q + i));
}

float scale_at(const PanelGroups& of, int64_t at) {
  return of.half_scales ? half_to_float(static_cast<const uint16_t*>(of.scales)[at])
                        : static_cast<const float*>(of.scales)[at];
}
float zero_at(const PanelGroups& of, int64_t at) {
  if (of.float_zeros) return static_cast<const float*>(of.zeros)[at];
  return float(of.zeros ? static_cast<const uint8_t*>(of.zeros)[at] : of.zero);
}

template <int kRows>
void begin(const PackedTile& t, float (&y)[kRows][kPackedPanel]) {
  for (int r = 0; r < kRows; ++r) std::copy_n(t.from + r * t.from_stride, kPackedPanel, y[r]);
}
template <int kRows>
void end(const PackedTile& t, const float (&y)[kRows][kPackedPanel]) {
  for (int r = 0; r < kRows; ++r) std::copy_n(y[r], t.columns, t.to + r * t.to_stride);
}

template <int kBits, int kRows>
void integer_tile(const PackedTile& t) {
  float y[kRows][kPackedPanel] = {};
  begin(t, y);
  const uint8_t* unit = t.codes;
  const auto* x = static_cast<const int8_t*>(t.x);
  for (int64_t g = 0; g < t.groups; ++g) {
    int32_t acc[kRows][kPackedPanel] = {};
    for (int u = 0; u < t.of.units; ++u, unit += unit_bytes(kBits)) {
      uint8_t codes[kUnpackedUnit];
      unpack<kBits>(unit, 1, codes);
      for (int q = 0; q < kUnitQuads; ++q)
        for (int r = 0; r < kRows; ++r, x += 4)
          for (int n = 0; n < kPackedPanel; ++n) {
            const uint8_t* w = codes + q * kBlock + 4 * n;
            acc[r][n] += w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3];
          }
    }
    for (int r = 0; r < kRows; ++r) {
      const int sum = joined_sum(static_cast<const int32_t*>(t.x_sums)[g * kRows + r]);  // negative
      for (int n = 0; n < kPackedPanel; ++n) {
        const float zero = zero_at(t.of, g * kPackedPanel + n);
        const float value =
            t.of.float_zeros ? float(acc[r][n]) + zero * float(sum) : float(acc[r][n] + int(zero) * sum);
        y[r][n] += value * t.x_scales[g * kRows + r] * scale_at(t.of, g * kPackedPanel + n);
      }
    }
  }
  end(t, y);
}

template <int kBits>
void dequantize(const uint8_t* codes, const PanelGroups& of, int64_t first, int64_t units, float* weights) {
  for (int64_t u = first; u < first + units; ++u, codes += unit_bytes(kBits))
    for (int i = 0; i < kUnit; ++i)
      for (int n = 0; n < kPackedPanel; ++n) {
        const int64_t at = u / of.units * kPackedPanel + n;
        *weights++ = scale_at(of, at) * (float(code_at<kBits>(codes, n, i)) - zero_at(of, at));
      }
}

template <int kRows>
void accumulate(const float* weights, int inputs, const float* x, float (&y)[kRows][kPackedPanel]) {
  for (int k = 0; k < inputs; ++k, weights += kPackedPanel)
    for (int r = 0; r < kRows; ++r, ++x)
      for (int n = 0; n < kPackedPanel; ++n) y[r][n] += weights[n] * *x;
}

template <int kBits, int kRows>
void floating_tile(const PackedTile& t) {
  float y[kRows][kPackedPanel] = {};
  begin(t, y);
  const int64_t units = int64_t{t.groups} * t.of.units;
  for (int64_t u = 0; u < units; ++u) {
    float weights[kUnit * kPackedPanel];
    dequantize<kBits>(t.codes + u * int64_t(unit_bytes(kBits)), t.of, u, 1, weights);
    accumulate(weights, kUnit, static_cast<const float*>(t.x) + u * kUnit * kRows, y);
  }
  end(t, y);
}

template <int kRows>
void dense_tile(const PackedTile& t, const float* weights, int64_t inputs, const float* x) {
  float y[kRows][kPackedPanel] = {};
  begin(t, y);
  accumulate(weights, int(inputs), x, y);
  end(t, y);
}

void quantize(const float* x, int64_t groups, int64_t group, int rows, int row, int8_t* codes, float* scales,
              int32_t* sums) {
  for (int64_t g = 0; g < groups; ++g, x += group) {
    float largest = 0;
    bool finite = true;
    for (int64_t k = 0; k < group; ++k) {
      finite = finite && std::isfinite(x[k]);
      largest = std::max(largest, std::abs(x[k]));
    }
    const bool zero = !finite || largest < 0x1p-100f;
    const float inverse = zero ? 0 : 127 / largest;
    int32_t sum = 0;
    for (int64_t k = 0; k < group; ++k) {
      const int code = zero ? 0 : int(std::nearbyint(x[k] * inverse));
      sum += code;
      codes[((g * group + k) / 4 * rows + row) * 4 + k % 4] = int8_t(code);
    }
    scales[g * rows + row] = finite ? zero ? 0 : largest / 127 : std::numeric_limits<float>::quiet_NaN();
    sums[g * rows + row] = split_sum(sum);
  }
}

#endif  // QUANTA_VECTORS

template <size_t... kRow>
PackedKernels make(std::index_sequence<kRow...>) {
  PackedKernels k{};
  k.target = hwy::TargetName(HWY_TARGET);
  k.most_rows = kMostRows;
  const auto of_bits = [&]<int kBits>(std::integral_constant<int, kBits>) {
    constexpr int at = bits_index(kBits);
    ((k.integer[at][kRow + 1] = integer_tile<kBits, int(kRow) + 1>), ...);
    ((k.floating[at][kRow + 1] = floating_tile<kBits, int(kRow) + 1>), ...);
    k.unpack[at] = unpack<kBits>;
    k.dequantize[at] = dequantize<kBits>;
  };
  of_bits(std::integral_constant<int, 2>());
  of_bits(std::integral_constant<int, 3>());
  of_bits(std::integral_constant<int, 4>());
  of_bits(std::integral_constant<int, 8>());
  ((k.dense[kRow + 1] = dense_tile<int(kRow) + 1>), ...);
  k.quantize = quantize;
  k.read = read;
  return k;
}

const PackedKernels* packed_target_kernels() {
  static const PackedKernels instance = make(std::make_index_sequence<kMostRows>());
  return &instance;
}

}  // namespace quanta::lowbit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::lowbit {
HWY_EXPORT(packed_target_kernels);

const PackedKernels& packed_kernels() {
  return *HWY_DYNAMIC_DISPATCH(packed_target_kernels)();
}
}  // namespace quanta::lowbit
#endif
