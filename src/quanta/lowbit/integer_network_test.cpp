#include "quanta/lowbit/integer_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <new>
#include <thread>

#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/core/safetensors.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/lowbit/every_target.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// --- operations -----------------------------------------------------------------------------------------------------

std::vector<uint8_t> random_codes(size_t count, Random& random) {
  std::vector<uint8_t> codes(count);
  for (uint8_t& code : codes) code = uint8_t(random.below(256));
  return codes;
}

// Real arithmetic: off by one only where the exact sum is within a rounding of the factors of a half.
TEST(Operations, AddIsTheRoundedRealSum) {
  testing::for_every_target([] {
    Random random(1);
    for (int i = 0; i < 200; ++i) {
      const AffineU8 a{float(std::exp2(random.uniform(-6, 3))), int(random.below(256))},
          b{float(std::exp2(random.uniform(-6, 3))), int(random.below(256))},
          y{float(std::exp2(random.uniform(-3, 3))), int(random.below(256))};
      const CodeRange clamp{random.below(2) ? y.zero_point : int(random.below(20)), 255};
      const size_t count = 1 + random.below(300);
      const auto x = random_codes(count, random), z = random_codes(count, random);
      std::vector<uint8_t> out(count + 64, 99);
      const AddFactors f = add_factors(a, b, y, clamp);
      add(f, x.data(), z.data(), count, out.data());
      for (size_t k = 0; k < count; ++k) {
        const int64_t sum = int64_t{x[k] - a.zero_point} * f.a_factor + int64_t{z[k] - b.zero_point} * f.b_factor;
        ASSERT_EQ(out[k],
                  std::clamp(rounding_shift_right(int32_t(sum), f.shift) + y.zero_point, clamp.low, clamp.high));
        const double real =
            (double(a.scale) * (x[k] - a.zero_point) + double(b.scale) * (z[k] - b.zero_point)) / y.scale;
        const double exact = std::clamp(real + y.zero_point, double(clamp.low), double(clamp.high));
        ASSERT_NEAR(out[k], exact, 0.5 + 1e-3) << int(x[k]) << " and " << int(z[k]);
      }
      for (size_t k = count; k < out.size(); ++k) ASSERT_EQ(out[k], 99);
    }
  });
}

TEST(Operations, AddRoundsHalvesAwayFromZero) {
  const AddFactors f = add_factors({.scale = 1, .zero_point = 10}, {.scale = 1, .zero_point = 10},
                                   {.scale = 2, .zero_point = 100}, {0, 255});
  const std::vector<uint8_t> a{11, 9, 13, 7}, b{10, 10, 10, 10};
  testing::for_every_target([&] {
    std::vector<uint8_t> out(4);
    add(f, a.data(), b.data(), 4, out.data());
    EXPECT_THAT(out, ElementsAre(101, 99, 102, 98));
  });
}

TEST(Operations, QuantizeImagesIsQuantizeInAnotherOrder) {
  testing::for_every_target([] {
    Random random(2);
    for (const int channels : {1, 3, 5})
      for (const int64_t pixels : {1, 7, 64, 300}) {
        std::vector<float> images(size_t(2 * channels * pixels));
        for (float& x : images) x = float(random.uniform(-2, 3));
        images[0] = 1e30f;
        images[images.size() - 1] = -INFINITY;
        const AffineU8 q{.scale = 0.013f, .zero_point = 77, .max_code = 250};
        std::vector<uint8_t> codes(images.size());
        quantize_images(images.data(), 2, channels, pixels, q, codes.data());
        std::vector<float> back(images.size());
        dequantize_images(codes.data(), 2, channels, pixels, q, back.data());
        for (int n = 0; n < 2; ++n)
          for (int c = 0; c < channels; ++c)
            for (int64_t p = 0; p < pixels; ++p) {
              const size_t at = size_t((n * channels + c) * pixels + p);
              const uint8_t code = codes[size_t((n * pixels + p) * channels + c)];
              ASSERT_EQ(code, quantize(images[at], q));
              ASSERT_EQ(back[at], dequantize(code, q));
            }
      }
  });
}

TEST(Operations, PoolsEqualTheirDefinition) {
  testing::for_every_target([] {
    Random random(3);
    for (int i = 0; i < 60; ++i) {
      const PoolShape pool{.kernel_h = 1 + int(random.below(4)),
                           .kernel_w = 1 + int(random.below(4)),
                           .stride_h = 1 + int(random.below(3)),
                           .stride_w = 1 + int(random.below(3)),
                           .padding_h = 0,
                           .padding_w = 0,
                           .count_padding = random.below(2) == 1};
      PoolShape p = pool;
      p.padding_h = int(random.below(uint64_t(p.kernel_h / 2 + 1)));
      p.padding_w = int(random.below(uint64_t(p.kernel_w / 2 + 1)));
      const int h = 4 + int(random.below(6)), w = 4 + int(random.below(6)), channels = 1 + int(random.below(300));
      const AffineU8 from{.scale = 0.1f, .zero_point = int(random.below(256))},
          to{.scale = float(random.uniform(0.05, 0.2)), .zero_point = int(random.below(256))};
      const auto in = random_codes(size_t(2 * h * w * channels), random);
      const int out_h = p.output_h(h), out_w = p.output_w(w);
      std::vector<uint8_t> highest(size_t(2 * out_h * out_w * channels)), average(highest.size());
      max_pool(p, in.data(), 2, h, w, channels, highest.data());
      average_pool(p, average_factors(p, from, to, {0, 255}), in.data(), 2, h, w, channels, average.data());
      size_t at = 0;
      for (int n = 0; n < 2; ++n)
        for (int oy = 0; oy < out_h; ++oy)
          for (int ox = 0; ox < out_w; ++ox)
            for (int c = 0; c < channels; ++c, ++at) {
              int most = 0, sum = 0, inside = 0;
              for (int ky = 0; ky < p.kernel_h; ++ky)
                for (int kx = 0; kx < p.kernel_w; ++kx) {
                  const int y = oy * p.stride_h - p.padding_h + ky, x = ox * p.stride_w - p.padding_w + kx;
                  if (y < 0 || y >= h || x < 0 || x >= w) continue;
                  const int code = in[size_t(((n * h + y) * w + x) * channels + c)];
                  most = std::max(most, code);
                  sum += code - from.zero_point;
                  ++inside;
                }
              ASSERT_EQ(highest[at], most);
              const int divisor = p.count_padding ? p.kernel_h * p.kernel_w : inside;
              const double factor = double(from.scale) / double(to.scale) / divisor;
              ASSERT_EQ(average[at], requantize(sum, fixed_point(factor), to.zero_point));
              // The two roundings of a requantization are at most this far from the real value.
              const double worst = 0.5 + std::ldexp(0.5, -std::max(fixed_point(factor).shift, 0)) + 1e-6;
              ASSERT_NEAR(average[at], std::clamp(factor * sum + to.zero_point, 0.0, 255.0), worst);
            }
    }
  });
}

TEST(Operations, LookUpFindsEveryCode) {
  const CodeTable table = rescale_table({.scale = 0.1f, .zero_point = 30}, {.scale = 0.17f, .zero_point = 9}, {5, 200});
  testing::for_every_target([&] {
    Random random(4);
    const auto in = random_codes(1000, random);
    std::vector<uint8_t> out(1000);
    look_up(table, in.data(), 1000, out.data());
    for (size_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(out[i], table[in[i]]);
      ASSERT_NEAR(out[i], std::clamp((in[i] - 30) * 0.1 / 0.17 + 9, 5.0, 200.0), 0.5 + 1e-4);
    }
  });
}

TEST(Operations, ShuffleIsTheTransposeOfGroups) {
  const std::vector<uint8_t> in{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15};
  std::vector<uint8_t> out(12);
  channel_shuffle(in.data(), 2, 6, 2, out.data());
  EXPECT_THAT(out, ElementsAre(0, 3, 1, 4, 2, 5, 10, 13, 11, 14, 12, 15));
}

TEST(Operations, ActivationsCutTheCodes) {
  EXPECT_EQ(code_range(Activation::None, {.scale = 1, .zero_point = 5, .max_code = 15}), (CodeRange{0, 15}));
  EXPECT_EQ(code_range(Activation::Relu, {.scale = 1, .zero_point = 5}), (CodeRange{5, 255}));
  EXPECT_EQ(code_range(Activation::Relu6, {.scale = 0.5f, .zero_point = 5}), (CodeRange{5, 17}));
}

// --- networks -------------------------------------------------------------------------------------------------------

struct Weights {
  std::vector<int8_t> codes;
  std::vector<float> scales, bias;
  int bits = 8;
  Weights(int64_t count, int out, Random& random, int bits_ = 8) : bits(bits_) {
    const int most = (1 << (bits - 1)) - 1;
    for (int64_t i = 0; i < count; ++i) codes.push_back(int8_t(int(random.below(uint64_t(2 * most + 1))) - most));
    for (int o = 0; o < out; ++o) {
      scales.push_back(float(random.uniform(0.1, 0.5)) / float(most) / std::sqrt(float(count / out)));
      bias.push_back(float(random.uniform(-0.2, 0.2)));
    }
  }
  IntegerWeights view() const { return {.codes = codes, .scales = scales, .bias = bias, .bits = bits}; }
};

// Every kind of operation, two branches, and layers of 8, 4 and 3 bits.
IntegerNetwork small_network(bool real_output, int bits = 4) {
  Random random(5);
  IntegerNetworkBuilder net({3, 12, 10}, {.scale = 0.02f, .zero_point = 128});
  const auto q = [](float scale, int zero) { return AffineU8{.scale = scale, .zero_point = zero}; };
  const ConvolutionShape first{
      .in_channels = 3, .out_channels = 20, .kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1};
  const int a = net.convolution("first", net.input(), first, Weights(first.weights(), 20, random).view(), q(0.01f, 0),
                                Activation::Relu);
  const ConvolutionShape depth{.in_channels = 20,
                               .out_channels = 20,
                               .kernel_h = 3,
                               .kernel_w = 3,
                               .padding_h = 1,
                               .padding_w = 1,
                               .groups = 20};
  const int b = net.convolution("depthwise", a, depth, Weights(depth.weights(), 20, random).view(), q(0.02f, 3),
                                Activation::Relu6);
  const ConvolutionShape point{.in_channels = 20, .out_channels = 20};
  const int c = net.convolution("point", b, point, Weights(point.weights(), 20, random, bits).view(), q(0.01f, 120));
  const int d = net.add("sum", a, c, q(0.012f, 60));
  const int e = net.rescale("relu", d, q(0.012f, 0), Activation::Relu);
  const int f = net.max_pool("max", e, {});
  const int g = net.average_pool("average", e, {}, q(0.011f, 5));
  const int h = net.concat("both", {f, g}, q(0.0125f, 2));
  const int i = net.channel_shuffle("shuffle", h, 2);
  const ConvolutionShape grouped{.in_channels = 40,
                                 .out_channels = 24,
                                 .kernel_h = 3,
                                 .kernel_w = 3,
                                 .stride_h = 2,
                                 .stride_w = 2,
                                 .padding_h = 1,
                                 .padding_w = 1,
                                 .groups = 4};
  const int j = net.convolution("grouped", i, grouped, Weights(grouped.weights(), 24, random, 3).view(), q(0.02f, 0),
                                Activation::Relu);
  const int k = net.flatten("flatten", j);
  const int features = net.shape(k).channels;
  if (real_output) return net.output_linear("logits", k, Weights(features * 7, 7, random).view());
  const int l = net.linear("logits", k, Weights(features * 7, 7, random).view(), q(0.01f, 99));
  return net.output(l);
}

std::vector<float> random_images(int count, Random& random) {
  std::vector<float> images(size_t(count) * 3 * 12 * 10);
  for (float& x : images) x = float(random.normal());
  return images;
}

TEST(IntegerNetwork, IsItsOperationsOneByOne) {
  Random random(6);
  const auto images = random_images(5, random);
  for (const bool real : {false, true}) {
    const IntegerNetwork net = small_network(real);
    const auto codes = net.quantize_input(images, 5);
    const auto all = net.trace(codes, 5);
    ASSERT_EQ(all.size(), net.describe().size());
    const auto out = net.run(images, 5);
    EXPECT_EQ(out, net.run_codes(codes, 5));
    if (real) {
      EXPECT_EQ(out, net.run_real_op(all.size() - 1, all[all.size() - 2], 5));
    } else {
      for (size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i], dequantize(all.back()[i], {.scale = 0.01f, .zero_point = 99}));
      std::map<uint8_t, int> seen;  // the network says something: its outputs differ
      for (const uint8_t code : all.back()) ++seen[code];
      EXPECT_GT(seen.size(), 5u);
    }
    EXPECT_EQ(all[net.find("sum")], net.run_op(net.find("sum"), {all[net.find("first")], all[net.find("point")]}, 5));
  }
}

TEST(IntegerNetwork, BatchThreadsAndInstructionSetsDoNotChangeABit) {
  Random random(7);
  const int count = 9;
  const auto images = random_images(count, random);
  const IntegerNetwork net = small_network(true);
  const auto expected = net.run(images, count);
  testing::for_every_target([&] { EXPECT_EQ(net.run(images, count), expected); });
  for (int i = 0; i < count; ++i) {
    const auto one = net.run(std::span(images).subspan(size_t(i) * 360, 360), 1);
    EXPECT_EQ(one, std::vector<float>(expected.begin() + i * 7, expected.begin() + i * 7 + 7));
  }
  const int before = threads();
  for (const int n : {2, 3}) {
    set_threads(n);
    EXPECT_EQ(net.run(images, count), expected);
    EXPECT_EQ(net.run(std::span(images).first(360), 1), std::vector<float>(expected.begin(), expected.begin() + 7));
  }
  set_threads(before);
}

TEST(IntegerNetwork, ServesSeveralCallers) {
  Random random(8);
  const auto images = random_images(3, random);
  const IntegerNetwork net = small_network(false);
  const auto expected = net.run(images, 3);
  std::vector<char> equal(3, 1);
  std::vector<std::thread> callers;
  for (char& ok : equal)
    callers.emplace_back([&] {
      for (int k = 0; k < 5; ++k) ok = ok && net.run(images, 3) == expected;
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(equal, ::testing::Each(1));
}

TEST(IntegerNetwork, DescribesItself) {
  const IntegerNetwork net = small_network(true);
  const auto ops = net.describe();
  const IntegerOpInfo& first = ops[net.find("first")];
  EXPECT_EQ(first.macs, 20 * 27 * 120);
  EXPECT_EQ(first.weight_bytes, 20 * 27 + 4 * 20 + 4 * 20);
  EXPECT_EQ(first.shape, (ImageShape{20, 12, 10}));
  EXPECT_EQ(first.output_bytes, 2400);
  const IntegerOpInfo& point = ops[net.find("point")];
  EXPECT_EQ(point.weight_bits, 4);
  EXPECT_EQ(point.weight_bytes, 400 / 2 + 160);
  EXPECT_THAT(ops[net.find("sum")].inputs, ElementsAre("first", "point"));
  EXPECT_EQ(ops.back().output_bytes, 7 * 4);
  // No arena is smaller than the largest operation's inputs and output, none larger than all tensors.
  int64_t all = 360 + 128;
  for (const auto& op : ops) all += (op.output_bytes + 127) / 64 * 64 + 64;
  EXPECT_GE(net.arena_bytes(), 3 * 2400);
  EXPECT_LT(net.arena_bytes(), all);
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::Not(HasSubstr("\n")));
    return error.what();
  }
  return "no error";
}

TEST(IntegerNetwork, ComesBackFromItsFile) {
  const testing::TemporaryFolder folder;
  Random random(9);
  const auto images = random_images(4, random);
  for (const bool real : {false, true})
    for (const int bits : {2, 3, 4, 5, 8}) {
      const IntegerNetwork net = small_network(real, bits);
      net.save(folder / "net.safetensors");
      const IntegerNetwork back = IntegerNetwork::load(folder / "net.safetensors");
      EXPECT_EQ(back.run(images, 4), net.run(images, 4));
      EXPECT_EQ(back.input_shape(), net.input_shape());
      EXPECT_EQ(back.input_quantization(), net.input_quantization());
      const auto a = net.describe(), b = back.describe();
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].name, b[i].name);
        EXPECT_EQ(a[i].output, b[i].output);
        EXPECT_EQ(a[i].weight_bytes, b[i].weight_bytes);
      }
      const auto file = Safetensors::open(folder / "net.safetensors");
      EXPECT_EQ(file.at("point.codes").bytes.size(), size_t(400 * bits / 8));
    }
}

TEST(IntegerNetwork, RefusesDamagedFiles) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  small_network(true).save(path);
  std::ifstream stream(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(stream)), {});
  const auto load = [&](const std::string& bytes) {
    write_file(path, bytes);
    return message_of([&] { IntegerNetwork::load(path); });
  };
  EXPECT_EQ(load(good), "no error");
  for (size_t length = 0; length < good.size(); length += 97)
    EXPECT_THAT(load(good.substr(0, length)), HasSubstr(path)) << length;
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string bytes = good;
    const size_t at = bytes.find(from);
    EXPECT_NE(at, bytes.npos) << from;
    EXPECT_EQ(from.size(), to.size());
    return bytes.replace(at, from.size(), to);
  };
  EXPECT_THAT(load(replaced("quanta.integer_network", "quanta.integer_netwurk")),
              HasSubstr("its format is quanta.integer_netwurk"));
  EXPECT_THAT(load(replaced("\"version\":\"1\"", "\"version\":\"9\"")),
              HasSubstr("version 1 of the format was expected, got 9"));
  EXPECT_THAT(load(replaced("\\\"kind\\\":\\\"max_pool\\\"", "\\\"kind\\\":\\\"mix_pool\\\"")),
              HasSubstr("unknown kind 'mix_pool'"));
  EXPECT_THAT(load(replaced("\\\"in_channels\\\":40", "\\\"in_channels\\\":44")), HasSubstr("operation 9"));
  EXPECT_THAT(load(replaced("\\\"bits\\\":3", "\\\"bits\\\":5")), HasSubstr("weights of 5 bits take"));
  EXPECT_THAT(load(replaced("\\\"stride_h\\\":2", "\\\"stride_h\\\":0")), HasSubstr("must be at least 1"));
  // Any byte of the header may be wrong: an error or a network, no crash.
  Random random(10);
  const size_t header = 8 + size_t(uint8_t(good[0])) + 256 * size_t(uint8_t(good[1]));
  for (int i = 0; i < 400; ++i) {
    std::string bytes = good;
    bytes[8 + random.below(header - 8)] = char(32 + random.below(95));
    load(bytes);
  }
}

TEST(IntegerNetworkBuilder, RefusesWhatDoesNotFit) {
  Random random(11);
  const AffineU8 q{.scale = 0.1f};
  IntegerNetworkBuilder net({4, 6, 6}, q);
  const Weights w(4 * 8, 8, random);
  const ConvolutionShape shape{.in_channels = 4, .out_channels = 8};
  EXPECT_THAT(message_of([&] { net.convolution("a", 7, shape, w.view(), q); }), HasSubstr("no tensor 7"));
  EXPECT_THAT(message_of([&] { net.convolution("a", 0, {.in_channels = 8, .out_channels = 4}, w.view(), q); }),
              HasSubstr("a: the weights want 8 input channels, input has 4"));
  EXPECT_THAT(
      message_of([&] { net.convolution("a", 0, {.in_channels = 4, .out_channels = 8, .kernel_h = 9}, w.view(), q); }),
      HasSubstr("a: 288 weights were expected, got 32"));
  EXPECT_THAT(message_of([&] { net.linear("a", 0, w.view(), q); }),
              HasSubstr("a: input is 4 x 6 x 6; flatten it first"));
  EXPECT_THAT(message_of([&] { net.max_pool("a", 0, {.kernel_h = 7}); }),
              HasSubstr("a: a window of 7 x 2 does not fit images of 6 x 6"));
  EXPECT_THAT(message_of([&] { net.channel_shuffle("a", 0, 3); }), HasSubstr("a: 3 groups do not divide 4 channels"));
  EXPECT_THAT(message_of([&] { net.rescale("a", 0, {.scale = 0}); }), HasSubstr("a: a scale must be positive"));
  const int x = net.convolution("a", 0, shape, w.view(), q);
  EXPECT_THAT(message_of([&] { net.convolution("a", 0, shape, w.view(), q); }), HasSubstr("must be new"));
  EXPECT_THAT(message_of([&] { net.add("b", 0, x, q); }), HasSubstr("b: input is 4 x 6 x 6, a is 8 x 6 x 6"));
  EXPECT_THAT(message_of([&] { net.add("b", x, x, {.scale = 1e9f}); }), HasSubstr("b: an addition's input scales"));
  EXPECT_THAT(message_of([&] { net.output(0); }), HasSubstr("the output must be the last operation's tensor"));
  net.convolution("c", 0, shape, w.view(), q);
  EXPECT_THAT(message_of([&] { net.output(2); }), HasSubstr("nothing uses the output of a"));
  net.concat("d", {1, 2}, q);
  const IntegerNetwork made = net.output(3);
  EXPECT_THAT(message_of([&] { made.run(std::vector<float>(10), 1); }),
              HasSubstr("a batch of 1 images of 4 x 6 x 6 was expected, got 10 values"));
  EXPECT_THAT(message_of([&] { made.run_op(0, {}, 1); }), HasSubstr("a: 1 inputs were expected, got 0"));
  EXPECT_THAT(message_of([&] { made.find("dd"); }), HasSubstr("no operation dd; nearest: d"));
}

}  // namespace
}  // namespace quanta
