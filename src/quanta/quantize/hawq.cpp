#include "quanta/quantize/hawq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>
#include <set>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/dynamic_quantizer.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/sensitivity.h"

namespace quanta {
namespace {

using torch::Tensor;
using Place = QuantizableLayer::Place;

UniformOptions weight_quantizer(int bits) {
  return {.bits = bits, .symmetric = true, .narrow = true, .axis = 0};
}

/// The index of the block each node belongs to: a layer's own, any other node's that of the layer before it.
std::vector<size_t> block_of_nodes(const Network& net, const HawqPlan& plan) {
  std::map<std::string, size_t> of_layer;
  for (size_t i = 0; i < plan.blocks.size(); ++i)
    for (const auto& layer : plan.blocks[i].layers) of_layer[layer] = i;
  std::vector<size_t> blocks;
  for (const Node& node : net->nodes()) {
    if (node.op == Op::Layer) {
      const auto found = of_layer.find(node.name);
      require(found != of_layer.end(), "layer '{}' is in no block of the plan", node.name);
      blocks.push_back(found->second);
    } else {
      blocks.push_back(node.inputs.empty() ? 0 : blocks[size_t(node.inputs[0])]);
    }
  }
  return blocks;
}

template <class Key>
std::vector<int64_t> descending(const std::vector<HawqEntry>& blocks, Key key) {
  std::vector<int64_t> order(blocks.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return key(blocks[a]) > key(blocks[b]); });
  return order;
}

/// |Q(W) - W|^2 of a block.
double perturbation(const Network& net, const HawqEntry& block, int bits) {
  torch::NoGradGuard no_grad;
  double sum = 0;
  for (const auto& name : block.layers) {
    const Tensor weight = net->nodes()[size_t(net->find(name))].layer->weight.detach();
    sum += (hawq_quantize(weight, bits) - weight).to(torch::kFloat64).square().sum().item<double>();
  }
  return sum;
}

std::vector<int64_t> sizes_of(const HawqPlan& plan, int64_t HawqEntry::*field = &HawqEntry::weights) {
  std::vector<int64_t> sizes;
  for (const HawqEntry& block : plan.blocks) sizes.push_back(block.*field);
  return sizes;
}

void set_bits(HawqPlan& plan, const Network& net, const std::vector<int>& bits) {
  for (size_t i = 0; i < bits.size(); ++i) {
    plan.blocks[i].bits = bits[i];
    plan.blocks[i].perturbation = perturbation(net, plan.blocks[i], bits[i]);
  }
}

void quantize_block(Network& net, const HawqEntry& block) {
  require(block.bits >= 2, "block '{}' has no width of at least 2 bits: assign bits first", block.name);
  for (const auto& name : block.layers)
    net->nodes()[size_t(net->find(name))].layer->put(Place::Weight,
                                                     std::make_shared<DynamicQuantizer>(weight_quantizer(block.bits)));
}

void check_permutation(std::vector<int64_t> order, size_t blocks) {
  std::vector<int64_t> expected(blocks);
  std::iota(expected.begin(), expected.end(), 0);
  std::ranges::sort(order);
  require(order == expected, "the order of {} blocks is no permutation of 0 to {}", blocks, blocks - 1);
}

std::vector<int64_t> stage_order(const HawqPlan& plan, const StageOptions& options) {
  std::vector<int64_t> order(plan.blocks.size());
  std::iota(order.begin(), order.end(), 0);
  if (!options.custom_order.empty()) {
    check_permutation(options.custom_order, plan.blocks.size());
    return options.custom_order;
  }
  switch (options.order) {
    case StageOrder::DescendingOmega:
      return plan.finetune_order();
    case StageOrder::AscendingOmega:
      order = plan.finetune_order();
      std::ranges::reverse(order);
      return order;
    case StageOrder::Forward:
      return order;
    case StageOrder::Backward:
      std::ranges::reverse(order);
      return order;
    case StageOrder::Random:
      return Random(options.seed).split("stages").permutation(int64_t(order.size()));
    case StageOrder::AllAtOnce:
      return {};
  }
  fail("unknown order of stages");
}

}  // namespace

std::vector<HawqBlock> hawq_blocks(const Network& net) {
  std::vector<HawqBlock> blocks;
  for (const Node& node : net->nodes()) {
    if (node.op != Op::Layer) continue;
    const std::string& name = node.block.empty() ? node.name : node.block;
    if (blocks.empty() || blocks.back().name != name) blocks.push_back({name, {}});
    blocks.back().layers.push_back(node.name);
  }
  return blocks;
}

double HawqEntry::sensitivity() const {
  return std::abs(eigenvalue) / double(weights);
}
double HawqEntry::omega() const {
  return std::abs(eigenvalue) * perturbation;
}

std::vector<int64_t> HawqPlan::precision_order() const {
  return descending(blocks, [](const HawqEntry& block) { return block.sensitivity(); });
}
std::vector<int64_t> HawqPlan::finetune_order() const {
  return descending(blocks, [](const HawqEntry& block) { return block.omega(); });
}

ModelCost HawqPlan::cost() const {
  std::vector<LayerBits> layers;
  for (const HawqEntry& block : blocks)
    layers.push_back({.name = block.name,
                      .weights = block.weights,
                      .activations = block.activations,
                      .weight_bits = block.bits ? block.bits : 32,
                      .activation_bits = block.activation_bits ? block.activation_bits : 32});
  return model_cost(layers);
}

nlohmann::json HawqPlan::to_json() const {
  nlohmann::json all = nlohmann::json::array();
  for (const HawqEntry& b : blocks)
    all.push_back({{"name", b.name},
                   {"layers", b.layers},
                   {"weights", b.weights},
                   {"activations", b.activations},
                   {"eigenvalue", b.eigenvalue},
                   {"iterations", b.iterations},
                   {"change", b.change},
                   {"converged", b.converged},
                   {"bits", b.bits},
                   {"activation_bits", b.activation_bits},
                   {"perturbation", b.perturbation},
                   {"sensitivity", b.sensitivity()},
                   {"omega", b.omega()}});
  return {{"blocks", all}, {"precision_order", precision_order()}, {"finetune_order", finetune_order()}};
}

HawqPlan HawqPlan::from_json(const nlohmann::json& json) {
  HawqPlan plan;
  try {
    for (const auto& b : json.at("blocks"))
      plan.blocks.push_back({.name = b.at("name"),
                             .layers = b.at("layers"),
                             .weights = b.at("weights"),
                             .activations = b.at("activations"),
                             .eigenvalue = b.at("eigenvalue"),
                             .iterations = b.at("iterations"),
                             .change = b.at("change"),
                             .converged = b.at("converged"),
                             .bits = b.at("bits"),
                             .activation_bits = b.at("activation_bits"),
                             .perturbation = b.at("perturbation")});
  } catch (const nlohmann::json::exception& error) {
    fail("not a plan of HAWQ: {}", error.what());
  }
  return plan;
}

Tensor hawq_quantize(const Tensor& weight, int bits) {
  UniformQuantizer quantizer(weight_quantizer(bits));
  quantizer.fit(weight);
  return quantizer.forward(weight.detach());
}

HawqPlan hawq_sensitivities(Network net, const std::vector<HawqBlock>& blocks, const Tensor& inputs,
                            const Tensor& classes, const PowerIteration& options, int64_t batch,
                            std::vector<Eigenpair>* pairs) {
  require(!net->is_training(), "curvature is that of the network in evaluation mode: call eval() first");
  require(!blocks.empty(), "no blocks to measure");
  HawqPlan plan;
  std::set<std::string> seen;
  std::vector<Tensors> weights;
  for (const HawqBlock& block : blocks) {
    require(!block.layers.empty(), "block '{}' has no layers", block.name);
    HawqEntry entry{.name = block.name, .layers = block.layers};
    weights.emplace_back();
    for (const auto& name : block.layers) {
      const Node& node = net->nodes()[size_t(net->find(name))];
      require(node.op == Op::Layer, "'{}' of block '{}' is no layer with weights", name, block.name);
      require(seen.insert(name).second, "layer '{}' is in two blocks", name);
      require(!node.layer->slot(Place::Weight), "layer '{}' is quantized: curvature is that of the float network",
              name);
      weights.back().push_back(node.layer->weight);
      entry.weights += node.layer->weight.numel();
    }
    plan.blocks.push_back(std::move(entry));
  }
  {
    torch::NoGradGuard no_grad;
    const auto of_node = block_of_nodes(net, plan);
    net->run(inputs.slice(0, 0, 1), [&](const Node& node, const auto&, const Tensor& output) {
      if (is_rectifier(node)) plan.blocks[of_node[size_t(&node - net->nodes().data())]].activations += output.numel();
    });
  }
  const LossFn loss = cross_entropy_of([&](const Tensor& x) { return net->forward(x); }, inputs, classes, batch);
  if (pairs) pairs->clear();
  for (size_t i = 0; i < weights.size(); ++i) {
    HawqEntry& entry = plan.blocks[i];
    Eigenpair pair = top_eigenvalue(Hessian(loss, weights[i], fmt::format("block '{}'", entry.name)), options);
    entry.eigenvalue = pair.value;
    entry.iterations = pair.iterations;
    entry.change = pair.change;
    entry.converged = pair.converged;
    if (pairs) pairs->push_back(std::move(pair));
  }
  return plan;
}

void assign_bits(HawqPlan& plan, const Network& net, const std::vector<int>& candidates, double average_bits,
                 std::vector<int64_t> order) {
  const auto sizes = sizes_of(plan);
  const auto total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  std::vector<std::vector<double>> cost;
  for (const HawqEntry& block : plan.blocks) {
    cost.emplace_back();
    for (const int bits : candidates)
      cost.back().push_back(std::abs(block.eigenvalue) * perturbation(net, block, bits));
  }
  if (order.empty()) order = plan.precision_order();
  set_bits(plan, net, monotone_bits(sizes, candidates, cost, order, int64_t(average_bits * double(total))).bits);
}

void assign_bits_by_cuts(HawqPlan& plan, const Network& net, const std::vector<int>& candidates,
                         const std::vector<double>& cuts) {
  require(!candidates.empty() && cuts.size() + 1 == candidates.size(), "{} candidate widths need one cut less, got {}",
          candidates.size(), cuts.size());
  require(std::ranges::is_sorted(cuts, std::ranges::greater{}) && std::ranges::is_sorted(candidates),
          "cuts must descend and candidate widths ascend");
  std::vector<int> bits;
  for (const HawqEntry& block : plan.blocks) {
    size_t below = 0;
    while (below < cuts.size() && std::log10(block.sensitivity()) <= cuts[below]) ++below;
    bits.push_back(candidates[candidates.size() - 1 - below]);
  }
  set_bits(plan, net, bits);
}

void assign_uniform_bits(HawqPlan& plan, const Network& net, int bits) {
  set_bits(plan, net, std::vector<int>(plan.blocks.size(), bits));
}

void assign_activation_bits(HawqPlan& plan, const std::vector<int>& candidates, double average_bits) {
  std::vector<int64_t> sizes, kept, order;
  std::vector<int64_t> place(plan.blocks.size(), -1);
  for (size_t i = 0; i < plan.blocks.size(); ++i)
    if (plan.blocks[i].activations > 0) {
      place[i] = int64_t(kept.size());
      kept.push_back(int64_t(i));
      sizes.push_back(plan.blocks[i].activations);
    }
  for (const int64_t i : plan.precision_order())
    if (place[size_t(i)] >= 0) order.push_back(place[size_t(i)]);
  const auto total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  const std::vector<std::vector<double>> free(sizes.size(), std::vector<double>(candidates.size(), 0.0));
  const auto found = monotone_bits(sizes, candidates, free, order, int64_t(average_bits * double(total)));
  for (size_t i = 0; i < kept.size(); ++i) plan.blocks[size_t(kept[i])].activation_bits = found.bits[i];
}

void quantize_blocks(Network& net, const HawqPlan& plan) {
  for (const HawqEntry& block : plan.blocks) quantize_block(net, block);
}

void quantize_block_activations(Network& net, const HawqPlan& plan, const Tensor& data) {
  const auto of_node = block_of_nodes(net, plan);
  std::vector<std::shared_ptr<FakeQuantize>> made;
  for (int i = 0; i < int(net->nodes().size()); ++i) {
    const int bits = plan.blocks[of_node[size_t(i)]].activation_bits;
    if (!is_rectifier(net->nodes()[size_t(i)]) || bits == 0) continue;
    made.push_back(std::make_shared<FakeQuantize>(UniformOptions{.bits = bits, .symmetric = true, .is_signed = false},
                                                  ObserverOptions{.kind = ObserverKind::MovingAverage, .decay = 0.99}));
    made.back()->observe(true);
    made.back()->quantize(false);
    net->put(i, made.back());
  }
  torch::NoGradGuard no_grad;
  const bool training = net->is_training();
  net->eval();  // batch normalizations are not to see the data
  net->forward(data);
  net->train(training);
  for (const auto& quantizer : made) quantizer->freeze();
}

Network finish_hawq(const Network& net, const HawqPlan& plan) {
  Network bare(net->copy());
  for (const auto& [name, layer] : quantizable_layers(*bare)) layer->put(Place::Weight, nullptr);
  Network folded = fold_batch_norm(bare);
  const auto of_node = block_of_nodes(folded, plan);
  for (size_t i = 0; i < of_node.size(); ++i) {
    const auto& layer = folded->nodes()[i].layer;
    if (!layer) continue;
    auto quantizer = std::make_shared<FakeQuantize>(weight_quantizer(plan.blocks[of_node[i]].bits), ObserverOptions{});
    quantizer->quantizer().fit(layer->weight.detach());
    quantizer->freeze();
    layer->put(Place::Weight, quantizer);
  }
  return folded;
}

std::string_view stage_order_name(StageOrder order) {
  constexpr std::string_view kNames[] = {"descending Omega", "ascending Omega", "forward",
                                         "backward",         "random",          "all at once"};
  return kNames[size_t(order)];
}

std::vector<StageResult> finetune_blockwise(Network& net, const HawqPlan& plan, const Examples& train,
                                            const StageOptions& options, const std::function<double()>& evaluate) {
  require(options.epochs > 0 && options.final_epochs >= 0, "stages of {} epochs and a joint pass of {}: nothing to do",
          options.epochs, options.final_epochs);
  const auto order = stage_order(plan, options);
  const auto of_node = block_of_nodes(net, plan);
  std::vector<size_t> position(plan.blocks.size());  // in the order
  for (size_t s = 0; s < order.size(); ++s) position[size_t(order[s])] = s;
  const auto shuffled = torch::tensor(Random(options.seed).split("samples").permutation(train.size()), torch::kInt64);

  const auto follow = [&](bool on) {
    for (const Node& node : net->nodes())
      if (const auto quantizer = node.output.as<FakeQuantize>()) quantizer->observe(on);
  };
  double used = 0;  // epochs, of the shuffled samples
  std::vector<StageResult> results;
  const auto run = [&](const std::string& name, double epochs, const auto& trains) {
    std::vector<Tensor> parameters;
    for (size_t i = 0; i < of_node.size(); ++i) {
      const Node& node = net->nodes()[i];
      torch::nn::Module* module = node.layer ? static_cast<torch::nn::Module*>(node.layer.get()) : nullptr;
      if (node.batch_norm) module = node.batch_norm.ptr().get();
      if (!module) continue;
      for (Tensor& parameter : module->parameters()) {
        parameter.set_requires_grad(trains(of_node[i]));
        if (parameter.requires_grad()) parameters.push_back(parameter);
      }
    }
    Examples part = train;
    if (epochs < 1) {
      const double n = double(train.size());
      const auto at = int64_t((used - std::floor(used)) * n), count = std::max(int64_t(epochs * n), int64_t{1});
      const Tensor ids = torch::cat({shuffled, shuffled}).slice(0, at, at + count);
      part = {train.inputs.index_select(0, ids), train.targets.index_select(0, ids)};
    }
    used += epochs;
    torch::optim::SGD sgd(
        parameters, torch::optim::SGDOptions(options.lr).momentum(options.momentum).weight_decay(options.weight_decay));
    TrainOptions stage = options.train;
    stage.epochs = std::max(1, int(std::lround(epochs)));
    stage.batch = options.batch;
    stage.seed = Random(options.seed).split(results.size()).bits64();
    stage.label = fmt::format("{}-{}-{}", options.train.label, results.size() + 1, name);
    stage.schedule = [](int64_t step, int64_t steps) {
      return 0.5 * (1 + std::cos(std::numbers::pi * double(step) / double(steps)));
    };
    follow(true);
    results.push_back({name, train_classifier(net, sgd, part, {}, stage), std::numeric_limits<double>::quiet_NaN()});
    follow(false);
    net->eval();
    if (evaluate && !results.back().history.interrupted) results.back().accuracy = evaluate();
    return !results.back().history.interrupted;
  };

  bool going = true;
  for (size_t s = 0; s < order.size() && going; ++s) {
    const HawqEntry& block = plan.blocks[size_t(order[s])];
    quantize_block(net, block);
    going = run(block.name, options.epochs, [&](size_t i) {
      return options.trainable == StageTrainable::All || position[i] == s ||
             (options.trainable == StageTrainable::CurrentAndLater && position[i] > s);
    });
  }
  if (order.empty()) quantize_blocks(net, plan);
  if (going && options.final_epochs > 0) run("all", options.final_epochs, [](size_t) { return true; });
  for (Tensor& parameter : net->parameters())
    if (parameter.is_floating_point()) parameter.set_requires_grad(true);
  net->eval();
  return results;
}

}  // namespace quanta
