#include "quanta/quantize/layerwise_method.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/quantize/gguf_rule.h"

namespace quanta {
namespace {

// A solver's workspace in Hessians: the damped one and its inverse's factor.
constexpr int64_t kSolver = 2;

int64_t hessian_bytes(int64_t columns) {
  return columns * columns * int64_t(sizeof(float));
}

int64_t largest_hessian(const LanguageConfig& config) {
  int64_t largest = 0;
  for (const auto& stage : linear_shapes(config)) largest = std::max(largest, hessian_bytes(stage.front().in));
  return largest;
}

// Consecutive stages whose Hessians are in memory together.
std::vector<std::vector<size_t>> passes(const std::vector<std::vector<LinearShape>>& stages, bool true_sequential,
                                        int64_t budget) {
  std::vector<std::vector<size_t>> all;
  int64_t used = 0;
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    const int64_t bytes = hessian_bytes(stages[stage].front().in);
    if (all.empty() || true_sequential || used + bytes > budget) {
      all.emplace_back();
      used = 0;
    }
    all.back().push_back(stage);
    used += bytes;
  }
  return all;
}

// The errors for the ledger. Of a large layer some rows must do: all would take as long as the solver itself.
void measure(LayerResult& result, const torch::Tensor& w, const torch::Tensor& h, const GridRule& rule) {
  constexpr double kOperations = 4e9;
  const int64_t k = w.size(1);
  const int64_t step = std::max<int64_t>(1, int64_t(double(w.size(0)) * double(k) * double(k) / kOperations));
  const auto some = [&](const torch::Tensor& all) { return all.slice(0, 0, all.size(0), step).contiguous(); };
  const torch::Tensor rows = some(w);
  const double output = output_error(rows, torch::zeros_like(rows), h);
  if (output == 0) return;
  result.error = output_error(rows, some(result.matrix.dequantize()), h) / output;
  result.rounded_error = output_error(rows, rtn(rows, rule).weight, h) / output;
}

}  // namespace

int64_t LayerwiseMethod::memory(const LanguageConfig& config) const {
  if (true_sequential_) return least_memory(config);
  int64_t all = kSolver * largest_hessian(config);
  for (const auto& stage : linear_shapes(config)) all += hessian_bytes(stage.front().in);
  return all;
}

int64_t LayerwiseMethod::least_memory(const LanguageConfig& config) const {
  return (1 + kSolver) * largest_hessian(config);
}

int64_t LayerwiseMethod::workspace(const LanguageConfig& config) const {
  return kSolver * largest_hessian(config);
}

double LayerwiseMethod::operations(const LanguageConfig& config, int64_t tokens) const {
  double all = 0;
  for (const auto& stage : linear_shapes(config)) {
    const double k = double(stage.front().in);
    all += double(tokens) * k * k / 2;
    for (const LinearShape& layer : stage) all += k * k * k + double(layer.out) * k * k;
  }
  return all;
}

std::vector<LayerResult> LayerwiseMethod::quantize(std::vector<DecoderBlock>& blocks, const BlockInputs& inputs) {
  std::vector<LayerResult> results;
  for (size_t b = 0; b < blocks.size(); ++b) {
    DecoderBlock& block = blocks[b];
    const bool data = inputs.inputs != nullptr;
    // Of the tokens, by the first sequence of each batch.
    std::vector<torch::Tensor> weights(data ? size_t(inputs.inputs->sequences()) : 0);
    if (data && weighs_tokens())
      for_each_sequence(*inputs.inputs, [&](int64_t first, const torch::Tensor& h) {
        weights[size_t(first)] = importance(block, first, h, inputs.tokens.slice(0, first, first + h.size(0)));
      });
    const auto stages = linear_shapes(block->config());
    for (const auto& pass :
         passes(stages, true_sequential_, inputs.memory - kSolver * largest_hessian(block->config()))) {
      struct Statistics {
        size_t stage;
        bool weighted;
        InputHessian hessian;
      };
      std::vector<Statistics> statistics;
      std::vector<std::string> representatives;
      const auto find = [&](size_t stage, bool weighted) {
        return std::ranges::find_if(statistics,
                                    [&](const Statistics& s) { return s.stage == stage && s.weighted == weighted; });
      };
      for (const size_t stage : pass)
        for (const LinearShape& shape : stages[stage])
          if (const bool weighted = weighs_tokens_of(shape.path); find(stage, weighted) == statistics.end()) {
            statistics.push_back({stage, weighted, InputHessian(shape.in)});
            representatives.push_back(shape.path);
          }
      if (data)
        collect_inputs(block, representatives, *inputs.inputs, [&](int64_t first, const std::vector<torch::Tensor>& x) {
          for (size_t i = 0; i < x.size(); ++i)
            statistics[i].hessian.add(x[i], statistics[i].weighted ? weights[size_t(first)] : torch::Tensor());
        });
      for (auto& [stage, weighted, hessian] : statistics) {
        const torch::Tensor h = data ? hessian.value() : torch::Tensor();
        for (const LinearShape& shape : stages[stage]) {
          if (weighs_tokens_of(shape.path) != weighted) continue;
          const auto start = std::chrono::steady_clock::now();
          Linear layer = block->linear(shape.path);
          const torch::NoGradGuard no_grad;
          const torch::Tensor w = layer->weight.detach();
          LayerResult result = solve(shape.path, w, h);
          if (const auto* format = dynamic_cast<const GgufRule*>(&rule(shape.path))) {
            result.gguf = format->pack(w, result.matrix.codes);
            result.gguf_type = format->type();
            require(torch::equal(format->unpack(result.gguf), result.matrix.dequantize()),
                    "{} cannot be stored as {}: grids of a file format must be static", shape.path, format->describe());
          }
          if (data) measure(result, w, h, rule(shape.path));
          if (true_sequential_) layer->weight.copy_(result.matrix.dequantize());
          result.block = inputs.block + int64_t(b);
          result.layer = shape.path;
          result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
          results.push_back(std::move(result));
        }
      }
    }
    if (true_sequential_) continue;
    const torch::NoGradGuard no_grad;
    for (const LayerResult& result : results)
      if (result.block == inputs.block + int64_t(b))
        block->linear(result.layer)->weight.copy_(result.matrix.dequantize());
  }
  return results;
}

LayerResult layer_result(GptqResult result) {
  int bits = 0;
  while ((1 << bits) < result.grid.levels) ++bits;
  return {.matrix = {.bits = bits, .codes = result.codes, .grid = result.grid, .g_idx = result.g_idx},
          .damping = result.damping,
          .dead = std::move(result.dead),
          .troubled = std::move(result.alone)};
}

LayerResult RoundToNearest::solve(const std::string&, const torch::Tensor& weight, const torch::Tensor&) {
  return layer_result(rtn(weight, *rule_));
}

GptqMethod::GptqMethod(std::shared_ptr<const GridRule> rule, const GptqOptions& options, bool true_sequential)
    : LayerwiseMethod(true_sequential), rule_(std::move(rule)), options_(options) {}

nlohmann::json GptqMethod::settings() const {
  return {{"grid", rule_->describe()},
          {"block", options_.block},
          {"damping", options_.damping},
          {"act_order", options_.act_order},
          {"static_groups", options_.static_groups},
          {"group_stats", options_.group_stats == GroupStats::Current ? "current" : "block_start"},
          {"true_sequential", true_sequential_}};
}

LayerResult GptqMethod::solve(const std::string&, const torch::Tensor& weight, const torch::Tensor& hessian) {
  return layer_result(gptq(weight, hessian, *rule_, options_));
}

}  // namespace quanta
