#pragma once

#include <torch/torch.h>

#include <memory>

namespace quanta {

/// What a slot of a layer or of a network's node may hold: a map of a tensor to one of the same shape. An observer that
/// records ranges, a quantizer that trains through, and noise are all transforms, so calibration, quantization-aware
/// training and noise injection are one mechanism. A transform is a module: what it registers is trained and saved with
/// the network that holds it.
class TensorTransform : public torch::nn::Module {
 public:
  virtual torch::Tensor forward(const torch::Tensor& x) = 0;
  /// A deep copy that shares nothing.
  virtual std::shared_ptr<TensorTransform> copy() const = 0;
};

/// A slot: empty, or one transform, which is registered in its owner under the slot's name.
class Slot {
 public:
  torch::Tensor operator()(const torch::Tensor& x) const { return held_ ? held_->forward(x) : x; }
  explicit operator bool() const { return held_ != nullptr; }
  TensorTransform* operator->() const { return held_.get(); }
  const std::shared_ptr<TensorTransform>& get() const { return held_; }
  /// What it holds as a T, or null.
  template <class T>
  std::shared_ptr<T> as() const {
    return std::dynamic_pointer_cast<T>(held_);
  }

  /// Holds a transform that no module has registered.
  void hold(std::shared_ptr<TensorTransform> transform) { held_ = std::move(transform); }
  /// Puts a transform in, or with null empties the slot; `owner` registers it as `name`.
  void put(torch::nn::Module& owner, const std::string& name, std::shared_ptr<TensorTransform> transform);

 private:
  std::shared_ptr<TensorTransform> held_;
};

/// Copies the values of every parameter and buffer, with `recurse` also of the modules inside; both must have the same
/// names. Requires-grad flags and the mode (training or evaluation) are taken over too.
void copy_values(const torch::nn::Module& from, torch::nn::Module& to, bool recurse = true);

}  // namespace quanta
