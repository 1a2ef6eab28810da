#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "quanta/nn/fold.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// Quantization-aware training (arXiv 1806.08342, section 3.2).
struct QatOptions {
  /// With `learned` the steps are parameters (LSQ); otherwise weights have the range of the moment.
  UniformOptions weight{.bits = 8, .symmetric = true, .narrow = true, .axis = 0};
  UniformOptions activation{};
  double decay = 0.999;  ///< of the moving averages of the activations' ranges; 0.99 for short trainings

  int first_bits = 0;  ///< as in PtqOptions
  int last_bits = 0;
  std::map<std::string, int> weight_bits{};
  std::map<std::string, int> activation_bits{};
  bool activations = true;  ///< false: only weights are quantized
  bool quantize_output = false;

  BatchNormFold fold = BatchNormFold::Rescaled;
  int64_t quant_delay = 0;       ///< steps of float training before values are quantized; ranges are followed already
  double freeze_bn = 2.0 / 3.0;  ///< share of the steps after which the moments of batch normalization rest; 1: never
};

/// A copy for training, in training mode: convolutions with batch normalization are one ConvBn2d layer, weight slots
/// and the output slots that ptq() would fill hold a FakeQuantize that trains. Start from a trained float network or
/// one whose ranges ptq() has equalized; train it as any other with the learning rate some 10 times below the last one,
/// no weight decay on learned steps ("scale"), and qat_schedule() as the trainer's schedule. Errors as ptq()'s.
Network prepare_qat(const Network& net, const QatOptions& options = {});

/// A schedule for TrainOptions::schedule that also does, before each step, what the options say of the course of the
/// training: quantizing from `quant_delay` on, freezing batch normalization. What it does depends on the step alone, so
/// a resumed training goes on as if it had not stopped. `rate` gives the learning rate's factor; empty: 1.
std::function<double(int64_t step, int64_t steps)> qat_schedule(
    const Network& net, const QatOptions& options, std::function<double(int64_t step, int64_t steps)> rate = {});
/// The same for a loop of one's own: call it before each step.
void qat_step(Network net, const QatOptions& options, int64_t step, int64_t steps);

/// What ptq() would have given: a copy in evaluation mode with batch normalization folded and frozen quantizers. Its
/// outputs are those of the trained network in evaluation mode, bit for bit. Error if the training never ran.
Network finish_qat(const Network& net);

}  // namespace quanta
