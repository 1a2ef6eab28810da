// Derivatives as a quantum computer would measure them, and the metric of the natural gradient.
#include <cmath>
#include <cstdio>

#include "quanta/circuit/ansaetze.h"
#include "quanta/simulate/differentiate.h"
#include "quanta/simulate/metric.h"
#include "quanta/simulate/simulator.h"

int main() {
  using namespace quanta;
  Circuit circuit(3);
  strongly_entangling(circuit, 2);
  const PauliSum energy = Z(0) * Z(1) + 0.5 * X(2);
  const std::vector<double> weights(size_t(circuit.weights()), 0.3);
  std::vector<double> gradient(weights.size());
  const double upstream = 1;
  Simulator<double>(circuit, {energy}).vjp(1, weights.data(), nullptr, &upstream, gradient.data(), nullptr, nullptr);
  const uint64_t seed = 1;

  const Differentiator<double> device(circuit, {energy}, shots_estimator<double>(1000));
  std::vector<double> slope(size_t(circuit.weights())), error(slope.size());
  device.jacobian(1, weights.data(), nullptr, slope.data(), error.data(), Random(seed));  // error: standard errors

  const MetricTensor<double> tensor(circuit, {.block_diagonal = true});
  std::vector<double> metric(gradient.size() * gradient.size());
  tensor(1, weights.data(), nullptr, metric.data());
  const std::vector<double> direction = natural_gradient(metric, gradient, 1e-3);

  double ascent = 0;
  for (size_t i = 0; i < slope.size(); ++i) {
    std::printf("%8.4f +- %.4f (exact %8.4f), natural %8.4f\n", slope[i], error[i], gradient[i], direction[i]);
    if (std::abs(slope[i] - gradient[i]) > 5 * error[i] + 1e-9) return 1;
    ascent += direction[i] * gradient[i];
  }
  return ascent > 0 ? 0 : 1;
}
