#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "quanta/quantize/activation_store.h"

namespace quanta {

/// A part of a network: hidden states [sequences, T, width] in and out.
using Part = std::function<torch::Tensor(const torch::Tensor& h)>;

struct MatchOptions {
  int64_t epochs = 10;  ///< 0: nothing is trained
  int64_t batch = 1;    ///< sequences a step, in their order
  double rate = 1e-4;   ///< of the first step; falls to 0 in a straight line
};

/// Trains `parameters` so that student(inputs) comes close to teacher(teacher_inputs) in mean square over the sequences
/// of both stores: AdamW without weight decay. The student must be safe to run on several threads; results do not
/// depend on their number. Error if the loss is not finite.
void match_outputs(const std::vector<torch::Tensor>& parameters, const Part& student, const ActivationStore& inputs,
                   const Part& teacher, const ActivationStore& teacher_inputs, const MatchOptions& options);

/// The mean square of student(inputs) - teacher(teacher_inputs).
double mismatch(const Part& student, const ActivationStore& inputs, const Part& teacher,
                const ActivationStore& teacher_inputs);

}  // namespace quanta
