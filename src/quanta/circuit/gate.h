#pragma once

#include <complex>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace quanta {

using Complex = std::complex<double>;

/// A square complex matrix, row-major. Row and column indices are basis states of the gate's wires, wires[0] being the
/// LEAST significant bit (OpenQASM's and Qiskit's order).
struct Matrix {
  int dim = 0;
  std::vector<Complex> data;

  Matrix() = default;
  explicit Matrix(int dim) : dim(dim), data(size_t(dim) * dim) {}
  Matrix(int dim, std::vector<Complex> data) : dim(dim), data(std::move(data)) {}
  static Matrix identity(int dim);

  Complex& operator()(int row, int column) { return data[size_t(row) * dim + column]; }
  const Complex& operator()(int row, int column) const { return data[size_t(row) * dim + column]; }
  Matrix adjoint() const;
  /// Largest |element| of U^dagger U - 1.
  double unitarity_error() const;
};
Matrix operator*(const Matrix& a, const Matrix& b);
/// kron(high, low): `low` acts on the less significant bits.
Matrix kron(const Matrix& high, const Matrix& low);

// clang-format off
enum class GateKind : uint8_t {
  I, X, Y, Z, H, S, Sdg, T, Tdg, SX, SXdg,    // one qubit, fixed
  RX, RY, RZ, P, U,                           // one qubit, with angles
  SWAP, ISWAP, RXX, RYY, RZZ,                 // two qubits
  CX, CY, CZ, CH, CRX, CRY, CRZ, CP, CU,      // one control (wires[0]) and a base gate
  CCX, CSWAP,                                 // wires[0], (wires[1]) control
  PauliRotation,                              // exp(-i angle/2 P), P the Pauli string in Operation::pauli
  Unitary,                                    // the dense matrix in Operation::matrix
  AmplitudeEncoding,                          // the first operation only: the inputs are the amplitudes
  Barrier,
  Measure,  // of one qubit; the outcome goes to Operation::clbit
  Reset,    // of one qubit to |0>
  Channel,  // the noise in Operation::channel
};
// clang-format on

/// One row of the gate table: parser, writer, drawing, simulators, tests and documentation read it.
struct GateInfo {
  GateKind kind;
  std::string_view name;       // as drawn and printed: "RX"
  std::string_view qasm = {};  // in OpenQASM's standard library or as Qiskit writes it: "rx"; empty if it has none
  int wires = 0;               // own wires with the built-in controls; 0: as many as given
  int angles = 0;
  int controls = 0;               // how many of the first wires are controls
  GateKind base = kind;           // what the controls control; the gate itself if controls == 0
  bool hermitian = false;         // U = U^dagger whatever the angles
  std::string_view summary = {};  // one line of documentation
};

const GateInfo& gate_info(GateKind kind);
/// Whether it has a unitary matrix: not AmplitudeEncoding, Barrier, Measure, Reset and Channel.
bool is_unitary(GateKind kind);
std::span<const GateInfo> gate_table();
/// By name or OpenQASM name, in any case; nullptr if there is none.
const GateInfo* find_gate(std::string_view name);
/// RX, RY or RZ for 'X', 'Y' or 'Z'; throws Error for another letter.
GateKind rotation_about(char axis);

/// The matrix of a gate of the table (controls included) with its angles in radians, as OpenQASM 3's standard library
/// has it: P(a) = diag(1, e^ia), RZ(a) = diag(e^-ia/2, e^ia/2),
///   U(theta, phi, lambda) = P(phi) RY(theta) P(lambda)      (so U(0, 0, a) = P(a); Qiskit's phase)
///   CU(theta, phi, lambda, gamma) = controlled e^{i gamma} U(theta, phi, lambda)
/// Throws Error for a wrong number of angles, and for PauliRotation, Unitary and what is not unitary;
/// Operation::unitary knows the first two.
Matrix gate_matrix(GateKind kind, std::span<const double> angles);

/// `base` where the first (least significant) `controls` wires are all 1, and 1 on all other states.
Matrix controlled(const Matrix& base, int controls);

}  // namespace quanta
