#include "quanta/nn/init.h"

#include <cmath>
#include <span>

#include "quanta/nn/layers.h"

namespace quanta {

void initialize(torch::nn::Module& module, const Random& random, ConvolutionStart convolutions) {
  for (const auto& child : module.named_children()) initialize(*child.value(), random.split(child.key()), convolutions);

  torch::Tensor weight, bias;
  const auto take = [&](const auto* layer) {
    if (layer) weight = layer->weight, bias = layer->bias;
  };
  take(dynamic_cast<const QuantizableLayer*>(&module));
  take(module.as<torch::nn::LinearImpl>());
  take(module.as<torch::nn::Conv1dImpl>());
  take(module.as<torch::nn::Conv2dImpl>());
  take(module.as<torch::nn::Conv3dImpl>());
  if (!weight.defined() || weight.numel() == 0) return;

  const torch::NoGradGuard no_grad;
  const auto fill = [&](torch::Tensor& parameter, const char* name, auto draw) {
    Random stream = random.split(name);
    const auto values = torch::empty(parameter.sizes(), torch::kFloat64);
    for (double& value : std::span(values.data_ptr<double>(), size_t(values.numel()))) value = draw(stream);
    parameter.copy_(values);
  };
  if (weight.dim() > 2 && convolutions == ConvolutionStart::KaimingNormal) {
    const double deviation = std::sqrt(2 / double(weight.numel() / weight.size(1)));
    fill(weight, "weight", [&](Random& stream) { return deviation * stream.normal(); });
    if (bias.defined()) bias.zero_();
  } else {
    const double bound = 1 / std::sqrt(double(weight.numel() / weight.size(0)));
    const auto draw = [&](Random& stream) { return stream.uniform(-bound, bound); };
    fill(weight, "weight", draw);
    if (bias.defined()) fill(bias, "bias", draw);
  }
}

}  // namespace quanta
