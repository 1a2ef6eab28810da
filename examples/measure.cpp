// Shots, noise, and what happens in the midst of a circuit.
#include <cmath>
#include <cstdio>

#include "quanta/circuit/noise.h"
#include "quanta/simulate/counts.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/trajectories.h"

using namespace quanta;

bool shots() {
  Circuit bell(2);
  bell.h(0).cx(0, 1);
  const Counts counts = sample_counts(bell, {}, {}, 1000, Random(1));  // {"00": about 500, "11": the rest}

  const Circuit noisy = NoiseModel().readout(0.02, 0.05).apply(bell.measure_all());
  const auto energy = sample_expectations(noisy, {Z(0) * Z(1) + 0.5 * X(0)}, {}, {}, Random(2), {.shots = 4000});
  // energy[0].value, energy[0].standard_error

  for (const auto& [bits, count] : counts) std::printf("%s: %ld\n", bits.c_str(), long(count));
  // <Z Z> of (|00> + |11>) / sqrt(2) read with these errors: (0.96^2 + 0.90^2) / 2.
  return counts.size() == 2 && std::abs(energy[0].value - 0.8658) < 4 * energy[0].standard_error;
}

bool trajectories() {
  Circuit circuit(2, 1);
  circuit.h(0).cx(0, 1).channel(amplitude_damping(0.1), {1}).measure(0, 0);
  Circuit flip(2, 1);
  flip.x(1);
  circuit.when({.first = 0}, flip);  // undo what the measurement found
  const Trajectories<double> trajectories(circuit, {Z(1)}, {.trajectories = 2000});
  double value, error;
  trajectories.expectations(1, nullptr, nullptr, Random(3), &value, &error);  // 1 would be the value without damping

  std::printf("<Z> %.3f +- %.3f\n", value, error);
  return std::abs(value - 0.9) < 4 * error;  // half of the time a damped |1> is flipped to |1>: 1 - 2 * 0.1 / 2
}

bool density_matrix() {
  Circuit circuit(4);
  for (int q = 0; q < 4; ++q) circuit.ry(q, weight());
  circuit.cnot_ring().measure_all();
  const NoiseModel noise = NoiseModel::depolarizing(0.001, 0.01).readout(0.015, 0.03);
  const DensitySimulator<double> simulator(noise.apply(circuit), {sum_of('Z', 4)});
  const std::vector<double> weights{0.3, 0.8, 0.1, 0.2};
  double value = 0;
  simulator.expectations(1, weights.data(), nullptr, &value);
  const auto counts = simulator.counts(1, weights.data(), nullptr, 8192, Random(1));

  std::printf("<sum of Z> %.4f\n", value);
  return counts[0].size() > 8 && value > 0 && value < 4;
}

int main() {
  return shots() && trajectories() && density_matrix() ? 0 : 1;
}
