// A quantum circuit between two classical layers learns to read digits, and leaves a page about it.
#include <torch/torch.h>

#include <cstdio>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/nn/init.h"
#include "quanta/nn/quantum_layer.h"
#include "quanta/report/plot.h"
#include "quanta/report/report.h"
#include "quanta/train/trainer.h"

int main() {
  using namespace quanta;
  const ImageSet train = glyph_digits({.count = 600, .size = 8, .classes = {0, 1, 2}});
  const ImageSet test = glyph_digits({.count = 300, .size = 8, .classes = {0, 1, 2}, .split = GlyphSplit::kTest});

  Circuit circuit(4);
  angle_encoding(circuit, 'Y');  // RY(input(q)) on qubit q
  strongly_entangling(circuit, 2);

  torch::nn::Sequential net(torch::nn::Flatten(), torch::nn::Linear(64, 4),
                            QuantumLayer(circuit, each('Z', 4)),  // [batch, 4] -> [batch, 4]
                            torch::nn::Linear(4, 3));
  initialize(*net, Random(1));

  torch::optim::Adam adam(net->parameters(), 0.01);
  const History history =
      train_classifier(net, adam, {train.images, train.labels}, {}, {.epochs = 8, .batch = 20, .seed = 1});
  const Evaluation result = evaluate(net, {test.images, test.labels});
  std::printf("accuracy on %d unseen digits: %.3f\n", int(test.size()), result.accuracy);

  Report report{.recipe = "hybrid", .title = "Digits through four qubits", .mode = "small", .seed = 1};
  report.data = {"glyph digits", "generated", train.size(), test.size()};
  report.results = {{.name = "test accuracy", .value = 100 * result.accuracy, .unit = "%"}};
  report.checks = {{"better than chance by far", result.accuracy > 0.8, "accuracy above 0.8; chance is 0.33"}};
  report.sections = {
      {.title = "Training",
       .figures = {line_plot({.title = "Loss",
                              .x = {"epoch"},
                              .y = {"cross-entropy"},
                              .series = {{.name = "train", .x = {}, .y = history.values(&Epoch::train_loss)}}})}}};
  write_html(report, "hybrid.html");
  return report.passed() ? 0 : 1;
}
