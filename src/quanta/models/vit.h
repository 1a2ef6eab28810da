#pragma once

#include <cstdint>

#include "quanta/nn/network.h"

namespace quanta {

struct VitOptions {
  int64_t input = 32;    ///< height and width of an image
  int64_t channels = 3;  ///< of an image
  int64_t patch = 4;     ///< height and width of a patch; divides input
  int64_t width = 64;    ///< of a token; divisible by heads
  int64_t depth = 3;     ///< transformer blocks
  int64_t heads = 4;
  int64_t mlp = 2;  ///< hidden features of a block's MLP, in widths
  int64_t classes = 10;
  uint64_t seed = 0;  ///< of the start values
};

/// A vision transformer (arXiv 2010.11929) whose classifier sees the mean of the tokens: convolution "patch_embed",
/// "tokens" (learned positions are added), blocks "blocks.0", ... (each normalizes before its attention and its MLP;
/// layers attn.qkv, attn.proj, mlp.fc1, mlp.fc2 as in timm), "norm", linear "head". Images [batch, channels, input,
/// input] -> logits [batch, classes]. Every block is a node with one module, so it is a unit of reconstruction.
Network vit(const VitOptions& options = {});

}  // namespace quanta
