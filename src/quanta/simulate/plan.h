#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "quanta/simulate/aligned.h"
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

/// Up to six rotations on 64 amplitudes that stay in the first-level cache.
struct Block {
  int first = 0;  // of the layer's rotations
  int count = 0;
  std::vector<uint32_t> bases;  // amplitudes with all qubits of the block 0
  std::vector<Group> forward, backward;
};

/// Amplitudes on which the given qubits are all 0, ascending.
std::vector<uint32_t> subspace(int wires, const std::vector<Rotation>& qubits);

struct LayerTables {
  std::vector<Block> blocks;
  std::vector<std::vector<uint32_t>> sample_bases;  // of each sample gate
  std::vector<std::vector<uint32_t>> dense_bases;   // of each dense unitary
  std::vector<std::vector<uint32_t>> dense_corners;
  bool phases_trainable = false;  // the diagonal has gates with a derivative of their own
};

struct Tables {
  Tables(const Program& program, int forward_group, int backward_group);
  std::vector<LayerTables> layers;
  std::vector<int> overlap_slot;       // of each chain that is run as a rotation and trainable; -1 otherwise
  std::vector<char> runs_as_rotation;  // of each chain
  int overlap_slots = 0;
};

/// A factor of a chain per sample, or of one that makes the initial state, ready to use.
template <class T>
struct FactorValue {
  T cosine, sine;      // of half the angle; fixed matrices: a
  T cosine_b, sine_b;  // fixed matrices: b
};

template <class T>
struct LayerValues {
  std::vector<T> cosine, sine;          // [2^wires] the diagonal's factor; empty if there is none
  std::vector<T> tangent;               // of half the angle of each rotation, |tangent| <= 1
  std::vector<uint32_t> block_origin;   // XOR onto the block's addresses
  std::vector<T> xy_norm, z_norm;       // of each rotation: what the overlaps are to be multiplied with
  T scale = 1;                          // product of the rotations' cosines; contained in cosine and sine
  std::vector<uint32_t> sample_origin;  // XOR onto the addresses of each sample gate
  std::vector<uint32_t> dense_origin;
  uint64_t flipped = 0;  // frame flips in force at the diagonal
};

/// cosine + i sine = scale * exp(i * Walsh transform of spectrum); spectrum [max(2^wires, 8)], aligned, is lost.
template <class T>
using DiagonalFunction = void (*)(int wires, double* spectrum, double scale, T* cosine, T* sine);

/// The coefficients of a call: all that depends on the weights.
template <class T>
struct Values {
  std::vector<LayerValues<T>> layers;
  std::vector<std::vector<FactorValue<T>>> factors;  // [chain][factor] of chains that are not run as rotations
  uint64_t flipped = 0;                              // frame flips in force at the end
  double global_phase = 0;                           // taken out by the Z-Y-Z form
  std::vector<double> after_angle;                   // [chain] z1 of the Z-Y-Z form
  AlignedVector<double> spectrum;                    // scratch

  void update(const Program& program, const Tables& tables, const T* weights, DiagonalFunction<T> diagonal);
};

}  // namespace quanta::simulate
