#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quanta/core/gguf.h"

namespace quanta {

/// The formats in which GGUF files hold weights: plain F32, F16 and BF16, and the block formats Q4_0, Q4_1, Q5_0, Q5_1,
/// Q8_0, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K. In a block format each group of 16 or 32 columns of a row has a scale and an
/// offset, a weight is a code q and stands for scale q + offset. Layouts are ggml's.
bool is_gguf_encodable(GgufType type);
/// Whether it is one of the block formats above.
bool is_gguf_block_format(GgufType type);

/// The values of whole blocks, in their order. Throws Error for a type not listed above (naming it) and for sizes that
/// do not fit.
void decode_gguf(GgufType type, std::span<const std::byte> from, std::span<float> to);
std::vector<float> decode_gguf(GgufType type, std::span<const std::byte> from);

/// Rows of weights [rows, columns] as blocks, rows * gguf_row_bytes(type, columns) bytes. `importance`, if given, holds
/// for each column how much a squared error there counts (the mean square of the input that meets the column).
///
/// Without importance the codes of F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are those of ggml's reference encoders,
/// bit for bit. Otherwise scales and offsets are searched for that make the weighted squared error small, without
/// importance with the weights rms + |x| of the group. Q8_0 takes no notice of importance.
///
/// Throws Error if a row is no whole number of blocks, a weight is not finite or (but for F32 and BF16) beyond 65504,
/// and for importance of another size, negative or not finite.
std::vector<std::byte> encode_gguf(GgufType type, std::span<const float> weights, int64_t columns,
                                   std::span<const float> importance = {});

/// The values that a matrix can take in a block format: scale * q + offset, low <= q <= high. They are computed as
/// decode_gguf() does, so that codes found elsewhere (by GPTQ) are stored without loss.
struct GgufGrid {
  GgufType type{};
  int64_t rows = 0, columns = 0;
  int64_t block = 0;  ///< columns whose constants are chosen together
  int64_t group = 0;  ///< columns that share a scale and an offset; divides block
  int low = 0, high = 0;
  std::vector<float> scale{}, offset{};  ///< [rows, columns / group]
  std::vector<std::byte> bytes{};        ///< the constants as they are stored, among codes that do not matter

  /// All constants 0. Throws Error unless `type` is a block format and columns a whole number of blocks.
  GgufGrid(GgufType type, int64_t rows, int64_t columns);
  /// Constants for columns first ... first + count - 1 (whole blocks) from the weights there, [rows, count] with
  /// `stride` floats from row to row, as encode_gguf() chooses them. `importance`: of these columns.
  void fit(const float* weights, int64_t stride, int64_t first, int64_t count, std::span<const float> importance = {});
};

/// The grid that encode_gguf() finds for weights [rows, columns].
GgufGrid fit_gguf_grid(GgufType type, std::span<const float> weights, int64_t rows, int64_t columns,
                       std::span<const float> importance = {});
/// The blocks of given codes [rows, columns]. Throws Error for a code outside low ... high.
std::vector<std::byte> pack_gguf(const GgufGrid& grid, std::span<const int8_t> codes);
/// The grid and the codes of blocks.
GgufGrid read_gguf_grid(GgufType type, std::span<const std::byte> bytes, int64_t rows, int64_t columns);
std::vector<int8_t> unpack_gguf(GgufType type, std::span<const std::byte> bytes);

}  // namespace quanta
