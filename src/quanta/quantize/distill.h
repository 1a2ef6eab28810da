#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "quanta/nn/network.h"

namespace quanta {

// Data from the network itself: images on which its batch normalizations see the statistics they have stored. ZeroQ
// (Cai et al., arXiv 2001.00281), section 3.1; details where the paper is silent follow its public code.

/// What one batch normalization has stored.
struct BnStatistics {
  std::string name{};
  torch::Tensor mean{};       ///< [channels]
  torch::Tensor deviation{};  ///< [channels]: sqrt(running_var + 1e-6)
};

/// Of every batch normalization, in order. Errors: there is none, one that stores no statistics or statistics that are
/// not finite.
std::vector<BnStatistics> collect_bn_stats(const Network& network);

/// L(x): over the input (mean 0, deviation 1) and every batch normalization's input the sum over channels, averaged
/// over images, of (m - mean)^2 + (s - deviation)^2 with m and s = sqrt(var + 1e-6) an image's own mean and (unbiased)
/// deviation over its pixels; over the whole batch where a map has one pixel. Differentiable in x [B, C, H, W]; the
/// network must be in evaluation mode. `input_term` gets the input's part, if given.
torch::Tensor bn_matching_loss(Network network, const std::vector<BnStatistics>& statistics, const torch::Tensor& x,
                               torch::Tensor* input_term = nullptr);

struct DistillOptions {
  enum class Init {
    UniformSmall,  ///< integers in [0, 254], less 127.5, over 5418.75: almost zero
    Gaussian,      ///< N(0, 1)
  };
  enum class Mode {
    Fixed,  ///< all iterations
    Recon,  ///< learning rate 0.1, stops when L is at most 5 for each term
  };
  int64_t batch = 32;
  int64_t batches = 1;  ///< each from a start of its own
  int iterations = 500;
  double lr = 0.5;
  int patience = 100;    ///< iterations without a better L before the rate falls to a tenth ...
  double min_lr = 1e-4;  ///< ... but not below this
  Init init = Init::UniformSmall;
  Mode mode = Mode::Fixed;
  uint64_t seed = 0;
};

/// The start of batch `index`: [batch, ...shape].
torch::Tensor distill_init(torch::IntArrayRef shape, const DistillOptions& options, int64_t index = 0);

/// Images [batch * batches, C, H, W], shape = {C, H, W}, in the network's normalized input space, found by Adam on L
/// from distill_init(). They are not clamped. The network is not changed: weights and running statistics keep their
/// bits. `history` gets L before each step and at the end (of the first batch). Errors: as collect_bn_stats, training
/// mode, a shape the network cannot take, an L that is not finite.
torch::Tensor distill_data(Network network, torch::IntArrayRef shape, const DistillOptions& options = {},
                           std::vector<double>* history = nullptr);

}  // namespace quanta
