#include "quanta/simulate/differentiate.h"

#include <benchmark/benchmark.h>

#include "quanta/core/parallel.h"
#include "quanta/simulate/jets.h"
#include "quanta/simulate/metric.h"

namespace quanta {
namespace {

/// RY angle encoding, then 4 layers of (RX RY RZ on every qubit, ring of CNOT).
Circuit layered_circuit(int qubits) {
  Circuit c(qubits);
  for (int q = 0; q < qubits; ++q) c.ry(q, input(q));
  for (int layer = 0; layer < 4; ++layer) {
    for (int q = 0; q < qubits; ++q) c.rx(q, weight()).ry(q, weight()).rz(q, weight());
    c.cnot_ring();
  }
  return c;
}

struct Arrays {
  std::vector<float> weights, inputs, upstream, dweights, dinputs;
  Arrays(const Circuit& c, int64_t batch, size_t outputs)
      : weights(size_t(c.weights())),
        inputs(size_t(batch * c.inputs())),
        upstream(size_t(batch) * outputs, 1),
        dweights(weights.size()),
        dinputs(inputs.size()) {
    Random random(1);
    for (auto* values : {&weights, &inputs})
      for (float& value : *values) value = float(random.uniform(-3, 3));
  }
};

std::vector<PauliSum> observables(int qubits, bool each_wire) {
  return each_wire ? each('Z', qubits) : std::vector<PauliSum>{sum_of('Z', qubits)};
}

template <class Run>
void time(benchmark::State& state, int64_t batch, Run run) {
  set_threads(1);
  for (auto _ : state) run();
  state.counters["us_per_sample"] = benchmark::Counter(
      double(batch) * 1e-6, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

/// The gradient of the sum of all Z, or with one upstream value for each of them.
void adjoint(benchmark::State& state) {
  const int qubits = int(state.range(0));
  const Circuit c = layered_circuit(qubits);
  const auto o = observables(qubits, state.range(1));
  const Simulator<float> simulator(c, o);
  Arrays a(c, 64, o.size());
  time(state, 64, [&] {
    simulator.vjp(64, a.weights.data(), a.inputs.data(), a.upstream.data(), a.dweights.data(), a.dinputs.data());
  });
}
BENCHMARK(adjoint)->ArgNames({"qubits", "each"})->Args({4, 0})->Args({4, 1})->Args({8, 0})->Args({8, 1});

/// A Hessian-vector product of weights and inputs.
void hessian_vector(benchmark::State& state) {
  const int qubits = int(state.range(0));
  const Circuit c = layered_circuit(qubits);
  const JetSimulator<float> simulator(c, observables(qubits, false));
  Arrays a(c, 64, 1), v(c, 64, 1);
  time(state, 64, [&] {
    simulator.hvp(64, a.weights.data(), a.inputs.data(), a.upstream.data(), v.weights.data(), v.inputs.data(),
                  a.dweights.data(), a.dinputs.data());
  });
}
BENCHMARK(hessian_vector)->ArgName("qubits")->Arg(4)->Arg(8);

void parameter_shift(benchmark::State& state) {
  const int qubits = int(state.range(0));
  const Circuit c = layered_circuit(qubits);
  const Differentiator<float> differentiator(c, observables(qubits, false));
  Arrays a(c, 64, 1);
  time(state, 64, [&] {
    differentiator.vjp(64, a.weights.data(), a.inputs.data(), a.upstream.data(), a.dweights.data(), a.dinputs.data());
  });
}
BENCHMARK(parameter_shift)->ArgName("qubits")->Arg(4)->Arg(8);

void metric(benchmark::State& state) {
  const int qubits = int(state.range(0));
  const Circuit c = layered_circuit(qubits);
  const MetricTensor<float> tensor(c, {.block_diagonal = state.range(1) != 0});
  Arrays a(c, 1, 1);
  std::vector<double> g(a.weights.size() * a.weights.size());
  time(state, 1, [&] { tensor(1, a.weights.data(), a.inputs.data(), g.data()); });
}
BENCHMARK(metric)->ArgNames({"qubits", "blocks"})->Args({4, 0})->Args({8, 0})->Args({8, 1});

}  // namespace
}  // namespace quanta
