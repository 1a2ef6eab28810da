#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/aligned.h"

namespace quanta::simulate {

struct RowSet;

/// A register of `batch` state vectors of `wires` qubits on which operations act at once, gate by gate: the workshop
/// for everything that needs the states between the gates (trajectories, tangents, metric tensors). Any operator may be
/// applied, so the vectors need be neither normalized nor states. Runs of whole circuits are faster with a Simulator.
///
/// The batch is innermost: a SIMD lane is a sample. A batch smaller than a vector register shares the register with the
/// lowest qubits, so a single state wastes nothing. Large states use all threads; results do not depend on their
/// number, and a sample's result not on the rest of the batch but for rounding.
///
/// `mask`, where there is one: a byte a sample; samples with 0 stay as they are. Values "a sample" are arrays of
/// batch() numbers. Wires that are out of range or repeated, and other batches of another shape, throw Error.
template <class Real>
class StateBatch {
 public:
  /// All states |0...0>. Throws Error if wires is not in 1..30, batch below 1, or if the memory does not suffice.
  StateBatch(int wires, int64_t batch);

  int wires() const { return wires_; }
  int64_t batch() const { return batch_; }
  /// How many samples fill a vector register: batches of multiples of it waste nothing.
  static int64_t lanes();

  void set_zero_state();
  /// All amplitudes 0.
  void set_zero();
  /// amplitudes [batch, 2^wires].
  void set_amplitudes(const std::complex<Real>* amplitudes);
  void amplitudes(std::complex<Real>* amplitudes) const;
  std::complex<Real> amplitude(int64_t sample, uint64_t state) const {
    const Real* at = data_.data() + address(sample, state);
    return {at[0], at[width_]};
  }
  void set_amplitude(int64_t sample, uint64_t state, std::complex<Real> value) {
    Real* at = data_.data() + address(sample, state);
    at[0] = value.real();
    at[width_] = value.imag();
  }
  /// Sample b becomes sample source[b] of `from`, a batch on as many wires.
  void copy(const StateBatch& from, std::span<const int64_t> source);

  /// A unitary gate of the table, an AmplitudeEncoding (sets the states) or a Barrier; others throw Error. Conditions
  /// are not looked at. Sample b reads inputs[b * input_stride + j]; a stride of 0 shares one row.
  void apply(const Operation& operation, const Real* weights = nullptr, const Real* inputs = nullptr,
             int64_t input_stride = 0, const uint8_t* mask = nullptr);
  /// Any matrix, 1 to 10 wires, wires[0] least significant; where not all controls are 1 the state stays as it is.
  void apply_matrix(std::span<const int> wires, const Matrix& matrix, std::span<const int> controls = {},
                    const uint8_t* mask = nullptr);
  /// The same with a matrix a sample, all of one dimension; at most 6 wires.
  void apply_each(std::span<const int> wires, std::span<const Matrix> matrices, std::span<const int> controls = {},
                  const uint8_t* mask = nullptr);
  void apply_pauli(const PauliString& pauli, const uint8_t* mask = nullptr);
  /// exp(-i angle/2 P) with an angle a sample.
  void rotate(const PauliString& pauli, std::span<const double> angles, std::span<const int> controls = {},
              const uint8_t* mask = nullptr);

  /// psi_b += factor_b P x_b: with a PauliSum's terms its product with states, with the identity a sum of states.
  void add(const StateBatch& x, std::span<const Complex> factors, const PauliString& pauli = {});
  void add(const StateBatch& x, Complex factor, const PauliString& pauli = {});
  void scale(std::span<const Complex> factors);
  void scale(Complex factor);

  /// <psi_b|psi_b>.
  std::vector<double> norms() const;
  /// <psi_b|x_b>.
  std::vector<Complex> inner(const StateBatch& x) const;
  /// The part of the norm where the wire is 1; the probability for normalized states.
  std::vector<double> probabilities_of_one(int wire) const;
  /// Makes the wire outcome_b and normalizes. An outcome without probability throws Error.
  void project(int wire, std::span<const uint8_t> outcomes, const uint8_t* mask = nullptr);
  /// values[b * observables.size() + k] = <psi_b|O_k|psi_b>. Terms that flip the same qubits share one pass.
  void expectations(std::span<const PauliSum> observables, Real* values) const;
  /// A basis state of each, drawn from |amplitude|^2 (normalized or not) by its uniform number in [0, 1).
  std::vector<uint64_t> draw(std::span<const double> uniform) const;
  /// |amplitude|^2 of one sample, [2^wires].
  void probabilities(int64_t sample, Real* probabilities) const;

 private:
  // Row of an amplitude: its number without the low_bits_ lowest bits; lane: those bits and the sample.
  size_t address(int64_t sample, uint64_t state) const {
    const uint64_t low = state & ((uint64_t{1} << low_bits_) - 1);
    return size_t(state >> low_bits_) * 2 * width_ + size_t(low << stride_bits_) + size_t(sample);
  }
  uint64_t rows() const { return uint64_t{1} << (wires_ - low_bits_); }
  uint64_t row_bits(uint64_t wires) const { return wires >> low_bits_; }
  uint32_t lane_bits(uint64_t wires) const {
    return uint32_t((wires & ((uint64_t{1} << low_bits_) - 1)) << stride_bits_);
  }
  // The sample of a lane and the lowest bits of its amplitudes; false for lanes that hold nothing.
  bool lane(size_t lane, int64_t& sample, uint64_t& low) const;
  uint64_t check_wires(std::span<const int> wires, std::span<const int> controls) const;
  void check_same(const StateBatch& x) const;
  // Lanes in which an operation acts; null if all.
  const Real* select(std::span<const int> controls, const uint8_t* mask, AlignedVector<Real>& lanes) const;
  RowSet row_set(uint64_t excluded_rows, std::span<const int> controls) const;
  void mix(std::span<const int> wires, std::span<const int> controls, int dim, std::span<const Matrix> matrices,
           const uint8_t* mask);
  // Sums over rows in an order that is the same for any number of threads: [sums] lanes.
  std::vector<double> sum_rows(uint64_t count, size_t sums,
                               const std::function<void(uint64_t, uint64_t, Real*)>& add) const;

  int wires_;
  int64_t batch_;
  int low_bits_, stride_bits_;
  size_t width_;
  AlignedVector<Real> data_;
};

/// The matrix of a unitary gate's targets, without built-in and further controls, and which wires those are. A
/// PauliRotation's is dense: small strings only.
struct TargetMatrix {
  Matrix matrix;
  std::vector<int> targets, controls;
};
template <class Real>
TargetMatrix target_matrix(const Operation& operation, const Real* weights, const Real* inputs);
/// Angle::value for numbers of any precision.
template <class Real>
double angle_value(const Angle& angle, const Real* weights, const Real* inputs);

}  // namespace quanta::simulate
