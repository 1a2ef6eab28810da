// Tokenizing tiny Shakespeare (1.1 MB; QUANTA_DATA/text/tiny-shakespeare.txt) with vocabularies trained on it, and the
// training itself. QUANTA_TOKENIZER names a model's folder to measure too.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "quanta/core/file.h"
#include "quanta/text/bpe_trainer.h"
#include "quanta/text/byte_bpe.h"

namespace quanta {
namespace {

const std::string& text() {
  static const std::string content = [] {
    const char* data = std::getenv("QUANTA_DATA");
    return read_file(std::filesystem::path(data ? data : "shared/data") / "text/tiny-shakespeare.txt");
  }();
  return content;
}

void run(benchmark::State& state, const Tokenizer& tokenizer) {
  size_t tokens = 0;
  for (auto _ : state) tokens = tokenizer.encode(text()).size();
  state.counters["tokens"] = double(tokens);
  state.SetBytesProcessed(int64_t(state.iterations() * text().size()));
}

void train(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(train_bpe(text(), {.vocabulary = state.range(0)}));
}
BENCHMARK(train)->Arg(4096)->Arg(32000)->Unit(benchmark::kMillisecond);

void encode(benchmark::State& state) {
  run(state, *parse_tokenizer_json(train_bpe(text(), {.vocabulary = state.range(0)}), "bench"));
}
BENCHMARK(encode)->Arg(4096)->Arg(32000)->Unit(benchmark::kMillisecond);

void encode_given(benchmark::State& state) {
  if (const char* folder = std::getenv("QUANTA_TOKENIZER"))
    run(state, *load_tokenizer(folder));
  else
    state.SkipWithError("QUANTA_TOKENIZER is not set");
}
BENCHMARK(encode_given)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quanta
