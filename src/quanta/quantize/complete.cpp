#include "quanta/quantize/complete.h"

#include "quanta/quantize/placement.h"

namespace quanta {

void complete_activations(Network& net, const std::vector<torch::Tensor>& batches, const UniformOptions& grid,
                          const ObserverOptions& observer) {
  const torch::NoGradGuard no_grad;
  std::vector<std::shared_ptr<FakeQuantize>> made;
  for (const auto& writers : place_activations(*net).writers)
    for (const int node : writers) {
      if (net->nodes()[size_t(node)].output) continue;
      auto fake = std::make_shared<FakeQuantize>(grid, observer);
      fake->observe(true);
      fake->quantize(false);
      net->put(node, fake);
      made.push_back(std::move(fake));
    }
  run_batches(*net, batches, {});
  for (const auto& fake : made) fake->freeze();
}

}  // namespace quanta
