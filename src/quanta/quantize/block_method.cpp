#include "quanta/quantize/block_method.h"

#include <algorithm>
#include <map>
#include <utility>

#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

// Hands on what the slot's own transform makes of the input, and shows it to whoever listens on this thread.
class Tap : public TensorTransform {
 public:
  Tap(std::shared_ptr<TensorTransform> inner, size_t index) : inner_(std::move(inner)), index_(index) {}
  torch::Tensor forward(const torch::Tensor& x) override {
    const torch::Tensor seen = inner_ ? inner_->forward(x) : x;
    if (heard) (*heard)[index_] = seen.detach();
    return seen;
  }
  std::shared_ptr<TensorTransform> copy() const override {
    return std::make_shared<Tap>(inner_ ? inner_->copy() : nullptr, index_);
  }

  static thread_local std::vector<torch::Tensor>* heard;

 private:
  std::shared_ptr<TensorTransform> inner_;
  size_t index_;
};
thread_local std::vector<torch::Tensor>* Tap::heard = nullptr;

// Puts taps into input slots and takes them out again.
class Taps {
 public:
  Taps(DecoderBlock& block, const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      const auto layer = block->layer(path);
      held_.emplace_back(layer, layer->slot(QuantizableLayer::Place::Input).get());
      layer->put(QuantizableLayer::Place::Input, std::make_shared<Tap>(held_.back().second, held_.size() - 1));
    }
  }
  ~Taps() {
    for (auto& [layer, transform] : held_) layer->put(QuantizableLayer::Place::Input, transform);
  }
  Taps(const Taps&) = delete;
  Taps& operator=(const Taps&) = delete;

 private:
  std::vector<std::pair<std::shared_ptr<QuantizableLayer>, std::shared_ptr<TensorTransform>>> held_;
};

// While it lives, what the taps of this thread see goes to `to`.
struct Listening {
  explicit Listening(std::vector<torch::Tensor>& to) { Tap::heard = &to; }
  ~Listening() { Tap::heard = nullptr; }
};

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
  const Taps taps(block, paths);
  const int64_t size = batch_of(inputs), n = inputs.sequences(), batches = (n + size - 1) / size;
  const int64_t together = threads();
  std::vector<std::vector<torch::Tensor>> seen{size_t(together)};
  for (int64_t first = 0; first < batches; first += together) {
    const int64_t last = std::min(first + together, batches);
    run_batches(first, last, [&](int64_t batch) {
      auto& heard = seen[size_t(batch - first)];
      heard.assign(paths.size(), {});
      const Listening listening(heard);
      block->forward(inputs.get(batch * size, std::min(size, n - batch * size)));
    });
    for (int64_t batch = first; batch < last; ++batch) use(batch * size, seen[size_t(batch - first)]);
  }
}

}  // namespace quanta
