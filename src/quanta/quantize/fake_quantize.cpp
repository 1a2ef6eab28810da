#include "quanta/quantize/fake_quantize.h"

#include "quanta/core/error.h"

namespace quanta {

FakeQuantize::FakeQuantize(const UniformOptions& quantizer, const ObserverOptions& observer) {
  ObserverOptions o = observer;
  o.axis = quantizer.axis;
  o.group = quantizer.group;
  o.bits = quantizer.bits;
  o.symmetric = quantizer.symmetric;
  o.is_signed = quantizer.is_signed;
  quantizer_ = register_module("quantizer", std::make_shared<UniformQuantizer>(quantizer));
  observer_ = register_module("observer", make_observer(o));
}

torch::Tensor FakeQuantize::forward(const torch::Tensor& x) {
  const bool learned = quantizer_->options().learned;
  if (learned && !quantizer_->ready()) quantizer_->fit(x);
  if (observing() && !learned) {
    const torch::NoGradGuard no_grad;
    observer_->observe(x);
    // The range of a histogram takes long to find: while only calibrating, freeze() looks for it once.
    if (quantizing_) {
      const auto [low, high] = observer_->range();
      quantizer_->set_range(low, high);
    }
  }
  if (!quantizing_) return x;
  if (!quantizer_->ready()) freeze();
  return quantizer_->forward(x);
}

void FakeQuantize::freeze() {
  watch_ = Watch::Never;
  quantizing_ = true;
  if (quantizer_->ready() && (quantizer_->options().learned || observer_->empty())) return;
  const auto [low, high] = observer_->range();
  quantizer_->set_range(low, high);
}

std::shared_ptr<TensorTransform> FakeQuantize::copy() const {
  auto made = std::make_shared<FakeQuantize>(quantizer_->options(), ObserverOptions{});
  made->replace_module("observer", observer_->copy());
  made->observer_ = std::dynamic_pointer_cast<Observer>(made->named_children()["observer"]);
  copy_values(*this, *made);
  made->watch_ = watch_;
  made->quantizing_ = quantizing_;
  return made;
}

}  // namespace quanta
