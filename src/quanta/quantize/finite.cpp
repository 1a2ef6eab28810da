#include "quanta/quantize/finite.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "quanta/core/parallel.h"
#include "quanta/quantize/grid.h"

namespace quanta {
namespace {

template <class T>
bool check(const torch::Tensor& x) {
  constexpr int64_t kChunk = 1 << 16;
  const T* data = x.data_ptr<T>();
  const int64_t n = x.numel();
  std::atomic<bool> finite = true;
  parallel_for((n + kChunk - 1) / kChunk, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const auto range = grid::loops<T>().extremes(data + chunk * kChunk, size_t(std::min(kChunk, n - chunk * kChunk)));
      if (!std::isfinite(range.low) || !std::isfinite(range.high)) finite = false;
    }
  });
  return finite;
}

}  // namespace

bool all_finite(const torch::Tensor& x) {
  const auto dense = x.detach().contiguous();
  return dense.scalar_type() == torch::kFloat64 ? check<double>(dense) : check<float>(dense);
}

}  // namespace quanta
