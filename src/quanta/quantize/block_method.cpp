#include "quanta/quantize/block_method.h"

#include <algorithm>
#include <utility>

#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/input_taps.h"

namespace quanta {
namespace {

// Sequences that run as one batch: short ones together, by their length alone.
int64_t batch_of(const ActivationStore& inputs) {
  return std::clamp<int64_t>(1024 / inputs.length(), 1, inputs.sequences());
}

// f(batch) for batches first .. last - 1 on several threads.
void run_batches(int64_t first, int64_t last, const std::function<void(int64_t batch)>& f) {
  parallel_for(last - first, 1, [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    for (int64_t batch = first + begin; batch < first + end; ++batch) f(batch);
  });
}

}  // namespace

void for_each_sequence(const ActivationStore& inputs,
                       const std::function<void(int64_t first, const torch::Tensor& h)>& f) {
  const SingleThreadedBlas single;
  const int64_t size = batch_of(inputs), n = inputs.sequences();
  run_batches(0, (n + size - 1) / size,
              [&](int64_t batch) { f(batch * size, inputs.get(batch * size, std::min(size, n - batch * size))); });
}

void collect_inputs(DecoderBlock& block, const std::vector<std::string>& paths, const ActivationStore& inputs,
                    const std::function<void(int64_t first, const std::vector<torch::Tensor>& x)>& use) {
  const SingleThreadedBlas single;
  const InputTaps taps(block, paths);
  const int64_t size = batch_of(inputs), n = inputs.sequences(), batches = (n + size - 1) / size;
  const int64_t together = threads();
  std::vector<std::vector<torch::Tensor>> seen{size_t(together)};
  for (int64_t first = 0; first < batches; first += together) {
    const int64_t last = std::min(first + together, batches);
    run_batches(first, last, [&](int64_t batch) {
      seen[size_t(batch - first)] =
          taps.listen([&] { block->forward(inputs.get(batch * size, std::min(size, n - batch * size))); });
    });
    for (int64_t batch = first; batch < last; ++batch) use(batch * size, seen[size_t(batch - first)]);
  }
}

}  // namespace quanta
