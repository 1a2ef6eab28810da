// Complex numbers in the lanes of vectors, for the instruction set that is being compiled (Highway's foreach_target).

#if defined(QUANTA_SIMULATE_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUANTA_SIMULATE_VECTORS_INL_H_
#undef QUANTA_SIMULATE_VECTORS_INL_H_
#else
#define QUANTA_SIMULATE_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
constexpr size_t kLanes = hn::MaxLanes(Tag<T>());
template <class T>
using V = hn::Vec<Tag<T>>;
template <class T>
constexpr size_t kStride = 2 * kLanes<T>;  // from one amplitude to the next

template <class T>
HWY_INLINE V<T> load(const T* from) {
  return hn::Load(Tag<T>(), from);
}
template <class T>
HWY_INLINE void store(V<T> value, T* to) {
  hn::Store(value, Tag<T>(), to);
}
template <class T>
HWY_INLINE V<T> set(T value) {
  return hn::Set(Tag<T>(), value);
}
template <class T>
HWY_INLINE void add_to(V<T> value, T* to) {
  store<T>(hn::Add(load(to), value), to);
}

/// A complex number a lane.
template <class T>
struct C {
  V<T> re, im;
};
template <class T>
HWY_INLINE C<T> load_amplitude(const T* at) {
  return {load(at), load(at + kLanes<T>)};
}
template <class T>
HWY_INLINE void store_amplitude(const C<T>& value, T* at) {
  store<T>(value.re, at);
  store<T>(value.im, at + kLanes<T>);
}
template <class T>
HWY_INLINE C<T> mul(const C<T>& a, const C<T>& b) {
  return {hn::NegMulAdd(a.im, b.im, hn::Mul(a.re, b.re)), hn::MulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}
template <class T>
HWY_INLINE C<T> mul_conj(const C<T>& a, const C<T>& b) {  // conj(a) * b
  return {hn::MulAdd(a.im, b.im, hn::Mul(a.re, b.re)), hn::NegMulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}
template <class T>
HWY_INLINE C<T> add(const C<T>& a, const C<T>& b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
template <class T>
HWY_INLINE C<T> sub(const C<T>& a, const C<T>& b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
template <class T>
HWY_INLINE V<T> im_conj(const C<T>& a, const C<T>& b) {  // Im(conj(a) b)
  return hn::NegMulAdd(a.im, b.re, hn::Mul(a.re, b.im));
}

/// For angles that are too large for sine_cosine's reduction, or not finite.
template <class T>
HWY_NOINLINE void sine_cosine_one_by_one(const T* angle, T* sine, T* cosine) {
  for (size_t i = 0; i < kLanes<T>; ++i) {
    sine[i] = std::sin(angle[i]);
    cosine[i] = std::cos(angle[i]);
  }
}

/// {cos, sin}: reduction to [-pi/4, pi/4] by pi/2 in three parts, then the polynomials of the Cephes library.
template <class T>
HWY_INLINE C<T> sine_cosine(V<T> angle) {
  const Tag<T> d;
  const hn::RebindToSigned<Tag<T>> di;
  constexpr bool kSingle = sizeof(T) == 4;
  if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Lt(hn::Abs(angle), set<T>(kSingle ? T(0x1p20) : T(0x1p45)))))) {
    HWY_ALIGN T x[kLanes<T>], sine[kLanes<T>], cosine[kLanes<T>];
    store<T>(angle, x);
    sine_cosine_one_by_one(x, sine, cosine);
    return {load(cosine), load(sine)};
  }
  const V<T> turns = hn::Round(hn::Mul(angle, set<T>(T(0.63661977236758134308))));
  V<T> r = hn::NegMulAdd(turns, set<T>(kSingle ? T(1.5703125) : T(1.57079625129699707031)), angle);
  r = hn::NegMulAdd(turns, set<T>(kSingle ? T(4.837512969970703125e-4) : T(7.54978941586159635335e-08)), r);
  r = hn::NegMulAdd(turns, set<T>(kSingle ? T(7.54978995489188216e-8) : T(5.39030285815811905290e-15)), r);
  const V<T> z = hn::Mul(r, r);
  V<T> s, c;
  if constexpr (kSingle) {
    s = hn::MulAdd(set<T>(T(-1.9515295891E-4)), z, set<T>(T(8.3321608736E-3)));
    s = hn::MulAdd(s, z, set<T>(T(-1.6666654611E-1)));
    c = hn::MulAdd(set<T>(T(2.443315711809948E-5)), z, set<T>(T(-1.388731625493765E-3)));
    c = hn::MulAdd(c, z, set<T>(T(4.166664568298827E-2)));
  } else {
    s = hn::MulAdd(set<T>(T(1.58962301576546568060E-10)), z, set<T>(T(-2.50507477628578072866E-8)));
    s = hn::MulAdd(s, z, set<T>(T(2.75573136213857245213E-6)));
    s = hn::MulAdd(s, z, set<T>(T(-1.98412698295895385996E-4)));
    s = hn::MulAdd(s, z, set<T>(T(8.33333333332211858878E-3)));
    s = hn::MulAdd(s, z, set<T>(T(-1.66666666666666307295E-1)));
    c = hn::MulAdd(set<T>(T(-1.13585365213876817300E-11)), z, set<T>(T(2.08757008419747316778E-9)));
    c = hn::MulAdd(c, z, set<T>(T(-2.75573141792967388112E-7)));
    c = hn::MulAdd(c, z, set<T>(T(2.48015872888517045348E-5)));
    c = hn::MulAdd(c, z, set<T>(T(-1.38888888888730564116E-3)));
    c = hn::MulAdd(c, z, set<T>(T(4.16666666666665929218E-2)));
  }
  s = hn::MulAdd(hn::Mul(s, z), r, r);
  c = hn::MulAdd(hn::Mul(c, z), z, hn::NegMulAdd(set<T>(T(0.5)), z, set<T>(1)));
  const auto quadrant = hn::ConvertTo(di, turns);
  const auto swap = hn::RebindMask(d, hn::TestBit(quadrant, hn::Set(di, 1)));
  using Signed = hn::TFromD<decltype(di)>;
  constexpr int kSignShift = sizeof(T) * 8 - 2;  // bit 1 becomes the sign
  const auto sign_bit = hn::Set(di, Signed(std::numeric_limits<Signed>::min()));
  const auto sine_sign = hn::And(hn::ShiftLeft<kSignShift>(quadrant), sign_bit);
  const auto cosine_sign = hn::And(hn::ShiftLeft<kSignShift>(hn::Add(quadrant, hn::Set(di, 1))), sign_bit);
  return {hn::Xor(hn::IfThenElse(swap, s, c), hn::BitCast(d, cosine_sign)),
          hn::Xor(hn::IfThenElse(swap, c, s), hn::BitCast(d, sine_sign))};
}

/// RY without its cosine on 2^kCount amplitudes in registers; bit i of the index is the i-th qubit. kUndo undoes that,
/// but for the square of the cosines: the amplitudes of 0 and 1 change places.
template <int kCount, bool kUndo = false, class T>
HWY_INLINE void turn(C<T>* x, const V<T>* tangent) {
#pragma GCC unroll 3
  for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < 1 << kCount; ++j)
      if (!(j >> i & 1)) {
        const int zero = kUndo ? j | 1 << i : j, one = kUndo ? j : j | 1 << i;
        const C<T> a = x[zero], b = x[one];
        x[zero] = {hn::NegMulAdd(tangent[i], b.re, a.re), hn::NegMulAdd(tangent[i], b.im, a.im)};
        x[one] = {hn::MulAdd(tangent[i], a.re, b.re), hn::MulAdd(tangent[i], a.im, b.im)};
      }
}

/// Adds a pair's parts of Im<y|X|x> and Im<y|Y|x>.
template <class T>
HWY_INLINE void add_overlaps(const C<T>& x0, const C<T>& x1, const C<T>& y0, const C<T>& y1, V<T>& sum_x, V<T>& sum_y) {
  V<T> px = hn::Mul(y0.re, x1.im), py = hn::Mul(y1.re, x0.re);
  px = hn::NegMulAdd(y0.im, x1.re, px);
  py = hn::MulAdd(y1.im, x0.im, py);
  px = hn::MulAdd(y1.re, x0.im, px);
  py = hn::NegMulAdd(y0.re, x1.re, py);
  px = hn::NegMulAdd(y1.im, x0.re, px);
  py = hn::NegMulAdd(y0.im, x1.im, py);
  sum_x = hn::Add(sum_x, px);
  sum_y = hn::Add(sum_y, py);
}

// --- Walsh-Hadamard transform over the rows of [2^n] vectors; in place

template <int kLevels, class T>
HWY_INLINE void walsh_pass(T* data, size_t size, size_t half) {
  constexpr size_t kPoints = size_t{1} << kLevels;
  constexpr size_t L = kLanes<T>;
  for (size_t block = 0; block < size; block += half * kPoints)
    for (size_t i = block; i < block + half; ++i) {
      V<T> x[kPoints];
#pragma GCC unroll 8
      for (size_t j = 0; j < kPoints; ++j) x[j] = load(data + (i + j * half) * L);
#pragma GCC unroll 3
      for (int level = 0; level < kLevels; ++level)
#pragma GCC unroll 8
        for (size_t j = 0; j < kPoints; ++j)
          if (!(j >> level & 1)) {
            const size_t k = j | size_t{1} << level;
            const V<T> a = x[j], b = x[k];
            x[j] = hn::Add(a, b);
            x[k] = hn::Sub(a, b);
          }
#pragma GCC unroll 8
      for (size_t j = 0; j < kPoints; ++j) store<T>(x[j], data + (i + j * half) * L);
    }
}

template <class T>
void walsh(T* data, int bits) {
  const size_t size = size_t{1} << bits;
  int level = 0;
  for (; level + 3 <= bits; level += 3) walsh_pass<3>(data, size, size_t{1} << level);
  if (bits - level == 2) walsh_pass<2>(data, size, size_t{1} << level);
  if (bits - level == 1) walsh_pass<1>(data, size, size_t{1} << level);
}

/// The same over a [2^bits] array of numbers, at least a vector long.
inline void walsh_of_numbers(double* data, int bits) {
  const Tag<double> d;
  constexpr size_t L = kLanes<double>;
  constexpr int kInner = std::bit_width(L) - 1;
  const hn::RebindToSigned<Tag<double>> di;
  for (int level = 0; level < std::min(bits, kInner); ++level) {
    const auto partner = hn::IndicesFromVec(d, hn::Xor(hn::Iota(di, 0), hn::Set(di, int64_t{1} << level)));
    const auto upper = hn::RebindMask(d, hn::TestBit(hn::Iota(di, 0), hn::Set(di, int64_t{1} << level)));
    const V<double> sign = hn::IfThenElse(upper, set<double>(-1), set<double>(1));
    for (size_t i = 0; i < std::max(size_t{1} << bits, L); i += L) {
      const V<double> x = load(data + i);
      store<double>(hn::MulAdd(sign, x, hn::TableLookupLanes(x, partner)), data + i);
    }
  }
  if (bits > kInner) walsh(data, bits - kInner);
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
