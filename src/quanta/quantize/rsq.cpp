#include "quanta/quantize/rsq.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/quantize/stored_transform.h"

// RSQ (arXiv 2503.01820) for a block with input h [T, d] and linear layers Y = X W', W [N, K]:
//   rotate    h <- h Q, the block's weights accordingly: rotate.h
//   scale     r [T], r_t in [r_min, r_max], from the float block: token_importance.h; mean 1 in each sequence
//   quantize  min tr((W - W^) H (W - W^)') with H = 2 / n sum_t r_t x_t x_t' by GPTQ, or LDLQ for the vector grid

namespace quanta {
namespace {

using torch::Tensor;
using Place = QuantizableLayer::Place;

bool is_down(const std::string& path) {
  return path.ends_with("down_proj") || path.ends_with("fc2") || path.ends_with("mlp.c_proj");
}

AffineGrid eight_bits(AffineGridOptions options) {
  options.bits = 8;
  return AffineGrid(options);
}

}  // namespace

Tensor token_weights(const Tensor& r, int power) {
  const Tensor wide = r.to(torch::kFloat64).pow(power);
  return (wide / wide.mean(1, true)).to(torch::kFloat32);
}

RsqMethod::RsqMethod(const RsqOptions& options)
    : LayerwiseMethod(options.true_sequential),
      options_(options),
      grid_(options.grid),
      wide_(eight_bits(options.grid)) {
  require(options.power == 1 || options.power == 2, "importances to the power {}: expected 1 or 2", options.power);
  for (const int bits : {options.flow.activations, options.flow.keys, options.flow.values})
    require(bits == 0 || (bits >= 2 && bits <= 16), "activations of {} bits: expected 2 to 16, or 0 for float", bits);
  if (options.importance) importance_.emplace(*options.importance);
}

std::string RsqMethod::name() const {
  return options_.importance ? "rsq" : options_.rotation ? "quarot" : "gptq";
}

void RsqMethod::check(const LanguageConfig& config) const {
  if (options_.rotation) Rotation::check(config, *options_.rotation);
  for (const auto& stage : linear_shapes(config))
    for (const LinearShape& layer : stage)
      require(!options_.e8p || layer.in % kE8pSize == 0, "E8P takes layers of a multiple of 8 inputs, {} has {}",
              layer.path, layer.in);
}

const Rotation& RsqMethod::rotation(const LanguageConfig& config) {
  if (!rotation_) rotation_.emplace(config, *options_.rotation);
  return *rotation_;
}

void RsqMethod::prepare(LanguageModel& ends) {
  if (options_.rotation) rotation(ends->config())(ends);
}

void RsqMethod::prepare(DecoderBlock& block, int64_t) {
  if (options_.rotation) rotation(block->config())(block);
}

bool RsqMethod::weighs_tokens_of(const std::string& path) const {
  const auto& names = options_.apply_to;
  return weighs_tokens() &&
         (names.empty() || std::ranges::any_of(names, [&](const auto& name) { return path.ends_with(name); }));
}

Tensor RsqMethod::importance(DecoderBlock& block, int64_t, const Tensor& h, const Tensor& tokens) {
  return token_weights((*importance_)(block, h, tokens), options_.power);
}

std::vector<LayerResult> RsqMethod::quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) {
  if (importance_ && inputs.tokens.defined()) importance_->count(inputs.tokens);
  auto results = LayerwiseMethod::quantize(blocks, inputs);
  for (DecoderBlock& block : blocks) quantize_flow(block, options_.flow);
  return results;
}

LayerResult RsqMethod::solve(const std::string& path, const Tensor& weight, const Tensor& hessian) {
  const bool wide = options_.int8_down && is_down(path);
  return layer_result(options_.e8p && !wide ? ldlq_e8p(weight, hessian, options_.ldlq)
                                            : gptq(weight, hessian, rule(path), options_.gptq));
}

const GridRule& RsqMethod::rule(const std::string& path) const {
  if (options_.int8_down && is_down(path)) return wide_;
  return options_.rule ? *options_.rule : grid_;
}

void quantize_flow(DecoderBlock& block, const FlowBits& bits) {
  const auto grid = [](int width) {
    return make_transform({{"kind", "dynamic"}, {"bits", width}, {"symmetric", true}});
  };
  if (bits.activations > 0)
    for (const auto& stage : block->stages())
      for (const std::string& path : stage) {
        const auto layer = block->layer(path);
        layer->put(Place::Input, after(layer->slot(Place::Input), grid(bits.activations)));
      }
  const auto& first = block->stages()[0];
  if (bits.values > 0 && first.size() > 1) {
    const auto layer = block->layer(first.back());
    layer->put(Place::Output, after(layer->slot(Place::Output), grid(bits.values)));
  } else if (bits.values > 0) {
    block->value.put(*block, "value_transform", after(block->value, grid(bits.values)));
  }
  if (bits.keys > 0) block->key.put(*block, "key_transform", after(block->key, grid(bits.keys)));
}

nlohmann::json RsqMethod::settings() const {
  nlohmann::json json{{"grid", options_.e8p ? "E8P" : rule("").describe()},
                      {"int8_down", options_.int8_down},
                      {"power", options_.power},
                      {"apply_to", options_.apply_to},
                      {"block", options_.gptq.block},
                      {"damping", options_.e8p ? options_.ldlq.damping : options_.gptq.damping},
                      {"act_order", options_.gptq.act_order},
                      {"static_groups", options_.gptq.static_groups},
                      {"true_sequential", true_sequential_},
                      {"flow", {options_.flow.activations, options_.flow.keys, options_.flow.values}}};
  if (options_.e8p) json["ldlq"] = {options_.ldlq.sweeps, options_.ldlq.fill};
  if (options_.importance) json["importance"] = to_json(*options_.importance);
  if (options_.rotation) json["rotation"] = to_json(*options_.rotation);
  return json;
}

}  // namespace quanta
