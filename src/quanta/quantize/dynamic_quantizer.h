#pragma once

#include <memory>

#include "quanta/quantize/straight_through.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// Sets its grid anew for every tensor it sees: the weights of a network in training, activations without a calibrated
/// range. With axis 0 a batch's samples have grids of their own, so that none depends on its neighbours. Gradients pass
/// as if it did nothing.
class DynamicQuantizer : public TensorTransform {
 public:
  explicit DynamicQuantizer(const UniformOptions& options) : quantizer_(options) {}
  torch::Tensor forward(const torch::Tensor& x) override {
    const bool was_enabled = torch::GradMode::is_enabled();
    const torch::NoGradGuard no_grad;
    quantizer_.fit(x);
    const torch::Tensor quantized = quantizer_.forward(x.detach());
    const torch::AutoGradMode graph(was_enabled);
    return straight_through(x, quantized);
  }
  std::shared_ptr<TensorTransform> copy() const override {
    return std::make_shared<DynamicQuantizer>(quantizer_.options());
  }

 private:
  UniformQuantizer quantizer_;
};

}  // namespace quanta
