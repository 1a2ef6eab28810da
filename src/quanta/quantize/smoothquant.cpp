#include "quanta/quantize/smoothquant.h"

#include "quanta/core/error.h"
#include "quanta/quantize/block_reassembly.h"
#include "quanta/quantize/fold_scales.h"

namespace quanta {

torch::Tensor smoothing_factors(const torch::Tensor& m, const torch::Tensor& weight, double alpha) {
  const auto columns = weight.abs().amax(0).clamp_min(1e-5);
  return (m.clamp_min(1e-5).pow(alpha) / columns.pow(1 - alpha)).clamp_min(1e-5);
}

std::vector<LayerResult> SmoothQuantMethod::quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& in) {
  const torch::NoGradGuard no_grad;
  DecoderBlock& block = blocks.front();
  DecoderBlock exact = copy(block, block->index());
  const auto magnitudes = channel_magnitudes(blocks, *in.inputs).front();
  for (const size_t stage : {0, 2}) {
    std::vector<torch::Tensor> weights;
    for (const auto& path : block->stages()[stage]) weights.push_back(block->linear(path)->weight);
    fold_scales(block, stage, smoothing_factors(magnitudes[stage], torch::cat(weights), options_.alpha));
  }
  std::vector<LayerResult> results;
  for (const auto& stage : block->stages())
    for (const auto& path : stage) {
      Linear layer = block->linear(path);
      results.push_back(
          {.block = in.block, .layer = path, .matrix = quantize_rows(layer->weight, options_.bits.weights)});
      layer->weight.copy_(results.back().matrix.dequantize());
      layer->put(QuantizableLayer::Place::Input, std::make_shared<DynamicAffine>(options_.bits.activations));
    }
  if (options_.attention) quantize_attention(block, options_.bits.activations);
  measure_layers(exact, block, in.inputs->get(0), options_.bits, results.data());
  return results;
}

SmoothQuantMethod::SmoothQuantMethod(const SmoothQuantOptions& options) : options_(options) {
  options.bits.check("smoothquant");
  require(options.alpha >= 0 && options.alpha <= 1, "smoothquant: an alpha of {}, expected 0 to 1", options.alpha);
}

nlohmann::json SmoothQuantMethod::settings() const {
  nlohmann::json settings = options_.bits.to_json();
  settings["alpha"] = options_.alpha;
  settings["attention"] = options_.attention;
  return settings;
}

}  // namespace quanta
