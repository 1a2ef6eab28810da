#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/simulate/kernels.h"

namespace quanta::simulate {

// One state too large for the cache. Its lowest bits are the lanes of a vector (a CHUNK: [re, im][lane]), the others
// the chunk's number. The state is worked on in SWEEPS: the chunks that the rotations of a sweep mix (up to 2^11, so
// that they fit into the second-level cache) are gathered, worked on and put back, so a sweep moves the state through
// memory once. Chunks are permuted in their lanes while gathered such that each rotation then mixes whole vectors: in
// the block's own coordinates (bits of the chunk's place in the block, then the lane) a rotation flips one bit.
// A sweep has STAGES: a diagonal, rotations, and what is left of the rotations' Z parts. A layer with many rotations
// takes several sweeps; layers whose rotations fit together share one, each as a stage.

/// Parts of a block that are worked on in the first-level cache: 2^kInner chunks.
inline constexpr int kInner = 6;

/// A product of factors exp(-i half (-1)^parity(p & mask)), in a block's coordinates. Factors that look alike within a
/// part share a SLOT.
struct Diagonal {
  struct Term {
    uint64_t mask;  // physical
    int layer;      // half is that layer's values.phases[index].second
    int index;
    int slot;
  };
  struct Slot {
    uint32_t inner;  // bits of a chunk's place in the part
    uint32_t lanes;
    auto operator<=>(const Slot&) const = default;  // sorted: by the highest inner bit
  };
  std::vector<Term> terms;
  std::vector<Slot> slots;
  bool transform = false;  // too many slots to multiply them one by one
  bool trainable = false;  // some term has a derivative of its own
};

struct Stage {
  int layer = 0;
  std::vector<int> rotations;  // of the layer, sorted by bit
  std::vector<int> bits;       // of the block's coordinates that they flip
  int inner = 0;               // how many flip within parts
  std::vector<int> lane_rotations;
  Diagonal before, after;
  int first_sum = 0;  // of its derivatives: [rotations, lane rotations][X, Y, Z], [terms before]
};

struct Sweep {
  std::vector<Stage> stages;
  std::vector<uint64_t> span;     // physical flips of the bits of a block's coordinates
  std::vector<uint32_t> offsets;  // [2^span] XOR onto a chunk's number
  std::vector<uint32_t> lanes;    // [2^span] XOR onto the lane
  uint64_t free = 0;              // bits of a chunk's number that tell one block from another
  int sums = 0;                   // derivatives of its stages
};

/// Chunks in full precision, or as 16-bit integers ([re, im][lane] too) with an exponent a chunk.
template <class T>
struct StateMemory {
  T* full = nullptr;
  int16_t* half = nullptr;  // of float only
  int8_t* exponents = nullptr;
};

/// Memory for a state, and the coefficients of the run that filled it.
template <class T>
class LargeState {
 public:
  LargeState(int wires, bool half);
  LargeState(const LargeState&) = delete;
  ~LargeState();

  const StateMemory<T>& memory() const { return memory_; }

  /// Physical amplitude p, of either kind of memory.
  std::complex<T> amplitude(uint64_t p) const {
    const size_t at = place(p), lanes = size_t{1} << lane_bits_;
    if (!memory_.half) return {memory_.full[at], memory_.full[at + lanes]};
    const double scale = std::ldexp(1.0, memory_.exponents[p >> lane_bits_] - 15);
    return {T(scale * memory_.half[at]), T(scale * memory_.half[at + lanes])};
  }

  /// |amplitude|^2 of `count` physical amplitudes: as many as a chunk has or fewer by a power of two, or whole chunks.
  void norms(uint64_t first, uint64_t count, double* out) const {
    // In double precision: the squares of small amplitudes would be slow subnormal numbers.
    const uint64_t lanes = uint64_t{1} << lane_bits_;
    if (memory_.half || count > lanes) return norms_of_chunks(first, count, out);
    const T* real = at(first);
    for (uint64_t i = 0; i < count; ++i) {
      const double re = double(real[i]), im = double(real[lanes + i]);
      out[i] = re * re + im * im;
    }
  }

  /// Real part of physical amplitude p; this and set() in full precision only.
  T* at(uint64_t p) const { return memory_.full + place(p); }
  void set(uint64_t p, std::complex<T> value) {
    T* real = at(p);
    real[0] = value.real();
    real[uint64_t{1} << lane_bits_] = value.imag();
  }

  Values<T> values;

 private:
  void norms_of_chunks(uint64_t first, uint64_t count, double* out) const;
  size_t place(uint64_t p) const {
    return (p >> lane_bits_ << (lane_bits_ + 1)) + (p & ((uint64_t{1} << lane_bits_) - 1));
  }

  int lane_bits_;
  size_t bytes_;
  StateMemory<T> memory_;
};

template <class T>
struct SweepWork;

template <class T>
class LargeSimulator {
 public:
  LargeSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables);

  /// Runs the circuit on one sample.
  void run(const T* weights, const T* inputs, LargeState<T>& state) const;

  /// The adjoint sweep after run(): adds the derivatives of sum_k upstream[k] values[k] to dweights and dinputs (null
  /// where not wanted). Both states are lost.
  void backward(const T* weights, const T* inputs, const T* upstream, LargeState<T>& psi, LargeState<T>& lambda,
                double* dweights, double* dinputs) const;

  /// How often run() goes through the state.
  int64_t sweeps() const { return int64_t(steps_.size()); }

  /// Whether it has steps that Storage::Half cannot take.
  bool needs_full_precision() const {
    return std::ranges::any_of(steps_, [](const Step& step) { return step.sweep < 0; });
  }

  void expectations(const LargeState<T>& state, T* values) const;
  /// In the order of basis states. The phase is included.
  void amplitudes(const T* weights, const T* inputs, const LargeState<T>& state, std::complex<T>* amplitudes) const;
  void probabilities(const LargeState<T>& state, T* probabilities) const;
  void samples(const LargeState<T>& state, int64_t shots, Random random, uint64_t* samples) const;

 private:
  /// A sweep, or a dense unitary.
  struct Step {
    int sweep;
    int layer;
    int dense;
  };
  void plan();
  SweepWork<T> work(const Sweep& sweep, const Values<T>& values, const StateMemory<T>& psi,
                    const StateMemory<T>& lambda) const;
  void dense(const Dense& dense, uint64_t origin, bool adjoint, LargeState<T>& state) const;
  void observables(const T* upstream, const LargeState<T>& psi, LargeState<T>& lambda) const;

  Program program_;
  Tables tables_;
  std::vector<Sweep> sweeps_;
  std::vector<Step> steps_;
};

// --- kernels

/// The number's bits, from the lowest, at the places of the mask's bits.
inline uint64_t spread(uint64_t number, uint64_t mask) {
  uint64_t result = 0;
  for (; mask; mask &= mask - 1, number >>= 1)
    if (number & 1) result |= mask & -mask;
  return result;
}

template <class T>
struct SweepRotation {
  T tangent;
  uint64_t parity;  // physical mask
  bool exchanged;
  uint32_t lane_flip;  // of lane rotations
};

template <class T>
struct DiagonalWork {
  const Diagonal* plan;
  std::vector<double> halves;  // of the terms
  double scale = 1;            // multiplies everything
  bool trivial() const { return halves.empty() && scale == 1; }
};

template <class T>
struct StageWork {
  const Stage* plan;
  std::vector<SweepRotation<T>> rotations, lane_rotations;
  DiagonalWork<T> before, after;
};

template <class T>
struct SweepWork {
  const Sweep* sweep;
  StateMemory<T> psi;
  StateMemory<T> lambda;
  std::vector<StageWork<T>> stages;
  const CoefficientMath<T>* math;
};

/// i^ys X^flip Z^mask with a sign, on physical indices.
struct PauliWork {
  uint64_t flip, mask;
  int ys;
  double coefficient;
};

template <class T>
struct LargeKernels {
  int lane_bits;
  int undo_group;  // how many rotations undo() takes at once
  /// Chunks first .. last - 1 of the product of single-qubit states: upper[2^(bits - bits/2)] x lower[2^(bits/2)] x
  /// lanes.
  void (*product)(const StateMemory<T>& state, uint64_t first, uint64_t last, int lower_bits,
                  const std::complex<T>* upper, const std::complex<T>* lower, const std::complex<T>* lanes);
  /// Contracts chunks first .. last - 1 (whole rows of lower) of conj(lambda) with upper, added to by_lower
  /// [2^lower_bits] chunks, and with lower and lanes, written to by_upper.
  void (*contract)(const T* lambda, uint64_t first, uint64_t last, int lower_bits, const std::complex<T>* upper,
                   const std::complex<T>* lower, const std::complex<T>* lanes, T* by_lower, std::complex<T>* by_upper);
  void (*sweep)(const SweepWork<T>& work, uint64_t first_block, uint64_t last_block);
  /// Undoes the sweep on psi and lambda, and adds the overlaps Im<lambda|X, Y, Z|psi> behind each rotation and
  /// Im<lambda|Z_mask|psi> of each term before it to sums [sweep.sums].
  void (*undo)(const SweepWork<T>& work, uint64_t first_block, uint64_t last_block, double* sums);
  /// Walsh transform of |psi|^2 over 2^bits chunks from `first` on: spectrum [2^bits][lanes].
  void (*density)(const StateMemory<T>& state, uint64_t first, int bits, T* spectrum);
  /// lambda = Walsh transform of spectrum [2^bits * lanes] times psi, over one block; spectrum is lost.
  void (*weigh)(const T* psi, T* lambda, int bits, double* spectrum);
  /// Real part of <psi|P|psi> over chunks first .. last - 1.
  double (*pauli_overlap)(const StateMemory<T>& psi, uint64_t first, uint64_t last, const PauliWork& pauli);
  /// lambda += P psi.
  void (*add_pauli)(const T* psi, T* lambda, uint64_t first, uint64_t last, const PauliWork& pauli);
  /// out[states[r] + k] = factor * the amplitude at origins[r] ^ members[k], k < lanes, or its square modulus. The
  /// numbers are places of real parts in the state's memory.
  void (*gather)(const StateMemory<T>& state, size_t rows, const uint64_t* origins, const uint64_t* members,
                 std::complex<T> factor, const uint64_t* states, std::complex<T>* out);
  void (*gather_norms)(const StateMemory<T>& state, size_t rows, const uint64_t* origins, const uint64_t* members,
                       const uint64_t* states, T* out);
};

template <class T>
const LargeKernels<T>& large_kernels();

}  // namespace quanta::simulate
