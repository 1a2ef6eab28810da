#pragma once

#include "quanta/quantize/gptq.h"

namespace quanta {

/// Optimal Brain Quantization (arXiv 2208.11580, algorithm 3), which GPTQ makes fast: in each row on its own, always
/// rounds next the weight that costs least, (w_j - q_j)^2 / [H^-1]_jj, and updates all others and H^-1. For small
/// layers, as the reference: O(N K^3). Levels are fitted to the given weight, all in float64. Damping, losses and
/// errors as gptq(); error if H + lambda I is not positive definite.
GptqResult obq(const torch::Tensor& w, const torch::Tensor& h, const GridRule& rule, double damping = 0.01);

}  // namespace quanta
