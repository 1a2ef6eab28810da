#include "quanta/quantize/low_rank.h"

#include <algorithm>
#include <cmath>

#include "quanta/core/error.h"

namespace quanta {

LowRankCorrection::LowRankCorrection(const torch::Tensor& weight, const LowRankOptions& options,
                                     const DynamicAffineOptions& grid, Random random)
    : options_(options), grid_(grid) {
  const int64_t N = weight.size(0), C = weight.size(1), r = options.rank;
  require(r >= 1 && r <= std::min(N, C), "a correction of rank {} for a weight of {} x {}: expected 1 to {}", r, N, C,
          std::min(N, C));
  auto start = torch::empty({r, C}, torch::kFloat64);
  const double bound = 1 / std::sqrt(double(C));
  for (int64_t i = 0; i < start.numel(); ++i) start.data_ptr<double>()[i] = random.uniform(-bound, bound);
  a = register_parameter("a", start.to(weight.scalar_type()));
  b = register_parameter("b", torch::zeros({N, r}, weight.scalar_type()));
  if (options.form == TrainForm::Outside) rounded_ = dynamic_affine(weight.detach(), grid);
}

torch::Tensor LowRankCorrection::forward(const torch::Tensor& weight) {
  if (options_.form == TrainForm::Outside) return rounded_ + product();
  return dynamic_affine(merge(weight), grid_);
}

std::shared_ptr<TensorTransform> LowRankCorrection::copy() const {
  auto made = std::make_shared<LowRankCorrection>(torch::zeros({b.size(0), a.size(1)}, a.scalar_type()), options_,
                                                  grid_, Random(0));
  copy_values(*this, *made);
  made->rounded_ = rounded_.defined() ? rounded_.clone() : rounded_;
  return made;
}

}  // namespace quanta
