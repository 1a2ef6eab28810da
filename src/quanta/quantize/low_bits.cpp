#include "quanta/quantize/low_bits.h"

#include "quanta/core/error.h"
#include "quanta/quantize/input_taps.h"

namespace quanta {
namespace {

using torch::Tensor;

/// ||found - y||^2 / ||W x||^2 for y = W x + b.
double relative_error(const Tensor& found, const Tensor& x, const LinearImpl& exact) {
  const auto squares = [](const Tensor& y) { return y.square().sum(torch::kFloat64).item<double>(); };
  const double all = squares(torch::nn::functional::linear(x, exact.weight));
  return all > 0 ? squares(found - torch::nn::functional::linear(x, exact.weight, exact.bias)) / all : 0;
}

}  // namespace

void LowBits::check(std::string_view method) const {
  require(weights.bits >= 2 && weights.bits <= 8, "{}: weights of {} bits, expected 2 to 8", method, weights.bits);
  require(activations.bits >= 2 && activations.bits <= 16, "{}: activations of {} bits, expected 2 to 16", method,
          activations.bits);
}

nlohmann::json LowBits::to_json() const {
  return {{"weight_bits", weights.bits},
          {"weights_symmetric", weights.symmetric},
          {"activation_bits", activations.bits},
          {"activations_symmetric", activations.symmetric}};
}

void quantize_attention(DecoderBlock& block, const DynamicAffineOptions& options) {
  block->query.put(*block, "query_transform", std::make_shared<DynamicAffine>(options));
  block->key.put(*block, "key_transform", std::make_shared<DynamicAffine>(options));
  block->value.put(*block, "value_transform", std::make_shared<DynamicAffine>(options));
}

Tensor measure_layers(DecoderBlock& exact, DecoderBlock& quantized, const Tensor& h, const LowBits& bits,
                      LayerResult* result) {
  std::vector<std::string> first;
  for (const auto& stage : exact->stages()) first.push_back(stage.front());
  Tensor out;
  const InputTaps taps(exact, first);
  const auto x = taps.listen([&] { out = exact->forward(h); });
  const Tensor own[] = {quantized->attention_norm(h), x[1], quantized->mlp_norm(exact->attend(h)), x[3]};
  for (size_t stage = 0; stage < x.size(); ++stage)
    for (const std::string& path : exact->stages()[stage]) {
      const Linear layer = exact->linear(path);
      const Tensor nearest =
          torch::nn::functional::linear(dynamic_affine(x[stage], bits.activations),
                                        dynamic_affine(layer->weight.detach(), bits.weights), layer->bias);
      result->error = relative_error(quantized->layer(path)->forward(own[stage]), x[stage], *layer);
      result->rounded_error = relative_error(nearest, x[stage], *layer);
      ++result;
    }
  return out;
}

}  // namespace quanta
