#include "quanta/quantize/qat.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/quantize/assign_bits.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/placement.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;

/// Follows the weight in either mode: its range is a function of the weight alone.
std::shared_ptr<FakeQuantize> of_weight(const UniformOptions& options, const torch::Tensor& weight) {
  auto fake = std::make_shared<FakeQuantize>(options, ObserverOptions{.kind = ObserverKind::Last});
  fake->observe(true);
  fake->forward(weight);  // its statistics and its learned scale now have their shapes
  return fake;
}

/// Whether a node's value goes into concatenations alone, by way of what passes codes on at most: then the grid behind
/// the concatenation is its grid.
bool only_joined(const NetworkImpl& net, int i) {
  const auto users = net.users(i);
  return !users.empty() && std::all_of(users.begin(), users.end(), [&](int user) {
    const Op op = net.nodes()[size_t(user)].op;
    return op == Op::Concat || (passes_codes(op) && only_joined(net, user));
  });
}

/// The same grid for good; a learned scale is one no more.
std::shared_ptr<FakeQuantize> settled(FakeQuantize& fake) {
  UniformOptions options = fake.quantizer().options();
  fake.freeze();
  QuantParams params = fake.quantizer().params();
  params.scale = params.scale.detach();
  options.learned = false;
  auto made = std::make_shared<FakeQuantize>(options, ObserverOptions{});
  made->quantizer().set_params(params);
  made->freeze();
  return made;
}

}  // namespace

Network prepare_qat(const Network& net, const QatOptions& o) {
  require(
      o.quant_delay >= 0 && o.freeze_bn >= 0 && o.freeze_bn <= 1,
      "training is quantized after {} steps and batch normalization rests after a share of {}: expected steps and a "
      "share in [0, 1]",
      o.quant_delay, o.freeze_bn);
  const torch::NoGradGuard no_grad;
  Network made = fuse_batch_norm(net, o.fold);
  made->train();
  const auto bits = weight_bits_of(*made, o.weight.bits, o.first_bits, o.last_bits, o.weight_bits);
  for (const auto& [name, layer] : layers_of(*made)) {
    require(!layer->slot(Place::Weight), "'{}' has something in its weight slot already: start from the float network",
            name);
    if (bits.at(name) == kFloatBits) continue;
    naming(name, [&] {
      UniformOptions options = o.weight;
      options.bits = bits.at(name);
      layer->put(Place::Weight, of_weight(options, layer->effective_weight()));
    });
  }
  if (o.activations) {
    const Placement placed = place_activations(*made, o.quantize_output);
    const auto options = activation_options_of(*made, placed, o.activation, o.activation_bits);
    for (size_t g = 0; g < placed.writers.size(); ++g) {
      if (!options[g]) continue;
      for (const int i : placed.writers[g])
        if (!only_joined(*made, i))
          made->put(i, std::make_shared<FakeQuantize>(
                           *options[g], ObserverOptions{.kind = ObserverKind::MovingAverage, .decay = o.decay}));
    }
  }
  made->train();
  return made;
}

void qat_step(Network net, const QatOptions& o, int64_t step, int64_t steps) {
  for (const auto& module : net->modules(/*include_self=*/false))
    if (const auto fake = std::dynamic_pointer_cast<FakeQuantize>(module)) fake->quantize(step >= o.quant_delay);
  if (o.freeze_bn < 1 && double(step) >= o.freeze_bn * double(steps)) freeze_batch_norm(*net);
}

std::function<double(int64_t step, int64_t steps)> qat_schedule(
    const Network& net, const QatOptions& options, std::function<double(int64_t step, int64_t steps)> rate) {
  return [net, options, rate = std::move(rate)](int64_t step, int64_t steps) mutable {
    qat_step(net, options, step, steps);
    return rate ? rate(step, steps) : 1.0;
  };
}

Network finish_qat(const Network& net) {
  const torch::NoGradGuard no_grad;
  Network made = fold_batch_norm(net);
  for (const auto& [name, layer] : layers_of(*made)) {
    const auto fake = layer->slot(Place::Weight).as<FakeQuantize>();
    if (!fake) continue;
    naming(name, [&] {
      fake->quantize(true);
      fake->forward(layer->weight);  // the last step changed it
      layer->put(Place::Weight, settled(*fake));
    });
  }
  const Placement placed = place_activations(*made, /*quantize_output=*/true);
  for (const auto& writers : placed.writers) {
    std::shared_ptr<FakeQuantize> joined;  // behind the concatenation, which comes last
    for (const int i : writers)
      if (const auto fake = made->nodes()[size_t(i)].output.as<FakeQuantize>())
        naming(made->nodes()[size_t(i)].name, [&] { made->put(i, joined = settled(*fake)); });
    for (const int i : writers)
      if (joined && !made->nodes()[size_t(i)].output) made->put(i, joined->copy());
  }
  made->eval();
  return made;
}

}  // namespace quanta
