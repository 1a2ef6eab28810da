#include "quanta/data/loader.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {

BatchOrder::BatchOrder(int64_t samples, const BatchOptions& options) : samples_(samples), options_(options) {
  require(samples >= 1, "there are no samples to make batches of");
  require(options.batch >= 1, "the batch size must be at least 1, got {}", options.batch);
  require(batches() > 0, "{} samples do not fill one batch of {}, and smaller batches are dropped", samples,
          options.batch);
}

int64_t BatchOrder::batches() const {
  return options_.drop_last ? samples_ / options_.batch : (samples_ - 1) / options_.batch + 1;
}

std::vector<torch::Tensor> BatchOrder::epoch(int64_t epoch) const {
  require(epoch >= 0, "epochs count from 0, got {}", epoch);
  const auto order =
      options_.shuffle
          ? torch::tensor(Random(options_.seed).split("batches").split(uint64_t(epoch)).permutation(samples_),
                          torch::kInt64)
          : torch::arange(samples_, torch::kInt64);
  std::vector<torch::Tensor> result;
  for (int64_t i = 0; i < batches(); ++i) {
    const int64_t start = i * options_.batch;
    result.push_back(order.narrow(0, start, std::min(options_.batch, samples_ - start)));
  }
  return result;
}

}  // namespace quanta
