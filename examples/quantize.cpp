// Takes a small convolutional network to 8 bits, runs it in integers alone, and writes it for ONNX Runtime; then to 3
// bits, after training and by training.
#include <cstdio>

#include "quanta/data/gratings.h"
#include "quanta/export/onnx.h"
#include "quanta/models/mini_nets.h"
#include "quanta/quantize/ptq.h"
#include "quanta/quantize/qat.h"
#include "quanta/quantize/to_integer.h"
#include "quanta/train/images.h"

int main() {
  using namespace quanta;
  use_threads(1);  // such small layers gain nothing from more
  const ImageSet train = gratings({.count = 1500, .seed = 1}), test = gratings({.count = 500, .seed = 2});
  const Normalization normalization = grating_units();
  Network net = micro_mobile(8);
  train_images(net, train, {}, normalization, {.epochs = 6, .batch = 32, .rate = 0.1});
  const auto accuracy = [&](const Network& network) { return evaluate_images(network, test, normalization).accuracy; };
  const double exact = accuracy(net);

  // 8 bits after training: ranges of activations come from a few images.
  const auto calibration = normalization.apply(train.take(256).to_float());
  Network quantized = ptq(net, calibration);
  const IntegerNetwork integers = to_integer(quantized, {3, 16, 16});
  export_onnx("quantized.onnx", quantized, {.input = {3, 16, 16}});

  const auto images = normalization.apply(test.to_float()).contiguous();
  const auto logits =
      integers.run({images.data_ptr<float>(), size_t(images.numel())}, int(test.size()));  // no floating point inside
  const auto guesses = torch::tensor(logits).view({test.size(), -1}).argmax(1);
  const double as_integers = guesses.eq(test.labels).to(torch::kFloat64).mean().item<double>();

  // 3-bit weights: rounded, and trained on with simulated quantization.
  const UniformOptions three{.bits = 3, .symmetric = true, .narrow = true, .axis = 0};
  const double rounded = accuracy(ptq(net, calibration, {.weight = three}));
  const QatOptions options{.weight = three, .decay = 0.99};
  Network student = prepare_qat(net, options);
  train_images(student, train, {}, normalization,
               {.epochs = 3, .batch = 32, .rate = 0.03, .before_step = [&](int64_t step, int64_t steps) {
                  qat_step(student, options, step, steps);
                }});
  const double trained = accuracy(finish_qat(student));

  std::printf("accuracy: float %.3f, 8 bits %.3f, integers %.3f; 3 bits %.3f after training, %.3f by training\n", exact,
              accuracy(quantized), as_integers, rounded, trained);
  return as_integers > exact - 0.03 && trained > rounded ? 0 : 1;
}
