#include "quanta/quantize/input_taps.h"

namespace quanta {
namespace {

// Hands on what the slot's own transform makes of the input, and shows it to whoever listens on this thread.
class Tap : public TensorTransform {
 public:
  Tap(std::shared_ptr<TensorTransform> inner, size_t index) : inner_(std::move(inner)), index_(index) {}
  torch::Tensor forward(const torch::Tensor& x) override {
    const torch::Tensor seen = inner_ ? inner_->forward(x) : x;
    if (heard) (*heard)[index_] = seen.detach();
    return seen;
  }
  std::shared_ptr<TensorTransform> copy() const override {
    return std::make_shared<Tap>(inner_ ? inner_->copy() : nullptr, index_);
  }

  static thread_local std::vector<torch::Tensor>* heard;

 private:
  std::shared_ptr<TensorTransform> inner_;
  size_t index_;
};
thread_local std::vector<torch::Tensor>* Tap::heard = nullptr;

}  // namespace

InputTaps::InputTaps(DecoderBlock& block, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const auto layer = block->layer(path);
    held_.emplace_back(layer, layer->slot(QuantizableLayer::Place::Input).get());
    layer->put(QuantizableLayer::Place::Input, std::make_shared<Tap>(held_.back().second, held_.size() - 1));
  }
}

InputTaps::~InputTaps() {
  for (auto& [layer, transform] : held_) layer->put(QuantizableLayer::Place::Input, transform);
}

std::vector<torch::Tensor> InputTaps::listen(const std::function<void()>& run) const {
  std::vector<torch::Tensor> heard(held_.size());
  struct Listening {
    explicit Listening(std::vector<torch::Tensor>& to) { Tap::heard = &to; }
    ~Listening() { Tap::heard = nullptr; }
  } const listening(heard);
  run();
  return heard;
}

}  // namespace quanta
