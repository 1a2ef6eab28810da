#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "quanta/circuit/circuit.h"

/// A circuit lowered for a density matrix in the Pauli basis. The state is r_P = tr(P rho) for the 4^n Pauli strings P,
/// real numbers; a string's index has the digits I, X, Y, Z = 0..3 of wire 0 (least significant), wire 1, ...
namespace quanta::simulate::pauli_basis {

/// A channel on one wire as a map of (I, X, Y, Z), row-major; row 0 is (1, 0, 0, 0), for traces are kept.
using Map = std::array<double, 16>;

/// A part of a chain: a fixed map (axis 0), or the rotation about axis 1..3 (X, Y, Z) by scale * angle.
struct Factor {
  Map map{};
  int axis = 0;
  Angle angle;
  double scale = 1;
};

/// Kraus operators on `wires`, where the bits of `where`, read as a number with where[0] least significant, have
/// holds[bits]; nothing elsewhere.
struct Effect {
  std::vector<int> wires;
  std::vector<Matrix> kraus;
  std::vector<int> where;
  std::vector<uint8_t> holds{1};
};

/// One step of the program.
struct Step {
  enum class Kind : uint8_t {
    kChain,     // one-wire maps behind one another
    kRotation,  // exp(-i scale angle / 2 P) of the Pauli string with `digits` on `wires`
    kLocal,     // a fixed [4^w, 4^w] `matrix` on Pauli coefficients, wires[0] least significant
    kWide,      // an effect on too many wires for a block
  };
  Kind kind;
  std::vector<int> wires;
  std::vector<Factor> chain{};
  std::vector<int> digits{};
  Angle angle{};
  double scale = 1;
  std::vector<double> matrix{};
  Effect effect{};
};

/// A sparse matrix by rows. A monomial one, with exactly one element a row, needs no `begin`.
struct Sparse {
  std::vector<uint32_t> begin;  // [rows + 1]
  std::vector<uint32_t> column;
  std::vector<double> value;
  bool monomial = false;
};

/// A step on a block: the coefficients of all strings on a pass's wires, each a vector of lanes.
struct BlockStep {
  Step::Kind kind;
  int place = 0;           // of a chain: the digit of the block's index
  bool unital = false;     // of a chain: whether column 0 is that of the identity whatever the angles
  int slot = 0;            // first coefficient vector: a chain has 16, a rotation cosine and sine
  int gradient = -1;       // first gradient vector if anything is trainable: a chain has 16, a rotation one
  bool per_input = false;  // whether the coefficients depend on inputs
  std::vector<uint32_t> first{}, second{};  // of a rotation: first' = c first - s second, second' = s first + c second
  Sparse forward{}, backward{};             // of a local step: the matrix and its transpose
  Step step{};                              // where it comes from
};

/// Steps that run on one block after the other, or one wide step.
struct Pass {
  std::vector<int> wires;  // of the block, ascending
  std::vector<BlockStep> steps;
  bool wide = false;
  Effect effect{};  // of a wide pass
  // Where block element i and group element j are; L of the latter are the lanes of a group.
  std::vector<uint32_t> block_offset, outer_offset;
  bool transposed = false;  // whether the block has the wires 0 and 1, whose elements lie one behind the other
  int saves = 0;            // states of a block that its gradient keeps
};

struct Program {
  /// How the coefficients lie in memory.
  struct Layout {
    int wires = 0;
    size_t lanes = 1;
    bool by_sample = false;  // few wires: a lane is a sample and a block the whole state
    std::vector<uint32_t> stride;
    size_t size = 0;  // elements of a state
  };

  /// coefficient * (a string's coefficient at the end) of an observable. The string's factors are those at `offset`,
  /// and on each of `wires` row `digit` of its final chain's map.
  struct Term {
    int output;
    double coefficient;
    size_t offset = 0;
    std::vector<std::pair<int, int>> wires{};  // wire, digit
  };

  int qubits = 0;
  int weights = 0, inputs = 0;
  bool amplitude_encoding = false;
  Layout layout;
  std::vector<std::vector<Factor>> start;  // the chain that each wire begins with: its state is a product
  std::vector<Pass> passes;
  std::vector<std::vector<Factor>> finals;  // chains, by wire, that the observables take over
  std::vector<Term> terms;
  int coefficients = 0, gradients = 0;  // vectors of all passes
};

inline constexpr int kMaxQubits = 12;
inline constexpr int kMaxWires = 13;  // with the classical bits that conditions read

struct LowerOptions {
  bool product_start = false;  // the first chain of each wire acts on its own state
  bool absorb = false;         // the last steps act on the observables, where that is cheaper
};

/// Throws Error for a circuit that is too large.
Program lower(const Circuit& circuit, const std::vector<PauliSum>& observables, size_t lanes,
              const LowerOptions& options);

Map identity_map();
/// b after a.
Map after(const Map& b, const Map& a);

}  // namespace quanta::simulate::pauli_basis
