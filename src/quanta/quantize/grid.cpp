#include "quanta/quantize/grid.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/quantize/grid.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace quanta::grid::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using V = hn::Vec<Tag<T>>;

/// Calls body(tag, i) for whole vectors and then, through a tag of one lane, for what is left.
template <class T, class Body>
HWY_INLINE void for_vectors(size_t n, const Body& body) {
  const Tag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  for (; i < n; ++i) body(hn::CappedTag<T, 1>(), i);
}

/// x / scale clamped and rounded. Clamping first keeps huge values within what rounding can do; the bounds are
/// integers, so the order does not matter. Adding 0 turns -0 into 0, which is what the code 0 stands for.
template <class T, class D, class Vec = hn::Vec<D>>
HWY_INLINE Vec unit(D d, Grid<T> g, Vec ratio) {
  return hn::Add(hn::Round(hn::Min(hn::Max(ratio, hn::Set(d, g.low)), hn::Set(d, g.high))), hn::Zero(d));
}

template <class T>
Extremes<T> extremes_of(const T* x, size_t n) {
  T low = x[0], high = x[0];
  const Tag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  bool ordered = true;
  if (n >= lanes) {
    auto lows = hn::LoadU(d, x), highs = lows;
    auto equal = hn::Eq(lows, lows);
    for (; i + lanes <= n; i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      lows = hn::Min(lows, v);
      highs = hn::Max(highs, v);
      equal = hn::And(equal, hn::Eq(v, v));
    }
    ordered = hn::AllTrue(d, equal);
    low = hn::GetLane(hn::MinOfLanes(d, lows));
    high = hn::GetLane(hn::MaxOfLanes(d, highs));
  }
  for (; i < n; ++i) {
    ordered &= x[i] == x[i];
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const T nan = std::numeric_limits<T>::quiet_NaN();
  return ordered ? Extremes<T>{low, high} : Extremes<T>{nan, nan};
}

template <class T>
void round_all(Grid<T> g, const T* x, T* y, size_t n) {
  for_vectors<T>(n, [&](auto d, size_t i) {
    const auto v = hn::LoadU(d, x + i);
    const auto rounded = hn::Mul(unit(d, g, hn::Div(v, hn::Set(d, g.scale))), hn::Set(d, g.scale));
    hn::StoreU(hn::IfThenElse(hn::Eq(v, v), rounded, v), d, y + i);
  });
}

template <class T>
bool encode_all(Grid<T> g, int32_t zero_point, const T* x, int32_t* codes, size_t n) {
  bool finite = true;
  for_vectors<T>(n, [&](auto d, size_t i) {
    const hn::Rebind<int32_t, decltype(d)> di;
    const auto v = hn::LoadU(d, x + i);
    const auto difference = hn::Sub(v, v);  // NaN if v is not finite
    finite &= hn::AllTrue(d, hn::Eq(difference, difference));
    const auto u = unit(d, g, hn::Div(v, hn::Set(d, g.scale)));
    if constexpr (sizeof(T) == sizeof(float))
      hn::StoreU(hn::Add(hn::ConvertTo(di, u), hn::Set(di, zero_point)), di, codes + i);
    else
      hn::StoreU(hn::Add(hn::DemoteTo(di, u), hn::Set(di, zero_point)), di, codes + i);
  });
  return finite;
}

template <class T>
void pass_all(Grid<T> g, const T* x, const T* dy, T* dx, size_t n) {
  const T low = g.low * g.scale, high = g.high * g.scale;
  for_vectors<T>(n, [&](auto d, size_t i) {
    const auto v = hn::LoadU(d, x + i);
    const auto inside = hn::And(hn::Ge(v, hn::Set(d, low)), hn::Le(v, hn::Set(d, high)));
    hn::StoreU(hn::IfThenElseZero(inside, hn::LoadU(d, dy + i)), d, dx + i);
  });
}

constexpr size_t kChunk = 2048;  // numbers summed in T before they join a sum in double

template <class T>
double step_all(Grid<T> g, const T* x, const T* dy, T* dx, size_t n) {
  const T low = g.low * g.scale, high = g.high * g.scale;
  double total = 0;
  for (size_t begin = 0; begin < n; begin += kChunk) {
    auto sums = hn::Zero(Tag<T>());
    T rest = 0;
    for_vectors<T>(std::min(kChunk, n - begin), [&](auto d, size_t j) {
      const size_t i = begin + j;
      const auto v = hn::LoadU(d, x + i), up = hn::LoadU(d, dy + i);
      const auto inside = hn::And(hn::Ge(v, hn::Set(d, low)), hn::Le(v, hn::Set(d, high)));
      const auto ratio = hn::Div(v, hn::Set(d, g.scale));
      const auto slope = hn::Sub(unit(d, g, ratio), hn::IfThenElseZero(inside, ratio));
      hn::StoreU(hn::IfThenElseZero(inside, up), d, dx + i);
      if constexpr (std::is_same_v<decltype(d), Tag<T>>)
        sums = hn::MulAdd(up, slope, sums);
      else
        rest += hn::GetLane(hn::Mul(up, slope));
    });
    total += double(hn::GetLane(hn::SumOfLanes(Tag<T>(), sums))) + double(rest);
  }
  return total;
}

template <class T>
double error_all(Grid<T> g, const T* x, size_t n, double norm) {
  double total = 0;
  for (size_t begin = 0; begin < n; begin += kChunk) {
    auto sums = hn::Zero(Tag<T>());
    T rest = 0;
    for_vectors<T>(std::min(kChunk, n - begin), [&](auto d, size_t j) {
      const auto v = hn::LoadU(d, x + begin + j);
      const auto u = unit(d, g, hn::Div(v, hn::Set(d, g.scale)));
      const auto gap = hn::Abs(hn::Sub(v, hn::Mul(u, hn::Set(d, g.scale))));
      auto power = hn::Mul(gap, gap);
      if (norm != 2) {
        const auto tiny = hn::Set(d, std::numeric_limits<T>::min());  // the logarithm wants a normal number
        power = hn::IfThenElseZero(hn::Ge(gap, tiny),
                                   hn::Exp(d, hn::Mul(hn::Set(d, T(norm)), hn::Log(d, hn::Max(gap, tiny)))));
      }
      if constexpr (std::is_same_v<decltype(d), Tag<T>>)
        sums = hn::Add(power, sums);
      else
        rest += hn::GetLane(power);
    });
    total += double(hn::GetLane(hn::SumOfLanes(Tag<T>(), sums))) + double(rest);
  }
  return total;
}

template <class T>
Loops<T> make() {
  return {extremes_of<T>, round_all<T>, encode_all<T>, pass_all<T>, step_all<T>, error_all<T>};
}
Loops<float> make_float() {
  return make<float>();
}
Loops<double> make_double() {
  return make<double>();
}

}  // namespace quanta::grid::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::grid {
HWY_EXPORT(make_float);
HWY_EXPORT(make_double);

template <>
const Loops<float>& loops() {
  static const Loops<float> instance = HWY_DYNAMIC_DISPATCH(make_float)();
  return instance;
}
template <>
const Loops<double>& loops() {
  static const Loops<double> instance = HWY_DYNAMIC_DISPATCH(make_double)();
  return instance;
}
}  // namespace quanta::grid
#endif
