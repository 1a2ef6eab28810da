#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/qat.h"

namespace quanta {
namespace {

/// ResNet-20 for images of 32 x 32.
Network resnet20() {
  Network net;
  int x = net->input();
  const auto conv_bn = [&](const std::string& name, int from, int64_t in, int64_t out, int64_t stride) {
    return net->batch_norm(name + "_bn", net->conv(name, from, Conv2dOptions::square(in, out, 3, stride)));
  };
  x = net->relu("relu", conv_bn("conv1", x, 3, 16, 1));
  int64_t width = 16;
  for (int stage = 0; stage < 3; ++stage)
    for (int block = 0; block < 3; ++block) {
      const std::string name = fmt::format("layer{}.{}", stage + 1, block);
      const int64_t out = 16 << stage, stride = out == width ? 1 : 2;
      int y = net->relu(name + ".relu1", conv_bn(name + ".conv1", x, width, out, stride));
      y = conv_bn(name + ".conv2", y, out, out, 1);
      if (stride == 2)
        x = net->batch_norm(name + ".down_bn", net->conv(name + ".down", x, {.in = width, .out = out, .stride{2, 2}}));
      x = net->relu(name + ".relu2", net->add(name + ".add", x, y));
      width = out;
    }
  net->linear("fc", net->flatten("flatten", net->global_avg_pool("mean", x)), 64, 10);
  torch::manual_seed(0);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->parameters()) p.normal_(0, p.dim() > 1 ? 0.05 : 1);
  return net;
}

/// One step of training with a batch of 32. mode 0: float, 1: quantization-aware, 2: with learned steps, 3: with the
/// moments of the paper, which take two convolutions. The goal for 1 is at most 1.5 times 0.
void training_step(benchmark::State& state) {
  torch::set_num_threads(1);
  Network net = resnet20();
  QatOptions options{.freeze_bn = 1};
  if (state.range(0) == 2) options.weight.learned = options.activation.learned = true;
  if (state.range(0) == 3) options.fold = BatchNormFold::Corrected;
  if (state.range(0) > 0) net = prepare_qat(net, options);
  net->train();
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  const auto x = torch::randn({32, 3, 32, 32}), y = torch::randint(0, 10, {32});
  for (auto _ : state) {
    optimizer.zero_grad();
    torch::nn::functional::cross_entropy(net->forward(x), y).backward();
    optimizer.step();
  }
}
BENCHMARK(training_step)->ArgName("mode")->DenseRange(0, 3)->Unit(benchmark::kMillisecond);

/// One pass over 2^n floats: bytes are those of the tensors read and written.
void forward(benchmark::State& state) {
  torch::set_num_threads(1);
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({int64_t{1} << state.range(0)});
  UniformQuantizer q;
  q.fit(x);
  for (auto _ : state) benchmark::DoNotOptimize(q.forward(x).data_ptr());
  state.SetBytesProcessed(state.iterations() * 2 * int64_t(x.nbytes()));
}
BENCHMARK(forward)->ArgName("log2")->Arg(14)->Arg(20)->Arg(24);

/// There and back.
void forward_backward(benchmark::State& state) {
  torch::set_num_threads(1);
  const auto x = torch::randn({int64_t{1} << state.range(0)}).set_requires_grad(true);
  const auto up = torch::ones_like(x);
  UniformQuantizer q({.learned = state.range(1) != 0});
  q.fit(x);
  for (auto _ : state) benchmark::DoNotOptimize(torch::autograd::grad({q.forward(x)}, {x}, {up})[0].data_ptr());
  state.SetBytesProcessed(state.iterations() * 5 * int64_t(x.nbytes()));
}
BENCHMARK(forward_backward)->ArgNames({"log2", "learned"})->Args({14, 0})->Args({20, 0})->Args({20, 1});

void observe(benchmark::State& state) {
  torch::set_num_threads(1);
  const auto x = torch::randn({1 << 20});
  const auto observer = make_observer({.kind = ObserverKind(state.range(0))});
  for (auto _ : state) observer->observe(x);
  state.SetBytesProcessed(state.iterations() * int64_t(x.nbytes()));
}
BENCHMARK(observe)->ArgName("kind")->Arg(int(ObserverKind::MovingAverage))->Arg(int(ObserverKind::Kl));

}  // namespace
}  // namespace quanta
