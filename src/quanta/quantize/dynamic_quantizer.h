#pragma once

#include <memory>

#include "quanta/quantize/uniform.h"

namespace quanta {

/// Sets its grid anew for every tensor it sees: the weights of a network in training, activations without a calibrated
/// range. Gradients pass as if it did nothing.
class DynamicQuantizer : public TensorTransform {
 public:
  explicit DynamicQuantizer(const UniformOptions& options) : quantizer_(options) {}
  torch::Tensor forward(const torch::Tensor& x) override {
    torch::NoGradGuard no_grad;
    quantizer_.fit(x);
    const torch::Tensor quantized = quantizer_.forward(x.detach());
    torch::AutoGradMode graph(x.requires_grad());
    return x.requires_grad() ? x + (quantized - x.detach()) : quantized;
  }
  std::shared_ptr<TensorTransform> copy() const override {
    return std::make_shared<DynamicQuantizer>(quantizer_.options());
  }

 private:
  UniformQuantizer quantizer_;
};

}  // namespace quanta
