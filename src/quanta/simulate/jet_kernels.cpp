#include "quanta/simulate/jet_kernels.h"

#include <array>

#include "quanta/simulate/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/simulate/jet_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/highway.h>

#include "quanta/simulate/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {

template <int kOrder, class T>
struct Jet {
  static constexpr int kSize = 1 << kOrder;
  static constexpr size_t kStep = kSize * kStride<T>;  // from one amplitude to the next

  C<T> x[kSize];

  static HWY_INLINE Jet zero() {
    Jet jet;
    for (C<T>& element : jet.x) element = {set<T>(0), set<T>(0)};
    return jet;
  }
  static HWY_INLINE Jet load(const T* at) {
    Jet jet;
#pragma GCC unroll 4
    for (int s = 0; s < kSize; ++s) jet.x[s] = load_amplitude(at + s * kStride<T>);
    return jet;
  }
  HWY_INLINE void store(T* at) const {
#pragma GCC unroll 4
    for (int s = 0; s < kSize; ++s) store_amplitude(x[s], at + s * kStride<T>);
  }
};

template <int kOrder, class T>
struct RealJet {
  static constexpr int kSize = 1 << kOrder;
  V<T> x[kSize];

  static HWY_INLINE RealJet zero() {
    RealJet jet;
    for (V<T>& element : jet.x) element = set<T>(0);
    return jet;
  }
  static HWY_INLINE RealJet load(const T* at, T sign = 1) {
    RealJet jet;
#pragma GCC unroll 4
    for (int s = 0; s < kSize; ++s) jet.x[s] = hn::Mul(set<T>(sign), HWY_NAMESPACE::load(at + s * kLanes<T>));
    return jet;
  }
  HWY_INLINE void add_to(T* at) const {
    for (int s = 0; s < kSize; ++s) HWY_NAMESPACE::add_to<T>(x[s], at + s * kLanes<T>);
  }
};

/// visit(s, t) for all sets s and their subsets t.
template <int kOrder, class Visit>
HWY_INLINE void subsets(Visit visit) {
#pragma GCC unroll 4
  for (int s = 0; s < 1 << kOrder; ++s)
#pragma GCC unroll 4
    for (int t = 0; t <= s; ++t)
      if ((t & s) == t) visit(s, t);
}

/// a += f x.
template <int kOrder, class T>
HWY_INLINE void multiply_add(Jet<kOrder, T>& a, const RealJet<kOrder, T>& f, const Jet<kOrder, T>& x) {
  subsets<kOrder>([&](int s, int t) HWY_ATTR {
    a.x[s].re = hn::MulAdd(f.x[t], x.x[s ^ t].re, a.x[s].re);
    a.x[s].im = hn::MulAdd(f.x[t], x.x[s ^ t].im, a.x[s].im);
  });
}

/// a += Re<x|y>.
template <int kOrder, class T>
HWY_INLINE void add_product(RealJet<kOrder, T>& a, const Jet<kOrder, T>& x, const Jet<kOrder, T>& y) {
  subsets<kOrder>([&](int s, int t) HWY_ATTR {
    a.x[s] = hn::MulAdd(x.x[t].re, y.x[s ^ t].re, hn::MulAdd(x.x[t].im, y.x[s ^ t].im, a.x[s]));
  });
}

/// A multiplication by i^power.
template <int kOrder, class T>
HWY_INLINE Jet<kOrder, T> turned(const Jet<kOrder, T>& x, int power) {
  const V<T> sign = set<T>(power & 2 ? T(-1) : T(1));
  Jet<kOrder, T> result;
#pragma GCC unroll 4
  for (int s = 0; s < 1 << kOrder; ++s) {
    const V<T> re = hn::Mul(sign, x.x[s].re), im = hn::Mul(sign, x.x[s].im);
    result.x[s] = power & 1 ? C<T>{hn::Neg(im), re} : C<T>{re, im};
  }
  return result;
}

/// visit(b, partner, p, q) for each pair of amplitudes that P exchanges, once: P psi = i^p psi_partner at b and
/// i^q psi_b at its partner; they are the same if P is diagonal.
template <class Visit>
HWY_INLINE void pairs(int wires, const ControlledPauli& pauli, Visit visit) {
  const uint64_t pivot = std::bit_floor(pauli.flip);
  for (uint64_t b = 0; b < uint64_t{1} << wires; ++b) {
    if ((b & (pauli.controls | pivot)) != pauli.controls) continue;
    const uint64_t partner = b ^ pauli.flip;
    visit(b, partner, pauli.ys + 2 * std::popcount(partner & pauli.z), pauli.ys + 2 * std::popcount(b & pauli.z));
  }
}

template <int kOrder, class T>
void rotate(int wires, const ControlledPauli& pauli, const T* cosine, const T* sine, T* psi) {
  using J = Jet<kOrder, T>;
  const auto c = RealJet<kOrder, T>::load(cosine), s = RealJet<kOrder, T>::load(sine);
  pairs(wires, pauli, [&](uint64_t b, uint64_t partner, int p, int q) HWY_ATTR {
    const J x = J::load(psi + b * J::kStep), y = J::load(psi + partner * J::kStep);
    J result = J::zero(), other = J::zero();
    multiply_add(result, c, x);
    multiply_add(result, s, turned(y, p + 3));
    result.store(psi + b * J::kStep);
    if (partner == b) return;
    multiply_add(other, c, y);
    multiply_add(other, s, turned(x, q + 3));
    other.store(psi + partner * J::kStep);
  });
}

template <int kOrder, class T>
void unrotate(int wires, const ControlledPauli& pauli, const T* cosine, const T* sine, T* psi, T* lambda, T* overlap) {
  using J = Jet<kOrder, T>;
  const auto c = RealJet<kOrder, T>::load(cosine), s = RealJet<kOrder, T>::load(sine, -1);
  auto sum = RealJet<kOrder, T>::zero();
  pairs(wires, pauli, [&](uint64_t b, uint64_t partner, int p, int q) HWY_ATTR {
    const J x = J::load(psi + b * J::kStep), y = J::load(psi + partner * J::kStep);
    const J l = J::load(lambda + b * J::kStep), m = J::load(lambda + partner * J::kStep);
    const auto undone = [&](const J& same, const J& turned_other, T* to) HWY_ATTR {
      J result = J::zero();
      multiply_add(result, c, same);
      multiply_add(result, s, turned_other);
      result.store(to);
    };
    // Im<l|P psi> = Re<l|-i P psi>
    const J py = turned(y, p + 3);
    add_product(sum, l, py);
    undone(x, py, psi + b * J::kStep);
    undone(l, turned(m, p + 3), lambda + b * J::kStep);
    if (partner == b) return;
    const J px = turned(x, q + 3);
    add_product(sum, m, px);
    undone(y, px, psi + partner * J::kStep);
    undone(m, turned(l, q + 3), lambda + partner * J::kStep);
  });
  sum.add_to(overlap);
}

template <int kOrder, class T>
void dense(int wires, uint64_t controls, size_t count, const uint64_t* offsets, const std::complex<T>* matrix, T* psi,
           T* scratch) {
  constexpr size_t kStep = Jet<kOrder, T>::kStep;
  const uint64_t own = offsets[count - 1];
  for (uint64_t b = 0; b < uint64_t{1} << wires; ++b) {
    if ((b & (controls | own)) != controls) continue;
    for (int s = 0; s < 1 << kOrder; ++s) {
      T* const at = psi + b * kStep + s * kStride<T>;
      for (size_t j = 0; j < count; ++j)
        store_amplitude(load_amplitude(at + offsets[j] * kStep), scratch + j * kStride<T>);
      for (size_t i = 0; i < count; ++i) {
        C<T> sum{set<T>(0), set<T>(0)};
        for (size_t j = 0; j < count; ++j) {
          const std::complex<T> element = matrix[i * count + j];
          sum = add(
              sum, mul(C<T>{set<T>(element.real()), set<T>(element.imag())}, load_amplitude(scratch + j * kStride<T>)));
        }
        store_amplitude(sum, at + offsets[i] * kStep);
      }
    }
  }
}

template <int kOrder, class T>
void measure(int wires, const ControlledPauli& pauli, const T* psi, T* expectation) {
  using J = Jet<kOrder, T>;
  auto sum = RealJet<kOrder, T>::zero();
  pairs(wires, pauli, [&](uint64_t b, uint64_t partner, int p, int q) HWY_ATTR {
    const J x = J::load(psi + b * J::kStep), y = J::load(psi + partner * J::kStep);
    add_product(sum, x, turned(y, p));
    if (partner != b) add_product(sum, y, turned(x, q));
  });
  sum.add_to(expectation);
}

template <int kOrder, class T>
void observe(int wires, const ControlledPauli& pauli, const T* factor, const T* psi, T* lambda) {
  using J = Jet<kOrder, T>;
  const auto f = RealJet<kOrder, T>::load(factor);
  pairs(wires, pauli, [&](uint64_t b, uint64_t partner, int p, int q) HWY_ATTR {
    J l = J::load(lambda + b * J::kStep);
    multiply_add(l, f, turned(J::load(psi + partner * J::kStep), p));
    l.store(lambda + b * J::kStep);
    if (partner == b) return;
    l = J::load(lambda + partner * J::kStep);
    multiply_add(l, f, turned(J::load(psi + b * J::kStep), q));
    l.store(lambda + partner * J::kStep);
  });
}

template <int kOrder, class T>
JetKernels<T> make_jet() {
  return {kLanes<T>, rotate<kOrder, T>, unrotate<kOrder, T>, dense<kOrder, T>, measure<kOrder, T>, observe<kOrder, T>};
}
template <class T>
std::array<JetKernels<T>, 5> make_jets() {
  return {make_jet<0, T>(), make_jet<1, T>(), make_jet<2, T>(), make_jet<3, T>(), make_jet<4, T>()};
}
std::array<JetKernels<float>, 5> make_jets_float() {
  return make_jets<float>();
}
std::array<JetKernels<double>, 5> make_jets_double() {
  return make_jets<double>();
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::simulate {
HWY_EXPORT(make_jets_float);
HWY_EXPORT(make_jets_double);

template <>
const JetKernels<float>& jet_kernels(int order) {
  static const auto instances = HWY_DYNAMIC_DISPATCH(make_jets_float)();
  return instances[size_t(order)];
}
template <>
const JetKernels<double>& jet_kernels(int order) {
  static const auto instances = HWY_DYNAMIC_DISPATCH(make_jets_double)();
  return instances[size_t(order)];
}
}  // namespace quanta::simulate
#endif
