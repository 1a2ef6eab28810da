#include "quanta/lowbit/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "quanta/core/error.h"
#include "quanta/core/half.h"
#include "quanta/core/parallel.h"
#include "quanta/lowbit/gguf_search.h"

namespace quanta {
namespace {

using lowbit::gguf_kernels;
using lowbit::GgufTile;

constexpr int kSuper = 256;      // weights of a block of the K formats
constexpr int kMostGroups = 16;  // of a block
constexpr int kGroups = GgufTile::kGroups;

// --- layouts --------------------------------------------------------------------------------------------------------
// A block is bytes; `q` are its codes less the lowest, so not negative.

float half_at(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return half_to_float(bits);
}

// Stores the nearest half and returns its value.
float put_half(float value, uint8_t* to) {
  const uint16_t bits = float_to_half(value);
  std::memcpy(to, &bits, sizeof bits);
  return half_to_float(bits);
}

// `count` codes, kBits of each from bit `from` on, in planes of kWidth: a byte l holds codes l, l + kWidth, ... from
// its low end up, the next kWidth bytes follow with the next codes.
template <int kBits, int kWidth>
void put_planes(const uint8_t* q, int count, int from, uint8_t* to) {
  constexpr int kPlanes = 8 / kBits, kMask = (1 << kBits) - 1;
  for (; count > 0; count -= kPlanes * kWidth, q += kPlanes * kWidth, to += kWidth)
    for (int l = 0; l < kWidth; ++l) {
      int byte = 0;
      for (int p = 0; p < kPlanes; ++p) byte |= (q[p * kWidth + l] >> from & kMask) << (p * kBits);
      to[l] = uint8_t(byte);
    }
}

template <int kBits, int kWidth>
void add_planes(const uint8_t* bytes, int count, int from, uint8_t* q) {
  constexpr int kPlanes = 8 / kBits, kMask = (1 << kBits) - 1;
  for (; count > 0; count -= kPlanes * kWidth, q += kPlanes * kWidth, bytes += kWidth)
    for (int p = 0; p < kPlanes; ++p)
      for (int l = 0; l < kWidth; ++l) q[p * kWidth + l] |= uint8_t((bytes[l] >> (p * kBits) & kMask) << from);
}

// Q5_0 and Q5_1: bit j of four bytes is the fifth bit of code j.
void put_fifth_bits(const uint8_t* q, uint8_t* to) {
  std::memset(to, 0, 4);
  for (int j = 0; j < 32; ++j) to[j / 8] |= uint8_t((q[j] >> 4) << j % 8);
}
void add_fifth_bits(const uint8_t* bytes, uint8_t* q) {
  for (int j = 0; j < 32; ++j) q[j] |= uint8_t((bytes[j / 8] >> j % 8 & 1) << 4);
}

/// The integers that make up the scales and offsets of a K format's groups: sub-scales and, with offsets, sub-minima.
struct Parts {
  std::array<int, kMostGroups> scale{}, min{};
};

// Q4_K and Q5_K: eight scales and eight minima of six bits in twelve bytes.
Parts read_parts_8(const uint8_t* b) {
  Parts parts;
  for (size_t j = 0; j < 4; ++j) {
    parts.scale[j] = b[j] & 63;
    parts.min[j] = b[j + 4] & 63;
    parts.scale[j + 4] = (b[j + 8] & 15) | b[j] >> 6 << 4;
    parts.min[j + 4] = b[j + 8] >> 4 | b[j + 4] >> 6 << 4;
  }
  return parts;
}
void put_parts_8(const Parts& parts, uint8_t* b) {
  for (size_t j = 0; j < 4; ++j) {
    b[j] = uint8_t(parts.scale[j] | parts.scale[j + 4] >> 4 << 6);
    b[j + 4] = uint8_t(parts.min[j] | parts.min[j + 4] >> 4 << 6);
    b[j + 8] = uint8_t((parts.scale[j + 4] & 15) | (parts.min[j + 4] & 15) << 4);
  }
}

// Q3_K: sixteen scales of six bits less 32; low halves in planes of eight, high pairs of bits in planes of four.
Parts read_parts_3(const uint8_t* b) {
  uint8_t q[kMostGroups]{};
  add_planes<4, 8>(b, kMostGroups, 0, q);
  add_planes<2, 4>(b + 8, kMostGroups, 4, q);
  Parts parts;
  for (size_t j = 0; j < kMostGroups; ++j) parts.scale[j] = q[j] - 32;
  return parts;
}
void put_parts_3(const Parts& parts, uint8_t* b) {
  uint8_t q[kMostGroups];
  for (size_t j = 0; j < kMostGroups; ++j) q[j] = uint8_t(parts.scale[j] + 32);
  put_planes<4, 8>(q, kMostGroups, 0, b);
  put_planes<2, 4>(q, kMostGroups, 4, b + 8);
}

// Q2_K: scales and minima of four bits. Q6_K: scales of eight.
Parts read_parts_2(const uint8_t* b) {
  Parts parts;
  for (size_t j = 0; j < kMostGroups; ++j) parts.scale[j] = b[j] & 15, parts.min[j] = b[j] >> 4;
  return parts;
}
void put_parts_2(const Parts& parts, uint8_t* b) {
  for (size_t j = 0; j < kMostGroups; ++j) b[j] = uint8_t(parts.scale[j] | parts.min[j] << 4);
}
Parts read_parts_6(const uint8_t* b) {
  Parts parts;
  for (size_t j = 0; j < kMostGroups; ++j) parts.scale[j] = int8_t(b[j]);
  return parts;
}
void put_parts_6(const Parts& parts, uint8_t* b) {
  for (size_t j = 0; j < kMostGroups; ++j) b[j] = uint8_t(parts.scale[j]);
}

/// Where a format keeps its constants. Without parts the halves are a group's scale and offset themselves; with them,
/// what the parts are multiples of (and an offset is not positive).
struct Format {
  GgufType type;
  int group, low, high;
  int scale_at, offset_at;  // of the halves; -1: no offset
  int parts_at;             // -1: none
  Parts (*read_parts)(const uint8_t*);
  void (*put_parts)(const Parts&, uint8_t*);
  int lowest_part, highest_part;
  void (*put_codes)(const uint8_t* q, uint8_t* block);
  void (*add_codes)(const uint8_t* block, uint8_t* q);  // to zeros

  bool affine() const { return offset_at >= 0; }
  bool has_parts() const { return parts_at >= 0; }
  int block() const { return has_parts() ? kSuper : 32; }
  int groups() const { return block() / group; }
};

// What the codes of a layout are made of, as (template, place).
#define QUANTA_CODES(put, add) [](const uint8_t* q, uint8_t* b) { put; }, [](const uint8_t* b, uint8_t* q) { add; }
constexpr Format kFormats[] = {
    {GgufType::Q4_0, 32, -8, 7, 0, -1, -1, nullptr, nullptr, 0, 0,
     QUANTA_CODES((put_planes<4, 16>(q, 32, 0, b + 2)), (add_planes<4, 16>(b + 2, 32, 0, q)))},
    {GgufType::Q4_1, 32, 0, 15, 0, 2, -1, nullptr, nullptr, 0, 0,
     QUANTA_CODES((put_planes<4, 16>(q, 32, 0, b + 4)), (add_planes<4, 16>(b + 4, 32, 0, q)))},
    {GgufType::Q5_0, 32, -16, 15, 0, -1, -1, nullptr, nullptr, 0, 0,
     QUANTA_CODES((put_fifth_bits(q, b + 2), put_planes<4, 16>(q, 32, 0, b + 6)),
                  (add_fifth_bits(b + 2, q), add_planes<4, 16>(b + 6, 32, 0, q)))},
    {GgufType::Q5_1, 32, 0, 31, 0, 2, -1, nullptr, nullptr, 0, 0,
     QUANTA_CODES((put_fifth_bits(q, b + 4), put_planes<4, 16>(q, 32, 0, b + 8)),
                  (add_fifth_bits(b + 4, q), add_planes<4, 16>(b + 8, 32, 0, q)))},
    {GgufType::Q8_0, 32, -128, 127, 0, -1, -1, nullptr, nullptr, 0, 0,
     [](const uint8_t* q, uint8_t* b) {
       for (int j = 0; j < 32; ++j) b[2 + j] = q[j] ^ 128;
     },
     [](const uint8_t* b, uint8_t* q) {
       for (int j = 0; j < 32; ++j) q[j] = b[2 + j] ^ 128;
     }},
    {GgufType::Q2_K, 16, 0, 3, 80, 82, 0, read_parts_2, put_parts_2, 0, 15,
     QUANTA_CODES((put_planes<2, 32>(q, kSuper, 0, b + 16)), (add_planes<2, 32>(b + 16, kSuper, 0, q)))},
    {GgufType::Q3_K, 16, -4, 3, 108, -1, 96, read_parts_3, put_parts_3, -32, 31,
     QUANTA_CODES((put_planes<1, 32>(q, kSuper, 2, b), put_planes<2, 32>(q, kSuper, 0, b + 32)),
                  (add_planes<1, 32>(b, kSuper, 2, q), add_planes<2, 32>(b + 32, kSuper, 0, q)))},
    {GgufType::Q4_K, 32, 0, 15, 0, 2, 4, read_parts_8, put_parts_8, 0, 63,
     QUANTA_CODES((put_planes<4, 32>(q, kSuper, 0, b + 16)), (add_planes<4, 32>(b + 16, kSuper, 0, q)))},
    {GgufType::Q5_K, 32, 0, 31, 0, 2, 4, read_parts_8, put_parts_8, 0, 63,
     QUANTA_CODES((put_planes<1, 32>(q, kSuper, 4, b + 16), put_planes<4, 32>(q, kSuper, 0, b + 48)),
                  (add_planes<1, 32>(b + 16, kSuper, 4, q), add_planes<4, 32>(b + 48, kSuper, 0, q)))},
    {GgufType::Q6_K, 16, -32, 31, 208, -1, 192, read_parts_6, put_parts_6, -128, 127,
     QUANTA_CODES((put_planes<4, 64>(q, kSuper, 0, b), put_planes<2, 32>(q, kSuper, 4, b + 128)),
                  (add_planes<4, 64>(b, kSuper, 0, q), add_planes<2, 32>(b + 128, kSuper, 4, q)))},
};
#undef QUANTA_CODES

const Format* find_format(GgufType type) {
  const auto* found = std::ranges::find(kFormats, type, &Format::type);
  return found == std::end(kFormats) ? nullptr : found;
}

const Format& format_of(GgufType type) {
  const Format* found = find_format(type);
  require(found, "GGUF type {} is not a block format that can be computed with", gguf_type_name(type));
  return *found;
}

void read_constants(const Format& f, const uint8_t* block, float* scale, float* offset) {
  const float d = half_at(block + f.scale_at), m = f.affine() ? half_at(block + f.offset_at) : 0.0f;
  if (!f.has_parts()) {
    *scale = d;
    *offset = m;
    return;
  }
  const Parts parts = f.read_parts(block + f.parts_at);
  for (int g = 0; g < f.groups(); ++g) {
    scale[g] = d * float(parts.scale[size_t(g)]);
    offset[g] = f.affine() ? -(m * float(parts.min[size_t(g)])) : 0.0f;
  }
}

// --- encoding a tile ------------------------------------------------------------------------------------------------

/// Blocks in memory that make up a tile: where each one's weights and its columns' importance (or nothing) begin.
struct Source {
  const float* weights;
  const float* importance;
};

void load(const Format& f, std::span<const Source> blocks, GgufTile& t) {
  for (int g = 0; g < kGroups; ++g) {
    // Groups beyond the last repeat the first.
    const auto& source = blocks[size_t(g / f.groups()) < blocks.size() ? size_t(g / f.groups()) : 0];
    const int at = g % f.groups() * f.group;
    const float* x = source.weights + at;
    for (int e = 0; e < f.group; ++e) t.x[e][g] = x[e];
    float sum = 0;
    if (source.importance)
      for (int e = 0; e < f.group; ++e) sum += t.weight[e][g] = source.importance[at + e];
    if (sum > 0) continue;
    float squares = 0;  // no importance, or none of it here
    for (int e = 0; e < f.group; ++e) squares += x[e] * x[e];
    const float rms = std::sqrt(squares / float(f.group));
    for (int e = 0; e < f.group; ++e) t.weight[e][g] = rms + std::abs(x[e]);
  }
}

void find_plain(const Format& f, bool weighted, GgufTile& t) {
  const auto& kernels = gguf_kernels();
  const bool searched = weighted && f.type != GgufType::Q8_0;
  if (!searched && f.type == GgufType::Q8_0)
    kernels.by_magnitude(t, f.group);
  else if (!searched)
    f.affine() ? kernels.by_range(t, f.group, f.high) : kernels.by_largest(t, f.group, -f.low);
  else
    f.affine() ? kernels.fit_affine(t, f.group, f.high, false) : kernels.fit_symmetric(t, f.group, -f.low);
  if (!searched) return;
  for (int g = 0; g < kGroups; ++g) {  // as they will be stored
    t.scale[g] = half_to_float(float_to_half(t.scale[g]));
    t.offset[g] = half_to_float(float_to_half(t.offset[g]));
  }
  kernels.round(t, f.group, f.low, f.high);
}

/// Scales and offsets as multiples of a block's halves: the nearest, then of these and their neighbours the pair of the
/// least error. Leaves the multiples in `parts` and the halves in `scale` and `min`, one a group.
struct Multiples {
  alignas(64) float scale[kGroups], min[kGroups];
  int scale_part[kGroups], min_part[kGroups];
};

void find_multiples(const Format& f, GgufTile& t, Multiples& m) {
  const auto& kernels = gguf_kernels();
  const auto nearest_part = [&](float value, float unit) {
    if (unit == 0) return 0;
    return int(std::lround(std::clamp(value / unit, float(f.lowest_part), float(f.highest_part))));
  };
  for (int first = 0; first < kGroups; first += f.groups()) {
    float scale = 0, min = 0;
    for (int g = first; g < first + f.groups(); ++g) {
      if (std::abs(t.scale[g]) > std::abs(scale)) scale = t.scale[g];
      min = std::max(min, -t.offset[g]);
    }
    // The larger side of the parts' range is the negative one if there are two.
    scale /= float(f.lowest_part < 0 ? f.lowest_part : f.highest_part);
    scale = half_to_float(float_to_half(scale));
    min = half_to_float(float_to_half(min / float(f.highest_part)));
    for (int g = first; g < first + f.groups(); ++g) {
      m.scale[g] = scale;
      m.min[g] = f.affine() ? min : 0.0f;
      m.scale_part[g] = nearest_part(t.scale[g], scale);
      m.min_part[g] = f.affine() ? nearest_part(-t.offset[g], min) : 0;
    }
  }

  alignas(64) float error[kGroups], least[kGroups];
  std::ranges::fill(least, INFINITY);
  int best_scale[kGroups]{}, best_min[kGroups]{};
  const int reach = f.affine() ? 1 : 0;
  for (int ds = -1; ds <= 1; ++ds)
    for (int dm = -reach; dm <= reach; ++dm) {
      int scale_part[kGroups], min_part[kGroups];
      for (int g = 0; g < kGroups; ++g) {
        scale_part[g] = std::clamp(m.scale_part[g] + ds, f.lowest_part, f.highest_part);
        min_part[g] = std::clamp(m.min_part[g] + dm, 0, f.highest_part);
        t.scale[g] = m.scale[g] * float(scale_part[g]);
        t.offset[g] = -(m.min[g] * float(min_part[g]));
      }
      kernels.measure(t, f.group, f.low, f.high, error);
      for (int g = 0; g < kGroups; ++g)
        if (error[g] < least[g]) {
          least[g] = error[g];
          best_scale[g] = scale_part[g];
          best_min[g] = min_part[g];
        }
    }
  for (int g = 0; g < kGroups; ++g) {
    m.scale_part[g] = best_scale[g];
    m.min_part[g] = best_min[g];
    t.scale[g] = m.scale[g] * float(best_scale[g]);
    t.offset[g] = -(m.min[g] * float(best_min[g]));
  }
}

void encode_tile(const Format& f, std::span<const Source> blocks, std::span<uint8_t* const> to) {
  GgufTile t;
  Multiples m;
  load(f, blocks, t);
  if (f.has_parts()) {
    if (f.affine())
      gguf_kernels().fit_affine(t, f.group, f.high, true);
    else
      gguf_kernels().fit_symmetric(t, f.group, -f.low);
    find_multiples(f, t, m);
    gguf_kernels().round(t, f.group, f.low, f.high);
  } else {
    find_plain(f, blocks[0].importance != nullptr, t);
  }

  for (size_t b = 0; b < blocks.size(); ++b) {
    const int first = int(b) * f.groups();
    uint8_t q[kSuper];
    for (int g = 0; g < f.groups(); ++g)
      for (int e = 0; e < f.group; ++e) q[g * f.group + e] = uint8_t(t.code[e][first + g] - f.low);
    f.put_codes(q, to[b]);
    put_half(f.has_parts() ? m.scale[first] : t.scale[first], to[b] + f.scale_at);
    if (f.affine()) put_half(f.has_parts() ? m.min[first] : t.offset[first], to[b] + f.offset_at);
    if (!f.has_parts()) continue;
    Parts parts;
    std::copy_n(m.scale_part + first, f.groups(), parts.scale.begin());
    std::copy_n(m.min_part + first, f.groups(), parts.min.begin());
    f.put_parts(parts, to[b] + f.parts_at);
  }
}

// --- rows -----------------------------------------------------------------------------------------------------------

void check_weights(GgufType type, const float* row, int64_t columns) {
  const float most = type == GgufType::F32 || type == GgufType::BF16 ? std::numeric_limits<float>::max() : 65504.0f;
  uint32_t largest = 0;  // NaN and infinity are larger than all numbers
  for (int64_t i = 0; i < columns; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(row[i]) & 0x7fffffff);
  require(largest <= std::bit_cast<uint32_t>(most), "cannot store {} as {}: weights must be finite and at most {}",
          std::bit_cast<float>(largest), gguf_type_name(type), most);
}

void check_importance(std::span<const float> importance, int64_t columns) {
  require(importance.empty() || int64_t(importance.size()) == columns, "{} importances for {} columns",
          importance.size(), columns);
  for (const float value : importance)
    require(value >= 0 && value <= 1e30f, "an importance must be from 0 to 1e30, got {}", value);
}

/// Encodes columns of rows; the bytes of row r begin at to + r to_stride.
void encode_rows(const Format& f, const float* weights, int64_t stride, int64_t rows, int64_t columns,
                 std::span<const float> importance, uint8_t* to, int64_t to_stride) {
  check_importance(importance, columns);
  const int64_t across = columns / f.block(), bytes = gguf_block_bytes(f.type), each = kGroups / f.groups();
  const int64_t blocks = rows * across;
  parallel_for((blocks + each - 1) / each, 64, [&](int64_t begin, int64_t end) {
    std::array<Source, kGroups> from{};
    std::array<uint8_t*, kGroups> out{};
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * each, count = std::min(each, blocks - first);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = (first + i) / across, block = (first + i) % across;
        const float* x = weights + row * stride + block * f.block();
        check_weights(f.type, x, f.block());
        from[size_t(i)] = {x, importance.empty() ? nullptr : importance.data() + block * f.block()};
        out[size_t(i)] = to + row * to_stride + block * bytes;
      }
      encode_tile(f, std::span(from).first(size_t(count)), std::span(out).first(size_t(count)));
    }
  });
}

template <class Word, class Convert>
void convert(std::span<const float> from, std::byte* to, const Convert& word_of) {
  for (size_t i = 0; i < from.size(); ++i) {
    const Word word = word_of(from[i]);
    std::memcpy(to + i * sizeof word, &word, sizeof word);
  }
}

template <class Word, class Convert>
void convert_back(std::span<const std::byte> from, std::span<float> to, const Convert& float_of) {
  for (size_t i = 0; i < to.size(); ++i) {
    Word word;
    std::memcpy(&word, from.data() + i * sizeof word, sizeof word);
    to[i] = float_of(word);
  }
}

int64_t values_of(GgufType type, size_t bytes) {
  require(int64_t(bytes) % gguf_block_bytes(type) == 0, "{} bytes are no whole number of {} blocks of {}", bytes,
          gguf_type_name(type), gguf_block_bytes(type));
  return int64_t(bytes) / gguf_block_bytes(type) * gguf_block_size(type);
}

const uint8_t* octets(std::span<const std::byte> bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

// body(f, block, index) for every block, in parallel.
template <class Body>
void for_blocks(const Format& f, std::span<const std::byte> from, const Body& body) {
  const int64_t bytes = gguf_block_bytes(f.type), blocks = int64_t(from.size()) / bytes;
  parallel_for(blocks, 4096 / f.block() * 8, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(octets(from) + b * bytes, b);
  });
}

}  // namespace

bool is_gguf_block_format(GgufType type) {
  return find_format(type) != nullptr;
}

bool is_gguf_encodable(GgufType type) {
  return type == GgufType::F32 || type == GgufType::F16 || type == GgufType::BF16 || is_gguf_block_format(type);
}

void decode_gguf(GgufType type, std::span<const std::byte> from, std::span<float> to) {
  require(is_gguf_encodable(type), "GGUF type {} is not one that can be decoded", gguf_type_name(type));
  require(values_of(type, from.size()) == int64_t(to.size()), "{} bytes of {} are {} values, not {}", from.size(),
          gguf_type_name(type), values_of(type, from.size()), to.size());
  if (type == GgufType::F32) {
    if (!to.empty()) std::memcpy(to.data(), from.data(), from.size());
  } else if (type == GgufType::F16) {
    convert_back<uint16_t>(from, to, half_to_float);
  } else if (type == GgufType::BF16) {
    convert_back<uint16_t>(from, to, bfloat16_to_float);
  } else {
    const Format& f = format_of(type);
    for_blocks(f, from, [&](const uint8_t* block, int64_t index) {
      float scale[kMostGroups], offset[kMostGroups];
      uint8_t q[kSuper]{};
      read_constants(f, block, scale, offset);
      f.add_codes(block, q);
      float* out = to.data() + index * f.block();
      for (int g = 0; g < f.groups(); ++g)  // products are exact, so contracting them changes nothing
        for (int e = 0; e < f.group; ++e) *out++ = scale[g] * float(int(q[g * f.group + e]) + f.low) + offset[g];
    });
  }
}

std::vector<float> decode_gguf(GgufType type, std::span<const std::byte> from) {
  std::vector<float> result(size_t(values_of(type, from.size())));
  decode_gguf(type, from, result);
  return result;
}

std::vector<std::byte> encode_gguf(GgufType type, std::span<const float> weights, int64_t columns,
                                   std::span<const float> importance) {
  require(is_gguf_encodable(type), "GGUF type {} is not one that can be encoded", gguf_type_name(type));
  require(columns > 0 && int64_t(weights.size()) % columns == 0, "{} weights are no whole number of rows of {}",
          weights.size(), columns);
  const int64_t rows = int64_t(weights.size()) / columns, row_bytes = gguf_row_bytes(type, columns);
  std::vector<std::byte> result(size_t(rows * row_bytes));
  if (const Format* f = find_format(type)) {
    encode_rows(*f, weights.data(), columns, rows, columns, importance, reinterpret_cast<uint8_t*>(result.data()),
                row_bytes);
    return result;
  }
  check_importance(importance, columns);
  check_weights(type, weights.data(), int64_t(weights.size()));
  if (type == GgufType::F32)
    convert<float>(weights, result.data(), [](float x) { return x; });
  else
    convert<uint16_t>(weights, result.data(), type == GgufType::F16 ? float_to_half : float_to_bfloat16);
  return result;
}

// --- grids ----------------------------------------------------------------------------------------------------------

namespace {

// Scales and offsets of blocks first ... first + count - 1 of every row from the grid's bytes.
void read_constants(const Format& f, int64_t first, int64_t count, GgufGrid& grid) {
  const int64_t across = grid.columns / grid.block, bytes = gguf_block_bytes(grid.type);
  for (int64_t row = 0; row < grid.rows; ++row)
    for (int64_t block = row * across + first; block < row * across + first + count; ++block)
      read_constants(f, octets(grid.bytes) + block * bytes, grid.scale.data() + block * f.groups(),
                     grid.offset.data() + block * f.groups());
}

}  // namespace

GgufGrid::GgufGrid(GgufType format, int64_t n, int64_t k) : type(format), rows(n), columns(k) {
  const Format& f = format_of(type);
  require(rows >= 0 && columns >= 0, "a matrix cannot have {} rows and {} columns", rows, columns);
  bytes.resize(size_t(rows * gguf_row_bytes(type, columns)));
  block = f.block();
  group = f.group;
  low = f.low;
  high = f.high;
  scale.resize(size_t(rows * columns / group));
  offset.resize(scale.size());
}

void GgufGrid::fit(const float* weights, int64_t stride, int64_t first, int64_t count,
                   std::span<const float> importance) {
  require(first >= 0 && count >= 0 && first + count <= columns && first % block == 0 && count % block == 0,
          "columns {} to {} are no whole blocks of {} of the {} columns", first, first + count, block, columns);
  const Format& f = format_of(type);
  const int64_t before = first / block * gguf_block_bytes(type);
  encode_rows(f, weights, stride, rows, count, importance, reinterpret_cast<uint8_t*>(bytes.data()) + before,
              gguf_row_bytes(type, columns));
  read_constants(f, first / block, count / block, *this);
}

GgufGrid fit_gguf_grid(GgufType type, std::span<const float> weights, int64_t rows, int64_t columns,
                       std::span<const float> importance) {
  GgufGrid grid(type, rows, columns);
  require(int64_t(weights.size()) == rows * columns, "{} weights for a matrix of {} rows and {} columns",
          weights.size(), rows, columns);
  grid.fit(weights.data(), columns, 0, columns, importance);
  return grid;
}

std::vector<std::byte> pack_gguf(const GgufGrid& grid, std::span<const int8_t> codes) {
  const Format& f = format_of(grid.type);
  require(int64_t(codes.size()) == grid.rows * grid.columns, "{} codes for a matrix of {} rows and {} columns",
          codes.size(), grid.rows, grid.columns);
  for (const int8_t code : codes)
    require(code >= f.low && code <= f.high, "{} codes are from {} to {}, got {}", gguf_type_name(grid.type), f.low,
            f.high, code);
  std::vector<std::byte> result = grid.bytes;
  for_blocks(f, grid.bytes, [&](const uint8_t*, int64_t index) {
    uint8_t q[kSuper];
    for (int i = 0; i < f.block(); ++i) q[i] = uint8_t(codes[size_t(index * f.block() + i)] - f.low);
    f.put_codes(q, reinterpret_cast<uint8_t*>(result.data()) + index * gguf_block_bytes(f.type));
  });
  return result;
}

GgufGrid read_gguf_grid(GgufType type, std::span<const std::byte> bytes, int64_t rows, int64_t columns) {
  GgufGrid grid(type, rows, columns);
  require(bytes.size() == grid.bytes.size(), "{} bytes for a matrix of {} rows and {} columns in {}, which takes {}",
          bytes.size(), rows, columns, gguf_type_name(type), grid.bytes.size());
  std::ranges::copy(bytes, grid.bytes.begin());
  read_constants(format_of(type), 0, columns / grid.block, grid);
  return grid;
}

std::vector<int8_t> unpack_gguf(GgufType type, std::span<const std::byte> bytes) {
  const Format& f = format_of(type);
  std::vector<int8_t> codes(size_t(values_of(type, bytes.size())));
  for_blocks(f, bytes, [&](const uint8_t* block, int64_t index) {
    uint8_t q[kSuper]{};
    f.add_codes(block, q);
    for (int i = 0; i < f.block(); ++i) codes[size_t(index * f.block() + i)] = int8_t(int(q[i]) + f.low);
  });
  return codes;
}

}  // namespace quanta
