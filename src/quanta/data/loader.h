#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace quanta {

struct BatchOptions {
  int64_t batch = 64;
  bool shuffle = true;
  bool drop_last = false;  ///< leave out the last batch of an epoch if it is smaller
  uint64_t seed = 0;
};

/// The batches of every epoch of a training run. An epoch's order is a function of (seed, epoch) alone, so a resumed
/// run sees what an unbroken one would have seen.
class BatchOrder {
 public:
  /// For a set of `samples` samples. Error unless samples and batch are at least 1 and an epoch has a batch.
  BatchOrder(int64_t samples, const BatchOptions& options);

  /// Number of batches in an epoch.
  int64_t batches() const;
  /// The sample indices of each batch: int64 [batch], the last one possibly smaller. `epoch` counts from 0.
  std::vector<torch::Tensor> epoch(int64_t epoch) const;

 private:
  int64_t samples_;
  BatchOptions options_;
};

}  // namespace quanta
