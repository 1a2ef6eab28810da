#include "quanta/quantize/rounding.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {

torch::Tensor quantize_stochastic(const torch::Tensor& x, const QuantParams& p, const Random& random) {
  require(x.isfinite().all().item<bool>(),
          "NaN or infinite values have no code: look for what went wrong before quantizing");
  constexpr int64_t kBlock = 1 << 14;
  auto noise = torch::empty(x.sizes(), torch::kFloat64);
  double* to = noise.data_ptr<double>();
  parallel_for((x.numel() + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Random draw = random.split(uint64_t(b));
      for (int64_t i = b * kBlock; i < std::min(x.numel(), (b + 1) * kBlock); ++i) to[i] = draw.uniform();
    }
  });
  QuantParams unit = p, step = p;
  unit.scale = torch::ones_like(p.scale, torch::kFloat64);
  step.scale = p.scale.detach().to(torch::kFloat64);
  step.zero_point = torch::zeros_like(p.zero_point);
  const auto ratio = x.detach() / dequantize(torch::ones(x.sizes(), torch::kInt32), step);
  // floor(v + u) is v + u - 1/2 rounded to nearest but where that is a tie, which has no weight.
  return quantize(ratio + noise - 0.5, unit);
}

}  // namespace quanta
