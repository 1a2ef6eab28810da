#include "quanta/quantize/gguf_rule.h"

#include <algorithm>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using torch::Tensor;

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()};
}

Tensor as_tensor(const std::vector<float>& values, int64_t rows) {
  return torch::from_blob(const_cast<float*>(values.data()), {rows, int64_t(values.size()) / rows}).clone();
}

}  // namespace

GgufRule::GgufRule(GgufType type) : type_(type) {
  require(is_gguf_block_format(type), "{} holds no codes in blocks, choose Q4_0, Q4_K, Q6_K or Q8_0",
          gguf_type_name(type));
}

int GgufRule::bits() const {
  const GgufGrid empty(type_, 1, span());
  int bits = 0;
  while ((1 << bits) <= empty.high - empty.low) ++bits;
  return bits;
}

GgufGrid GgufRule::grid(const Tensor& w) const {
  const Tensor whole = w.to(torch::kFloat32).contiguous();
  return fit_gguf_grid(type_, {whole.data_ptr<float>(), size_t(whole.numel())}, w.size(0), w.size(1));
}

RowGrid GgufRule::fit(const Tensor& w) const {
  const GgufGrid g = grid(w);
  const Tensor scale = as_tensor(g.scale, g.rows);
  return {.group = g.group,
          .levels = g.high - g.low + 1,
          .scale = scale,
          .zero = torch::full_like(scale, double(-g.low)),
          .offset = as_tensor(g.offset, g.rows)};
}

Tensor GgufRule::pack(const Tensor& w, const Tensor& codes) const {
  const GgufGrid g = grid(w);
  const Tensor shifted = (codes.to(torch::kInt16) + g.low).to(torch::kInt8).contiguous();
  const auto bytes = pack_gguf(g, {shifted.data_ptr<int8_t>(), size_t(shifted.numel())});
  return torch::from_blob(const_cast<std::byte*>(bytes.data()), {g.rows, int64_t(bytes.size()) / g.rows}, torch::kUInt8)
      .clone();
}

Tensor GgufRule::unpack(const Tensor& bytes) const {
  const Tensor whole = bytes.contiguous();
  return as_tensor(decode_gguf(type_, bytes_of(whole)), bytes.size(0));
}

}  // namespace quanta
