#pragma once

#include <cstdint>
#include <vector>

#include "quanta/simulate/clifford.h"

namespace quanta::simulate {

/// A stabilizer state U|0...0> by the images U^dagger X_q U and U^dagger Z_q U, one row of bits each: a gate multiplies
/// rows, and whether Z_q has a definite value is seen in one row.
class Tableau {
 public:
  explicit Tableau(int wires);

  void apply(const CliffordStep& gate);
  /// Whether a measurement of wire q has only one possible outcome.
  bool is_determined(int q) const;
  /// Measures wire q, with this outcome if both are possible; returns the outcome.
  bool measure(int q, bool if_random);

 private:
  uint64_t* x(int row) { return &bits_[size_t(row) * 2 * words_]; }
  uint64_t* z(int row) { return x(row) + words_; }
  const uint64_t* x(int row) const { return &bits_[size_t(row) * 2 * words_]; }
  // Rows of X_q and of Z_q.
  int xs(int q) const { return rows_[2 * size_t(q)]; }
  int zs(int q) const { return rows_[2 * size_t(q) + 1]; }
  /// row a <- i^phase a b
  void multiply(int a, int b, int phase);
  /// Makes Z_q determined, with either outcome; returns the qubit before U that decides.
  int collapse(int q);

  int wires_, words_;
  std::vector<uint64_t> bits_;  // [row][x words, z words]
  std::vector<uint8_t> signs_;  // of each row
  std::vector<int> rows_;       // where the images of X_0, Z_0, X_1, ... are
};

}  // namespace quanta::simulate
