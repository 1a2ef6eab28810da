#include "quanta/simulate/large.h"
#include "quanta/simulate/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/simulate/large_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "quanta/simulate/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {

HWY_INLINE bool odd_parity(uint64_t x) {
  return std::popcount(x) & 1;
}

template <class T>
constexpr int kLaneBits = std::bit_width(kLanes<T>) - 1;

template <class T>
void product(T* state, uint64_t first, uint64_t last, int lower_bits, const std::complex<T>* upper,
             const std::complex<T>* lower, const std::complex<T>* lanes) {
  constexpr size_t L = kLanes<T>;
  HWY_ALIGN T split[2 * L];
  for (size_t i = 0; i < L; ++i) {
    split[i] = lanes[i].real();
    split[L + i] = lanes[i].imag();
  }
  const C<T> in_lanes = load_amplitude(split);
  for (uint64_t h = first; h < last; ++h) {
    const std::complex<T> u = upper[h >> lower_bits], l = lower[h & ((uint64_t{1} << lower_bits) - 1)];
    const C<T> factor = mul<T>({set<T>(u.real()), set<T>(u.imag())}, {set<T>(l.real()), set<T>(l.imag())});
    store_amplitude(mul(factor, in_lanes), state + h * kStride<T>);
  }
}

/// lanes' = lanes ^ flip.
template <class T>
HWY_INLINE auto lane_permutation(uint32_t flip) {
  using Index = hwy::MakeSigned<T>;
  const hn::RebindToSigned<Tag<T>> di;
  return hn::IndicesFromVec(Tag<T>(), hn::Xor(hn::Iota(di, 0), hn::Set(di, Index(flip))));
}
template <class T>
HWY_INLINE C<T> permute(const C<T>& x, uint32_t flip) {
  if (flip == 0) return x;
  const auto indices = lane_permutation<T>(flip);
  return {hn::TableLookupLanes(x.re, indices), hn::TableLookupLanes(x.im, indices)};
}

/// value * (-1)^parity(lane & mask), negated if asked.
template <class T>
HWY_INLINE V<T> lane_signs(T value, uint64_t mask, bool negative) {
  constexpr size_t L = kLanes<T>;
  HWY_ALIGN T signs[L];
  for (size_t i = 0; i < L; ++i) signs[i] = odd_parity(i & mask) != negative ? -value : value;
  return load(signs);
}

/// Rotations first .. first + kCount - 1 on chunks that lie `spacing` numbers apart; rotation i flips bit i of their
/// index.
template <int kCount, class T>
HWY_NOINLINE void rotate_group(T* chunks, size_t spacing, size_t size, int first, const V<T>* tangents) {
  constexpr int kPoints = 1 << kCount;
  const size_t step = spacing << first;
  for (size_t outer = 0; outer < size; outer += size_t{kPoints} << first)
    for (size_t j = outer; j < outer + (size_t{1} << first); ++j) {
      T* at = chunks + j * spacing;
      C<T> x[kPoints];
#pragma GCC unroll 8
      for (size_t c = 0; c < kPoints; ++c) x[c] = load_amplitude(at + c * step);
      turn<kCount, T>(x, tangents + first);
#pragma GCC unroll 8
      for (size_t c = 0; c < kPoints; ++c) store_amplitude(x[c], at + c * step);
    }
}

template <class T>
void rotate_all(T* chunks, size_t spacing, int bits, int rotations, const V<T>* tangents) {
  for (int first = 0; first < rotations;) {
    const int count = rotations - first == 4 ? 2 : std::min(3, rotations - first);
    const size_t size = size_t{1} << bits;
    if (count == 3) rotate_group<3, T>(chunks, spacing, size, first, tangents);
    if (count == 2) rotate_group<2, T>(chunks, spacing, size, first, tangents);
    if (count == 1) rotate_group<1, T>(chunks, spacing, size, first, tangents);
    first += count;
  }
}

template <class T>
void sweep(const SweepWork<T>& work, uint64_t first_block, uint64_t last_block) {
  constexpr size_t L = kLanes<T>;
  constexpr int kInner = 6;  // 64 chunks, 8 KiB, are worked on in the first-level cache
  const Sweep& s = *work.sweep;
  const int bits = int(s.span.size()), rotations = int(s.rotations.size()), inner = std::min(bits, kInner);
  const size_t chunks = size_t{1} << bits, size = std::max<size_t>(chunks * L, 8);
  // A gap after every 64 chunks keeps those that are worked on together in different sets of the cache.
  const auto place = [](size_t j) { return (j + (j >> kInner)) * kStride<T>; };
  AlignedVector<T> buffer(place(chunks) + kStride<T>), cosine, sine;
  AlignedVector<double> spectrum;
  if (work.phases) {
    cosine.resize(size);
    sine.resize(size);
  }
  HWY_ALIGN V<T> tangents[16], lane_tangents[8];
  const auto next = [&s](uint64_t base) { return ((base | ~s.free) + 1) & s.free; };
  uint64_t base = spread(first_block, s.free);
  for (uint64_t block = first_block; block < last_block; ++block, base = next(base)) {
    const uint64_t physical = base << kLaneBits<T>;
    if (work.phases) {
      spectrum.assign(size, 0);
      for (size_t t = 0; t < work.phases->size(); ++t) {
        const auto& [mask, half] = (*work.phases)[t];
        spectrum[work.local_masks[t]] += odd_parity(mask & physical) ? half : -half;
      }
      work.math->diagonal(bits + kLaneBits<T>, spectrum.data(), double(work.scale), cosine.data(), sine.data());
    }
    for (int i = 0; i < rotations; ++i) {
      const auto& r = work.rotations[i];
      tangents[i] = lane_signs(r.tangent, r.parity, r.exchanged != odd_parity(r.parity & physical));
    }
    for (size_t i = 0; i < work.lane_rotations.size(); ++i) {
      const auto& r = work.lane_rotations[i];
      lane_tangents[i] = lane_signs(r.tangent, r.parity, r.exchanged == odd_parity(r.parity & physical));
    }
    const uint64_t next_base = next(base);
    for (size_t part = 0; part < chunks; part += size_t{1} << inner) {
      for (size_t j = part; j < part + (size_t{1} << inner); ++j) {
        C<T> x = permute<T>(load_amplitude(work.state + (base ^ s.offsets[j]) * kStride<T>), s.lanes[j]);
        const T* soon = work.state + (next_base ^ s.offsets[j]) * kStride<T>;
        hwy::Prefetch(soon);
        hwy::Prefetch(soon + L);
        if (work.phases) x = mul(C<T>{load(cosine.data() + j * L), load(sine.data() + j * L)}, x);
        for (size_t i = 0; i < work.lane_rotations.size(); ++i) {
          const C<T> partner = permute<T>(x, work.lane_rotations[i].lane_flip);
          x = {hn::MulAdd(lane_tangents[i], partner.re, x.re), hn::MulAdd(lane_tangents[i], partner.im, x.im)};
        }
        store_amplitude(x, buffer.data() + place(j));
      }
      rotate_all<T>(buffer.data() + place(part), kStride<T>, inner, std::min(rotations, kInner), tangents);
    }
    if (rotations > kInner)
      for (size_t j = 0; j < size_t{1} << kInner; ++j)
        rotate_all<T>(buffer.data() + place(j), place(size_t{1} << kInner), bits - kInner, rotations - kInner,
                      tangents + kInner);
    for (size_t j = 0; j < chunks; ++j)
      store_amplitude(permute<T>(load_amplitude(buffer.data() + place(j)), s.lanes[j]),
                      work.state + (base ^ s.offsets[j]) * kStride<T>);
  }
}

template <class T>
void density(const T* chunks, int bits, T* spectrum) {
  for (size_t j = 0; j < size_t{1} << bits; ++j) {
    const C<T> x = load_amplitude(chunks + j * kStride<T>);
    store<T>(hn::MulAdd(x.im, x.im, hn::Mul(x.re, x.re)), spectrum + j * kLanes<T>);
  }
  walsh(spectrum, bits);
}

template <class T>
LargeKernels<T> make_large() {
  return {kLaneBits<T>, product<T>, sweep<T>, density<T>};
}
LargeKernels<float> make_large_float() {
  return make_large<float>();
}
LargeKernels<double> make_large_double() {
  return make_large<double>();
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::simulate {
HWY_EXPORT(make_large_float);
HWY_EXPORT(make_large_double);

template <>
const LargeKernels<float>& large_kernels() {
  static const LargeKernels<float> instance = HWY_DYNAMIC_DISPATCH(make_large_float)();
  return instance;
}
template <>
const LargeKernels<double>& large_kernels() {
  static const LargeKernels<double> instance = HWY_DYNAMIC_DISPATCH(make_large_double)();
  return instance;
}
}  // namespace quanta::simulate
#endif
