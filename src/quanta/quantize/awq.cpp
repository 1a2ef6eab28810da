#include "quanta/quantize/awq.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/quantize/fold_scales.h"
#include "quanta/quantize/gptq.h"
#include "quanta/quantize/input_hessian.h"
#include "quanta/quantize/layerwise_method.h"

// AWQ, arXiv 2306.00978.
//   W  [N, K]  a layer's weight           X  [T, K]  its inputs, of which two statistics are kept:
//   s  [K]     factors of the channels    m  [K]     mean |x|,   H [K, K] the second moments: ||E X||^2 ~ tr(E H E')
//   Q          grids of groups of columns

namespace quanta {
namespace {

using torch::Tensor;

constexpr int kShares = 20;  // of clipping, the first half of which is tried

/// Error e d' of each group of columns, [N, K / g], of D [N, K] and the blocks H_gg of H.
Tensor group_errors(const Tensor& d, const Tensor& h, int64_t g) {
  const int64_t N = d.size(0), groups = d.size(1) / g;
  const Tensor blocks = h.reshape({groups, g, groups, g}).diagonal(0, 0, 2).permute({2, 0, 1});  // [groups, g, g]
  const Tensor parts = d.reshape({N, groups, g}).transpose(0, 1);                                // [groups, N, g]
  return (parts.matmul(blocks) * parts).sum(-1).t();
}

double relative_output_error(const Tensor& w, const Tensor& q, const Tensor& h) {
  const double all = output_error(w, torch::zeros_like(w), h);
  return all > 0 ? output_error(w, q, h) / all : 0;
}

}  // namespace

AwqScales search_scales(const Tensor& m, const std::vector<Tensor>& weights, const Tensor& h, const GridRule& rule,
                        int steps) {
  AwqScales best{.loss = std::numeric_limits<double>::infinity()};
  for (int i = 0; i < steps; ++i) {
    const double alpha = double(i) / double(steps);
    Tensor s = m.pow(alpha).clamp_min(1e-4);
    s = s / (s.max() * s.min()).sqrt();
    double loss = 0;
    for (const Tensor& w : weights) loss += output_error(w, rtn((w * s).contiguous(), rule).weight / s, h);
    if (i == 0) best.rounded_loss = loss;
    if (loss < best.loss) best = {.s = s, .alpha = alpha, .loss = loss, .rounded_loss = best.rounded_loss};
  }
  return best;
}

Tensor clip_weight(const Tensor& w, const Tensor& h, const GridRule& rule) {
  const int64_t g = rule.span() == 0 ? w.size(1) : rule.span();
  const Tensor parts = w.reshape({w.size(0), -1, g}),
               largest = parts.abs().amax(-1, true);  // [N, K / g, g], [N, K / g, 1]
  Tensor best = parts, least;
  for (int i = 0; i < kShares / 2; ++i) {
    const Tensor limit = largest * (1 - double(i) / kShares), clipped = torch::clamp(parts, -limit, limit);
    const Tensor whole = clipped.reshape(w.sizes()).contiguous();
    const Tensor error = group_errors(rtn(whole, rule).weight - w, h, g).unsqueeze(-1);
    best = i == 0 ? parts : torch::where(error < least, clipped, best);
    least = i == 0 ? error : torch::minimum(error, least);
  }
  best = best.reshape(w.sizes()).contiguous();
  const auto loss = [&](const Tensor& candidate) { return output_error(w, rtn(candidate, rule).weight, h); };
  return loss(best) < loss(w) ? best : w;
}

std::vector<LayerResult> AwqMethod::quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& in) {
  const torch::NoGradGuard no_grad;
  const GridRule& rule = *rule_;
  DecoderBlock& block = blocks.front();
  const auto stages = linear_shapes(block->config());

  std::vector<std::string> paths;
  std::vector<InputHessian> moments;
  std::vector<Tensor> sums;
  for (const auto& stage : stages) {
    paths.push_back(stage.front().path);
    moments.emplace_back(stage.front().in);
    sums.push_back(torch::zeros(stage.front().in, torch::kFloat64));
  }
  collect_inputs(block, paths, *in.inputs, [&](int64_t, const std::vector<Tensor>& x) {
    for (size_t i = 0; i < x.size(); ++i) {
      moments[i].add(x[i]);
      sums[i] += x[i].abs().flatten(0, -2).sum(0, false, torch::kFloat64);
    }
  });

  std::vector<LayerResult> results;
  std::vector<Tensor> h;
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    h.push_back(moments[stage].value());
    for (const LinearShape& shape : stages[stage]) {
      const Tensor w = block->linear(shape.path)->weight;
      LayerResult& result = results.emplace_back();
      result.block = in.block;
      result.layer = shape.path;
      result.rounded_error = relative_output_error(w, rtn(w, rule).weight, h[stage]);
    }
  }
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    if (!can_fold(block->config(), stage)) continue;
    std::vector<Tensor> weights;
    for (const LinearShape& shape : stages[stage]) weights.push_back(block->linear(shape.path)->weight);
    const Tensor m = (sums[stage] / double(moments[stage].tokens())).to(torch::kFloat32);
    const Tensor s = search_scales(m, weights, h[stage], rule, options_.steps).s;
    fold_scales(block, stage, s);
    h[stage] /= s.unsqueeze(0) * s.unsqueeze(1);
  }
  auto result = results.begin();
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (const LinearShape& shape : stages[stage]) {
      const auto start = std::chrono::steady_clock::now();
      const Tensor w = block->linear(shape.path)->weight;
      // Errors of queries and keys multiply each other, which the squared error of the layer knows nothing of.
      const bool clip = options_.clip && (stage > 0 || shape.path.ends_with("v_proj"));
      const Tensor before = w.clone();
      result->matrix = layer_result(rtn(clip ? clip_weight(w, h[stage], rule) : w, rule)).matrix;
      w.copy_(result->matrix.dequantize());
      result->error = relative_output_error(before, w, h[stage]);
      result->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      ++result;
    }
  return results;
}

AwqMethod::AwqMethod(std::shared_ptr<const GridRule> rule, const AwqOptions& options)
    : rule_(std::move(rule)), options_(options) {
  require(options.steps >= 1 && options.steps <= 1000, "awq: a search of {} steps, expected 1 to 1000", options.steps);
}

nlohmann::json AwqMethod::settings() const {
  return {{"grid", rule_->describe()}, {"steps", options_.steps}, {"clip", options_.clip}};
}

int64_t AwqMethod::memory(const LanguageConfig& config) const {
  int64_t values = 0, widest = 0, largest = 0;
  for (const auto& stage : linear_shapes(config)) {
    values += stage.front().in * stage.front().in;
    widest = std::max(widest, stage.front().in);
    for (const LinearShape& layer : stage) largest = std::max(largest, layer.in * layer.out);
  }
  return int64_t(sizeof(float)) * (values + widest * widest + 6 * largest);
}

double AwqMethod::operations(const LanguageConfig& config, int64_t tokens) const {
  double all = 0;
  const auto stages = linear_shapes(config);
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    const double k = double(stages[stage].front().in);
    all += double(tokens) * k * k / 2;
    for (const LinearShape& layer : stages[stage])
      if (can_fold(config, stage)) all += options_.steps * double(layer.out) * k * k;
  }
  return all;
}

void AwqMethod::check(const LanguageConfig& config) const {
  const int64_t span = rule_->span();
  for (const auto& stage : linear_shapes(config))
    for (const LinearShape& layer : stage)
      require(span == 0 || layer.in % span == 0, "awq: groups of {} do not divide the {} inputs of {}", span, layer.in,
              layer.path);
}

}  // namespace quanta
