#include "quanta/nn/quantum_layer.h"

#include <benchmark/benchmark.h>

namespace quanta {
namespace {

/// RY angle encoding, then `layers` of (RX RY RZ on every qubit, ring of CNOT).
Circuit layered_circuit(int qubits, int layers) {
  Circuit c(qubits);
  for (int q = 0; q < qubits; ++q) c.ry(q, input(q));
  for (int layer = 0; layer < layers; ++layer) {
    for (int q = 0; q < qubits; ++q) c.rx(q, weight()).ry(q, weight()).rz(q, weight());
    c.cnot_ring();
  }
  return c;
}

/// Forward and backward with everything LibTorch adds; goal: 0.8 us a sample at 4 qubits, batch 64, one thread.
void forward_backward(benchmark::State& state) {
  torch::set_num_threads(1);
  const int qubits = int(state.range(0));
  const int64_t batch = state.range(1);
  QuantumLayer layer(layered_circuit(qubits, 4), std::vector<PauliSum>{sum_of('Z', qubits)});
  const auto x = torch::rand({batch, qubits}).set_requires_grad(true);
  for (auto _ : state) {
    layer->weights.mutable_grad() = torch::Tensor();
    x.mutable_grad() = torch::Tensor();
    layer(x).sum().backward();
    benchmark::DoNotOptimize(x.grad().data_ptr());
  }
  state.counters["us_per_sample"] = benchmark::Counter(
      double(batch) * 1e-6, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(forward_backward)->ArgNames({"qubits", "batch"})->Args({4, 64})->Args({8, 64})->Args({4, 1024});

void forward(benchmark::State& state) {
  torch::set_num_threads(1);
  const int qubits = int(state.range(0));
  const torch::NoGradGuard no_grad;
  QuantumLayer layer(layered_circuit(qubits, 4), std::vector<PauliSum>{sum_of('Z', qubits)});
  const auto x = torch::rand({state.range(1), qubits});
  for (auto _ : state) benchmark::DoNotOptimize(layer(x).data_ptr());
}
BENCHMARK(forward)->ArgNames({"qubits", "batch"})->Args({4, 64})->Args({8, 64});

}  // namespace
}  // namespace quanta
