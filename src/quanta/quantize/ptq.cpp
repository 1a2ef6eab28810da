#include "quanta/quantize/ptq.h"

#include <cmath>
#include <limits>
#include <set>

#include "quanta/core/error.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/assign_bits.h"
#include "quanta/quantize/bias_correction.h"
#include "quanta/quantize/dynamic_quantizer.h"
#include "quanta/quantize/equalize.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/placement.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;

void quantize_weights(const NetworkImpl& net, const PtqOptions& o) {
  const auto bits = weight_bits_of(net, o.weight.bits, o.first_bits, o.last_bits, o.weight_bits);
  for (const auto& [name, layer] : layers_of(net)) {
    require(!layer->slot(Place::Weight), "'{}' has something in its weight slot already: quantize the float network",
            name);
    if (bits.at(name) == kFloatBits) continue;
    naming(name, [&] {
      UniformOptions options = o.weight;
      options.bits = bits.at(name);
      options.learned = false;
      auto fake = std::make_shared<FakeQuantize>(options, ObserverOptions{.kind = ObserverKind::Last});
      fake->quantizer().fit(layer->weight.detach());
      fake->freeze();
      layer->put(Place::Weight, fake);
    });
  }
}

void quantize_activations(NetworkImpl& net, const std::vector<torch::Tensor>& batches, const PtqOptions& o) {
  const Placement placed = place_activations(net, o.quantize_output);
  const auto options = activation_options_of(net, placed, o.activation, o.activation_bits);
  if (o.activations != ActivationMode::Static) {
    for (size_t g = 0; g < placed.writers.size(); ++g)
      for (const int i : placed.writers[g]) {
        if (!options[g]) continue;
        UniformOptions grid = *options[g];
        grid.axis = o.activations == ActivationMode::DynamicPerRow ? 0 : -1;
        net.put(i, std::make_shared<DynamicQuantizer>(grid));
      }
    return;
  }

  struct Group {
    std::shared_ptr<FakeQuantize> fake;
    size_t sources = 0;                 ///< writers; what a concatenation puts out came from them
    std::vector<torch::Tensor> seen{};  ///< of this batch
  };
  std::vector<Group> groups;
  std::map<std::string, size_t> group_of;  // of the sources
  for (size_t g = 0; g < placed.writers.size(); ++g) {
    groups.push_back({options[g] ? std::make_shared<FakeQuantize>(*options[g], o.observer) : nullptr});
    for (const int i : placed.writers[g])
      if (const Node& node = net.nodes()[size_t(i)]; node.op != Op::Concat) {
        group_of[node.name] = g;
        ++groups[g].sources;
      }
  }
  run_batches(net, batches, [&](const Node& node, const std::vector<torch::Tensor>&, const torch::Tensor& out) {
    const auto found = group_of.find(node.name);
    if (found == group_of.end() || !groups[found->second].fake) return;
    auto& [fake, sources, seen] = groups[found->second];
    seen.push_back(sources == 1 ? out : out.flatten());
    if (seen.size() < sources) return;
    naming(node.name, [&] { fake->observer().observe(sources == 1 ? seen[0] : torch::cat(seen)); });
    seen.clear();
  });
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g].fake) continue;
    groups[g].fake->freeze();
    for (const int i : placed.writers[g]) net.put(i, groups[g].fake->copy());
  }
}

}  // namespace

Network ptq(const Network& net, const std::vector<torch::Tensor>& batches, const PtqOptions& o) {
  const torch::NoGradGuard no_grad;
  Network reference = fold_batch_norm(net);
  if (o.equalize) reference = equalize(reference);
  if (o.bias_correction) reference = with_biases(reference);
  for (const auto& [name, layer] : layers_of(*reference))
    require(layer->weight.isfinite().all().item<bool>() &&
                (!layer->bias.defined() || layer->bias.isfinite().all().item<bool>()),
            "'{}' has NaN or infinite weights: look for what went wrong in training or in the checkpoint", name);
  Network made(reference->copy());
  quantize_weights(*made, o);
  if (o.bias_correction) correct_biases(reference, made, batches);
  if (o.activations != ActivationMode::None) quantize_activations(*made, batches, o);
  return made;
}

Network ptq(const Network& net, const torch::Tensor& samples, const PtqOptions& o) {
  if (!samples.defined() || samples.dim() == 0 || samples.size(0) == 0)
    return ptq(net, std::vector<torch::Tensor>{}, o);
  return ptq(net, samples.split(64), o);
}

std::vector<QuantizedLayer> quantization_table(const Network& net, torch::IntArrayRef input_shape) {
  const torch::NoGradGuard no_grad;
  Network copy(net->copy());
  copy->eval();
  const Placement placed = place_activations(*copy);
  std::map<std::string, int> incoming;
  for (const Node& node : copy->nodes()) {
    if (!node.layer) continue;
    incoming[node.name] = kFloatBits;
    // The quantizer of the value: in the node itself, or before what passes codes on.
    for (int i = node.inputs[0];; i = copy->nodes()[size_t(i)].inputs[0]) {
      const Node& from = copy->nodes()[size_t(i)];
      if (const auto* quantizer = quantizer_in(from.output)) incoming[node.name] = quantizer->bits();
      if (from.output || from.inputs.empty() || !passes_codes(from.op)) break;
    }
    if (const auto* quantizer = quantizer_in(node.layer->slot(Place::Input))) incoming[node.name] = quantizer->bits();
  }

  std::vector<QuantizedLayer> table;
  for (const LayerInfo& info : layer_table(copy, input_shape)) {
    const auto& layer = copy->nodes()[size_t(copy->find(info.name))].layer;
    QuantizedLayer row{.layer = info, .activation_bits = incoming.at(info.name)};
    const int64_t biases = layer->bias.defined() ? layer->bias.numel() : 0;
    const auto w = layer->effective_weight().to(torch::kFloat64);
    row.bytes = 4 * (w.numel() + biases);
    row.sqnr = std::numeric_limits<double>::infinity();
    if (const auto* quantizer = quantizer_in(layer->slot(Place::Weight))) {
      row.weight_bits = quantizer->bits();
      row.weights = quantizer->describe();
      row.bytes = (w.numel() * row.weight_bits + 7) / 8 + 4 * biases;
      for (const auto& t : quantizer->buffers()) row.bytes += int64_t(t.nbytes());
      for (const auto& t : quantizer->parameters()) row.bytes += int64_t(t.nbytes());
      const auto error = w - layer->slot(Place::Weight)(layer->effective_weight()).to(torch::kFloat64);
      row.sqnr = 10 * std::log10(w.square().sum().item<double>() / error.square().sum().item<double>());
    }
    row.bit_ops = double(info.macs) * row.weight_bits * row.activation_bits;
    table.push_back(std::move(row));
  }
  return table;
}

}  // namespace quanta
