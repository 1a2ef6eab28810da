#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace quanta::lowbit {

// The layout of packed weights, the same for all instruction sets. 32 outputs ("panel") lie side by side, and of each
// four inputs ("quad") in a 32-bit lane: a block has 128 bytes, byte 4 n + i is output n's, input i's of a quad. 32
// inputs ("unit") fill as many blocks as a code has bits:
//   8 bits: a block a quad;
//   4 bits: block j has quad 2 j in its bytes' low halves and quad 2 j + 1 in the high ones;
//   2 bits: block j has quad 4 j + i at bits 2 i, 2 i + 1;
//   3 bits: the lower two bits as two blocks of 2 bits, then a block with quad i's third bit at bit i.
constexpr int kPackedPanel = 32, kUnit = 32, kUnitQuads = 8, kBlock = 128;
constexpr int kPackedBits[] = {2, 3, 4, 8};
constexpr int kUnpackedUnit = kUnitQuads * kBlock;  // bytes of a unit with 8 bits
constexpr int kAheadOfUnit = 256;                   // bytes that a tile fetches ahead for each unit of its own
constexpr int bits_index(int bits) {
  return bits == 8 ? 3 : bits - 2;
}
constexpr size_t unit_bytes(int bits) {
  return size_t(bits) * kBlock;
}

/// What belongs to a panel's groups, from some group on.
struct PanelGroups {
  const void* scales;  // [group][32] half or float
  const void* zeros;   // [group][32] uint8 or float, or null: all `zero`
  bool half_scales, float_zeros;
  int zero;
  int units;  // in a group
};

/// Sums of int8 activations over a group, negative, as the pair that their product with a zero point takes: the upper
/// 16 bits count 128s. Multiplied by (z, 128 z) and added up they are -z * sum.
constexpr int32_t split_sum(int32_t sum) {
  return int32_t(uint32_t(-sum & 127) | uint32_t(-sum >> 7) << 16);
}
constexpr int32_t joined_sum(int32_t pair) {
  return (pair >> 16) * 128 + (pair & 127);
}

/// Rows of activations times a panel's groups: to = from + the product. Activations lie interleaved: [quad][row][4]
/// codes, or [input][row] floats.
struct PackedTile {
  const uint8_t* codes;  // the first group's
  PanelGroups of;
  int groups;
  const void* x;
  const float* x_scales;  // [group][row], of codes
  const void* x_sums;     // [group][row]: split_sum of codes, or sums of floats
  const float* from;
  float* to;
  ptrdiff_t from_stride, to_stride;  // of a row
  int columns;                       // of the panel that exist
  const uint8_t *ahead,
      *ahead_end;  // what the next tile will read, to fetch meanwhile; null: what comes behind `codes`
};

constexpr int kMostPackedRows = 8;
struct PackedKernels {
  const char* target;
  int most_rows;  // of a tile
  /// By bits_index() and rows.
  using Tiles = std::array<std::array<void (*)(const PackedTile&), kMostPackedRows + 1>, 4>;
  Tiles integer, floating;
  /// Float activations [input][row] times numbers [input][32] in place of the tile's codes and activations; by rows.
  std::array<void (*)(const PackedTile&, const float* weights, int64_t inputs, const float* x), kMostPackedRows + 1>
      dense;
  /// Units of codes to units of 8 bits, by bits_index().
  std::array<void (*)(const uint8_t* codes, int64_t units, uint8_t* unpacked), 4> unpack;
  /// Units from `first` on, counted from the groups' first input, to numbers [32 * units][32].
  std::array<void (*)(const uint8_t* codes, const PanelGroups& of, int64_t first, int64_t units, float* weights), 4>
      dequantize;
  /// Row `row` of a tile of `rows`: groups of `group` floats, see Activations::Int8.
  void (*quantize)(const float* x, int64_t groups, int64_t group, int rows, int row, int8_t* codes, float* scales,
                   int32_t* sums);
  /// The sum of memory's 64-bit words, as fast as one thread reads: what benchmarks compare with. A multiple of 1024
  /// bytes.
  uint64_t (*read)(const uint8_t* from, size_t bytes);
};

const PackedKernels& packed_kernels();

}  // namespace quanta::lowbit
