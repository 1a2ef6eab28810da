#include "quanta/quantize/sensitivity.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/quantize/uniform.h"

namespace quanta {
namespace {

using torch::Tensor;

std::shared_ptr<TensorTransform> affine_quantizer(const Tensor& values, int bits, bool per_channel) {
  auto made = std::make_shared<UniformQuantizer>(UniformOptions{.bits = bits, .axis = per_channel ? 0 : -1});
  made->fit(values);
  return made;
}

}  // namespace

bool is_rectifier(const Node& node) {
  return node.op == Op::Relu || node.op == Op::Relu6;
}

double divergence(Divergence kind, const Tensor& reference, const Tensor& output) {
  require(reference.sizes() == output.sizes() && reference.numel() > 0,
          "outputs of different shapes, or none, have no divergence");
  const Tensor p = reference.detach().to(torch::kFloat64), q = output.detach().to(torch::kFloat64);
  switch (kind) {
    case Divergence::Kl: {
      const Tensor log_p = p.log_softmax(1), log_q = q.log_softmax(1);
      return (log_p.exp() * (log_p - log_q)).sum(1).mean().item<double>();
    }
    case Divergence::BernoulliKl:
      return (torch::sigmoid(p) * (torch::log_sigmoid(p) - torch::log_sigmoid(q)) +
              torch::sigmoid(-p) * (torch::log_sigmoid(-p) - torch::log_sigmoid(-q)))
          .mean()
          .item<double>();
    case Divergence::Mse:
      return (p - q).square().mean().item<double>();
  }
  fail("unknown divergence");
}

SensitivityTable layer_sensitivity(Network network, const Tensor& data, const SensitivityOptions& options) {
  require(!network->is_training(), "sensitivities are those of a trained network: put it into evaluation mode first");
  require(data.defined() && data.numel() > 0, "sensitivities need data");
  require(!options.bits.empty() && options.batch >= 1, "sensitivities: no bits to try, or a batch below 1");
  for (size_t k = 0; k < options.bits.size(); ++k)
    require(options.bits[k] >= 1 && options.bits[k] <= 16 && (k == 0 || options.bits[k] > options.bits[k - 1]),
            "sensitivities: bits must ascend within [1, 16], got {}", options.bits[k]);
  torch::NoGradGuard no_grad;
  const bool weights = options.part == QuantizedPart::Weights;
  const MakeQuantizer make = options.quantizer ? options.quantizer : [&](const Tensor& values, int bits) {
    return affine_quantizer(values, bits, weights);
  };
  Network net(network->copy());
  const auto logits = [&](const NetworkImpl::Visitor& visit) {
    std::vector<Tensor> parts;
    for (const Tensor& batch : data.split(options.batch)) {
      const Tensor output = net->run(batch, visit);
      parts.push_back(options.logits ? options.logits(output) : output);
    }
    return torch::cat(parts);
  };

  // The ends of a range are all a quantizer of activations is to see.
  std::vector<std::pair<double, double>> range(net->nodes().size());
  std::vector<int64_t> elements(net->nodes().size());
  const Tensor reference = logits([&](const Node& node, const auto&, const Tensor& output) {
    if (!is_rectifier(node)) return;
    const auto i = size_t(&node - net->nodes().data());
    const auto [low, high] = output.aminmax();
    const bool first = elements[i] == 0;
    range[i] = {first ? low.template item<double>() : std::min(range[i].first, low.template item<double>()),
                first ? high.template item<double>() : std::max(range[i].second, high.template item<double>())};
    elements[i] = output.numel() / output.size(0);
  });
  require(reference.isfinite().all().item<bool>(), "the network's output is not finite on these data");

  SensitivityTable table{.bits = options.bits};
  for (size_t i = 0; i < net->nodes().size(); ++i) {
    const Node& node = net->nodes()[i];
    if (weights ? node.op != Op::Layer : !is_rectifier(node)) continue;
    const Tensor values = weights ? node.layer->effective_weight().detach()
                                  : torch::tensor({range[i].first, range[i].second}, data.options());
    const auto put = [&](const std::shared_ptr<TensorTransform>& quantizer) {
      if (weights)
        node.layer->put(QuantizableLayer::Place::Weight, quantizer);
      else
        net->put(int(i), quantizer);
    };
    const auto held = weights ? node.layer->slot(QuantizableLayer::Place::Weight).get() : node.output.get();
    table.names.push_back(node.name);
    table.sizes.push_back(weights ? values.numel() : elements[i]);
    table.omega.emplace_back();
    for (const int bits : options.bits) {
      put(make(values, bits));
      table.omega.back().push_back(divergence(options.divergence, reference, logits({})));
      require(std::isfinite(table.omega.back().back()), "with {} at {} bits the network's output is not finite",
              node.name, bits);
    }
    put(held);
  }
  require(!table.names.empty(), "the network has nothing to quantize");
  return table;
}

}  // namespace quanta
