#pragma once

#include <cstddef>
#include <cstdint>

#include "quanta/simulate/plan.h"

namespace quanta::simulate {

/// One tile's work. Lane arrays are [row][lanes], aligned to a vector; lanes beyond the batch hold zeros.
template <class T>
struct Tile {
  const Program* program;
  const Tables* tables;
  const Values<T>* values;
  const T* weights;   // [weights]
  const T* inputs;    // [inputs] lanes
  T* psi;             // [2^wires][2] lanes
  T* lambda;          // [2^wires][2] lanes; backward only
  T* scratch;         // [2^wires][2] lanes
  T* product;         // [wires][4] lanes: the initial state of each wire
  const T* upstream;  // [outputs] lanes
  T* expectations;    // [outputs] lanes
  T* dinputs;         // [inputs] lanes, added to
  T* dweights;        // [weights] lanes, added to
  T* overlaps;        // [overlap_slots][X, Y, Z] lanes, added to
};

/// The kernels of the best instruction set of this processor.
template <class T>
struct Kernels {
  size_t lanes;
  int forward_group, backward_group;
  const char* target;
  void (*forward)(const Tile<T>&);   // fills psi
  void (*measure)(const Tile<T>&);   // psi -> expectations
  void (*backward)(const Tile<T>&);  // psi, upstream -> dinputs, dweights, overlaps; psi and lambda are lost
  /// sums[i] = sum of row i.
  void (*sum_lanes)(size_t rows, const T* lanes, double* sums);
  CoefficientMath<T> math;
};

template <class T>
const Kernels<T>& kernels();

}  // namespace quanta::simulate
