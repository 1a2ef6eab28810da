#include "quanta/lowbit/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/half.h"
#include "quanta/core/parallel.h"
#include "quanta/lowbit/packed_kernels.h"

namespace quanta {

using namespace lowbit;

namespace {

constexpr int64_t kLongestGroup = 32768;  // 255 * 127 * this, and split_sum, stay within their integers

int64_t padded(int64_t count, int64_t to) {
  return (count + to - 1) / to * to;
}

/// Where a code is in its unit (packed_kernels.h): calls f(byte, shift, bits of the code that lie there, from which
/// on).
template <class F>
void for_each_part(int bits, int output, int input, const F& f) {
  const int q = input / 4, byte = 4 * output + input % 4;
  const auto part = [&](int block, int shift, int count, int from) { f(block * kBlock + byte, shift, count, from); };
  if (bits == 8) part(q, 0, 8, 0);
  if (bits == 4) part(q / 2, 4 * (q % 2), 4, 0);
  if (bits <= 3) part(q / 4, 2 * (q % 4), 2, 0);
  if (bits == 3) part(2, q, 1, 2);
}

/// Values [outputs, groups] as [panel][group][32], the rest `fill`.
template <class T, class Convert>
AlignedVector<T> by_panel(std::span<const float> values, int64_t outputs, int64_t groups, T fill, const Convert& to) {
  AlignedVector<T> made(size_t(padded(outputs, kPackedPanel) * groups), fill);
  for (int64_t n = 0; n < outputs; ++n)
    for (int64_t g = 0; g < groups; ++g)
      made[size_t((n / kPackedPanel * groups + g) * kPackedPanel + n % kPackedPanel)] =
          to(values[size_t(n * groups + g)]);
  return made;
}

}  // namespace

PackedMatrix::PackedMatrix(const PackedSource& source)
    : outputs_(source.outputs), inputs_(source.inputs), bits_(source.bits), group_(source.group) {
  const auto& s = source;
  require(bits_ == 2 || bits_ == 3 || bits_ == 4 || bits_ == 8, "packed weights have 2, 3, 4 or 8 bits, got {}", bits_);
  require(outputs_ >= 1 && inputs_ >= 1, "a packed matrix needs at least one output and one input, got {} and {}",
          outputs_, inputs_);
  require(group_ >= 0 && group_ % kUnit == 0,
          "a group of packed weights must be a multiple of 32 inputs, or 0 for all of them, got {}", group_);
  run_ = group_ == 0 ? padded(inputs_, kUnit) : group_;
  require(run_ <= kLongestGroup, "a group of {} inputs is too long, at most {} are possible: choose a smaller group",
          run_, kLongestGroup);
  padded_ = s.groups() * run_;
  const auto expect = [](const char* what, size_t got, int64_t expected, bool optional) {
    require(int64_t(got) == expected || (optional && got == 0), "{} {} were expected for packed weights, got {}",
            expected, what, got);
  };
  expect("codes", s.codes.size(), outputs_ * inputs_, false);
  expect("scales", s.scales.size(), outputs_ * groups(), false);
  expect("zero points", s.zeros.size(), outputs_ * groups(), true);
  expect("biases", s.bias.size(), outputs_, true);
  expect("places of an order", s.order.size(), inputs_, true);
  const auto finite = [](const char* what, std::span<const float> values) {
    const auto at = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
    require(at == values.end(), "{} {} of packed weights is not finite", what, at - values.begin());
  };
  finite("scale", s.scales);
  finite("zero point", s.zeros);
  const auto highest = std::ranges::max(s.codes);
  require(highest < 1 << bits_, "a code of {} bits must lie from 0 to {}, got {}", bits_, (1 << bits_) - 1, highest);
  std::vector<bool> seen(s.order.size());
  for (const int32_t k : s.order) {
    require(k >= 0 && k < inputs_ && !seen[size_t(k)],
            "the order of inputs must be a permutation of 0 to {}, but {} {}", inputs_ - 1, k,
            k >= 0 && k < inputs_ ? "comes twice" : "is in it");
    seen[size_t(k)] = true;
  }
  order_.assign(s.order.begin(), s.order.end());

  const auto is_half = [](float v) { return half_to_float(float_to_half(v)) == v; };
  if (std::ranges::all_of(s.scales, is_half))
    half_scales_ = by_panel<uint16_t>(s.scales, outputs_, groups(), 0, float_to_half);
  else
    scales_ = by_panel<float>(s.scales, outputs_, groups(), 0, std::identity());
  const auto middle = float(1 << (bits_ - 1));
  const auto is_byte = [](float v) { return v >= 0 && v <= 255 && v == std::floor(v); };
  if (std::ranges::all_of(s.zeros, is_byte)) {
    if (!std::ranges::all_of(s.zeros, [&](float v) { return v == middle; }))
      zeros_ = by_panel<uint8_t>(s.zeros, outputs_, groups(), 0, [](float v) { return uint8_t(v); });
  } else {
    float_zeros_ = by_panel<float>(s.zeros, outputs_, groups(), 0, std::identity());
  }
  if (!s.bias.empty()) bias_ = by_panel<float>(s.bias, outputs_, 1, 0, std::identity());

  const int64_t panel_bytes = padded_ / kUnit * int64_t(unit_bytes(bits_));
  codes_.resize(size_t(panels() * panel_bytes));
  parallel_for(panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin * kPackedPanel; n < std::min(end * kPackedPanel, outputs_); ++n)
      for (int64_t k = 0; k < inputs_; ++k) {
        uint8_t* unit = codes_.data() + n / kPackedPanel * panel_bytes + k / kUnit * int64_t(unit_bytes(bits_));
        const int code = s.codes[size_t(n * inputs_ + k)];
        for_each_part(bits_, int(n % kPackedPanel), int(k % kUnit), [&](int byte, int shift, int count, int from) {
          unit[byte] |= uint8_t((code >> from & ((1 << count) - 1)) << shift);
        });
      }
  });
}

int64_t PackedMatrix::panels() const {
  return padded(outputs_, kPackedPanel) / kPackedPanel;
}

size_t PackedMatrix::weight_bytes() const {
  return codes_.size() + half_scales_.size() * 2 + scales_.size() * 4 + zeros_.size() + float_zeros_.size() * 4;
}

size_t PackedMatrix::bytes() const {
  return weight_bytes() + bias_.size() * 4 + order_.size() * 4;
}

PackedMatrix::Parts PackedMatrix::unpack() const {
  Parts parts;
  const int64_t panel_bytes = padded_ / kUnit * int64_t(unit_bytes(bits_));
  parts.codes.resize(size_t(outputs_ * inputs_));
  for (int64_t n = 0; n < outputs_; ++n)
    for (int64_t k = 0; k < inputs_; ++k) {
      const uint8_t* unit = codes_.data() + n / kPackedPanel * panel_bytes + k / kUnit * int64_t(unit_bytes(bits_));
      int code = 0;
      for_each_part(bits_, int(n % kPackedPanel), int(k % kUnit), [&](int byte, int shift, int count, int from) {
        code |= (unit[byte] >> shift & ((1 << count) - 1)) << from;
      });
      parts.codes[size_t(n * inputs_ + k)] = uint8_t(code);
    }
  const auto by_row = [&](int64_t groups, const auto& value) {
    std::vector<float> made(size_t(outputs_ * groups));
    for (int64_t n = 0; n < outputs_; ++n)
      for (int64_t g = 0; g < groups; ++g)
        made[size_t(n * groups + g)] = value(size_t((n / kPackedPanel * groups + g) * kPackedPanel + n % kPackedPanel));
    return made;
  };
  parts.scales =
      by_row(groups(), [&](size_t at) { return scales_.empty() ? half_to_float(half_scales_[at]) : scales_[at]; });
  if (!zeros_.empty() || !float_zeros_.empty())
    parts.zeros = by_row(groups(), [&](size_t at) { return zeros_.empty() ? float_zeros_[at] : float(zeros_[at]); });
  if (!bias_.empty()) parts.bias = by_row(1, [&](size_t at) { return bias_[at]; });
  parts.order = order_;
  return parts;
}

std::vector<float> PackedMatrix::dequantize() const {
  const Parts parts = unpack();
  std::vector<float> weights(size_t(outputs_ * inputs_));
  for (int64_t n = 0; n < outputs_; ++n)
    for (int64_t k = 0; k < inputs_; ++k) {
      const size_t group = size_t(n * groups() + k / run_);
      const float zero = parts.zeros.empty() ? float(1 << (bits_ - 1)) : parts.zeros[group];
      weights[size_t(n * inputs_ + (order_.empty() ? k : order_[size_t(k)]))] =
          parts.scales[group] * (float(parts.codes[size_t(n * inputs_ + k)]) - zero);
    }
  return weights;
}

// --- products --------------------------------------------------------------------------------------------------------

namespace {

/// Rows of activations as the kernels read them, tile by tile. Memory stays for the thread's next call.
struct Interleaved {
  AlignedVector<int8_t> codes;  // [tile][quad][row][4], or
  AlignedVector<float> values;  // [tile][input][row]
  AlignedVector<float> scales;  // [tile][group][row]
  AlignedVector<int32_t> sums;  // [tile][group][row], or
  AlignedVector<float> value_sums;
};

/// Calls body(i) for i from 0 to count - 1, `grain` following ones by one thread, which then takes the next that are
/// left: a thread that is kept from its processor holds up nobody.
void share_out(int64_t count, int64_t grain, const std::function<void(int64_t)>& body) {
  const int64_t blocks = (count + grain - 1) / grain;
  std::atomic<int64_t> next = 0;
  parallel_for(std::min<int64_t>(threads(), blocks), 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t block; (block = next.fetch_add(1, std::memory_order_relaxed)) < blocks;)
        for (int64_t i = block * grain; i < std::min(count, (block + 1) * grain); ++i) body(i);
  });
}

constexpr int64_t kChunk = 512;       // inputs of a panel that are unpacked at a time: 16 KB of codes
constexpr int64_t kDenseChunk = 256;  // the same for numbers: 32 KB
constexpr float kNoBias[kPackedPanel] = {};

}  // namespace

void PackedMatrix::multiply(const float* x, int64_t rows, float* y, Activations activations) const {
  require(rows >= 0, "a product needs a number of rows that is not negative, got {}", rows);
  if (rows == 0) return;
  const PackedKernels& kernels = packed_kernels();
  const bool integer = activations == Activations::Int8;
  const int64_t tiles = (rows + kernels.most_rows - 1) / kernels.most_rows, groups = this->groups();
  const auto first_row = [&](int64_t tile) { return rows * tile / tiles; };

  thread_local Interleaved memory;
  Interleaved& in = memory;
  if (integer) {
    reserve(in.codes, size_t(rows * padded_));
    reserve(in.scales, size_t(rows * groups));
    reserve(in.sums, size_t(rows * groups));
  } else {
    reserve(in.values, size_t(rows * padded_));
    reserve(in.value_sums, size_t(rows * groups));
  }
  const auto interleave = [&](int64_t tile) {
    thread_local AlignedVector<float> ordered;
    const int64_t first = first_row(tile);
    const int count = int(first_row(tile + 1) - first);
    for (int r = 0; r < count; ++r) {
      const float* row = x + (first + r) * inputs_;
      if (!order_.empty() || padded_ != inputs_) {
        float* to = reserve(ordered, size_t(padded_));
        for (int64_t k = 0; k < inputs_; ++k) to[k] = row[order_.empty() ? k : order_[size_t(k)]];
        std::fill(to + inputs_, to + padded_, 0.0f);
        row = to;
      }
      if (integer) {
        kernels.quantize(row, groups, run_, count, r, in.codes.data() + first * padded_,
                         in.scales.data() + first * groups, in.sums.data() + first * groups);
      } else {
        float *to = in.values.data() + first * padded_ + r, *sum = in.value_sums.data() + first * groups + r;
        for (int64_t g = 0; g < groups; ++g, sum += count) {
          double total = 0;
          for (int64_t k = g * run_; k < (g + 1) * run_; ++k, to += count) total += * to = row[k];
          *sum = float(total);
        }
      }
    }
  };
  if (tiles < 4)
    for (int64_t tile = 0; tile < tiles; ++tile) interleave(tile);
  else
    share_out(tiles, 4, interleave);

  const int64_t panel_bytes = padded_ / kUnit * int64_t(unit_bytes(bits_));
  const int bits = bits_index(bits_);
  const auto panel_groups = [&](int64_t panel, int64_t group) {
    const size_t at = size_t((panel * groups + group) * kPackedPanel);
    return PanelGroups{
        .scales = scales_.empty() ? static_cast<const void*>(half_scales_.data() + at) : scales_.data() + at,
        .zeros = !zeros_.empty()         ? static_cast<const void*>(zeros_.data() + at)
                 : !float_zeros_.empty() ? float_zeros_.data() + at
                                         : nullptr,
        .half_scales = scales_.empty(),
        .float_zeros = !float_zeros_.empty(),
        .zero = 1 << (bits_ - 1),
        .units = int(run_ / kUnit)};
  };
  const auto multiply_panel = [&](int64_t panel) {
    const int64_t n = panel * kPackedPanel;
    const int columns = int(std::min<int64_t>(kPackedPanel, outputs_ - n));
    const float* start = bias_.empty() ? kNoBias : bias_.data() + n;
    const uint8_t* codes = codes_.data() + panel * panel_bytes;
    const auto packed_tile = [&](int64_t tile, int64_t group, int64_t count) {
      const int64_t first = first_row(tile), each = first_row(tile + 1) - first;
      const int64_t at = first * padded_ + group * run_ * each, at_group = first * groups + group * each;
      return PackedTile{
          .codes = codes,
          .of = panel_groups(panel, group),
          .groups = int(count),
          .x = integer ? static_cast<const void*>(in.codes.data() + at) : in.values.data() + at,
          .x_scales = in.scales.data() + (integer ? at_group : 0),
          .x_sums = integer ? static_cast<const void*>(in.sums.data() + at_group) : in.value_sums.data() + at_group,
          .start = group == 0 ? start : nullptr,
          .y = y + first * outputs_ + n,
          .y_stride = outputs_,
          .columns = columns,
          .ahead = nullptr,
          .ahead_end = nullptr};
    };
    if (tiles == 1) {
      (integer ? kernels.integer : kernels.floating)[size_t(bits)][size_t(rows)](packed_tile(0, 0, groups));
      return;
    }
    // A part of the panel is unpacked once and meets all rows; its successor is fetched meanwhile.
    thread_local AlignedVector<uint8_t> unpacked;
    thread_local AlignedVector<float> weights;
    const int64_t chunk = integer ? std::max(kChunk / run_, int64_t{1}) * run_ : kDenseChunk;
    for (int64_t k = 0; k < padded_; k += chunk) {
      const int64_t inputs = std::min(chunk, padded_ - k), units = inputs / kUnit;
      const uint8_t* part = codes + k / kUnit * int64_t(unit_bytes(bits_));
      const uint8_t* ahead = part + units * int64_t(unit_bytes(bits_));
      const uint8_t* ahead_end = ahead + units * int64_t(unit_bytes(bits_));
      if (integer) {
        const uint8_t* bytes = part;
        if (bits_ != 8) {
          kernels.unpack[size_t(bits)](part, units, reserve(unpacked, size_t(units * kUnpackedUnit)));
          bytes = unpacked.data();
        }
        for (int64_t tile = 0; tile < tiles; ++tile) {
          PackedTile t = packed_tile(tile, k / run_, inputs / run_);
          t.codes = bytes;
          t.ahead = ahead;
          t.ahead_end = ahead_end;
          kernels.integer[size_t(bits_index(8))][size_t(first_row(tile + 1) - first_row(tile))](t);
          ahead = std::min(ahead_end, ahead + units * 256);
        }
      } else {
        kernels.dequantize[size_t(bits)](part, panel_groups(panel, 0), k / kUnit, units,
                                         reserve(weights, size_t(inputs * kPackedPanel)));
        for (int64_t tile = 0; tile < tiles; ++tile) {
          const int64_t first = first_row(tile), each = first_row(tile + 1) - first;
          kernels.dense[size_t(each)]({.weights = weights.data(),
                                       .inputs = inputs,
                                       .x = in.values.data() + first * padded_ + k * each,
                                       .start = k == 0 ? start : nullptr,
                                       .y = y + first * outputs_ + n,
                                       .y_stride = outputs_,
                                       .columns = columns,
                                       .ahead = ahead,
                                       .ahead_end = ahead_end});
          ahead = std::min(ahead_end, ahead + units * 256);
        }
      }
    }
  };
  share_out(panels(), 4, multiply_panel);
}

}  // namespace quanta
