#pragma once

#include <torch/torch.h>

#include "quanta/lowbit/gguf_blocks.h"
#include "quanta/quantize/affine_grid.h"

namespace quanta {

/// The grids of a GGUF block format, so that solvers find codes for the very levels that the file will have.
class GgufRule : public GridRule {
 public:
  /// Error for a type that is no block format.
  explicit GgufRule(GgufType type);
  RowGrid fit(const torch::Tensor& w) const override;
  int64_t span() const override { return gguf_block_size(type_); }
  std::string describe() const override { return std::string(gguf_type_name(type_)); }
  GgufType type() const { return type_; }
  int bits() const;  ///< of a code

  /// The file's bytes, uint8 [N, row bytes], of codes on fit(w)'s grid.
  torch::Tensor pack(const torch::Tensor& w, const torch::Tensor& codes) const;
  /// The weights [N, K] that such bytes stand for, bit for bit those of fit(w) and the codes.
  torch::Tensor unpack(const torch::Tensor& bytes) const;

 private:
  GgufGrid grid(const torch::Tensor& w) const;

  GgufType type_;
};

}  // namespace quanta
