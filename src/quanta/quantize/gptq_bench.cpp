#include <benchmark/benchmark.h>

#include "quanta/core/parallel.h"
#include "quanta/quantize/gptq.h"
#include "quanta/quantize/input_hessian.h"
#include "quanta/quantize/inverse_factor.h"

namespace quanta {
namespace {

/// Inputs of which neighbours are correlated, as activations are.
torch::Tensor tokens(int64_t count, int64_t inputs) {
  torch::manual_seed(0);
  const auto x = torch::randn({count, inputs});
  return x + x.roll(1, 1) + 0.5 * x.roll(5, 1);
}

/// Of 16384 tokens, in sequences of 2048. Goal at 4096 inputs: at most 1.5 s.
void hessian(benchmark::State& state) {
  const torch::NoGradGuard no_grad;
  torch::set_num_threads(1);
  set_threads(1);
  const auto x = tokens(2048, state.range(0)).unsqueeze(0);
  for (auto _ : state) {
    InputHessian hessian(state.range(0));
    for (int sequence = 0; sequence < 8; ++sequence) hessian.add(x);
    benchmark::DoNotOptimize(hessian.value());
  }
}
BENCHMARK(hessian)->ArgName("inputs")->Arg(1024)->Arg(4096)->Arg(11008)->Unit(benchmark::kMillisecond);

void factor(benchmark::State& state) {
  torch::set_num_threads(1);
  set_threads(1);
  InputHessian hessian(state.range(0));
  hessian.add(tokens(2 * state.range(0), state.range(0)));
  const auto h = hessian.value();
  for (auto _ : state) benchmark::DoNotOptimize(inverse_factor(h));
}
BENCHMARK(factor)->ArgName("inputs")->Arg(1024)->Arg(4096)->Unit(benchmark::kMillisecond);

/// 4 bits, groups of 128. Goals: 1 s for 4096 -> 4096, 8 s for 11008 -> 4096.
void solve(benchmark::State& state) {
  torch::set_num_threads(1);
  set_threads(1);
  const int64_t inputs = state.range(0), outputs = state.range(1);
  InputHessian hessian(inputs);
  hessian.add(tokens(2 * inputs, inputs));
  const auto h = hessian.value(), w = torch::randn({outputs, inputs});
  const AffineGrid grid({.bits = 4, .group = 128});
  for (auto _ : state) benchmark::DoNotOptimize(gptq(w, h, grid, {.static_groups = state.range(2) != 0}));
}
BENCHMARK(solve)
    ->ArgNames({"inputs", "outputs", "static"})
    ->Args({1024, 1024, 0})
    ->Args({4096, 4096, 0})
    ->Args({4096, 4096, 1})
    ->Args({11008, 4096, 0})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quanta
