#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>

namespace quanta::simulate {

/// P|b> = i^ys (-1)^|b & z| |b ^ flip> where all `controls` are 1, and 0 elsewhere.
struct ControlledPauli {
  uint64_t controls = 0, flip = 0, z = 0;
  int ys = 0;
};

/// Amplitude b of a state of jets of order m: [2^wires][2^m][re, im] lanes; other jets: [2^m] lanes.
template <class T>
struct JetKernels {
  size_t lanes;
  /// exp(-i a P) where the controls are 1, cosine and sine being a's.
  void (*rotate)(int wires, const ControlledPauli& pauli, const T* cosine, const T* sine, T* psi);
  /// Adds Im<lambda|P|psi>, then undoes the rotation on both.
  void (*unrotate)(int wires, const ControlledPauli& pauli, const T* cosine, const T* sine, T* psi, T* lambda,
                   T* overlap);
  /// A [2^count][2^count] matrix on the amplitudes b ^ offsets[i] for each b without the bits of offsets.back() and
  /// with the controls. `scratch`: 2^count amplitudes' lanes.
  void (*dense)(int wires, uint64_t controls, size_t count, const uint64_t* offsets, const std::complex<T>* matrix,
                T* psi, T* scratch);
  /// Adds <psi|P|psi>.
  void (*measure)(int wires, const ControlledPauli& pauli, const T* psi, T* expectation);
  /// Adds factor * P psi to lambda.
  void (*observe)(int wires, const ControlledPauli& pauli, const T* factor, const T* psi, T* lambda);
};

template <class T>
const JetKernels<T>& jet_kernels(int order);

}  // namespace quanta::simulate
