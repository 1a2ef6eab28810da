#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "quanta/quantize/gptq.h"

namespace quanta {

/// E8P, the 8-dimensional grid of 2 bits a weight of QuIP# (arXiv 2402.04396): 65,536 points of a shifted E8 lattice.
/// A point is an absolute pattern, one of 256 (the 227 vectors of odd halves with a squared norm of at most 10 and 29
/// of norm 12), with signs such that the sum is even, plus 1/4 or minus 1/4 in all coordinates. Its index has the
/// pattern in bits 8 to 15, the signs of coordinates 0 to 6 in bits 1 to 7 (the last sign follows) and the shift in bit
/// 0.
constexpr int64_t kE8pSize = 8;
torch::Tensor e8p_patterns();  ///< [256, 8] float32
torch::Tensor e8p_points();    ///< [65536, 8] float32

/// The nearest points of x [..., 8 n]: indices int32 [..., n], and back (float32). A tie goes to the lower pattern, and
/// to +1/4.
torch::Tensor e8p_encode(const torch::Tensor& x);
torch::Tensor e8p_decode(const torch::Tensor& indices);

struct LdlqOptions {
  double damping = 0.01;  ///< lambda over the mean of H's diagonal, doubled until H + lambda I is positive definite
  int sweeps = 10;        ///< over all blocks after the feedback, each to the point that is best with the others fixed
  double fill = 0.9;      ///< scale = rms(W) / fill
};

/// Rounds W [N, K] to E8P times one scale, in blocks of 8 columns from the last to the first with the feedback of the
/// block factors H = L D L', then in sweeps (arXiv 2402.04396, section 4). The result's grid is the set of levels that
/// coordinates of E8P have, 12 half a scale apart: its codes take 4 bits, e8p_encode(weight / scale) 2 bits a weight.
/// H undefined: the nearest points. Errors: K that is no multiple of 8, NaN or infinity, H never positive definite.
GptqResult ldlq_e8p(const torch::Tensor& w, const torch::Tensor& h, const LdlqOptions& options = {});

}  // namespace quanta
