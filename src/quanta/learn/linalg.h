#pragma once

#include <vector>

#include "quanta/learn/samples.h"

// What the learners need of LAPACK.

namespace quanta {

/// The thin singular value decomposition a = u diag(s) vt, s falling; u [rows, r], vt [r, columns],
/// r = min(rows, columns).
struct Svd {
  Samples u;
  std::vector<double> s;
  Samples vt;
};
Svd svd(const Samples& a);

/// x with a x = b for a symmetric positive definite matrix [n, n] and b [n]. Throws Error if it is not definite.
std::vector<double> solve_spd(Samples a, std::vector<double> b);

/// a^T diag(weights) a [columns, columns]; all weights 1 if there are none.
Samples gram(const Samples& a, const std::vector<double>& weights = {});

}  // namespace quanta
