#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/circuit/noise.h"
#include "quanta/simulate/mps.h"
#include "quanta/simulate/trajectories.h"

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

/// How a layer's gradients are found.
enum class Gradient {
  Adjoint,           // exact, by a sweep backwards; the only one with second and higher derivatives
  ParameterShift,    // exact in expectation, from 2 or 4 more circuits for each angle; what a quantum computer can do
  FiniteDifference,  // central differences
  Spsa,              // differences along random directions: 2 circuits each
};

/// What runs a layer's circuit.
enum class Engine {
  StateVector,   // unitary circuits, exact
  Density,       // any circuit of up to 12 qubits, exact
  Trajectories,  // any circuit, estimates: means over random state vectors
  Mps,           // unitary circuits with little entanglement on many wires, as exact as the bond dimension allows
};

struct QuantumLayerOptions {
  AngleInit init{};
  uint64_t seed = 0;                  // of the start values, and of all that is random in running
  bool trainable = true;              // false: the weights are a buffer: saved and converted, never trained
  int copies = 1;                     // that many circuits side by side, each with weights of its own
  std::string name = "QuantumLayer";  // how error messages call the layer

  Engine engine = Engine::StateVector;
  NoiseModel noise{};                // written into the circuit; its read-out errors into the observables
  TrajectoryOptions trajectories{};  // of Engine::Trajectories
  MpsOptions mps{};                  // of Engine::Mps
  Gradient gradient = Gradient::Adjoint;
  int64_t shots = 0;   // 0: exact expectation values; else estimates from so many measurements (estimate.h)
  double step = 0;     // of FiniteDifference and Spsa; 0: for exact values (differentiate.h); required for estimates
  int directions = 1;  // of Spsa, for each sample
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
/// `to(kFloat64)` makes it float64. Features of any floating-point type give outputs of that type; it computes in
/// double precision if features or weights are float64, else in single. Everything is on the CPU.
///
/// Gradients for weights and inputs are as the options say, and only computed where wanted. Those of Gradient::Adjoint
/// on a state vector are differentiable: with create_graph they give exact second derivatives, of weights, inputs and
/// both, and so on up to order JetSimulator::kMaxOrder + 1 = 5. All other ways throw Error with create_graph.
///
/// Where running is random (shots, Spsa, trajectories) each forward pass draws anew: the buffer `calls` counts them, so
/// a seed and equal calls give equal results, and a saved layer goes on where it was.
///
/// Throws Error for options that do not go together (such as Adjoint with shots), for features of another size or
/// device, and for values that are not finite.
class QuantumLayerImpl : public torch::nn::Cloneable<QuantumLayerImpl> {
 public:
  QuantumLayerImpl(const Circuit& circuit, const std::vector<PauliSum>& observables, QuantumLayerOptions options = {});

  void reset() override;  // for clone()
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& input = {});

  const Circuit& circuit() const;                    // with the noise
  const std::vector<PauliSum>& observables() const;  // with the read-out errors
  const QuantumLayerOptions& options() const { return options_; }

  torch::Tensor weights;
  torch::Tensor calls;  // forward passes so far, int64; undefined if nothing is random

 protected:
  FORWARD_HAS_DEFAULT_ARGS({0, torch::nn::AnyValue(torch::Tensor())})

 private:
  QuantumLayerOptions options_;
  std::shared_ptr<const struct CircuitFunction> function_;  // immutable, so clones share it
};
TORCH_MODULE(QuantumLayer);

}  // namespace quanta
