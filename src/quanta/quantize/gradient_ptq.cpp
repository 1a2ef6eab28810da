#include "quanta/quantize/gradient_ptq.h"

#include <algorithm>
#include <functional>
#include <set>

#include "quanta/core/error.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {

using torch::Tensor;

namespace {

/// A value that is quantized: a node's output, or what goes into a layer inside a module.
struct ActivationPoint {
  int node = -1;
  std::shared_ptr<QuantizableLayer> layer{};  // if inside a module
  std::shared_ptr<FakeQuantize> quantizer{};
};

bool has_layers(const Node& node) {
  return node.layer || (node.module && !quantizable_layers(*node.module).empty());
}

/// Puts quantizers that do nothing yet where layers take values in.
std::vector<ActivationPoint> put_activation_quantizers(NetworkImpl& net, const GradientPtqOptions& o) {
  const auto make = [](int bits) {
    auto made = std::make_shared<FakeQuantize>(
        UniformOptions{.bits = bits, .learned = true, .range = RangeMethod::Mse, .norm = 2.4}, ObserverOptions{});
    made->observe(false);
    made->quantize(false);
    return made;
  };
  const auto layers = quantizable_layers(net);
  const auto first = layers.front().second, last = layers.back().second;
  std::vector<ActivationPoint> points;
  std::set<int> seen;
  // The value a node passes on unchanged or picked from is quantized where it is made.
  const auto maker = [&](int i) {
    while (net.nodes()[size_t(i)].op == Op::Flatten || net.nodes()[size_t(i)].op == Op::MaxPool ||
           net.nodes()[size_t(i)].op == Op::Dropout)
      i = net.nodes()[size_t(i)].inputs[0];
    return i;
  };
  int behind_first = -1;  // the first quantized value behind the first layer
  for (const Node& node : net.nodes()) {
    if (node.layer) {
      const int i = maker(node.inputs[0]);
      if (net.nodes()[size_t(i)].op == Op::Input || !seen.insert(i).second) continue;
      if (behind_first < 0) behind_first = i;
      points.push_back(
          {.node = i, .quantizer = make(node.layer == last || i == behind_first ? o.edge_bits : o.activation_bits)});
    } else if (node.module) {
      for (const auto& [name, layer] : quantizable_layers(*node.module))
        points.push_back({.layer = layer, .quantizer = make(o.activation_bits)});
    }
  }
  for (auto& point : points)
    if (point.layer)
      point.layer->put(QuantizableLayer::Place::Input, point.quantizer);
    else
      net.put(point.node, point.quantizer);
  return points;
}

/// A part of a network to be reconstructed, in both networks.
struct Unit {
  std::string name;
  Block block;
};

/// Layers of a block with the activation function behind them; modules as a whole.
std::vector<Unit> layer_units(const NetworkImpl& net, const Block& block) {
  std::vector<Unit> units;
  for (int i = block.first; i <= block.last; ++i) {
    const Node& node = net.nodes()[size_t(i)];
    if (!has_layers(node)) continue;
    int last = i;
    const auto users = net.users(i);
    if (users == std::vector<int>{i + 1} && i + 1 <= block.last) {
      const Op op = net.nodes()[size_t(i + 1)].op;
      if (op == Op::Relu || op == Op::Relu6) last = i + 1;
    }
    units.push_back({node.name, {.name = node.name, .first = i, .last = last, .input = node.inputs[0]}});
  }
  return units;
}

/// Values on the way through a block.
struct Seen {
  Tensor input, output;
};

/// The values at the ends of a part of a block, when the block sees x.
Seen see(const NetworkImpl& net, const Block& block, const Block& part, const Tensor& x, bool with_output) {
  Seen seen;
  const auto& nodes = net.nodes();
  const std::string& first = nodes[size_t(part.first)].name;
  const std::string& last = nodes[size_t(part.last)].name;
  std::vector<Tensor> inputs, outputs;
  run_in_batches(*net.part(block), x, [&](const Node& node, const auto& in, const Tensor& out) {
    if (node.name == first) inputs.push_back(in[0]);
    if (with_output && node.name == last) outputs.push_back(out);
  });
  seen.input = torch::cat(inputs);
  if (with_output) seen.output = torch::cat(outputs);
  return seen;
}

class Ptq {
 public:
  Ptq(const Network& net, const Examples& calibration, const GradientPtqOptions& options)
      : o_(options), float_(fold_batch_norm(net)), net_(float_->copy()) {
    require(calibration.size() > 0, "the calibration set is empty");
    const int64_t n = o_.samples > 0 ? std::min(o_.samples, calibration.size()) : calibration.size();
    inputs_ = calibration.inputs.slice(0, 0, n);
    if (calibration.targets.defined()) labels_ = calibration.targets.slice(0, 0, n);
    const auto layers = quantizable_layers(*net_);
    require(!layers.empty(), "the network has no layer to quantize");
    require(o_.bits >= 1 && o_.bits <= 8 && o_.edge_bits >= 1 && o_.edge_bits <= 8,
            "weights have 1 to 8 bits, got {} and {} at the edges", o_.bits, o_.edge_bits);
    require(o_.activation_bits >= 0 && o_.activation_bits <= 8, "activations have 1 to 8 bits, or 0 for float, got {}",
            o_.activation_bits);
    for (const auto& [name, width] : o_.widths)
      require(std::ranges::any_of(layers, [&, &name = name](const auto& layer) { return layer.first == name; }),
              "the network has no layer '{}' to give other bits", name);
    GridOptions uniform = o_.reconstruct.grid;
    uniform.scheme = GridScheme::Uniform;
    round_to_nearest(*layers.front().second, {o_.edge_bits}, uniform);
    if (layers.size() > 1) round_to_nearest(*layers.back().second, {o_.edge_bits}, uniform);
    for (const auto& name : inner_layers(net_))
      bits_[name] = o_.widths.contains(name) ? o_.widths.at(name) : std::vector<int>{o_.bits};
    if (o_.activation_bits > 0) points_ = put_activation_quantizers(*net_, o_);
    blocks_ = net_->blocks();
    if (o_.reconstruct.loss == ReconstructionLoss::Kl) join_last();
  }

  GradientPtqResult run() {
    if (o_.reconstruct.fisher) find_gradients();
    const bool joint = o_.learn && o_.activations == ActivationSteps::Joint;
    walk(joint, [&](const Unit& unit, const UnitData& data, NetworkImpl& part, bool last) {
      if (!o_.learn) {
        for (const auto& [name, layer] : quantizable_layers(part))
          if (!layer->slot(QuantizableLayer::Place::Weight))
            round_to_nearest(*layer, bits_.at(name), o_.reconstruct.grid);
        return;
      }
      ReconstructOptions options = o_.reconstruct;
      if (options.loss == ReconstructionLoss::Kl && !last) options.loss = ReconstructionLoss::L2;
      learn(unit, data, part, options);
    });
    if (!joint && !points_.empty() && !(o_.learn && o_.activations == ActivationSteps::After)) {
      walk(true, nullptr);
    } else if (!joint && !points_.empty()) {
      walk(true, [&](const Unit& unit, const UnitData& data, NetworkImpl& part, bool) {
        ReconstructOptions options{.loss = ReconstructionLoss::Lp,
                                   .activation_rate = o_.activation_rate,
                                   .steps = o_.activation_steps,
                                   .batch = o_.reconstruct.batch,
                                   .seed = o_.reconstruct.seed};
        learn(unit, data, part, options);
      });
    }
    result_.net = net_;
    return std::move(result_);
  }

 private:
  /// With the KL loss the last learned unit goes on to the output.
  void join_last() {
    while (blocks_.size() > 1) {
      const auto part = net_->part(blocks_.back());
      const bool learned = std::ranges::any_of(quantizable_layers(*part),
                                               [&](const auto& layer) { return bits_.contains(layer.first); });
      if (learned) return;
      const Block tail = blocks_.back();
      blocks_.pop_back();
      blocks_.back().last = tail.last;
    }
  }

  /// d(loss of a sample)/d(value) at the end of every unit of the float network, scaled to a mean square of 1.
  void find_gradients() {
    require(labels_.defined() && labels_.scalar_type() == torch::kLong,
            "the Fisher option needs labels (int64) of the calibration samples");
    std::map<std::string, std::vector<Tensor>> parts;
    for (int64_t i = 0; i < inputs_.size(0); i += 64) {
      std::map<std::string, Tensor> values;
      const auto x = inputs_.slice(0, i, i + 64).detach().clone().requires_grad_(true);
      const auto logits = float_->run(x, [&](const Node& node, const auto&, const Tensor& out) {
        if (!out.requires_grad()) return;
        out.retain_grad();
        values[node.name] = out;
      });
      torch::cross_entropy_loss(logits, labels_.slice(0, i, i + 64), {}, at::Reduction::Sum).backward();
      for (auto& [name, value] : values) parts[name].push_back(value.grad());
    }
    for (auto& [name, gradients] : parts) {
      const auto g = torch::cat(gradients);
      gradients_[name] = g / g.square().mean().sqrt().clamp_min(1e-30);
    }
    float_->zero_grad();
  }

  /// Takes both networks through the units in order.
  using Visit = std::function<void(const Unit& unit, const UnitData& data, NetworkImpl& part, bool last)>;
  void walk(bool activations, const Visit& visit) {
    for (auto& point : points_) point.quantizer->quantize(false);
    Tensor x = inputs_, q = inputs_;
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const Block& block = blocks_[b];
      const auto float_block = float_->part(block), block_net = net_->part(block);
      if (activations) fit_activations(block, x);
      const bool last = b + 1 == blocks_.size();
      std::vector<Unit> units = {{block.name, block}};
      if (!o_.blocks && !(last && o_.reconstruct.loss == ReconstructionLoss::Kl)) units = layer_units(*net_, block);
      const auto y = run_in_batches(*float_block, x);
      for (const Unit& unit : units) {
        if (!visit) break;
        const auto part = net_->part(unit.block);
        if (quantizable_layers(*part).empty()) continue;
        UnitData data{.quantized = q, .reference = x, .target = y, .unit = float_->part(unit.block)};
        if (!o_.blocks && o_.learn && (unit.block.first != block.first || unit.block.last != block.last)) {
          const Seen in_float = see(*float_, block, unit.block, x, true);
          data.reference = in_float.input;
          data.target = in_float.output;
          data.quantized = see(*net_, block, unit.block, q, false).input;
        }
        if (o_.reconstruct.fisher) data.gradient = gradients_.at(net_->nodes()[size_t(unit.block.last)].name);
        visit(unit, data, *part, last);
      }
      x = y;
      q = run_in_batches(*block_net, q);
    }
  }

  /// Steps of the block's activations with the least squared error on the float values, then in use.
  void fit_activations(const Block& block, const Tensor& x) {
    constexpr int64_t kValues = 1 << 16;  // enough to place 100 candidate ranges
    std::vector<ActivationPoint*> here;
    for (auto& point : points_) {
      bool inside = point.node >= block.first && point.node <= block.last;
      for (int i = block.first; point.layer && i <= block.last; ++i)
        if (const auto& module = net_->nodes()[size_t(i)].module)
          for (const auto& [name, layer] : quantizable_layers(*module)) inside |= layer == point.layer;
      if (inside) here.push_back(&point);
    }
    if (here.empty()) return;
    // The values are those of the float network: nothing in this block is quantized in the float copy.
    const auto part = float_->part(block);
    std::map<std::string, Tensor> values;
    const auto sample = x.slice(0, 0, std::min<int64_t>(64, x.size(0)));
    for (const auto* point : here)
      if (point->layer) find_layer(*part, *point)->put(QuantizableLayer::Place::Input, std::make_shared<Keep>());
    const torch::NoGradGuard no_grad;
    part->run(sample, [&](const Node& node, const auto&, const Tensor& out) { values[node.name] = out; });
    for (auto* point : here) {
      Tensor seen;
      if (point->layer) {
        const auto layer = find_layer(*part, *point);
        seen = layer->slot(QuantizableLayer::Place::Input).as<Keep>()->seen;
        layer->put(QuantizableLayer::Place::Input, nullptr);
      } else {
        seen = values.at(net_->nodes()[size_t(point->node)].name);
      }
      seen = seen.flatten();
      const int64_t stride = std::max<int64_t>(1, seen.numel() / kValues) | 1;  // odd: meets every channel
      point->quantizer->quantizer().fit(seen.slice(0, 0, seen.numel(), stride).contiguous());
      point->quantizer->quantize(true);
    }
  }

  /// Keeps what a layer takes in.
  struct Keep : TensorTransform {
    Tensor forward(const Tensor& x) override { return seen = x; }
    std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Keep>(); }
    Tensor seen;
  };

  /// The float network's layer of the same name.
  std::shared_ptr<QuantizableLayer> find_layer(const NetworkImpl& part, const ActivationPoint& point) const {
    std::string wanted;
    for (const auto& [name, layer] : quantizable_layers(*net_))
      if (layer == point.layer) wanted = name;
    for (const auto& [name, layer] : quantizable_layers(part))
      if (name == wanted) return layer;
    fail("the float network lacks layer '{}'", wanted);
  }

  void learn(const Unit& unit, const UnitData& data, NetworkImpl& part, const ReconstructOptions& options) {
    if (!anything_to_learn(part)) return;
    ReconstructOptions own = options;
    own.seed = Random(options.seed).split(unit.name).bits64();
    auto report = reconstruct(part, data, own, bits_);
    report.output.reset();
    result_.units.push_back({unit.name, std::move(report)});
  }

  const GradientPtqOptions& o_;
  Network float_, net_;
  Tensor inputs_, labels_;
  RowBits bits_;  // of the layers that are learned
  std::vector<ActivationPoint> points_;
  std::vector<Block> blocks_;
  std::map<std::string, Tensor> gradients_;  // by the node at a unit's end
  GradientPtqResult result_;
};

}  // namespace

std::vector<std::string> inner_layers(const Network& net) {
  const auto layers = quantizable_layers(*net);
  std::vector<std::string> names;
  for (size_t i = 1; i + 1 < layers.size(); ++i) names.push_back(layers[i].first);
  return names;
}

GradientPtqResult gradient_ptq(const Network& net, const Examples& calibration, const GradientPtqOptions& options) {
  return Ptq(net, calibration, options).run();
}

}  // namespace quanta
