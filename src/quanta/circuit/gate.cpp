#include "quanta/circuit/gate.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <numbers>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using enum GateKind;

// clang-format off
constexpr auto kTable = std::to_array<GateInfo>({
    {.kind = I, .name = "I", .qasm = "id", .wires = 1, .hermitian = true, .summary = "identity"},
    {.kind = X, .name = "X", .qasm = "x", .wires = 1, .hermitian = true, .summary = "Pauli X, the bit flip"},
    {.kind = Y, .name = "Y", .qasm = "y", .wires = 1, .hermitian = true, .summary = "Pauli Y"},
    {.kind = Z, .name = "Z", .qasm = "z", .wires = 1, .hermitian = true, .summary = "Pauli Z, the phase flip"},
    {.kind = H, .name = "H", .qasm = "h", .wires = 1, .hermitian = true, .summary = "Hadamard"},
    {.kind = S, .name = "S", .qasm = "s", .wires = 1, .summary = "diag(1, i)"},
    {.kind = Sdg, .name = "Sdg", .qasm = "sdg", .wires = 1, .summary = "diag(1, -i)"},
    {.kind = T, .name = "T", .qasm = "t", .wires = 1, .summary = "diag(1, exp(i pi/4))"},
    {.kind = Tdg, .name = "Tdg", .qasm = "tdg", .wires = 1, .summary = "diag(1, exp(-i pi/4))"},
    {.kind = SX, .name = "SX", .qasm = "sx", .wires = 1, .summary = "principal square root of X"},
    {.kind = SXdg, .name = "SXdg", .qasm = "sxdg", .wires = 1, .summary = "inverse of SX"},
    {.kind = RX, .name = "RX", .qasm = "rx", .wires = 1, .angles = 1, .summary = "exp(-i a/2 X)"},
    {.kind = RY, .name = "RY", .qasm = "ry", .wires = 1, .angles = 1, .summary = "exp(-i a/2 Y)"},
    {.kind = RZ, .name = "RZ", .qasm = "rz", .wires = 1, .angles = 1, .summary = "exp(-i a/2 Z)"},
    {.kind = P, .name = "P", .qasm = "p", .wires = 1, .angles = 1, .summary = "diag(1, exp(i a))"},
    {.kind = U, .name = "U", .qasm = "U", .wires = 1, .angles = 3,
     .summary = "any rotation, P(phi) RY(theta) P(lambda) as matrices"},
    {.kind = SWAP, .name = "SWAP", .qasm = "swap", .wires = 2, .hermitian = true, .summary = "exchanges two qubits"},
    {.kind = ISWAP, .name = "ISWAP", .qasm = "iswap", .wires = 2,
     .summary = "exchanges two qubits, with a factor i if they differ"},
    {.kind = RXX, .name = "RXX", .qasm = "rxx", .wires = 2, .angles = 1, .summary = "exp(-i a/2 XX)"},
    {.kind = RYY, .name = "RYY", .qasm = "ryy", .wires = 2, .angles = 1, .summary = "exp(-i a/2 YY)"},
    {.kind = RZZ, .name = "RZZ", .qasm = "rzz", .wires = 2, .angles = 1, .summary = "exp(-i a/2 ZZ)"},
    {.kind = CX, .name = "CX", .qasm = "cx", .wires = 2, .controls = 1, .base = X, .hermitian = true,
     .summary = "controlled X (CNOT)"},
    {.kind = CY, .name = "CY", .qasm = "cy", .wires = 2, .controls = 1, .base = Y, .hermitian = true,
     .summary = "controlled Y"},
    {.kind = CZ, .name = "CZ", .qasm = "cz", .wires = 2, .controls = 1, .base = Z, .hermitian = true,
     .summary = "controlled Z"},
    {.kind = CH, .name = "CH", .qasm = "ch", .wires = 2, .controls = 1, .base = H, .hermitian = true,
     .summary = "controlled Hadamard"},
    {.kind = CRX, .name = "CRX", .qasm = "crx", .wires = 2, .angles = 1, .controls = 1, .base = RX,
     .summary = "controlled RX"},
    {.kind = CRY, .name = "CRY", .qasm = "cry", .wires = 2, .angles = 1, .controls = 1, .base = RY,
     .summary = "controlled RY"},
    {.kind = CRZ, .name = "CRZ", .qasm = "crz", .wires = 2, .angles = 1, .controls = 1, .base = RZ,
     .summary = "controlled RZ"},
    {.kind = CP, .name = "CP", .qasm = "cp", .wires = 2, .angles = 1, .controls = 1, .base = P,
     .summary = "controlled P: a phase exp(i a) on |11>"},
    {.kind = CU, .name = "CU", .qasm = "cu", .wires = 2, .angles = 4, .controls = 1, .base = U,
     .summary = "controlled exp(i gamma) U(theta, phi, lambda)"},
    {.kind = CCX, .name = "CCX", .qasm = "ccx", .wires = 3, .controls = 2, .base = X, .hermitian = true,
     .summary = "Toffoli: X with two controls"},
    {.kind = CSWAP, .name = "CSWAP", .qasm = "cswap", .wires = 3, .controls = 1, .base = SWAP, .hermitian = true,
     .summary = "Fredkin: controlled SWAP"},
    {.kind = PauliRotation, .name = "PauliRotation", .angles = 1, .summary = "exp(-i a/2 P) of a Pauli string P"},
    {.kind = Unitary, .name = "Unitary", .summary = "a dense unitary matrix"},
    {.kind = AmplitudeEncoding, .name = "AmplitudeEncoding", .summary = "the inputs, normalized, as amplitudes"},
    {.kind = Barrier, .name = "Barrier", .qasm = "barrier", .hermitian = true,
     .summary = "does nothing; separates what is drawn"},
    {.kind = Measure, .name = "Measure", .qasm = "measure", .wires = 1, .summary = "measures into a classical bit"},
    {.kind = Reset, .name = "Reset", .qasm = "reset", .wires = 1, .summary = "sets the qubit to |0>"},
    {.kind = Channel, .name = "Channel", .summary = "noise: a quantum channel"},
});
// clang-format on

constexpr bool in_order() {
  for (size_t i = 0; i < kTable.size(); ++i)
    if (kTable[i].kind != GateKind(i)) return false;
  return true;
}
static_assert(in_order(), "a row's place is its kind");

constexpr Complex kI{0, 1};

Matrix diagonal(Complex a, Complex b) {
  return Matrix(2, {a, 0, 0, b});
}

// exp(-i angle/2 P) for P^2 = 1.
Matrix rotation(const Matrix& p, double angle) {
  Matrix result(p.dim);
  for (size_t i = 0; i < p.data.size(); ++i) result.data[i] = -kI * std::sin(angle / 2) * p.data[i];
  for (int i = 0; i < p.dim; ++i) result(i, i) += std::cos(angle / 2);
  return result;
}

Matrix u_matrix(double theta, double phi, double lambda) {
  const double c = std::cos(theta / 2), s = std::sin(theta / 2);
  return Matrix(2, {c, -s * std::polar(1.0, lambda), s * std::polar(1.0, phi), c * std::polar(1.0, phi + lambda)});
}

}  // namespace

Matrix Matrix::identity(int dim) {
  Matrix result(dim);
  for (int i = 0; i < dim; ++i) result(i, i) = 1;
  return result;
}

Matrix Matrix::adjoint() const {
  Matrix result(dim);
  for (int row = 0; row < dim; ++row)
    for (int column = 0; column < dim; ++column) result(column, row) = std::conj((*this)(row, column));
  return result;
}

double Matrix::unitarity_error() const {
  // The upper half of U^dagger U, row by row of U, in plain real arithmetic: a 10-qubit matrix takes 4 GFLOP.
  double largest = 0;
  std::vector<double> re(data.size()), im(data.size()), sum_re(dim), sum_im(dim);
  for (size_t i = 0; i < data.size(); ++i) {
    re[i] = data[i].real();
    im[i] = data[i].imag();
  }
  for (int i = 0; i < dim; ++i) {
    std::fill(sum_re.begin() + i, sum_re.end(), 0);
    std::fill(sum_im.begin() + i, sum_im.end(), 0);
    for (int k = 0; k < dim; ++k) {
      const double* row_re = &re[size_t(k) * dim];
      const double* row_im = &im[size_t(k) * dim];
      const double a = row_re[i], b = row_im[i];
      for (int j = i; j < dim; ++j) {
        sum_re[j] += a * row_re[j] + b * row_im[j];
        sum_im[j] += a * row_im[j] - b * row_re[j];
      }
    }
    sum_re[i] -= 1;
    for (int j = i; j < dim; ++j) {
      const double error = std::hypot(sum_re[j], sum_im[j]);
      if (!(error <= largest)) largest = std::isnan(error) ? INFINITY : error;
    }
  }
  return largest;
}

Matrix operator*(const Matrix& a, const Matrix& b) {
  require(a.dim == b.dim, "matrices of dimension {} and {} cannot be multiplied", a.dim, b.dim);
  Matrix result(a.dim);
  for (int i = 0; i < a.dim; ++i)
    for (int k = 0; k < a.dim; ++k)
      for (int j = 0; j < a.dim; ++j) result(i, j) += a(i, k) * b(k, j);
  return result;
}

Matrix kron(const Matrix& high, const Matrix& low) {
  Matrix result(high.dim * low.dim);
  for (int i = 0; i < high.dim; ++i)
    for (int j = 0; j < high.dim; ++j)
      for (int k = 0; k < low.dim; ++k)
        for (int l = 0; l < low.dim; ++l) result(i * low.dim + k, j * low.dim + l) = high(i, j) * low(k, l);
  return result;
}

Matrix controlled(const Matrix& base, int controls) {
  Matrix result = Matrix::identity(base.dim << controls);
  const int ones = (1 << controls) - 1;
  for (int row = 0; row < base.dim; ++row)
    for (int column = 0; column < base.dim; ++column)
      result(row << controls | ones, column << controls | ones) = base(row, column);
  return result;
}

const GateInfo& gate_info(GateKind kind) {
  return kTable[size_t(kind)];
}

std::span<const GateInfo> gate_table() {
  return kTable;
}

bool is_unitary(GateKind kind) {
  return kind < AmplitudeEncoding;
}

const GateInfo* find_gate(std::string_view name) {
  const auto equal = [name](std::string_view other) {
    return !other.empty() && std::ranges::equal(name, other, [](unsigned char a, unsigned char b) {
      return std::tolower(a) == std::tolower(b);
    });
  };
  const auto* row = std::ranges::find_if(kTable, [&](const GateInfo& i) { return equal(i.name) || equal(i.qasm); });
  return row == kTable.end() ? nullptr : row;
}

GateKind rotation_about(char axis) {
  require(axis >= 'X' && axis <= 'Z', "a rotation's axis: expected X, Y or Z, got character {}", int(axis));
  return axis == 'X' ? RX : axis == 'Y' ? RY : RZ;
}

Matrix gate_matrix(GateKind kind, std::span<const double> angles) {
  const GateInfo& info = gate_info(kind);
  require(info.wires > 0 && is_unitary(kind), "{} has no matrix in the gate table", info.name);
  require(int(angles.size()) == info.angles, "{}: expected {} angles, got {}", info.name, info.angles, angles.size());
  if (kind == CU) {
    Matrix base = u_matrix(angles[0], angles[1], angles[2]);
    for (Complex& element : base.data) element *= std::polar(1.0, angles[3]);
    return controlled(base, 1);
  }
  if (info.controls > 0) return controlled(gate_matrix(info.base, angles), info.controls);

  const auto fixed = [](GateKind gate) { return gate_matrix(gate, {}); };
  constexpr double kRootHalf = std::numbers::sqrt2 / 2;
  switch (kind) {
    case I:
      return Matrix::identity(2);
    case X:
      return Matrix(2, {0, 1, 1, 0});
    case Y:
      return Matrix(2, {0, -kI, kI, 0});
    case Z:
      return diagonal(1, -1);
    case H:
      return Matrix(2, {kRootHalf, kRootHalf, kRootHalf, -kRootHalf});
    case S:
      return diagonal(1, kI);
    case Sdg:
      return diagonal(1, -kI);
    case T:
      return diagonal(1, {kRootHalf, kRootHalf});
    case Tdg:
      return diagonal(1, {kRootHalf, -kRootHalf});
    case SX:
      return Matrix(2, {{0.5, 0.5}, {0.5, -0.5}, {0.5, -0.5}, {0.5, 0.5}});
    case SXdg:
      return Matrix(2, {{0.5, -0.5}, {0.5, 0.5}, {0.5, 0.5}, {0.5, -0.5}});
    case RX:
      return rotation(fixed(X), angles[0]);
    case RY:
      return rotation(fixed(Y), angles[0]);
    case RZ:
      return rotation(fixed(Z), angles[0]);
    case P:
      return diagonal(1, std::polar(1.0, angles[0]));
    case U:
      return u_matrix(angles[0], angles[1], angles[2]);
    case SWAP:
      return Matrix(4, {1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1});
    case ISWAP:
      return Matrix(4, {1, 0, 0, 0, 0, 0, kI, 0, 0, kI, 0, 0, 0, 0, 0, 1});
    case RXX:
      return rotation(kron(fixed(X), fixed(X)), angles[0]);
    case RYY:
      return rotation(kron(fixed(Y), fixed(Y)), angles[0]);
    case RZZ:
      return rotation(kron(fixed(Z), fixed(Z)), angles[0]);
    default:
      fail("{} has no matrix in the gate table", info.name);
  }
}

}  // namespace quanta
