#include "quanta/quantize/match_outputs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

using torch::Tensor;

/// While it lives, LibTorch's operations on this thread run on it alone.
class SingleThreadedTorch {
 public:
  SingleThreadedTorch() : threads_(torch::get_num_threads()) { torch::set_num_threads(1); }
  ~SingleThreadedTorch() { torch::set_num_threads(threads_); }
  SingleThreadedTorch(const SingleThreadedTorch&) = delete;
  SingleThreadedTorch& operator=(const SingleThreadedTorch&) = delete;

 private:
  int threads_;
};

/// f(first, count, index) for sequences first .. last - 1 in parts whose size depends on their length alone: short ones
/// together. Each part runs on one thread.
void for_each_part(const ActivationStore& store, int64_t first, int64_t last,
                   const std::function<void(int64_t first, int64_t count, size_t index)>& f) {
  const SingleThreadedBlas single;
  const int64_t size = std::max<int64_t>(1, 1024 / store.length()), parts = (last - first + size - 1) / size;
  const auto run = [&](int64_t begin, int64_t end) {
    const SingleThreadedTorch alone;
    for (int64_t part = begin; part < end; ++part)
      f(first + part * size, std::min(size, last - first - part * size), size_t(part));
  };
  parallel_for(parts, 1, run);
}

int64_t parts_of(const ActivationStore& store, int64_t sequences) {
  const int64_t size = std::max<int64_t>(1, 1024 / store.length());
  return (sequences + size - 1) / size;
}

}  // namespace

void match_outputs(const std::vector<Tensor>& parameters, const Part& student, const ActivationStore& inputs,
                   const Part& teacher, const ActivationStore& teacher_inputs, const MatchOptions& options) {
  const int64_t n = inputs.sequences();
  require(n == teacher_inputs.sequences() && inputs.length() == teacher_inputs.length(),
          "{} sequences of {} for the student, {} of {} for the teacher", n, inputs.length(),
          teacher_inputs.sequences(), teacher_inputs.length());
  require(options.epochs >= 0 && options.batch >= 1 && options.rate > 0,
          "{} epochs in batches of {} at a rate of {}: expected at least 0 and 1, and a rate above 0", options.epochs,
          options.batch, options.rate);
  torch::optim::AdamW optimizer(parameters, torch::optim::AdamWOptions(options.rate).weight_decay(0));
  const int64_t batches = (n + options.batch - 1) / options.batch, steps = options.epochs * batches;
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t first = step % batches * options.batch, last = std::min(first + options.batch, n);
    std::vector<std::vector<Tensor>> gradients(size_t(parts_of(inputs, last - first)));
    for_each_part(inputs, first, last, [&](int64_t begin, int64_t count, size_t part) {
      const torch::AutoGradMode graph(true);
      const Tensor target = [&] {
        const torch::NoGradGuard no_grad;
        return teacher(teacher_inputs.get(begin, count));
      }();
      const Tensor loss = (student(inputs.get(begin, count)) - target).square().mean();
      require(std::isfinite(loss.item<double>()), "training diverged: a lower rate may help");
      gradients[part] = torch::autograd::grad({loss * (double(count) / double(last - first))}, parameters);
    });
    for (size_t i = 0; i < parameters.size(); ++i) {
      Tensor sum = gradients[0][i];
      for (size_t part = 1; part < gradients.size(); ++part) sum = sum + gradients[part][i];
      parameters[i].mutable_grad() = sum;
    }
    for (auto& group : optimizer.param_groups())
      static_cast<torch::optim::AdamWOptions&>(group.options()).lr(options.rate * (1 - double(step) / double(steps)));
    const SingleThreadedTorch alone;
    optimizer.step();
  }
  for (const Tensor& parameter : parameters) parameter.mutable_grad() = Tensor();
}

double mismatch(const Part& student, const ActivationStore& inputs, const Part& teacher,
                const ActivationStore& teacher_inputs) {
  const int64_t n = inputs.sequences();
  std::vector<double> sums(size_t(parts_of(inputs, n)));
  for_each_part(inputs, 0, n, [&](int64_t first, int64_t count, size_t part) {
    const torch::NoGradGuard no_grad;
    const Tensor difference = student(inputs.get(first, count)) - teacher(teacher_inputs.get(first, count));
    sums[part] = difference.square().sum(torch::kFloat64).item<double>();
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0) / double(n * inputs.length() * inputs.width());
}

}  // namespace quanta
