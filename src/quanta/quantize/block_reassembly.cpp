#include "quanta/quantize/block_reassembly.h"

#include <algorithm>

#include "quanta/quantize/input_taps.h"

namespace quanta {
namespace {

using torch::Tensor;

/// What goes into the inner product of attention or MLP behind a stage, or for the last stage what comes out of it.
Tensor outcome(DecoderBlock& block, size_t stage, const Tensor& h, const Tensor& x) {
  if (stage % 2 == 1) return block->layer(block->stages()[stage].front())->forward(x);
  const InputTaps tap(block, {block->stages()[stage + 1].front()});
  return tap.listen([&] { stage == 0 ? block->attend(h) : block->transform(h); }).front();
}

}  // namespace

std::vector<std::vector<Tensor>> channel_magnitudes(std::vector<DecoderBlock>& blocks, const ActivationStore& inputs) {
  std::vector<std::unique_ptr<InputTaps>> taps;
  for (DecoderBlock& block : blocks) {
    std::vector<std::string> paths;
    for (const auto& stage : block->stages()) paths.push_back(stage.front());
    taps.push_back(std::make_unique<InputTaps>(block, paths));
  }
  std::vector<std::vector<std::vector<Tensor>>> parts{size_t(inputs.sequences())};  // by their first sequence
  for_each_sequence(inputs, [&](int64_t first, Tensor h) {
    for (size_t b = 0; b < blocks.size(); ++b) {
      auto& seen = parts[size_t(first)].emplace_back();
      for (const Tensor& x : taps[b]->listen([&] { h = blocks[b]->forward(h); }))
        seen.push_back(x.abs().flatten(0, -2).amax(0));
    }
  });
  auto largest = parts.front();
  for (const auto& part : parts)
    for (size_t b = 0; b < part.size(); ++b)
      for (size_t stage = 0; stage < part[b].size(); ++stage)
        largest[b][stage] = torch::maximum(largest[b][stage], part[b][stage]);
  return largest;
}

Linear reassembled(const LinearImpl& layer, const std::shared_ptr<Reassembly>& plan,
                   const DynamicAffineOptions& activations) {
  const Tensor weight = plan->apply_weight(layer.weight.detach());
  Linear made(weight.size(1), weight.size(0), layer.bias.defined());
  made->weight.set_data(weight);
  if (layer.bias.defined()) made->bias.set_data(layer.bias.detach().clone());
  for (auto& parameter : made->parameters()) parameter.set_requires_grad(false);
  std::shared_ptr<StoredTransform> input = std::make_shared<DynamicAffine>(activations);
  if (plan->added() > 0)
    input = std::make_shared<TransformChain>(std::vector<std::shared_ptr<StoredTransform>>{plan, input});
  made->put(QuantizableLayer::Place::Input, input);
  return made;
}

std::shared_ptr<Reassembly> choose_plan(DecoderBlock& exact, size_t stage, const Tensor& m, const Tensor& h,
                                        const ReassemblyOptions& options, const LowBits& bits, InsertionPoint& point) {
  const torch::NoGradGuard no_grad;
  const auto& paths = exact->stages()[stage];
  const Tensor before = stage < 2 ? h : exact->attend(h);
  const Tensor x = [&] {
    const InputTaps tap(exact, {paths.front()});
    return tap.listen([&] { stage < 2 ? exact->attend(before) : exact->transform(before); }).front();
  }();
  const Tensor target = outcome(exact, stage, before, x);
  std::vector<Tensor> weights;
  for (const auto& path : paths) weights.push_back(exact->layer(path)->weight.detach());
  const Tensor weight = torch::cat(weights);

  const Tensor costs = options.channels == Channels::Reassemble ? merge_costs(x, weight, options.score) : Tensor();
  const auto plan = [&](const std::vector<int64_t>& repeat) {
    return options.channels == Channels::Widen   ? widen(repeat)
           : options.channels == Channels::Prune ? prune(repeat, x, weight)
                                                 : assemble(repeat, costs);
  };
  DecoderBlock trial = copy(exact, exact->index());
  const auto loss = [&](const std::shared_ptr<Reassembly>& candidate) {
    for (const auto& path : paths) {
      Linear layer = reassembled(*exact->linear(path), candidate, bits.activations);
      layer->weight.set_data(dynamic_affine(layer->weight, bits.weights));
      trial->replace(path, layer.ptr());
    }
    return torch::mse_loss(outcome(trial, stage, before, x), target).item<double>();
  };

  ReassemblyChoice choice;
  if (options.threshold > 0) {
    choice.theta = options.threshold * m.max().item<double>();
    choice.plan = plan(disassemble(m, choice.theta));
    choice.loss = loss(choice.plan);
    choice.baseline_loss = loss(Reassembly::identity(m.numel()));
  } else {
    auto candidates =
        thresholds(m, options.channels == Channels::Keep ? 0 : int64_t(options.ratio * double(m.numel())));
    std::erase_if(candidates, [](const auto& candidate) { return candidate.added > mergeable(candidate.repeat); });
    choice = search_reassembly(m, candidates, plan, loss);
  }
  point.layer = paths.front();
  point.channels = m.numel();
  point.added = choice.plan->added();
  point.largest = m.max().item<double>();
  point.theta = choice.theta;
  point.loss = choice.loss;
  point.baseline_loss = choice.baseline_loss;
  return choice.plan;
}

}  // namespace quanta
