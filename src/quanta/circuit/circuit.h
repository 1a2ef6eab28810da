#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "quanta/circuit/angle.h"
#include "quanta/circuit/channel.h"
#include "quanta/circuit/gate.h"
#include "quanta/circuit/pauli.h"

namespace quanta {

/// Holds if the classical bits first, ..., first + count - 1, read as a number with `first` least significant, equal
/// `value` (differ from it if `negated`).
struct Condition {
  int first = 0;
  int count = 1;
  uint64_t value = 1;
  bool negated = false;

  /// `bits`: one byte a classical bit of the circuit.
  bool holds(const uint8_t* bits) const;
  friend bool operator==(const Condition&, const Condition&) = default;
};

/// Classical bits with a name. Bit k of the register is bit first + k of the circuit.
struct ClassicalRegister {
  std::string name;
  int first;
  int size;
  friend bool operator==(const ClassicalRegister&, const ClassicalRegister&) = default;
};

/// One step of a circuit. `wires` are the gate's own wires in the gate table's order (built-in controls first), for a
/// PauliRotation the string's wires, for an AmplitudeEncoding all wires, for a Barrier those it spans (none: all);
/// `controls` are further controls, all of which must be 1.
struct Operation {
  GateKind kind;
  std::vector<int> wires;
  std::vector<Angle> angles;
  std::vector<int> controls;
  PauliString pauli;                         // of PauliRotation
  std::shared_ptr<const Matrix> matrix{};    // of Unitary
  std::shared_ptr<const Channel> channel{};  // of Channel
  int clbit = -1;                            // of Measure: the classical bit that gets the outcome
  std::array<double, 2> misread{};           // of Measure: probability to read 1 for a 0, and 0 for a 1
  std::vector<Condition> conditions{};       // it happens only where all of them hold

  /// The matrix on wires = [own wires..., controls...], own wires least significant, for these parameter values. Throws
  /// Error for what is not unitary.
  Matrix unitary(const double* weights = nullptr, const double* inputs = nullptr) const;
  /// Own wires and controls.
  std::vector<int> all_wires() const;
};

/// A list of operations on `wires` qubits that start in |0...0>. Qubit 0 is the least significant bit of a basis
/// state's index. Each method appends one operation and returns the circuit, and throws Error for a wire that is out of
/// range or repeated, a wrong number of angles, an angle that is not finite, or a matrix that is not unitary (to 1e-6).
/// Classical bits start at 0; they hold the outcomes of measurements and may condition later operations.
class Circuit {
 public:
  /// 1 .. kMaxWires wires; with `clbits` > 0 a classical register "c" of that size.
  explicit Circuit(int wires, int clbits = 0);

  int wires() const { return wires_; }
  int weights() const { return weights_; }  // 1 + the highest weight index in use; weight() gets this index
  int inputs() const { return inputs_; }    // 1 + the highest input index in use; 2^wires with amplitude encoding
  const std::vector<Operation>& operations() const { return operations_; }
  /// The longest chain of operations on wires (barriers count for nothing).
  int depth() const;
  bool has_amplitude_encoding() const;
  int clbits() const { return clbits_; }
  const std::vector<ClassicalRegister>& registers() const { return registers_; }
  /// Appends classical bits; returns the first one's index. The name must be new.
  int add_register(const std::string& name, int size);
  /// Whether it has no measurement, reset, channel or condition: what a state vector alone can run.
  bool is_unitary() const;
  /// This circuit without the measurements at its end, i.e. those after which nothing happens to their qubit, and
  /// without barriers. What remains may still measure in its midst.
  Circuit without_final_measurements() const;
  /// This circuit without resets of wires on which nothing has happened yet.
  Circuit without_initial_resets() const;
  /// The measurements that without_final_measurements leaves out, in order.
  std::vector<Operation> final_measurements() const;

  Circuit& i(int q);
  Circuit& x(int q);
  Circuit& y(int q);
  Circuit& z(int q);
  Circuit& h(int q);
  Circuit& s(int q);
  Circuit& sdg(int q);
  Circuit& t(int q);
  Circuit& tdg(int q);
  Circuit& sx(int q);
  Circuit& sxdg(int q);
  Circuit& rx(int q, Angle a);
  Circuit& ry(int q, Angle a);
  Circuit& rz(int q, Angle a);
  Circuit& p(int q, Angle a);
  Circuit& u(int q, Angle theta, Angle phi, Angle lambda);
  /// RZ(a), RY(b), RZ(c) in this order of time: any rotation.
  Circuit& rot(int q, Angle a, Angle b, Angle c);
  Circuit& cnot(int control, int target);
  Circuit& cx(int control, int target) { return cnot(control, target); }
  Circuit& cy(int control, int target);
  Circuit& cz(int control, int target);
  Circuit& ch(int control, int target);
  Circuit& crx(int control, int target, Angle a);
  Circuit& cry(int control, int target, Angle a);
  Circuit& crz(int control, int target, Angle a);
  Circuit& cp(int control, int target, Angle a);
  Circuit& cu(int control, int target, Angle theta, Angle phi, Angle lambda, Angle gamma);
  Circuit& swap(int a, int b);
  Circuit& iswap(int a, int b);
  Circuit& rxx(int a, int b, Angle angle);
  Circuit& ryy(int a, int b, Angle angle);
  Circuit& rzz(int a, int b, Angle angle);
  Circuit& ccx(int control1, int control2, int target);
  Circuit& cswap(int control, int a, int b);
  /// exp(-i angle/2 P).
  Circuit& pauli_rotation(const PauliString& pauli, Angle angle);
  /// A dense unitary on wires[0] (least significant) ... wires[k-1], 1 <= k <= 10.
  Circuit& unitary(const std::vector<int>& wires, Matrix matrix);
  /// Sets the start state to the inputs, normalized: amplitude b is input[b]. Must be the first operation; at most 28
  /// wires.
  Circuit& amplitude_encoding();
  Circuit& barrier();
  Circuit& measure(int q, int clbit);
  /// Every wire, qubit q into bit q of a new register "meas".
  Circuit& measure_all();
  Circuit& reset(int q);
  /// Noise on wires[0] (least significant of the Kraus operators' index), ...
  Circuit& channel(quanta::Channel channel, const std::vector<int>& wires);
  /// The operations of `body`, a circuit with the same classical registers, each where the condition holds too. Throws
  /// Error if `body` measures into a bit of the condition (later operations would see another value).
  Circuit& when(const Condition& condition, const Circuit& body);

  /// Any row of the gate table, with further controls: add(GateKind::X, {2}, {}, {0, 1}) is a Toffoli gate.
  Circuit& add(GateKind kind, std::vector<int> wires, std::vector<Angle> angles = {}, std::vector<int> controls = {});
  Circuit& add(Operation operation);
  /// Makes weights() and inputs() at least these, used or not.
  Circuit& declare(int weights, int inputs);
  /// Another circuit's operations (its classical bits keep their indices), its wire q becoming on[q] (q if `on` is
  /// empty); its weights and inputs keep their indices, shifted by the offsets.
  Circuit& append(const Circuit& other, std::vector<int> on = {}, int weight_offset = 0, int input_offset = 0);

  /// CNOT(q, (q + stride) mod n) for q = 0 .. n-1: n gates, two of them on two wires; nothing on one wire.
  Circuit& cnot_ring(int stride = 1);
  /// CNOT(0,1), ..., CNOT(n-2,n-1).
  Circuit& cnot_chain();

  /// The inverse circuit (same weights and inputs). A gate whose negated angle is no Angle becomes several, an ISWAP a
  /// Unitary. Throws Error with amplitude encoding and
  /// unless is_unitary().
  Circuit inverse() const;

  /// 2^wires dimensional matrix for parameter values (wires <= 12), by products of Operation::unitary. Throws Error
  /// with amplitude encoding.
  Matrix matrix(const std::vector<double>& weights = {}, const std::vector<double>& inputs = {}) const;

 private:
  // Checks all but the matrix.
  Circuit& place(Operation operation);

  int wires_;
  int weights_ = 0;
  int inputs_ = 0;
  int clbits_ = 0;
  std::vector<ClassicalRegister> registers_;
  std::vector<Operation> operations_;
};

}  // namespace quanta
