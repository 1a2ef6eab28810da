#pragma once

#include <torch/torch.h>

#include <memory>
#include <string_view>

#include "quanta/nn/transform.h"
#include "quanta/quantize/uniform.h"

namespace quanta {

/// Watches tensors go by and says which range a quantizer should cover. Does not change them.
class Observer : public TensorTransform {
 public:
  torch::Tensor forward(const torch::Tensor& x) override {
    observe(x);
    return x;
  }
  virtual void observe(const torch::Tensor& x) = 0;
  /// (low, high), each [1], [channels] or [channels, groups]. Error "... has seen no data" before the first tensor.
  virtual std::pair<torch::Tensor, torch::Tensor> range() const = 0;
  virtual bool empty() const = 0;  ///< has seen no data
};

enum class ObserverKind {
  Last,           ///< extremes of the last tensor (weights in training)
  MinMax,         ///< extremes of all
  MovingAverage,  ///< of each tensor's extremes
  Percentile,     ///< of a histogram of all
  Mse,            ///< least squared error over a histogram of all
  Kl,             ///< least divergence over a histogram of all
};

struct ObserverOptions {
  ObserverKind kind = ObserverKind::MovingAverage;
  int64_t axis = -1;   ///< a range for each index of this dimension (Last, MinMax, MovingAverage only) ...
  int64_t group = 0;   ///< ... and, of rows, for so many values, as in UniformOptions
  double decay = 0.9;  ///< of the moving average; 0.999 in training
  double percentile = 0.9999;
  int bits = 8;            ///< of the quantizer it is for (Mse, Kl)
  bool symmetric = false;  ///< likewise
  bool is_signed = true;   ///< likewise
};

/// Its statistics are buffers, saved with the network.
std::shared_ptr<Observer> make_observer(const ObserverOptions& options);

}  // namespace quanta
