#include "quanta/simulate/kernels.h"

#include "quanta/simulate/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/simulate/kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "quanta/simulate/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {

// Registers decide how many amplitudes are held at once: 32 with AVX-512 and NEON, 16 before.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
constexpr int kForwardGroup = 3, kBackwardGroup = 2;
#else
constexpr int kForwardGroup = 2, kBackwardGroup = 1;
#endif

// --- mathematics for the coefficients

void sine_cosine_array(size_t count, const double* angle, double* sine, double* cosine) {
  for (size_t i = 0; i < count; i += kLanes<double>) {
    const auto [c, s] = sine_cosine<double>(load(angle + i));
    store<double>(s, sine + i);
    store<double>(c, cosine + i);
  }
}

void polar_array(size_t count, const double* re, const double* im, double* modulus, double* argument) {
  const Tag<double> d;
  const V<double> zero = set<double>(0), one = set<double>(1), pi = set<double>(3.14159265358979323846);
  for (size_t i = 0; i < count; i += kLanes<double>) {
    const V<double> x = load(re + i), y = load(im + i);
    const V<double> r = hn::Sqrt(hn::MulAdd(x, x, hn::Mul(y, y)));
    // The half-angle form, from the side where nothing cancels.
    const V<double> sum = hn::Add(r, hn::Abs(x));
    const V<double> safe = hn::IfThenElse(hn::Eq(sum, zero), one, sum);
    const V<double> half = hn::Atan(d, hn::Div(y, safe)), angle = hn::Add(half, half);
    const V<double> other = hn::Sub(hn::CopySign(pi, y), angle);
    store<double>(r, modulus + i);
    store<double>(hn::IfThenElse(hn::Lt(x, zero), other, angle), argument + i);
  }
}

template <class T>
void diagonal(int wires, double* spectrum, double scale, T* cosine, T* sine) {
  walsh_of_numbers(spectrum, wires);
  const size_t size = size_t{1} << wires;
  constexpr size_t L = kLanes<double>;
  const V<double> factor = set<double>(scale);
  const hn::Rebind<T, Tag<double>> dt;
  for (size_t p = 0; p < size; p += L) {
    auto [c, s] = sine_cosine<double>(load(spectrum + p));
    c = hn::Mul(c, factor);
    s = hn::Mul(s, factor);
    if constexpr (sizeof(T) == sizeof(double)) {
      store<double>(c, cosine + p);
      store<double>(s, sine + p);
    } else {
      hn::StoreU(hn::DemoteTo(dt, c), dt, cosine + p);
      hn::StoreU(hn::DemoteTo(dt, s), dt, sine + p);
    }
  }
}

template <class T>
void sum_lanes(size_t rows, const T* lanes, double* sums) {
  const Tag<T> d;
  const Tag<double> dd;
  constexpr size_t L = kLanes<T>;
  for (size_t i = 0; i < rows; ++i, lanes += L) {
    if constexpr (sizeof(T) == sizeof(double)) {
      sums[i] = hn::GetLane(hn::SumOfLanes(d, load(lanes)));
    } else {
      const hn::Rebind<T, Tag<double>> half;
      V<double> sum = hn::PromoteTo(dd, hn::LoadU(half, lanes));
      if constexpr (L > 1) sum = hn::Add(sum, hn::PromoteTo(dd, hn::LoadU(half, lanes + L / 2)));
      sums[i] = hn::GetLane(hn::SumOfLanes(dd, sum));
    }
  }
}

// --- angles and chains a sample -------------------------------------------------------------------------------------

template <class T>
V<T> input_product(const Tile<T>& tile, const Angle& angle) {  // scale * input * input2
  V<T> value = set<T>(T(angle.scale));
  if (angle.input >= 0) value = hn::Mul(value, load(tile.inputs + angle.input * kLanes<T>));
  if (angle.input2 >= 0) value = hn::Mul(value, load(tile.inputs + angle.input2 * kLanes<T>));
  return value;
}

template <class T>
V<T> angle_value(const Tile<T>& tile, const Angle& angle) {
  V<T> value = set<T>(T(angle.constant));
  if (angle.offset >= 0) value = hn::Add(value, set<T>(tile.weights[angle.offset]));
  if (angle.scale != 0) {
    V<T> product = input_product(tile, angle);
    if (angle.weight >= 0) product = hn::Mul(product, set<T>(tile.weights[angle.weight]));
    value = hn::Add(value, product);
  }
  return value;
}

template <class T>
void add_gradient(const Tile<T>& tile, const Angle& angle, V<T> dangle) {
  constexpr size_t L = kLanes<T>;
  if (tile.dweights) {
    if (angle.offset >= 0) add_to<T>(dangle, tile.dweights + angle.offset * L);
    if (angle.scale != 0 && angle.weight >= 0)
      add_to<T>(hn::Mul(dangle, input_product(tile, angle)), tile.dweights + angle.weight * L);
  }
  if (tile.dinputs && angle.scale != 0 && angle.input >= 0) {
    V<T> outer = hn::Mul(dangle, set<T>(T(angle.scale)));
    if (angle.weight >= 0) outer = hn::Mul(outer, set<T>(tile.weights[angle.weight]));
    const auto one_input = [&](int target, int other) {
      const V<T> factor = other >= 0 ? hn::Mul(outer, load(tile.inputs + other * L)) : outer;
      add_to<T>(factor, tile.dinputs + target * L);
    };
    one_input(angle.input, angle.input2);
    if (angle.input2 >= 0) one_input(angle.input2, angle.input);
  }
}

/// Half the angle's cosine and sine of a factor that is not fixed.
template <class T>
HWY_INLINE C<T> half_angle(const Tile<T>& tile, const Factor& factor, const typename Values<T>::FactorValue& value) {
  if (!factor.angle.has_input()) return {set<T>(T(value.cosine)), set<T>(T(value.sine))};
  return sine_cosine<T>(hn::Mul(angle_value(tile, factor.angle), set<T>(T(0.5))));
}

/// First column of the chain's matrix: the chain applied to |0>.
template <class T>
void chain_column(const Tile<T>& tile, int id, C<T>& a, C<T>& b) {
  const Chain& chain = tile.program->chains[id];
  const auto* values = tile.values->factors.data() + tile.values->first_factor[id];
  a = {set<T>(1), set<T>(0)};
  b = {set<T>(0), set<T>(0)};
  for (size_t f = 0; f < chain.factors.size(); ++f) {
    const Factor& factor = chain.factors[f];
    if (factor.axis == 0) {
      const C<T> ua{set<T>(T(values[f].cosine)), set<T>(T(values[f].sine))};
      const C<T> ub{set<T>(T(values[f].cosine_b)), set<T>(T(values[f].sine_b))};
      const C<T> next = sub(mul(ua, a), mul_conj(ub, b));
      b = add(mul(ub, a), mul_conj(ua, b));
      a = next;
      continue;
    }
    const auto [c, s] = half_angle(tile, factor, values[f]);
    if (factor.axis == 'Y') {
      const C<T> next{hn::NegMulAdd(s, b.re, hn::Mul(c, a.re)), hn::NegMulAdd(s, b.im, hn::Mul(c, a.im))};
      b = {hn::MulAdd(s, a.re, hn::Mul(c, b.re)), hn::MulAdd(s, a.im, hn::Mul(c, b.im))};
      a = next;
    } else if (factor.axis == 'X') {
      const C<T> next{hn::MulAdd(s, b.im, hn::Mul(c, a.re)), hn::NegMulAdd(s, b.re, hn::Mul(c, a.im))};
      b = {hn::MulAdd(s, a.im, hn::Mul(c, b.re)), hn::NegMulAdd(s, a.re, hn::Mul(c, b.im))};
      a = next;
    } else {
      a = mul<T>({c, hn::Neg(s)}, a);
      b = mul<T>({c, s}, b);
    }
  }
}

/// Takes the overlaps Im<lambda|sigma|psi> behind the chain back through its factors; each gives its angle's
/// derivative.
template <class T>
void chain_gradient(const Tile<T>& tile, int id, V<T> x, V<T> y, V<T> z) {
  const Chain& chain = tile.program->chains[id];
  const auto* values = tile.values->factors.data() + tile.values->first_factor[id];
  const V<T> two = set<T>(2), one = set<T>(1);
  for (size_t f = chain.factors.size(); f-- > 0;) {
    const Factor& factor = chain.factors[f];
    if (factor.axis == 0) {
      const auto r = axes(values[f].cosine, values[f].sine, values[f].cosine_b, values[f].sine_b);
      const auto column = [&](int j) {
        return hn::MulAdd(set<T>(T(r[0][j])), x, hn::MulAdd(set<T>(T(r[1][j])), y, hn::Mul(set<T>(T(r[2][j])), z)));
      };
      const V<T> nx = column(0), ny = column(1), nz = column(2);
      x = nx, y = ny, z = nz;
      continue;
    }
    if (factor.angle.has_weight() || factor.angle.has_input())
      add_gradient<T>(tile, factor.angle, factor.axis == 'X' ? x : factor.axis == 'Y' ? y : z);
    if (f == 0) break;
    const auto [ch, sh] = half_angle(tile, factor, values[f]);
    const V<T> s = hn::Mul(two, hn::Mul(sh, ch)), c = hn::NegMulAdd(hn::Mul(two, sh), sh, one);
    // The rotation takes u to c u + s v and v to c v - s u, (u, v) = (y, z), (z, x) or (x, y).
    const auto turn = [&](V<T>& u, V<T>& v) {
      const V<T> nu = hn::MulAdd(s, v, hn::Mul(c, u));
      v = hn::NegMulAdd(s, u, hn::Mul(c, v));
      u = nu;
    };
    if (factor.axis == 'X') turn(y, z);
    if (factor.axis == 'Y') turn(z, x);
    if (factor.axis == 'Z') turn(x, y);
  }
}

// --- the initial state ----------------------------------------------------------------------------------------------

template <class T>
C<T> unit() {
  return {set<T>(1), set<T>(0)};
}

/// state[0 .. 2^count) = product of the wires first .. first + count - 1.
template <class T>
void product_state(const T* wires, int first, int count, T* state) {
  store_amplitude(unit<T>(), state);
  for (int q = 0; q < count; ++q) {
    const T* wire = wires + (first + q) * 2 * kStride<T>;
    const C<T> a = load_amplitude(wire), b = load_amplitude(wire + kStride<T>);
    const size_t half = size_t{1} << q;
    for (size_t p = 0; p < half; ++p) {
      const C<T> x = load_amplitude(state + p * kStride<T>);
      store_amplitude(mul(x, b), state + (p + half) * kStride<T>);
      store_amplitude(mul(x, a), state + p * kStride<T>);
    }
  }
}

template <class T>
void initialize(const Tile<T>& tile) {
  const int n = tile.program->wires;
  const size_t size = size_t{1} << n;
  constexpr size_t L = kLanes<T>;
  const V<T> zero = set<T>(0);
  if (tile.program->amplitude_encoding) {
    V<T> norm = zero;
    for (size_t p = 0; p < size; ++p) {
      const V<T> x = load(tile.inputs + p * L);
      norm = hn::MulAdd(x, x, norm);
    }
    // Lanes beyond the batch are all zero and stay so.
    const auto empty = hn::Eq(norm, zero);
    const V<T> inverse = hn::IfThenElse(empty, zero, hn::Div(set<T>(1), hn::Sqrt(norm)));
    for (size_t p = 0; p < size; ++p)
      store_amplitude<T>({hn::Mul(load(tile.inputs + p * L), inverse), zero}, tile.psi + p * kStride<T>);
    return;
  }
  for (int q = 0; q < n; ++q) {
    C<T> a = unit<T>(), b{zero, zero};
    if (tile.program->initial[q] >= 0) chain_column(tile, tile.program->initial[q], a, b);
    store_amplitude(a, tile.product + 2 * q * kStride<T>);
    store_amplitude(b, tile.product + (2 * q + 1) * kStride<T>);
  }
  // The outer product of the states of the lower and the upper half of the wires.
  const int low = n / 2;
  T* upper = tile.scratch;
  T* lower = tile.scratch + (size_t{1} << (n - low)) * kStride<T>;
  if (n < 4) return product_state(tile.product, 0, n, tile.psi);
  product_state(tile.product, 0, low, lower);
  product_state(tile.product, low, n - low, upper);
  T* out = tile.psi;
  for (size_t i = 0; i < size_t{1} << (n - low); ++i) {
    const C<T> x = load_amplitude(upper + i * kStride<T>);
    for (size_t j = 0; j < size_t{1} << low; ++j, out += kStride<T>)
      store_amplitude(mul(x, load_amplitude(lower + j * kStride<T>)), out);
  }
}

/// lambda at the very beginning gives the derivatives of the initial state. Destroys lambda.
template <class T>
void initialize_backward(const Tile<T>& tile) {
  const int n = tile.program->wires;
  const size_t size = size_t{1} << n;
  constexpr size_t L = kLanes<T>;
  const V<T> zero = set<T>(0);
  if (tile.program->amplitude_encoding) {
    if (!tile.dinputs) return;
    V<T> norm = zero, along = zero;
    for (size_t p = 0; p < size; ++p) {
      const V<T> x = load(tile.inputs + p * L);
      norm = hn::MulAdd(x, x, norm);
      along = hn::MulAdd(x, load(tile.lambda + p * kStride<T>), along);
    }
    const auto empty = hn::Eq(norm, zero);
    const V<T> inverse2 = hn::IfThenElse(empty, zero, hn::Div(set<T>(1), norm));
    const V<T> factor = hn::Mul(set<T>(2), hn::Sqrt(inverse2));
    along = hn::Mul(along, inverse2);
    for (size_t p = 0; p < size; ++p) {
      const V<T> x = load(tile.inputs + p * L);
      const V<T> g = hn::NegMulAdd(along, x, load(tile.lambda + p * kStride<T>));
      add_to<T>(hn::Mul(factor, g), tile.dinputs + p * L);
    }
    return;
  }
  int lowest = n;
  for (int q = n; q-- > 0;)
    if (tile.program->initial[q] >= 0 && tile.program->chains[tile.program->initial[q]].trainable) lowest = q;
  if (lowest == n) return;
  // below: the product states of wires 0 .. q-1 for every q, that of q at offset 2^q.
  T* below = tile.scratch;
  const auto at = [](T* base, size_t p) { return base + p * kStride<T>; };
  store_amplitude(unit<T>(), at(below, 1));
  for (int q = 0; q + 1 < n; ++q) {
    const C<T> a = load_amplitude(at(tile.product, 2 * q)), b = load_amplitude(at(tile.product, 2 * q + 1));
    const size_t half = size_t{1} << q;
    for (size_t p = 0; p < half; ++p) {
      const C<T> x = load_amplitude(at(below, half + p));
      store_amplitude(mul(x, a), at(below, 2 * half + p));
      store_amplitude(mul(x, b), at(below, 3 * half + p));
    }
  }
  // lambda is contracted with one wire after the other, from the top: m[s] = sum of conj(lambda) with the wire in state
  // s.
  for (int q = n; q-- > lowest;) {
    const size_t half = size_t{1} << q;
    const C<T> a = load_amplitude(at(tile.product, 2 * q)), b = load_amplitude(at(tile.product, 2 * q + 1));
    C<T> m0{zero, zero}, m1{zero, zero};
    for (size_t p = 0; p < half; ++p) {
      const C<T> l0 = load_amplitude(at(tile.lambda, p)), l1 = load_amplitude(at(tile.lambda, half + p));
      const C<T> w = load_amplitude(at(below, half + p));
      m0 = add(m0, mul_conj(l0, w));
      m1 = add(m1, mul_conj(l1, w));
      store_amplitude(add(mul_conj(a, l0), mul_conj(b, l1)), at(tile.lambda, p));
    }
    const int chain = tile.program->initial[q];
    if (chain < 0 || !tile.program->chains[chain].trainable) continue;
    const C<T> p01 = mul(m0, b), p10 = mul(m1, a), p00 = mul(m0, a), p11 = mul(m1, b);
    chain_gradient<T>(tile, chain, hn::Add(p01.im, p10.im), hn::Sub(p10.re, p01.re), hn::Sub(p00.im, p11.im));
  }
}

// --- rotations that depend on weights only
// ------------------------------------------------------------------------------

template <int kCount, bool kDiagonal, class T>
HWY_INLINE void rotate(T* HWY_RESTRICT psi, uint32_t base, const uint32_t* corners, const V<T>* tangent,
                       const T* HWY_RESTRICT cosine, const T* HWY_RESTRICT sine) {
  constexpr int kPoints = 1 << kCount;
  C<T> x[kPoints];
#pragma GCC unroll 8
  for (int j = 0; j < kPoints; ++j) {
    const size_t p = base ^ corners[j];
    x[j] = load_amplitude(psi + p * kStride<T>);
    if (kDiagonal) x[j] = mul<T>({set<T>(cosine[p]), set<T>(sine[p])}, x[j]);
  }
  turn<kCount, false, T>(x, tangent);
#pragma GCC unroll 8
  for (int j = 0; j < kPoints; ++j) store_amplitude(x[j], psi + size_t(base ^ corners[j]) * kStride<T>);
}

template <int kCount, bool kDiagonal, class T>
HWY_NOINLINE void rotate_group(T* psi, uint32_t base, const Block& block, const Group& group, const T* tangents,
                               const T* cosine, const T* sine) {
  V<T> tangent[kCount];
  for (int i = 0; i < kCount; ++i) tangent[i] = set<T>(tangents[block.rotations[group.first + i]]);
  const uint32_t* corners = group.corners.data();
  for (const uint32_t offset : group.offsets)
    rotate<kCount, kDiagonal>(psi, base ^ offset, corners, tangent, cosine, sine);
}

template <class T>
void rotate_layer(const Tile<T>& tile, const LayerTables& tables, const LayerValues<T>& values) {
  for (size_t b = 0; b < tables.forward.size(); ++b) {
    const Block& block = tables.forward[b];
    for (const uint32_t base : block.bases)
      for (const Group& group : block.groups) {
        const bool first = b == 0 && &group == block.groups.data();
        const auto run = [&](auto rotate) {
          rotate(tile.psi, base ^ values.forward_origin[b], block, group, values.tangent.data(), values.cosine.data(),
                 values.sine.data());
        };
        if (group.count == 3) run(first ? rotate_group<3, true, T> : rotate_group<3, false, T>);
        if (group.count == 2) run(first ? rotate_group<2, true, T> : rotate_group<2, false, T>);
        if (group.count == 1) run(first ? rotate_group<1, true, T> : rotate_group<1, false, T>);
      }
  }
}

/// Takes the overlaps Im<lambda|X|psi> and Im<lambda|Y|psi> of the group's qubits (to xy [qubit][2]) and undoes the
/// rotations on both states. kFirst: also writes Im(conj(lambda) psi) of each amplitude to `density`. kDiagonal: also
/// undoes the diagonal.
template <int kCount, bool kFirst, bool kDiagonal, class T>
HWY_NOINLINE void undo_group(T* HWY_RESTRICT psi, T* HWY_RESTRICT lambda, uint32_t base, const Block& block,
                             const Group& group, const T* tangents, const T* HWY_RESTRICT cosine,
                             const T* HWY_RESTRICT sine, T* HWY_RESTRICT density, T* HWY_RESTRICT xy) {
  constexpr int kPoints = 1 << kCount;
  constexpr size_t L = kLanes<T>;
  V<T> tangent[kCount], sum_x[kCount], sum_y[kCount];
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) {
    tangent[i] = set<T>(tangents[block.rotations[group.first + i]]);
    sum_x[i] = load(xy + (group.first + i) * 3 * L);
    sum_y[i] = load(xy + ((group.first + i) * 3 + 1) * L);
  }
  const uint32_t* corners = group.corners.data();
  for (const uint32_t offset : group.offsets) {
    C<T> x[kPoints], y[kPoints];
#pragma GCC unroll 4
    for (int j = 0; j < kPoints; ++j) {
      const size_t p = base ^ offset ^ corners[j];
      x[j] = load_amplitude(psi + p * kStride<T>);
      y[j] = load_amplitude(lambda + p * kStride<T>);
      if (kFirst) {
        store<T>(im_conj(y[j], x[j]), density);
        density += L;
      }
    }
#pragma GCC unroll 2
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kPoints; ++j)
        if (!(j >> i & 1)) add_overlaps(x[j], x[j | 1 << i], y[j], y[j | 1 << i], sum_x[i], sum_y[i]);
    }
    turn<kCount, true, T>(x, tangent);
    turn<kCount, true, T>(y, tangent);
#pragma GCC unroll 4
    for (int j = 0; j < kPoints; ++j) {
      const size_t p = base ^ offset ^ corners[j];
      if (kDiagonal) {
        const C<T> phase{set<T>(cosine[p]), set<T>(sine[p])};
        x[j] = mul_conj(phase, x[j]);
        y[j] = mul_conj(phase, y[j]);
      }
      store_amplitude(x[j], psi + p * kStride<T>);
      store_amplitude(y[j], lambda + p * kStride<T>);
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) {
    store<T>(sum_x[i], xy + (group.first + i) * 3 * L);
    store<T>(sum_y[i], xy + ((group.first + i) * 3 + 1) * L);
  }
}

/// Adds sum over p of density[p] * (-1)^bit q of p to z[q][2] for every bit; destroys density.
template <class T>
HWY_INLINE void fold(T* density, int bits, T* overlaps) {
  constexpr size_t L = kLanes<T>;
  for (int q = 0; q < bits; ++q) {
    V<T> z = load(overlaps + (q * 3 + 2) * L);
    for (size_t i = 0; i < size_t{1} << (bits - q - 1); ++i) {
      const V<T> a = load(density + 2 * i * L), b = load(density + (2 * i + 1) * L);
      z = hn::Add(z, hn::Sub(a, b));
      store<T>(hn::Add(a, b), density + i * L);
    }
    store<T>(z, overlaps + (q * 3 + 2) * L);
  }
}

template <class T>
void rotate_layer_backward(const Tile<T>& tile, const Layer& layer, const LayerTables& tables,
                           const LayerValues<T>& values, bool undo_diagonal) {
  constexpr size_t L = kLanes<T>;
  HWY_ALIGN T density[64 * L];
  for (size_t b = tables.backward.size(); b-- > 0;) {
    const Block& block = tables.backward[b];
    const T* tangents = values.tangent.data();
    const int count = int(block.rotations.size());
    HWY_ALIGN T sums[6 * 3 * L] = {};
    for (const uint32_t block_base : block.bases) {
      const uint32_t base = block_base ^ values.backward_origin[b];
      for (size_t g = 0; g < block.groups.size(); ++g) {
        const Group& group = block.groups[g];
        const bool first = g == 0, last = undo_diagonal && b == 0 && g + 1 == block.groups.size();
        const auto run = [&](auto undo) {
          undo(tile.psi, tile.lambda, base, block, group, tangents, values.cosine.data(), values.sine.data(), density,
               sums);
        };
        if (group.count == 2) {
          run(first ? (last ? undo_group<2, true, true, T> : undo_group<2, true, false, T>)
                    : (last ? undo_group<2, false, true, T> : undo_group<2, false, false, T>));
        } else {
          run(first ? (last ? undo_group<1, true, true, T> : undo_group<1, true, false, T>)
                    : (last ? undo_group<1, false, true, T> : undo_group<1, false, false, T>));
        }
        if (first) fold(density, count, sums);
      }
    }
    for (int i = 0; i < count; ++i) {
      const int op = block.rotations[i];
      const int slot = tile.tables->overlap_slot[layer.rotations[op].chain];
      if (slot < 0) continue;
      for (int axis = 0; axis < 3; ++axis) {
        const T norm = axis == 2 ? values.z_norm[op] : values.xy_norm[op];
        add_to<T>(hn::Mul(set<T>(norm), load(sums + (3 * i + axis) * L)), tile.overlaps + (3 * slot + axis) * L);
      }
    }
  }
}

// --- diagonals

template <bool kConjugate, class T>
void apply_diagonal(T* state, size_t size, const T* cosine, const T* sine) {
  for (size_t p = 0; p < size; ++p, state += kStride<T>) {
    const C<T> phase{set<T>(cosine[p]), set<T>(sine[p])};
    const C<T> x = load_amplitude(state);
    store_amplitude(kConjugate ? mul_conj(phase, x) : mul(phase, x), state);
  }
}

/// scratch [2^wires] lanes = the phase of each amplitude.
template <class T>
void sample_phases(const Tile<T>& tile, const Layer& layer, uint64_t flipped) {
  constexpr size_t L = kLanes<T>;
  std::fill_n(tile.scratch, L << tile.program->wires, T(0));
  for (const PhaseGate& gate : layer.per_sample_phases) {
    const V<T> angle = angle_value(tile, gate.angle);
    for (const auto& [mask, coefficient] : gate.spectrum) {
      const double sign = std::popcount(mask & flipped) & 1 ? 0.5 : -0.5;
      add_to<T>(hn::Mul(angle, set<T>(T(sign * coefficient))), tile.scratch + mask * L);
    }
  }
  walsh(tile.scratch, tile.program->wires);
}

template <bool kConjugate, class T>
void apply_sample_phases(const Tile<T>& tile, T* state, T* other) {
  const size_t size = size_t{1} << tile.program->wires;
  for (size_t p = 0; p < size; ++p) {
    const C<T> phase = sine_cosine<T>(load(tile.scratch + p * kLanes<T>));
    for (T* s : {state, other}) {
      if (!s) continue;
      const C<T> x = load_amplitude(s + p * kStride<T>);
      store_amplitude(kConjugate ? mul_conj(phase, x) : mul(phase, x), s + p * kStride<T>);
    }
  }
}

/// Derivatives of the diagonal's own gates: the Walsh transform of Im(conj(lambda) psi) holds every
/// Im<lambda|Z_mask|psi>.
template <class T>
void phase_gradients(const Tile<T>& tile, const Layer& layer, const LayerValues<T>& values) {
  constexpr size_t L = kLanes<T>;
  const size_t size = size_t{1} << tile.program->wires;
  for (size_t p = 0; p < size; ++p)
    store<T>(im_conj(load_amplitude(tile.lambda + p * kStride<T>), load_amplitude(tile.psi + p * kStride<T>)),
             tile.scratch + p * L);
  walsh(tile.scratch, tile.program->wires);
  const double norm = double(values.scale) * double(values.scale);
  for (const auto* gates : {&layer.shared_phases, &layer.per_sample_phases})
    for (const PhaseGate& gate : *gates) {
      if (gate.angle.is_constant()) continue;
      V<T> dangle = set<T>(0);
      for (const auto& [mask, coefficient] : gate.spectrum) {
        const double sign = std::popcount(mask & values.flipped) & 1 ? -norm : norm;
        dangle = hn::MulAdd(set<T>(T(sign * coefficient)), load(tile.scratch + mask * L), dangle);
      }
      add_gradient<T>(tile, gate.angle, dangle);
    }
}

// --- gates a sample, dense unitaries

template <class T>
void sample_gate(const Tile<T>& tile, const Rotation& gate, const std::vector<uint32_t>& bases, uint32_t origin) {
  C<T> a, b;
  chain_column(tile, gate.chain, a, b);
  const uint32_t flip = uint32_t(gate.flip);
  for (const uint32_t base : bases) {
    T* at0 = tile.psi + size_t(base ^ origin) * kStride<T>;
    T* at1 = tile.psi + size_t(base ^ origin ^ flip) * kStride<T>;
    const C<T> x0 = load_amplitude(at0), x1 = load_amplitude(at1);
    store_amplitude(sub(mul(a, x0), mul_conj(b, x1)), at0);
    store_amplitude(add(mul(b, x0), mul_conj(a, x1)), at1);
  }
}

template <class T>
void sample_gate_backward(const Tile<T>& tile, const Rotation& gate, const std::vector<uint32_t>& bases,
                          uint32_t origin) {
  C<T> a, b;
  chain_column(tile, gate.chain, a, b);
  const uint32_t flip = uint32_t(gate.flip);
  V<T> x = set<T>(0), y = set<T>(0), z = set<T>(0);
  for (const uint32_t base : bases) {
    const size_t p0 = size_t(base ^ origin) * kStride<T>, p1 = size_t(base ^ origin ^ flip) * kStride<T>;
    const C<T> x0 = load_amplitude(tile.psi + p0), x1 = load_amplitude(tile.psi + p1);
    const C<T> y0 = load_amplitude(tile.lambda + p0), y1 = load_amplitude(tile.lambda + p1);
    const C<T> p01 = mul_conj(y0, x1), p10 = mul_conj(y1, x0);
    x = hn::Add(x, hn::Add(p01.im, p10.im));
    y = hn::Add(y, hn::Sub(p10.re, p01.re));
    z = hn::Add(z, hn::Sub(im_conj(y0, x0), im_conj(y1, x1)));
    store_amplitude(add(mul_conj(a, x0), mul_conj(b, x1)), tile.psi + p0);
    store_amplitude(sub(mul(a, x1), mul(b, x0)), tile.psi + p1);
    store_amplitude(add(mul_conj(a, y0), mul_conj(b, y1)), tile.lambda + p0);
    store_amplitude(sub(mul(a, y1), mul(b, y0)), tile.lambda + p1);
  }
  chain_gradient<T>(tile, gate.chain, x, y, z);
}

template <bool kAdjoint, class T>
void dense_gate(T* state, T* buffer, const Matrix& matrix, const std::vector<uint32_t>& bases,
                const std::vector<uint32_t>& corners, uint32_t origin) {
  const size_t dim = size_t(matrix.dim);
  for (const uint32_t base : bases) {
    for (size_t j = 0; j < dim; ++j)
      store_amplitude(load_amplitude(state + size_t(base ^ origin ^ corners[j]) * kStride<T>), buffer + j * kStride<T>);
    for (size_t i = 0; i < dim; ++i) {
      C<T> sum{set<T>(0), set<T>(0)};
      for (size_t j = 0; j < dim; ++j) {
        const Complex u = kAdjoint ? std::conj(matrix(int(j), int(i))) : matrix(int(i), int(j));
        sum = add(sum, mul<T>({set<T>(T(u.real())), set<T>(T(u.imag()))}, load_amplitude(buffer + j * kStride<T>)));
      }
      store_amplitude(sum, state + size_t(base ^ origin ^ corners[i]) * kStride<T>);
    }
  }
}

// --- whole runs

template <class T>
void forward(const Tile<T>& tile) {
  const size_t size = size_t{1} << tile.program->wires;
  initialize(tile);
  for (size_t l = 0; l < tile.program->layers.size(); ++l) {
    const Layer& layer = tile.program->layers[l];
    const LayerTables& tables = tile.tables->layers[l];
    const LayerValues<T>& values = tile.values->layers[l];
    if (!layer.per_sample_phases.empty()) {
      sample_phases(tile, layer, values.flipped);
      apply_sample_phases<false, T>(tile, tile.psi, nullptr);
    }
    if (!layer.rotations.empty()) {
      rotate_layer(tile, tables, values);
    } else if (!values.cosine.empty()) {
      apply_diagonal<false>(tile.psi, size, values.cosine.data(), values.sine.data());
    }
    for (size_t g = 0; g < layer.sample_gates.size(); ++g)
      sample_gate(tile, layer.sample_gates[g], tables.sample_bases[g], values.sample_origin[g]);
    for (size_t g = 0; g < layer.dense.size(); ++g)
      dense_gate<false>(tile.psi, tile.scratch, layer.dense[g].matrix, tables.dense_bases[g], tables.dense_corners[g],
                        values.dense_origin[g]);
  }
}

template <class T>
HWY_INLINE T sign_of(uint64_t mask, uint64_t flipped) {
  return std::popcount(mask & flipped) & 1 ? T(-1) : T(1);
}

template <class T>
void measure(const Tile<T>& tile) {
  const Program& program = *tile.program;
  constexpr size_t L = kLanes<T>;
  const size_t size = size_t{1} << program.wires;
  for (int k = 0; k < program.outputs; ++k) store<T>(set<T>(T(program.constants[k])), tile.expectations + k * L);
  if (!program.diagonal_terms.empty()) {
    for (size_t p = 0; p < size; ++p) {
      const C<T> x = load_amplitude(tile.psi + p * kStride<T>);
      store<T>(hn::MulAdd(x.im, x.im, hn::Mul(x.re, x.re)), tile.scratch + p * L);
    }
    walsh(tile.scratch, program.wires);
    for (const ObservableTerm& term : program.diagonal_terms)
      add_to<T>(hn::Mul(set<T>(T(term.coefficient) * sign_of<T>(term.mask, tile.values->flipped)),
                        load(tile.scratch + term.mask * L)),
                tile.expectations + term.output * L);
  }
  for (const ObservableTerm& term : program.other_terms) {
    // sum over p of conj(psi[p ^ flip]) i^ys (-1)^parity(p & mask) psi[p]
    V<T> sum = set<T>(0);
    for (size_t p = 0; p < size; ++p) {
      const C<T> product =
          mul_conj(load_amplitude(tile.psi + (p ^ term.flip) * kStride<T>), load_amplitude(tile.psi + p * kStride<T>));
      const V<T> part = term.ys & 1 ? product.im : product.re;
      sum = std::popcount(p & term.mask) & 1 ? hn::Sub(sum, part) : hn::Add(sum, part);
    }
    // i^ys: 1, i (picks -im), -1, -i (picks im)
    const T sign = (term.ys % 4 == 0 || term.ys % 4 == 3 ? 1 : -1) * sign_of<T>(term.mask, tile.values->flipped);
    add_to<T>(hn::Mul(set<T>(T(term.coefficient) * sign), sum), tile.expectations + term.output * L);
  }
}

/// lambda = sum_k upstream_k O_k psi.
template <class T>
void apply_observables(const Tile<T>& tile) {
  const Program& program = *tile.program;
  constexpr size_t L = kLanes<T>;
  const size_t size = size_t{1} << program.wires;
  std::fill_n(tile.scratch, size * L, T(0));
  for (const ObservableTerm& term : program.diagonal_terms)
    add_to<T>(hn::Mul(set<T>(T(term.coefficient) * sign_of<T>(term.mask, tile.values->flipped)),
                      load(tile.upstream + term.output * L)),
              tile.scratch + term.mask * L);
  walsh(tile.scratch, program.wires);
  for (size_t p = 0; p < size; ++p) {
    const C<T> x = load_amplitude(tile.psi + p * kStride<T>);
    const V<T> factor = load(tile.scratch + p * L);
    store_amplitude<T>({hn::Mul(factor, x.re), hn::Mul(factor, x.im)}, tile.lambda + p * kStride<T>);
  }
  for (const ObservableTerm& term : program.other_terms) {
    const T sign = (term.ys % 4 < 2 ? 1 : -1) * sign_of<T>(term.mask, tile.values->flipped);
    const V<T> plus = hn::Mul(set<T>(T(term.coefficient) * sign), load(tile.upstream + term.output * L));
    const V<T> minus = hn::Neg(plus);
    for (size_t p = 0; p < size; ++p) {
      const V<T> g = std::popcount(p & term.mask) & 1 ? minus : plus;
      const C<T> x = load_amplitude(tile.psi + p * kStride<T>);
      T* at = tile.lambda + (p ^ term.flip) * kStride<T>;
      C<T> y = load_amplitude(at);
      if (term.ys & 1) {  // i x
        y = {hn::NegMulAdd(g, x.im, y.re), hn::MulAdd(g, x.re, y.im)};
      } else {
        y = {hn::MulAdd(g, x.re, y.re), hn::MulAdd(g, x.im, y.im)};
      }
      store_amplitude(y, at);
    }
  }
}

template <class T>
void backward(const Tile<T>& tile) {
  const size_t size = size_t{1} << tile.program->wires;
  apply_observables(tile);
  for (size_t l = tile.program->layers.size(); l-- > 0;) {
    const Layer& layer = tile.program->layers[l];
    const LayerTables& tables = tile.tables->layers[l];
    const LayerValues<T>& values = tile.values->layers[l];
    for (size_t g = layer.dense.size(); g-- > 0;)
      for (T* state : {tile.psi, tile.lambda})
        dense_gate<true>(state, tile.scratch, layer.dense[g].matrix, tables.dense_bases[g], tables.dense_corners[g],
                         values.dense_origin[g]);
    for (size_t g = layer.sample_gates.size(); g-- > 0;)
      sample_gate_backward(tile, layer.sample_gates[g], tables.sample_bases[g], values.sample_origin[g]);
    const bool together = !layer.rotations.empty() && !tables.phases_trainable;
    if (!layer.rotations.empty()) rotate_layer_backward(tile, layer, tables, values, together);
    if (tables.phases_trainable) phase_gradients(tile, layer, values);
    if (!values.cosine.empty() && !together)
      for (T* state : {tile.psi, tile.lambda})
        apply_diagonal<true>(state, size, values.cosine.data(), values.sine.data());
    if (!layer.per_sample_phases.empty()) {
      sample_phases(tile, layer, values.flipped);
      apply_sample_phases<true>(tile, tile.psi, tile.lambda);
    }
  }
  initialize_backward(tile);
}

template <class T>
Kernels<T> make() {
  Kernels<T> kernels{};
  kernels.lanes = kLanes<T>;
  kernels.forward_group = kForwardGroup;
  kernels.backward_group = kBackwardGroup;
  kernels.target = hwy::TargetName(HWY_TARGET);
  kernels.forward = forward<T>;
  kernels.measure = measure<T>;
  kernels.backward = backward<T>;
  kernels.sum_lanes = sum_lanes<T>;
  kernels.math = {sine_cosine_array, polar_array, diagonal<T>};
  return kernels;
}
Kernels<float> make_float() {
  return make<float>();
}
Kernels<double> make_double() {
  return make<double>();
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::simulate {
HWY_EXPORT(make_float);
HWY_EXPORT(make_double);

template <>
const Kernels<float>& kernels() {
  static const Kernels<float> instance = HWY_DYNAMIC_DISPATCH(make_float)();
  return instance;
}
template <>
const Kernels<double>& kernels() {
  static const Kernels<double> instance = HWY_DYNAMIC_DISPATCH(make_double)();
  return instance;
}
}  // namespace quanta::simulate
#endif
