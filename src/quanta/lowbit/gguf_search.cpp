#include "quanta/lowbit/gguf_search.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/lowbit/gguf_search.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quanta::lowbit::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, GgufTile::kGroups>;
using V = hn::Vec<D>;
constexpr int kMost = GgufTile::kLongest;

HWY_INLINE V set(float value) {
  return hn::Set(D(), value);
}
HWY_INLINE V load(const float* from) {
  return hn::Load(D(), from);
}
/// To the nearest integer, ties to even; |v| < 2^22.
HWY_INLINE V rounded(V v) {
  return hn::Sub(hn::Add(v, set(12582912.0f)), set(12582912.0f));
}
HWY_INLINE V clamped(V v, V low, V high) {
  return hn::Min(hn::Max(v, low), high);
}
/// 0 for what has none.
HWY_INLINE V inverse(V v) {
  const auto none = hn::Lt(hn::Abs(v), set(std::numeric_limits<float>::min()));
  return hn::IfThenZeroElse(none, hn::Div(set(1), hn::IfThenElse(none, set(1), v)));
}
HWY_INLINE void store_codes(V codes, int8_t* to) {
  hn::Store(hn::DemoteTo(hn::Rebind<int8_t, D>(), hn::ConvertTo(hn::Rebind<int32_t, D>(), codes)),
            hn::Rebind<int8_t, D>(), to);
}
/// body(first group) for every vector of groups.
template <class Body>
HWY_INLINE void for_groups(const Body& body) {
  for (int g = 0; g < GgufTile::kGroups; g += int(hn::Lanes(D()))) body(g);
}
/// The value of largest magnitude, the first of equals.
HWY_INLINE V largest(const GgufTile& t, int n, int g) {
  V magnitude = set(0), value = set(0);
  for (int e = 0; e < n; ++e) {
    const V x = load(t.x[e] + g);
    const auto larger = hn::Lt(magnitude, hn::Abs(x));
    magnitude = hn::IfThenElse(larger, hn::Abs(x), magnitude);
    value = hn::IfThenElse(larger, x, value);
  }
  return value;
}

// --- the reference encoders -----------------------------------------------------------------------------------------
// A product and a sum round twice: this file is compiled with -ffp-contract=off.

void by_largest(GgufTile& t, int n, int levels) {
  for_groups([&](int g) HWY_ATTR {
    const V scale = hn::Div(largest(t, n, g), set(float(-levels))), factor = inverse(scale);
    hn::Store(scale, D(), t.scale + g);
    hn::Store(set(0), D(), t.offset + g);
    for (int e = 0; e < n; ++e) {
      const V code = hn::Trunc(hn::Add(hn::Mul(load(t.x[e] + g), factor), set(float(levels) + 0.5f)));
      store_codes(hn::Sub(hn::Min(code, set(float(2 * levels - 1))), set(float(levels))), t.code[e] + g);
    }
  });
}

void by_range(GgufTile& t, int n, int high) {
  for_groups([&](int g) HWY_ATTR {
    V min = load(t.x[0] + g), max = min;
    for (int e = 1; e < n; ++e) {
      min = hn::Min(min, load(t.x[e] + g));
      max = hn::Max(max, load(t.x[e] + g));
    }
    const V scale = hn::Div(hn::Sub(max, min), set(float(high))), factor = inverse(scale);
    hn::Store(scale, D(), t.scale + g);
    hn::Store(min, D(), t.offset + g);
    for (int e = 0; e < n; ++e) {
      const V code = hn::Trunc(hn::Add(hn::Mul(hn::Sub(load(t.x[e] + g), min), factor), set(0.5f)));
      store_codes(hn::Min(code, set(float(high))), t.code[e] + g);
    }
  });
}

void by_magnitude(GgufTile& t, int n) {
  for_groups([&](int g) HWY_ATTR {
    const V scale = hn::Div(hn::Abs(largest(t, n, g)), set(127)), factor = inverse(scale);
    hn::Store(scale, D(), t.scale + g);
    hn::Store(set(0), D(), t.offset + g);
    for (int e = 0; e < n; ++e) {  // halves away from zero
      const V quotient = hn::Mul(load(t.x[e] + g), factor), whole = hn::Trunc(quotient);
      const V rest = hn::Abs(hn::Sub(quotient, whole));
      const V more = hn::IfThenElseZero(hn::Ge(rest, set(0.5f)), hn::CopySign(set(1), quotient));
      store_codes(hn::Add(whole, more), t.code[e] + g);
    }
  });
}

// --- search ---------------------------------------------------------------------------------------------------------

constexpr int kTrials = 10;     // on either side of the plain scale
constexpr float kStep = 0.1f;   // in codes at the end of the range
constexpr int kIterations = 2;  // codes and constants by turns
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kAlike = 1e-5f;   // a share of a determinant that may be rounding
constexpr float kLeast = 1e-30f;  // a range that counts as nothing

/// The best constants so far of a vector of groups.
struct Best {
  V error, scale, offset;

  HWY_INLINE void offer(V e, V s, V o) {
    const auto better = hn::Lt(e, error);
    error = hn::IfThenElse(better, e, error);
    scale = hn::IfThenElse(better, s, scale);
    offset = hn::IfThenElse(better, o, offset);
  }
};

void fit_affine(GgufTile& t, int n, int high, bool negative) {
  for_groups([&](int g) HWY_ATTR {
    V min = load(t.x[0] + g), max = min;
    for (int e = 1; e < n; ++e) {
      min = hn::Min(min, load(t.x[e] + g));
      max = hn::Max(max, load(t.x[e] + g));
    }
    if (negative) min = hn::Min(min, set(0));
    const V range = hn::Sub(max, min);
    const auto empty = hn::Lt(range, set(kLeast));

    // All in terms of y = x - min; sums are weighted.
    HWY_ALIGN float ys[kMost * GgufTile::kGroups];
    const int step = int(hn::Lanes(D()));
    V sw = set(0), sy = set(0), syy = set(0);
    for (int e = 0; e < n; ++e) {
      const V y = hn::Sub(load(t.x[e] + g), min), w = load(t.weight[e] + g), wy = hn::Mul(w, y);
      hn::Store(y, D(), ys + e * step);
      sw = hn::Add(sw, w);
      sy = hn::Add(sy, wy);
      syy = hn::MulAdd(wy, y, syy);
    }
    Best best{set(kInfinity), set(0), set(0)};
    // Codes of (y - from) factor, then the scale s and the offset o that are best for these codes.
    const auto attempt = [&](V factor, V from) HWY_ATTR {
      V sl = set(0), sll = set(0), syl = set(0);
      const V start = hn::Neg(hn::Mul(from, factor));
      for (int e = 0; e < n; ++e) {
        const V y = load(ys + e * step);
        const V code = clamped(rounded(hn::MulAdd(y, factor, start)), set(0), set(float(high)));
        const V wl = hn::Mul(load(t.weight[e] + g), code);
        sl = hn::Add(sl, wl);
        sll = hn::MulAdd(wl, code, sll);
        syl = hn::MulAdd(wl, y, syl);
      }
      const V determinant = hn::NegMulAdd(sl, sl, hn::Mul(sw, sll));
      const auto alike = hn::Le(determinant, hn::Mul(set(kAlike), hn::Mul(sw, sll)));  // all codes: the offset stays
      const V unit = inverse(hn::IfThenZeroElse(alike, determinant));
      V s = hn::IfThenElse(alike, hn::Mul(syl, inverse(sll)), hn::Mul(hn::NegMulAdd(sy, sl, hn::Mul(sw, syl)), unit));
      V o = hn::Mul(hn::NegMulAdd(sl, syl, hn::Mul(sll, sy)), unit);
      if (negative) {
        const auto positive = hn::Gt(hn::Add(o, min), set(0));
        s = hn::IfThenElse(positive, hn::Mul(hn::MulAdd(min, sl, syl), inverse(sll)), s);
        o = hn::IfThenElse(positive, hn::Neg(min), o);
      }
      const V by_scale = hn::MulAdd(s, sll, hn::Mul(set(2), hn::Sub(hn::Mul(o, sl), syl)));
      const V by_offset = hn::MulAdd(o, sw, hn::Mul(set(-2), sy));
      const V error = hn::MulAdd(s, by_scale, hn::MulAdd(o, by_offset, syy));
      best.offer(hn::IfThenElse(hn::Gt(s, set(0)), error, set(kInfinity)), s, o);
    };
    const V unit = inverse(hn::IfThenZeroElse(empty, range));
    for (int i = -kTrials; i <= kTrials; ++i) attempt(hn::Mul(set(float(high) + kStep * float(i)), unit), set(0));
    for (int i = 0; i < kIterations; ++i) attempt(inverse(best.scale), best.offset);
    hn::Store(hn::IfThenZeroElse(empty, best.scale), D(), t.scale + g);
    hn::Store(hn::Add(hn::IfThenZeroElse(empty, best.offset), min), D(), t.offset + g);
  });
}

void fit_symmetric(GgufTile& t, int n, int levels) {
  for_groups([&](int g) HWY_ATTR {
    const V top = largest(t, n, g);
    const auto empty = hn::Lt(hn::Abs(top), set(kLeast));
    V sxx = set(0);
    for (int e = 0; e < n; ++e) {
      const V x = load(t.x[e] + g);
      sxx = hn::MulAdd(hn::Mul(load(t.weight[e] + g), x), x, sxx);
    }
    Best best{set(kInfinity), set(0), set(0)};
    const auto attempt = [&](V factor) HWY_ATTR {
      V sxl = set(0), sll = set(0);
      for (int e = 0; e < n; ++e) {
        const V x = load(t.x[e] + g);
        const V code = clamped(rounded(hn::Mul(x, factor)), set(float(-levels)), set(float(levels - 1)));
        const V wl = hn::Mul(load(t.weight[e] + g), code);
        sxl = hn::MulAdd(wl, x, sxl);
        sll = hn::MulAdd(wl, code, sll);
      }
      const V s = hn::Mul(sxl, inverse(sll));
      best.offer(hn::NegMulAdd(s, sxl, sxx), s, set(0));
    };
    const V unit = inverse(hn::IfThenZeroElse(empty, top));
    for (int i = -kTrials; i <= kTrials; ++i) attempt(hn::Mul(set(-float(levels) - kStep * float(i)), unit));
    for (int i = 0; i < kIterations; ++i) attempt(inverse(best.scale));
    hn::Store(hn::IfThenZeroElse(empty, best.scale), D(), t.scale + g);
    hn::Store(set(0), D(), t.offset + g);
  });
}

HWY_INLINE V nearest_code(V x, V offset, V factor, int low, int high) {
  return clamped(rounded(hn::Mul(hn::Sub(x, offset), factor)), set(float(low)), set(float(high)));
}

void measure(const GgufTile& t, int n, int low, int high, float* error) {
  for_groups([&](int g) HWY_ATTR {
    const V scale = load(t.scale + g), offset = load(t.offset + g), factor = inverse(scale);
    V sum = set(0);
    for (int e = 0; e < n; ++e) {
      const V x = load(t.x[e] + g);
      const V difference = hn::Sub(hn::MulAdd(nearest_code(x, offset, factor, low, high), scale, offset), x);
      sum = hn::MulAdd(hn::Mul(load(t.weight[e] + g), difference), difference, sum);
    }
    hn::Store(sum, D(), error + g);
  });
}

void round(GgufTile& t, int n, int low, int high) {
  for_groups([&](int g) HWY_ATTR {
    const V offset = load(t.offset + g), factor = inverse(load(t.scale + g));
    for (int e = 0; e < n; ++e) store_codes(nearest_code(load(t.x[e] + g), offset, factor, low, high), t.code[e] + g);
  });
}

constexpr GgufKernels kKernels{by_largest, by_range, by_magnitude, fit_affine, fit_symmetric, measure, round};

const GgufKernels* table() {
  return &kKernels;
}

}  // namespace quanta::lowbit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::lowbit {

HWY_EXPORT(table);

const GgufKernels& gguf_kernels() {
  return *HWY_DYNAMIC_DISPATCH(table)();
}

}  // namespace quanta::lowbit
#endif
