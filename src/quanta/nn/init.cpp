#include "quanta/nn/init.h"

#include <cmath>
#include <span>

namespace quanta {

void initialize(torch::nn::Module& module, const Random& random) {
  const torch::NoGradGuard no_grad;
  const auto fill = [](torch::Tensor& parameter, double bound, Random stream) {
    if (!parameter.defined()) return;
    auto values = torch::empty(parameter.sizes(), torch::kFloat64);
    for (double& value : std::span(values.data_ptr<double>(), size_t(values.numel())))
      value = stream.uniform(-bound, bound);
    parameter.copy_(values);
  };
  for (const auto& item : module.named_modules("", /*include_self=*/true)) {
    const auto& layer = item.value();
    torch::Tensor *weight = nullptr, *bias = nullptr;
    if (auto* linear = layer->as<torch::nn::LinearImpl>()) weight = &linear->weight, bias = &linear->bias;
    if (auto* conv = layer->as<torch::nn::Conv1dImpl>()) weight = &conv->weight, bias = &conv->bias;
    if (auto* conv = layer->as<torch::nn::Conv2dImpl>()) weight = &conv->weight, bias = &conv->bias;
    if (auto* conv = layer->as<torch::nn::Conv3dImpl>()) weight = &conv->weight, bias = &conv->bias;
    if (!weight || weight->numel() == 0) continue;
    const double bound = 1 / std::sqrt(double(weight->numel() / weight->size(0)));
    const Random stream = random.split(item.key());
    fill(*weight, bound, stream.split("weight"));
    fill(*bias, bound, stream.split("bias"));
  }
}

}  // namespace quanta
