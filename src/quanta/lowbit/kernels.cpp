#include "quanta/lowbit/kernels.h"

// Vector kernels for AVX2, AVX-512 and AVX-512 with VNNI; plain loops, which compilers vectorize, for the rest.
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/lowbit/kernels.cpp"
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

template <int kLanes>
using Integers = hn::FixedTag<int32_t, kLanes>;
template <int kLanes>
using V = hn::Vec<Integers<kLanes>>;  // int32
template <int kLanes>
using Bytes = hn::FixedTag<uint8_t, 4 * kLanes>;
template <int kLanes>
using VBytes = hn::Vec<Bytes<kLanes>>;

constexpr int kFull = HWY_TARGET == HWY_AVX2 ? 8 : 16;  // lanes of a register

/// An operand of `dot`: four codes a lane, as the instruction set multiplies them.
#if HWY_TARGET == HWY_AVX3_DL
template <int L>
struct Codes {
  V<L> all;
};
template <int L>
using Weights = Codes<L>;
template <int L>
HWY_INLINE Codes<L> codes(V<L> v) {
  return {v};
}
template <int L>
HWY_INLINE Weights<L> weights(V<L> v) {
  return {v};
}
// The 512-bit instruction also for shorter vectors: a compiler might take their AVX-VNNI form, which is a set of its
// own.
HWY_INLINE V<16> dot(V<16> sum, const Codes<16>& x, const Weights<16>& w) {
  return V<16>{_mm512_dpbusd_epi32(sum.raw, x.all.raw, w.all.raw)};
}
HWY_INLINE V<8> dot(V<8> sum, const Codes<8>& x, const Weights<8>& w) {
  const auto wide = [](__m256i v) { return _mm512_castsi256_si512(v); };
  return V<8>{_mm512_castsi512_si256(_mm512_dpbusd_epi32(wide(sum.raw), wide(x.all.raw), wide(w.all.raw)))};
}
HWY_INLINE V<4> dot(V<4> sum, const Codes<4>& x, const Weights<4>& w) {
  const auto wide = [](__m128i v) { return _mm512_castsi128_si512(v); };
  return V<4>{_mm512_castsi512_si128(_mm512_dpbusd_epi32(wide(sum.raw), wide(x.all.raw), wide(w.all.raw)))};
}
#else
// vpmaddubsw saturates at 16 bits, so bytes are widened first: even and odd ones, each a pair a lane.
template <int L>
using Pairs = hn::FixedTag<int16_t, 2 * L>;
template <int L>
struct Codes {
  hn::Vec<Pairs<L>> even, odd;
};
template <int L>
using Weights = Codes<L>;
template <int L>
HWY_INLINE Codes<L> codes(V<L> v) {
  const Pairs<L> d;
  const hn::RebindToUnsigned<Pairs<L>> du;
  const auto pairs = hn::BitCast(du, v);
  return {hn::BitCast(d, hn::And(pairs, hn::Set(du, 0xFF))), hn::BitCast(d, hn::ShiftRight<8>(pairs))};
}
template <int L>
HWY_INLINE Weights<L> weights(V<L> v) {
  const auto pairs = hn::BitCast(Pairs<L>(), v);
  return {hn::ShiftRight<8>(hn::ShiftLeft<8>(pairs)), hn::ShiftRight<8>(pairs)};
}
template <int L>
HWY_INLINE V<L> dot(V<L> sum, const Codes<L>& x, const Weights<L>& w) {
  V<L> unused = hn::Zero(Integers<L>());
  sum = hn::ReorderWidenMulAccumulate(Integers<L>(), x.even, w.even, sum, unused);
  return hn::ReorderWidenMulAccumulate(Integers<L>(), x.odd, w.odd, sum, unused);
}
#endif

template <int L>
HWY_INLINE V<L> load(const int32_t* from) {
  return hn::LoadU(Integers<L>(), from);
}
HWY_INLINE int32_t load_quad(const uint8_t* from) {
  int32_t value;
  std::memcpy(&value, from, 4);
  return value;
}

/// The end of every kernel: values before the zero point to codes. Its constants are held in registers; a store to
/// bytes might otherwise change them.
template <int L>
struct Pack {
  const hn::Vec<hn::FixedTag<int16_t, 2 * L>> zero_point;
  const VBytes<L> low, high;
  Pack(int zero, CodeRange clamp)
      : zero_point(hn::Set(hn::FixedTag<int16_t, 2 * L>(), int16_t(zero))),
        low(hn::Set(Bytes<L>(), uint8_t(clamp.low))),
        high(hn::Set(Bytes<L>(), uint8_t(clamp.high))) {}

  /// Within each 128 bits: four of a, four of b, four of c, four of d.
  HWY_INLINE VBytes<L> operator()(V<L> a, V<L> b, V<L> c, V<L> d) const {
    const hn::FixedTag<int16_t, 2 * L> dw;
    const auto first = hn::SaturatedAdd(hn::ReorderDemote2To(dw, a, b), zero_point);
    const auto second = hn::SaturatedAdd(hn::ReorderDemote2To(dw, c, d), zero_point);
    VBytes<L> bytes;
    if constexpr (L == 4) bytes = VBytes<L>{_mm_packus_epi16(first.raw, second.raw)};
    if constexpr (L == 8) bytes = VBytes<L>{_mm256_packus_epi16(first.raw, second.raw)};
#if HWY_TARGET != HWY_AVX2
    if constexpr (L == 16) bytes = VBytes<L>{_mm512_packus_epi16(first.raw, second.raw)};
#endif
    return hn::Min(hn::Max(bytes, low), high);
  }
};

/// The fast form of OutputStage, before the zero point and the clamp.
template <bool kRectified, int L>
HWY_INLINE V<L> scaled(V<L> acc, V<L> multiplier, V<L> rounding, V<L> shift) {
  const hn::FixedTag<int64_t, L / 2> wide;
  const hn::RebindToUnsigned<decltype(wide)> bits;
  const Integers<L> d;
  const auto odd_lanes = [&](V<L> v) { return hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(bits, v))); };
  const auto half = hn::Set(wide, int64_t{1} << 30);
  const auto rounded = [&](auto product) {
    if (kRectified) return hn::Add(product, half);
    return hn::Add(product, hn::IfVecThenElse(hn::BroadcastSignBit(product), hn::Neg(half), half));
  };
  const auto even = rounded(hn::MulEven(acc, multiplier));
  const auto odd = rounded(hn::MulEven(odd_lanes(acc), odd_lanes(multiplier)));
  const V<L> upper = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(bits, even))));
  return hn::Shr(hn::Add(upper, rounding), shift);
}

// --- matrix tiles ---------------------------------------------------------------------------------------------------

/// kVectors vectors of columns from `column` on.
template <int kRows, int kVectors>
HWY_INLINE void accumulate(const Tile& t, int column, V<kFull> (&acc)[kRows][kVectors]) {
  constexpr int L = kFull;
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const V<L> bias = load<L>(t.columns->bias + column + j * L);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) acc[i][j] = bias;
  }
  if (t.window_sums)
    for (int j = 0; j < kVectors; ++j)
      for (int i = 0; i < kRows; ++i)
        acc[i][j] = hn::Sub(acc[i][j], hn::Mul(hn::Set(Integers<L>(), t.window_sums[i]),
                                               load<L>(t.columns->weight_zero + column + j * L)));
  // Every third pixel has a pointer of its own: the two between are at once and twice the stride, which an address can
  // express.
  constexpr int kPointers = (kRows + 2) / 3;
  const int8_t* w = t.weights + column * 4;
  const ptrdiff_t step = ptrdiff_t{t.width} * 4, stride = t.in_stride;
  const int quads = t.quads;
  for (int s = 0; s < t.segment_count; ++s) {
    const uint8_t* in[kPointers];
#pragma GCC unroll 16
    for (int k = 0; k < kPointers; ++k) in[k] = t.in + t.segments[s] + 3 * k * stride;
    // A cache line of each pixel at a time: with many pixels of many bytes the next comes from the second-level cache.
    for (int left = quads; left > 0; left -= 16) {
      if (left > 16) {
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) hwy::Prefetch(in[i / 3] + (i % 3) * stride + 64);
      }
      const int8_t* const end = w + std::min(left, 16) * step;
      do {
        Weights<L> weight[kVectors];
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j)
          weight[j] = weights<L>(load<L>(reinterpret_cast<const int32_t*>(w + j * L * 4)));
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          const Codes<L> x = codes<L>(hn::Set(Integers<L>(), load_quad(in[i / 3] + (i % 3) * stride)));
#pragma GCC unroll 4
          for (int j = 0; j < kVectors; ++j) acc[i][j] = dot(acc[i][j], x, weight[j]);
        }
        w += step;
#pragma GCC unroll 16
        for (int k = 0; k < kPointers; ++k) in[k] += 4;
      } while (w != end);
    }
  }
}

template <int kRows, int kVectors>
HWY_NOINLINE void store_tile_slowly(const Tile& t, int column, const V<kFull> (&acc)[kRows][kVectors]) {
  HWY_ALIGN int32_t values[kVectors * kFull];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::Store(acc[i][j], Integers<kFull>(), values + j * kFull);
    for (int c = 0; c < std::min(kVectors * kFull, t.channels - column); ++c)
      store_slowly(*t.stage, *t.columns, column + c, values[c], t.out, i * t.out_stride + column + c);
  }
}

#if HWY_TARGET == HWY_AVX2
// 32 codes as pack() leaves them, to four vectors of eight in a row.
HWY_INLINE VBytes<8> in_order(VBytes<8> v) {
  return VBytes<8>{_mm256_permutevar8x32_epi32(v.raw, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))};
}
#else
HWY_INLINE VBytes<16> in_order(VBytes<16> v) {
  return VBytes<16>{
      _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v.raw)};
}
#endif

template <bool kRectified, int kRows, int kVectors>
HWY_INLINE void store_codes(const Tile& t, int column, V<kFull> (&acc)[kRows][kVectors]) {
  constexpr int L = kFull, kTogether = 4 / kVectors;  // rows that fill one vector of bytes
  static_assert(kVectors == 1 || kVectors == 2);
  const Columns<kPanel>& c = *t.columns;
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const V<L> multiplier = load<L>(c.multiplier + column + j * L), rounding = load<L>(c.rounding + column + j * L),
               shift = load<L>(c.shift + column + j * L);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) acc[i][j] = scaled<kRectified, L>(acc[i][j], multiplier, rounding, shift);
  }
  constexpr int kEach = kVectors * L;
  const Pack<L> codes_of(t.stage->zero_point, t.stage->clamp);
  const ptrdiff_t stride = t.out_stride;
  uint8_t* out = static_cast<uint8_t*>(t.out) + column;
  const int there = std::min(kEach, t.channels - column);
#if HWY_TARGET != HWY_AVX2
  const auto some = uint32_t((uint64_t{1} << there) - 1);
#endif
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i += kTogether) {
    const auto row = [&](int k, int j) { return acc[std::min(i + k, kRows - 1)][j]; };
    VBytes<L> bytes;
    if constexpr (kVectors == 2)
      bytes = in_order(codes_of(row(0, 0), row(0, 1), row(1, 0), row(1, 1)));
    else
      bytes = in_order(codes_of(row(0, 0), row(1, 0), row(2, 0), row(3, 0)));
#if HWY_TARGET != HWY_AVX2
    if constexpr (kVectors == 2) {
      _mm256_mask_storeu_epi8(out, some, _mm512_castsi512_si256(bytes.raw));
      if (i + 1 < kRows) _mm256_mask_storeu_epi8(out + stride, some, _mm512_extracti64x4_epi64(bytes.raw, 1));
    } else {
      const auto part = __mmask16(some);
      _mm_mask_storeu_epi8(out, part, _mm512_castsi512_si128(bytes.raw));
      if (i + 1 < kRows) _mm_mask_storeu_epi8(out + stride, part, _mm512_extracti32x4_epi32(bytes.raw, 1));
      if (i + 2 < kRows) _mm_mask_storeu_epi8(out + 2 * stride, part, _mm512_extracti32x4_epi32(bytes.raw, 2));
      if (i + 3 < kRows) _mm_mask_storeu_epi8(out + 3 * stride, part, _mm512_extracti32x4_epi32(bytes.raw, 3));
    }
#else
    HWY_ALIGN uint8_t buffer[4 * L];
    hn::Store(bytes, Bytes<L>(), buffer);
    for (int k = 0; k < kTogether && i + k < kRows; ++k)
      std::memcpy(out + k * stride, buffer + k * kEach, size_t(there));
#endif
    out += kTogether * stride;
  }
}

template <int kRows, int kVectors>
HWY_INLINE void tile_columns(const Tile& t, int column) {
  V<kFull> acc[kRows][kVectors];
  accumulate<kRows, kVectors>(t, column, acc);
  if (t.stage->kind != OutputKind::Codes || !t.columns->fast) {
    V<kFull> copy[kRows][kVectors];  // or all accumulators would pass through memory always
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kVectors; ++j) copy[i][j] = acc[i][j];
    store_tile_slowly<kRows, kVectors>(t, column, copy);
  } else if (t.stage->rectified)
    store_codes<true, kRows, kVectors>(t, column, acc);
  else
    store_codes<false, kRows, kVectors>(t, column, acc);
}

template <int kRows>
void tile(const Tile& t) {
#if HWY_TARGET == HWY_AVX2
  for (int column = 0; column < t.channels; column += 16) tile_columns<kRows, 2>(t, column);
#else
  if (t.width == 32)
    tile_columns<kRows, 2>(t, 0);
  else
    tile_columns<kRows, 1>(t, 0);
#endif
}

#if HWY_TARGET == HWY_AVX3_DL
constexpr int kMostRows = 14;  // 28 accumulators, two vectors of weights, one of codes
#elif HWY_TARGET == HWY_AVX3
constexpr int kMostRows = 12;
#else
constexpr int kMostRows = 4;
#endif

// --- depthwise ------------------------------------------------------------------------------------------------------

/// A column's bytes of `kernel_h` rows, those of a channel side by side, in quads: to [quad][4 vectors].
template <int L>
HWY_INLINE void interleave(const DepthwiseRow& r, int kernel_h, int x, int first, uint8_t* to) {
  const Bytes<L> db;
  const hn::FixedTag<uint16_t, 2 * L> dw;
  for (int row = 0; row < kernel_h; row += 4, to += 16 * L) {
    const auto byte = [&](int k) {
      if (row + k >= kernel_h) return hn::Zero(db);
      return hn::LoadU(db, r.rows[row + k] + ptrdiff_t{x} * r.channels + first);
    };
    const VBytes<L> b0 = byte(0), b1 = byte(1), b2 = byte(2), b3 = byte(3);
    const auto low = hn::BitCast(dw, hn::InterleaveLower(db, b0, b1));
    const auto high = hn::BitCast(dw, hn::InterleaveUpper(db, b0, b1));
    const auto low2 = hn::BitCast(dw, hn::InterleaveLower(db, b2, b3));
    const auto high2 = hn::BitCast(dw, hn::InterleaveUpper(db, b2, b3));
    hn::Store(hn::BitCast(db, hn::InterleaveLower(dw, low, low2)), db, to);
    hn::Store(hn::BitCast(db, hn::InterleaveUpper(dw, low, low2)), db, to + 4 * L);
    hn::Store(hn::BitCast(db, hn::InterleaveLower(dw, high, high2)), db, to + 8 * L);
    hn::Store(hn::BitCast(db, hn::InterleaveUpper(dw, high, high2)), db, to + 12 * L);
  }
}

/// Channels [first, first + 4 L) of a row. kThree: a 3 x 3 kernel without repeats, whose weights stay in registers.
template <bool kRectified, bool kThree, int L>
void depthwise_channels(const DepthwiseRow& r, int first) {
  const Bytes<L> db;
  const int kernel_h = kThree ? 3 : r.kernel_h, kernel_w = kThree ? 3 : r.kernel_w, repeats = kThree ? 1 : r.repeats;
  const int quads = kThree ? 1 : row_quads(kernel_h), chunk = first / kChunk, lane = first % kChunk / 16 * 4;
  const size_t pixel = size_t(quads) * 16 * L;  // bytes of one column

  uint8_t* to = r.scratch;
  const auto outside = [&] {
    for (int x = 0; x < r.padding_w; ++x)
      for (int v = 0; v < quads * 4; ++v, to += 4 * L) hn::Store(hn::Set(db, r.input_zero), db, to);
  };
  outside();
  for (int x = 0; x < r.in_w; ++x, to += pixel) interleave<L>(r, kernel_h, x, first, to);
  outside();

  const int taps = kernel_w * quads * repeats;
  const auto* weight = reinterpret_cast<const int32_t*>(r.weights) + ptrdiff_t{chunk} * taps * kChunk + lane;
  const Columns<kChunk>& c = r.columns[chunk];
  const int there = std::min(4 * L, r.channels - first);
  const bool direct = r.stage->kind == OutputKind::Codes && c.fast;
  const Pack<L> codes_of(r.stage->zero_point, r.stage->clamp);
  Weights<L> held[12];
  if constexpr (kThree) {
#pragma GCC unroll 12
    for (int k = 0; k < 12; ++k) held[k] = weights<L>(load<L>(weight + k / 4 * kChunk + k % 4 * 16));
  }
  const size_t step = size_t(r.stride_w) * pixel, tap_step = size_t(r.dilation_w) * pixel;
  const uint8_t* window = r.scratch;
  uint8_t* out = static_cast<uint8_t*>(r.out) + first;
  for (int ox = 0; ox < r.out_w; ++ox, window += step) {
    V<L> acc[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[j] = load<L>(c.bias + j * 16 + lane);
    if constexpr (kThree) {
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j)
          acc[j] = dot(acc[j], codes<L>(load<L>(reinterpret_cast<const int32_t*>(window + kx * tap_step) + j * L)),
                       held[kx * 4 + j]);
    } else {
      const int32_t* w = weight;
      for (int kx = 0; kx < kernel_w; ++kx)
        for (int q = 0; q < quads; ++q)
          for (int k = 0; k < repeats; ++k, w += kChunk) {
            const auto* x = reinterpret_cast<const int32_t*>(window + kx * tap_step + q * 16 * L);
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j)
              acc[j] = dot(acc[j], codes<L>(load<L>(x + j * L)), weights<L>(load<L>(w + j * 16)));
          }
    }
    if (HWY_LIKELY(direct)) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        acc[j] = scaled<kRectified, L>(acc[j], load<L>(c.multiplier + j * 16 + lane),
                                       load<L>(c.rounding + j * 16 + lane), load<L>(c.shift + j * 16 + lane));
      const VBytes<L> bytes = codes_of(acc[0], acc[1], acc[2], acc[3]);
      if (there == 4 * L) {
        hn::StoreU(bytes, db, out);
      } else {
        HWY_ALIGN uint8_t buffer[4 * L];
        hn::Store(bytes, db, buffer);
        std::memcpy(out, buffer, size_t(there));
      }
      out += r.channels;
    } else {
      HWY_ALIGN int32_t values[4 * L];
      for (int j = 0; j < 4; ++j) hn::Store(acc[j], Integers<L>(), values + j * L);
      for (int k = 0; k < there; ++k)  // channel k is in vector k % 16 / 4, 128-bit block k / 16
        store_slowly(*r.stage, c, chunk_order(first % kChunk + k), values[k % 16 / 4 * L + k / 16 * 4 + k % 4], r.out,
                     ptrdiff_t{ox} * r.channels + first + k);
    }
  }
}

template <bool kRectified, bool kThree>
void depthwise_stage(const DepthwiseRow& r) {
  int first = 0;
#if HWY_TARGET != HWY_AVX2
  for (; r.channels - first > 32; first += 64) depthwise_channels<kRectified, kThree, 16>(r, first);
#endif
  for (; r.channels - first > 16; first += 32) depthwise_channels<kRectified, kThree, 8>(r, first);
  if (first < r.channels) depthwise_channels<kRectified, kThree, 4>(r, first);
}
void depthwise(const DepthwiseRow& r) {
  const bool three = r.kernel_h == 3 && r.kernel_w == 3 && r.repeats == 1;
  if (r.stage->rectified)
    three ? depthwise_stage<true, true>(r) : depthwise_stage<true, false>(r);
  else
    three ? depthwise_stage<false, true>(r) : depthwise_stage<false, false>(r);
}

// --- without weights ------------------------------------------------------------------------------------------------

/// 4 L sums from `a` and `b`.
template <bool kRectified, int L>
HWY_INLINE VBytes<L> add_vector(const AddFactors& f, const Pack<L>& codes_of, VBytes<L> a, VBytes<L> b) {
  const Integers<L> d;
  const Bytes<L> db;
  const hn::FixedTag<int16_t, 2 * L> dw;
  // Pairs (a, b) of 16 bits; the factors' upper and lower bits meet them in two multiplications.
  const auto pair = [&](int bits) {
    return hn::BitCast(dw, hn::Set(d, int32_t(uint32_t(bits == 0 ? f.a_factor & 0xFF : f.a_factor >> 8) |
                                              uint32_t(bits == 0 ? f.b_factor & 0xFF : f.b_factor >> 8) << 16)));
  };
  const auto lower = pair(0), upper = pair(1);
  const auto start = hn::Set(d, -f.a_zero_point * f.a_factor - f.b_zero_point * f.b_factor);
  const auto half = hn::Set(d, (1 << f.shift) >> 1);
  V<L> unused = hn::Zero(d);
  const auto sum = [&](auto bytes) {
    const auto x = hn::BitCast(dw, bytes);
    V<L> acc = hn::ShiftLeft<8>(hn::ReorderWidenMulAccumulate(d, x, upper, hn::Zero(d), unused));
    acc = hn::Add(hn::ReorderWidenMulAccumulate(d, x, lower, acc, unused), start);
    if (!kRectified) acc = hn::Add(acc, hn::BroadcastSignBit(acc));
    return hn::ShiftRightSame(hn::Add(acc, half), f.shift);
  };
  const auto zero = hn::Zero(db);
  const auto low = hn::InterleaveLower(db, a, b), high = hn::InterleaveUpper(db, a, b);
  const V<L> s0 = sum(hn::InterleaveLower(db, low, zero)), s1 = sum(hn::InterleaveUpper(db, low, zero)),
             s2 = sum(hn::InterleaveLower(db, high, zero)), s3 = sum(hn::InterleaveUpper(db, high, zero));
  return codes_of(s0, s1, s2, s3);
}

template <bool kRectified>
void add_stage(const AddFactors& factors, const uint8_t* a, const uint8_t* b, size_t count, uint8_t* out) {
  constexpr int L = kFull;
  const Bytes<L> d;
  const AddFactors f = factors;
  const Pack<L> codes_of(f.zero_point, f.clamp);
  size_t i = 0;
  for (; i + 4 * L <= count; i += 4 * L)
    hn::StoreU(add_vector<kRectified, L>(f, codes_of, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  if (i == count) return;
  HWY_ALIGN uint8_t x[4 * L] = {}, y[4 * L] = {};
  std::memcpy(x, a + i, count - i);
  std::memcpy(y, b + i, count - i);
  hn::Store(add_vector<kRectified, L>(f, codes_of, hn::Load(d, x), hn::Load(d, y)), d, x);
  std::memcpy(out + i, x, count - i);
}
void add(const AddFactors& f, const uint8_t* a, const uint8_t* b, size_t count, uint8_t* out) {
  f.clamp.low >= f.zero_point ? add_stage<true>(f, a, b, count, out) : add_stage<false>(f, a, b, count, out);
}

void quantize(const float* in, size_t count, const AffineU8& to, uint8_t* out) {
  constexpr int L = kFull;
  const hn::FixedTag<float, L> df;
  const Integers<L> d;
  const auto scale = hn::Set(df, to.scale), low = hn::Set(df, float(-to.zero_point)),
             high = hn::Set(df, float(to.max_code - to.zero_point));
  const Pack<L> pack(to.zero_point, {0, to.max_code});
  const auto value = [&](const float* from) {
    const auto code = hn::Round(hn::Div(hn::LoadU(df, from), scale));
    return hn::ConvertTo(d, hn::Min(hn::Max(code, low), high));
  };
  size_t i = 0;
  for (; i + 4 * L <= count; i += 4 * L)
    hn::StoreU(in_order(pack(value(in + i), value(in + i + L), value(in + i + 2 * L), value(in + i + 3 * L))),
               Bytes<L>(), out + i);
  for (; i < count; ++i) out[i] = quanta::quantize(in[i], to);
}

template <bool kRectified>
void requantize_stage(const int32_t* acc, size_t count, const FixedPoint& factor, const OutputStage& stage,
                      uint8_t* out) {
  constexpr int L = kFull;
  const Integers<L> d;
  const V<L> multiplier = hn::Set(d, factor.multiplier), rounding = hn::Set(d, 1 << (factor.shift - 2)),
             shift = hn::Set(d, factor.shift - 1);
  const Pack<L> pack(stage.zero_point, stage.clamp);
  HWY_ALIGN int32_t tail[4 * L] = {};
  HWY_ALIGN uint8_t bytes[4 * L];
  for (size_t i = 0; i < count; i += 4 * L) {
    const size_t there = std::min<size_t>(4 * L, count - i);
    const int32_t* from = acc + i;
    if (there < 4 * L) {
      std::memcpy(tail, from, there * sizeof(int32_t));
      from = tail;
    }
    const auto value = [&](int k) {
      return scaled<kRectified, L>(hn::LoadU(d, from + k * L), multiplier, rounding, shift);
    };
    hn::Store(in_order(pack(value(0), value(1), value(2), value(3))), Bytes<L>(), bytes);
    std::memcpy(out + i, bytes, there);
  }
}
void requantize(const int32_t* acc, size_t count, const FixedPoint& factor, const OutputStage& stage, uint8_t* out) {
  (stage.rectified ? requantize_stage<true> : requantize_stage<false>)(acc, count, factor, stage, out);
}

HWY_NOINLINE int64_t peak(int64_t count) {
  constexpr int kSums = HWY_TARGET == HWY_AVX2 ? 10 : 24;
  const Integers<kFull> d;
  const V<kFull> x = hn::Set(d, 0x01020304), y = hn::Set(d, 0x05060708);
  V<kFull> sum[kSums];
#pragma GCC unroll 24
  for (int i = 0; i < kSums; ++i) sum[i] = hn::Zero(d);
  for (int64_t k = 0; k < count; ++k) {
    const auto a = codes<kFull>(x);
    const auto b = weights<kFull>(y);
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) {
      sum[i] = dot(sum[i], a, b);
      asm volatile("" : "+v"(sum[i].raw));  // or equal sums would become one
    }
  }
  return count * kSums * kFull * 4;
}

#else  // plain loops

template <int kRows>
void tile(const Tile& t) {
  for (int i = 0; i < kRows; ++i) {
    int32_t acc[kPanel];
    for (int c = 0; c < t.width; ++c)
      acc[c] = t.columns->bias[c] - (t.window_sums ? t.window_sums[i] * t.columns->weight_zero[c] : 0);
    const int8_t* w = t.weights;
    for (int s = 0; s < t.segment_count; ++s) {
      const uint8_t* in = t.in + i * t.in_stride + t.segments[s];
      for (int q = 0; q < t.quads; ++q, in += 4, w += 4 * t.width)
        for (int c = 0; c < t.width; ++c)
          acc[c] += in[0] * w[4 * c] + in[1] * w[4 * c + 1] + in[2] * w[4 * c + 2] + in[3] * w[4 * c + 3];
    }
    for (int c = 0; c < t.channels; ++c) store_slowly(*t.stage, *t.columns, c, acc[c], t.out, i * t.out_stride + c);
  }
}
constexpr int kMostRows = 4;

void depthwise(const DepthwiseRow& r) {
  const int quads = row_quads(r.kernel_h);
  for (int c = 0; c < r.channels; ++c) {
    const Columns<kChunk>& columns = r.columns[c / kChunk];
    const int column = chunk_order(c % kChunk);
    const int8_t* weights =
        r.weights + ((ptrdiff_t{c / kChunk} * r.kernel_w * quads * r.repeats) * kChunk + column) * 4;
    for (int ox = 0; ox < r.out_w; ++ox) {
      int32_t acc = columns.bias[column];
      for (int kx = 0; kx < r.kernel_w; ++kx) {
        const int x = ox * r.stride_w + kx * r.dilation_w - r.padding_w;
        for (int ky = 0; ky < r.kernel_h; ++ky) {
          const int code = x < 0 || x >= r.in_w ? r.input_zero : r.rows[ky][ptrdiff_t{x} * r.channels + c];
          for (int k = 0; k < r.repeats; ++k)
            acc += code * weights[((ptrdiff_t{kx} * quads + ky / 4) * r.repeats + k) * kChunk * 4 + ky % 4];
        }
      }
      store_slowly(*r.stage, columns, column, acc, r.out, ptrdiff_t{ox} * r.channels + c);
    }
  }
}

void add(const AddFactors& f, const uint8_t* a, const uint8_t* b, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t sum = (a[i] - f.a_zero_point) * f.a_factor + (b[i] - f.b_zero_point) * f.b_factor;
    out[i] = uint8_t(std::clamp(rounding_shift_right(sum, f.shift) + f.zero_point, f.clamp.low, f.clamp.high));
  }
}

void quantize(const float* in, size_t count, const AffineU8& to, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = quanta::quantize(in[i], to);
}

void requantize(const int32_t* acc, size_t count, const FixedPoint& factor, const OutputStage& stage, uint8_t* out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = quanta::requantize(acc[i], factor, stage.zero_point, stage.clamp.low, stage.clamp.high);
}

int64_t peak(int64_t count) {
  int32_t sums[32] = {}, x = 3, y = 5;
  for (int64_t k = 0; k < count; ++k) {
    asm volatile("" : "+r"(x), "+r"(y));
    for (int32_t& sum : sums) sum += x * y;
  }
  asm volatile("" : : "r"(&sums[0]) : "memory");
  return count * 32;
}

#endif  // QUANTA_VECTORS

void look_up(const CodeTable& table, const uint8_t* in, size_t count, uint8_t* out) {
  size_t i = 0;
#if HWY_TARGET == HWY_AVX3_DL
  // Two permutations of 128 entries each; bit 7 of a code chooses between them.
  const __m512i t0 = _mm512_loadu_si512(table.data()), t1 = _mm512_loadu_si512(table.data() + 64),
                t2 = _mm512_loadu_si512(table.data() + 128), t3 = _mm512_loadu_si512(table.data() + 192);
  for (; i + 64 <= count; i += 64) {
    const __m512i code = _mm512_loadu_si512(in + i);
    const __m512i lower = _mm512_permutex2var_epi8(t0, code, t1), upper = _mm512_permutex2var_epi8(t2, code, t3);
    _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), lower, upper));
  }
#endif
  for (; i < count; ++i) out[i] = table[in[i]];
}

void maximum(const uint8_t* HWY_RESTRICT in, size_t count, uint8_t* HWY_RESTRICT out) {
  for (size_t i = 0; i < count; ++i) out[i] = std::max(out[i], in[i]);
}

void accumulate_codes(const uint8_t* HWY_RESTRICT in, size_t count, int32_t* HWY_RESTRICT sums) {
  for (size_t i = 0; i < count; ++i) sums[i] += in[i];
}

template <size_t... kRows>
constexpr std::array<void (*)(const Tile&), sizeof...(kRows) + 1> all_tiles(std::index_sequence<kRows...>) {
  return {nullptr, tile<int(kRows) + 1>...};
}
constexpr auto kTiles = all_tiles(std::make_index_sequence<kMostRows>());

const Kernels* target_kernels() {
  static const Kernels instance{hwy::TargetName(HWY_TARGET),
                                kMostRows,
                                kTiles.data(),
                                depthwise,
                                add,
                                look_up,
                                quantize,
                                maximum,
                                accumulate_codes,
                                requantize,
                                peak};
  return &instance;
}

}  // namespace quanta::lowbit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::lowbit {
HWY_EXPORT(target_kernels);

const Kernels& kernels() {
  return *HWY_DYNAMIC_DISPATCH(target_kernels)();
}

int64_t kernel_targets() {
  return HWY_TARGETS;
}
}  // namespace quanta::lowbit
#endif
