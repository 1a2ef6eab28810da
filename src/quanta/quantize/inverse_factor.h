#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace quanta {

/// U [K, K], upper triangular, with U' U = (H + lambda I)^-1.
struct InverseFactor {
  torch::Tensor u{};
  double damping = 0;  ///< lambda over the mean of H's diagonal
  /// Columns at which H + lambda I with the damping asked for is not positive definite; ascending.
  std::vector<int64_t> troubled{};
  /// All of these if raising the damping did not mend it, else none: each is treated as if nothing were correlated with
  /// it (its row and column of U hold the diagonal only).
  std::vector<int64_t> alone{};
};

/// The factor that GPTQ (arXiv 2210.17323, section 3.3) walks along. H is symmetric (the lower triangle is read),
/// float32 or float64. Where H + lambda I, lambda = damping mean(diag H), is not positive definite, lambda is doubled
/// up to `raises` times (from 0 it goes to 1 % of the mean); columns that then still spoil it are left alone. So there
/// is a factor for every H of numbers. The result does not depend on the number of threads.
///
/// One Cholesky factorization L L' of H with its indices reversed, together with L^-1: reversed again, that is U.
InverseFactor inverse_factor(const torch::Tensor& h, double damping = 0.01, int raises = 6);

}  // namespace quanta
