#include "quanta/simulate/large.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <optional>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/sampling.h"

namespace quanta::simulate {
namespace {

constexpr int kSpan = 11;
constexpr int kBlock = 11;  // 2^11 chunks of 16 floats are 256 KiB
constexpr int kDensitySpan = 8;

/// Linear independence over bits.
class Basis {
 public:
  bool add(uint64_t x) {
    x = reduce(x);
    if (x == 0) return false;
    rows_.push_back(x);
    return true;
  }
  uint64_t reduce(uint64_t x) const {
    for (const uint64_t row : rows_)
      if (x & std::bit_floor(row)) x ^= row;
    return x;
  }
  int dimension() const { return int(rows_.size()); }
  /// The highest bits of the rows: every coset has one element in which they are all 0.
  uint64_t pivots() const {
    uint64_t bits = 0;
    for (const uint64_t row : rows_) bits |= std::bit_floor(row);
    return bits;
  }

 private:
  std::vector<uint64_t> rows_;  // each reduced by those before it
};

// --- plans

/// A sweep that is being filled.
class SweepPlan {
 public:
  SweepPlan(int wires, int lane_bits) : wires_(wires), lane_bits_(lane_bits) {}

  /// Whether this rotation can join: it flips a bit that is there, or is independent of all others.
  bool takes(const Rotation& r) const {
    bool independent = true;
    for (const Rotation& other : rotations_) {
      if (other.flip == r.flip && other.parity == r.parity) return true;
      independent = independent && !odd(other.parity & r.flip) && !odd(r.parity & other.flip);
    }
    if (!independent) return false;
    const uint64_t above = r.flip >> lane_bits_;
    return above == 0 || (basis_.dimension() < kSpan && basis_.reduce(above) != 0);
  }

  /// The block's bit that it flips, -1 if it flips lanes only.
  int add(const Rotation& r) {
    const auto known = std::ranges::find(sweep_.span, r.flip);
    if (known != sweep_.span.end()) return int(known - sweep_.span.begin());
    if (std::ranges::none_of(rotations_, [&](const Rotation& other) { return other.flip == r.flip; }))
      rotations_.push_back(r);
    if (r.flip >> lane_bits_ == 0) return -1;
    basis_.add(r.flip >> lane_bits_);
    sweep_.span.push_back(r.flip);
    return int(sweep_.span.size()) - 1;
  }

  Sweep finish() {
    // Neighbouring chunks fill the block up, moved so that no rotation of the sweep tells them apart.
    const int chunk_bits = wires_ - lane_bits_;
    for (int bit = 0; bit < chunk_bits && int(sweep_.span.size()) < std::min(chunk_bits, kBlock); ++bit) {
      if (!basis_.add(uint64_t{1} << bit)) continue;
      uint64_t flip = uint64_t{1} << (bit + lane_bits_);
      for (const Rotation& r : rotations_)
        if (odd(flip & r.parity)) flip ^= r.flip;
      sweep_.span.push_back(flip);
    }
    sweep_.offsets = {0};
    sweep_.lanes = {0};
    for (const uint64_t flip : sweep_.span)
      for (size_t j = 0, size = sweep_.offsets.size(); j < size; ++j) {
        sweep_.offsets.push_back(sweep_.offsets[j] ^ uint32_t(flip >> lane_bits_));
        sweep_.lanes.push_back(sweep_.lanes[j] ^ uint32_t(flip & lane_mask()));
      }
    sweep_.free = ((uint64_t{1} << chunk_bits) - 1) & ~basis_.pivots();
    for (Stage& stage : sweep_.stages) {
      stage.first_sum = sweep_.sums;
      sweep_.sums += 3 * int(stage.rotations.size() + stage.lane_rotations.size()) + int(stage.before.terms.size());
      for (Diagonal* diagonal : {&stage.before, &stage.after}) find_slots(*diagonal);
    }
    return std::move(sweep_);
  }

  std::vector<Stage>& stages() { return sweep_.stages; }

 private:
  uint64_t lane_mask() const { return (uint64_t{1} << lane_bits_) - 1; }

  void find_slots(Diagonal& diagonal) const {
    const auto slot_of = [&](uint64_t mask) {
      Diagonal::Slot slot{0, uint32_t(mask & lane_mask())};
      for (int bit = 0; bit < kInner; ++bit) slot.inner |= uint32_t(odd(mask & sweep_.span[bit])) << bit;
      return slot;
    };
    for (const Diagonal::Term& term : diagonal.terms) diagonal.slots.push_back(slot_of(term.mask));
    std::ranges::sort(diagonal.slots);
    diagonal.slots.erase(std::unique(diagonal.slots.begin(), diagonal.slots.end()), diagonal.slots.end());
    for (Diagonal::Term& term : diagonal.terms)
      term.slot = int(std::ranges::lower_bound(diagonal.slots, slot_of(term.mask)) - diagonal.slots.begin());
    // Chunks that are multiplied, against what sines and cosines of all would cost.
    size_t products = 0;
    for (const Diagonal::Slot& slot : diagonal.slots) products += std::bit_ceil(slot.inner + 1);
    diagonal.transform = products > (size_t{12} << kInner);
  }

  int wires_, lane_bits_;
  Basis basis_;
  std::vector<Rotation> rotations_;  // with different flips
  Sweep sweep_;
};

/// The factors of a layer's diagonal, in the order of LayerValues::phases, are moved to where they are cheapest: a
/// chain's Z parts next to its rotation, where they depend on one bit of the block's coordinates.
struct LayerTerms {
  std::vector<std::vector<Diagonal::Term>> before, after;  // of each rotation
  std::vector<Diagonal::Term> rest;
  bool trainable = false;  // some of the rest
};

std::vector<LayerTerms> share_out_terms(const Program& program) {
  std::vector<std::pair<int, int>> place(program.chains.size(), {-1, -1});  // layer and rotation
  std::vector<LayerTerms> result(program.layers.size());
  for (int l = 0; l < int(program.layers.size()); ++l) {
    const Layer& layer = program.layers[l];
    LayerTerms& terms = result[l];
    terms.before.resize(layer.rotations.size());
    terms.after.resize(layer.rotations.size());
    for (int i = 0; i < int(layer.rotations.size()); ++i) place[layer.rotations[i].chain] = {l, i};
    int index = int(layer.chain_phases.size());
    for (const PhaseGate& gate : layer.shared_phases) {
      terms.trainable = terms.trainable || !gate.angle.is_constant();
      for (const auto& [mask, coefficient] : gate.spectrum) terms.rest.push_back({mask, l, index++, 0});
    }
    for (int i = 0; i < int(layer.chain_phases.size()); ++i) {
      const ChainPhase& phase = layer.chain_phases[i];
      const auto [at, rotation] = place[phase.chain];
      const Diagonal::Term term{phase.mask, l, i, 0};
      const auto same = [&](const auto& other) { return other.mask == phase.mask; };
      const bool shares = std::ranges::count_if(layer.chain_phases, same) > 1 || std::ranges::any_of(terms.rest, same);
      if (!phase.after && at == l)
        terms.before[rotation].push_back(term);
      else if (phase.after && at == l - 1 && program.layers[at].dense.empty() && !shares)
        result[at].after[rotation].push_back(term);
      else
        terms.rest.push_back(term);
    }
  }
  return result;
}

}  // namespace

template <class T>
void LargeSimulator<T>::plan() {
  const int lane_bits = large_kernels<T>().lane_bits;
  const std::vector<LayerTerms> terms = share_out_terms(program_);
  std::optional<SweepPlan> open;
  const auto close = [&] {
    if (!open) return;
    steps_.push_back({int(sweeps_.size()), -1, -1});
    sweeps_.push_back(open->finish());
    open.reset();
  };
  for (int l = 0; l < int(program_.layers.size()); ++l) {
    const Layer& layer = program_.layers[l];
    std::vector<int> remaining(layer.rotations.size());
    std::iota(remaining.begin(), remaining.end(), 0);
    // All or nothing joins the sweep before: a layer that is cut takes sweeps of equal size.
    const auto joins = [&] {
      SweepPlan trial = *open;
      return std::ranges::all_of(layer.rotations, [&](const Rotation& r) {
        const bool fits = trial.takes(r);
        if (fits) trial.add(r);
        return fits;
      });
    };
    if (open && !joins()) close();
    const auto above = std::ranges::count_if(layer.rotations, [&](const auto& r) { return r.flip >> lane_bits != 0; });
    const auto count = std::max<int64_t>(1, (above + kSpan - 1) / kSpan), share = (above + count - 1) / count;
    bool first = true;
    while (!remaining.empty() || (first && layer.has_diagonal())) {
      if (!first) close();
      const bool cut = !open;
      if (cut) open.emplace(program_.wires, lane_bits);
      Stage stage;
      stage.layer = l;
      if (first) {
        stage.before.terms = terms[l].rest;
        stage.before.trainable = terms[l].trainable;
      }
      std::vector<std::pair<int, int>> members;  // bit and rotation
      int64_t taken = 0;
      std::erase_if(remaining, [&](int i) {
        const Rotation& r = layer.rotations[i];
        if ((cut && taken == share && r.flip >> lane_bits != 0) || !open->takes(r)) return false;
        const int bit = open->add(r);
        if (bit < 0) {
          stage.lane_rotations.push_back(i);
        } else {
          members.emplace_back(bit, i);
          ++taken;
        }
        for (const auto& term : terms[l].before[i]) stage.before.terms.push_back(term);
        for (const auto& term : terms[l].after[i]) stage.after.terms.push_back(term);
        return true;
      });
      std::ranges::sort(members);
      for (const auto& [bit, i] : members) {
        stage.bits.push_back(bit);
        stage.rotations.push_back(i);
        stage.inner += bit < kInner;
      }
      open->stages().push_back(std::move(stage));
      first = false;
    }
    if (!layer.dense.empty()) close();
    for (int g = 0; g < int(layer.dense.size()); ++g) steps_.push_back({-1, l, g});
  }
  close();
}

template <class T>
LargeState<T>::LargeState(int wires, bool half) : lane_bits_(large_kernels<T>().lane_bits) {
  const size_t numbers = size_t{2} << wires, chunks = numbers >> (lane_bits_ + 1);
  bytes_ = half ? numbers * sizeof(int16_t) + chunks : numbers * sizeof(T);
  // Large pages, untouched until the first run writes them with all threads.
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(memory != MAP_FAILED, "no memory for a state of {:.1f} GiB: use fewer qubits or a smaller batch",
          double(bytes_) / (1 << 30));
  madvise(memory, bytes_, MADV_HUGEPAGE);
  if (half) {
    memory_.half = static_cast<int16_t*>(memory);
    memory_.exponents = reinterpret_cast<int8_t*>(memory_.half + numbers);
  } else {
    memory_.full = static_cast<T*>(memory);
  }
}

template <class T>
LargeState<T>::~LargeState() {
  munmap(memory_.half ? static_cast<void*>(memory_.half) : memory_.full, bytes_);
}

template <class T>
void LargeState<T>::norms_of_chunks(uint64_t first, uint64_t count, double* out) const {
  const auto square = [&](const auto* numbers, double scale) {
    const uint64_t lanes = uint64_t{1} << lane_bits_, step = std::min(lanes, count);
    for (uint64_t i = 0; i < count; i += step) {
      const auto* real = numbers + place(first + i);
      if (memory_.half) scale = std::ldexp(1.0, 2 * (memory_.exponents[(first + i) >> lane_bits_] - 15));
      for (uint64_t lane = 0; lane < step; ++lane) {
        const double re = double(real[lane]), im = double(real[lanes + lane]);
        out[i + lane] = scale * (re * re + im * im);
      }
    }
  };
  memory_.half ? square(memory_.half, 1) : square(memory_.full, 1);
}

template <class T>
LargeSimulator<T>::LargeSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables)
    : program_(lower(circuit, observables, true)), tables_(program_, 0, 0) {
  plan();
}

// --- forward

namespace {

double cosine_of(double tangent) {
  return 1 / std::sqrt(1 + tangent * tangent);
}

/// The states of wires first .. last - 1 as a product.
template <class T>
std::vector<std::complex<T>> product_of_wires(const Program& program, const Values<T>& values, int first, int last) {
  std::vector<std::complex<T>> result{1};
  for (int q = first; q < last; ++q) {
    const Su2 u = program.initial[q] >= 0 ? values.matrix(program, program.initial[q]) : Su2{};
    const size_t half = result.size();
    for (size_t i = 0; i < half; ++i) result.push_back(result[i] * std::complex<T>(u.b));
    for (size_t i = 0; i < half; ++i) result[i] *= std::complex<T>(u.a);
  }
  return result;
}

/// The initial product in three parts: wires in the lanes, the next ones, the highest.
template <class T>
struct InitialProduct {
  InitialProduct(const Program& program, const Values<T>& values, int lane_bits)
      : lower_bits((program.wires - lane_bits) / 2),
        lanes(product_of_wires(program, values, 0, lane_bits)),
        lower(product_of_wires(program, values, lane_bits, lane_bits + lower_bits)),
        upper(product_of_wires(program, values, lane_bits + lower_bits, program.wires)) {}
  int lower_bits;
  std::vector<std::complex<T>> lanes, lower, upper;
};

}  // namespace

template <class T>
SweepWork<T> LargeSimulator<T>::work(const Sweep& sweep, const Values<T>& values, const StateMemory<T>& psi,
                                     const StateMemory<T>& lambda) const {
  const uint64_t lane_mask = (uint64_t{1} << large_kernels<T>().lane_bits) - 1;
  SweepWork<T> work{&sweep, psi, lambda, {}, &kernels<T>().math};
  for (const Stage& stage : sweep.stages) {
    StageWork<T>& w = work.stages.emplace_back();
    w.plan = &stage;
    const auto add = [&](const std::vector<int>& members, std::vector<SweepRotation<T>>& rotations) {
      for (const int i : members) {
        const Rotation& r = program_.layers[stage.layer].rotations[i];
        const LayerValues<T>& v = values.layers[stage.layer];
        rotations.push_back({v.tangent[i], r.parity, bool(v.exchanged[i]), uint32_t(r.flip & lane_mask)});
        w.before.scale *= cosine_of(double(v.tangent[i]));
      }
    };
    add(stage.rotations, w.rotations);
    add(stage.lane_rotations, w.lane_rotations);
    for (auto [diagonal, plan] : {std::pair(&w.before, &stage.before), std::pair(&w.after, &stage.after)}) {
      diagonal->plan = plan;
      for (const Diagonal::Term& term : plan->terms)
        diagonal->halves.push_back(values.layers[term.layer].phases[term.index].second);
    }
  }
  return work;
}

template <class T>
void LargeSimulator<T>::dense(const Dense& dense, uint64_t origin, bool adjoint, LargeState<T>& state) const {
  const uint64_t size = uint64_t{1} << program_.wires;
  Basis basis;
  std::vector<uint64_t> corners{0};
  for (const Rotation& wire : dense.wires) basis.add(wire.flip);
  for (int t = 0; t < dense.targets; ++t)
    for (size_t i = 0, count = corners.size(); i < count; ++i) corners.push_back(corners[i] ^ dense.wires[t].flip);
  const size_t dim = corners.size();
  const Matrix matrix = adjoint ? dense.matrix.adjoint() : dense.matrix;
  // Amplitudes on which all wires are 0: any one with free bits, moved there by the flips of its wires that are 1.
  const uint64_t free = (size - 1) & ~basis.pivots();
  parallel_for(int64_t(size >> dense.wires.size()), 1 << 10, [&](int64_t begin, int64_t end) {
    std::vector<std::complex<T>> in(dim);
    uint64_t base = spread(uint64_t(begin), free);
    for (int64_t i = begin; i < end; ++i, base = ((base | ~free) + 1) & free) {
      uint64_t zero = base ^ origin;
      for (const Rotation& wire : dense.wires)
        if (odd(base & wire.parity)) zero ^= wire.flip;
      for (size_t j = 0; j < dim; ++j) in[j] = state.amplitude(zero ^ corners[j]);
      for (size_t r = 0; r < dim; ++r) {
        std::complex<T> sum = 0;
        for (size_t c = 0; c < dim; ++c) sum += std::complex<T>(matrix(int(r), int(c))) * in[c];
        state.set(zero ^ corners[r], sum);
      }
    }
  });
}

template <class T>
void LargeSimulator<T>::run(const T* weights, const T* inputs, LargeState<T>& state) const {
  const LargeKernels<T>& kernel = large_kernels<T>();
  Values<T>& values = state.values;
  values.update(program_, tables_, weights, inputs, kernels<T>().math);
  const int n = program_.wires, chunk_bits = n - kernel.lane_bits;
  const uint64_t size = uint64_t{1} << n, chunks = uint64_t{1} << chunk_bits;

  if (program_.amplitude_encoding) {
    double norm = 0;
    for (uint64_t p = 0; p < size; ++p) norm += double(inputs[p]) * double(inputs[p]);
    const double factor = norm > 0 ? 1 / std::sqrt(norm) : 0;
    parallel_for(int64_t(size), 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) state.set(uint64_t(p), T(double(inputs[p]) * factor));
    });
  } else {
    const InitialProduct<T> product(program_, values, kernel.lane_bits);
    parallel_for(int64_t(chunks), 1 << 12, [&](int64_t begin, int64_t end) {
      kernel.product(state.memory(), uint64_t(begin), uint64_t(end), product.lower_bits, product.upper.data(),
                     product.lower.data(), product.lanes.data());
    });
  }
  for (const Step& step : steps_) {
    if (step.sweep < 0) {
      dense(program_.layers[step.layer].dense[step.dense], values.layers[step.layer].dense_origin[step.dense], false,
            state);
      continue;
    }
    const Sweep& sweep = sweeps_[step.sweep];
    const SweepWork<T> todo = work(sweep, values, state.memory(), {});
    parallel_for(int64_t(chunks >> sweep.span.size()), 1,
                 [&](int64_t begin, int64_t end) { kernel.sweep(todo, uint64_t(begin), uint64_t(end)); });
  }
}

// --- gradients

namespace {

/// f(part, first, last) for up to 64 parts of `count`, whose cut does not depend on the number of threads.
template <class Function>
void for_parts(int64_t count, int64_t parts, Function f) {
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) f(part, count * part / parts, count * (part + 1) / parts);
  });
}

/// What remains of m = sum of amplitudes[p] * (states of all wires but q) for q's two values, for each wire; wire k is
/// bit k of p. Destroys amplitudes.
std::vector<std::array<Complex, 2>> contract_wires(std::vector<Complex>& amplitudes,
                                                   const std::vector<std::array<Complex, 2>>& states) {
  const size_t wires = states.size();
  std::vector<Complex> below{0, 1};  // the product of the wires below q at offset 2^q
  for (size_t q = 0; q + 1 < wires; ++q)
    for (const Complex& factor : states[q])
      for (size_t p = 0; p < size_t{1} << q; ++p) below.push_back(below[(size_t{1} << q) + p] * factor);
  std::vector<std::array<Complex, 2>> result(wires);
  for (size_t q = wires; q-- > 0;) {
    const size_t half = size_t{1} << q;
    for (size_t p = 0; p < half; ++p) {
      result[q][0] += amplitudes[p] * below[half + p];
      result[q][1] += amplitudes[half + p] * below[half + p];
      amplitudes[p] = amplitudes[p] * states[q][0] + amplitudes[half + p] * states[q][1];
    }
  }
  return result;
}

}  // namespace

template <class T>
void LargeSimulator<T>::observables(const T* upstream, const LargeState<T>& psi, LargeState<T>& lambda) const {
  const LargeKernels<T>& kernel = large_kernels<T>();
  const int bits = std::min(kDensitySpan, program_.wires - kernel.lane_bits);
  const size_t block_size = size_t{1} << (bits + kernel.lane_bits);
  parallel_for(int64_t{1} << (program_.wires - kernel.lane_bits - bits), 4, [&](int64_t begin, int64_t end) {
    AlignedVector<double> spectrum(std::max<size_t>(block_size, 8));
    for (int64_t block = begin; block < end; ++block) {
      const uint64_t first = uint64_t(block) * block_size;
      std::fill(spectrum.begin(), spectrum.end(), 0.0);
      for (const ObservableTerm& term : program_.diagonal_terms) {
        const double value = term.coefficient * double(upstream[term.output]);
        spectrum[term.mask & (block_size - 1)] +=
            odd(term.mask & ((first & ~(block_size - 1)) ^ psi.values.flipped)) ? -value : value;
      }
      kernel.weigh(psi.at(first), lambda.at(first), bits, spectrum.data());
    }
  });
  parallel_for(int64_t{1} << (program_.wires - kernel.lane_bits), 1 << 10, [&](int64_t begin, int64_t end) {
    for (const ObservableTerm& term : program_.other_terms) {
      const double sign = odd(term.mask & psi.values.flipped) ? -1 : 1;
      kernel.add_pauli(psi.at(0), lambda.at(0), uint64_t(begin), uint64_t(end),
                       {term.flip, term.mask, term.ys, sign * term.coefficient * double(upstream[term.output])});
    }
  });
}

template <class T>
void LargeSimulator<T>::backward(const T* weights, const T* inputs, const T* upstream, LargeState<T>& psi,
                                 LargeState<T>& lambda, double* dweights, double* dinputs) const {
  const LargeKernels<T>& kernel = large_kernels<T>();
  Values<T>& values = psi.values;
  const uint64_t chunks = uint64_t{1} << (program_.wires - kernel.lane_bits);
  const AngleGradient<T> gradient{weights, inputs, dweights, dinputs};
  observables(upstream, psi, lambda);

  std::vector<double> overlaps(3 * size_t(tables_.overlap_slots));
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    if (step->sweep < 0) {
      const Dense& gate = program_.layers[step->layer].dense[step->dense];
      const uint64_t origin = values.layers[step->layer].dense_origin[step->dense];
      dense(gate, origin, true, psi);
      dense(gate, origin, true, lambda);
      continue;
    }
    const Sweep& sweep = sweeps_[step->sweep];
    const SweepWork<T> todo = work(sweep, values, psi.memory(), lambda.memory());
    const auto blocks = int64_t(chunks >> sweep.span.size()), parts = std::min<int64_t>(blocks, 32);
    std::vector<double> sums(size_t(parts) * sweep.sums);
    for_parts(blocks, parts, [&](int64_t part, int64_t first, int64_t last) {
      kernel.undo(todo, uint64_t(first), uint64_t(last), sums.data() + part * sweep.sums);
    });
    for (int64_t part = 1; part < parts; ++part)
      for (int i = 0; i < sweep.sums; ++i) sums[i] += sums[size_t(part) * sweep.sums + i];

    for (const StageWork<T>& stage : todo.stages) {
      const Layer& layer = program_.layers[stage.plan->layer];
      const double* sum = sums.data() + stage.plan->first_sum;
      // Undoing a rotation without its cosine leaves both states too large for the overlaps that follow: lane
      // rotations one by one, then the others in groups, those within parts first.
      double norm = 1;
      const double* lane_sum = sum + 3 * stage.rotations.size();
      const auto take = [&](int rotation, const double* xyz, double xy_norm) {
        const int slot = tables_.overlap_slot[layer.rotations[rotation].chain];
        if (slot < 0) return;
        for (int axis = 0; axis < 3; ++axis) overlaps[3 * slot + axis] += xyz[axis] * (axis == 2 ? 1 : xy_norm);
      };
      for (size_t i = 0; i < stage.lane_rotations.size(); ++i) {
        take(stage.plan->lane_rotations[i], lane_sum + 3 * i, norm);
        norm *= std::pow(cosine_of(double(stage.lane_rotations[i].tangent)), 2);
      }
      const int inner = stage.plan->inner, count = int(stage.rotations.size());
      for (int first = 0, last; first < count; first = last) {
        last = std::min(first + kernel.undo_group, first < inner ? inner : count);
        for (int i = first; i < last; ++i) take(stage.plan->rotations[i], sum + 3 * i, norm);
        for (int i = first; i < last; ++i) norm *= std::pow(cosine_of(double(stage.rotations[i].tangent)), 2);
      }
      if (!stage.plan->before.trainable) continue;
      const double* term_sum = lane_sum + 3 * stage.lane_rotations.size();
      std::vector<double> of_phase(values.layers[stage.plan->layer].phases.size());
      for (size_t t = 0; t < stage.plan->before.terms.size(); ++t)
        if (stage.plan->before.terms[t].layer == stage.plan->layer)
          of_phase[stage.plan->before.terms[t].index] = norm * term_sum[t];
      size_t index = layer.chain_phases.size();
      for (const PhaseGate& gate : layer.shared_phases) {
        double dangle = 0;
        for (const auto& [mask, coefficient] : gate.spectrum)
          dangle += (odd(mask & values.layers[stage.plan->layer].flipped) ? -1 : 1) * coefficient * of_phase[index++];
        gradient.add(gate.angle, dangle);
      }
    }
  }
  values.add_gradients(program_, tables_, overlaps.data(), gradient, kernels<T>().math);

  if (program_.amplitude_encoding) {
    if (!dinputs) return;
    double norm = 0, along = 0;
    const uint64_t size = uint64_t{1} << program_.wires;
    for (uint64_t p = 0; p < size; ++p) {
      norm += double(inputs[p]) * double(inputs[p]);
      along += double(inputs[p]) * double(*lambda.at(p));
    }
    if (norm == 0) return;
    for (uint64_t p = 0; p < size; ++p)
      dinputs[p] += 2 / std::sqrt(norm) * (double(*lambda.at(p)) - along / norm * double(inputs[p]));
    return;
  }
  const auto trainable = [&](int chain) { return chain >= 0 && program_.chains[chain].trainable; };
  if (std::ranges::none_of(program_.initial, trainable)) return;
  const InitialProduct<T> product(program_, values, kernel.lane_bits);
  const size_t lanes = product.lanes.size(), lower = product.lower.size(), upper = product.upper.size();
  const int64_t parts = std::clamp<int64_t>(int64_t(upper) / 32, 1, 32);
  AlignedVector<T> by_lower(size_t(parts) * lower * 2 * lanes);
  std::vector<std::complex<T>> by_upper(upper);
  for_parts(int64_t(upper), parts, [&](int64_t part, int64_t first, int64_t last) {
    kernel.contract(lambda.at(0), uint64_t(first) * lower, uint64_t(last) * lower, product.lower_bits,
                    product.upper.data(), product.lower.data(), product.lanes.data(),
                    by_lower.data() + size_t(part) * lower * 2 * lanes, by_upper.data());
  });
  std::vector<Complex> low(lower * lanes), high(by_upper.begin(), by_upper.end());
  for (int64_t part = 0; part < parts; ++part)
    for (size_t p = 0; p < low.size(); ++p) {
      const T* at = by_lower.data() + (size_t(part) * lower + p / lanes) * 2 * lanes + p % lanes;
      low[p] += Complex(double(at[0]), double(at[lanes]));
    }
  const auto finish = [&](std::vector<Complex>& amplitudes, int first, int last) {
    std::vector<std::array<Complex, 2>> states;
    for (int q = first; q < last; ++q) {
      const Su2 u = program_.initial[q] >= 0 ? values.matrix(program_, program_.initial[q]) : Su2{};
      states.push_back({u.a, u.b});
    }
    const auto m = contract_wires(amplitudes, states);
    for (int q = first; q < last; ++q) {
      if (!trainable(program_.initial[q])) continue;
      const auto [a, b] = states[q - first];
      const Complex p01 = m[q - first][0] * b, p10 = m[q - first][1] * a;
      const double z = (m[q - first][0] * a - m[q - first][1] * b).imag();
      values.chain_gradient(program_, program_.initial[q], {(p01 + p10).imag(), (p10 - p01).real(), z}, gradient);
    }
  };
  const int split = kernel.lane_bits + product.lower_bits;
  finish(low, 0, split);
  finish(high, split, program_.wires);
}

// --- results

template <class T>
void LargeSimulator<T>::expectations(const LargeState<T>& state, T* out) const {
  const LargeKernels<T>& kernel = large_kernels<T>();
  const size_t lanes = kernels<T>().lanes, outputs = size_t(program_.outputs);
  const int bits = std::min(kDensitySpan, program_.wires - kernel.lane_bits);
  const size_t chunks = size_t{1} << bits;
  const int64_t blocks = int64_t{1} << (program_.wires - kernel.lane_bits - bits);
  std::vector<double> sums(size_t(blocks) * outputs);
  parallel_for(blocks, 1 << 4, [&](int64_t begin, int64_t end) {
    AlignedVector<T> spectrum(chunks * lanes);
    for (int64_t block = begin; block < end; ++block) {
      double* sum = sums.data() + size_t(block) * outputs;
      const uint64_t first = uint64_t(block) << (bits + kernel.lane_bits);
      if (!program_.diagonal_terms.empty())
        kernel.density(state.memory(), uint64_t(block) * chunks, bits, spectrum.data());
      for (const ObservableTerm& term : program_.diagonal_terms) {
        const T* row = spectrum.data() + (term.mask >> kernel.lane_bits & (chunks - 1)) * lanes;
        double value = 0;
        for (size_t lane = 0; lane < lanes; ++lane)
          value += odd(lane & term.mask) ? -double(row[lane]) : double(row[lane]);
        sum[term.output] +=
            odd(term.mask & (first ^ state.values.flipped)) ? -term.coefficient * value : term.coefficient * value;
      }
      for (const ObservableTerm& term : program_.other_terms) {
        const double sign = odd(term.mask & state.values.flipped) ? -1 : 1;
        const uint64_t chunk = first >> kernel.lane_bits;
        sum[term.output] += kernel.pauli_overlap(state.memory(), chunk, chunk + chunks,
                                                 {term.flip, term.mask, term.ys, sign * term.coefficient});
      }
    }
  });
  for (size_t k = 0; k < outputs; ++k) {
    double total = program_.constants[k];
    for (int64_t block = 0; block < blocks; ++block) total += sums[size_t(block) * outputs + k];
    out[k] = T(total);
  }
}

namespace {

/// gather(rows, addresses of the rows' first amplitudes, basis states they begin with, addresses within a row) for all
/// rows of `lanes` consecutive basis states, in an order that reads whole chunks and fills whole cache lines: block by
/// block, a block being spanned by the lanes and by the lowest qubits.
template <class Gather>
void for_basis_states(const Program& program, int lane_bits, uint64_t origin, Gather gather) {
  const auto basis_state = [&](uint64_t p) {
    uint64_t b = 0;
    for (int q = 0; q < program.wires; ++q) b |= uint64_t(odd(p & program.parity[q])) << q;
    return b;
  };
  // A bit between a chunk's lane and its number tells imaginary from real parts.
  const uint64_t lane_mask = (uint64_t{1} << lane_bits) - 1;
  const auto address = [&](uint64_t p) { return (p & ~lane_mask) << 1 | (p & lane_mask); };
  Basis basis;
  std::vector<uint64_t> row{0}, rows{0}, row_states{0};
  for (int q = 0; q < lane_bits; ++q) {
    basis.add(program.flip[q]);
    for (size_t i = 0, size = row.size(); i < size; ++i) row.push_back(row[i] ^ address(program.flip[q]));
  }
  const auto extend = [&](uint64_t flip) {
    if (!basis.add(flip)) return;
    const uint64_t b = basis_state(flip);
    // Move it to where its row begins: the row's own qubits are 0.
    for (int q = 0; q < lane_bits; ++q)
      if (b >> q & 1) flip ^= program.flip[q];
    for (size_t i = 0, size = rows.size(); i < size; ++i) {
      rows.push_back(rows[i] ^ address(flip));
      row_states.push_back(row_states[i] ^ (b & ~lane_mask));
    }
  };
  for (int bit = 0; bit < lane_bits; ++bit) extend(uint64_t{1} << bit);
  for (int q = lane_bits; q < std::min(program.wires, 6); ++q) extend(program.flip[q]);
  const uint64_t size = uint64_t{1} << program.wires, free = (size - 1) & ~basis.pivots();
  parallel_for(int64_t(size / (rows.size() * row.size())), 1 << 6, [&](int64_t begin, int64_t end) {
    std::vector<uint64_t> origins(rows.size()), states(rows.size());
    uint64_t base = spread(uint64_t(begin), free);
    for (int64_t i = begin; i < end; ++i, base = ((base | ~free) + 1) & free) {
      uint64_t b = basis_state(base ^ origin), p = base;
      for (int q = 0; q < lane_bits; ++q)
        if (b >> q & 1) p ^= program.flip[q];
      b &= ~lane_mask;
      for (size_t r = 0; r < rows.size(); ++r) {
        origins[r] = address(p) ^ rows[r];
        states[r] = b ^ row_states[r];
      }
      gather(origins, states, row.data());
    }
  });
}

}  // namespace

template <class T>
void LargeSimulator<T>::amplitudes(const T* weights, const T* inputs, const LargeState<T>& state,
                                   std::complex<T>* out) const {
  const std::vector<double> w(weights, weights + program_.weights), x(inputs, inputs + program_.inputs);
  double phase = state.values.global_phase;
  for (const auto& [angle, factor] : program_.global_phase) phase += factor * angle.value(w.data(), x.data());
  const LargeKernels<T>& kernel = large_kernels<T>();
  for_basis_states(program_, kernel.lane_bits, program_.origin ^ state.values.flipped,
                   [&](const auto& origins, const auto& states, const uint64_t* row) {
                     kernel.gather(state.memory(), origins.size(), origins.data(), row,
                                   std::complex<T>(std::polar(1.0, phase)), states.data(), out);
                   });
}

template <class T>
void LargeSimulator<T>::probabilities(const LargeState<T>& state, T* out) const {
  const LargeKernels<T>& kernel = large_kernels<T>();
  for_basis_states(program_, kernel.lane_bits, program_.origin ^ state.values.flipped,
                   [&](const auto& origins, const auto& states, const uint64_t* row) {
                     kernel.gather_norms(state.memory(), origins.size(), origins.data(), row, states.data(), out);
                   });
}

template <class T>
void LargeSimulator<T>::samples(const LargeState<T>& state, int64_t shots, Random random, uint64_t* out) const {
  const uint64_t origin = program_.origin ^ state.values.flipped;
  const BitMap basis_state(program_.wires, [&](int bit) {
    uint64_t b = 0;
    for (int q = 0; q < program_.wires; ++q) b |= (program_.parity[q] >> bit & 1) << q;
    return b;
  });
  draw_cells(
      uint64_t{1} << program_.wires,
      [&](uint64_t first, uint64_t count, double* weights) { state.norms(first, count, weights); }, shots, random,
      [&](int64_t s, uint64_t p) { out[s] = basis_state(p ^ origin); });
}

template class LargeState<float>;
template class LargeState<double>;
template class LargeSimulator<float>;
template class LargeSimulator<double>;

}  // namespace quanta::simulate
