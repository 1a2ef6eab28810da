#include "quanta/lowbit/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

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

/// 32 codes of an output to its place in a unit (packed_kernels.h), four at a time, and back.
void pack_unit(const uint8_t* codes, int bits, uint8_t* unit) {
  uint32_t quad[kUnitQuads];
  std::memcpy(quad, codes, sizeof(quad));
  const auto put = [&](int block, uint32_t four) { std::memcpy(unit + block * kBlock, &four, 4); };
  if (bits == 8)
    for (int q = 0; q < 8; ++q) put(q, quad[q]);
  if (bits == 4)
    for (int j = 0; j < 4; ++j) put(j, quad[2 * j] | quad[2 * j + 1] << 4);
  if (bits > 3) return;
  uint32_t low[2] = {}, high = 0;
  for (int q = 0; q < 8; ++q) {
    low[q / 4] |= (quad[q] & 0x03030303) << 2 * (q % 4);
    high |= (quad[q] >> 2 & 0x01010101) << q;
  }
  put(0, low[0]);
  put(1, low[1]);
  if (bits == 3) put(2, high);
}
void unpack_unit(const uint8_t* unit, int bits, uint8_t* codes) {
  uint32_t block[kUnitQuads] = {}, quad[kUnitQuads];
  for (int j = 0; j < bits; ++j) std::memcpy(&block[j], unit + j * kBlock, 4);
  for (int q = 0; q < 8; ++q) {
    const uint32_t low = block[q / 4] >> 2 * (q % 4) & 0x03030303;
    quad[q] = bits == 8   ? block[q]
              : bits == 4 ? block[q / 2] >> 4 * (q % 2) & 0x0F0F0F0F
              : bits == 3 ? low | (block[2] >> q & 0x01010101) << 2
                          : low;
  }
  std::memcpy(codes, quad, sizeof(quad));
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

  codes_.resize(size_t(panels() * panel_bytes()));
  parallel_for(panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin * kPackedPanel; n < std::min(end * kPackedPanel, outputs_); ++n)
      for (int64_t k = 0; k < inputs_; k += kUnit) {
        uint8_t codes[kUnit] = {};
        std::memcpy(codes, s.codes.data() + n * inputs_ + k, size_t(std::min<int64_t>(kUnit, inputs_ - k)));
        pack_unit(codes, bits_, codes_.data() + unit_at(n, k));
      }
  });
}

size_t PackedMatrix::unit_at(int64_t n, int64_t k) const {
  return size_t(n / kPackedPanel * panel_bytes() + k / kUnit * int64_t(unit_bytes(bits_)) + n % kPackedPanel * 4);
}

int64_t PackedMatrix::panel_bytes() const {
  return padded_ / kUnit * int64_t(unit_bytes(bits_));
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
  parts.codes.resize(size_t(outputs_ * inputs_));
  for (int64_t n = 0; n < outputs_; ++n)
    for (int64_t k = 0; k < inputs_; k += kUnit) {
      uint8_t codes[kUnit];
      unpack_unit(codes_.data() + unit_at(n, k), bits_, codes);
      std::memcpy(parts.codes.data() + n * inputs_ + k, codes, size_t(std::min<int64_t>(kUnit, inputs_ - k)));
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

constexpr int64_t kChunk = 1024;                   // inputs of a panel that are unpacked at a time: 32 KB of codes
constexpr int64_t kDenseChunk = 256;               // the same for numbers: 32 KB
constexpr int64_t kTogether = 4;                   // panels that a chunk of activations meets before the next chunk
constexpr int64_t kCachedActivations = 512 << 10;  // of such a chunk, in all rows: stays in the second-level cache
constexpr int64_t kMostBlock = 512;                // rows that are taken together
constexpr float kNoBias[kPackedPanel] = {};

}  // namespace

int64_t PackedMatrix::chunk(Activations activations) const {
  return activations == Activations::Int8 ? std::max(kChunk / run_, int64_t{1}) * run_ : kDenseChunk;
}

void PackedMatrix::multiply(const float* x, int64_t rows, float* y, Activations activations) const {
  require(rows >= 0, "a product needs a number of rows that is not negative, got {}", rows);
  const int64_t block =
      std::clamp<int64_t>(kCachedActivations / chunk(activations), 64, kMostBlock) / 8 * 8;  // full tiles
  for (int64_t row = 0; row < rows; row += block)
    multiply_block(x + row * inputs_, std::min(block, rows - row), y + row * outputs_, activations);
}

void PackedMatrix::multiply_block(const float* x, int64_t rows, float* y, Activations activations) const {
  const PackedKernels& kernels = packed_kernels();
  const bool integer = activations == Activations::Int8;
  const int64_t tiles = (rows + kernels.most_rows - 1) / kernels.most_rows, groups = this->groups();
  int64_t first_rows[kMostBlock + 1];
  for (int64_t tile = 0; tile <= tiles; ++tile) first_rows[tile] = rows * tile / tiles;
  const auto first_row = [&](int64_t tile) { return first_rows[tile]; };

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
  const auto packed_tile = [&](int64_t panel, int64_t tile, int64_t group, int64_t count) {
    const int64_t first = first_row(tile), each = first_row(tile + 1) - first, n = panel * kPackedPanel;
    const int64_t at = first * padded_ + group * run_ * each, at_group = first * groups + group * each;
    return PackedTile{
        .codes = codes_.data() + unit_at(n, group * run_),
        .of = panel_groups(panel, group),
        .groups = int(count),
        .x = integer ? static_cast<const void*>(in.codes.data() + at) : in.values.data() + at,
        .x_scales = in.scales.data() + (integer ? at_group : 0),
        .x_sums = integer ? static_cast<const void*>(in.sums.data() + at_group) : in.value_sums.data() + at_group,
        .from = bias_.empty() ? kNoBias : bias_.data() + n,
        .to = y + first * outputs_ + n,
        .from_stride = 0,
        .to_stride = outputs_,
        .columns = int(std::min<int64_t>(kPackedPanel, outputs_ - n)),
        .ahead = nullptr,
        .ahead_end = nullptr};
  };
  if (tiles == 1) {
    const auto multiply = (integer ? kernels.integer : kernels.floating)[size_t(bits)][size_t(rows)];
    share_out(panels(), kTogether, [&](int64_t panel) { multiply(packed_tile(panel, 0, 0, groups)); });
    return;
  }
  // A chunk of a panel is unpacked once and meets all rows; its successor is fetched meanwhile. Sums on the way lie
  // close together: rows of y may be a power of two apart, which caches hold badly.
  const int64_t chunk = this->chunk(activations);
  const auto multiply_chunk = [&](int64_t panel, int64_t k, float* sums) {
    thread_local AlignedVector<uint8_t> unpacked;
    thread_local AlignedVector<float> weights;
    const int64_t inputs = std::min(chunk, padded_ - k), units = inputs / kUnit;
    const int64_t bytes = units * int64_t(unit_bytes(bits_));
    const uint8_t *part = codes_.data() + unit_at(panel * kPackedPanel, k), *ahead = part + bytes;
    if (!integer) {
      kernels.dequantize[size_t(bits)](part, panel_groups(panel, 0), k / kUnit, units,
                                       reserve(weights, size_t(inputs * kPackedPanel)));
    } else if (bits_ != 8) {
      kernels.unpack[size_t(bits)](part, units, reserve(unpacked, size_t(units * kUnpackedUnit)));
      part = unpacked.data();
    }
    const uint8_t* ahead_end = ahead + bytes;
    PackedTile t = packed_tile(panel, 0, integer ? k / run_ : 0, integer ? inputs / run_ : 0);
    if (integer) t.codes = part;
    if (k > 0) t.from_stride = kPackedPanel;
    const bool last = k + inputs == padded_;
    if (!last) {
      t.to_stride = kPackedPanel;
      t.columns = kPackedPanel;
    }
    t.ahead_end = ahead_end;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = first_row(tile), each = first_row(tile + 1) - first;
      if (k > 0) t.from = sums + first * kPackedPanel;
      t.to = last ? y + first * outputs_ + panel * kPackedPanel : sums + first * kPackedPanel;
      t.ahead = ahead;
      ahead = std::min(ahead_end, ahead + units * kAheadOfUnit);
      if (integer) {
        const int64_t at_group = first * groups + k / run_ * each;
        t.x = in.codes.data() + first * padded_ + k * each;
        t.x_scales = in.scales.data() + at_group;
        t.x_sums = in.sums.data() + at_group;
        kernels.integer[size_t(bits_index(8))][size_t(each)](t);
      } else {
        kernels.dense[size_t(each)](t, weights.data(), inputs, in.values.data() + first * padded_ + k * each);
      }
    }
  };
  share_out((panels() + kTogether - 1) / kTogether, 1, [&](int64_t block) {
    thread_local AlignedVector<float> sums;  // [panel][row][32]
    reserve(sums, size_t(kTogether * rows * kPackedPanel));
    const int64_t first = block * kTogether, end = std::min(first + kTogether, panels());
    for (int64_t k = 0; k < padded_; k += chunk)
      for (int64_t panel = first; panel < end; ++panel)
        multiply_chunk(panel, k, sums.data() + (panel - first) * rows * kPackedPanel);
  });
}

}  // namespace quanta
