#include "quanta/quantize/fold_scales.h"

#include "quanta/core/error.h"

namespace quanta {

bool can_fold(const LanguageConfig& config, size_t stage) {
  if (stage == 1) return config.heads == config.kv_heads;
  if (stage == 3) return config.family == Family::Llama || config.activation == MlpActivation::Relu;
  return true;
}

void fold_scales(DecoderBlock& block, size_t stage, const torch::Tensor& s) {
  const torch::NoGradGuard no_grad;
  require(can_fold(block->config(), stage), "nothing before {} can take factors for its inputs",
          block->stages()[stage].front());
  require((s.isfinite() & (s > 0)).all().item<bool>(), "factors of channels must be positive numbers");
  for (const auto& path : block->stages()[stage]) block->layer(path)->weight.mul_(s);
  const auto divide = [&](torch::Tensor weight, torch::Tensor bias) {
    weight.div_(weight.dim() == 2 ? s.unsqueeze(1) : s);
    if (bias.defined()) bias.div_(s);
  };
  if (stage % 2 == 0) {
    Norm& norm = stage == 0 ? block->attention_norm : block->mlp_norm;
    divide(norm->weight, norm->bias);
  } else {  // v, or the last third of q, k, v in one; up or fc1
    const auto made = block->layer(block->stages()[stage - 1].back());
    const auto last = [&](const torch::Tensor& x) { return x.defined() ? x.slice(0, x.size(0) - s.numel()) : x; };
    divide(last(made->weight), last(made->bias));
  }
}

}  // namespace quanta
