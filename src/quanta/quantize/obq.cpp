#include "quanta/quantize/obq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/inverse_factor.h"

namespace quanta {

GptqResult obq(const torch::Tensor& w, const torch::Tensor& h, const GridRule& rule, double damping) {
  require(w.dim() == 2 && h.dim() == 2 && h.size(0) == w.size(1), "a Hessian [{}] does not fit a weight [{}]",
          fmt::join(h.sizes(), ", "), fmt::join(w.sizes(), ", "));
  const int64_t rows = w.size(0), n = w.size(1);
  const auto factor = inverse_factor(h.to(torch::kFloat64), damping, 0);
  require(factor.alone.empty(), "the Hessian is not positive definite at column {}: raise the damping",
          factor.alone.empty() ? 0 : factor.alone.front());
  const auto inverse = factor.u.t().matmul(factor.u).contiguous();

  const auto weight = w.detach().to(torch::kFloat64).contiguous();
  GptqResult result;
  result.grid = rule.fit(weight);
  result.damping = factor.damping;
  result.codes = torch::empty({rows, n}, torch::kUInt8);
  result.weight = torch::empty_like(weight);
  result.row_loss = torch::zeros({rows}, torch::kFloat64);
  // Every level of every group: [N, groups, levels].
  std::vector<torch::Tensor> each;
  for (int code = 0; code < result.grid.levels; ++code) {
    const auto one = torch::full(result.grid.scale.sizes(), code, torch::kUInt8);
    each.push_back(dequantize(one, result.grid, torch::arange(result.grid.scale.size(1))));
  }
  const auto levels = torch::stack(each, 2).contiguous();

  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> x(static_cast<size_t>(n)), hinv(static_cast<size_t>(n * n));
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(weight.data_ptr<double>() + row * n, n, x.data());
      std::copy_n(inverse.data_ptr<double>(), n * n, hinv.data());
      std::vector<char> rounded(x.size());
      const auto levels_of = [&](int64_t j) {
        return levels.data_ptr<double>() + (row * levels.size(1) + j / result.grid.group) * result.grid.levels;
      };
      const auto nearest = [&](int64_t j) {  // the code
        const double* of = levels_of(j);
        return std::min_element(
                   of, of + result.grid.levels,
                   [&](double a, double b) { return std::abs(a - x[size_t(j)]) < std::abs(b - x[size_t(j)]); }) -
               of;
      };
      for (int64_t step = 0; step < n; ++step) {
        int64_t best = -1;
        double least = std::numeric_limits<double>::infinity(), error = 0;
        for (int64_t j = 0; j < n; ++j) {
          if (rounded[size_t(j)]) continue;
          const double d = x[size_t(j)] - levels_of(j)[nearest(j)], cost = d * d / hinv[size_t(j * n + j)];
          if (cost < least) least = cost, best = j, error = d;
        }
        const double pivot = hinv[size_t(best * n + best)];
        const int64_t code = nearest(best);
        rounded[size_t(best)] = true;
        result.codes.data_ptr<uint8_t>()[row * n + best] = uint8_t(code);
        result.weight.data_ptr<double>()[row * n + best] = levels_of(best)[code];
        result.row_loss.data_ptr<double>()[row] += error * error / pivot;
        const std::vector<double> column(hinv.begin() + best * n, hinv.begin() + (best + 1) * n);
        for (int64_t k = 0; k < n; ++k) {
          x[size_t(k)] -= error / pivot * column[size_t(k)];
          for (int64_t l = 0; l < n; ++l) hinv[size_t(k * n + l)] -= column[size_t(k)] * column[size_t(l)] / pivot;
        }
      }
    }
  });
  result.loss = result.row_loss.sum().item<double>();
  return result;
}

}  // namespace quanta
