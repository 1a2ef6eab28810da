// The circuit of docs/simulate.md: RY(input) on every qubit, then four layers of RX, RY, RZ on every qubit and a ring
// of CNOTs; the sum of all Z. Times are CPU times of one thread.

#include <benchmark/benchmark.h>

#include <complex>
#include <numbers>
#include <vector>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

Circuit layered(int qubits) {
  Circuit circuit(qubits);
  angle_encoding(circuit, 'Y');
  hardware_efficient(circuit, 4);
  return circuit;
}

template <class Real>
std::vector<Real> angles(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<Real> values(static_cast<size_t>(count));
  for (Real& value : values) value = Real(random.uniform(0, 2 * std::numbers::pi));
  return values;
}

/// Value and gradient with respect to all weights and inputs; arguments: qubits, batch.
template <class Real>
void Gradient(benchmark::State& state) {
  set_threads(1);
  const Circuit circuit = layered(int(state.range(0)));
  const int64_t batch = state.range(1);
  const Simulator<Real> simulator(circuit, {sum_of('Z', circuit.wires())});
  const auto weights = angles<Real>(circuit.weights(), 1), inputs = angles<Real>(batch * circuit.inputs(), 2);
  const std::vector<Real> upstream(size_t(batch), Real(1));
  std::vector<Real> values(upstream.size()), dweights(weights.size()), dinputs(inputs.size());
  for (auto _ : state)
    simulator.vjp(batch, weights.data(), inputs.data(), upstream.data(), dweights.data(), dinputs.data(),
                  values.data());
  state.counters["per_sample"] =
      benchmark::Counter(double(batch), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(Gradient<float>)->ArgsProduct({{4, 6, 8, 10, 12}, {1, 64}});
BENCHMARK(Gradient<double>)->ArgsProduct({{4, 8, 12}, {64}});

/// The final state of one sample in the order of basis states; argument: qubits.
void State(benchmark::State& state) {
  set_threads(1);
  const Circuit circuit = layered(int(state.range(0)));
  const Simulator<float> simulator(circuit);
  const auto weights = angles<float>(circuit.weights(), 1), inputs = angles<float>(circuit.inputs(), 2);
  std::vector<std::complex<float>> amplitudes(size_t{1} << circuit.wires());
  for (auto _ : state) simulator.states(1, weights.data(), inputs.data(), amplitudes.data());
  state.counters["bytes_per_second"] =
      benchmark::Counter(double(simulator.state_traffic()), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(State)->Arg(16)->Arg(20)->Arg(24)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quanta
