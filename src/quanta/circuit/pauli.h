#pragma once

#include <complex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quanta/circuit/gate.h"

namespace quanta {

/// Wires are numbered from 0 to kMaxWires - 1, in Pauli strings as in circuits.
inline constexpr int kMaxWires = 65536;

/// A product of Pauli operators on different wires, sorted by wire; empty: the identity.
struct PauliString {
  std::vector<std::pair<int, char>> factors;  // wire, 'X' | 'Y' | 'Z'

  PauliString() = default;
  /// Sorts the factors; throws Error on a repeated wire, one that is out of range, or another letter.
  explicit PauliString(std::vector<std::pair<int, char>> factors);

  int max_wire() const;     // -1 for the identity
  char at(int wire) const;  // 'I' where absent
  bool commutes_with(const PauliString& other) const;
  bool qubit_wise_commutes_with(const PauliString& other) const;
  std::string to_string() const;  // "X0 Z3"; "I" for the identity
  friend bool operator==(const PauliString&, const PauliString&) = default;
  friend auto operator<=>(const PauliString&, const PauliString&) = default;
};

/// A real linear combination of Pauli strings: a Hermitian observable.
///   Z(0) * Z(1) + 0.5 * X(2) - 1.0
struct PauliSum {
  struct Term {
    double coefficient;
    PauliString pauli;
    friend bool operator==(const Term&, const Term&) = default;
  };
  std::vector<Term> terms;

  PauliSum() = default;
  PauliSum(double constant);  // NOLINT: a number is that multiple of the identity
  PauliSum(PauliString pauli, double coefficient = 1);

  /// Parses "Z0 Z1 + 0.5 X2 - 1.25" or "0.5*X0*Y1": terms joined by + and -, each a product (by blanks or *) of numbers
  /// and of X, Y, Z with a wire's number, or I. Throws Error naming the column (from 1) and what stands there.
  static PauliSum parse(std::string_view text);

  int max_wire() const;  // -1 if it names none
  /// Equal strings added up, zero terms dropped, sorted by string.
  PauliSum simplified() const;
  /// In parse()'s form, "0" without terms; the coefficients read back to the last bit.
  std::string to_string() const;
  /// The dense 2^wires matrix (wires <= 12), for tests and small exact solutions.
  Matrix matrix(int wires) const;
};

PauliSum X(int wire);
PauliSum Y(int wire);
PauliSum Z(int wire);
PauliSum operator+(const PauliSum& a, const PauliSum& b);
PauliSum operator-(const PauliSum& a, const PauliSum& b);
PauliSum operator-(const PauliSum& a);
/// Simplified. A product that is not Hermitian, as X(0) * Y(0) = i Z(0), throws Error.
PauliSum operator*(const PauliSum& a, const PauliSum& b);

/// One observable a wire: {Z(0), ..., Z(n-1)} from each('Z', n).
std::vector<PauliSum> each(char pauli, int wires);
/// The sum of one Pauli over all wires.
PauliSum sum_of(char pauli, int wires);

}  // namespace quanta
