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
BENCHMARK(Gradient<float>)->ArgsProduct({{4, 6, 8, 10, 12, 13}, {1, 64}});
BENCHMARK(Gradient<double>)->ArgsProduct({{10, 12, 13}, {1}});
BENCHMARK(Gradient<double>)->ArgsProduct({{4, 8, 12}, {64}});
BENCHMARK(Gradient<float>)->ArgsProduct({{14, 16, 18, 20}, {1}})->Unit(benchmark::kMillisecond);
BENCHMARK(Gradient<double>)->ArgsProduct({{16, 20}, {1}})->Unit(benchmark::kMillisecond);

/// The same with each Z as an output of its own: one adjoint sweep for all.
void GradientOfEach(benchmark::State& state) {
  set_threads(1);
  const Circuit circuit = layered(int(state.range(0)));
  const int64_t batch = state.range(1);
  const Simulator<float> simulator(circuit, each('Z', circuit.wires()));
  const auto weights = angles<float>(circuit.weights(), 1), inputs = angles<float>(batch * circuit.inputs(), 2);
  const auto upstream = angles<float>(batch * circuit.wires(), 3);
  std::vector<float> values(upstream.size()), dweights(weights.size()), dinputs(inputs.size());
  for (auto _ : state)
    simulator.vjp(batch, weights.data(), inputs.data(), upstream.data(), dweights.data(), dinputs.data(),
                  values.data());
}
BENCHMARK(GradientOfEach)->ArgsProduct({{4, 8, 12}, {64}});

template <class Real>
void run_state(benchmark::State& state, const Circuit& circuit) {
  set_threads(1);
  const Simulator<Real> simulator(circuit);
  const auto weights = angles<Real>(circuit.weights(), 1), inputs = angles<Real>(circuit.inputs(), 2);
  std::vector<std::complex<Real>> amplitudes(size_t{1} << circuit.wires());
  for (auto _ : state) simulator.states(1, weights.data(), inputs.data(), amplitudes.data());
  state.counters["bytes_per_second"] =
      benchmark::Counter(double(simulator.state_traffic()), benchmark::Counter::kIsIterationInvariantRate);
}

/// The final state of one sample in the order of basis states; argument: qubits.
template <class Real>
void State(benchmark::State& state) {
  run_state<Real>(state, layered(int(state.range(0))));
}
BENCHMARK(State<float>)->Arg(16)->Arg(20)->Arg(22)->Arg(24)->Arg(26)->Unit(benchmark::kMillisecond);
BENCHMARK(State<double>)->Arg(20)->Arg(24)->Unit(benchmark::kMillisecond);

/// The quantum Fourier transform of a product state, with its final swaps; argument: qubits.
void Fourier(benchmark::State& state) {
  const int n = int(state.range(0));
  Circuit circuit(n);
  angle_encoding(circuit, 'Y');
  for (int q = n; q-- > 0;) {
    circuit.h(q);
    for (int c = 0; c < q; ++c) circuit.cp(c, q, std::numbers::pi / double(1 << (q - c)));
  }
  for (int q = 0; q < n / 2; ++q) circuit.swap(q, n - 1 - q);
  run_state<float>(state, circuit);
}
BENCHMARK(Fourier)->Arg(20)->Arg(24)->Unit(benchmark::kMillisecond);

/// Draws from a 20-qubit state, its preparation included; argument: samples.
void Samples(benchmark::State& state) {
  set_threads(1);
  const Circuit circuit = layered(20);
  const Simulator<float> simulator(circuit);
  const auto weights = angles<float>(circuit.weights(), 1), inputs = angles<float>(circuit.inputs(), 2);
  std::vector<uint64_t> samples(size_t(state.range(0)));
  for (auto _ : state) simulator.samples(1, weights.data(), inputs.data(), state.range(0), Random(3), samples.data());
}
BENCHMARK(Samples)->Arg(1)->Arg(1000000)->Unit(benchmark::kMillisecond);

/// <sum Z> of one sample with the state in 32 or 16 bits a number; arguments: qubits, storage.
void Expectation(benchmark::State& state) {
  set_threads(1);
  const Circuit circuit = layered(int(state.range(0)));
  const Simulator<float> simulator(circuit, {sum_of('Z', circuit.wires())}, Storage(state.range(1)));
  const auto weights = angles<float>(circuit.weights(), 1), inputs = angles<float>(circuit.inputs(), 2);
  float value = 0;
  for (auto _ : state) simulator.expectations(1, weights.data(), inputs.data(), &value);
}
BENCHMARK(Expectation)->ArgsProduct({{20, 24, 26}, {0, 1}})->Unit(benchmark::kMillisecond);

/// What 16 bits cost in fidelity, against double precision; arguments: qubits, layers.
void HalfInfidelity(benchmark::State& state) {
  Circuit circuit(int(state.range(0)));
  angle_encoding(circuit, 'Y');
  hardware_efficient(circuit, int(state.range(1)));
  const auto infidelity = [&]<class Real>(Storage storage, Real) {
    const auto wide = angles<double>(circuit.weights(), 1), x = angles<double>(circuit.inputs(), 2);
    std::vector<std::complex<double>> exact(size_t{1} << circuit.wires());
    Simulator<double>(circuit).states(1, wide.data(), x.data(), exact.data());
    const std::vector<Real> w(wide.begin(), wide.end()), in(x.begin(), x.end());
    std::vector<std::complex<Real>> rounded(exact.size());
    Simulator<Real>(circuit, {}, storage).states(1, w.data(), in.data(), rounded.data());
    std::complex<double> overlap = 0;
    double norm = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      overlap += std::conj(exact[i]) * std::complex<double>(rounded[i]);
      norm += std::norm(std::complex<double>(rounded[i]));
    }
    return 1 - std::norm(overlap) / norm;
  };
  for (auto _ : state) {
    state.counters["half"] = infidelity(Storage::Half, 0.f);
    state.counters["full"] = infidelity(Storage::Full, 0.f);
  }
}
BENCHMARK(HalfInfidelity)->ArgsProduct({{20}, {4, 16, 64}})->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quanta
