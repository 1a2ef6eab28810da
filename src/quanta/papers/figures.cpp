#include "quanta/papers/figures.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/papers/statistics.h"

namespace quanta {

using torch::Tensor;

Series history_curve(const std::string& name, const std::vector<History>& histories, double Epoch::*column,
                     double scale) {
  require(!histories.empty(), "a curve needs at least one training");
  size_t epochs = histories.front().epochs.size();
  for (const History& history : histories) epochs = std::min(epochs, history.epochs.size());
  Series series;
  series.name = name;
  for (size_t epoch = 0; epoch < epochs; ++epoch) {
    std::vector<double> values;
    for (const History& history : histories) values.push_back(scale * (history.epochs[epoch].*column));
    series.x.push_back(double(epoch + 1));
    series.y.push_back(mean(values));
    series.low.push_back(mean(values) - standard_deviation(values));
    series.high.push_back(mean(values) + standard_deviation(values));
  }
  return series;
}

Figure confusion_figure(const Evaluation& evaluation, const ImageSet& test, const std::string& caption) {
  const Tensor counts = evaluation.confusion.contiguous();
  const int64_t* first = counts.data_ptr<int64_t>();
  return confusion_plot(test.classes, {first, first + counts.numel()}, caption);
}

Figure misclassified_figure(const Evaluation& evaluation, const ImageSet& test, int at_most) {
  const Tensor wrong = evaluation.predictions.ne(test.labels).nonzero().flatten();
  if (wrong.numel() == 0) return {.caption = "Misclassified images.", .svg = "", .note = "There are none."};
  const Tensor sureness = std::get<0>(torch::softmax(evaluation.outputs, 1).max(1)).index_select(0, wrong);
  const Tensor order = wrong.index_select(0, sureness.argsort(0, /*descending=*/true)).slice(0, 0, at_most);
  std::vector<GridImage> images;
  for (int64_t i = 0; i < order.size(0); ++i) {
    const int64_t sample = order[i].item<int64_t>();
    const Tensor image = test.images[sample].contiguous();
    const auto name = [&](const Tensor& labels) { return test.classes[labels[sample].item<int64_t>()]; };
    images.push_back({.channels = image.size(0),
                      .height = image.size(1),
                      .width = image.size(2),
                      .pixels = {image.data_ptr<uint8_t>(), image.data_ptr<uint8_t>() + image.numel()},
                      .caption = fmt::format("{} → {}", name(test.labels), name(evaluation.predictions))});
  }
  return image_grid(images, 10,
                    fmt::format("Misclassified images (true class → prediction): of {}, the {} it was surest of.",
                                wrong.size(0), order.size(0)));
}

}  // namespace quanta
