#include "quanta/nn/fold.h"

#include "quanta/core/error.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;

/// The convolution in front of a batch normalization that nobody else uses, or null.
std::shared_ptr<Conv2dImpl> convolution_before(const NetworkImpl& net, const Node& batch_norm) {
  const int i = batch_norm.inputs[0];
  const Node& node = net.nodes()[size_t(i)];
  if (node.output || net.users(i).size() != 1 || std::dynamic_pointer_cast<ConvBn2dImpl>(node.layer)) return nullptr;
  return std::dynamic_pointer_cast<Conv2dImpl>(node.layer);
}

/// The plain convolution that a ConvBn2d is in evaluation mode.
std::shared_ptr<Conv2dImpl> folded(const ConvBn2dImpl& layer) {
  const torch::NoGradGuard no_grad;
  Conv2dOptions options = layer.options();
  options.bias = true;
  auto conv = std::make_shared<Conv2dImpl>(options);
  conv->weight.set_data(layer.effective_weight().detach());
  conv->bias.set_data(layer.effective_bias().detach());
  for (const Place place : {Place::Input, Place::Weight, Place::Output})
    if (layer.slot(place)) conv->put(place, layer.slot(place)->copy());
  return conv;
}

/// Copies a network; a batch normalization behind a convolution goes into it by `join`.
/// `deploy`: what only training needs is resolved too.
Network rewrite(const Network& net, bool deploy,
                const std::function<std::shared_ptr<QuantizableLayer>(const Conv2dImpl&,
                                                                      const torch::nn::BatchNorm2dImpl&)>& join) {
  Network made;
  std::vector<int> now(net->nodes().size());  // where an old node's value is found in the copy
  std::vector<std::shared_ptr<QuantizableLayer>> joined(net->nodes().size());
  std::vector<Slot> output(net->nodes().size());
  std::vector<bool> gone(net->nodes().size());
  for (size_t i = 0; i < net->nodes().size(); ++i) {
    const Node& node = net->nodes()[i];
    if (node.op == Op::BatchNorm) {
      if (const auto conv = convolution_before(*net, node)) {
        require(!conv->slot(Place::Weight) && !conv->slot(Place::Output),
                "the convolution '{}' is quantized already: fold its batch normalization first",
                net->nodes()[size_t(node.inputs[0])].name);
        joined[size_t(node.inputs[0])] = join(*conv, *node.batch_norm);
        output[size_t(node.inputs[0])] = node.output;
        gone[i] = true;
      }
    } else if (node.op == Op::Dropout && deploy) {
      gone[i] = true;
    }
  }
  for (size_t i = 0; i < net->nodes().size(); ++i) {
    const Node& node = net->nodes()[i];
    if (gone[i]) {
      now[i] = now[size_t(node.inputs[0])];
      continue;
    }
    Node copy = copy_node(node);
    if (joined[i]) copy.layer = joined[i];
    if (const auto fused = std::dynamic_pointer_cast<ConvBn2dImpl>(copy.layer); fused && deploy)
      copy.layer = folded(*fused);
    if (output[i]) copy.output.hold(output[i]->copy());
    for (int& j : copy.inputs) j = now[size_t(j)];
    now[i] = made->add(std::move(copy));
  }
  return made;
}

}  // namespace

Network fold_batch_norm(const Network& net) {
  Network made = rewrite(net, true, [](const Conv2dImpl& conv, const torch::nn::BatchNorm2dImpl& batch_norm) {
    return std::make_shared<ConvBn2dImpl>(conv, batch_norm);
  });
  made->eval();
  return made;
}

Network fuse_batch_norm(const Network& net, BatchNormFold fold) {
  Network made = rewrite(net, false, [&](const Conv2dImpl& conv, const torch::nn::BatchNorm2dImpl& batch_norm) {
    return std::make_shared<ConvBn2dImpl>(conv, batch_norm, fold);
  });
  made->train(net->is_training());
  return made;
}

void freeze_batch_norm(torch::nn::Module& net) {
  for (const auto& [name, layer] : quantizable_layers(net))
    if (const auto conv = std::dynamic_pointer_cast<ConvBn2dImpl>(layer)) conv->freeze();
}

}  // namespace quanta
