#include "quanta/quantize/reconstruct.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "quanta/core/error.h"
#include "quanta/core/signal.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {

using torch::Tensor;

namespace {

constexpr int64_t kChunk = 64;  // samples a forward pass; keeps a block's values in the cache

/// x where chance says so and its quantized value elsewhere.
class DropQuantize : public TensorTransform {
 public:
  DropQuantize(std::shared_ptr<TensorTransform> quantizer, double p, Random& random)
      : quantizer_(std::move(quantizer)), p_(p), random_(random) {}
  Tensor forward(const Tensor& x) override {
    return torch::where(random_mask(x.sizes(), p_, random_), quantizer_->forward(x), x);
  }
  std::shared_ptr<TensorTransform> copy() const override { return quantizer_->copy(); }

 private:
  std::shared_ptr<TensorTransform> quantizer_;
  double p_;
  Random& random_;
};

/// A place for an activation's quantizer in a unit.
struct ActivationSlot {
  std::shared_ptr<FakeQuantize> quantizer;
  std::function<void(std::shared_ptr<TensorTransform>)> put;
};

std::vector<ActivationSlot> activation_slots(NetworkImpl& unit) {
  std::vector<ActivationSlot> slots;
  const auto add = [&](const Slot& slot, auto put) {
    const auto quantizer = slot.as<FakeQuantize>();
    if (quantizer && quantizer->quantizing()) slots.push_back({quantizer, put});
  };
  for (size_t i = 0; i < unit.nodes().size(); ++i)
    add(unit.nodes()[i].output, [&unit, i](auto transform) { unit.put(int(i), std::move(transform)); });
  for (const auto& [name, layer] : quantizable_layers(unit))
    add(layer->slot(QuantizableLayer::Place::Input),
        [layer = layer](auto transform) { layer->put(QuantizableLayer::Place::Input, std::move(transform)); });
  return slots;
}

/// A layer whose rounding is learned.
struct Learned {
  std::shared_ptr<QuantizableLayer> layer;
  std::shared_ptr<RoundingVariable> rounding;
};

Tensor select_weights(const Tensor& weight, const WeightGrid& grid, const ReconstructOptions& o, Random& random) {
  if (o.select == WeightSelection::All) return {};
  if (o.select == WeightSelection::Random) return random_mask(weight.sizes(), o.selected, random);
  const auto w = weight.flatten(1);
  Tensor score = w.abs();
  if (o.select == WeightSelection::Undecided) {
    const auto position = grid.position(w);
    score = -(position - position.floor() - 0.5).abs();
  }
  const auto kept = std::max<int64_t>(1, std::llround(o.selected * double(w.numel())));
  const auto chosen = std::get<1>(score.flatten().topk(kept));
  return torch::zeros(w.numel(), torch::kBool).index_fill_(0, chosen, true).view(weight.sizes());
}

void set_weight(QuantizableLayer& layer, const Tensor& weight) {
  layer.weight.set_data(weight.detach().clone());
}

/// The rounded weight, and in the slot what makes it of itself: a power's last bit may depend on a value's place among
/// others, so the weight is what the quantizer itself makes of it.
void harden(QuantizableLayer& layer, const Tensor& weight, const WeightGrid& grid) {
  const torch::NoGradGuard no_grad;
  const auto slot = grid_quantizer(grid);
  set_weight(layer, slot->forward(weight));
  layer.put(QuantizableLayer::Place::Weight, slot);
}

void check(const UnitData& data, const ReconstructOptions& o) {
  require(data.quantized.defined() && data.quantized.size(0) > 0, "the calibration set is empty");
  const int64_t n = data.quantized.size(0);
  require(data.reference.defined() && data.reference.sizes() == data.quantized.sizes(),
          "the float and the quantized inputs of a unit have different shapes");
  require(data.target.defined() && data.target.size(0) == n, "a unit has {} inputs and other than {} targets", n, n);
  require(o.steps >= 1, "reconstruction takes at least one step, got {}", o.steps);
  require(o.batch >= 1, "a batch holds at least one sample, got {}", o.batch);
  require(o.lambda >= 0, "lambda must not be negative, got {}", o.lambda);
  require(o.beta1 > 0 && o.beta0 >= o.beta1, "beta falls from beta0 to beta1 > 0, got {} and {}", o.beta0, o.beta1);
  require(o.warmup >= 0 && o.warmup < 1, "the warm-up is a share of the steps in [0, 1), got {}", o.warmup);
  require(o.rate > 0 && o.activation_rate > 0 && o.other_rate > 0, "learning rates must be positive, got {}, {}, {}",
          o.rate, o.activation_rate, o.other_rate);
  require(o.drop >= 0 && o.drop <= 1, "drop is the probability of a quantized value, in [0, 1], got {}", o.drop);
  require(o.p > 0, "the exponent of the Lp loss must be positive, got {}", o.p);
  require(o.selected > 0 && o.selected <= 1, "the share of learned weights lies in (0, 1], got {}", o.selected);
  require(!o.learn_scale || o.grid.scheme == GridScheme::Uniform, "only the scales of uniform grids are learned");
  require(!o.fisher || o.loss == ReconstructionLoss::L2, "the Fisher option weights the L2 loss");
  require(!o.fisher || data.gradient.defined(), "the Fisher option needs gradients of the task's loss: give labels");
  require(o.augment == FeatureAugmentation::None || data.unit, "feature augmentation needs the float unit");
}

void check_output(const Tensor& output, const Tensor& target) {
  require(output.sizes() == target.sizes(),
          "the unit puts out values of another shape than its target; its output may depend on the batch in "
          "dimension 0 only");
}

/// Mean over all samples.
double whole_loss(const Tensor& output, const UnitData& data, const ReconstructOptions& o) {
  const torch::NoGradGuard no_grad;
  double sum = 0;
  const int64_t n = output.size(0);
  for (int64_t i = 0; i < n; i += kChunk) {
    const auto part = [&](const Tensor& t) { return t.slice(0, i, std::min(i + kChunk, n)); };
    sum += reconstruction_loss(part(output), part(data.target), o, o.fisher ? part(data.gradient) : Tensor{})
               .item<double>() *
           double(std::min(kChunk, n - i));
  }
  return sum / double(n);
}

struct Batch {
  Tensor quantized, reference, target, gradient;
};

/// Changes inputs alike on both paths and takes the float unit's answer as target.
void augment(Batch& batch, const UnitData& data, FeatureAugmentation kind, double noise, Random& random) {
  Tensor& q = batch.quantized;
  Tensor& x = batch.reference;
  switch (kind) {
    case FeatureAugmentation::None:
      return;
    case FeatureAugmentation::Noise: {
      auto e = torch::empty(x.sizes(), torch::kDouble);
      for (int64_t i = 0; i < e.numel(); ++i) e.data_ptr<double>()[i] = noise * random.normal();
      e = e.to(x.scalar_type());
      q = q + e, x = x + e;
      break;
    }
    case FeatureAugmentation::Mixup: {
      const auto other = torch::tensor(random.permutation(x.size(0)));
      const double share = random.uniform();
      const auto mix = [&](const Tensor& t) { return t * share + t.index_select(0, other) * (1 - share); };
      q = mix(q), x = mix(x);
      break;
    }
    case FeatureAugmentation::CutOut: {
      auto shape = x.sizes().vec();
      if (shape.size() > 2) shape[shape.size() == 4 ? 1 : shape.size() - 1] = 1;  // all channels of a position
      const auto kept = random_mask(shape, 0.9, random);
      q = q * kept, x = x * kept;
      break;
    }
  }
  const torch::NoGradGuard no_grad;
  batch.target = data.unit->forward(x);
}

}  // namespace

Tensor random_mask(torch::IntArrayRef shape, double p, Random& random) {
  auto mask = torch::empty(shape, torch::kBool);
  bool* out = mask.data_ptr<bool>();
  const auto bound = uint32_t(std::llround(p * 65536));
  const int64_t n = mask.numel();
  for (int64_t i = 0; i < n; i += 2) {
    const uint32_t word = random();
    out[i] = (word & 0xffff) < bound;
    if (i + 1 < n) out[i + 1] = (word >> 16) < bound;
  }
  return mask;
}

Tensor reconstruction_loss(const Tensor& output, const Tensor& target, const ReconstructOptions& o,
                           const Tensor& gradient) {
  const int64_t channel = output.dim() == 4 ? 1 : output.dim() - 1;
  const double positions = double(output.numel()) / double(output.size(channel));
  switch (o.loss) {
    case ReconstructionLoss::L2: {
      const auto d = output - target;
      return (gradient.defined() ? d * gradient : d).square().sum() / positions;
    }
    case ReconstructionLoss::L1:
      return (output - target).abs().sum() / positions;
    case ReconstructionLoss::Huber:
      return torch::smooth_l1_loss(output, target, at::Reduction::Sum) / positions;
    case ReconstructionLoss::Lp:
      return (output - target).abs().pow(o.p).sum() / positions;
    case ReconstructionLoss::Cosine:
      return 1 - torch::cosine_similarity(output, target, channel).mean();
    case ReconstructionLoss::Kl:
      return torch::kl_div(output.log_softmax(channel), target.log_softmax(channel), at::Reduction::Sum,
                           /*log_target=*/true) /
             positions;
  }
  fail("unknown loss");
}

void round_to_nearest(QuantizableLayer& layer, const std::vector<int>& bits, const GridOptions& options) {
  const auto grid = weight_grid(layer.weight, bits, options);
  harden(layer, RoundingVariable(RoundingKind::Straight, grid, layer.weight).nearest(), grid);
}

Tensor run_in_batches(NetworkImpl& net, const Tensor& x, const NetworkImpl::Visitor& visit) {
  const torch::NoGradGuard no_grad;
  std::vector<Tensor> outputs;
  for (const auto& part : x.split(kChunk)) outputs.push_back(net.run(part, visit));
  return torch::cat(outputs);
}

bool anything_to_learn(NetworkImpl& unit) {
  if (!activation_slots(unit).empty()) return true;
  return std::ranges::any_of(quantizable_layers(unit),
                             [](const auto& layer) { return !layer.second->slot(QuantizableLayer::Place::Weight); });
}

ReconstructReport reconstruct(NetworkImpl& unit, const UnitData& data, const ReconstructOptions& o,
                              const RowBits& bits) {
  check(data, o);
  const torch::AutoGradMode with_gradients(true);
  // Streams of their own: whether elements are dropped does not change which samples make up the batches.
  Random order = Random(o.seed).split("batches"), random = Random(o.seed).split("chance");
  ReconstructReport report;

  std::vector<Learned> learned;
  for (const auto& [name, layer] : quantizable_layers(unit)) {
    const auto width = bits.find(name);
    if (width == bits.end() || layer->slot(QuantizableLayer::Place::Weight)) continue;
    const auto grid = weight_grid(layer->weight, width->second, o.grid);
    learned.push_back({layer, std::make_shared<RoundingVariable>(o.variable, grid, layer->weight,
                                                                 select_weights(layer->weight, grid, o, random))});
  }

  // Only what is learned gets gradients.
  std::vector<std::pair<Tensor, bool>> flags;
  for (auto& p : unit.parameters()) {
    flags.emplace_back(p, p.requires_grad());
    p.set_requires_grad(false);
  }
  std::vector<Tensor> values, others, steps;
  auto slots = activation_slots(unit);
  for (const auto& slot : slots)
    for (auto& p : slot.quantizer->parameters()) steps.push_back(p.set_requires_grad(true));
  for (const auto& [layer, rounding] : learned) {
    set_weight(*layer, rounding->nearest());
    values.push_back(rounding->v);
    if (o.learn_scale) others.push_back(rounding->log_scale.set_requires_grad(true));
    if (o.learn_bias && layer->bias.defined()) others.push_back(layer->bias.set_requires_grad(true));
  }
  {
    const auto output = run_in_batches(unit, data.quantized);
    check_output(output, data.target);
    report.loss_nearest = whole_loss(output, data, o);
  }

  if (!learned.empty() || !steps.empty()) {
    for (const auto& [layer, rounding] : learned) layer->put(QuantizableLayer::Place::Weight, rounding);
    if (o.drop < 1)
      for (const auto& slot : slots) slot.put(std::make_shared<DropQuantize>(slot.quantizer, o.drop, random));
    Updater updater(o.optimizer, {{values, o.rate}, {others, o.other_rate}});
    Updater step_updater(UpdateRule::Adam, {{steps, o.activation_rate}});
    const double noise = o.augment == FeatureAugmentation::Noise ? 0.05 * data.reference.std().item<double>() : 0;
    const int64_t n = data.quantized.size(0), warmup = std::llround(o.warmup * double(o.steps));

    for (int64_t step = 0; step < o.steps; ++step) {
      if (interrupted()) fail("interrupted while a unit was reconstructed");
      auto chosen = order.permutation(n);
      chosen.resize(size_t(std::min(o.batch, n)));
      const auto ids = torch::tensor(chosen);
      const auto take = [&](const Tensor& t) { return t.index_select(0, ids); };
      Batch batch{take(data.quantized), take(data.reference), take(data.target),
                  o.fisher ? take(data.gradient) : Tensor{}};
      augment(batch, data, o.augment, noise, random);
      if (o.drop < 1)
        batch.quantized =
            torch::where(random_mask(batch.quantized.sizes(), o.drop, random), batch.quantized, batch.reference);

      const double done = double(step - warmup) / double(std::max<int64_t>(1, o.steps - 1 - warmup));
      const double beta = o.beta0 + (o.beta1 - o.beta0) * std::max(0.0, done);
      if (step >= warmup)
        for (const auto& [layer, rounding] : learned) rounding->anneal(beta);

      auto loss = reconstruction_loss(unit.forward(batch.quantized), batch.target, o, batch.gradient);
      require(std::isfinite(loss.item<double>()), "the reconstruction loss is {} at step {}: lower the learning rate",
              loss.item<double>(), step);
      if (step >= warmup && o.lambda > 0)
        for (const auto& [layer, rounding] : learned) loss = loss + o.lambda * rounding->regularizer(beta);
      updater.zero_gradients();
      step_updater.zero_gradients();
      if (loss.requires_grad()) loss.backward();
      const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * double(step) / double(o.steps)));
      updater.step(o.schedule == RateSchedule::Cosine ? cosine : 1);
      step_updater.step(cosine);
    }
    if (o.drop < 1)
      for (const auto& slot : slots) slot.put(slot.quantizer);
  }

  const torch::NoGradGuard no_grad;
  int64_t weights = 0;
  double changed = 0, decided = 0;
  for (const auto& [layer, rounding] : learned) {
    const int64_t count = layer->weight.numel();
    weights += count;
    changed += (rounding->codes() != rounding->nearest_codes()).sum().item<double>();
    decided += rounding->decided() * double(count);
    harden(*layer, rounding->hard(), rounding->grid());
  }
  if (weights > 0) {
    report.changed = changed / double(weights);
    report.decided = decided / double(weights);
  }
  for (auto& [parameter, flag] : flags) parameter.set_requires_grad(flag).mutable_grad().reset();
  report.output = run_in_batches(unit, data.quantized);
  report.loss = whole_loss(report.output, data, o);
  return report;
}

}  // namespace quanta
