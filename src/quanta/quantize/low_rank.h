#pragma once

#include <torch/torch.h>

#include "quanta/core/random.h"
#include "quanta/nn/transform.h"
#include "quanta/quantize/dynamic_affine.h"

namespace quanta {

/// Where the correction enters while it is trained.
enum class TrainForm {
  Outside,  ///< Q(W) + (alpha / r) B A, as the published code: rounding after merging loses a part of it again
  Inside,   ///< Q(W + (alpha / r) B A): what is trained is what is deployed
};

struct LowRankOptions {
  int64_t rank = 4;  ///< r, at most the weight's smaller side
  double alpha = 1;
  TrainForm form = TrainForm::Outside;
};

/// The low-rank correction of a frozen quantized weight (QLLM, arXiv 2310.08041, section 4.2; equation 6), in the
/// weight's slot while it is trained. It is merged afterwards: no layer is deployed with one.
class LowRankCorrection : public TensorTransform {
 public:
  /// For a weight W [N, C] on a grid Q: A [r, C] uniform in +-1 / sqrt(C), B [N, r] zero.
  LowRankCorrection(const torch::Tensor& weight, const LowRankOptions& options, const DynamicAffineOptions& grid,
                    Random random);
  /// The weight that is used in training.
  torch::Tensor forward(const torch::Tensor& weight) override;
  /// W + (alpha / r) B A, to be quantized.
  torch::Tensor merge(const torch::Tensor& weight) const { return weight + product(); }
  std::shared_ptr<TensorTransform> copy() const override;

  torch::Tensor a{}, b{};

 private:
  torch::Tensor product() const { return b.matmul(a) * (options_.alpha / double(options_.rank)); }

  LowRankOptions options_;
  DynamicAffineOptions grid_;  // Q
  torch::Tensor rounded_;      // Q(W), with TrainForm::Outside
};

}  // namespace quanta
