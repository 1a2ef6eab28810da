#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// The start values of a circuit's weights, in radians.
struct AngleInit {
  enum class Kind { Uniform, Normal, Zeros };
  Kind kind = Kind::Uniform;
  double a = 0;                     // Uniform: lower end; Normal: mean
  double b = 2 * std::numbers::pi;  // Uniform: upper end (excluded); Normal: standard deviation

  static AngleInit uniform(double low, double high) { return {Kind::Uniform, low, high}; }
  static AngleInit normal(double mean, double deviation) { return {Kind::Normal, mean, deviation}; }
  static AngleInit zeros() { return {Kind::Zeros, 0, 0}; }
};

struct QuantumLayerOptions {
  AngleInit init{};
  uint64_t seed = 0;
  bool trainable = true;              // false: the weights are a buffer: saved and converted, never trained
  int copies = 1;                     // that many circuits side by side, each with weights of its own
  std::string name = "QuantumLayer";  // how error messages call the layer
};

/// A circuit as a layer: features are angles (or amplitudes), outputs are expectation values.
///
///   Circuit c(4);
///   for (int q = 0; q < 4; ++q) c.ry(q, input(q));
///   for (int q = 0; q < 4; ++q) c.rot(q, weight(), weight(), weight());
///   c.cnot_ring();
///   auto layer = QuantumLayer(c, each('Z', 4));   // [..., 4] -> [..., 4]
///
/// forward: [..., copies * circuit.inputs()] -> [..., copies * observables]; the features fall into `copies` groups in
/// order, group i feeds circuit i, and so do the outputs. A circuit without inputs takes [..., 0], or nothing:
/// [outputs]. `weights`, [copies, circuit.weights()], is a parameter (a buffer if not trainable). Float32 at first;
/// `to(kFloat64)` makes it float64. Everything is on the CPU.
///
/// Gradients for weights and inputs are exact (one adjoint sweep) and only computed where wanted. Second derivatives
/// are not available: a backward pass with create_graph throws Error. So do features of another size, type or device
/// than the layer's, and values that are not finite.
class QuantumLayerImpl : public torch::nn::Cloneable<QuantumLayerImpl> {
 public:
  QuantumLayerImpl(const Circuit& circuit, const std::vector<PauliSum>& observables, QuantumLayerOptions options = {});

  void reset() override;  // for clone()
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& input = {});

  const Circuit& circuit() const;
  const std::vector<PauliSum>& observables() const;
  const QuantumLayerOptions& options() const { return options_; }

  torch::Tensor weights;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({0, torch::nn::AnyValue(torch::Tensor())})

 private:
  QuantumLayerOptions options_;
  std::shared_ptr<const struct CircuitFunction> function_;  // immutable, so clones share it
};
TORCH_MODULE(QuantumLayer);

}  // namespace quanta
