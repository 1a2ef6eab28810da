#pragma once

#include "quanta/quantize/observer.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// What sits in the slots of a network on its way to integers: an observer and the uniform quantizer it sets.
/// Three states, by two switches: observing only (calibration), both (training: the range follows the data), quantizing
/// only (evaluation, deployment). A new one observes in training mode and quantizes. A learned scale is set by the
/// first tensor and then belongs to the optimizer: the observer rests.
class FakeQuantize : public TensorTransform {
 public:
  /// Registered as "quantizer" and "observer".
  FakeQuantize(const UniformOptions& quantizer, const ObserverOptions& observer);
  /// Error if it shall quantize and the observer has seen no data.
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;

  void observe(bool on) { watch_ = on ? Watch::Always : Watch::Never; }  ///< follow the data, in either mode
  void quantize(bool on) { quantizing_ = on; }                           ///< change the values
  bool observing() const { return watch_ == Watch::Always || (watch_ == Watch::InTraining && is_training()); }
  bool quantizing() const { return quantizing_; }
  /// Sets the quantizer from what the observer has seen (Error if that is nothing and the quantizer has no scale
  /// either) and from now on quantizes only.
  void freeze();

  UniformQuantizer& quantizer() { return *quantizer_; }
  const UniformQuantizer& quantizer() const { return *quantizer_; }
  Observer& observer() { return *observer_; }

 private:
  enum class Watch { Never, InTraining, Always };

  std::shared_ptr<UniformQuantizer> quantizer_;
  std::shared_ptr<Observer> observer_;
  Watch watch_ = Watch::InTraining;
  bool quantizing_ = true;
};

}  // namespace quanta
