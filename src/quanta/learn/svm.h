#pragma once

#include <memory>
#include <optional>

#include "quanta/learn/classifier.h"

namespace quanta {

struct SvmOptions {
  /// kPrecomputed: samples are rows of kernel values against the n training samples ([n, n] for fit, [m, n] later).
  enum class Kernel { kLinear, kPoly, kRbf, kPrecomputed } kernel = Kernel::kRbf;
  double c = 1;
  std::optional<double> gamma{};  ///< of kPoly and kRbf; by default 1 / (features * variance of all numbers)
  int degree = 3;                 ///< of kPoly, (gamma x z + offset)^degree
  double offset = 0;
  double tolerance = 1e-3;
};

/// Whether this build has LIBSVM; without it Svm's constructor throws an Error that names the package.
bool have_libsvm();

/// Support vector classifier, one class against one, by LIBSVM (Chang and Lin, 2011). Scores of two classes are the
/// margin {-m, m}, of more the votes plus a share below 1/3 for the margins' sum.
class Svm : public Classifier {
 public:
  explicit Svm(SvmOptions options = {});
  ~Svm() override;
  bool probabilistic() const override { return false; }

 private:
  void learn(const Samples& x, const Labels& y) override;
  Samples score(const Samples& x) const override;
  Labels decide(const Samples& x) const override;

  SvmOptions options_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
