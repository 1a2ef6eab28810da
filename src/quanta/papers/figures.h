#pragma once

#include <string>
#include <vector>

#include "quanta/data/dataset.h"
#include "quanta/report/plot.h"
#include "quanta/train/trainer.h"

// What the pages of several recipes show.

namespace quanta {

/// One column of several trainings' histories: the mean over the trainings at each epoch all have completed, times
/// `scale`, with a band of one standard deviation.
Series history_curve(const std::string& name, const std::vector<History>& histories, double Epoch::*column,
                     double scale = 1);

/// The confusion matrix of an evaluation on images of these classes.
Figure confusion_figure(const Evaluation& evaluation, const ImageSet& test, const std::string& caption);

/// The wrongly classified images that the model was surest of, at most so many. `evaluation` is of logits of `test`.
Figure misclassified_figure(const Evaluation& evaluation, const ImageSet& test, int at_most = 20);

}  // namespace quanta
