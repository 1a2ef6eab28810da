// Seconds to load the real data sets, where they are found, and to generate the stand-ins.

#include <benchmark/benchmark.h>

#include "quanta/core/parallel.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/known.h"

namespace quanta {
namespace {

void load(benchmark::State& state, const char* name) {
  set_threads(int(state.range(0)));
  if (!known_data(name).generated && !find_data(name)) {
    state.SkipWithError("not found; set QUANTA_DATA");
    return;
  }
  int64_t images = 0;
  for (auto _ : state) {
    const auto splits = load_images(name);
    images += splits.train.size() + splits.test.size();
  }
  state.counters["images/s"] = benchmark::Counter(double(images), benchmark::Counter::kIsRate);
}

#define QUANTA_LOAD_BENCH(name) \
  BENCHMARK_CAPTURE(load, name, #name)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond)
QUANTA_LOAD_BENCH(mnist);
QUANTA_LOAD_BENCH(cifar10);
QUANTA_LOAD_BENCH(medical_mnist);
QUANTA_LOAD_BENCH(glyph_digits);
QUANTA_LOAD_BENCH(glyph_hues);

}  // namespace
}  // namespace quanta
