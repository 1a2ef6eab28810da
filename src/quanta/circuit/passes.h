#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "quanta/circuit/transpile.h"

/// The steps of transpile(), each on lists of operations. Global phases are dropped except below controls.
namespace quanta::passes {

using Operations = std::vector<Operation>;

Operation gate(GateKind kind, std::vector<int> wires, std::vector<Angle> angles = {});
/// m on one wire, as U up to its phase.
Operation one_qubit(const Matrix& m, int wire);
/// The same, as RZ, RX or RY where it is that; nothing for the identity.
std::optional<Operation> canonical(const Matrix& m, int wire);
/// Whether it is a gate, unconditional and without symbolic angles, on that many wires.
bool is_constant_gate(const Operation& operation, size_t wires);
/// Angles that add up to factor * angle: two if a weight has to stand apart.
std::vector<Angle> scaled(const Angle& angle, double factor);
/// The sum, if it is an Angle.
std::optional<Angle> sum(const Angle& a, const Angle& b);
/// |a - e^{i phase} b| for the best phase, largest element.
double distance_up_to_phase(const Matrix& a, const Matrix& b);

/// A unitary on wires (wires[0] least significant) as U and CX.
void synthesize(const Matrix& u, const std::vector<int>& wires, Operations& out);
/// The number of CNOTs that a 4 x 4 unitary needs.
int cnot_count(const Matrix& u);
/// The same product of gates on the two wires, as U and CX.
void synthesize_pair(const Matrix& u, int low, int high, Operations& out);
/// The same as U and up to three of RXX, RYY, RZZ; and their number.
void synthesize_rotations(const Matrix& u, int low, int high, Operations& out);
int rotation_count(const Matrix& u);

/// What a set of gates can express.
class Basis {
 public:
  explicit Basis(const std::vector<std::string>& names);

  bool has(GateKind kind) const { return has_[size_t(kind)]; }
  /// Whether every one-qubit gate can be expressed, with symbolic angles too.
  bool continuous() const { return family_ != Family::None; }
  /// A rotation exp(-i a/2 PP) of two wires, if it has one: RZZ, RXX or RYY.
  std::optional<GateKind> interaction() const;
  std::string to_string() const;

  /// CX in gates of one qubit (any) and the basis' gates of two.
  void cnot(int control, int target, Operations& out) const;
  /// A symbolic gate of one qubit as constant ones and symbolic ones of the basis.
  void symbolic(const Operation& operation, Operations& out) const;
  /// A constant gate in gates of the basis; false if it has no such form.
  bool constant(const Matrix& m, int wire, Operations& out) const;

 private:
  enum class Family { None, U, SX, SXdg, H, Pair, Conjugated };
  void rotate(char axis, const Angle& angle, int wire, Operations& out) const;
  const std::vector<GateKind>* word(const Matrix& m) const;

  std::vector<bool> has_;
  std::vector<GateKind> fixed_;
  Family family_ = Family::None;
  char first_ = 0, second_ = 0;                                   // the axes of Euler angles
  GateKind turn_ = GateKind::I;                                   // a gate that takes one axis to the other
  std::unordered_map<std::string, std::vector<GateKind>> words_;  // shortest products of the fixed gates
};

/// Gates on one wire, on two (as they are in the gate table), and of the basis; those of one and two wires that the
/// basis lacks become U and CX where `pairs` is true.
Operations lower(const Operations& operations, int wires, const Basis& basis, bool pairs);

/// Runs of constant gates on a wire become one gate: RZ, RX, RY or U, or none.
void fuse(Operations& operations, int wires);
/// Constant gates of one qubit become RZ or RX where they are that up to a phase.
void name_rotations(Operations& operations);
/// Merges and cancels gates through those that they commute with.
void cancel(Operations& operations, int wires);
/// Blocks of constant gates on a pair of wires become U and CX, or Pauli rotations if the basis has such, where that
/// takes fewer gates.
void consolidate(Operations& operations, int wires, const Basis& basis);
/// CX, U and the gates that lower() leaves into gates of the basis; `fused`: runs of one-qubit gates as one.
Operations translate(const Operations& operations, int wires, const Basis& basis, bool fused);
/// Takes the SWAPs out by renaming the wires after them; wire q ends where result[q] says.
std::vector<int> elide_swaps(Operations& operations, int wires);

struct Routed {
  Operations operations;
  std::vector<int> initial_layout, final_layout;
};
/// Puts SWAPs where gates of two qubits need them; the best of `trials` starts, the first from the identity, which is
/// the initial layout of all of them if `fixed`.
Routed route(const Operations& operations, int clbits, const Coupling& coupling, int trials, bool fixed, uint64_t seed);
/// Throws Error unless the coupling is a connected graph of enough wires.
void check(const Coupling& coupling, int wires);

}  // namespace quanta::passes
