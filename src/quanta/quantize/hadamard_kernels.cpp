#include "quanta/quantize/hadamard_kernels.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/quantize/hadamard_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/highway.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace quanta::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// (a, b) <- (a + b, a - b) for values h apart; the lanes of d divide h.
template <class D, class T>
void butterfly(D d, T* x, size_t size, size_t h) {
  for (size_t i = 0; i < size; i += 2 * h)
    for (size_t j = i; j < i + h; j += hn::Lanes(d)) {
      const auto a = hn::LoadU(d, x + j), b = hn::LoadU(d, x + j + h);
      hn::StoreU(hn::Add(a, b), d, x + j);
      hn::StoreU(hn::Sub(a, b), d, x + j + h);
    }
}

/// The stages h and 2 h in one pass over memory.
template <class D, class T>
void two_butterflies(D d, T* x, size_t size, size_t h) {
  for (size_t i = 0; i < size; i += 4 * h)
    for (size_t j = i; j < i + h; j += hn::Lanes(d)) {
      const auto a = hn::LoadU(d, x + j), b = hn::LoadU(d, x + j + h);
      const auto c = hn::LoadU(d, x + j + 2 * h), e = hn::LoadU(d, x + j + 3 * h);
      const auto p = hn::Add(a, b), m = hn::Sub(a, b), q = hn::Add(c, e), n = hn::Sub(c, e);
      hn::StoreU(hn::Add(p, q), d, x + j);
      hn::StoreU(hn::Add(m, n), d, x + j + h);
      hn::StoreU(hn::Sub(p, q), d, x + j + 2 * h);
      hn::StoreU(hn::Sub(m, n), d, x + j + 3 * h);
    }
}

template <class T>
void stage(T* x, size_t size, size_t h) {
  const hn::ScalableTag<T> full;
  if (h % hn::Lanes(full) == 0) return butterfly(full, x, size, h);
  if (h % 8 == 0) return butterfly(hn::CappedTag<T, 8>(), x, size, h);
  if (h % 4 == 0) return butterfly(hn::CappedTag<T, 4>(), x, size, h);
  if (h % 2 == 0) return butterfly(hn::CappedTag<T, 2>(), x, size, h);
  butterfly(hn::CappedTag<T, 1>(), x, size, h);
}

/// The first stages of stride 1, inside vectors of 128 bits; returns the next h.
#if HWY_TARGET == HWY_SCALAR
template <class T>
size_t first_stages(T*, size_t) {
  return 1;
}
#else
size_t first_stages(float* x, size_t size) {
  const hn::FixedTag<float, 4> d;
  HWY_ALIGN const float odd[4] = {1, -1, 1, -1}, high[4] = {1, 1, -1, -1};
  const auto by_odd = hn::Load(d, odd), by_high = hn::Load(d, high);
  for (size_t i = 0; i < size; i += 4) {
    auto v = hn::LoadU(d, x + i);
    v = hn::MulAdd(v, by_odd, hn::Shuffle2301(v));
    v = hn::MulAdd(v, by_high, hn::Shuffle1032(v));
    hn::StoreU(v, d, x + i);
  }
  return 4;
}
size_t first_stages(double* x, size_t size) {
  const hn::FixedTag<double, 2> d;
  HWY_ALIGN const double odd[2] = {1, -1};
  const auto by_odd = hn::Load(d, odd);
  for (size_t i = 0; i < size; i += 2) {
    const auto v = hn::LoadU(d, x + i);
    hn::StoreU(hn::MulAdd(v, by_odd, hn::Shuffle01(v)), d, x + i);
  }
  return 2;
}
#endif

template <class T>
void walsh(T* x, size_t size, size_t stride, T scale) {
  const hn::ScalableTag<T> d;
  size_t h = stride;
  if (stride == 1 && size >= 4) h = first_stages(x, size);
  for (; h < size && h % hn::Lanes(d) != 0; h *= 2) stage(x, size, h);
  for (; 4 * h <= size; h *= 4) two_butterflies(d, x, size, h);
  if (h < size) stage(x, size, h);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= size; i += hn::Lanes(d))
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale)), d, x + i);
  for (; i < size; ++i) x[i] *= scale;
}

/// A tile of `vectors` vectors of all rows.
template <size_t vectors, class D, class T>
void mix_tile(D d, const T* signs, size_t order, T* x, size_t width, T* scratch) {
  const size_t lanes = hn::Lanes(d), tile = vectors * lanes;
  for (size_t a = 0; a < order; ++a)
    for (size_t v = 0; v < vectors; ++v)
      hn::StoreU(hn::LoadU(d, x + a * width + v * lanes), d, scratch + a * tile + v * lanes);
  for (size_t b = 0; b < order; b += 4) {
    hn::Vec<D> sum[4][vectors];
    for (auto& row : sum)
      for (auto& s : row) s = hn::Zero(d);
    for (size_t a = 0; a < order; ++a)
      for (size_t v = 0; v < vectors; ++v) {
        const auto value = hn::LoadU(d, scratch + a * tile + v * lanes);
        for (size_t k = 0; k < 4; ++k) sum[k][v] = hn::MulAdd(hn::Set(d, signs[a * order + b + k]), value, sum[k][v]);
      }
    for (size_t k = 0; k < 4; ++k)
      for (size_t v = 0; v < vectors; ++v) hn::StoreU(sum[k][v], d, x + (b + k) * width + v * lanes);
  }
}

template <class T>
void mix(const T* signs, size_t order, T* x, size_t width, T* scratch) {
  const hn::CappedTag<T, kHadamardTile / 2> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) mix_tile<2>(d, signs, order, x + i, width, scratch);
  for (; i + lanes <= width; i += lanes) mix_tile<1>(d, signs, order, x + i, width, scratch);
  for (; i < width; ++i) mix_tile<1>(hn::CappedTag<T, 1>(), signs, order, x + i, width, scratch);
}

HadamardLoops<float> make_float() {
  return {walsh<float>, mix<float>};
}
HadamardLoops<double> make_double() {
  return {walsh<double>, mix<double>};
}

}  // namespace quanta::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta {
HWY_EXPORT(make_float);
HWY_EXPORT(make_double);

template <>
const HadamardLoops<float>& hadamard_loops() {
  static const HadamardLoops<float> instance = HWY_DYNAMIC_DISPATCH(make_float)();
  return instance;
}
template <>
const HadamardLoops<double>& hadamard_loops() {
  static const HadamardLoops<double> instance = HWY_DYNAMIC_DISPATCH(make_double)();
  return instance;
}
}  // namespace quanta
#endif
