#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/learn/classifier.h"
#include "quanta/variational/optimizer.h"

namespace quanta {

/// The class that a measured basis state stands for, as qiskit-aqua's VQC has it (system 14). Two classes: majority of
/// ones on an odd number of qubits, else parity. Three: parity of the first half of the bit string (highest qubit
/// first, the longer half) plus that of the rest. More: equal ranges of the state's index.
int class_of_state(uint64_t state, int qubits, int classes);

struct VqcOptions {
  Optimizer optimizer = Cobyla{};
  std::vector<double> start{};  ///< of the angles; empty: standard normal numbers
  int64_t shots = 0;            ///< of each circuit run; 0: exact probabilities
  uint64_t seed = 0;
  OptimizerCallback callback{};
};

/// Variational quantum classifier (Havlicek et al., Nature 567, 209, 2019): a map's circuit writes a row, an ansatz
/// with trainable angles follows, and class k's score is the probability to measure one of its states. Trained on the
/// mean cross-entropy, probabilities clipped to [1e-12, 1 - 1e-12].
///
/// Rows are written into states once; for given angles each class is an observable U^T P_k U, with which all rows'
/// probabilities are one matrix-vector product. At most 8 qubits.
class VariationalQuantumClassifier : public Classifier {
 public:
  /// `map` has an input for each feature and no weights, `ansatz` weights and no inputs, on the same qubits. Throws
  /// Error if not.
  VariationalQuantumClassifier(Circuit map, Circuit ansatz, VqcOptions options = {});

  int parameters() const { return ansatz_.weights(); }
  /// Of fit(): the angles, and how they were found.
  const Minimum& minimum() const;

  /// Exact probabilities of the classes [n, classes] for these angles.
  Samples probabilities(const Samples& x, const std::vector<double>& theta, int classes) const;
  /// What fit() minimizes, on these samples; `gradient` is the chain rule's: the shift rule on probabilities. With
  /// shots, every evaluation draws anew.
  Objective objective(const Samples& x, const Labels& y) const;

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;

  Circuit map_, ansatz_;
  VqcOptions options_;
  std::optional<Minimum> minimum_;
};

}  // namespace quanta
