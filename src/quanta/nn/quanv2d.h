#pragma once

#include "quanta/nn/quantum_layer.h"

namespace quanta {

struct Quanv2dOptions {
  int in_channels = 1;
  int kernel = 2;  // k; k * k * in_channels <= 12 qubits, one a pixel
  int stride = 2;
  int layers = 4;         // L, each with one trainable angle a qubit; 0: embedding and read-out only
  bool trainable = true;  // false: frozen random angles
  bool strict = false;    // true: an image whose last rows or columns no patch covers is an error
  uint64_t seed = 0;      // the angles start in U[0, pi)
};

/// The circuit of one patch (arXiv 2304.09224, HQNN-Quanv): RX(pi * pixel), then `layers` times [RX(weight), CNOT
/// ring]. Pixels in row-major order, channel by channel: (top-left, top-right, bottom-left, bottom-right) for k = 2.
Circuit quanv_circuit(const Quanv2dOptions& options);

/// A trainable circuit slid over the image like a convolution kernel; <Z> of each qubit is an output channel:
/// [batch, in_channels, H, W] -> [batch, k * k * in_channels, (H-k)/stride + 1, (W-k)/stride + 1].
/// All patches of a batch run as one batch of the circuit.
class Quanv2dImpl : public torch::nn::Cloneable<Quanv2dImpl> {
 public:
  explicit Quanv2dImpl(const Quanv2dOptions& options = {});

  void reset() override;  // for clone()
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& images);

  const Quanv2dOptions& options() const { return options_; }

  QuantumLayer circuit = nullptr;

 private:
  Quanv2dOptions options_;
};
TORCH_MODULE(Quanv2d);

}  // namespace quanta
