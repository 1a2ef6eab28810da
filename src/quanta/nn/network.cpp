#include "quanta/nn/network.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/core/text.h"

namespace quanta {

std::string_view op_name(Op op) {
  constexpr std::string_view kNames[] = {"input",   "layer",           "batch norm", "relu",     "relu6",
                                         "add",     "concat",          "max pool",   "avg pool", "global avg pool",
                                         "flatten", "channel shuffle", "upsample",   "dropout",  "module"};
  return kNames[size_t(op)];
}

namespace {

torch::Tensor compute(const Node& node, const std::vector<torch::Tensor>& in, bool training) {
  namespace F = torch::nn::functional;
  const torch::Tensor& x = in[0];
  switch (node.op) {
    case Op::Input:
      return x;
    case Op::Layer:
      return node.layer->forward(x);
    case Op::BatchNorm:
      return node.batch_norm.ptr()->forward(x);
    case Op::Relu:
      return torch::relu(x);
    case Op::Relu6:
      return torch::clamp(x, 0, 6);
    case Op::Add:
      return in[0] + in[1];
    case Op::Concat:
      return torch::cat(in, 1);
    case Op::MaxPool:
      return torch::max_pool2d(x, node.pool.kernel, node.pool.stride, node.pool.padding, 1, node.pool.ceil);
    case Op::AvgPool:
      return torch::avg_pool2d(x, node.pool.kernel, node.pool.stride, node.pool.padding, node.pool.ceil,
                               node.pool.count_padding);
    case Op::GlobalAvgPool:
      return x.mean({2, 3}, /*keepdim=*/true);
    case Op::Flatten:
      return x.flatten(1);
    case Op::ChannelShuffle:
      return torch::channel_shuffle(x, node.factor);
    case Op::Upsample:
      return x.repeat_interleave(node.factor, 2).repeat_interleave(node.factor, 3);
    case Op::Dropout:
      return torch::dropout(x, node.rate, training);
    case Op::Module:
      return node.module->forward(x);
  }
  fail("unknown operation");
}

}  // namespace

torch::Tensor NetworkImpl::run(const torch::Tensor& x, const Visitor& visit) {
  require(!nodes_.empty(), "the network has no nodes");
  std::vector<int> uses(nodes_.size());
  for (const Node& node : nodes_)
    for (const int i : node.inputs) ++uses[size_t(i)];
  std::vector<torch::Tensor> values(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    std::vector<torch::Tensor> in;
    if (node.op == Op::Input) in.push_back(x);
    for (const int j : node.inputs) {
      in.push_back(values[size_t(j)]);
      if (--uses[size_t(j)] == 0) values[size_t(j)].reset();  // its memory is free as soon as nobody needs it
    }
    values[i] = node.output(compute(node, in, is_training()));
    if (visit) visit(node, in, values[i]);
  }
  return values.back();
}

std::pair<torch::nn::Module*, std::string> NetworkImpl::place(std::string_view name) {
  torch::nn::Module* at = this;
  for (size_t dot; (dot = name.find('.')) != std::string_view::npos; name.remove_prefix(dot + 1)) {
    const std::string part(name.substr(0, dot));
    auto children = at->named_children();
    const auto* child = children.find(part);
    at = child ? child->get() : at->register_module(part, std::make_shared<torch::nn::Module>(part)).get();
  }
  return {at, std::string(name)};
}

int NetworkImpl::add(Node node) {
  require(!node.name.empty(), "a node needs a name");
  for (const Node& other : nodes_) require(other.name != node.name, "two nodes are called '{}'", node.name);
  require((node.op == Op::Input) == nodes_.empty(), "a network begins with its one input; '{}' is {}", node.name,
          nodes_.empty() ? "none" : "a second one");
  for (const int i : node.inputs)
    require(i >= 0 && i < int(nodes_.size()), "node '{}' takes the value of node {}, but there are {} before it",
            node.name, i, nodes_.size());
  const auto register_here = [&](auto module) {
    const auto [parent, leaf] = place(node.name);
    parent->register_module(leaf, module);
  };
  if (node.layer) register_here(node.layer);
  if (node.batch_norm) register_here(node.batch_norm.ptr());
  if (node.module) register_here(node.module);
  const std::shared_ptr<TensorTransform> output = node.output.get();
  node.output = {};
  nodes_.push_back(std::move(node));
  if (output) put(int(nodes_.size()) - 1, output);
  return int(nodes_.size()) - 1;
}

void NetworkImpl::put(int node, std::shared_ptr<TensorTransform> transform) {
  require(node >= 0 && node < int(nodes_.size()), "there is no node {}", node);
  if (transform) transform->train(is_training());
  const auto [parent, leaf] = place(nodes_[size_t(node)].name);  // not inside the layer, which other networks may share
  nodes_[size_t(node)].output.put(*parent, leaf + "_output", std::move(transform));
}

int NetworkImpl::append(Op op, const std::string& name, std::vector<int> inputs) {
  return add(Node{.name = name, .op = op, .inputs = std::move(inputs), .block = block_});
}

int NetworkImpl::input() {
  return append(Op::Input, "input", {});
}

int NetworkImpl::layer(const std::string& name, int x, std::shared_ptr<QuantizableLayer> layer) {
  return add(Node{.name = name, .op = Op::Layer, .inputs = {x}, .block = block_, .layer = std::move(layer)});
}
int NetworkImpl::conv(const std::string& name, int x, const Conv2dOptions& options) {
  return layer(name, x, std::make_shared<Conv2dImpl>(options));
}
int NetworkImpl::linear(const std::string& name, int x, int64_t in, int64_t out, bool bias) {
  return layer(name, x, std::make_shared<LinearImpl>(in, out, bias));
}

int NetworkImpl::batch_norm(const std::string& name, int x, double eps) {
  require(x >= 0 && x < int(nodes_.size()) && nodes_[size_t(x)].layer,
          "batch normalization '{}' does not follow a layer: name its channels", name);
  return batch_norm(name, x, nodes_[size_t(x)].layer->weight.size(0), eps);
}
int NetworkImpl::batch_norm(const std::string& name, int x, int64_t channels, double eps) {
  Node node{.name = name, .op = Op::BatchNorm, .inputs = {x}, .block = block_};
  node.batch_norm = torch::nn::BatchNorm2d(torch::nn::BatchNorm2dOptions(channels).eps(eps));
  return add(std::move(node));
}

int NetworkImpl::relu(const std::string& name, int x) {
  return append(Op::Relu, name, {x});
}
int NetworkImpl::relu6(const std::string& name, int x) {
  return append(Op::Relu6, name, {x});
}
int NetworkImpl::add(const std::string& name, int a, int b) {
  return append(Op::Add, name, {a, b});
}
int NetworkImpl::concat(const std::string& name, std::vector<int> parts) {
  require(parts.size() >= 2, "'{}' joins {} values, expected at least two", name, parts.size());
  return append(Op::Concat, name, std::move(parts));
}
int NetworkImpl::max_pool(const std::string& name, int x, const Pool& pool) {
  return add(Node{.name = name, .op = Op::MaxPool, .inputs = {x}, .block = block_, .pool = pool});
}
int NetworkImpl::avg_pool(const std::string& name, int x, const Pool& pool) {
  return add(Node{.name = name, .op = Op::AvgPool, .inputs = {x}, .block = block_, .pool = pool});
}
int NetworkImpl::global_avg_pool(const std::string& name, int x) {
  return append(Op::GlobalAvgPool, name, {x});
}
int NetworkImpl::flatten(const std::string& name, int x) {
  return append(Op::Flatten, name, {x});
}
int NetworkImpl::channel_shuffle(const std::string& name, int x, int64_t groups) {
  return add(Node{.name = name, .op = Op::ChannelShuffle, .inputs = {x}, .block = block_, .factor = groups});
}
int NetworkImpl::upsample(const std::string& name, int x, int64_t factor) {
  return add(Node{.name = name, .op = Op::Upsample, .inputs = {x}, .block = block_, .factor = factor});
}
int NetworkImpl::dropout(const std::string& name, int x, double rate) {
  return add(Node{.name = name, .op = Op::Dropout, .inputs = {x}, .block = block_, .rate = rate});
}
int NetworkImpl::module(const std::string& name, int x, std::shared_ptr<TensorTransform> module) {
  return add(Node{.name = name, .op = Op::Module, .inputs = {x}, .block = block_, .module = std::move(module)});
}

int NetworkImpl::find(std::string_view name) const {
  std::vector<std::string> names;
  for (const Node& node : nodes_) names.push_back(node.name);
  const auto it = std::find(names.begin(), names.end(), name);
  require(it != names.end(), "the network has no node '{}'; the nearest is '{}'", name, nearest(name, names));
  return int(it - names.begin());
}

std::vector<int> NetworkImpl::users(int node) const {
  std::vector<int> found;
  for (size_t i = 0; i < nodes_.size(); ++i)
    if (std::count(nodes_[i].inputs.begin(), nodes_[i].inputs.end(), node)) found.push_back(int(i));
  return found;
}

std::vector<Block> NetworkImpl::blocks() const {
  const int count = int(nodes_.size());
  std::vector<int> last_use(nodes_.size(), -1);
  for (int i = 0; i < count; ++i)
    for (const int j : nodes_[size_t(i)].inputs) last_use[size_t(j)] = i;
  std::vector<Block> found;
  int entry = 0;
  int reach = 0;  // the last node that uses a value from before the current one
  for (int i = 1; i < count; ++i) {
    reach = std::max(reach, last_use[size_t(i - 1)]);
    const std::string& block = nodes_[size_t(i)].block;
    const bool inside = i + 1 < count && !block.empty() && nodes_[size_t(i + 1)].block == block;
    if (inside || reach > i) continue;
    const Node& first = nodes_[size_t(entry + 1)];
    found.push_back(
        {.name = first.block.empty() ? first.name : first.block, .first = entry + 1, .last = i, .input = entry});
    entry = i;
  }
  return found;
}

std::shared_ptr<NetworkImpl> NetworkImpl::part(const Block& block) const {
  auto made = std::make_shared<NetworkImpl>();
  made->input();
  for (int i = block.first; i <= block.last; ++i) {
    Node node = nodes_[size_t(i)];
    for (int& j : node.inputs) {
      require(j == block.input || (j >= block.first && j < i), "block '{}' takes more than one value from outside",
              block.name);
      j = j == block.input ? 0 : j - block.first + 1;
    }
    made->add(std::move(node));
  }
  made->train(is_training());
  return made;
}

std::shared_ptr<NetworkImpl> NetworkImpl::copy() const {
  auto made = std::make_shared<NetworkImpl>();
  for (const Node& node : nodes_) made->add(copy_node(node));
  made->train(is_training());
  return made;
}

Node copy_node(const Node& node) {
  Node made = node;
  if (node.layer) made.layer = node.layer->copy();
  if (node.batch_norm) {
    made.batch_norm = torch::nn::BatchNorm2d(node.batch_norm->options);
    copy_values(*node.batch_norm, *made.batch_norm);
  }
  if (node.module) made.module = std::dynamic_pointer_cast<TensorTransform>(node.module->copy());
  made.output = {};
  if (node.output) made.output.hold(node.output->copy());
  return made;
}

std::vector<LayerInfo> layer_table(Network net, torch::IntArrayRef input_shape) {
  const torch::NoGradGuard no_grad;
  const bool training = net->is_training();
  net->eval();
  std::vector<LayerInfo> table;
  net->run(torch::zeros(input_shape), [&](const Node& node, const auto&, const torch::Tensor& output) {
    if (!node.layer) return;
    const auto& weight = node.layer->weight;
    LayerInfo info{.name = node.name,
                   .kind = "linear",
                   .block = node.block,
                   .weight = weight.sizes().vec(),
                   .output = output.sizes().slice(1).vec(),
                   .parameters = weight.numel(),
                   .macs = node.layer->macs(output.sizes()) / output.size(0)};
    if (const auto conv = std::dynamic_pointer_cast<Conv2dImpl>(node.layer)) {
      const auto& o = conv->options();
      info.kind = fmt::format("{} {}x{}",
                              o.depthwise()  ? "depthwise"
                              : o.groups > 1 ? "grouped"
                                             : "conv",
                              o.kernel[0], o.kernel[1]);
    }
    if (node.layer->bias.defined()) info.parameters += node.layer->bias.numel();
    table.push_back(std::move(info));
  });
  net->train(training);
  return table;
}

}  // namespace quanta
