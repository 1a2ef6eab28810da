#include "quanta/quantize/gptq_layer.h"

#include "quanta/core/error.h"

namespace quanta {

std::vector<std::shared_ptr<InputHessian>> capture_hessians(QuantizableLayer& layer) {
  const auto* convolution = dynamic_cast<const Conv2dImpl*>(&layer);
  const int64_t groups = convolution ? convolution->options().groups : 1;
  std::vector<std::shared_ptr<InputHessian>> hessians;
  for (int64_t g = 0; g < groups; ++g) hessians.push_back(std::make_shared<InputHessian>(layer.weight[0].numel()));
  layer.put(QuantizableLayer::Place::Input, convolution
                                                ? std::make_shared<HessianCapture>(hessians, convolution->options())
                                                : std::make_shared<HessianCapture>(hessians[0]));
  return hessians;
}

std::vector<GptqResult> gptq(QuantizableLayer& layer, const std::vector<std::shared_ptr<InputHessian>>& hessians,
                             const GridRule& rule, const GptqOptions& options) {
  require(!dynamic_cast<const ConvBn2dImpl*>(&layer), "a convolution with batch normalization: fold it first");
  const auto* convolution = dynamic_cast<const Conv2dImpl*>(&layer);
  const int64_t groups = convolution ? convolution->options().groups : 1;
  require(int64_t(hessians.size()) == groups, "{} Hessians for a layer of {} groups", hessians.size(), groups);
  const torch::NoGradGuard no_grad;
  const auto parts = layer.weight.detach().flatten(1).chunk(groups, 0);
  std::vector<GptqResult> results;
  std::vector<torch::Tensor> decoded;
  for (size_t g = 0; g < parts.size(); ++g) {
    results.push_back(gptq(parts[g], hessians[g]->value(), rule, options));
    decoded.push_back(results.back().weight);
  }
  layer.weight.copy_(torch::cat(decoded).view(layer.weight.sizes()));
  return results;
}

}  // namespace quanta
