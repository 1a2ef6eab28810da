#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "quanta/core/aligned.h"
#include "quanta/simulate/program.h"

namespace quanta::simulate {

// What the kernels need besides the Program: address tables (made once) and coefficients (made for each call).
// A TILE is as many samples as a vector register has lanes. Its state is [2^wires][re, im][lane]: the batch is
// innermost, so a gate is the same arithmetic in every lane and needs no shuffles, and any permutation of amplitudes is
// free.

/// Up to eight amplitudes that are held in registers while one to three rotations act on them.
struct Group {
  int first = 0;  // of the block's rotations
  int count = 0;
  std::array<uint32_t, 8> corners{};  // XOR offsets of the group's amplitudes
  std::vector<uint32_t> offsets;      // XOR offsets of the groups within the block
};

/// Rotations on amplitudes that stay in the first-level cache meanwhile.
struct Block {
  std::vector<int> rotations;   // indices into the layer's
  std::vector<uint32_t> bases;  // amplitudes with all qubits of the block 0
  std::vector<Group> groups;
};

/// Amplitudes on which the given qubits are all 0, ascending.
std::vector<uint32_t> subspace(int wires, const std::vector<Rotation>& qubits);

struct LayerTables {
  std::vector<Block> forward, backward;
  std::vector<std::vector<uint32_t>> sample_bases;  // of each sample gate
  std::vector<std::vector<uint32_t>> dense_bases;   // of each dense unitary
  std::vector<std::vector<uint32_t>> dense_corners;
  bool phases_trainable = false;  // the diagonal has gates with a derivative of their own
};

struct Tables {
  /// For tiles; with groups of 0 for a single large state, which has tables of its own (large.h).
  Tables(const Program& program, int forward_group, int backward_group);
  bool for_tiles;
  std::vector<LayerTables> layers;
  std::vector<int> overlap_slot;       // of each chain that is run as a rotation and trainable; -1 otherwise
  std::vector<char> runs_as_rotation;  // of each chain
  int overlap_slots = 0;
};

template <class T>
struct LayerValues {
  std::vector<std::pair<uint64_t, double>> phases;  // the diagonal: exp(-i half (-1)^parity(p & mask)) of (mask, half)
  AlignedVector<T> cosine, sine;                    // [2^wires] their product times scale; empty if there are none
  std::vector<T> tangent;                           // of half the angle of each rotation, |tangent| <= 1
  std::vector<char> exchanged;                      // of each rotation: whether even parity is its qubit's 1
  std::vector<uint32_t> forward_origin;             // XOR onto the addresses of each block
  std::vector<uint32_t> backward_origin;
  std::vector<T> xy_norm, z_norm;       // of each rotation: what the overlaps are to be multiplied with
  T scale = 1;                          // product of the rotations' cosines; contained in cosine and sine
  std::vector<uint32_t> sample_origin;  // XOR onto the addresses of each sample gate
  std::vector<uint32_t> dense_origin;
  uint64_t flipped = 0;  // frame flips in force at the diagonal
};

/// Vectorized mathematics that the coefficients need. Arrays are aligned and may be overrun to a multiple of 8.
template <class T>
struct CoefficientMath {
  void (*sine_cosine)(size_t count, const double* angle, double* sine, double* cosine);
  void (*polar)(size_t count, const double* re, const double* im, double* modulus, double* argument);
  /// cosine + i sine = scale * exp(i * Walsh transform of spectrum); spectrum is lost.
  void (*diagonal)(int wires, double* spectrum, double scale, T* cosine, T* sine);
};

/// Spreads the derivative of an angle over the weights and inputs it is made of.
template <class T>
struct AngleGradient {
  const T* weights;
  const T* inputs;  // may be null if no angle reads them
  double* dweights;
  double* dinputs;  // null: not wanted

  void add(const Angle& angle, double dangle) const;
};

/// The coefficients of a call: all that depends on the weights.
template <class T>
struct Values {
  std::vector<LayerValues<T>> layers;
  /// Cosine and sine of half the angle of a factor that depends on no input; fixed matrices: (a, b).
  struct FactorValue {
    double cosine, sine, cosine_b, sine_b;
  };
  std::vector<FactorValue> factors;  // all chains' factors in order
  std::vector<size_t> first_factor;  // [chain]
  uint64_t flipped = 0;              // frame flips in force at the end
  double global_phase = 0;           // taken out by the Z-Y-Z form

  /// `inputs` may be null unless the program was lowered for single samples.
  void update(const Program& program, const Tables& tables, const T* weights, const T* inputs,
              const CoefficientMath<T>& math);

  /// The product of a chain's factors.
  Su2 matrix(const Program& program, int chain) const;

  /// Chains that ran as rotations: adds the derivatives of their angles, from overlaps [overlap_slots][X, Y, Z] behind
  /// the RY part, to dweights.
  void add_gradients(const Program& program, const Tables& tables, const double* overlaps,
                     const AngleGradient<T>& gradient, const CoefficientMath<T>& math);

  /// The same for one chain, from overlaps behind all of it.
  void chain_gradient(const Program& program, int chain, std::array<double, 3> xyz,
                      const AngleGradient<T>& gradient) const;

 private:
  AlignedVector<double> angle_, sine_, cosine_;                                      // of the factors
  AlignedVector<double> a_re_, a_im_, b_re_, b_im_, a_abs_, a_arg_, b_abs_, b_arg_;  // of the chains
  AlignedVector<double> before_, after_, after_sine_, after_cosine_;  // z0 and z1 of the Z-Y-Z form of the chains
  AlignedVector<double> spectrum_;
  std::vector<double> cosines_;
  std::vector<char> flips_;
};

}  // namespace quanta::simulate
