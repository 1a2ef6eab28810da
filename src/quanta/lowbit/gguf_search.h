#pragma once

#include <cstdint>

namespace quanta::lowbit {

/// Sixteen groups of up to 32 weights side by side, so that a vector's lanes work on one group each and nothing is
/// summed across lanes. A group's codes q stand for scale q + offset.
struct GgufTile {
  static constexpr int kGroups = 16, kLongest = 32;
  alignas(64) float x[kLongest][kGroups];
  alignas(64) float weight[kLongest][kGroups];  ///< of the squared error
  alignas(64) float scale[kGroups], offset[kGroups];
  alignas(64) int8_t code[kLongest][kGroups];
};

/// What the encoders do with a tile whose groups have n weights; compiled for each instruction set.
struct GgufKernels {
  /// The definitions of Q4_0 and Q5_0 (codes -levels to levels - 1), of Q4_1 and Q5_1 (0 to high) and of Q8_0: scale,
  /// offset and codes. Weights do not matter.
  void (*by_largest)(GgufTile& tile, int n, int levels);
  void (*by_range)(GgufTile& tile, int n, int high);
  void (*by_magnitude)(GgufTile& tile, int n);

  /// Scale (and offset, which is not positive if `negative`) of small weighted squared error for codes 0 to high, and
  /// for codes -levels to levels - 1 without offset: codes of 21 trial scales, each followed by the best scale and
  /// offset for these codes; then the same again from the best.
  void (*fit_affine)(GgufTile& tile, int n, int high, bool negative);
  void (*fit_symmetric)(GgufTile& tile, int n, int levels);

  /// The weighted squared error of every group with its nearest codes, and these codes.
  void (*measure)(const GgufTile& tile, int n, int low, int high, float* error);
  void (*round)(GgufTile& tile, int n, int low, int high);
};

/// Those of the best instruction set that this processor has.
const GgufKernels& gguf_kernels();

}  // namespace quanta::lowbit
