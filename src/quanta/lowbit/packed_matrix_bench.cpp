// Packed products, matrices of 4096 x 4096 taken by turns from a pool that no cache holds, so that weights come from
// memory. Beside each, by turns with it, this machine's limits at that moment: the bytes that a plain pass over memory
// reads, and the multiply-adds of registers alone. Processor time (wall time where there are more threads), medians and
// the best of each; the quantization of activations is included.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <vector>

#include "quanta/core/half.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/lowbit/kernels.h"
#include "quanta/lowbit/packed_kernels.h"
#include "quanta/lowbit/packed_matrix.h"

namespace quanta {
namespace {

constexpr int64_t kSize = 4096;
constexpr size_t kPool = size_t{512} << 20;

double seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}
template <class Body>
double seconds_of(clockid_t clock, const Body& body) {
  const double begin = seconds(clock);
  body();
  return seconds(clock) - begin;
}
double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + ptrdiff_t(values.size() / 2));
  return values[values.size() / 2];
}

/// Matrices of a format that fill the pool together; those of one format are made once.
const std::vector<PackedMatrix>& pool(int bits, int64_t group) {
  static int held_bits = 0;
  static int64_t held_group = 0;
  static std::vector<PackedMatrix> held;
  if (bits != held_bits || group != held_group) {
    held.clear();
    Random random(1);
    PackedSource source{.outputs = kSize, .inputs = kSize, .bits = bits, .group = group};
    std::vector<uint8_t> codes(size_t(kSize * kSize));
    for (uint8_t& code : codes) code = uint8_t(random.below(1u << bits));
    std::vector<float> scales(size_t(kSize * source.groups())), zeros(scales.size());
    for (size_t i = 0; i < scales.size(); ++i) {
      scales[i] = half_to_float(float_to_half(float(random.uniform(0.001, 0.002))));
      zeros[i] = float(random.below(1u << bits));
    }
    source.codes = codes;
    source.scales = scales;
    source.zeros = zeros;
    const PackedMatrix first(source);
    for (size_t bytes = 0; bytes < kPool; bytes += first.bytes()) held.push_back(first);
    held_bits = bits;
    held_group = group;
  }
  return held;
}

/// Bytes a second of one thread's pass over the next 16 MB.
double read_rate() {
  static AlignedVector<uint8_t> memory(kPool, 1);
  static size_t at = 0;
  constexpr size_t kPart = size_t{16} << 20;
  at = (at + kPart) % memory.size();
  const double time = seconds_of(CLOCK_THREAD_CPUTIME_ID, [&] {
    benchmark::DoNotOptimize(lowbit::packed_kernels().read(memory.data() + at, kPart));
  });
  return double(kPart) / time;
}
double peak_rate() {
  int64_t done = 0;
  const double time = seconds_of(CLOCK_THREAD_CPUTIME_ID, [&] { done = lowbit::kernels().peak(50'000); });
  return 2 * double(done) / time;
}

void product(benchmark::State& state, int bits, int64_t group, Activations activations) {
  const int64_t rows = state.range(0);
  const auto count = int(state.range(1));
  const auto& matrices = pool(bits, group);
  Random random(2);
  std::vector<float> x(size_t(rows * kSize)), y(x.size());
  for (float& v : x) v = float(random.normal());
  const int before = threads();
  set_threads(count);
  const clockid_t clock = count == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  std::vector<double> times, reads, peaks, processor;
  size_t at = 0;
  const int calls = rows <= 8 ? 8 : 1;
  for (auto _ : state) {
    reads.push_back(read_rate());
    peaks.push_back(peak_rate());
    const double processor_begin = seconds(CLOCK_PROCESS_CPUTIME_ID);
    const double time = seconds_of(clock, [&] {
      for (int i = 0; i < calls; ++i, at = (at + 1) % matrices.size())
        matrices[at].multiply(x.data(), rows, y.data(), activations);
    });
    processor.push_back((seconds(CLOCK_PROCESS_CPUTIME_ID) - processor_begin) / calls);
    times.push_back(time / calls);
    state.SetIterationTime(time / calls);
  }
  set_threads(before);
  const double bytes = double(matrices[0].weight_bytes()), operations = 2.0 * double(rows * kSize * kSize);
  const double best = std::ranges::min(times), middle = median(times);
  state.SetLabel(lowbit::packed_kernels().target);
  state.counters["ms"] = middle * 1e3;
  state.counters["cpu_ms"] = median(processor) * 1e3;
  state.counters["GB/s"] = bytes / middle * 1e-9;
  state.counters["best_GB/s"] = bytes / best * 1e-9;
  state.counters["of_read"] = bytes / middle / median(reads);
  state.counters["GOP/s"] = operations / middle * 1e-9;
  state.counters["best_GOP/s"] = operations / best * 1e-9;
  state.counters["of_peak"] = operations / middle / median(peaks);
  state.counters["read"] = median(reads) * 1e-9;
  state.counters["peak"] = median(peaks) * 1e-9;
}

const int registered = [] {
  for (const Activations activations : {Activations::Int8, Activations::Float})
    for (const int bits : {4, 8, 3, 2})
      for (const int64_t group : {int64_t{128}, int64_t{0}})
        for (const int count : {1, 2})
          for (const int64_t rows : {1, 8, 32, 512})
            if (count == 1 || (bits == 4 && group == 128))
              benchmark::RegisterBenchmark(fmt::format("W{}A{}/{}", bits, activations == Activations::Int8 ? 8 : 16,
                                                       group == 0 ? "row" : fmt::format("g{}", group))
                                               .c_str(),
                                           product, bits, group, activations)
                  ->ArgNames({"rows", "threads"})
                  ->Args({rows, count})
                  ->UseManualTime()
                  ->Iterations(rows == 512 ? 12 : 60);
  return 0;
}();

}  // namespace
}  // namespace quanta
