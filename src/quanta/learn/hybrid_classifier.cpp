#include "quanta/learn/hybrid_classifier.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "quanta/core/log.h"
#include "quanta/learn/ensembles.h"
#include "quanta/learn/linear.h"
#include "quanta/learn/neighbors.h"
#include "quanta/learn/svm.h"

namespace quanta {
namespace {

using Options = HybridOptions;
using Made = std::unique_ptr<Classifier>;

/// A row of QuXAI's table of models.
struct Kind {
  std::string name;
  Readout readout;  // Amplitude: whatever the options say
  std::function<Made(const Options&)> hybrid;
  std::function<Made(const Options&)> classical{};  // empty: the same
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = [] {
    const auto svm = [](SvmOptions options) {
      return [=](const Options&) -> Made { return std::make_unique<Svm>(options); };
    };
    const auto knn = [](bool precomputed) {
      return [=](const Options&) -> Made {
        return std::make_unique<NearestNeighbors>(NearestOptions{.precomputed = precomputed});
      };
    };
    const auto forest = [](bool extra) {
      return [=](const Options& o) -> Made {
        return std::make_unique<RandomForest>(
            ForestOptions{.trees = o.trees, .max_depth = o.depth, .extra = extra, .seed = o.seed});
      };
    };
    const SvmOptions precomputed{.kernel = SvmOptions::Kernel::kPrecomputed};
    return std::vector<Kind>{
        {"qrf", Readout::Amplitude, forest(false)},
        {"qextra", Readout::Amplitude, forest(true)},
        {"qdt", Readout::Amplitude,
         [](const Options& o) -> Made { return std::make_unique<DecisionTree>(TreeOptions{.max_depth = o.depth}); }},
        {"qada", Readout::Amplitude,
         [](const Options& o) -> Made { return std::make_unique<AdaBoost>(AdaBoostOptions{.rounds = o.trees}); }},
        {"qgb", Readout::Amplitude,
         [](const Options& o) -> Made {
           return std::make_unique<GradientBoosting>(GradientBoostingOptions{.rounds = o.trees});
         }},
        {"qlogistic", Readout::Amplitude,
         [](const Options&) -> Made { return std::make_unique<LogisticRegression>(); }},
        {"qridge", Readout::Amplitude, [](const Options&) -> Made { return std::make_unique<RidgeClassifier>(); }},
        {"qperceptron", Readout::Amplitude,
         [](const Options& o) -> Made { return std::make_unique<Perceptron>(PerceptronOptions{.seed = o.seed}); }},
        {"qnb", Readout::Amplitude, [](const Options&) -> Made { return std::make_unique<GaussianNb>(); }},
        {"qlda", Readout::Amplitude, [](const Options&) -> Made { return std::make_unique<Lda>(); }},
        {"qsvm", Readout::Kernel, svm(precomputed), svm({})},
        {"qsvc_poly", Readout::PolyKernel, svm(precomputed),
         svm({.kernel = SvmOptions::Kernel::kPoly, .degree = 3, .offset = 1})},
        {"qknn", Readout::Distance, knn(true), knn(false)},
    };
  }();
  return all;
}

const Kind& kind(const std::string& name) {
  const auto found = std::ranges::find(kinds(), name, &Kind::name);
  if (found == kinds().end())
    throw UsageError(fmt::format("unknown hybrid model '{}': expected {}", name, fmt::join(hybrid_names(), ", ")));
  return *found;
}

}  // namespace

Samples HybridClassifier::encode(const Samples& x) const {
  if (readout_ == Readout::Amplitude) return map_.amplitudes(x);
  if (readout_ == Readout::Probability) return map_.probabilities(x);
  Samples kernel = map_.kernel(x, training_);
  for (double& k : kernel.values)
    k = readout_ == Readout::PolyKernel ? std::pow(k + 1, 3) : readout_ == Readout::Distance ? std::abs(1 - k) : k;
  return kernel;
}

void HybridClassifier::learn(const Samples& x, const Labels& y) {
  training_ = x;
  learner_->fit(encode(x), y);
}

const std::vector<std::string>& hybrid_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const Kind& kind : kinds()) result.push_back(kind.name);
    return result;
  }();
  return names;
}

std::unique_ptr<HybridClassifier> make_hybrid(const std::string& name, int64_t columns, const HybridOptions& options) {
  const Kind& model = kind(name);
  require(columns <= options.max_qubits || options.truncate,
          "{}: {} columns need as many qubits, more than {}: raise max_qubits, or read the first columns with truncate",
          name, columns, options.max_qubits);
  const int qubits = int(std::min<int64_t>(columns, options.max_qubits));
  if (qubits < columns)
    log_warn("{}: only the first {} of {} columns are encoded; the others cannot matter", name, qubits, columns);
  return std::make_unique<HybridClassifier>(QuantumFeatureMap(options.map, qubits),
                                            model.readout == Readout::Amplitude ? options.features : model.readout,
                                            model.hybrid(options));
}

std::unique_ptr<Classifier> make_classical_equivalent(const std::string& name, const HybridOptions& options) {
  const Kind& model = kind(name);
  return model.classical ? model.classical(options) : model.hybrid(options);
}

}  // namespace quanta
