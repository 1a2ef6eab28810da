#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quanta {

/// The layouts of published few-bit checkpoints, and back to plain codes, one a byte, from 0 to 2^bits - 1.
///
/// GPTQ (arXiv 2210.17323 and the checkpoints of its successors). A column of K codes is one little-endian stream of
/// bits: code k at bits bits * k, ..., in 32-bit words. Word r of column n is at [r, n] of `words`
/// [K * bits / 32, N], so that neighbouring outputs are side by side. 2, 3, 4 or 8 bits; with 3 bits, codes 10 and 21
/// of each 32 straddle words.
///
/// Checkpoints store `qweight` [K * bits / 32, N] this way; `qzeros` [G, N * bits / 32] as streams along N of each zero
/// point less one; `scales` [G, N]; and `g_idx` [K], each input's group.

/// codes [N, K] to words [K * bits / 32, N]. Throws Error for codes out of range, and if the last word of a column
/// would not be full (K not a multiple of 32 / bits, or of 32 for 3 bits): pad K.
std::vector<uint32_t> pack_gptq(std::span<const uint8_t> codes, int64_t n, int64_t k, int bits);
/// words [K * bits / 32, N] to codes [N, K].
std::vector<uint8_t> unpack_gptq(std::span<const uint32_t> words, int64_t n, int64_t k, int bits);

/// Zero points [N, G], from 0 to 2^bits - 1, to `qzeros` [G, N * bits / 32], and back. What is stored is
/// (zero - 1) mod 2^bits. N is a multiple as K is above.
std::vector<uint32_t> pack_gptq_zeros(std::span<const float> zeros, int64_t n, int64_t groups, int bits);
std::vector<float> unpack_gptq_zeros(std::span<const uint32_t> words, int64_t n, int64_t groups, int bits);

/// AWQ's layout, 4 bits: words [rows, N / 8] hold eight neighbouring outputs each, nibble i that of output
/// 0, 2, 4, 6, 1, 3, 5, 7. `qweight` has a row for each of the K inputs, `qzeros` for each group, nothing taken off.
/// Returns codes [N, rows].
std::vector<uint8_t> unpack_awq(std::span<const uint32_t> words, int64_t n, int64_t rows);

/// For groups that are not runs of inputs (act-order): the inputs by their group, in their order within each, so that
/// groups become runs of `group` inputs (PackedSource::order). Empty if they are runs already. Throws Error unless
/// every group but the last holds `group` inputs.
std::vector<int32_t> order_of_groups(std::span<const int32_t> group_index, int64_t group);

/// Ternary codes 0, 1, 2, five a byte: t0 + 3 t1 + 9 t2 + 27 t3 + 81 t4 (1.6 bits a code). The last byte is filled with
/// zeros. Throws Error for codes above 2 and, unpacking, bytes above 242.
std::vector<uint8_t> pack_trits(std::span<const uint8_t> codes);
std::vector<uint8_t> unpack_trits(std::span<const uint8_t> packed, size_t count);

}  // namespace quanta
