#include "quanta/quantize/gptq_columns.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/quantize/gptq_columns.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace quanta::columns::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The nearest level of each lane and, as a number, its code.
template <class T, class D, class V = hn::Vec<D>>
HWY_INLINE V nearest(D d, const Levels<T>& grid, int64_t row, V w, V& code) {
  if (grid.values) {
    V value = hn::LoadU(d, grid.values + row);
    V below = value;
    code = hn::Zero(d);
    for (int q = 1; q < grid.levels; ++q) {
      const V above = hn::LoadU(d, grid.values + q * grid.stride + row);
      const V middle = hn::Mul(hn::Add(below, above), hn::Set(d, T(0.5)));
      const auto tie_up = hn::And(hn::Eq(w, middle), hn::Lt(middle, hn::Zero(d)));
      const auto up = hn::Or(hn::Gt(w, middle), tie_up);
      value = hn::IfThenElse(up, above, value);
      code = hn::IfThenElse(up, hn::Set(d, T(q)), code);
      below = above;
    }
    return value;
  }
  const V scale = hn::LoadU(d, grid.scale + row), zero = hn::LoadU(d, grid.zero + row);
  const V offset = grid.offset ? hn::LoadU(d, grid.offset + row) : hn::Zero(d);
  const auto degenerate = hn::Eq(scale, hn::Zero(d));  // one level: the offset
  const V ratio = hn::Div(hn::Sub(w, offset), hn::IfThenElse(degenerate, hn::Set(d, T(1)), scale));
  const V least = hn::Neg(zero), most = hn::Sub(hn::Set(d, T(grid.levels - 1)), zero);
  const V unit = hn::Round(hn::Min(hn::Max(hn::IfThenZeroElse(degenerate, ratio), least), most));
  code = hn::Add(unit, zero);
  return hn::Add(hn::Mul(unit, scale), offset);
}

template <class T>
void round_all(const Stretch<T>& s, int64_t row) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const size_t tile = size_t(kRows);
  const auto buffer = hwy::AllocateAligned<T>((size_t(s.reach) + 2) * tile);
  T *w = buffer.get(), *e = w + size_t(s.reach) * tile, *loss = e + tile;
  for (int64_t k = 0; k < s.reach; ++k) std::copy_n(s.w + k * s.stride + row, tile, w + size_t(k) * tile);
  std::fill_n(loss, tile, T(0));

  HWY_ALIGN T codes[kRows];
  for (int64_t j = 0; j < s.count; ++j) {
    const T* u = s.u + j * s.u_stride;
    T* column = w + size_t(j) * tile;
    const auto diagonal = hn::Set(d, u[j]);
    for (size_t v = 0; v < tile; v += lanes) {
      auto code = hn::Zero(d);
      const auto x = hn::Load(d, column + v);
      const auto q = nearest<T>(d, s.levels[j], row + int64_t(v), x, code);
      const auto error = hn::Div(hn::Sub(x, q), diagonal);
      hn::Store(q, d, column + v);
      hn::Store(code, d, codes + v);
      hn::Store(error, d, e + v);
      hn::Store(hn::MulAdd(error, error, hn::Load(d, loss + v)), d, loss + v);
    }
    std::copy_n(e, tile, s.errors + j * s.stride + row);
    std::transform(codes, codes + tile, s.codes + j * s.stride + row, [](T code) { return uint8_t(code); });
    for (int64_t k = j + 1; k < s.reach; ++k) {
      const auto factor = hn::Set(d, u[k]);
      T* to = w + size_t(k) * tile;
      for (size_t v = 0; v < tile; v += lanes)
        hn::Store(hn::NegMulAdd(hn::Load(d, e + v), factor, hn::Load(d, to + v)), d, to + v);
    }
  }

  for (int64_t k = 0; k < s.reach; ++k) std::copy_n(w + size_t(k) * tile, tile, s.w + k * s.stride + row);
  for (size_t r = 0; r < tile; ++r) s.loss[row + int64_t(r)] += double(loss[r]);
}

void round_float(const Stretch<float>& stretch, int64_t row) {
  round_all(stretch, row);
}
void round_double(const Stretch<double>& stretch, int64_t row) {
  round_all(stretch, row);
}

}  // namespace quanta::columns::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::columns {
HWY_EXPORT(round_float);
HWY_EXPORT(round_double);

template <>
void round_columns(const Stretch<float>& stretch, int64_t row) {
  HWY_DYNAMIC_DISPATCH(round_float)(stretch, row);
}
template <>
void round_columns(const Stretch<double>& stretch, int64_t row) {
  HWY_DYNAMIC_DISPATCH(round_double)(stretch, row);
}
}  // namespace quanta::columns
#endif
