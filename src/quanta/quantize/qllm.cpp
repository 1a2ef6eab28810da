#include "quanta/quantize/qllm.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/quantize/shift.h"

// QLLM, arXiv 2310.08041.
//   h  [n, T, width]     hidden states in front of a block: of the float blocks, or behind the quantized ones
//   x  [n, T, C]         what a stage's layers read (q, k, v; o; gate, up; down), m [C] its largest magnitudes
//   W  [N, C]            a layer's weight, W' after the reassembly x -> x' of its channels
//   Q                    a grid of few bits for each row
//   A  [r, C], B [N, r]  its correction: Q(W') + (alpha / r) B A, or Q(W' + (alpha / r) B A)

namespace quanta {
namespace {

using torch::Tensor;
using Place = QuantizableLayer::Place;

constexpr size_t kStages = 4;
constexpr size_t kOutputProjection = 1;  // its inputs are averages of values, without outliers: not reassembled

const Part kSame = [](const Tensor& h) { return h; };

void freeze(torch::nn::Module& module) {
  for (auto& parameter : module.parameters()) parameter.set_requires_grad(false);
}

/// The parameters of a module, from now on trained.
void train_along(torch::nn::Module& module, std::vector<Tensor>& parameters) {
  for (auto& parameter : module.parameters()) parameters.push_back(parameter.set_requires_grad(true));
}

size_t layers_of(const DecoderBlock& block) {
  size_t count = 0;
  for (const auto& stage : block->stages()) count += stage.size();
  return count;
}

}  // namespace

std::vector<LayerResult> QllmMethod::quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& in) {
  const torch::NoGradGuard no_grad;
  const bool corrected = options_.training.epochs > 0;
  std::vector<DecoderBlock> exact;
  for (DecoderBlock& block : blocks) {
    exact.push_back(copy(block, block->index()));
    freeze(*block);
  }

  // 1. Channel reassembly by the statistics of the float blocks.
  const auto m = channel_magnitudes(exact, *in.float_inputs);
  const Tensor sample = in.float_inputs->get(0, std::min(options_.reassembly.sample, in.float_inputs->sequences()));
  std::vector<Tensor> trained;
  Tensor h = sample;
  for (size_t b = 0; b < blocks.size(); ++b) {
    const int64_t index = in.block + int64_t(b);
    for (size_t stage = 0; stage < kStages; ++stage) {
      auto plan = Reassembly::identity(m[b][stage].numel());
      if (stage != kOutputProjection) {
        points_.push_back({.block = index});
        plan = choose_plan(exact[b], stage, m[b][stage], h, options_.reassembly, options_.bits, points_.back());
      }
      for (const std::string& path : blocks[b]->stages()[stage]) {
        Linear layer = reassembled(*exact[b]->linear(path), plan, options_.bits.activations);
        blocks[b]->replace(path, layer.ptr());
        if (!corrected) continue;
        const Random random = Random(options_.seed).split(uint64_t(index)).split(path);
        const auto low_rank =
            std::make_shared<LowRankCorrection>(layer->weight, options_.correction, options_.bits.weights, random);
        layer->put(Place::Weight, low_rank);
        train_along(*low_rank, trained);
      }
    }
    if (options_.attention) quantize_attention(blocks[b], options_.bits.activations);
    h = exact[b]->forward(h);
  }

  // 2. A, B and the gains of the norms, from the inputs that quantized blocks put out to the float blocks' outputs.
  const Part student = [&](const Tensor& inputs) {
    Tensor out = inputs;
    for (DecoderBlock& block : blocks) out = block->forward(out);
    return out;
  };
  const auto loss = [&] { return corrected ? mismatch(student, *in.inputs, kSame, *in.float_outputs) : 0; };
  Correction correction{.block = in.block, .before = loss()};
  if (corrected) {
    for (DecoderBlock& block : blocks)
      for (Norm norm : {block->attention_norm, block->mlp_norm})
        if (options_.train_norms) train_along(*norm, trained);
    match_outputs(trained, student, *in.inputs, kSame, *in.float_outputs, options_.training);
    for (DecoderBlock& block : blocks) freeze(*block);
  }
  correction.unmerged = loss();

  // 3. W^ = Q(W' + (alpha / r) B A).
  std::vector<LayerResult> results;
  h = sample;
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (const auto& stage : blocks[b]->stages())
      for (const std::string& path : stage) {
        Linear layer = blocks[b]->linear(path);
        const auto low_rank = layer->slot(Place::Weight).as<LowRankCorrection>();
        const Tensor whole = low_rank ? low_rank->merge(layer->weight) : layer->weight;
        results.push_back(
            {.block = in.block + int64_t(b), .layer = path, .matrix = quantize_rows(whole, options_.bits.weights)});
        const bool branch = low_rank && !options_.merge;
        layer->weight.set_data(branch ? low_rank->forward(layer->weight) : results.back().matrix.dequantize());
        layer->put(Place::Weight, nullptr);
      }
    h = measure_layers(exact[b], blocks[b], h, options_.bits, &results[results.size() - layers_of(exact[b])]);
  }
  correction.merged = loss();
  if (corrected) corrections_.push_back(correction);
  return results;
}

void QllmMethod::finish(LanguageModel& ends, const ActivationStore* last, const ActivationStore* float_last) {
  if (!options_.last_norm || options_.training.epochs == 0) return;
  Norm exact(ends->config());
  copy_values(*ends->norm, *exact);
  std::vector<Tensor> trained;
  train_along(*ends->norm, trained);
  const auto shift = options_.last_norm_bias ? std::make_shared<Shift>(ends->config().width) : nullptr;
  if (shift) train_along(*shift, trained);
  const Part student = [&](const Tensor& h) { return shift ? shift->forward(ends->norm(h)) : ends->norm(h); };
  match_outputs(
      trained, student, *last, [&](const Tensor& h) { return exact(h); }, *float_last, options_.training);
  freeze(*ends->norm);
  if (!shift) return;
  freeze(*shift);
  ends->output->put(Place::Input, before(shift, ends->output->slot(Place::Input)));
}

QllmMethod::QllmMethod(const QllmOptions& options) : options_(options) {
  const auto& o = options;
  o.bits.check("qllm");
  const auto& r = o.reassembly;
  require(r.ratio >= 0 && r.ratio <= 0.5, "qllm: a channel ratio of {}, expected 0 to 0.5", r.ratio);
  require(r.threshold >= 0 && r.threshold <= 1,
          "qllm: a threshold of {} times the largest magnitude, expected above 0 to 1, or 0 to search", r.threshold);
  require(r.sample >= 1 && o.blocks >= 1, "qllm: {} sample sequences and groups of {} blocks, expected at least 1",
          r.sample, o.blocks);
  require(o.training.epochs >= 0 && o.training.batch >= 1 && o.training.rate > 0,
          "qllm: {} epochs in batches of {} at a rate of {}", o.training.epochs, o.training.batch, o.training.rate);
  require(o.correction.rank >= 1 && o.correction.alpha > 0,
          "qllm: a correction of rank {} and alpha {}: both must be above 0", o.correction.rank, o.correction.alpha);
}

nlohmann::json QllmMethod::settings() const {
  const auto& o = options_;
  nlohmann::json settings = o.bits.to_json();
  settings.update({{"attention", o.attention},
                   {"channels", int(o.reassembly.channels)},
                   {"score", o.reassembly.score == MergeScore::Exact ? "exact" : "released"},
                   {"channel_ratio", o.reassembly.ratio},
                   {"threshold", o.reassembly.threshold},
                   {"sample", o.reassembly.sample},
                   {"rank", o.correction.rank},
                   {"alpha", o.correction.alpha},
                   {"form", o.correction.form == TrainForm::Inside ? "inside" : "outside"},
                   {"epochs", o.training.epochs},
                   {"batch", o.training.batch},
                   {"rate", o.training.rate},
                   {"train_norms", o.train_norms},
                   {"last_norm", o.last_norm},
                   {"last_norm_bias", o.last_norm_bias},
                   {"merge", o.merge},
                   {"blocks", o.blocks},
                   {"seed", o.seed}});
  return settings;
}

void QllmMethod::check(const LanguageConfig& config) const {
  require(config.width >= 2 && config.inner >= 2, "qllm needs at least 2 channels, the model has {} and {}",
          config.width, config.inner);
  require(!options_.last_norm_bias || !config.tied, "qllm: a head that is the embedding cannot have a bias before it");
  if (options_.training.epochs == 0) return;
  for (const auto& stage : linear_shapes(config))
    for (const LinearShape& layer : stage)
      require(options_.correction.rank <= std::min(layer.in, layer.out), "qllm: rank {} for {}, which is {} x {}",
              options_.correction.rank, layer.path, layer.out, layer.in);
}

int64_t QllmMethod::memory(const LanguageConfig& config) const {
  const int64_t widest = std::max(config.width, config.inner), costs = 4 * widest * widest * int64_t(sizeof(double));
  // A training step keeps some ten hidden states and inner products of each block, and each weight in three forms.
  const int64_t tokens = std::max<int64_t>(1024, config.longest());
  int64_t weights = 0;
  for (const auto& stage : linear_shapes(config))
    for (const LinearShape& layer : stage) weights += layer.in * layer.out;
  const int64_t step =
      options_.blocks * int64_t(sizeof(float)) * (tokens * (20 * config.width + 10 * config.inner) + 5 * weights);
  return std::max(costs, options_.training.epochs > 0 ? step : 0);
}

double QllmMethod::operations(const LanguageConfig& config, int64_t tokens) const {
  double weights = 0;
  for (const auto& stage : linear_shapes(config))
    for (const LinearShape& layer : stage) weights += double(layer.in * layer.out);
  return weights * double(tokens) *
         (2 + 3 * double(options_.training.epochs));  // forwards, and backwards twice as much
}

}  // namespace quanta
