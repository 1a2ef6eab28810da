#include "quanta/simulate/simulator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/checks.h"
#include "quanta/simulate/kernels.h"
#include "quanta/simulate/large.h"
#include "quanta/simulate/pool.h"

#include "quanta/simulate/sampling.h"

namespace quanta {

using namespace simulate;

namespace {

template <class T>
struct Workspace {
  AlignedVector<T> states, lanes;
  AlignedVector<double> sums;
};

/// A circuit lowered and with its tables.
template <class T>
struct Compiled {
  Compiled(const Circuit& circuit, const std::vector<PauliSum>& observables)
      : program(lower(circuit, observables)),
        tables(program, kernels<T>().forward_group, kernels<T>().backward_group) {}

  Program program;
  Tables tables;
  Pool<Values<T>> values;
};

}  // namespace

template <class T>
struct Simulator<T>::Impl {
  Circuit circuit;
  std::vector<PauliSum> observables;
  Storage storage;
  const Kernels<T>& kernel = kernels<T>();
  // With the observables' basis changes and without; made when first used.
  std::once_flag measured_once, plain_once;
  std::unique_ptr<Compiled<T>> measured_tiles, plain_tiles;
  Pool<Workspace<T>> workspaces;

  // States that do not fit into the cache as a tile are run one by one.
  static constexpr int kLargeWires = 14;

  Impl(const Circuit& c, const std::vector<PauliSum>& o, Storage s)
      : circuit(check(c, o, s)), observables(o), storage(s) {
    if (storage == Storage::Half && (large(false).simulator.needs_full_precision()))
      fail("16-bit storage: the circuit has dense unitaries or gates with more than two controls; transpile it first");
  }

  static const Circuit& check(const Circuit& circuit, const std::vector<PauliSum>& observables, Storage storage) {
    const bool half = storage == Storage::Half;
    require_unitary(circuit);
    require_wires(observables, circuit.wires());
    const int most = half ? 32 : 30;
    require(circuit.wires() <= most, "a state vector of {} qubits is beyond any machine: use at most {}",
            circuit.wires(), most);
    require(!half || (sizeof(T) == 4 && circuit.wires() >= kLargeWires && !circuit.has_amplitude_encoding()),
            "16-bit storage: expected single precision, {} qubits or more and no amplitude encoding", kLargeWires);
    require_memory(fmt::format("a state of {} qubits", circuit.wires()),
                   std::ldexp(half ? 4.1 : 2.0 * sizeof(T), circuit.wires()));
    return circuit;
  }

  Compiled<T>& measured() {
    std::call_once(measured_once, [&] { measured_tiles = std::make_unique<Compiled<T>>(circuit, observables); });
    return *measured_tiles;
  }
  Compiled<T>& plain() {
    if (observables.empty()) return measured();
    std::call_once(plain_once, [&] { plain_tiles = std::make_unique<Compiled<T>>(circuit, std::vector<PauliSum>{}); });
    return *plain_tiles;
  }

  bool is_large() const { return circuit.wires() >= kLargeWires; }

  // Nor are a few samples that would leave most of a tile's lanes empty, if their states fill a sweep's inner part.
  static constexpr int kAloneWires = kInner + 4;
  bool runs_alone(int64_t batch) const {
    return is_large() || (circuit.wires() >= kAloneWires && batch * 5 <= int64_t(kernel.lanes));
  }

  struct Large {
    Large(const Circuit& circuit, const std::vector<PauliSum>& observables) : simulator(circuit, observables) {}
    LargeSimulator<T> simulator;
    std::mutex mutex;
    std::vector<std::unique_ptr<LargeState<T>>> idle;
  };
  Large& large(bool with_observables) {
    with_observables = with_observables && !observables.empty();
    std::call_once(large_once[with_observables], [&] {
      large_simulators[with_observables] =
          std::make_unique<Large>(circuit, with_observables ? observables : std::vector<PauliSum>{});
    });
    return *large_simulators[with_observables];
  }
  std::once_flag large_once[2];
  std::unique_ptr<Large> large_simulators[2];

  std::unique_ptr<LargeState<T>> borrow(Large& l) {
    const std::lock_guard lock(l.mutex);
    if (l.idle.empty()) return std::make_unique<LargeState<T>>(circuit.wires(), storage == Storage::Half);
    std::unique_ptr<LargeState<T>> state = std::move(l.idle.back());
    l.idle.pop_back();
    return state;
  }
  void give_back(Large& l, std::unique_ptr<LargeState<T>> state) {
    const std::lock_guard lock(l.mutex);
    l.idle.push_back(std::move(state));
  }

  /// Runs a large circuit on samples first .. last - 1; visit(simulator, state, sample) sees each final state.
  template <class Visit>
  void run_large(bool with_observables, int64_t first, int64_t last, const T* weights, const T* inputs, Visit visit) {
    require_batch(last - first);
    Large& l = large(with_observables);
    const auto one = [&](int64_t b) {
      std::unique_ptr<LargeState<T>> state = borrow(l);
      l.simulator.run(weights, inputs + b * circuit.inputs(), *state);
      visit(l.simulator, *state, b);
      give_back(l, std::move(state));
    };
    // Samples side by side as long as their states are small; the largest share the threads among them.
    const bool together = circuit.wires() < 20 && last - first > 1;
    if (together) {
      parallel_for(last - first, 1, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) one(first + b);
      });
    } else {
      for (int64_t b = first; b < last; ++b) one(b);
    }
  }

  void large_vjp(int64_t batch, const T* weights, const T* inputs, const T* upstream, T* dweights, T* dinputs,
                 T* values) {
    require(storage == Storage::Full, "16-bit storage has no gradients: use Storage::Full");
    require_batch(batch);
    require_memory(fmt::format("a gradient of {} qubits", circuit.wires()),
                   std::ldexp(4.0 * sizeof(T), circuit.wires()));
    const size_t W = size_t(circuit.weights()), I = size_t(circuit.inputs()), outputs = observables.size();
    Large& l = large(true);
    std::vector<double> sums(W);
    // A few samples at a time, so that their derivatives take little memory; added in order.
    constexpr int64_t kTogether = 64;
    std::vector<double> of_samples;
    for (int64_t first = 0; first < batch; first += kTogether) {
      const int64_t last = std::min(batch, first + kTogether);
      of_samples.assign(size_t(last - first) * (W + I), 0.0);
      run_large(true, first, last, weights, inputs, [&](const auto& simulator, auto& psi, int64_t b) {
        if (values) simulator.expectations(psi, values + b * outputs);
        std::unique_ptr<LargeState<T>> lambda = borrow(l);
        double* dw = of_samples.data() + size_t(b - first) * (W + I);
        simulator.backward(weights, inputs + b * I, upstream + b * outputs, psi, *lambda, dw, dw + W);
        give_back(l, std::move(lambda));
      });
      for (int64_t b = first; b < last; ++b) {
        const double* dw = of_samples.data() + size_t(b - first) * (W + I);
        for (size_t i = 0; i < W; ++i) sums[i] += dw[i];
        if (dinputs) std::copy_n(dw + W, I, dinputs + b * I);
      }
    }
    if (dweights) std::copy(sums.begin(), sums.end(), dweights);
  }

  // Batches are cut into chunks of tiles, each worth waking a thread for. The cut knows the circuit and the batch
  // alone, so that sums do not depend on the number of threads.
  struct Cut {
    int64_t tiles, chunks;
    int64_t begin(int64_t chunk) const { return tiles * chunk / chunks; }
  };
  Cut cut(const Compiled<T>& compiled, int64_t batch) const {
    constexpr double kMicroseconds = 15;
    double work = 50;  // lane operations an amplitude
    for (const Layer& layer : compiled.program.layers)
      work += 20 + 10 * double(layer.rotations.size()) + 20 * double(layer.sample_gates.size());
    const double tile = std::ldexp(work, compiled.program.wires) * 5e-4;  // microseconds, about
    const int64_t lanes = int64_t(kernel.lanes), tiles = (batch + lanes - 1) / lanes;
    const auto worthwhile = int64_t(double(tiles) * tile / kMicroseconds);
    return {tiles, std::clamp<int64_t>(worthwhile, 1, std::clamp<int64_t>(tiles, 1, 32))};
  }

  struct Lanes {
    T *inputs, *upstream, *expectations, *dinputs, *dweights, *overlaps;
  };

  Tile<T> tile(Compiled<T>& compiled, const Values<T>& values, Workspace<T>& workspace, const T* weights, Lanes& lanes,
               bool backward) const {
    const Program& p = compiled.program;
    const size_t L = kernel.lanes, state = (2 * L) << p.wires;
    Tile<T> t{};
    t.program = &p;
    t.tables = &compiled.tables;
    t.values = &values;
    t.weights = weights;
    // scratch holds a whole state, or the two halves' products (more than a state on very few wires)
    const size_t scratch = std::max(state, 16 * L);
    t.psi = reserve(workspace.states, state + scratch + (backward ? state : 0));
    t.scratch = t.psi + state;
    t.lambda = t.scratch + scratch;
    const size_t inputs = size_t(p.inputs) * L, outputs = size_t(p.outputs) * L, weight_lanes = size_t(p.weights) * L;
    const size_t overlaps = size_t(compiled.tables.overlap_slots) * 3 * L;
    T* at = reserve(workspace.lanes, size_t(p.wires) * 4 * L + 2 * inputs + 2 * outputs + weight_lanes + overlaps);
    t.product = std::exchange(at, at + size_t(p.wires) * 4 * L);
    t.inputs = lanes.inputs = std::exchange(at, at + inputs);
    t.dinputs = lanes.dinputs = std::exchange(at, at + inputs);
    t.upstream = lanes.upstream = std::exchange(at, at + outputs);
    t.expectations = lanes.expectations = std::exchange(at, at + outputs);
    t.dweights = lanes.dweights = std::exchange(at, at + weight_lanes);
    t.overlaps = lanes.overlaps = at;
    return t;
  }

  void to_lanes(const T* rows, int64_t columns, int64_t first, int64_t count, T* lanes) const {
    const int64_t L = int64_t(kernel.lanes);
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t i = 0; i < L; ++i) lanes[j * L + i] = i < count ? rows[(first + i) * columns + j] : T(0);
  }
  void from_lanes(const T* lanes, int64_t columns, int64_t first, int64_t count, T* rows) const {
    const int64_t L = int64_t(kernel.lanes);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < columns; ++j) rows[(first + i) * columns + j] = lanes[j * L + i];
  }

  /// Runs the circuit on every tile; visit(tile, lanes, first sample, samples) sees each final state.
  template <class Visit, class Finish>
  void run(Compiled<T>& compiled, Values<T>& values, int64_t batch, const T* weights, const T* inputs, bool backward,
           Visit visit, Finish finish) {
    require_batch(batch);
    values.update(compiled.program, compiled.tables, weights, nullptr, kernel.math);
    if (batch == 0) return;
    const Cut parts = cut(compiled, batch);
    parallel_for(parts.chunks, 1, [&](int64_t begin, int64_t end) {
      Borrowed<Workspace<T>> workspace(workspaces);
      Lanes lanes{};
      const Tile<T> t = tile(compiled, values, *workspace, weights, lanes, backward);
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        std::fill(lanes.dweights, lanes.overlaps + compiled.tables.overlap_slots * 3 * kernel.lanes, T(0));
        for (int64_t i = parts.begin(chunk); i < parts.begin(chunk + 1); ++i) {
          const int64_t first = i * int64_t(kernel.lanes), count = std::min(batch - first, int64_t(kernel.lanes));
          to_lanes(inputs, compiled.program.inputs, first, count, lanes.inputs);
          kernel.forward(t);
          visit(t, lanes, first, count);
        }
        finish(lanes, chunk);
      }
    });
  }
};

template <class T>
Simulator<T>::Simulator(const Circuit& circuit, const std::vector<PauliSum>& observables, Storage storage)
    : impl_(std::make_unique<Impl>(circuit, observables, storage)) {}
template <class T>
Simulator<T>::~Simulator() = default;
template <class T>
Simulator<T>::Simulator(Simulator&&) noexcept = default;
template <class T>
Simulator<T>& Simulator<T>::operator=(Simulator&&) noexcept = default;

template <class T>
int Simulator<T>::wires() const {
  return impl_->circuit.wires();
}
template <class T>
int Simulator<T>::weights() const {
  return impl_->circuit.weights();
}
template <class T>
int Simulator<T>::inputs() const {
  return impl_->circuit.inputs();
}
template <class T>
int Simulator<T>::outputs() const {
  return int(impl_->observables.size());
}

template <class T>
void Simulator<T>::expectations(int64_t batch, const T* weights, const T* inputs, T* values) const {
  if (impl_->runs_alone(batch))
    return impl_->run_large(true, 0, batch, weights, inputs, [&](const auto& simulator, const auto& state, int64_t b) {
      simulator.expectations(state, values + b * outputs());
    });
  Borrowed<Values<T>> coefficients(impl_->measured().values);
  impl_->run(
      impl_->measured(), *coefficients, batch, weights, inputs, false,
      [&](const Tile<T>& tile, auto& lanes, int64_t first, int64_t count) {
        impl_->kernel.measure(tile);
        impl_->from_lanes(lanes.expectations, outputs(), first, count, values);
      },
      [](auto&&...) {});
}

template <class T>
void Simulator<T>::vjp(int64_t batch, const T* weights, const T* inputs, const T* upstream, T* dweights, T* dinputs,
                       T* values) const {
  Impl& impl = *impl_;
  if (impl.runs_alone(batch)) return impl.large_vjp(batch, weights, inputs, upstream, dweights, dinputs, values);
  Compiled<T>& compiled = impl.measured();
  const size_t W = size_t(this->weights()), slots = 3 * size_t(compiled.tables.overlap_slots), L = impl.kernel.lanes;
  const int64_t chunks = impl.cut(compiled, batch).chunks;
  Borrowed<Values<T>> coefficients(compiled.values);
  Borrowed<Workspace<T>> memory(impl.workspaces);
  double* sums = reserve(memory->sums, size_t(chunks + 1) * (W + slots));  // of each chunk; in front, of all
  impl.run(
      compiled, *coefficients, batch, weights, inputs, true,
      [&](const Tile<T>& forward, auto& lanes, int64_t first, int64_t count) {
        Tile<T> tile = forward;
        if (!dweights) tile.dweights = nullptr;
        if (!dinputs) tile.dinputs = nullptr;
        if (values) {
          impl.kernel.measure(tile);
          impl.from_lanes(lanes.expectations, outputs(), first, count, values);
        }
        impl.to_lanes(upstream, outputs(), first, count, lanes.upstream);
        std::fill_n(lanes.dinputs, size_t(this->inputs()) * L, T(0));
        impl.kernel.backward(tile);
        if (dinputs) impl.from_lanes(lanes.dinputs, this->inputs(), first, count, dinputs);
      },
      [&](auto& lanes, int64_t chunk) {
        // dweights and overlaps lie one behind the other
        impl.kernel.sum_lanes(W + slots, lanes.dweights, sums + size_t(chunk + 1) * (W + slots));
      });
  if (!dweights) return;
  std::fill_n(sums, W + slots, 0.0);
  for (int64_t chunk = 1; chunk <= chunks; ++chunk)
    for (size_t i = 0; i < W + slots; ++i) sums[i] += sums[size_t(chunk) * (W + slots) + i];
  coefficients->add_gradients(compiled.program, compiled.tables, sums + W,
                              AngleGradient<T>{weights, nullptr, sums, nullptr}, impl.kernel.math);
  std::copy_n(sums, W, dweights);
}

template <class T>
void Simulator<T>::states(int64_t batch, const T* weights, const T* inputs, std::complex<T>* states) const {
  if (impl_->is_large())
    return impl_->run_large(false, 0, batch, weights, inputs, [&](const auto& simulator, const auto& state, int64_t b) {
      simulator.amplitudes(weights, inputs + b * this->inputs(), state, states + (size_t(b) << wires()));
    });
  Compiled<T>& compiled = impl_->plain();
  const Program& program = compiled.program;
  const size_t size = size_t{1} << program.wires, L = impl_->kernel.lanes;
  const std::vector<double> wide(weights, weights + program.weights);
  Borrowed<Values<T>> coefficients(compiled.values);
  impl_->run(
      compiled, *coefficients, batch, weights, inputs, false,
      [&](const Tile<T>& tile, auto&, int64_t first, int64_t count) {
        std::vector<std::complex<T>> phases;
        for (int64_t i = 0; i < count; ++i) {
          const std::vector<double> sample(inputs + (first + i) * program.inputs,
                                           inputs + (first + i + 1) * program.inputs);
          double phase = tile.values->global_phase;
          for (const auto& [angle, factor] : program.global_phase)
            phase += factor * angle.value(wide.data(), sample.data());
          phases.push_back(std::complex<T>(std::polar(1.0, phase)));
        }
        uint64_t p = program.origin ^ tile.values->flipped, b = 0;
        for (size_t i = 0; i < size; ++i) {  // b runs through a Gray code
          const T* amplitude = tile.psi + p * 2 * L;
          for (int64_t s = 0; s < count; ++s)
            states[size_t(first + s) * size + b] = phases[s] * std::complex<T>(amplitude[s], amplitude[L + s]);
          const int q = std::min(std::countr_zero(i + 1), program.wires - 1);
          b ^= uint64_t{1} << q;
          p ^= program.flip[q];
        }
      },
      [](auto&&...) {});
}

template <class T>
int64_t Simulator<T>::state_traffic() const {
  if (!impl_->is_large()) return 0;
  // Filling writes it, each sweep reads and writes it, and bringing it into order reads and writes it once more.
  const int64_t passes = 1 + 2 * impl_->large(false).simulator.sweeps() + 2;
  return passes * int64_t((2 * sizeof(T)) << wires());
}

template <class T>
void Simulator<T>::probabilities(int64_t batch, const T* weights, const T* inputs, T* probabilities) const {
  if (impl_->is_large())
    return impl_->run_large(false, 0, batch, weights, inputs, [&](const auto& simulator, const auto& state, int64_t b) {
      simulator.probabilities(state, probabilities + (size_t(b) << wires()));
    });
  require_batch(batch);
  std::vector<std::complex<T>> amplitudes(size_t(batch) << wires());
  states(batch, weights, inputs, amplitudes.data());
  std::transform(amplitudes.begin(), amplitudes.end(), probabilities, [](const auto& a) { return std::norm(a); });
}

template <class T>
void Simulator<T>::samples(int64_t batch, const T* weights, const T* inputs, int64_t shots, const Random& random,
                           uint64_t* samples) const {
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  if (impl_->is_large())
    return impl_->run_large(false, 0, batch, weights, inputs, [&](const auto& simulator, const auto& state, int64_t b) {
      simulator.samples(state, shots, random.split(uint64_t(b)), samples + b * shots);
    });
  require_batch(batch);
  const size_t size = size_t{1} << wires();
  std::vector<T> probability(size_t(batch) * size);
  probabilities(batch, weights, inputs, probability.data());
  for (int64_t b = 0; b < batch; ++b)
    draw_cells(
        size,
        [&](uint64_t first, uint64_t count, double* weights) {
          std::copy_n(probability.begin() + int64_t(size_t(b) * size + first), count, weights);
        },
        shots, random.split(uint64_t(b)), [&](int64_t s, uint64_t i) { samples[b * shots + s] = i; });
}

template class Simulator<float>;
template class Simulator<double>;

}  // namespace quanta
