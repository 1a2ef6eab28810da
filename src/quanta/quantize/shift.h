#pragma once

#include "quanta/core/error.h"
#include "quanta/quantize/stored_transform.h"

namespace quanta {

/// x + bias: what a normalization without a bias of its own is given in the input slot of the layer behind it. Kind
/// "shift".
class Shift : public StoredTransform {
 public:
  explicit Shift(int64_t width) {
    require(width > 0 && width <= (int64_t{1} << 24), "a shift of {} channels", width);
    bias = register_parameter("bias", torch::zeros(width));
  }
  torch::Tensor forward(const torch::Tensor& x) override { return x + bias; }
  std::shared_ptr<TensorTransform> copy() const override {
    auto made = std::make_shared<Shift>(bias.size(0));
    copy_values(*this, *made);
    return made;
  }
  nlohmann::json spec() const override { return {{"kind", "shift"}, {"width", bias.size(0)}}; }

  torch::Tensor bias{};  ///< [width], starts at 0
};

}  // namespace quanta
