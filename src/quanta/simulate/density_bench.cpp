// A noisy circuit on a density matrix: RY(input) on every qubit, four layers of [RX, RY, RZ on every qubit, ring of
// CNOTs], depolarizing noise (p = 0.01) on each qubit that a gate has touched, <sum Z_i>.

#include <benchmark/benchmark.h>

#include <numbers>
#include <vector>

#include "quanta/circuit/noise.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/simulate/density.h"

namespace quanta {
namespace {

Circuit noisy_circuit(int qubits) {
  Circuit circuit(qubits);
  for (int q = 0; q < qubits; ++q) circuit.ry(q, input(q));
  for (int layer = 0; layer < 4; ++layer) {
    for (int q = 0; q < qubits; ++q) circuit.rx(q, weight()).ry(q, weight()).rz(q, weight());
    circuit.cnot_ring();
  }
  return NoiseModel().after(depolarizing(0.01)).apply(circuit);
}

template <class Real>
struct Setting {
  explicit Setting(int qubits)
      : circuit(noisy_circuit(qubits)),
        simulator(circuit, {sum_of('Z', qubits)}),
        weights(size_t(circuit.weights())),
        inputs(size_t(circuit.inputs())) {
    set_threads(1);
    Random random(1);
    for (auto* values : {&weights, &inputs})
      for (Real& value : *values) value = Real(random.uniform(0, 2 * std::numbers::pi));
  }
  Circuit circuit;
  DensitySimulator<Real> simulator;
  std::vector<Real> weights, inputs;
};

template <class Real>
void expectations(benchmark::State& state) {
  const Setting<Real> s(int(state.range(0)));
  Real value = 0;
  for (auto _ : state) {
    s.simulator.expectations(1, s.weights.data(), s.inputs.data(), &value);
    benchmark::DoNotOptimize(value);
  }
}

template <class Real>
void gradient(benchmark::State& state) {
  const Setting<Real> s(int(state.range(0)));
  const Real upstream = 1;
  Real value = 0;
  std::vector<Real> dweights(s.weights.size()), dinputs(s.inputs.size());
  for (auto _ : state) {
    s.simulator.vjp(1, s.weights.data(), s.inputs.data(), &upstream, dweights.data(), dinputs.data(), &value);
    benchmark::DoNotOptimize(dweights.data());
  }
}

BENCHMARK(expectations<double>)->Arg(4)->Arg(6)->Arg(8)->Arg(10)->Unit(benchmark::kMillisecond);
BENCHMARK(expectations<float>)->Arg(8)->Arg(10)->Unit(benchmark::kMillisecond);
BENCHMARK(gradient<double>)->Arg(4)->Arg(6)->Arg(8)->Arg(10)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quanta
