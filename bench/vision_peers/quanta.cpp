// Quanta's and LibTorch's side of the comparison (run.py): builds a network, quantizes it to 8 bits, writes it as ONNX,
// times it.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "quanta/core/error.h"
#include "quanta/export/onnx.h"
#include "quanta/models/vision.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/ptq.h"
#include "quanta/quantize/to_integer.h"
#include "quanta/train/trainer.h"

using namespace quanta;

namespace {

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + 1e-6 * double(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class F>
void time(const F& run, int batch) {
  run();
  run();
  std::vector<double> walls, cpus;
  const double start = wall_seconds();
  while (wall_seconds() - start < 0.5 || walls.size() < 5) {
    const double wall = wall_seconds(), cpu = cpu_seconds();
    run();
    walls.push_back(wall_seconds() - wall);
    cpus.push_back(cpu_seconds() - cpu);
  }
  const auto median = [&](std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + int64_t(values.size() / 2), values.end());
    return 1e3 * values[values.size() / 2] / batch;
  };
  fmt::print("{{\"wall\": {}, \"cpu\": {}}}\n", median(walls), median(cpus));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    require(words.size() >= 4, "usage: export NETWORK SIZE FOLDER | time NETWORK SIZE float|int8 BATCH THREADS");
    const int64_t size = std::stoll(words[2]);
    use_threads(words[0] == "time" ? std::stoi(words.at(5)) : 2);
    const torch::NoGradGuard no_grad;
    torch::manual_seed(0);
    Network net = vision_model(words[1], {.classes = size > 64 ? 1000 : 10, .input = size});
    // Moments as training would leave them, so that activations keep their size.
    net->train();
    net->forward(torch::randn({8, 3, size, size}));
    net->eval();
    Network folded = fold_batch_norm(net);
    const auto quantized = [&] { return ptq(net, torch::randn({8, 3, size, size}), {}); };
    if (words[0] == "export") {
      const OnnxOptions options{.input = {3, size, size}};
      export_onnx(words[3] + "/float.onnx", folded, options);
      export_onnx(words[3] + "/int8.onnx", quantized(), options);
      fmt::print("{{}}\n");
      return 0;
    }
    const int batch = std::stoi(words.at(4));
    const auto images = torch::randn({batch, 3, size, size});
    if (words[3] == "float") {
      time([&] { folded->forward(images); }, batch);
    } else {
      const IntegerNetwork network = to_integer(quantized(), {3, int(size), int(size)});
      std::vector<float> logits(size_t(network.outputs()) * size_t(batch));
      time([&] { network.run({images.data_ptr<float>(), size_t(images.numel())}, batch, logits); }, batch);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
