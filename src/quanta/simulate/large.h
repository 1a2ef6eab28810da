#pragma once

#include <complex>
#include <cstdint>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/simulate/kernels.h"

namespace quanta::simulate {

// One state too large for the cache. Its lowest bits are the lanes of a vector (a CHUNK: [re, im][lane]), the others
// the chunk's number. A layer's rotations are done in SWEEPS: the chunks that the rotations of a sweep mix (up to 2^11,
// chosen so that they fit into the second-level cache) are gathered, worked on and put back, so a sweep moves the state
// through memory once. Chunks are permuted in their lanes while gathering such that each rotation then mixes whole
// vectors.

struct Sweep {
  std::vector<int> rotations;       // of the layer, with independent flips above the lanes
  std::vector<int> lane_rotations;  // with flips within the lanes
  std::vector<uint64_t> span;       // physical flips of the block's index bits: those of the rotations, then others
  std::vector<uint32_t> offsets;    // [2^span] XOR onto a chunk's number
  std::vector<uint32_t> lanes;      // [2^span] XOR onto the lane
  uint64_t free = 0;                // bits of a chunk's number that tell one block from another
};

/// Memory for a state, and the coefficients of the run that filled it.
template <class T>
class LargeState {
 public:
  explicit LargeState(int wires);
  LargeState(const LargeState&) = delete;
  ~LargeState();

  /// Real part of physical amplitude p.
  T* at(uint64_t p) const {
    return data_ + (p >> lane_bits_ << (lane_bits_ + 1)) + (p & ((uint64_t{1} << lane_bits_) - 1));
  }
  std::complex<T> amplitude(uint64_t p) const {
    const T* real = at(p);
    return {real[0], real[uint64_t{1} << lane_bits_]};
  }
  void set(uint64_t p, std::complex<T> value) {
    T* real = at(p);
    real[0] = value.real();
    real[uint64_t{1} << lane_bits_] = value.imag();
  }

  Values<T> values;

 private:
  int lane_bits_;
  size_t bytes_;
  T* data_;
};

template <class T>
class LargeSimulator {
 public:
  LargeSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables);

  /// Runs the circuit on one sample.
  void run(const T* weights, const T* inputs, LargeState<T>& state) const;

  /// How often run() goes through the state.
  int64_t sweeps() const;

  void expectations(const LargeState<T>& state, T* values) const;
  /// In the order of basis states. The phase is included.
  void amplitudes(const T* weights, const T* inputs, const LargeState<T>& state, std::complex<T>* amplitudes) const;
  void probabilities(const LargeState<T>& state, T* probabilities) const;
  void samples(const LargeState<T>& state, int64_t shots, Random random, uint64_t* samples) const;

 private:
  Program program_;
  Tables tables_;
  std::vector<std::vector<Sweep>> sweeps_;  // of each layer
};

// --- kernels
// ----------------------------------------------------------------------------------------------------------

/// The number's bits, from the lowest, at the places of the mask's bits.
inline uint64_t spread(uint64_t number, uint64_t mask) {
  uint64_t result = 0;
  for (; mask; mask &= mask - 1, number >>= 1)
    if (number & 1) result |= mask & -mask;
  return result;
}

// --- kernels

template <class T>
struct SweepRotation {
  T tangent;
  uint64_t parity;  // physical mask
  bool exchanged;
  uint32_t lane_flip;  // of lane rotations
};

template <class T>
struct SweepWork {
  const Sweep* sweep;
  T* state;
  std::vector<SweepRotation<T>> rotations, lane_rotations;
  const std::vector<std::pair<uint64_t, double>>* phases;  // null: none
  std::vector<uint32_t> local_masks;                       // of the phases: bits of the block's index, then lanes
  T scale;
  const CoefficientMath<T>* math;
};

template <class T>
struct LargeKernels {
  int lane_bits;
  /// Chunks first .. last - 1 of the product of single-qubit states: upper[2^(bits - bits/2)] x lower[2^(bits/2)] x
  /// lanes.
  void (*product)(T* state, uint64_t first, uint64_t last, int lower_bits, const std::complex<T>* upper,
                  const std::complex<T>* lower, const std::complex<T>* lanes);
  void (*sweep)(const SweepWork<T>& work, uint64_t first_block, uint64_t last_block);
  /// Walsh transform of |psi|^2 over one block of 2^bits chunks: spectrum [2^bits][lanes].
  void (*density)(const T* chunks, int bits, T* spectrum);
};

template <class T>
const LargeKernels<T>& large_kernels();

}  // namespace quanta::simulate
