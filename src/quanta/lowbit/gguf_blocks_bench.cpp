// Encoding and decoding of GGUF's block formats by one thread, in weights per second of its time.
#include <benchmark/benchmark.h>

#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/lowbit/gguf_blocks.h"

namespace quanta {
namespace {

constexpr GgufType kTypes[]{GgufType::Q4_0, GgufType::Q8_0, GgufType::Q2_K, GgufType::Q4_K, GgufType::Q6_K};
constexpr int64_t kRows = 256, kColumns = 4096;

std::vector<float> weights() {
  Random random(1);
  std::vector<float> result(kRows * kColumns);
  for (float& x : result) x = 0.02f * float(random.normal());
  return result;
}

void encode(benchmark::State& state) {
  const auto type = kTypes[state.range(0)];
  set_threads(1);
  const auto w = weights();
  for (auto _ : state) benchmark::DoNotOptimize(encode_gguf(type, w, kColumns));
  state.SetItemsProcessed(state.iterations() * kRows * kColumns);
  state.SetLabel(std::string(gguf_type_name(type)));
}
BENCHMARK(encode)->DenseRange(0, std::size(kTypes) - 1)->Unit(benchmark::kMillisecond);

void decode(benchmark::State& state) {
  const auto type = kTypes[state.range(0)];
  set_threads(1);
  const auto bytes = encode_gguf(type, weights(), kColumns);
  std::vector<float> values(kRows * kColumns);
  for (auto _ : state) decode_gguf(type, bytes, values);
  state.SetItemsProcessed(state.iterations() * kRows * kColumns);
  state.SetLabel(std::string(gguf_type_name(type)));
}
BENCHMARK(decode)->DenseRange(0, std::size(kTypes) - 1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quanta
