#include "quanta/quantize/equalize.h"

#include <algorithm>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;

bool homogeneous(Op op) {
  return op == Op::Relu || op == Op::MaxPool || op == Op::AvgPool || op == Op::GlobalAvgPool || op == Op::Flatten ||
         op == Op::Upsample || op == Op::Dropout;
}

bool bare(const Node& node) {
  return !node.output && (!node.layer || (!node.layer->slot(Place::Input) && !node.layer->slot(Place::Weight) &&
                                          !node.layer->slot(Place::Output)));
}

int64_t groups_of(const QuantizableLayer& layer) {
  const auto* conv = dynamic_cast<const Conv2dImpl*>(&layer);
  return conv ? conv->options().groups : 1;
}

/// The weight as [groups, out / groups, channels / groups, the rest]; a linear layer behind a flattened image has more
/// than one input for a channel.
torch::Tensor by_input(const QuantizableLayer& layer, int64_t channels) {
  const int64_t groups = groups_of(layer);
  return layer.weight.view({groups, layer.weight.size(0) / groups, channels / groups, -1});
}

struct Pair {
  std::shared_ptr<QuantizableLayer> first, second;
};

std::vector<Pair> pairs(const NetworkImpl& net) {
  std::vector<Pair> found;
  for (int i = 0; i < int(net.nodes().size()); ++i) {
    const auto& first = net.nodes()[size_t(i)].layer;
    if (!first) continue;
    for (int at = i;;) {
      const auto users = net.users(at);
      if (!bare(net.nodes()[size_t(at)]) || users.size() != 1) break;
      const Node& next = net.nodes()[size_t(at = users[0])];
      if (next.layer) {
        // What goes in is a multiple of the channels only where positions were flattened.
        const int64_t in = next.layer->weight.size(1) * groups_of(*next.layer), channels = first->weight.size(0);
        if (bare(next) && in % channels == 0 && (groups_of(*next.layer) == 1 || in == channels))
          found.push_back({first, next.layer});
        break;
      }
      if (!homogeneous(next.op)) break;
    }
  }
  return found;
}

/// The largest change of a channel's scale, as a share.
double equalize_pair(QuantizableLayer& first, QuantizableLayer& second) {
  const int64_t channels = first.weight.size(0);
  auto columns = by_input(second, channels);
  const auto own = first.weight.flatten(1).abs().amax(1);
  const auto next = columns.abs().amax({1, 3}).flatten();
  const auto works = (own > 0) & (next > 0);
  const auto down = torch::where(works, (own / next).sqrt(), torch::ones_like(own));  // r_c; the first is divided by it
  std::vector<int64_t> shape(size_t(first.weight.dim()), 1);
  shape[0] = channels;
  first.weight.div_(down.view(shape));
  if (first.bias.defined()) first.bias.div_(down);
  columns.mul_(down.view({columns.size(0), 1, columns.size(2), 1}));
  return (down - 1).abs().max().item<double>();
}

}  // namespace

Network equalize(const Network& net, int rounds) {
  Network made(net->copy());
  const torch::NoGradGuard no_grad;
  for (const Node& node : made->nodes()) {
    require(!std::dynamic_pointer_cast<ConvBn2dImpl>(node.layer),
            "'{}' has a batch normalization of its own: call fold_batch_norm() before equalize()", node.name);
    require(node.op != Op::BatchNorm || !made->nodes()[size_t(node.inputs[0])].layer,
            "'{}' is a batch normalization behind a layer: call fold_batch_norm() before equalize()", node.name);
  }
  const auto found = pairs(*made);
  for (int round = 0; round < rounds; ++round) {
    double change = 0;
    for (const auto& [first, second] : found) change = std::max(change, equalize_pair(*first, *second));
    if (change < 1e-3) break;
  }
  return made;
}

Network with_biases(const Network& net) {
  Network made;
  for (const Node& node : net->nodes()) {
    Node copy = copy_node(node);
    if (copy.layer && !copy.layer->bias.defined()) {
      std::shared_ptr<QuantizableLayer> layer;
      const auto old = copy.layer;
      if (const auto conv = std::dynamic_pointer_cast<Conv2dImpl>(old);
          conv && !std::dynamic_pointer_cast<ConvBn2dImpl>(old)) {
        Conv2dOptions options = conv->options();
        options.bias = true;
        layer = std::make_shared<Conv2dImpl>(options);
      } else if (std::dynamic_pointer_cast<LinearImpl>(old)) {
        layer = std::make_shared<LinearImpl>(old->weight.size(1), old->weight.size(0));
      }
      if (layer) {
        layer->weight.set_data(old->weight.detach());
        layer->bias.set_data(torch::zeros({old->weight.size(0)}, old->weight.options().requires_grad(false)));
        for (const Place place : {Place::Input, Place::Weight, Place::Output})
          if (old->slot(place)) layer->put(place, old->slot(place).get());
        layer->train(old->is_training());
        copy.layer = layer;
      }
    }
    made->add(std::move(copy));
  }
  made->train(net->is_training());
  return made;
}

}  // namespace quanta
