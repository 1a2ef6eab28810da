#pragma once

#include <string>
#include <vector>

#include "quanta/learn/classifier.h"

namespace quanta {

/// QuXAI's explainer (arXiv 2505.10167): which classical columns a trained model depends on. Columns are perturbed
/// before the model sees the rows, so a hybrid model encodes the perturbed rows anew; the model is never refitted. Rows
/// are standardised: 0 stands for the mean.
struct QMedleyOptions {
  enum class Config {
    Dci,          ///< drop-column importance alone
    Pi,           ///< permutation importance alone
    Average,      ///< their mean
    Adaptive,     ///< 0.7 : 0.3 in favour of the one that is 1.2 times larger
    Interaction,  ///< mean, with noise in the most correlated column while a column is permuted
    Both,         ///< the last two
  };
  int repeats = 5;
  Config config = Config::Average;
  uint64_t seed = 0;
  int local_rows = 20;  ///< reference rows that stand in for a column in a local explanation
};

struct Importance {
  std::vector<double> dci{};    ///< accuracy lost with the column at 0
  std::vector<double> pi{};     ///< accuracy lost with the column permuted, the mean over the repeats
  std::vector<double> score{};  ///< as the configuration combines them
};

class QMedley {
 public:
  /// Throws Error if repeats < 1.
  explicit QMedley(QMedleyOptions options = {});

  /// Explains a fitted model on reference rows [n, d] with labels. The model must outlive this. Permutations are those
  /// of (seed, column, repeat), whatever the configuration. A constant column is warned of: its scores are 0.
  void fit(const Classifier& model, const Samples& x, const Labels& y);

  const Importance& global() const;

  /// Which columns drive the model's class of one row [d]: the score of that class it loses with the column at 0 and
  /// with the column of other rows, combined in the same way. A margin counts through the logistic function.
  Importance local(const std::vector<double>& row) const;

 private:
  double combine(double dci, double pi) const;
  QMedleyOptions options_;
  const Classifier* model_ = nullptr;
  Samples x_;
  Importance global_;
};

/// "dci", "pi", "average", "adaptive", "interaction", "both"; UsageError that lists them.
QMedleyOptions::Config parse_medley(const std::string& word);
const std::vector<std::string>& medley_names();

}  // namespace quanta
