#include "quanta/nn/transform.h"

#include "quanta/core/error.h"

namespace quanta {

void Slot::put(torch::nn::Module& owner, const std::string& name, std::shared_ptr<TensorTransform> transform) {
  if (held_) owner.unregister_module(name);
  if (transform) owner.register_module(name, transform);
  held_ = std::move(transform);
}

void copy_values(const torch::nn::Module& from, torch::nn::Module& to, bool recurse) {
  const torch::NoGradGuard no_grad;
  const auto copy = [](const auto& source, auto target, const char* kind) {
    require(source.size() == target.size(), "cannot copy a module with {} {} to one with {}", source.size(), kind,
            target.size());
    for (const auto& item : source) {
      torch::Tensor* tensor = target.find(item.key());
      require(tensor != nullptr, "cannot copy a module: the target lacks '{}'", item.key());
      if (!item.value().defined()) continue;
      tensor->set_data(item.value().detach().clone());
      tensor->set_requires_grad(item.value().requires_grad());
    }
  };
  copy(from.named_parameters(recurse), to.named_parameters(recurse), "parameters");
  copy(from.named_buffers(recurse), to.named_buffers(recurse), "buffers");
  to.train(from.is_training());
}

}  // namespace quanta
