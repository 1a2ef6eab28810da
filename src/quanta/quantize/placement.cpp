#include "quanta/quantize/placement.h"

#include <algorithm>
#include <numeric>

#include "quanta/core/error.h"

namespace quanta {
namespace {

bool is_relu(Op op) {
  return op == Op::Relu || op == Op::Relu6;
}

}  // namespace

bool passes_codes(Op op) {
  return op == Op::MaxPool || op == Op::Flatten || op == Op::ChannelShuffle || op == Op::Upsample || op == Op::Dropout;
}

Placement place_activations(const NetworkImpl& net, bool quantize_output) {
  const auto& nodes = net.nodes();
  const int count = int(nodes.size());
  std::vector<int> root(static_cast<size_t>(count));
  std::iota(root.begin(), root.end(), 0);
  const auto find = [&](int i) {
    while (root[size_t(i)] != i) i = root[size_t(i)];
    return i;
  };
  std::vector<bool> writes(static_cast<size_t>(count), true);
  for (int i = 0; i < count; ++i) {
    const Node& node = nodes[size_t(i)];
    const auto users = net.users(i);
    const bool fuses = node.op == Op::Layer || node.op == Op::BatchNorm || node.op == Op::Add;
    if (fuses && users.size() == 1 && is_relu(nodes[size_t(users[0])].op)) writes[size_t(i)] = false;
    if (i + 1 == count && !quantize_output && std::dynamic_pointer_cast<LinearImpl>(node.layer))
      writes[size_t(i)] = false;
    if (passes_codes(node.op)) {
      writes[size_t(i)] = false;
      root[size_t(i)] = find(node.inputs[0]);
    }
    if (node.op == Op::Concat)
      for (const int j : node.inputs) root[size_t(find(j))] = i;
  }

  Placement placed;
  placed.group.assign(size_t(count), -1);
  std::vector<int> number(static_cast<size_t>(count), -1);
  for (int i = 0; i < count; ++i) {
    if (!writes[size_t(i)] && !passes_codes(nodes[size_t(i)].op)) continue;
    int& group = number[size_t(find(i))];
    if (group < 0) {
      group = int(placed.writers.size());
      placed.writers.emplace_back();
    }
    placed.group[size_t(i)] = group;
    if (writes[size_t(i)]) placed.writers[size_t(group)].push_back(i);
  }
  return placed;
}

const Quantizer* quantizer_in(const Slot& slot) {
  if (const auto fake = slot.as<FakeQuantize>()) return &fake->quantizer();
  return slot.as<Quantizer>().get();
}

const UniformQuantizer* uniform_in(const Slot& slot) {
  return dynamic_cast<const UniformQuantizer*>(quantizer_in(slot));
}

void run_batches(NetworkImpl& net, const std::vector<torch::Tensor>& batches, const NetworkImpl::Visitor& visit) {
  require(!batches.empty(), "there are no calibration batches: give at least one, of inputs as in training");
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto& x = batches[i];
    const auto shape = [](const torch::Tensor& t) { return fmt::format("[{}]", fmt::join(t.sizes(), ", ")); };
    require(x.defined() && x.dim() >= 1 && x.numel() > 0, "calibration batch {} is empty", i);
    require(x.is_floating_point(), "calibration batch {} holds {}, expected floating point as in training", i,
            torch::toString(x.scalar_type()));
    require(x.sizes().slice(1) == batches[0].sizes().slice(1), "calibration batch {} is {}, but the first is {}", i,
            shape(x), shape(batches[0]));
    try {
      net.run(x, visit);
    } catch (const c10::Error& error) {
      const std::string text = error.what_without_backtrace();
      fail("calibration batch {} of shape {} does not fit the network: {}", i, shape(x),
           text.substr(0, text.find('\n')));
    }
  }
}

void naming(const std::string& name, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    fail("'{}': {}", name, error.what());
  }
}

std::vector<std::pair<std::string, std::shared_ptr<QuantizableLayer>>> layers_of(const NetworkImpl& net) {
  std::vector<std::pair<std::string, std::shared_ptr<QuantizableLayer>>> found;
  for (const Node& node : net.nodes())
    if (node.layer) found.emplace_back(node.name, node.layer);
  return found;
}

}  // namespace quanta
