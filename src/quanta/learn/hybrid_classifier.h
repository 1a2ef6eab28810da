#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quanta/learn/classifier.h"
#include "quanta/learn/quantum_features.h"

namespace quanta {

/// How a learner gets to see the quantum states.
enum class Readout {
  Amplitude,    ///< |amplitudes|
  Probability,  ///< |amplitudes|^2
  Kernel,       ///< overlaps with the training rows
  PolyKernel,   ///< (kernel + 1)^3
  Distance,     ///< 1 - kernel
};

/// A classical learner on quantum features of classical rows. Every prediction encodes its rows anew; overlaps are
/// taken with the rows of fit().
class HybridClassifier : public Classifier {
 public:
  HybridClassifier(QuantumFeatureMap map, Readout readout, std::unique_ptr<Classifier> learner)
      : map_(std::move(map)), readout_(readout), learner_(std::move(learner)) {}

  const QuantumFeatureMap& map() const { return map_; }
  /// What the learner is given for these rows.
  Samples encode(const Samples& x) const;
  bool probabilistic() const override { return learner_->probabilistic(); }

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override { return learner_->scores(encode(x)); }
  Labels decide(const Samples& x) const override { return learner_->predict(encode(x)); }

  QuantumFeatureMap map_;
  Readout readout_;
  std::unique_ptr<Classifier> learner_;
  Samples training_;
};

struct HybridOptions {
  QuantumFeatureMap::Kind map = QuantumFeatureMap::Kind::Rx;
  Readout features = Readout::Amplitude;  ///< or Probability, of the models that read neither kernel nor distance
  int trees = 50;                         ///< of forests, and rounds of boosting
  int depth = 5;                          ///< of trees and forests
  int max_qubits = 8;
  bool truncate = false;  ///< of wider rows read the first max_qubits columns, with a warning, instead of an Error
  uint64_t seed = 0;
};

/// The models of QuXAI: qrf, qextra, qdt, qada, qgb, qlogistic, qridge, qperceptron, qnb, qlda, qsvm, qsvc_poly, qknn.
const std::vector<std::string>& hybrid_names();

/// A model by name for rows of so many columns. UsageError that lists the names.
std::unique_ptr<HybridClassifier> make_hybrid(const std::string& name, int64_t columns,
                                              const HybridOptions& options = {});

/// Its classical equivalent: the same learner for the rows themselves (kernels become RBF and polynomial ones, the
/// distance Euclidean).
std::unique_ptr<Classifier> make_classical_equivalent(const std::string& name, const HybridOptions& options = {});

}  // namespace quanta
