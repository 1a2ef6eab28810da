#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace quanta {

/// First-order rules with their usual constants (those of PyTorch's defaults; Sgd with momentum 0.9).
enum class UpdateRule { Sgd, RmsProp, Adam, AdamW, Adamax, NAdam };

/// Parameters with a learning rate of their own.
struct ParameterGroup {
  std::vector<torch::Tensor> parameters{};
  double rate = 1e-3;
};

/// Applies a rule to parameters that have gradients. LibTorch has no Adamax and NAdam, so all six are here, alike.
class Updater {
 public:
  Updater(UpdateRule rule, std::vector<ParameterGroup> groups);
  void zero_gradients();
  /// One step with every group's rate times `factor`; parameters without a gradient stay.
  void step(double factor = 1);

 private:
  struct State {
    torch::Tensor parameter, first, second;
    double rate;
  };
  UpdateRule rule_;
  std::vector<State> states_;
  int64_t steps_ = 0;
  double momentum_product_ = 1;  // of NAdam
};

}  // namespace quanta
