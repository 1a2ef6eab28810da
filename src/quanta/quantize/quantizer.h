#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "quanta/nn/transform.h"

namespace quanta {

/// How real numbers become codes. A quantizer is a transform: in a slot it replaces a value by decode(encode(value))
/// and lets gradients through, so a network that holds quantizers behaves as its integer form will.
///
/// encode() and decode() are exact: decode(encode(x)) has the same bits as forward(x). Codes are int32 of x's shape.
/// Errors: NaN or infinite values (fit and encode), use before fit() or a setting of the parameters by hand.
class Quantizer : public TensorTransform {
 public:
  /// Chooses the parameters (scale, codebook ...) for the values of x.
  virtual void fit(const torch::Tensor& x) = 0;
  virtual torch::Tensor encode(const torch::Tensor& x) const = 0;
  virtual torch::Tensor decode(const torch::Tensor& codes) const = 0;
  /// decode(encode(x)), differentiable: the straight-through estimator where the header of the quantizer says no other.
  torch::Tensor forward(const torch::Tensor& x) override = 0;
  /// Bits of a code.
  virtual int bits() const = 0;
  /// "8 bits, symmetric, per channel".
  virtual std::string describe() const = 0;
};

}  // namespace quanta
