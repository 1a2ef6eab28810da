#include "quanta/simulate/large.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/sampling.h"

namespace quanta::simulate {
namespace {

constexpr int kSpan = 11;  // 2^11 chunks of 16 floats are 256 KiB
constexpr int kDensitySpan = 8;

bool odd(uint64_t x) {
  return std::popcount(x) & 1;
}

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
  /// The highest bits of the rows: every coset has one element in which they are all 0.
  uint64_t pivots() const {
    uint64_t bits = 0;
    for (const uint64_t row : rows_) bits |= std::bit_floor(row);
    return bits;
  }

 private:
  std::vector<uint64_t> rows_;  // each reduced by those before it
};

std::vector<Sweep> plan_sweeps(int wires, int lane_bits, const Layer& layer) {
  const int chunk_bits = wires - lane_bits;
  const auto above = [&](int i) { return layer.rotations[i].flip >> lane_bits; };
  std::vector<int> remaining, in_lanes;
  for (int i = 0; i < int(layer.rotations.size()); ++i) (above(i) ? remaining : in_lanes).push_back(i);
  std::vector<Sweep> sweeps;
  if (remaining.empty() && in_lanes.empty() && !layer.has_diagonal()) return sweeps;
  const int count = std::max<int>(1, (int(remaining.size()) + kSpan - 1) / kSpan);
  const size_t share = (remaining.size() + count - 1) / count;
  do {
    Sweep& sweep = sweeps.emplace_back();
    if (sweeps.size() == 1) sweep.lane_rotations = in_lanes;
    Basis basis;
    std::erase_if(remaining, [&](int i) {
      if (sweep.rotations.size() == share || !basis.add(above(i))) return false;
      sweep.rotations.push_back(i);
      sweep.span.push_back(layer.rotations[i].flip);
      return true;
    });
    // Neighbouring chunks fill the block up, moved so that no rotation of the sweep tells them apart.
    for (int bit = 0; bit < chunk_bits && int(sweep.span.size()) < std::min(chunk_bits, kSpan - 2); ++bit) {
      if (!basis.add(uint64_t{1} << bit)) continue;
      uint64_t flip = uint64_t{1} << (bit + lane_bits);
      for (const auto* members : {&sweep.rotations, &sweep.lane_rotations})
        for (const int i : *members)
          if (odd(flip & layer.rotations[i].parity)) flip ^= layer.rotations[i].flip;
      sweep.span.push_back(flip);
    }
    sweep.offsets = {0};
    sweep.lanes = {0};
    for (const uint64_t flip : sweep.span)
      for (size_t j = 0, size = sweep.offsets.size(); j < size; ++j) {
        sweep.offsets.push_back(sweep.offsets[j] ^ uint32_t(flip >> lane_bits));
        sweep.lanes.push_back(sweep.lanes[j] ^ uint32_t(flip & ((uint64_t{1} << lane_bits) - 1)));
      }
    sweep.free = ((uint64_t{1} << chunk_bits) - 1) & ~basis.pivots();
  } while (!remaining.empty());
  return sweeps;
}

}  // namespace

template <class T>
LargeState<T>::LargeState(int wires)
    : lane_bits_(large_kernels<T>().lane_bits), bytes_((size_t{2} << wires) * sizeof(T)) {
  // Large pages, untouched until the first run writes them with all threads.
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(memory != MAP_FAILED, "no memory for a state of {:.1f} GiB: use fewer qubits or a smaller batch",
          double(bytes_) / (1 << 30));
  madvise(memory, bytes_, MADV_HUGEPAGE);
  data_ = static_cast<T*>(memory);
}

template <class T>
LargeState<T>::~LargeState() {
  munmap(data_, bytes_);
}

template <class T>
LargeSimulator<T>::LargeSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables)
    : program_(lower(circuit, observables, true)), tables_(program_, 0, 0) {
  for (const Layer& layer : program_.layers)
    sweeps_.push_back(plan_sweeps(program_.wires, large_kernels<T>().lane_bits, layer));
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
    // The states of the lowest wires (in the lanes), of the next ones and of the highest.
    const auto table = [&](int first, int last) {
      std::vector<std::complex<T>> result{1};
      for (int q = first; q < last; ++q) {
        const Su2 u = program_.initial[q] >= 0 ? values.matrix(program_, program_.initial[q]) : Su2{};
        const size_t half = result.size();
        for (size_t i = 0; i < half; ++i) result.push_back(result[i] * std::complex<T>(u.b));
        for (size_t i = 0; i < half; ++i) result[i] *= std::complex<T>(u.a);
      }
      return result;
    };
    const int lower_bits = chunk_bits / 2;
    const auto lanes = table(0, kernel.lane_bits), lower = table(kernel.lane_bits, kernel.lane_bits + lower_bits),
               upper = table(kernel.lane_bits + lower_bits, n);
    parallel_for(int64_t(chunks), 1 << 12, [&](int64_t begin, int64_t end) {
      kernel.product(state.at(0), uint64_t(begin), uint64_t(end), lower_bits, upper.data(), lower.data(), lanes.data());
    });
  }

  for (size_t l = 0; l < program_.layers.size(); ++l) {
    const Layer& layer = program_.layers[l];
    const LayerValues<T>& layer_values = values.layers[l];
    for (const Sweep& sweep : sweeps_[l]) {
      SweepWork<T> work{&sweep, state.at(0), {}, {}, nullptr, {}, layer_values.scale, &kernels<T>().math};
      const auto rotation = [&](int i) {
        const uint64_t lane_mask = (uint64_t{1} << kernel.lane_bits) - 1;
        return SweepRotation<T>{layer_values.tangent[i], layer.rotations[i].parity, bool(layer_values.exchanged[i]),
                                uint32_t(layer.rotations[i].flip & lane_mask)};
      };
      for (const int i : sweep.rotations) work.rotations.push_back(rotation(i));
      for (const int i : sweep.lane_rotations) work.lane_rotations.push_back(rotation(i));
      if (&sweep == sweeps_[l].data() && !layer_values.phases.empty()) {
        work.phases = &layer_values.phases;
        for (const auto& [mask, half] : layer_values.phases) {
          uint64_t local = 0;
          for (size_t i = 0; i < sweep.span.size(); ++i) local |= uint64_t(odd(mask & sweep.span[i])) << i;
          work.local_masks.push_back(
              uint32_t(local << kernel.lane_bits | (mask & ((uint64_t{1} << kernel.lane_bits) - 1))));
        }
      }
      const int64_t blocks = int64_t(chunks >> sweep.span.size());
      parallel_for(blocks, std::max<int64_t>(1, (1 << 12) >> sweep.span.size()),
                   [&](int64_t begin, int64_t end) { kernel.sweep(work, uint64_t(begin), uint64_t(end)); });
    }
    for (size_t g = 0; g < layer.dense.size(); ++g) {
      const Dense& dense = layer.dense[g];
      Basis basis;
      std::vector<uint64_t> corners{0};
      for (const Rotation& wire : dense.wires) basis.add(wire.flip);
      for (int t = 0; t < dense.targets; ++t)
        for (size_t i = 0, count = corners.size(); i < count; ++i) corners.push_back(corners[i] ^ dense.wires[t].flip);
      const size_t dim = corners.size();
      // Amplitudes on which all wires are 0: any one with free bits, moved there by the flips of its wires that are 1.
      const uint64_t free = (size - 1) & ~basis.pivots();
      parallel_for(int64_t(size >> dense.wires.size()), 1 << 10, [&](int64_t begin, int64_t end) {
        std::vector<std::complex<T>> in(dim);
        uint64_t base = spread(uint64_t(begin), free);
        for (int64_t i = begin; i < end; ++i, base = ((base | ~free) + 1) & free) {
          uint64_t zero = base ^ layer_values.dense_origin[g];
          for (const Rotation& wire : dense.wires)
            if (odd(base & wire.parity)) zero ^= wire.flip;
          for (size_t j = 0; j < dim; ++j) in[j] = state.amplitude(zero ^ corners[j]);
          for (size_t r = 0; r < dim; ++r) {
            std::complex<T> sum = 0;
            for (size_t c = 0; c < dim; ++c) sum += std::complex<T>(dense.matrix(int(r), int(c))) * in[c];
            state.set(zero ^ corners[r], sum);
          }
        }
      });
    }
  }
}

template <class T>
int64_t LargeSimulator<T>::sweeps() const {
  int64_t count = 0;
  for (size_t l = 0; l < sweeps_.size(); ++l) count += int64_t(sweeps_[l].size() + program_.layers[l].dense.size());
  return count;
}

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
        kernel.density(state.at(0) + size_t(block) * chunks * 2 * lanes, bits, spectrum.data());
      for (const ObservableTerm& term : program_.diagonal_terms) {
        const T* row = spectrum.data() + (term.mask >> kernel.lane_bits & (chunks - 1)) * lanes;
        double value = 0;
        for (size_t lane = 0; lane < lanes; ++lane)
          value += odd(lane & term.mask) ? -double(row[lane]) : double(row[lane]);
        sum[term.output] +=
            odd(term.mask & (first ^ state.values.flipped)) ? -term.coefficient * value : term.coefficient * value;
      }
      for (const ObservableTerm& term : program_.other_terms) {
        // conj(psi[p ^ flip]) i^ys (-1)^parity(p & mask) psi[p]
        std::complex<double> value = 0;
        for (uint64_t p = first; p < first + chunks * lanes; ++p) {
          const auto product = std::complex<double>(std::conj(state.amplitude(p ^ term.flip)) * state.amplitude(p));
          value += odd(p & term.mask) ? -product : product;
        }
        constexpr std::complex<double> kPowers[4] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
        const double sign = odd(term.mask & state.values.flipped) ? -1 : 1;
        sum[term.output] += sign * term.coefficient * (value * kPowers[term.ys % 4]).real();
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

/// visit(basis state, physical index) for all basis states, in an order that reads whole chunks and fills whole cache
/// lines: block by block, a block being spanned by the lanes and by the lowest qubits.
template <class Visit>
void for_basis_states(const Program& program, int lane_bits, uint64_t origin, Visit visit) {
  const auto basis_state = [&](uint64_t p) {
    uint64_t b = 0;
    for (int q = 0; q < program.wires; ++q) b |= uint64_t(odd(p & program.parity[q])) << q;
    return b;
  };
  Basis basis;
  std::vector<std::pair<uint64_t, uint64_t>> members{{0, 0}};  // basis state and physical index within the block
  const auto extend = [&](uint64_t flip) {
    if (!basis.add(flip)) return;
    const uint64_t b = basis_state(flip);
    for (size_t i = 0, size = members.size(); i < size; ++i)
      members.emplace_back(members[i].first ^ b, members[i].second ^ flip);
  };
  for (int bit = 0; bit < lane_bits; ++bit) extend(uint64_t{1} << bit);
  for (int q = 0; q < std::min(program.wires, 6); ++q) extend(program.flip[q]);
  const uint64_t size = uint64_t{1} << program.wires, free = (size - 1) & ~basis.pivots();
  parallel_for(int64_t(size / members.size()), 1 << 6, [&](int64_t begin, int64_t end) {
    uint64_t base = spread(uint64_t(begin), free);
    for (int64_t i = begin; i < end; ++i, base = ((base | ~free) + 1) & free) {
      const uint64_t b = basis_state(base ^ origin);
      for (const auto& [local_b, local_p] : members) visit(b ^ local_b, base ^ local_p);
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
  const auto rotation = std::complex<T>(std::polar(1.0, phase));
  for_basis_states(program_, large_kernels<T>().lane_bits, program_.origin ^ state.values.flipped,
                   [&](uint64_t b, uint64_t p) { out[b] = rotation * state.amplitude(p); });
}

template <class T>
void LargeSimulator<T>::probabilities(const LargeState<T>& state, T* out) const {
  for_basis_states(program_, large_kernels<T>().lane_bits, program_.origin ^ state.values.flipped,
                   [&](uint64_t b, uint64_t p) { out[b] = std::norm(state.amplitude(p)); });
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
      [&](uint64_t first, uint64_t count, double* weights) {
        const uint64_t lanes = uint64_t{1} << large_kernels<T>().lane_bits, step = std::min(lanes, count);
        for (uint64_t i = 0; i < count; i += step) {
          const T* real = state.at(first + i);
          for (uint64_t lane = 0; lane < step; ++lane) {
            // In double precision: the squares of small amplitudes would be slow subnormal numbers.
            const double re = real[lane], im = real[lanes + lane];
            weights[i + lane] = re * re + im * im;
          }
        }
      },
      shots, random, [&](int64_t s, uint64_t p) { out[s] = basis_state(p ^ origin); });
}

template class LargeState<float>;
template class LargeState<double>;
template class LargeSimulator<float>;
template class LargeSimulator<double>;

}  // namespace quanta::simulate
