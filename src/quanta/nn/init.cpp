#include "quanta/nn/init.h"

#include <cmath>
#include <span>

namespace quanta {

void initialize(torch::nn::Module& module, const Random& random) {
  for (const auto& child : module.named_children()) initialize(*child.value(), random.split(child.key()));

  torch::Tensor weight, bias;
  const auto take = [&](const auto* layer) {
    if (layer) weight = layer->weight, bias = layer->bias;
  };
  take(module.as<torch::nn::LinearImpl>());
  take(module.as<torch::nn::Conv1dImpl>());
  take(module.as<torch::nn::Conv2dImpl>());
  take(module.as<torch::nn::Conv3dImpl>());
  if (!weight.defined() || weight.numel() == 0) return;

  const torch::NoGradGuard no_grad;
  const double bound = 1 / std::sqrt(double(weight.numel() / weight.size(0)));
  const auto fill = [&](torch::Tensor& parameter, Random stream) {
    const auto values = torch::empty(parameter.sizes(), torch::kFloat64);
    for (double& value : std::span(values.data_ptr<double>(), size_t(values.numel())))
      value = stream.uniform(-bound, bound);
    parameter.copy_(values);
  };
  fill(weight, random.split("weight"));
  if (bias.defined()) fill(bias, random.split("bias"));
}

}  // namespace quanta
