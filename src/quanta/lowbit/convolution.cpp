#include "quanta/lowbit/convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {

using lowbit::kChunk;
using lowbit::kPanel;

namespace {

void check_affine(const AffineU8& q, const char* which) {
  require(std::isfinite(q.scale) && q.scale > 0, "the {} scale must be positive and finite, got {}", which, q.scale);
  require(q.max_code >= 1 && q.max_code <= 255, "the {} codes must end between 1 and 255, got {}", which, q.max_code);
  require(q.zero_point >= 0 && q.zero_point <= q.max_code, "the {} zero point must lie from 0 to {}, got {}", which,
          q.max_code, q.zero_point);
}

template <class T>
T of_channel(const std::vector<T>& values, int64_t channel) {
  return values.empty() ? T(0) : values[values.size() == 1 ? 0 : size_t(channel)];
}

}  // namespace

IntegerConvolution::IntegerConvolution(const ConvolutionShape& shape, const IntegerWeights& weights,
                                       const AffineU8& input)
    : shape_(shape), input_(input), bits_(weights.bits) {
  const auto& s = shape;
  require(s.in_channels >= 1 && s.out_channels >= 1 && s.kernel_h >= 1 && s.kernel_w >= 1 && s.stride_h >= 1 &&
              s.stride_w >= 1 && s.dilation_h >= 1 && s.dilation_w >= 1 && s.padding_h >= 0 && s.padding_w >= 0,
          "a convolution's channels, kernel, stride and dilation must be at least 1 and its padding not negative");
  require(s.groups >= 1 && s.in_channels % s.groups == 0 && s.out_channels % s.groups == 0,
          "{} groups must divide {} input and {} output channels", s.groups, s.in_channels, s.out_channels);
  check_affine(input, "input");
  const size_t out = size_t(s.out_channels);
  require(int64_t(weights.codes.size()) == s.weights(), "{} weights were expected, got {}", s.weights(),
          weights.codes.size());
  require(weights.scales.size() == 1 || weights.scales.size() == out, "1 or {} weight scales were expected, got {}",
          out, weights.scales.size());
  require(weights.zero_points.size() <= 1 || weights.zero_points.size() == out,
          "0, 1 or {} weight zero points were expected, got {}", out, weights.zero_points.size());
  require(weights.bias.empty() || weights.bias_codes.empty(), "a bias is given as real numbers or as codes, not both");
  require(weights.bias.empty() || weights.bias.size() == out, "{} biases were expected, got {}", out,
          weights.bias.size());
  require(weights.bias_codes.empty() || weights.bias_codes.size() == out, "{} bias codes were expected, got {}", out,
          weights.bias_codes.size());
  require(bits_ >= 2 && bits_ <= 8, "weights have 2 to 8 bits, got {}", bits_);
  for (const float scale : weights.scales)
    require(std::isfinite(scale) && scale > 0, "a weight scale must be positive and finite, got {}", scale);
  const int lowest = -(1 << (bits_ - 1)), highest = (1 << (bits_ - 1)) - 1;
  for (const int8_t code : weights.codes)
    require(code >= lowest && code <= highest, "a weight code of {} bits must lie from {} to {}, got {}", bits_, lowest,
            highest, int(code));
  for (const int32_t zero : weights.zero_points)
    require(zero >= -128 && zero <= 127, "a weight zero point must lie from -128 to 127, got {}", zero);

  scales_.assign(weights.scales.begin(), weights.scales.end());
  zero_points_.assign(weights.zero_points.begin(), weights.zero_points.end());
  bias_codes_.assign(weights.bias_codes.begin(), weights.bias_codes.end());
  for (size_t o = 0; o < weights.bias.size(); ++o) {
    const double code =
        std::nearbyint(double(weights.bias[o]) / (double(of_channel(scales_, int64_t(o))) * input.scale));
    require(std::abs(code) < 0x1p31, "the bias {} of output channel {} does not fit int32 at scale {} * {}",
            weights.bias[o], o, of_channel(scales_, int64_t(o)), input.scale);
    bias_codes_.push_back(int32_t(code));
  }
  const int64_t per_channel = s.weights() / s.out_channels;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    int64_t most = std::abs(int64_t{of_channel(bias_codes_, o)});
    for (int64_t k = 0; k < per_channel; ++k)
      most += std::abs(weights.codes[size_t(o * per_channel + k)] - of_channel(zero_points_, o)) * int64_t{255};
    require(most < int64_t{1} << 31, "output channel {} of {} weights can overflow an int32 accumulator", o,
            per_channel);
  }
  pack(weights.codes);
}

IntegerConvolution::IntegerConvolution(const ConvolutionShape& shape, const IntegerWeights& weights,
                                       const AffineU8& input, const AffineU8& output, CodeRange clamp)
    : IntegerConvolution(shape, weights, input) {
  check_affine(output, "output");
  require(0 <= clamp.low && clamp.low <= clamp.high && clamp.high <= output.max_code,
          "the output codes {} to {} do not lie from 0 to {}", clamp.low, clamp.high, output.max_code);
  output_ = output;
  clamp_ = clamp;
  for_each_column([&](auto& columns, int column, int64_t channel) {
    columns.factor[column] =
        fixed_point(double(of_channel(scales_, channel)) * double(input_.scale) / double(output.scale));
  });
  const auto complete = [](auto& all) {
    for (auto& columns : all) {
      columns.fast = true;
      for (size_t i = 0; i < std::size(columns.factor); ++i) {
        const FixedPoint& factor = columns.factor[i];
        columns.fast = columns.fast && factor.shift >= 2;
        if (!columns.fast) break;
        columns.multiplier[i] = factor.multiplier;
        columns.rounding[i] = 1 << (factor.shift - 2);
        columns.shift[i] = factor.shift - 1;
      }
    }
  };
  complete(panel_columns_);
  complete(depthwise_columns_);
}

template <class Body>
void IntegerConvolution::for_each_column(const Body& body) {
  const int out_each = shape_.out_channels / shape_.groups;
  for (int o = 0; o < shape_.out_channels; ++o)
    if (shape_.is_depthwise())
      body(depthwise_columns_[size_t(o / kChunk)], lowbit::chunk_order(o % kChunk), o);
    else
      body(panel_columns_[size_t(o / out_each * panels() + o % out_each / kPanel)], o % out_each % kPanel, o);
}

int IntegerConvolution::panel_width(int panel) const {
  return shape_.out_channels / shape_.groups - panel * kPanel > kPanel / 2 ? kPanel : kPanel / 2;
}

size_t IntegerConvolution::position(int out, int in, int ky, int kx) const {
  if (shape_.is_depthwise()) {
    const size_t tap =
        (size_t(out / kChunk) * size_t(shape_.kernel_w) + size_t(kx)) * size_t(lowbit::row_quads(shape_.kernel_h)) +
        size_t(ky / 4);
    return (tap * size_t(repeats_) * kChunk + size_t(lowbit::chunk_order(out % kChunk))) * 4 + size_t(ky % 4);
  }
  const int out_each = shape_.out_channels / shape_.groups, in_each = shape_.in_channels / shape_.groups;
  const size_t segment = size_t(row_segments_ ? ky : ky * shape_.kernel_w + kx);
  const size_t byte = size_t(row_segments_ ? kx * in_each + in : in);
  const int panel = out % out_each / kPanel;
  const size_t begin = size_t(out / out_each) * group_bytes() + size_t(panel) * size_t(segments_ * quads_) * kPanel * 4;
  return begin +
         ((segment * size_t(quads_) + byte / 4) * size_t(panel_width(panel)) + size_t(out % out_each % kPanel)) * 4 +
         byte % 4;
}

size_t IntegerConvolution::group_bytes() const {
  const int whole = panels() - 1;
  return size_t(segments_ * quads_) * 4 * size_t(whole * kPanel + panel_width(whole));
}

void IntegerConvolution::pack(std::span<const int8_t> codes) {
  const ConvolutionShape& s = shape_;
  const int in_each = s.in_channels / s.groups;
  row_segments_ = s.groups == 1 && s.dilation_w == 1;
  segments_ = row_segments_ ? s.kernel_h : s.kernel_h * s.kernel_w;
  segment_bytes_ = row_segments_ ? s.kernel_w * in_each : in_each;
  quads_ = (segment_bytes_ + 3) / 4;
  if (s.is_depthwise()) {
    // A zero point takes a weight out of s8: it becomes the sum of two.
    repeats_ = std::ranges::any_of(zero_points_, [](int32_t zero) { return zero != 0; }) ? 2 : 1;
    const size_t chunks = size_t(s.out_channels + kChunk - 1) / kChunk;
    packed_.resize(chunks * size_t(s.kernel_w * lowbit::row_quads(s.kernel_h) * repeats_) * kChunk * 4);
    depthwise_columns_.resize(chunks);
  } else {
    packed_.resize(size_t(s.groups) * group_bytes());
    panel_columns_.resize(size_t(s.groups * panels()));
  }
  // All columns, those without a channel too, have a factor of the fast form.
  const auto clear = [](auto& all) {
    for (auto& columns : all) {
      columns = {};
      std::ranges::fill(columns.factor, FixedPoint{0, 2});
    }
  };
  clear(panel_columns_);
  clear(depthwise_columns_);
  const int64_t per_channel = s.weights() / s.out_channels;
  for_each_column([&](auto& columns, int column, int64_t o) {
    const int8_t* code = &codes[size_t(o * per_channel)];
    const int32_t zero = of_channel(zero_points_, o);
    int64_t sum = 0;
    for (int c = 0; c < in_each; ++c)
      for (int ky = 0; ky < s.kernel_h; ++ky)
        for (int kx = 0; kx < s.kernel_w; ++kx, ++code) {
          int8_t* to = &packed_[position(int(o), c, ky, kx)];
          sum += *code - zero;
          if (repeats_ == 1) {
            *to = *code;
          } else {
            const int value = *code - zero;
            to[0] = int8_t(value / 2);
            to[kChunk * 4] = int8_t(value - value / 2);
          }
        }
    // bias - zx sum w + K zw zx, modulo 2^32: what is added later brings the sum back into range.
    columns.bias[column] = int32_t(uint32_t(int64_t{of_channel(bias_codes_, o)} - input_.zero_point * sum));
    columns.weight_zero[column] = zero;
    columns.scale[column] = of_channel(scales_, o) * input_.scale;
  });
}

std::vector<int8_t> IntegerConvolution::codes() const {
  std::vector<int8_t> codes;
  codes.reserve(size_t(shape_.weights()));
  for (int o = 0; o < shape_.out_channels; ++o)
    for (int c = 0; c < shape_.in_channels / shape_.groups; ++c)
      for (int ky = 0; ky < shape_.kernel_h; ++ky)
        for (int kx = 0; kx < shape_.kernel_w; ++kx) {
          const int8_t* at = &packed_[position(o, c, ky, kx)];
          codes.push_back(repeats_ == 1 ? at[0] : int8_t(at[0] + at[kChunk * 4] + of_channel(zero_points_, o)));
        }
  return codes;
}

// --- running --------------------------------------------------------------------------------------------------------

namespace {

int64_t round_up(int64_t value, int64_t to) {
  return (value + to - 1) / to * to;
}

// The next `count` values of a slot's working memory.
template <class T>
T* take(uint8_t*& space, int64_t count) {
  T* const taken = reinterpret_cast<T*>(space);
  space += round_up(count * int64_t(sizeof(T)), 64);
  return taken;
}
template <class T>
size_t room(int64_t count) {
  return size_t(round_up(count * int64_t(sizeof(T)), 64));
}

}  // namespace

/// One call: its images cut into units of work, shared out to slots (threads) with working memory of their own.
struct IntegerConvolution::Call {
  enum class Path {
    Rows,      // 1 x 1 kernels: pixels are the rows of a matrix
    Gathered,  // windows are copied into the rows of a matrix: small images, or rows that fall on the same cache sets
    Direct,    // windows are read where they are, in a copy with padding if there is any
    Depthwise
  };

  const IntegerConvolution& layer;
  const ConvolutionShape& shape;
  const lowbit::Kernels& kernels;
  int count, h, w, out_h, out_w, in_each, out_each, slots;
  Path path;
  // Of Rows and Gathered, a unit is a block of output pixels and a part of the panels; of Direct and Depthwise, a band
  // of output rows of one image.
  int64_t units, unit_rows;
  int panel_parts = 1, bands = 1;
  int64_t line;           // bytes of an input row with its padding
  int64_t row_bytes = 0;  // of a gathered window
  size_t slot_bytes = 0;
  const uint8_t* in = nullptr;
  uint8_t* out = nullptr;
  int64_t out_size = 1;  // bytes of a value
  lowbit::OutputStage stage;
  uint8_t* scratch = nullptr;

  Call(const IntegerConvolution& convolution, int images, int height, int width, int threads)
      : layer(convolution), shape(convolution.shape_), kernels(lowbit::kernels()), count(images), h(height), w(width) {
    const ConvolutionShape& s = shape;
    out_h = s.output_h(h);
    out_w = s.output_w(w);
    in_each = s.in_channels / s.groups;
    out_each = s.out_channels / s.groups;
    line = int64_t{w + 2 * s.padding_w} * s.in_channels;
    const int64_t pixels = int64_t{count} * out_h * out_w, most = kernels.most_rows;
    const bool pointwise = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
                           s.padding_h == 0 && s.padding_w == 0;
    if (s.is_depthwise())
      path = Path::Depthwise;
    else if (pointwise && (s.in_channels % 4096 != 0 || pixels < most))
      path = Path::Rows;
    else if (pointwise || 2 * out_w < most)
      path = Path::Gathered;
    else
      path = Path::Direct;
    // Waking a thread costs some microseconds, in which one thread does about this many multiply-adds.
    const int64_t worth_a_thread = path == Path::Depthwise ? 1 << 16 : 1 << 20;
    slots = int(std::clamp<int64_t>(s.weights() * pixels / worth_a_thread, 1, threads));

    if (path == Path::Rows || path == Path::Gathered) {
      // A block's windows stay in the second-level cache while all the panels pass over them.
      constexpr int64_t kCache = 1 << 19;
      const int64_t window = int64_t{layer.segments_} * layer.quads_ * 4;
      int64_t blocks = std::max<int64_t>(pixels * window / kCache, 1);
      if (pixels >= 2 * most * slots) blocks = round_up(blocks, slots);
      unit_rows = round_up((pixels + blocks - 1) / blocks, most);
      blocks = (pixels + unit_rows - 1) / unit_rows;
      if (blocks < slots) panel_parts = std::min(slots, layer.panels());
      units = blocks * panel_parts;
      if (path == Path::Gathered) {
        row_bytes = round_up(window, 64);
        if (row_bytes % 1024 == 0) row_bytes += 64;
        slot_bytes += room<uint8_t>(row_bytes * unit_rows + 64);
      }
    } else {
      constexpr int64_t kCache = 1 << 18;
      const int64_t reach = int64_t{s.dilation_h} * (s.kernel_h - 1) + 1;
      unit_rows =
          path == Path::Depthwise ? out_h : std::clamp<int64_t>((kCache / line - reach) / s.stride_h + 1, 1, out_h);
      if (count < slots) unit_rows = std::min<int64_t>(unit_rows, (int64_t{out_h} * count + slots - 1) / slots);
      bands = int((out_h + unit_rows - 1) / unit_rows);
      units = int64_t{count} * bands;
      if (path == Path::Depthwise)
        slot_bytes += room<uint8_t>(int64_t(lowbit::depthwise_scratch(w, s.padding_w, s.kernel_h))) +
                      room<uint8_t>(line + int64_t(kReadAhead)) + room<uint8_t*>(s.kernel_h);
      else if (s.padding_h > 0 || s.padding_w > 0)
        slot_bytes += room<uint8_t>(((unit_rows - 1) * s.stride_h + reach) * line + int64_t(kReadAhead));
    }
    if (path != Path::Depthwise) {
      slot_bytes += room<int32_t>(layer.segments_);
      if (!layer.zero_points_.empty()) slot_bytes += room<int32_t>(unit_rows * (path == Path::Direct ? out_w : 1));
    }
    slots = int(std::min<int64_t>(slots, units));
  }

  void run() const {
    parallel_for(slots, 1, [this](int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot)
        for (int64_t unit = units * slot / slots; unit < units * (slot + 1) / slots; ++unit)
          run_unit(unit, scratch + size_t(slot) * slot_bytes);
    });
  }

  void run_unit(int64_t unit, uint8_t* space) const {
    if (path == Path::Rows || path == Path::Gathered)
      run_rows(unit / panel_parts * unit_rows, int(unit % panel_parts), space);
    else if (path == Path::Direct)
      run_band(int(unit / bands), int(unit % bands * unit_rows), space);
    else
      run_depthwise(int(unit / bands), int(unit % bands * unit_rows), space);
  }

  // `pixels` windows, `stride` bytes apart, times one panel. `sums` are the windows', if weights have zero points.
  void multiply(const uint8_t* from, int64_t stride, int64_t pixels, const int32_t* segments, int segment_count,
                int quads, int group, int panel, const int32_t* sums, int64_t out_pixel) const {
    const int first = panel * lowbit::kPanel;
    lowbit::Tile tile{
        .in = from,
        .in_stride = stride,
        .segments = segments,
        .segment_count = segment_count,
        .quads = quads,
        .weights = &layer.packed_[size_t(group) * layer.group_bytes() +
                                  size_t(layer.segments_ * layer.quads_) * 4 * size_t(first)],
        .columns = &layer.panel_columns_[size_t(group * layer.panels() + panel)],
        .window_sums = sums,
        .stage = &stage,
        .out = nullptr,
        .out_stride = shape.out_channels,
        .width = layer.panel_width(panel),
        .channels = std::min(lowbit::kPanel, out_each - first),
    };
    // As equal as can be, for a small tile does not fill the multipliers' pipelines.
    const int most = kernels.most_rows, tiles = int((pixels + most - 1) / most);
    const int each = int(pixels) / tiles, larger = int(pixels) % tiles;
    for (int k = 0, begin = 0; k < tiles; ++k) {
      const int rows = each + (k < larger);
      tile.in = from + begin * stride;
      tile.window_sums = sums ? sums + begin : nullptr;
      tile.out = out + ((out_pixel + begin) * shape.out_channels + group * out_each + first) * out_size;
      kernels.tiles[rows](tile);
      begin += rows;
    }
  }

  int32_t window_sum(const uint8_t* window, const int32_t* segments) const {
    int32_t sum = 0;
    for (int k = 0; k < layer.segments_; ++k)
      for (int b = 0; b < layer.segment_bytes_; ++b) sum += window[segments[k] + b];
    return sum;
  }

  void run_rows(int64_t first, int part, uint8_t* space) const {
    const int64_t pixels = std::min(unit_rows, int64_t{count} * out_h * out_w - first);
    int32_t* const segments = take<int32_t>(space, layer.segments_);
    for (int k = 0; k < layer.segments_; ++k) segments[k] = k * layer.quads_ * 4;
    int32_t* const sums = layer.zero_points_.empty() ? nullptr : take<int32_t>(space, unit_rows);
    for (int group = 0; group < shape.groups; ++group) {
      const uint8_t* from = in + first * shape.in_channels + group * in_each;
      int64_t stride = shape.in_channels;
      if (path == Path::Gathered) {
        from = space;
        stride = row_bytes;
        for (int64_t i = 0; i < pixels; ++i) gather(first + i, group, space + i * row_bytes);
      }
      if (sums)
        for (int64_t i = 0; i < pixels; ++i) sums[i] = window_sum(from + i * stride, segments);
      for (int panel = layer.panels() * part / panel_parts; panel < layer.panels() * (part + 1) / panel_parts; ++panel)
        multiply(from, stride, pixels, segments, 1, layer.segments_ * layer.quads_, group, panel, sums, first);
    }
  }

  // A pixel's window as one row, each segment filled up to whole quads: by anything, for those weights are zero.
  void gather(int64_t pixel, int group, uint8_t* to) const {
    const int64_t channels = shape.in_channels;
    const uint8_t* const image = in + pixel / (int64_t{out_w} * out_h) * h * w * channels + group * in_each;
    const int y0 = int(pixel / out_w % out_h) * shape.stride_h - shape.padding_h;
    const int x0 = int(pixel % out_w) * shape.stride_w - shape.padding_w;
    const int zero = layer.input_.zero_point;
    for (int ky = 0; ky < shape.kernel_h; ++ky) {
      const int y = y0 + ky * shape.dilation_h;
      const bool row_inside = y >= 0 && y < h;
      const uint8_t* const row = image + int64_t{y} * w * channels;
      if (layer.row_segments_ && row_inside && x0 >= 0 && x0 + shape.kernel_w <= w) {
        std::memcpy(to, row + x0 * channels, size_t(layer.segment_bytes_));
        to += layer.quads_ * 4;
        continue;
      }
      uint8_t* at = to;
      for (int kx = 0; kx < shape.kernel_w; ++kx) {
        const int x = x0 + kx * shape.dilation_w;
        if (row_inside && x >= 0 && x < w)
          std::memcpy(at, row + x * channels, size_t(in_each));
        else
          std::memset(at, zero, size_t(in_each));
        at += layer.row_segments_ ? in_each : layer.quads_ * 4;
      }
      to += int64_t{layer.quads_} * 4 * (layer.row_segments_ ? 1 : shape.kernel_w);
    }
  }

  void run_band(int image, int first_row, uint8_t* space) const {
    const int rows = int(std::min<int64_t>(unit_rows, out_h - first_row));
    int32_t* const segments = take<int32_t>(space, layer.segments_);
    for (int k = 0; k < layer.segments_; ++k)
      segments[k] = int32_t(layer.row_segments_ ? k * shape.dilation_h * line
                                                : k / shape.kernel_w * shape.dilation_h * line +
                                                      k % shape.kernel_w * shape.dilation_w * shape.in_channels);
    int32_t* const sums = layer.zero_points_.empty() ? nullptr : take<int32_t>(space, unit_rows * out_w);
    const int y0 = first_row * shape.stride_h - shape.padding_h;
    const uint8_t* from = in + (int64_t{image} * h + y0) * w * shape.in_channels;
    if (shape.padding_h > 0 || shape.padding_w > 0) {
      copy_padded(image, y0, (rows - 1) * shape.stride_h + shape.dilation_h * (shape.kernel_h - 1) + 1, space);
      from = space;
    }
    const int64_t row_step = shape.stride_h * line, step = int64_t{shape.stride_w} * shape.in_channels;
    const int64_t out_pixel = (int64_t{image} * out_h + first_row) * out_w;
    for (int group = 0; group < shape.groups; ++group, from += in_each) {
      if (sums)
        for (int64_t i = 0; i < int64_t{rows} * out_w; ++i)
          sums[i] = window_sum(from + i / out_w * row_step + i % out_w * step, segments);
      for (int panel = 0; panel < layer.panels(); ++panel)
        for (int64_t row = 0; row < rows; ++row)
          multiply(from + row * row_step, step, out_w, segments, layer.segments_, layer.quads_, group, panel,
                   sums ? sums + row * out_w : nullptr, out_pixel + row * out_w);
    }
  }

  // Input rows y0 to y0 + rows - 1 with the padding around them.
  void copy_padded(int image, int y0, int rows, uint8_t* to) const {
    const size_t inner = size_t(w) * size_t(shape.in_channels),
                 side = size_t(shape.padding_w) * size_t(shape.in_channels);
    const int zero = layer.input_.zero_point;
    for (int y = y0; y < y0 + rows; ++y, to += line) {
      if (y < 0 || y >= h) {
        std::memset(to, zero, size_t(line));
        continue;
      }
      std::memset(to, zero, side);
      std::memcpy(to + side, in + (int64_t{image} * h + y) * int64_t(inner), inner);
      std::memset(to + side + inner, zero, side);
    }
  }

  void run_depthwise(int image, int first_row, uint8_t* space) const {
    const int rows = int(std::min<int64_t>(unit_rows, out_h - first_row));
    const uint8_t** const pointers = take<const uint8_t*>(space, shape.kernel_h);
    uint8_t* const outside = take<uint8_t>(space, line + int64_t(kReadAhead));
    if (shape.padding_h > 0) std::memset(outside, layer.input_.zero_point, size_t(line));
    const uint8_t* const from = in + int64_t{image} * h * w * shape.in_channels;
    lowbit::DepthwiseRow row{
        .rows = pointers,
        .kernel_h = shape.kernel_h,
        .kernel_w = shape.kernel_w,
        .stride_w = shape.stride_w,
        .dilation_w = shape.dilation_w,
        .padding_w = shape.padding_w,
        .repeats = layer.repeats_,
        .in_w = w,
        .out_w = out_w,
        .channels = shape.in_channels,
        .input_zero = uint8_t(layer.input_.zero_point),
        .weights = layer.packed_.data(),
        .columns = layer.depthwise_columns_.data(),
        .stage = &stage,
        .out = nullptr,
        .scratch = space,
    };
    for (int oy = first_row; oy < first_row + rows; ++oy) {
      for (int ky = 0; ky < shape.kernel_h; ++ky) {
        const int y = oy * shape.stride_h - shape.padding_h + ky * shape.dilation_h;
        pointers[ky] = y < 0 || y >= h ? outside : from + int64_t{y} * w * shape.in_channels;
      }
      row.out = out + (int64_t{image} * out_h + oy) * out_w * shape.out_channels * out_size;
      kernels.depthwise(row);
    }
  }
};

size_t IntegerConvolution::scratch_bytes(int count, int h, int w, int threads) const {
  const Call call(*this, count, h, w, threads);
  return call.slot_bytes * size_t(call.slots);
}

void IntegerConvolution::run(lowbit::OutputStage stage, const uint8_t* in, int count, int h, int w, void* out,
                             std::span<uint8_t> scratch, int threads) const {
  Call call(*this, count, h, w, threads);
  require(scratch.size() >= call.slot_bytes * size_t(call.slots),
          "{} bytes of working memory are too few: {} are needed", scratch.size(),
          call.slot_bytes * size_t(call.slots));
  call.in = in;
  call.out = static_cast<uint8_t*>(out);
  call.out_size = stage.kind == lowbit::OutputKind::Codes ? 1 : 4;
  call.stage = stage;
  call.scratch = scratch.data();
  call.run();
}

void IntegerConvolution::run(const uint8_t* in, int count, int h, int w, uint8_t* out, std::span<uint8_t> scratch,
                             int threads) const {
  require(output_.has_value(), "a layer without an output quantizer gives integers or real values, not codes");
  run({lowbit::OutputKind::Codes, clamp_.low >= output_->zero_point, output_->zero_point, clamp_}, in, count, h, w, out,
      scratch, threads);
}

void IntegerConvolution::run_integer(const uint8_t* in, int count, int h, int w, int32_t* out,
                                     std::span<uint8_t> scratch, int threads) const {
  run({.kind = lowbit::OutputKind::Integers}, in, count, h, w, out, scratch, threads);
}

void IntegerConvolution::run_real(const uint8_t* in, int count, int h, int w, float* out, std::span<uint8_t> scratch,
                                  int threads) const {
  run({.kind = lowbit::OutputKind::Reals}, in, count, h, w, out, scratch, threads);
}

}  // namespace quanta
