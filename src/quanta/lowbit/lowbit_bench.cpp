// One thread. Layers report multiply-adds per second (an addition and a multiplication are one) and their share of
// what the registers alone do, measured by turns: medians, and the best of each (which a busy neighbour disturbs
// least).

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/lowbit/convolution.h"
#include "quanta/lowbit/integer_network.h"

namespace quanta {
namespace {

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

template <class Body>
double seconds_of(const Body& body) {
  const double begin = cpu_seconds();
  body();
  return cpu_seconds() - begin;
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + ptrdiff_t(values.size() / 2));
  return values[values.size() / 2];
}

struct Layer {
  const char* name;
  ConvolutionShape shape;
  int count, h, w;
};

void run_layer(benchmark::State& state, const Layer& l) {
  Random random(1);
  std::vector<int8_t> codes(size_t(l.shape.weights()));
  for (int8_t& code : codes) code = int8_t(int(random.below(255)) - 127);
  const std::vector<float> scales(size_t(l.shape.out_channels), 0.001f);
  const IntegerConvolution layer(l.shape, {.codes = codes, .scales = scales}, {.scale = 0.02f, .zero_point = 10},
                                 {.scale = 0.1f}, {0, 255});
  AlignedVector<uint8_t> in(size_t(l.count) * size_t(l.h) * size_t(l.w) * size_t(l.shape.in_channels) +
                            IntegerConvolution::kReadAhead);
  for (uint8_t& code : in) code = uint8_t(random.below(256));
  const int64_t pixels = int64_t{l.count} * l.shape.output_h(l.h) * l.shape.output_w(l.w);
  AlignedVector<uint8_t> out(size_t(pixels * l.shape.out_channels)), scratch(layer.scratch_bytes(l.count, l.h, l.w, 1));
  const double macs = double(l.shape.weights()) * double(pixels);
  const auto once = [&] { layer.run(in.data(), l.count, l.h, l.w, out.data(), scratch, 1); };
  // The layer and the peak by turns, each for about a fifth of a millisecond: neighbours disturb both alike.
  once();
  const int repeats = std::max(1, int(2e-4 / std::max(seconds_of(once), 1e-7)));
  std::vector<double> rates, peaks;
  for (auto _ : state) {
    int64_t done = 0;
    const double at_peak = seconds_of([&] { done = lowbit::kernels().peak(50'000); });
    peaks.push_back(double(done) / at_peak);
    const double seconds = seconds_of([&] {
      for (int i = 0; i < repeats; ++i) once();
    });
    state.SetIterationTime(seconds / repeats);
    rates.push_back(macs * repeats / seconds);
  }
  state.SetLabel(lowbit::kernels().target);
  state.counters["GMAC/s"] = median(rates) * 1e-9;
  state.counters["of_peak"] = median(rates) / median(peaks);
  state.counters["best"] = std::ranges::max(rates) * 1e-9;
  state.counters["best_of_peak"] = std::ranges::max(rates) / std::ranges::max(peaks);
  state.counters["best_us"] = macs / std::ranges::max(rates) * 1e6;
}

ConvolutionShape square(int in, int out, int kernel, int stride, int groups = 1) {
  return {.in_channels = in,
          .out_channels = out,
          .kernel_h = kernel,
          .kernel_w = kernel,
          .stride_h = stride,
          .stride_w = stride,
          .padding_h = kernel / 2,
          .padding_w = kernel / 2,
          .groups = groups};
}

const std::vector<Layer> kLayers{
    {"gemm_512x512x512", {.in_channels = 512, .out_channels = 512}, 512, 1, 1},
    {"gemm_512x4096x4096", {.in_channels = 4096, .out_channels = 4096}, 512, 1, 1},
    {"gemm_1x1280x1000", {.in_channels = 1280, .out_channels = 1000}, 1, 1, 1},
    {"resnet20_3_16", square(3, 16, 3, 1), 1, 32, 32},
    {"resnet20_16_16", square(16, 16, 3, 1), 1, 32, 32},
    {"resnet20_16_32_s2", square(16, 32, 3, 2), 1, 32, 32},
    {"resnet20_32_32", square(32, 32, 3, 1), 1, 16, 16},
    {"resnet20_64_64", square(64, 64, 3, 1), 1, 8, 8},
    {"resnet50_64_64", square(64, 64, 3, 1), 1, 56, 56},
    {"resnet50_256_256", square(256, 256, 3, 1), 1, 14, 14},
    {"resnet50_3_64_s2", square(3, 64, 7, 2), 1, 224, 224},
    {"resnet18_512_512_4x4", square(512, 512, 3, 1), 1, 4, 4},
    {"mobilenet_pw_16_96_32", square(16, 96, 1, 1), 1, 32, 32},
    {"mobilenet_pw_24_144_16", square(24, 144, 1, 1), 1, 16, 16},
    {"mobilenet_pw_144_24_16", square(144, 24, 1, 1), 1, 16, 16},
    {"mobilenet_pw_384_64_8", square(384, 64, 1, 1), 1, 8, 8},
    {"mobilenet_pw_160_960_4", square(160, 960, 1, 1), 1, 4, 4},
    {"mobilenet_dw_96_32", square(96, 96, 3, 1, 96), 1, 32, 32},
    {"mobilenet_dw_144_16", square(144, 144, 3, 1, 144), 1, 16, 16},
    {"mobilenet_dw_384_8", square(384, 384, 3, 1, 384), 1, 8, 8},
    {"mobilenet_dw_144_s2_56", square(144, 144, 3, 2, 144), 1, 56, 56},
    {"mobilenet_dw_960_4", square(960, 960, 3, 1, 960), 1, 4, 4},
};

// ResNet-20 for CIFAR-10 with random weights: time a batch.
IntegerNetwork resnet20() {
  Random random(1);
  const AffineU8 q{.scale = 0.05f};
  IntegerNetworkBuilder net({3, 32, 32}, {.scale = 0.02f, .zero_point = 114});
  int layers = 0;
  const auto convolution = [&](int x, const ConvolutionShape& shape, Activation activation) {
    std::vector<int8_t> codes(size_t(shape.weights()));
    for (int8_t& code : codes) code = int8_t(int(random.below(255)) - 127);
    const std::vector<float> scales(size_t(shape.out_channels), 0.0005f), bias(scales.size(), 0.1f);
    return net.convolution(fmt::format("conv{}", layers++), x, shape, {.codes = codes, .scales = scales, .bias = bias},
                           activation == Activation::None ? AffineU8{.scale = 0.05f, .zero_point = 128} : q,
                           activation);
  };
  int x = convolution(0, square(3, 16, 3, 1), Activation::Relu);
  for (const int channels : {16, 32, 64})
    for (int block = 0; block < 3; ++block) {
      const int in = net.shape(x).channels, stride = in == channels ? 1 : 2;
      const int y = convolution(convolution(x, square(in, channels, 3, stride), Activation::Relu),
                                square(channels, channels, 3, 1), Activation::None);
      if (stride == 2) x = convolution(x, square(in, channels, 1, 2), Activation::None);
      x = net.add(fmt::format("add{}", layers++), x, y, q, Activation::Relu);
    }
  x = net.global_average_pool("pool", x, q);
  const std::vector<int8_t> codes(640, 3);
  const std::vector<float> scale{0.01f};
  return net.output_linear("fc", x, {.codes = codes, .scales = scale});
}

void network(benchmark::State& state) {
  const int batch = int(state.range(0));
  const IntegerNetwork net = resnet20();
  std::vector<float> images(size_t(batch) * 3072, 0.3f), out(size_t(batch) * 10);
  net.run(images, batch, out);
  for (auto _ : state) net.run(images, batch, out);
  state.counters["images/s"] = benchmark::Counter(double(state.iterations() * batch), benchmark::Counter::kIsRate);
}
BENCHMARK(network)->Arg(1)->Arg(32);

void addition(benchmark::State& state) {
  const size_t count = size_t(state.range(0));
  const AddFactors factors = add_factors({.scale = 0.1f}, {.scale = 0.07f}, {.scale = 0.13f}, {0, 255});
  const AlignedVector<uint8_t> a(count, 17), b(count, 200);
  AlignedVector<uint8_t> out(count);
  for (auto _ : state) add(factors, a.data(), b.data(), count, out.data());
  state.SetBytesProcessed(state.iterations() * int64_t(3 * count));
}
BENCHMARK(addition)->Arg(16384)->Arg(1 << 20);

void quantize_image(benchmark::State& state) {
  const std::vector<float> image(3 * 32 * 32, 0.3f);
  std::vector<uint8_t> codes(image.size());
  for (auto _ : state) quantize_images(image.data(), 1, 3, 1024, {.scale = 0.02f, .zero_point = 114}, codes.data());
}
BENCHMARK(quantize_image);

const int registered = [] {
  for (const Layer& layer : kLayers)
    benchmark::RegisterBenchmark(layer.name, [&layer](benchmark::State& state) {
      run_layer(state, layer);
    })->UseManualTime();
  return 0;
}();

}  // namespace
}  // namespace quanta
