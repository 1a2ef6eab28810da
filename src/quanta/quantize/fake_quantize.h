#pragma once

#include "quanta/quantize/observer.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// What sits in the slots of a network on its way to integers: an observer and the uniform quantizer it sets.
/// Three states, by two switches: observing only (calibration), both (training: the range follows the data), quantizing
/// only (evaluation, deployment). In evaluation mode the observer rests unless `calibrating`.
class FakeQuantize : public TensorTransform {
 public:
  FakeQuantize(const UniformOptions& quantizer, const ObserverOptions& observer);
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;

  void observe(bool on) { observing_ = on; }    ///< follow the data (also in evaluation mode)
  void quantize(bool on) { quantizing_ = on; }  ///< change the values
  bool observing() const { return observing_; }
  bool quantizing() const { return quantizing_; }
  /// Sets the quantizer from what the observer has seen; Error if it has seen nothing.
  void freeze();

  UniformQuantizer& quantizer() { return *quantizer_; }
  const UniformQuantizer& quantizer() const { return *quantizer_; }
  Observer& observer() { return *observer_; }

 private:
  std::shared_ptr<UniformQuantizer> quantizer_;
  std::shared_ptr<Observer> observer_;
  bool observing_ = true;
  bool quantizing_ = true;
};

}  // namespace quanta
