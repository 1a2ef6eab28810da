#include "quanta/quantize/observer.h"

#include "quanta/core/error.h"
#include "quanta/quantize/histogram.h"

namespace quanta {
namespace {

void require_data(bool seen) {
  require(seen, "an observer has seen no data: run calibration batches through the network first");
}

/// Last, MinMax, MovingAverage.
class ExtremesObserver : public Observer {
 public:
  explicit ExtremesObserver(const ObserverOptions& options) : options_(options) {
    require(options.decay >= 0 && options.decay < 1, "a moving average's decay of {}: expected [0, 1)", options.decay);
    low_ = register_buffer("low", torch::zeros({1}));
    high_ = register_buffer("high", torch::zeros({1}));
    seen_ = register_buffer("seen", torch::zeros({1}, torch::kInt64));
  }

  void observe(const torch::Tensor& x) override {
    const auto [low, high] = extremes(x, options_.axis, options_.group);
    if (empty() || options_.kind == ObserverKind::Last) {
      low_.set_data(low);
      high_.set_data(high);
    } else {
      require(low.sizes() == low_.sizes(), "an observer of {} channels is shown {}", low_.numel(), low.numel());
      const bool average = options_.kind == ObserverKind::MovingAverage;
      low_.copy_(average ? torch::lerp(low, low_, options_.decay) : torch::minimum(low, low_));
      high_.copy_(average ? torch::lerp(high, high_, options_.decay) : torch::maximum(high, high_));
    }
    seen_.fill_(1);
  }

  std::pair<torch::Tensor, torch::Tensor> range() const override {
    require_data(!empty());
    return {low_, high_};
  }
  bool empty() const override { return seen_.item<int64_t>() == 0; }

  std::shared_ptr<TensorTransform> copy() const override {
    auto made = std::make_shared<ExtremesObserver>(options_);
    copy_values(*this, *made);
    return made;
  }

 private:
  ObserverOptions options_;
  torch::Tensor low_, high_, seen_;
};

/// Percentile, Mse, Kl.
class HistogramObserver : public Observer {
 public:
  explicit HistogramObserver(const ObserverOptions& options) : options_(options) {
    require(options.axis < 0, "histograms are of whole tensors: use Last, MinMax or MovingAverage for channels");
    register_buffer("counts", histogram_.counts);
    register_buffer("zeros", histogram_.zeros);
    register_buffer("limit", histogram_.limit);
    register_buffer("extremes", histogram_.extremes);
  }

  void observe(const torch::Tensor& x) override { histogram_.add(x); }

  std::pair<torch::Tensor, torch::Tensor> range() const override {
    require_data(!empty());
    const UniformOptions grid{.bits = options_.bits, .symmetric = options_.symmetric, .is_signed = options_.is_signed};
    const auto [low, high] = options_.kind == ObserverKind::Percentile
                                 ? histogram_.percentile_range(options_.percentile)
                             : options_.kind == ObserverKind::Mse ? histogram_.mse_range(grid)
                                                                  : histogram_.kl_range(grid);
    return {torch::full({1}, low), torch::full({1}, high)};
  }
  bool empty() const override { return histogram_.empty(); }

  std::shared_ptr<TensorTransform> copy() const override {
    auto made = std::make_shared<HistogramObserver>(options_);
    copy_values(*this, *made);
    return made;
  }

 private:
  ObserverOptions options_;
  Histogram histogram_;
};

}  // namespace

std::shared_ptr<Observer> make_observer(const ObserverOptions& options) {
  switch (options.kind) {
    case ObserverKind::Last:
    case ObserverKind::MinMax:
    case ObserverKind::MovingAverage:
      return std::make_shared<ExtremesObserver>(options);
    case ObserverKind::Percentile:
    case ObserverKind::Mse:
    case ObserverKind::Kl:
      return std::make_shared<HistogramObserver>(options);
  }
  fail("unknown kind of observer");
}

}  // namespace quanta
