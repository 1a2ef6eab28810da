#include "quanta/quantize/bias_correction.h"

#include <map>

#include "quanta/core/error.h"
#include "quanta/quantize/placement.h"

namespace quanta {

void correct_biases(const Network& reference, Network& quantized, const std::vector<torch::Tensor>& batches) {
  struct Shift {
    torch::Tensor sum;
    double count = 0;
  };
  std::map<std::string, Shift> shifts;
  Network net = reference;
  const torch::NoGradGuard no_grad;
  run_batches(*net, batches, [&](const Node& node, const std::vector<torch::Tensor>& in, const torch::Tensor& out) {
    if (!node.layer) return;
    const auto& layer = quantized->nodes()[size_t(quantized->find(node.name))].layer;
    require(layer != nullptr, "'{}' is a layer in one network only", node.name);
    if (!layer->bias.defined()) return;
    const auto difference = (layer->forward(in[0]) - out).to(torch::kFloat64);
    // Channels are dimension 1 behind a convolution, the last behind a linear layer.
    const auto rows = difference.dim() == 4 ? difference.transpose(0, 1).flatten(1) : difference.flatten(0, -2).t();
    Shift& shift = shifts[node.name];
    shift.sum = shift.sum.defined() ? shift.sum + rows.sum(1) : rows.sum(1);
    shift.count += double(rows.size(1));
  });
  for (const auto& [name, shift] : shifts) {
    auto& bias = quantized->nodes()[size_t(quantized->find(name))].layer->bias;
    bias.sub_((shift.sum / shift.count).to(bias.scalar_type()));
  }
}

}  // namespace quanta
