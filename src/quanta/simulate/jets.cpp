#include "quanta/simulate/jets.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>

#include "quanta/core/aligned.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/checks.h"
#include "quanta/simulate/jet_kernels.h"

namespace quanta {

using namespace simulate;

namespace {

/// exp(-i factor * angle * P), or a fixed matrix.
template <class T>
struct Step {
  ControlledPauli pauli;
  double factor = 0;
  Angle angle;
  std::vector<uint64_t> offsets;  // of the matrix; empty for a rotation
  std::vector<std::complex<T>> matrix, inverse;
};

uint64_t mask(auto begin, auto end) {
  uint64_t bits = 0;
  for (; begin != end; ++begin) bits |= uint64_t{1} << *begin;
  return bits;
}

ControlledPauli lowered(const PauliString& pauli, uint64_t controls = 0) {
  ControlledPauli result{controls, 0, 0, 0};
  for (const auto& [wire, letter] : pauli.factors) {
    if (letter != 'Z') result.flip |= uint64_t{1} << wire;
    if (letter != 'X') result.z |= uint64_t{1} << wire;
    result.ys += letter == 'Y';
  }
  return result;
}

template <class T>
class Lowering {
 public:
  std::vector<Step<T>> steps;

  void add(const Operation& operation) {
    const GateInfo& info = gate_info(operation.kind);
    if (operation.kind == GateKind::Barrier || operation.kind == GateKind::AmplitudeEncoding) return;
    const auto& w = operation.wires;
    const auto& a = operation.angles;
    const uint64_t controls =
        mask(operation.controls.begin(), operation.controls.end()) | mask(w.begin(), w.begin() + info.controls);
    const auto two = [&](char letter) { return PauliString({{w[0], letter}, {w[1], letter}}); };
    switch (info.base) {
      case GateKind::PauliRotation:
        return rotate(operation.pauli, a[0], controls);
      case GateKind::RXX:
        return rotate(two('X'), a[0], controls);
      case GateKind::RYY:
        return rotate(two('Y'), a[0], controls);
      case GateKind::RZZ:
        return rotate(two('Z'), a[0], controls);
      case GateKind::RX:
        return rotate(PauliString({{w.back(), 'X'}}), a[0], controls);
      case GateKind::RY:
        return rotate(PauliString({{w.back(), 'Y'}}), a[0], controls);
      case GateKind::RZ:
        return rotate(PauliString({{w.back(), 'Z'}}), a[0], controls);
      case GateKind::P:
        return phase(a[0], controls | uint64_t{1} << w.back());
      case GateKind::U:  // P(phi) RY(theta) P(lambda)
        phase(a[2], controls | uint64_t{1} << w.back());
        rotate(PauliString({{w.back(), 'Y'}}), a[0], controls);
        phase(a[1], controls | uint64_t{1} << w.back());
        if (a.size() > 3) phase(a[3], controls);
        return;
      default:
        return dense({w.begin() + info.controls, w.end()}, controls,
                     operation.matrix ? *operation.matrix : gate_matrix(info.base, {}));
    }
  }

 private:
  void rotate(const PauliString& pauli, const Angle& angle, uint64_t controls) {
    steps.push_back({lowered(pauli, controls), 0.5, angle, {}, {}, {}});
  }
  void phase(const Angle& angle, uint64_t ones) { steps.push_back({{ones, 0, 0, 0}, -1, angle, {}, {}, {}}); }
  void dense(const std::vector<int>& wires, uint64_t controls, const Matrix& matrix) {
    Step<T> step;
    step.pauli.controls = controls;
    for (int i = 0; i < matrix.dim; ++i) {
      step.offsets.push_back(0);
      for (size_t k = 0; k < wires.size(); ++k)
        if (i >> k & 1) step.offsets.back() |= uint64_t{1} << wires[k];
    }
    const Matrix inverse = matrix.adjoint();
    step.matrix.assign(matrix.data.begin(), matrix.data.end());
    step.inverse.assign(inverse.data.begin(), inverse.data.end());
    steps.push_back(std::move(step));
  }
};

/// A jet of one number.
template <int kOrder>
struct Number {
  static constexpr int kSize = 1 << kOrder;
  std::array<double, kSize> c{};

  Number() = default;
  Number(double value) { c[0] = value; }  // NOLINT: a number is a jet

  Number& operator+=(const Number& other) {
    for (int s = 0; s < kSize; ++s) c[s] += other.c[s];
    return *this;
  }
  friend Number operator*(const Number& a, const Number& b) {
    Number result;
    for (int s = 0; s < kSize; ++s)
      for (int t = s;; t = (t - 1) & s) {
        result.c[s] += a.c[t] * b.c[s ^ t];
        if (t == 0) break;
      }
    return result;
  }
};

/// {cos, sin}. Of e^{ia} the component of s is the sum of i a_t e^{ia}_{s - t} over the t that hold the top bit of s.
template <int kOrder>
std::pair<Number<kOrder>, Number<kOrder>> cosine_sine(const Number<kOrder>& a) {
  std::array<std::complex<double>, 1 << kOrder> e{};
  e[0] = std::polar(1.0, a.c[0]);
  for (int s = 1; s < 1 << kOrder; ++s)
    for (int t = s; t > (s ^ t); t = (t - 1) & s) e[s] += std::complex(0.0, a.c[t]) * e[s ^ t];
  std::pair<Number<kOrder>, Number<kOrder>> result;
  for (int s = 0; s < 1 << kOrder; ++s) {
    result.first.c[s] = e[s].real();
    result.second.c[s] = e[s].imag();
  }
  return result;
}

/// By the binomial series of c_0 (1 + nilpotent).
template <int kOrder>
Number<kOrder> inverse_square_root(const Number<kOrder>& a) {
  Number<kOrder> nilpotent = a * (1 / a.c[0]), power = 1, sum = 1;
  nilpotent.c[0] = 0;
  double binomial = 1;
  for (int k = 1; k <= kOrder; ++k) {
    binomial *= (0.5 - k) / k;
    power = power * nilpotent;
    sum += power * binomial;
  }
  return sum * (1 / std::sqrt(a.c[0]));
}

}  // namespace

template <class T>
struct JetSimulator<T>::Impl {
  struct Term {
    int output;
    double coefficient;
    ControlledPauli pauli;
  };
  int wires, W, I, K;
  bool amplitudes;
  std::vector<Step<T>> steps;
  std::vector<Term> terms;
  size_t largest = 2;  // matrix dimension

  Impl(const Circuit& circuit, const std::vector<PauliSum>& observables)
      : wires(circuit.wires()),
        W(circuit.weights()),
        I(circuit.inputs()),
        K(int(observables.size())),
        amplitudes(circuit.has_amplitude_encoding()) {
    require(wires <= 30, "a state vector of {} qubits is beyond any machine: use at most 30", wires);
    require_unitary(circuit);
    require_wires(observables, wires);
    Lowering<T> lowering;
    for (const Operation& operation : circuit.operations()) lowering.add(operation);
    steps = std::move(lowering.steps);
    for (const Step<T>& step : steps) largest = std::max(largest, step.offsets.size());
    for (int k = 0; k < K; ++k) {
      for (const PauliSum::Term& term : observables[k].simplified().terms)
        terms.push_back({k, term.coefficient, lowered(term.pauli)});
    }
  }

  template <int kOrder>
  using Numbers = std::vector<Number<kOrder>>;

  template <int kOrder>
  static Numbers<kOrder> gather(const T* const* jets, int64_t first, int64_t count) {
    Numbers<kOrder> result(static_cast<size_t>(count));
    for (int s = 0; jets && s < 1 << kOrder; ++s)
      for (int64_t i = 0; jets[s] && i < count; ++i) result[i].c[s] = jets[s][first + i];
    return result;
  }

  /// One tile of samples, from the start state to the gradients.
  template <int kOrder>
  struct Tile {
    using Num = Number<kOrder>;
    static constexpr int J = Num::kSize;
    const Impl& impl;
    const JetKernels<T>& kernel = jet_kernels<T>(kOrder);
    const size_t L = kernel.lanes;
    const int64_t lanes = int64_t(L);
    const size_t state = (J * 2 * L) << impl.wires;
    AlignedVector<T> psi{}, lambda{}, angles{}, scratch{}, row{};
    Numbers<kOrder> inputs{}, dinputs{};  // [lanes][I]
    Numbers<kOrder> norms{};              // of the amplitudes: 1 / |x|

    const Num* weights;
    bool want_weights, want_inputs;

    Num product(const Angle& angle, const Num* x, int without) const {
      Num result = angle.scale;
      if (angle.weight != Angle::kNone && without != 0) result = result * weights[angle.weight];
      if (angle.input != Angle::kNone && without != 1) result = result * x[angle.input];
      if (angle.input2 != Angle::kNone && without != 2) result = result * x[angle.input2];
      return result;
    }
    Num value(const Angle& angle, const Num* x) const {
      Num result = angle.constant;
      if (angle.scale != 0) result += product(angle, x, -1);
      if (angle.offset != Angle::kNone) result += weights[angle.offset];
      return result;
    }

    const T* cosine(size_t step) const { return angles.data() + step * 2 * J * L; }
    const T* sine(size_t step) const { return cosine(step) + J * L; }

    void start() {
      psi.assign(state, T(0));
      if (!impl.amplitudes) {
        std::fill_n(psi.begin(), L, T(1));
        return;
      }
      norms.assign(L, 0);
      for (size_t l = 0; l < L; ++l) {
        const Num* x = &inputs[l * impl.I];
        Num norm2;
        for (size_t b = 0; b < size_t{1} << impl.wires; ++b) norm2 += x[b] * x[b];
        norms[l] = inverse_square_root(norm2);
        for (size_t b = 0; b < size_t{1} << impl.wires; ++b) {
          const Num amplitude = x[b] * norms[l];
          for (int s = 0; s < J; ++s) psi[(b * J + s) * 2 * L + l] = T(amplitude.c[s]);
        }
      }
    }

    void forward() {
      start();
      angles.resize(impl.steps.size() * 2 * J * L);
      scratch.resize(impl.largest * 2 * L);
      for (size_t i = 0; i < impl.steps.size(); ++i) {
        const Step<T>& step = impl.steps[i];
        if (!step.offsets.empty()) {
          dense(step, step.matrix, psi);
          continue;
        }
        std::pair<Num, Num> both;
        T* const at = angles.data() + i * 2 * J * L;
        for (size_t l = 0; l < L; ++l) {
          if (l == 0 || step.angle.has_input())
            both = cosine_sine(value(step.angle, inputs.data() + l * impl.I) * step.factor);
          for (int s = 0; s < J; ++s) {
            at[s * L + l] = T(both.first.c[s]);
            at[(J + s) * L + l] = T(both.second.c[s]);
          }
        }
        kernel.rotate(impl.wires, step.pauli, cosine(i), sine(i), psi.data());
      }
    }

    void dense(const Step<T>& step, const std::vector<std::complex<T>>& matrix, AlignedVector<T>& to) {
      kernel.dense(impl.wires, step.pauli.controls, step.offsets.size(), step.offsets.data(), matrix.data(), to.data(),
                   scratch.data());
    }

    void measure(int64_t first, int64_t count, T* const* values) {
      std::vector<double> sums(size_t(impl.K) * J * L);
      for (const auto& term : impl.terms) {
        row.assign(J * L, T(0));
        kernel.measure(impl.wires, term.pauli, psi.data(), row.data());
        for (size_t i = 0; i < J * L; ++i) sums[term.output * J * L + i] += term.coefficient * double(row[i]);
      }
      for (int s = 0; s < J; ++s)
        for (int64_t l = 0; values[s] && l < count; ++l)
          for (int k = 0; k < impl.K; ++k)
            values[s][(first + l) * impl.K + k] = T(sums[(size_t(k) * J + s) * L + size_t(l)]);
    }

    void observe(const Numbers<kOrder>& upstream, int64_t count) {
      lambda.assign(state, T(0));
      for (const auto& term : impl.terms) {
        row.assign(J * L, T(0));
        for (int s = 0; s < J; ++s)
          for (int64_t l = 0; l < count; ++l)
            row[s * L + l] = T(term.coefficient * upstream[l * impl.K + term.output].c[s]);
        kernel.observe(impl.wires, term.pauli, row.data(), psi.data(), lambda.data());
      }
    }

    void chain(const Step<T>& step, const Num* x, const Num& slope, Num* dweights, Num* dx) const {
      const Angle& angle = step.angle;
      if (want_weights && angle.offset != Angle::kNone) dweights[angle.offset] += slope;
      if (angle.scale == 0) return;
      if (want_weights && angle.weight != Angle::kNone) dweights[angle.weight] += slope * product(angle, x, 0);
      if (!want_inputs) return;
      if (angle.input != Angle::kNone) dx[angle.input] += slope * product(angle, x, 1);
      if (angle.input2 != Angle::kNone) dx[angle.input2] += slope * product(angle, x, 2);
    }

    void backward(int64_t count, Num* dweights) {
      dinputs.assign(L * impl.I, 0);
      for (size_t i = impl.steps.size(); i-- > 0;) {
        const Step<T>& step = impl.steps[i];
        if (!step.offsets.empty()) {
          dense(step, step.inverse, psi);
          dense(step, step.inverse, lambda);
          continue;
        }
        row.assign(J * L, T(0));
        kernel.unrotate(impl.wires, step.pauli, cosine(i), sine(i), psi.data(), lambda.data(), row.data());
        if (step.angle.is_constant()) continue;
        Num total;
        for (int64_t l = 0; l < count; ++l) {
          Num slope;
          for (int s = 0; s < J; ++s) slope.c[s] = 2 * step.factor * double(row[s * L + l]);
          if (step.angle.has_input())
            chain(step, &inputs[l * impl.I], slope, dweights, &dinputs[l * impl.I]);
          else
            total += slope;
        }
        if (!step.angle.has_input()) chain(step, nullptr, total, dweights, nullptr);
      }
      if (impl.amplitudes && want_inputs) amplitude_gradients(count);
    }

    /// psi = x / |x|.
    void amplitude_gradients(int64_t count) {
      const size_t size = size_t{1} << impl.wires;
      const auto amplitude = [&](const AlignedVector<T>& from, size_t b, int64_t l) {
        Num result;
        for (int s = 0; s < J; ++s) result.c[s] = double(from[(b * J + s) * 2 * L + l]);
        return result;
      };
      for (int64_t l = 0; l < count; ++l) {
        Num along;
        for (size_t b = 0; b < size; ++b) along += amplitude(psi, b, l) * amplitude(lambda, b, l);
        for (size_t b = 0; b < size; ++b) {
          Num change = amplitude(lambda, b, l);
          change += along * amplitude(psi, b, l) * -1.0;
          dinputs[l * impl.I + b] += change * norms[l] * 2.0;
        }
      }
    }
  };

  template <int kOrder>
  void vjp(int64_t batch, const T* const* weights, const T* const* inputs, const T* const* upstream, T* const* dweights,
           T* const* dinputs, T* const* values) const {
    constexpr int J = 1 << kOrder;
    const int64_t L = int64_t(jet_kernels<T>(kOrder).lanes), tiles = (batch + L - 1) / L;
    const bool backward = upstream && (dweights || dinputs);
    const double bytes = std::ldexp((backward ? 2.0 : 1.0) * J * 2 * double(L) * sizeof(T), wires);
    require_memory(fmt::format("a derivative of order {} of {} qubits", kOrder + 1, wires), bytes);
    const Numbers<kOrder> w = gather<kOrder>(weights, 0, W);
    // The cut knows the batch alone, so that sums do not depend on the number of threads.
    const int64_t chunks = std::min<int64_t>(tiles, 32);
    std::vector<Numbers<kOrder>> sums(static_cast<size_t>(chunks));
    parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
      Tile<kOrder> tile{
          .impl = *this, .weights = w.data(), .want_weights = dweights != nullptr, .want_inputs = dinputs != nullptr};
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        sums[chunk].assign(size_t(W), 0);
        for (int64_t t = tiles * chunk / chunks; t < tiles * (chunk + 1) / chunks; ++t) {
          const int64_t first = t * L, count = std::min(batch - first, L);
          tile.inputs = gather<kOrder>(inputs, first * I, count * I);
          for (int64_t l = count; l < L; ++l)  // lanes beyond the batch repeat its first sample
            for (int i = 0; i < I; ++i) tile.inputs.push_back(tile.inputs[i]);
          tile.forward();
          if (values) tile.measure(first, count, values);
          if (!backward) continue;
          tile.observe(gather<kOrder>(upstream, first * K, count * K), count);
          tile.backward(count, sums[chunk].data());
          for (int s = 0; dinputs && s < J; ++s)
            for (int64_t i = 0; dinputs[s] && i < count * I; ++i) dinputs[s][first * I + i] = T(tile.dinputs[i].c[s]);
        }
      }
    });
    for (int s = 0; dweights && s < J; ++s)
      for (int i = 0; dweights[s] && i < W; ++i) {
        double sum = 0;
        for (const auto& part : sums) sum += part[i].c[s];
        dweights[s][i] = T(sum);
      }
    if (backward || !dinputs) return;
    for (int s = 0; s < J; ++s)
      if (dinputs[s]) std::fill_n(dinputs[s], batch * I, T(0));
  }
};

template <class T>
JetSimulator<T>::JetSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables)
    : impl_(std::make_unique<Impl>(circuit, observables)) {}
template <class T>
JetSimulator<T>::~JetSimulator() = default;
template <class T>
JetSimulator<T>::JetSimulator(JetSimulator&&) noexcept = default;
template <class T>
JetSimulator<T>& JetSimulator<T>::operator=(JetSimulator&&) noexcept = default;

template <class T>
int JetSimulator<T>::weights() const {
  return impl_->W;
}
template <class T>
int JetSimulator<T>::inputs() const {
  return impl_->I;
}
template <class T>
int JetSimulator<T>::outputs() const {
  return impl_->K;
}

template <class T>
void JetSimulator<T>::vjp(int order, int64_t batch, const T* const* weights, const T* const* inputs,
                          const T* const* upstream, T* const* dweights, T* const* dinputs, T* const* values) const {
  require_batch(batch);
  const auto wanted = [&](T* const* jet) {
    const bool any = jet && order <= kMaxOrder && std::any_of(jet, jet + (1 << order), [](const T* p) { return p; });
    return any ? jet : nullptr;
  };
  const auto run = [&]<int kOrder>() {
    impl_->template vjp<kOrder>(batch, weights, inputs, upstream, wanted(dweights), wanted(dinputs), wanted(values));
  };
  switch (order) {
    case 0:
      return run.template operator()<0>();
    case 1:
      return run.template operator()<1>();
    case 2:
      return run.template operator()<2>();
    case 3:
      return run.template operator()<3>();
    case 4:
      return run.template operator()<4>();
    default:
      fail("derivatives of a circuit are available up to order {}, got {}", kMaxOrder + 1, order + 1);
  }
}

template <class T>
void JetSimulator<T>::hvp(int64_t batch, const T* weights, const T* inputs, const T* upstream, const T* vweights,
                          const T* vinputs, T* dweights, T* dinputs, T* dvalues) const {
  const T *w[] = {weights, vweights}, *x[] = {inputs, vinputs}, *g[] = {upstream, nullptr};
  T *dw[] = {nullptr, dweights}, *dx[] = {nullptr, dinputs}, *values[] = {nullptr, dvalues};
  vjp(1, batch, w, x, g, dweights ? dw : nullptr, dinputs ? dx : nullptr, dvalues ? values : nullptr);
}

template class JetSimulator<float>;
template class JetSimulator<double>;

}  // namespace quanta
