#include "quanta/simulate/density_kernels.h"

#include "quanta/simulate/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/simulate/density_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/highway.h>

#include <cstring>
#include <utility>

#include "quanta/simulate/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {
namespace {

using pauli_basis::BlockStep;
using pauli_basis::DensityKernels;
using pauli_basis::Pass;
using pauli_basis::PassWork;
using pauli_basis::Sparse;
using pauli_basis::Step;

/// rows' [i] lane [j] = rows [j] lane [i].
template <class T>
HWY_INLINE void transpose([[maybe_unused]] V<T>* rows) {
#if HWY_TARGET != HWY_SCALAR
  constexpr size_t L = kLanes<T>;
  const Tag<T> d;
  // Each stage moves the lowest bit of the lane to the top of the row's number, and the row's lowest to the lane's top.
#pragma GCC unroll 4
  for (size_t stage = 1; stage < L; stage *= 2) {
    V<T> next[L];
#pragma GCC unroll 8
    for (size_t m = 0; m < L / 2; ++m) {
      next[m] = hn::ConcatEven(d, rows[2 * m + 1], rows[2 * m]);
      next[m + L / 2] = hn::ConcatOdd(d, rows[2 * m + 1], rows[2 * m]);
    }
#pragma GCC unroll 16
    for (size_t m = 0; m < L; ++m) rows[m] = next[m];
  }
#endif
}

template <class T>
void load_block(const Pass& pass, const T* state, size_t group, T* block) {
  constexpr size_t L = kLanes<T>;
  const size_t size = pass.block_offset.size();
  const uint32_t* outer = pass.outer_offset.data() + group * L;
  if (!pass.transposed) {
    for (size_t i = 0; i < size; ++i) store<T>(load(state + outer[0] + pass.block_offset[i]), block + i * L);
    return;
  }
  for (size_t i = 0; i < size; i += L) {
    V<T> rows[L];
#pragma GCC unroll 16
    for (size_t l = 0; l < L; ++l) rows[l] = load(state + outer[l] + pass.block_offset[i]);
    transpose<T>(rows);
#pragma GCC unroll 16
    for (size_t l = 0; l < L; ++l) store<T>(rows[l], block + (i + l) * L);
  }
}

/// With `last`, the block times this monomial matrix.
template <bool kMultiply, class T>
void store_elements(const Pass& pass, const T* block, [[maybe_unused]] const Sparse* last, size_t group, T* state) {
  constexpr size_t L = kLanes<T>;
  const size_t size = pass.block_offset.size();
  const uint32_t* outer = pass.outer_offset.data() + group * L;
  const auto element = [&](size_t i) HWY_ATTR {
    if constexpr (kMultiply) return hn::Mul(set(T(last->value[i])), load(block + last->column[i] * L));
    return load(block + i * L);
  };
  if (!pass.transposed) {
    for (size_t i = 0; i < size; ++i) store<T>(element(i), state + outer[0] + pass.block_offset[i]);
    return;
  }
  for (size_t i = 0; i < size; i += L) {
    V<T> rows[L];
#pragma GCC unroll 16
    for (size_t l = 0; l < L; ++l) rows[l] = element(i + l);
    transpose<T>(rows);
#pragma GCC unroll 16
    for (size_t l = 0; l < L; ++l) store<T>(rows[l], state + outer[l] + pass.block_offset[i]);
  }
}
template <class T>
void store_block(const Pass& pass, const T* block, const Sparse* last, size_t group, T* state) {
  return last ? store_elements<true>(pass, block, last, group, state)
              : store_elements<false>(pass, block, last, group, state);
}

template <class T>
void begin_block(const PassWork<T>& work, size_t group, T* block) {
  if (work.in) return load_block(*work.pass, work.in, group, block);
  const V<T> outer = load(work.outer_product + group * kLanes<T>);
  for (size_t i = 0; i < work.pass->block_offset.size(); ++i)
    store<T>(hn::Mul(outer, set(work.block_product[i])), block + i * kLanes<T>);
}

/// A chain from `from` to `to`, which may be the same; with kPermute, of `from` times a monomial matrix.
template <bool kUnital, bool kPermute, class T>
void chain(const T* from, [[maybe_unused]] const Sparse* permutation, T* to, size_t size, int place, const T* map) {
  constexpr size_t L = kLanes<T>;
  const size_t step = size_t(1) << 2 * place;
  const auto element = [&](size_t i) HWY_ATTR {
    if constexpr (kPermute) return hn::Mul(set(T(permutation->value[i])), load(from + permutation->column[i] * L));
    return load(from + i * L);
  };
  V<T> m[16];
#pragma GCC unroll 16
  for (size_t i = 4; i < 16; ++i) m[i] = load(map + i * L);
  for (size_t high = 0; high < size; high += 4 * step)
    for (size_t i = high; i < high + step; ++i) {
      V<T> x[4];
#pragma GCC unroll 4
      for (size_t column = kUnital && !kPermute ? 1 : 0; column < 4; ++column) x[column] = element(i + column * step);
      if constexpr (kPermute) store<T>(x[0], to + i * L);
#pragma GCC unroll 3
      for (size_t row = 1; row < 4; ++row) {
        V<T> sum =
            kUnital ? hn::Mul(m[row * 4 + 1], x[1]) : hn::MulAdd(m[row * 4 + 1], x[1], hn::Mul(m[row * 4], x[0]));
        sum = hn::MulAdd(m[row * 4 + 2], x[2], sum);
        store<T>(hn::MulAdd(m[row * 4 + 3], x[3], sum), to + (i + row * step) * L);
      }
    }
}

/// The transposed map on `block`, the gradient of the state; with kGradient that of the map, from the state before it.
template <bool kUnital, bool kGradient, class T>
void chain_back(T* block, const T* before, size_t size, int place, const T* map, T* gradient) {
  constexpr size_t L = kLanes<T>;
  const size_t step = size_t(1) << 2 * place;
  V<T> m[16], g[12];
#pragma GCC unroll 16
  for (size_t i = 4; i < 16; ++i) m[i] = load(map + i * L);
  if constexpr (kGradient) {
#pragma GCC unroll 12
    for (size_t i = 0; i < 12; ++i) g[i] = hn::Zero(Tag<T>());
  }
  for (size_t high = 0; high < size; high += 4 * step)
    for (size_t i = high; i < high + step; ++i) {
      T* at = block + i * L;
      V<T> l[3];
#pragma GCC unroll 3
      for (size_t row = 0; row < 3; ++row) l[row] = load(at + (row + 1) * step * L);
      if constexpr (kGradient) {
#pragma GCC unroll 4
        for (size_t column = 0; column < 4; ++column) {
          const V<T> r = load(before + (i + column * step) * L);
#pragma GCC unroll 3
          for (size_t row = 0; row < 3; ++row) g[row * 4 + column] = hn::MulAdd(l[row], r, g[row * 4 + column]);
        }
      }
#pragma GCC unroll 4
      for (size_t column = kUnital ? 1 : 0; column < 4; ++column) {
        V<T> sum = hn::Mul(m[4 + column], l[0]);
        sum = hn::MulAdd(m[8 + column], l[1], sum);
        sum = hn::MulAdd(m[12 + column], l[2], sum);
        if (column == 0) sum = hn::Add(sum, load(at));
        store<T>(sum, at + column * step * L);
      }
    }
  if constexpr (kGradient) {
#pragma GCC unroll 12
    for (size_t i = 0; i < 12; ++i) add_to<T>(g[i], gradient + (4 + i) * L);
  }
}

template <class T>
void rotate(T* block, const BlockStep& step, V<T> cosine, V<T> sine) {
  constexpr size_t L = kLanes<T>;
  for (size_t i = 0; i < step.first.size(); ++i) {
    T *a = block + step.first[i] * L, *b = block + step.second[i] * L;
    const V<T> x = load(a), y = load(b);
    store<T>(hn::NegMulAdd(sine, y, hn::Mul(cosine, x)), a);
    store<T>(hn::MulAdd(sine, x, hn::Mul(cosine, y)), b);
  }
}

template <class T>
V<T> rotation_gradient(const T* lambda, const T* before, const BlockStep& step) {
  constexpr size_t L = kLanes<T>;
  V<T> sum = hn::Zero(Tag<T>());
  for (size_t i = 0; i < step.first.size(); ++i) {
    const size_t a = step.first[i] * L, b = step.second[i] * L;
    sum = hn::MulAdd(load(lambda + b), load(before + a), sum);
    sum = hn::NegMulAdd(load(lambda + a), load(before + b), sum);
  }
  return sum;
}

template <class T>
void multiply(const Sparse& matrix, size_t size, const T* from, T* to) {
  constexpr size_t L = kLanes<T>;
  if (matrix.monomial) {
    for (size_t i = 0; i < size; ++i)
      store<T>(hn::Mul(set(T(matrix.value[i])), load(from + matrix.column[i] * L)), to + i * L);
    return;
  }
  for (size_t i = 0; i < size; ++i) {
    V<T> sum = hn::Zero(Tag<T>());
    for (uint32_t e = matrix.begin[i]; e < matrix.begin[i + 1]; ++e)
      sum = hn::MulAdd(set(T(matrix.value[e])), load(from + matrix.column[e] * L), sum);
    store<T>(sum, to + i * L);
  }
}

/// One step on `block`; `spare` takes the result if the step cannot be done in place.
template <class T>
void apply(const PassWork<T>& work, const BlockStep& step, T*& block, T*& spare) {
  constexpr size_t L = kLanes<T>;
  const size_t size = work.pass->block_offset.size();
  const T* c = work.coefficients + step.slot * L;
  switch (step.kind) {
    case Step::Kind::kChain:
      return step.unital ? chain<true, false>(block, nullptr, block, size, step.place, c)
                         : chain<false, false>(block, nullptr, block, size, step.place, c);
    case Step::Kind::kRotation:
      return rotate<T>(block, step, load(c), load(c + L));
    default:
      multiply(step.forward, size, block, spare);
      std::swap(block, spare);
  }
}

template <class T>
void forward(const PassWork<T>& work, size_t first, size_t last, T* buffer) {
  const size_t blocks = work.pass->block_offset.size(), size = blocks * kLanes<T>;
  const std::vector<BlockStep>& steps = work.pass->steps;
  // A permutation costs nothing extra when the next chain reads through it, or the store at the end.
  const bool folds = steps.back().kind == Step::Kind::kLocal && steps.back().forward.monomial;
  for (size_t group = first; group < last; ++group) {
    T *block = buffer, *spare = buffer + size;
    begin_block(work, group, block);
    for (size_t i = 0; i + folds < steps.size(); ++i) {
      const bool permutes = steps[i].kind == Step::Kind::kLocal && steps[i].forward.monomial;
      if (permutes && i + 1 + folds < steps.size() && steps[i + 1].kind == Step::Kind::kChain) {
        const BlockStep& next = steps[i + 1];
        const auto run = next.unital ? chain<true, true, T> : chain<false, true, T>;
        run(block, &steps[i].forward, spare, blocks, next.place, work.coefficients + next.slot * kLanes<T>);
        std::swap(block, spare);
        ++i;
      } else {
        apply(work, steps[i], block, spare);
      }
    }
    store_block(*work.pass, block, folds ? &steps.back().forward : nullptr, group, work.out);
  }
}

template <class T>
void backward(const PassWork<T>& work, size_t first, size_t last, T* buffer) {
  constexpr size_t L = kLanes<T>;
  const Pass& pass = *work.pass;
  const size_t blocks = pass.block_offset.size(), size = blocks * L;
  for (size_t group = first; group < last; ++group) {
    T *block = buffer, *spare = buffer + size, *lambda = buffer + 2 * size, *saved = buffer + 3 * size;
    if (pass.saves) begin_block(work, group, block);
    int saves = 0;
    for (const BlockStep& step : pass.steps) {
      if (saves == pass.saves) break;
      if (step.gradient >= 0) std::memcpy(saved + size * saves++, block, size * sizeof(T));
      if (saves < pass.saves) apply(work, step, block, spare);
    }
    spare = block;
    load_block(pass, work.out, group, lambda);
    for (auto step = pass.steps.rbegin(); step != pass.steps.rend(); ++step) {
      const T* c = work.coefficients + step->slot * L;
      const bool trainable = step->gradient >= 0;
      const T* before = trainable ? saved + size * --saves : nullptr;
      T* gradient = trainable ? work.gradients + step->gradient * L : nullptr;
      switch (step->kind) {
        case Step::Kind::kChain: {
          const auto run = step->unital ? (trainable ? chain_back<true, true, T> : chain_back<true, false, T>)
                                        : (trainable ? chain_back<false, true, T> : chain_back<false, false, T>);
          run(lambda, before, blocks, step->place, c, gradient);
          break;
        }
        case Step::Kind::kRotation:
          rotate<T>(lambda, *step, load(c), hn::Neg(load(c + L)));
          if (trainable) add_to<T>(rotation_gradient(lambda, before, *step), gradient);
          break;
        default:
          multiply(step->backward, blocks, lambda, spare);
          std::swap(lambda, spare);
      }
    }
    store_block<T>(pass, lambda, nullptr, group, work.out);
  }
}

template <class T>
DensityKernels<T> make() {
  return {kLanes<T>, forward<T>, backward<T>};
}

}  // namespace

DensityKernels<float> make_density_float() {
  return make<float>();
}
DensityKernels<double> make_density_double() {
  return make<double>();
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::simulate {
HWY_EXPORT(make_density_float);
HWY_EXPORT(make_density_double);

namespace pauli_basis {
template <>
const DensityKernels<float>& density_kernels() {
  static const DensityKernels<float> instance = HWY_DYNAMIC_DISPATCH(make_density_float)();
  return instance;
}
template <>
const DensityKernels<double>& density_kernels() {
  static const DensityKernels<double> instance = HWY_DYNAMIC_DISPATCH(make_density_double)();
  return instance;
}
}  // namespace pauli_basis
}  // namespace quanta::simulate
#endif
