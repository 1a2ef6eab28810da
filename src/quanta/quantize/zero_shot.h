#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "quanta/nn/network.h"
#include "quanta/quantize/distill.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/mixed_precision.h"
#include "quanta/quantize/sensitivity.h"

namespace quanta {

// Quantization without any data: ZeroQ (Cai et al., arXiv 2001.00281). Distilled images measure what each layer loses
// with each width, a Pareto frontier picks the widths, and the same images set the ranges of the activations.

/// ZeroQ's grid for ranges [low, high]: n = 2^bits - 1 steps of (high - low) / n, codes [0, n], zero point
/// -round(low / step). The one of choose_qparams() but for ranges on one side of 0, which it does not widen. With
/// S = n / (high - low) and Z = round(S low) + 2^(bits - 1) it is the paper's
/// q = clamp(round(S x - Z), -2^(bits - 1), 2^(bits - 1) - 1), x^ = (q + Z) / S, codes counted from 0. Steps are at
/// least 1e-8 / n and 2^-22 of the larger end, so that zero points stay exact.
QuantParams zero_shot_params(const torch::Tensor& low, const torch::Tensor& high, int bits, bool per_channel);

/// With this grid for the extremes of a weight's rows, or of all values; frozen, so that save_quantized() and the
/// exports know it. For SensitivityOptions::quantizer.
std::shared_ptr<FakeQuantize> zero_shot_quantizer(const torch::Tensor& values, int bits, bool per_channel);

/// Puts such quantizers into the weight slots of all layers, in the network's order.
void quantize_weights(Network& net, const std::vector<int>& bits);

/// Puts a quantizer behind every ReLU and ReLU6 for the extremes that its values take on the data [N, C, H, W], in one
/// range a tensor (its own extremes where the range is empty). Quantizers that are there already are replaced.
void calibrate_activations(Network& net, const torch::Tensor& data, int bits, int64_t batch = 64);

struct ZeroShotOptions {
  std::vector<int> weight_bits{2, 4, 8};  ///< candidates, within [2, 8]; with one there is nothing to search
  double average_bits = 0;                ///< budget in bits a weight; or ...
  double megabytes = 0;                   ///< ... in 2^20 bytes; one of the two, none with one candidate
  int activation_bits = 8;                ///< within [2, 8]; 0: activations stay as they are
  bool fold = false;  ///< fold batch normalizations into the layers before quantizing (after distilling)
  DistillOptions distill{};
  Divergence divergence = Divergence::Kl;
  std::function<torch::Tensor(const torch::Tensor& output)> logits{};  ///< as in SensitivityOptions
};

struct ZeroShotResult {
  Network network = nullptr;       ///< a copy with quantizers in its slots, in evaluation mode
  torch::Tensor data{};            ///< distilled, [N, C, H, W]
  std::vector<double> history{};   ///< L of distilling
  SensitivityTable sensitivity{};  ///< empty with one candidate
  ParetoFrontier frontier{};
  BitAllocation bits{};                                   ///< the widths taken, by layer
  std::vector<std::pair<std::string, double>> seconds{};  ///< of each step
};

/// The whole way: distill, measure, choose, quantize the weights, set the activations' ranges. `shape` is {C, H, W}.
/// Errors: as distill_data and pareto_bits, bits outside [2, 8], no or two budgets.
ZeroShotResult quantize_zero_shot(Network network, torch::IntArrayRef shape, const ZeroShotOptions& options = {});

}  // namespace quanta
