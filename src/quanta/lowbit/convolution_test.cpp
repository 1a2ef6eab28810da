#include "quanta/lowbit/convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quanta/core/random.h"
#include "quanta/lowbit/every_target.h"

namespace quanta {
namespace {

struct Case {
  ConvolutionShape shape;
  int count = 1, h = 1, w = 1;
  AffineU8 input{.scale = 0.02f, .zero_point = 100}, output{.scale = 0.1f, .zero_point = 120};
  CodeRange clamp{0, 255};
  std::vector<int8_t> codes{};
  std::vector<float> scales{};
  std::vector<int32_t> zero_points{}, bias{};
  std::vector<uint8_t> in{};

  IntegerConvolution layer() const {
    return {shape,
            {.codes = codes, .scales = scales, .zero_points = zero_points, .bias_codes = bias},
            input,
            output,
            clamp};
  }
  size_t out_size() const {
    return size_t(count) * size_t(shape.output_h(h)) * size_t(shape.output_w(w)) * size_t(shape.out_channels);
  }
  std::string describe() const {
    const auto& s = shape;
    return fmt::format(
        "{} images {}x{}, {} -> {} channels, kernel {}x{}, stride {}x{}, padding {}x{}, dilation {}x{}, groups {}{}",
        count, h, w, s.in_channels, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.padding_h,
        s.padding_w, s.dilation_h, s.dilation_w, s.groups, zero_points.empty() ? "" : ", asymmetric");
  }
};

template <class T>
T of(const std::vector<T>& values, int o) {
  return values.empty() ? T(0) : values[values.size() == 1 ? 0 : size_t(o)];
}

// The sum of the real integers, window by window.
std::vector<int32_t> naive(const Case& c) {
  const ConvolutionShape& s = c.shape;
  std::vector<int32_t> out;
  const int in_each = s.in_channels / s.groups, out_each = s.out_channels / s.groups;
  for (int n = 0; n < c.count; ++n)
    for (int oy = 0; oy < s.output_h(c.h); ++oy)
      for (int ox = 0; ox < s.output_w(c.w); ++ox)
        for (int o = 0; o < s.out_channels; ++o) {
          int64_t sum = of(c.bias, o);
          for (int i = 0; i < in_each; ++i)
            for (int ky = 0; ky < s.kernel_h; ++ky)
              for (int kx = 0; kx < s.kernel_w; ++kx) {
                const int y = oy * s.stride_h - s.padding_h + ky * s.dilation_h;
                const int x = ox * s.stride_w - s.padding_w + kx * s.dilation_w;
                if (y < 0 || y >= c.h || x < 0 || x >= c.w) continue;
                const int code = c.in[size_t(((n * c.h + y) * c.w + x) * s.in_channels + o / out_each * in_each + i)];
                const int weight = c.codes[size_t(((o * in_each + i) * s.kernel_h + ky) * s.kernel_w + kx)];
                sum += int64_t{code - c.input.zero_point} * (weight - of(c.zero_points, o));
              }
          EXPECT_LT(std::abs(sum), int64_t{1} << 31);
          out.push_back(int32_t(sum));
        }
  return out;
}

void fill(Case& c, Random& random, bool asymmetric) {
  const ConvolutionShape& s = c.shape;
  for (int64_t i = 0; i < s.weights(); ++i) c.codes.push_back(int8_t(int(random.below(255)) - 127));
  for (int o = 0; o < s.out_channels; ++o) {
    c.scales.push_back(float(random.uniform(0.001, 0.01)));
    c.bias.push_back(int32_t(random.below(4000)) - 2000);
    if (asymmetric) c.zero_points.push_back(int32_t(random.below(256)) - 128);
  }
  c.in.resize(size_t(c.count) * size_t(c.h) * size_t(c.w) * size_t(s.in_channels) + IntegerConvolution::kReadAhead);
  for (uint8_t& code : c.in) code = uint8_t(random.below(256));
  // An output scale that spreads the values over the codes.
  c.output.scale = float(0.005 * c.input.scale * 74 * 74 * std::sqrt(double(s.weights() / s.out_channels)) / 60);
}

void check(const Case& c, int threads = 1) {
  SCOPED_TRACE(c.describe());
  const IntegerConvolution layer = c.layer();
  const std::vector<int32_t> sums = naive(c);
  std::vector<uint8_t> scratch(layer.scratch_bytes(c.count, c.h, c.w, threads) + 64);
  const std::span<uint8_t> space(scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64),
                                 scratch.size() - 64);
  std::vector<int32_t> integers(c.out_size());
  layer.run_integer(c.in.data(), c.count, c.h, c.w, integers.data(), space, threads);
  ASSERT_EQ(integers, sums);
  std::vector<uint8_t> codes(c.out_size() + 64, 77);
  layer.run(c.in.data(), c.count, c.h, c.w, codes.data(), space, threads);
  std::vector<float> reals(c.out_size());
  layer.run_real(c.in.data(), c.count, c.h, c.w, reals.data(), space, threads);
  for (size_t i = 0; i < sums.size(); ++i) {
    const float scale = of(c.scales, int(i % size_t(c.shape.out_channels)));
    const FixedPoint factor = fixed_point(double(scale) * double(c.input.scale) / double(c.output.scale));
    ASSERT_EQ(codes[i], requantize(sums[i], factor, c.output.zero_point, c.clamp.low, c.clamp.high))
        << i << ": " << sums[i];
    ASSERT_EQ(reals[i], float(sums[i]) * (scale * c.input.scale)) << i;
  }
  for (size_t i = sums.size(); i < codes.size(); ++i) ASSERT_EQ(codes[i], 77) << "written behind the end";
}

Case random_case(Random& random) {
  const auto between = [&](int low, int high) { return low + int(random.below(uint64_t(high - low + 1))); };
  Case c;
  ConvolutionShape& s = c.shape;
  const int kind = between(0, 4);
  s.groups = kind == 0 ? between(2, 4) : 1;
  s.in_channels = s.groups * between(1, random.below(2) ? 5 : 40);
  s.out_channels = s.groups * between(1, random.below(2) ? 18 : 70);
  if (kind == 1) s.groups = s.out_channels = s.in_channels = between(2, 140);  // depthwise
  if (kind != 2) {
    s.kernel_h = between(1, 5);
    s.kernel_w = between(1, 5);
    s.padding_h = between(0, s.kernel_h);
    s.padding_w = between(0, s.kernel_w);
    s.dilation_h = between(1, 2);
    s.dilation_w = between(1, 2);
    s.stride_h = between(1, 3);
    s.stride_w = between(1, 3);
  }
  c.count = between(1, 3);
  const auto least = [](int kernel, int dilation, int padding) {
    return std::max(dilation * (kernel - 1) + 1 - 2 * padding, 1);
  };
  c.h = least(s.kernel_h, s.dilation_h, s.padding_h) + between(0, 6);
  c.w = least(s.kernel_w, s.dilation_w, s.padding_w) + between(0, random.below(2) ? 6 : 36);
  c.input.zero_point = between(0, 255);
  c.output.zero_point = between(0, 255);
  if (random.below(2)) c.clamp = {c.output.zero_point, between(c.output.zero_point, 255)};
  fill(c, random, random.below(3) == 0);
  return c;
}

TEST(IntegerConvolution, EqualsTheNaiveSumOnEveryInstructionSet) {
  testing::for_every_target([] {
    Random random(1);
    for (int i = 0; i < 150; ++i) {
      check(random_case(random));
      if (HasFatalFailure()) return;
    }
  });
}

TEST(IntegerConvolution, RunsTheShapesOfRealNetworks) {
  const std::vector<Case> cases{
      {.shape = {.in_channels = 3, .out_channels = 16, .kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1},
       .h = 32,
       .w = 32},
      {.shape = {.in_channels = 16,
                 .out_channels = 32,
                 .kernel_h = 3,
                 .kernel_w = 3,
                 .stride_h = 2,
                 .stride_w = 2,
                 .padding_h = 1,
                 .padding_w = 1},
       .h = 16,
       .w = 32},
      {.shape = {.in_channels = 64, .out_channels = 64, .kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1},
       .count = 2,
       .h = 4,
       .w = 4},
      {.shape = {.in_channels = 3,
                 .out_channels = 8,
                 .kernel_h = 7,
                 .kernel_w = 7,
                 .stride_h = 2,
                 .stride_w = 2,
                 .padding_h = 3,
                 .padding_w = 3},
       .h = 21,
       .w = 40},
      {.shape = {.in_channels = 144,
                 .out_channels = 144,
                 .kernel_h = 3,
                 .kernel_w = 3,
                 .stride_h = 2,
                 .stride_w = 2,
                 .padding_h = 1,
                 .padding_w = 1,
                 .groups = 144},
       .h = 9,
       .w = 16},
      {.shape = {.in_channels = 4096, .out_channels = 40}, .count = 40},
      {.shape = {.in_channels = 1280, .out_channels = 10}, .count = 3},
      {.shape = {.in_channels = 24, .out_channels = 40, .stride_h = 2, .stride_w = 2}, .h = 8, .w = 15},
  };
  Random random(2);
  for (Case c : cases) {
    fill(c, random, false);
    testing::for_every_target([&] { check(c); });
  }
}

// What saturates 16-bit sums of two products.
TEST(IntegerConvolution, LargestCodesDoNotSaturate) {
  testing::for_every_target([] {
    for (const int sign : {-1, 1})
      for (const int groups : {1, 64}) {
        Case c{.shape = {.in_channels = 64,
                         .out_channels = 64,
                         .kernel_h = 3,
                         .kernel_w = 3,
                         .padding_h = 1,
                         .padding_w = 1,
                         .groups = groups},
               .h = 9,
               .w = 9};
        Random random(3);
        fill(c, random, false);
        std::ranges::fill(c.in, 255);
        std::ranges::fill(c.codes, int8_t(127 * sign));
        std::ranges::fill(c.bias, 0);
        c.input.zero_point = 0;
        check(c);
      }
    Case c{.shape = {.in_channels = 66000, .out_channels = 3}, .count = 2};
    Random random(4);
    fill(c, random, false);
    std::ranges::fill(c.in, 255);
    std::ranges::fill(c.codes, int8_t(127));
    std::ranges::fill(c.bias, 0);
    c.input.zero_point = 0;
    check(c);
  });
}

// Factors from far below to far above the vectorized range, side by side.
TEST(IntegerConvolution, ScalesOfAllSizes) {
  testing::for_every_target([] {
    for (const int groups : {1, 80}) {
      Case c{.shape = {.in_channels = 80,
                       .out_channels = 80,
                       .kernel_h = groups == 1 ? 1 : 3,
                       .kernel_w = 1,
                       .groups = groups},
             .h = 5,
             .w = 9};
      Random random(5);
      fill(c, random, false);
      for (size_t o = 0; o < c.scales.size(); ++o) c.scales[o] = float(std::exp2(random.uniform(-40, 10)));
      check(c);
      for (float& scale : c.scales) scale = float(std::exp2(random.uniform(-30, -4)));
      check(c);
    }
  });
}

TEST(IntegerConvolution, ThreadsDoNotChangeABit) {
  Random random(6);
  for (int i = 0; i < 40; ++i) {
    Case c = random_case(random);
    for (const int threads : {2, 3}) check(c, threads);
  }
  // Enough work that there is more than one slot.
  for (const bool depthwise : {false, true}) {
    Case c{.shape = {.in_channels = 64,
                     .out_channels = 64,
                     .kernel_h = 3,
                     .kernel_w = 3,
                     .padding_h = 1,
                     .padding_w = 1,
                     .groups = depthwise ? 64 : 1},
           .h = 17,
           .w = 19};
    fill(c, random, false);
    for (const int threads : {2, 3, 7}) check(c, threads);
  }
  for (const int rows : {1, 13, 300}) {
    Case c{.shape = {.in_channels = 500, .out_channels = 500}, .h = rows};
    fill(c, random, true);
    for (const int threads : {2, 3, 7}) check(c, threads);
  }
}

TEST(IntegerConvolution, GivesItsWeightsBack) {
  Random random(7);
  for (int i = 0; i < 60; ++i) {
    const Case c = random_case(random);
    EXPECT_EQ(c.layer().codes(), c.codes) << c.describe();
  }
}

// wq (10, 200, 30) with zero point 120 (here 128 less, as s8), xq (5, 128, 255) with zero point 128.
TEST(IntegerConvolution, HasTheWhitepapersExample) {
  Case c{.shape = {.in_channels = 3, .out_channels = 1}, .input = {.scale = 1, .zero_point = 128}};
  c.codes = {10 - 128, 200 - 128, 30 - 128};
  c.scales = {0.01f};
  c.zero_points = {120 - 128};
  c.in = {5, 128, 255};
  c.in.resize(3 + IntegerConvolution::kReadAhead);
  EXPECT_THAT(naive(c), ::testing::ElementsAre(2100));
  testing::for_every_target([&] { check(c); });
}

TEST(IntegerConvolution, RoundsABiasToTheAccumulatorsScale) {
  const std::vector<int8_t> codes{1, 1};
  const std::vector<float> scales{0.5f, 0.25f}, bias{1.3f, -1.3f};
  const IntegerConvolution layer({.in_channels = 1, .out_channels = 2},
                                 {.codes = codes, .scales = scales, .bias = bias}, {.scale = 0.1f});
  EXPECT_THAT(layer.bias_codes(), ::testing::ElementsAre(26, -52));
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(IntegerConvolution, RefusesWhatDoesNotFit) {
  using ::testing::HasSubstr;
  Random random(8);
  Case good{.shape = {.in_channels = 4, .out_channels = 6, .groups = 2}};
  fill(good, random, false);
  const auto with = [&](auto change) {
    Case c = good;
    change(c);
    return message_of([&] { c.layer(); });
  };
  EXPECT_EQ(with([](Case&) {}), "no error");
  EXPECT_THAT(with([](Case& c) { c.codes.pop_back(); }), HasSubstr("12 weights were expected, got 11"));
  EXPECT_THAT(with([](Case& c) { c.scales.pop_back(); }), HasSubstr("1 or 6 weight scales were expected, got 5"));
  EXPECT_THAT(with([](Case& c) { c.scales[2] = 0; }), HasSubstr("a weight scale must be positive and finite, got 0"));
  EXPECT_THAT(with([](Case& c) { c.bias.pop_back(); }), HasSubstr("6 bias codes were expected, got 5"));
  EXPECT_THAT(with([](Case& c) { c.zero_points = {1, 2}; }), HasSubstr("0, 1 or 6 weight zero points"));
  EXPECT_THAT(with([](Case& c) { c.zero_points = {128}; }), HasSubstr("from -128 to 127, got 128"));
  EXPECT_THAT(with([](Case& c) { c.shape.groups = 3; }),
              HasSubstr("3 groups must divide 4 input and 6 output channels"));
  EXPECT_THAT(with([](Case& c) { c.shape.stride_h = 0; }), HasSubstr("must be at least 1"));
  EXPECT_THAT(with([](Case& c) { c.input.zero_point = 256; }),
              HasSubstr("the input zero point must lie from 0 to 255, got 256"));
  EXPECT_THAT(with([](Case& c) { c.output.scale = -1; }),
              HasSubstr("the output scale must be positive and finite, got -1"));
  EXPECT_THAT(with([](Case& c) { c.clamp = {9, 8}; }), HasSubstr("the output codes 9 to 8"));
  EXPECT_THAT(with([](Case& c) { c.bias[3] = 2147483647; }), HasSubstr("output channel 3 of 2 weights can overflow"));
  EXPECT_THAT(message_of([&] {
                IntegerConvolution(good.shape, {.codes = good.codes, .scales = good.scales, .bits = 4}, good.input);
              }),
              HasSubstr("a weight code of 4 bits must lie from -8 to 7"));
  const IntegerConvolution real(good.shape, {.codes = good.codes, .scales = good.scales}, good.input);
  EXPECT_THAT(message_of([&] { real.run(good.in.data(), 1, 1, 1, nullptr, {}, 1); }),
              HasSubstr("without an output quantizer"));
}

}  // namespace
}  // namespace quanta
