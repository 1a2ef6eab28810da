#include "quanta/simulate/row_kernels.h"

#include "quanta/core/aligned.h"
#include "quanta/simulate/large.h"
#include "quanta/simulate/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/simulate/row_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/highway.h>

#include "quanta/simulate/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {

/// A permutation of the lanes: XOR onto the lane's number.
template <class T>
auto flip_indices(uint32_t flip) {
  const hn::RebindToSigned<Tag<T>> di;
  using Signed = hn::TFromD<decltype(di)>;
  return hn::IndicesFromVec(Tag<T>(), hn::Xor(hn::Iota(di, 0), hn::Set(di, Signed(flip))));
}
template <class T, class Indices>
HWY_INLINE C<T> permuted(const C<T>& x, Indices indices) {
  return {hn::TableLookupLanes(x.re, indices), hn::TableLookupLanes(x.im, indices)};
}
template <class T>
HWY_INLINE C<T> load_pair(const T* at, size_t width) {
  return {load(at), load(at + width)};
}
template <class T>
HWY_INLINE void store_pair(const C<T>& x, T* at, size_t width) {
  store<T>(x.re, at);
  store<T>(x.im, at + width);
}
template <class T>
HWY_INLINE C<T> mul_add(const C<T>& a, const C<T>& b, const C<T>& sum) {
  return {hn::NegMulAdd(a.im, b.im, hn::MulAdd(a.re, b.re, sum.re)),
          hn::MulAdd(a.im, b.re, hn::MulAdd(a.re, b.im, sum.im))};
}

template <class Body>
HWY_INLINE void for_rows(RowSet set, uint64_t begin, uint64_t end, Body body) {
  uint64_t base = spread(begin, set.free);
  for (uint64_t i = begin; i < end; ++i, base = ((base | ~set.free) + 1) & set.free) body(base | set.fixed);
}

/// A 2 x 2 matrix that is the same in all lanes.
template <bool kReal, class T>
void mix_two(const RowGate<T>& gate, const T* m, uint64_t begin, uint64_t end) {
  C<T> u[4];
  for (int i = 0; i < 4; ++i) u[i] = {set<T>(m[2 * i]), set<T>(m[2 * i + 1])};
  const size_t width = gate.width;
  for_rows(gate.set, begin, end, [&](uint64_t row) {
    T* low = gate.data + row * 2 * width;
    T* high = gate.data + (row ^ gate.offsets[1]) * 2 * width;
    for (size_t v = 0; v < width; v += kLanes<T>) {
      const C<T> a = load_pair(low + v, width), b = load_pair(high + v, width);
      if constexpr (kReal) {
        store_pair<T>(
            {hn::MulAdd(u[1].re, b.re, hn::Mul(u[0].re, a.re)), hn::MulAdd(u[1].re, b.im, hn::Mul(u[0].re, a.im))},
            low + v, width);
        store_pair<T>(
            {hn::MulAdd(u[3].re, b.re, hn::Mul(u[2].re, a.re)), hn::MulAdd(u[3].re, b.im, hn::Mul(u[2].re, a.im))},
            high + v, width);
      } else {
        store_pair(mul_add(u[1], b, mul(u[0], a)), low + v, width);
        store_pair(mul_add(u[3], b, mul(u[2], a)), high + v, width);
      }
    }
  });
}

/// One or two rows with all their terms, each coefficient a row of lanes (or one vector for all, if uniform).
template <int kRows, class T>
void mix_dense(const RowGate<T>& gate, uint64_t begin, uint64_t end) {
  constexpr size_t L = kLanes<T>;
  const size_t width = gate.width, size = gate.uniform ? L : width;
  AlignedVector<T> coefficients(kRows * kRows * 2 * size);  // 0 where there is no term
  for (int r = 0; r < kRows; ++r)
    for (uint32_t k = gate.first[r]; k < gate.first[r + 1]; ++k) {
      T* to = coefficients.data() + (size_t(r) * kRows + gate.terms[k].source) * 2 * size;
      for (size_t i = 0; i < 2 * size; ++i)
        to[i] = gate.uniform ? gate.coefficients[2 * k + i / size] : gate.coefficients[k * 2 * width + i];
    }
  const size_t offset = kRows == 2 ? gate.offsets[1] : 0;
  for_rows(gate.set, begin, end, [&](uint64_t row) {
    T* const rows[2] = {gate.data + row * 2 * width, gate.data + (row ^ offset) * 2 * width};
    for (size_t v = 0; v < width; v += L) {
      C<T> x[kRows];
      for (int r = 0; r < kRows; ++r) x[r] = load_pair(rows[r] + v, width);
      const T* c = coefficients.data() + (gate.uniform ? 0 : v);
      for (int r = 0; r < kRows; ++r) {
        C<T> sum = mul(load_pair(c + size_t(r) * kRows * 2 * size, size), x[0]);
        if constexpr (kRows == 2) sum = mul_add(load_pair(c + (size_t(r) * 2 + 1) * 2 * size, size), x[1], sum);
        if (gate.select) {
          const auto on = hn::Ne(load(gate.select + v), set<T>(0));
          sum = {hn::IfThenElse(on, sum.re, x[r].re), hn::IfThenElse(on, sum.im, x[r].im)};
        }
        store_pair(sum, rows[r] + v, width);
      }
    }
  });
}

template <class T>
void mix(const RowGate<T>& gate, uint64_t begin, uint64_t end) {
  const size_t width = gate.width;
  if (gate.uniform && gate.rows == 2 && !gate.select) {
    T m[8] = {};
    for (uint32_t t = 0; t < 2; ++t)
      for (uint32_t k = gate.first[t]; k < gate.first[t + 1]; ++k)
        for (int part = 0; part < 2; ++part)
          m[(2 * t + gate.terms[k].source) * 2 + part] = gate.coefficients[2 * k + part];
    const bool real = m[1] == 0 && m[3] == 0 && m[5] == 0 && m[7] == 0;
    return real ? mix_two<true>(gate, m, begin, end) : mix_two<false>(gate, m, begin, end);
  }
  if (gate.flips == 1 && gate.rows == 1) return mix_dense<1>(gate, begin, end);
  if (gate.flips == 1 && gate.rows == 2) return mix_dense<2>(gate, begin, end);
  constexpr size_t L = kLanes<T>;
  AlignedVector<T> memory(size_t(gate.rows) * gate.flips * 2 * L);
  T* const x = memory.data();  // [rows][flips][re, im] vectors
  for_rows(gate.set, begin, end, [&](uint64_t base) {
    for (size_t v = 0; v < width; v += L) {
      for (uint32_t r = 0; r < gate.rows; ++r) {
        const C<T> amplitude = load_pair(gate.data + (base ^ gate.offsets[r]) * 2 * width + v, width);
        store_amplitude(amplitude, x + size_t(r) * gate.flips * 2 * L);
        for (uint32_t f = 1; f < gate.flips; ++f)
          store_amplitude(permuted(amplitude, flip_indices<T>(gate.lane_flips[f])),
                          x + (size_t(r) * gate.flips + f) * 2 * L);
      }
      for (uint32_t r = 0; r < gate.rows; ++r) {
        C<T> sum{set<T>(0), set<T>(0)};
        for (uint32_t k = gate.first[r]; k < gate.first[r + 1]; ++k) {
          const C<T> source =
              load_amplitude(x + (size_t(gate.terms[k].source) * gate.flips + gate.terms[k].flip) * 2 * L);
          const C<T> coefficient = gate.uniform
                                       ? C<T>{set<T>(gate.coefficients[2 * k]), set<T>(gate.coefficients[2 * k + 1])}
                                       : load_pair(gate.coefficients + k * 2 * width + v, width);
          sum = mul_add(coefficient, source, sum);
        }
        T* const at = gate.data + (base ^ gate.offsets[r]) * 2 * width + v;
        if (gate.select) {
          const auto on = hn::Ne(load(gate.select + v), set<T>(0));
          const C<T> old = load_pair(at, width);
          sum = {hn::IfThenElse(on, sum.re, old.re), hn::IfThenElse(on, sum.im, old.im)};
        }
        store_pair(sum, at, width);
      }
    }
  });
}

HWY_INLINE bool is_odd(uint64_t x) {
  return std::popcount(x) & 1;
}
template <class T>
HWY_INLINE C<T> signed_by(const C<T>& x, bool negative) {
  const V<T> sign = set<T>(negative ? T(-1) : T(1));
  return {hn::Mul(x.re, sign), hn::Mul(x.im, sign)};
}

template <class T>
void rotate(const RowPauli<T>& pauli, T* data, uint64_t begin, uint64_t end) {
  const size_t width = pauli.width;
  const auto indices = flip_indices<T>(pauli.lane_flip);
  const bool permute = pauli.lane_flip != 0;
  const bool other_sign = is_odd(pauli.row_flip & pauli.row_mask);
  for_rows(pauli.set, begin, end, [&](uint64_t row) {
    T* const low = data + row * 2 * width;
    T* const high = data + (row ^ pauli.row_flip) * 2 * width;
    const bool negative = is_odd(row & pauli.row_mask);
    for (size_t v = 0; v < width; v += kLanes<T>) {
      const C<T> keep = load_pair(pauli.keep + v, width), change = load_pair(pauli.change + v, width);
      const C<T> a = load_pair(low + v, width), b = load_pair(high + v, width);
      const C<T> to_high = permute ? permuted(a, indices) : a, to_low = permute ? permuted(b, indices) : b;
      store_pair(mul_add(signed_by(change, negative != other_sign), to_low, mul(keep, a)), low + v, width);
      if (pauli.row_flip) store_pair(mul_add(signed_by(change, negative), to_high, mul(keep, b)), high + v, width);
    }
  });
}

template <class T>
void add_pauli(const RowPauli<T>& pauli, const T* x, T* y, uint64_t begin, uint64_t end) {
  const size_t width = pauli.width;
  const auto indices = flip_indices<T>(pauli.lane_flip);
  const bool permute = pauli.lane_flip != 0;
  for (uint64_t row = begin; row < end; ++row) {
    const uint64_t source = row ^ pauli.row_flip;
    const bool negative = is_odd(source & pauli.row_mask);
    T* const to = y + row * 2 * width;
    for (size_t v = 0; v < width; v += kLanes<T>) {
      const C<T> change = load_pair(pauli.change + v, width);
      C<T> a = load_pair(x + source * 2 * width + v, width);
      if (permute) a = permuted(a, indices);
      store_pair(mul_add(signed_by(change, negative), a, load_pair(to + v, width)), to + v, width);
    }
  }
}

template <class T>
void inner(size_t width, const T* x, const T* y, uint64_t begin, uint64_t end, T* sums) {
  for (uint64_t row = begin; row < end; ++row)
    for (size_t v = 0; v < width; v += kLanes<T>) {
      const size_t at = row * 2 * width + v;
      store_pair(add(load_pair(sums + v, width), mul_conj(load_pair(x + at, width), load_pair(y + at, width))),
                 sums + v, width);
    }
}

template <class T>
void norm(size_t width, const T* x, RowSet set, uint64_t begin, uint64_t end, T* sums) {
  for_rows(set, begin, end, [&](uint64_t row) {
    for (size_t v = 0; v < width; v += kLanes<T>) {
      const C<T> a = load_pair(x + row * 2 * width + v, width);
      add_to<T>(hn::MulAdd(a.re, a.re, hn::Mul(a.im, a.im)), sums + v);
    }
  });
}

template <class T>
void correlate(size_t width, const T* x, uint64_t row_flip, uint32_t lane_flip, bool imaginary, int bits,
               uint64_t begin, uint64_t end, size_t masks, const uint64_t* mask, T* scratch, T* sums) {
  constexpr size_t L = kLanes<T>;
  const auto indices = flip_indices<T>(lane_flip);
  const uint64_t size = uint64_t{1} << bits;
  for (uint64_t block = begin; block < end; ++block)
    for (size_t v = 0; v < width; v += L) {
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t row = block << bits | i;
        const C<T> a = load_pair(x + row * 2 * width + v, width);
        C<T> b = row_flip ? load_pair(x + (row ^ row_flip) * 2 * width + v, width) : a;
        if (lane_flip) b = permuted(b, indices);
        store<T>(imaginary ? im_conj(b, a) : hn::MulAdd(b.im, a.im, hn::Mul(b.re, a.re)), scratch + i * L);
      }
      walsh(scratch, bits);
      for (size_t k = 0; k < masks; ++k) {
        const V<T> value = load(scratch + (mask[k] & (size - 1)) * L);
        const V<T> sign = set<T>(is_odd(block << bits & mask[k]) ? T(-1) : T(1));
        add_to<T>(hn::Mul(value, sign), sums + k * width + v);
      }
    }
}

template <class T>
RowKernels<T> make_rows() {
  return {kLanes<T>, mix<T>, rotate<T>, add_pauli<T>, inner<T>, norm<T>, correlate<T>};
}
RowKernels<float> make_rows_float() {
  return make_rows<float>();
}
RowKernels<double> make_rows_double() {
  return make_rows<double>();
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::simulate {
HWY_EXPORT(make_rows_float);
HWY_EXPORT(make_rows_double);

template <>
const RowKernels<float>& row_kernels() {
  static const RowKernels<float> instance = HWY_DYNAMIC_DISPATCH(make_rows_float)();
  return instance;
}
template <>
const RowKernels<double>& row_kernels() {
  static const RowKernels<double> instance = HWY_DYNAMIC_DISPATCH(make_rows_double)();
  return instance;
}
}  // namespace quanta::simulate
#endif
