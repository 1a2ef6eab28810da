#include "quanta/lowbit/packed_matrix.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/half.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/lowbit/every_target.h"
#include "quanta/lowbit/packed_kernels.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;

enum class Zeros { None, Bytes, Reals };

struct Case {
  int64_t outputs, inputs;
  int bits;
  int64_t group;
  Zeros zeros = Zeros::Bytes;
  bool half = true, bias = false, order = false;
  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.outputs << " x " << c.inputs << ", " << c.bits << " bits, group " << c.group << ", zeros "
               << int(c.zeros) << (c.half ? ", half" : "") << (c.bias ? ", bias" : "") << (c.order ? ", order" : "");
  }
};

/// Random parts of a matrix, with a source that refers to them.
struct Matrix {
  std::vector<uint8_t> codes;
  std::vector<float> scales, zeros, bias;
  std::vector<int32_t> order;
  PackedSource source;

  explicit Matrix(const Case& c, uint64_t seed = 1) {
    Random random(seed);
    source = {.outputs = c.outputs, .inputs = c.inputs, .bits = c.bits, .group = c.group};
    const auto count = size_t(c.outputs * source.groups());
    for (int64_t i = 0; i < c.outputs * c.inputs; ++i) codes.push_back(uint8_t(random.below(1u << c.bits)));
    for (size_t i = 0; i < count; ++i) {
      const auto scale = float(random.uniform(0.001, 0.01));
      scales.push_back(c.half ? half_to_float(float_to_half(scale)) : scale);
      if (c.zeros == Zeros::Bytes) zeros.push_back(float(random.below(1u << c.bits)));
      if (c.zeros == Zeros::Reals) zeros.push_back(float(random.uniform(-1, 1 << c.bits)));
    }
    if (c.bias)
      for (int64_t n = 0; n < c.outputs; ++n) bias.push_back(float(random.normal()));
    if (c.order) {
      order.resize(size_t(c.inputs));
      std::iota(order.begin(), order.end(), 0);
      for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(uint32_t(i))]);
    }
    source.codes = codes;
    source.scales = scales;
    source.zeros = zeros;
    source.bias = bias;
    source.order = order;
  }
};

struct Reference {
  std::vector<double> y, magnitude;  // magnitude: sum |w| |x|, what rounding errors are measured by
};

/// The definition of the format and of both kinds of activations, in plain loops.
Reference reference(const PackedSource& s, const std::vector<float>& x, int64_t rows, Activations activations) {
  Reference r;
  const int64_t group = s.group == 0 ? s.inputs : s.group;
  for (int64_t m = 0; m < rows; ++m) {
    std::vector<double> used(static_cast<size_t>(s.inputs));
    for (int64_t k = 0; k < s.inputs; ++k)
      used[size_t(k)] = x[size_t(m * s.inputs + (s.order.empty() ? k : s.order[size_t(k)]))];
    if (activations == Activations::Int8)
      for (int64_t first = 0; first < s.inputs; first += group) {
        const int64_t end = std::min(first + group, s.inputs);
        float largest = 0;
        for (int64_t k = first; k < end; ++k) largest = std::max(largest, std::abs(float(used[size_t(k)])));
        for (int64_t k = first; k < end; ++k)
          used[size_t(k)] = largest < 0x1p-100f
                                ? 0
                                : double(largest / 127) * std::nearbyint(float(used[size_t(k)]) * (127 / largest));
      }
    for (int64_t n = 0; n < s.outputs; ++n) {
      double sum = s.bias.empty() ? 0 : s.bias[size_t(n)], magnitude = std::abs(sum);
      for (int64_t k = 0; k < s.inputs; ++k) {
        const auto at = size_t(n * s.groups() + k / group);
        const double zero = s.zeros.empty() ? 1 << (s.bits - 1) : double(s.zeros[at]);
        const double product = s.scales[at] * (s.codes[size_t(n * s.inputs + k)] - zero) * used[size_t(k)];
        sum += product;
        magnitude += std::abs(product);
      }
      r.y.push_back(sum);
      r.magnitude.push_back(magnitude);
    }
  }
  return r;
}

std::vector<float> random_rows(int64_t rows, int64_t inputs, uint64_t seed = 2) {
  Random random(seed);
  std::vector<float> x(static_cast<size_t>(rows * inputs));
  for (float& v : x) v = float(random.normal() * (random.below(50) == 0 ? 10 : 1));
  return x;
}

/// Every instruction set's product is the reference, for both kinds of activations.
void expect_product(const Case& c, int64_t rows) {
  const Matrix m(c);
  const PackedMatrix packed(m.source);
  const auto x = random_rows(rows, c.inputs);
  for (const Activations activations : {Activations::Int8, Activations::Float}) {
    const Reference expected = reference(m.source, x, rows, activations);
    testing::for_every_target([&] {
      std::vector<float> y(size_t(rows * c.outputs) + 1, 777.0f);
      packed.multiply(x.data(), rows, y.data(), activations);
      EXPECT_EQ(y.back(), 777.0f);
      double worst = 0;
      for (size_t i = 0; i < expected.y.size(); ++i) {
        const double error = std::abs(y[i] - expected.y[i]) / expected.magnitude[i];
        worst = std::isnan(error) ? error : std::max(worst, error);
      }
      // In integers only the sum over the groups rounds.
      EXPECT_LE(worst, activations == Activations::Int8 && c.zeros != Zeros::Reals ? 1e-6 : 5e-6)
          << c << ", " << rows << " rows, activations " << int(activations);
    });
  }
}

TEST(PackedMatrix, EveryFormatIsTheReference) {
  for (const int bits : {2, 3, 4, 8})
    for (const int64_t group : {0, 32, 64, 96})
      for (const Zeros zeros : {Zeros::None, Zeros::Bytes, Zeros::Reals})
        for (const int64_t rows : {1, 5, 19})
          expect_product({.outputs = 48, .inputs = 192, .bits = bits, .group = group, .zeros = zeros}, rows);
}

TEST(PackedMatrix, EveryNumberOfRows) {
  for (const int bits : {2, 3, 4, 8})
    for (int64_t rows = 1; rows <= 18; ++rows)
      expect_product({.outputs = 40, .inputs = 128, .bits = bits, .group = 64, .half = false, .bias = true}, rows);
}

TEST(PackedMatrix, OddSizes) {
  for (const int64_t outputs : {1, 7, 31, 33, 80})
    for (const int64_t inputs : {1, 5, 33, 97, 200})
      for (const int64_t group : {0, 32, 128})
        for (const int64_t rows : {1, 3, 9})
          expect_product({.outputs = outputs, .inputs = inputs, .bits = 3, .group = group, .bias = true, .order = true},
                         rows);
}

TEST(PackedMatrix, LongMatricesAreTakenInParts) {
  for (const int64_t group : {0, 128, 1024})
    for (const int64_t rows : {1, 8, 40})
      expect_product({.outputs = 70, .inputs = 2100, .bits = 4, .group = group, .order = true}, rows);
}

// The largest sums that int32 and the split of a zero point's term must hold.
TEST(PackedMatrix, ExtremeSumsDoNotOverflow) {
  testing::for_every_target([] {
    const int64_t inputs = 32768;
    for (const uint8_t code : {0, 255})
      for (const float zero : {0.0f, 255.0f}) {
        const std::vector<uint8_t> codes(size_t(inputs), code);
        const std::vector<float> scales{1}, zeros{zero};
        const PackedMatrix packed(
            {.outputs = 1, .inputs = inputs, .bits = 8, .group = 0, .codes = codes, .scales = scales, .zeros = zeros});
        for (const float value : {-1.0f, 1.0f}) {
          const std::vector<float> x(size_t(inputs), value);
          float y = 0;
          packed.multiply(x.data(), 1, &y, Activations::Int8);
          EXPECT_FLOAT_EQ(y, value * float(inputs) * (code - zero));
        }
      }
  });
}

TEST(PackedMatrix, GivesBackItsParts) {
  for (const int bits : {2, 3, 4, 8})
    for (const Zeros zeros : {Zeros::None, Zeros::Bytes, Zeros::Reals}) {
      const Matrix m({.outputs = 37,
                      .inputs = 150,
                      .bits = bits,
                      .group = 64,
                      .zeros = zeros,
                      .half = bits != 3,
                      .bias = bits == 4,
                      .order = bits == 3});
      const auto parts = PackedMatrix(m.source).unpack();
      EXPECT_EQ(parts.codes, m.codes);
      EXPECT_EQ(parts.scales, m.scales);
      EXPECT_EQ(parts.zeros, m.zeros);
      EXPECT_EQ(parts.bias, m.bias);
      EXPECT_EQ(parts.order, m.order);
    }
}

TEST(PackedMatrix, NumbersAreInTheInputsOrder) {
  const Matrix m({.outputs = 33, .inputs = 70, .bits = 4, .group = 32, .order = true});
  const PackedMatrix packed(m.source);
  const auto weights = packed.dequantize();
  for (int64_t k = 0; k < 70; ++k) {  // a row with a single one picks a column
    std::vector<float> x(70), y(33);
    x[size_t(k)] = 1;
    packed.multiply(x.data(), 1, y.data(), Activations::Float);
    for (int64_t n = 0; n < 33; ++n) EXPECT_FLOAT_EQ(y[size_t(n)], weights[size_t(n * 70 + k)]);
  }
}

TEST(PackedMatrix, ResultsDoNotDependOnThreads) {
  const int before = threads();
  const Matrix m({.outputs = 300, .inputs = 700, .bits = 4, .group = 128});
  const PackedMatrix packed(m.source);
  for (const Activations activations : {Activations::Int8, Activations::Float})
    for (const int64_t rows : {1, 8, 70}) {
      const auto x = random_rows(rows, 700);
      std::vector<float> expected(size_t(rows * 300)), y(expected.size());
      set_threads(1);
      packed.multiply(x.data(), rows, expected.data(), activations);
      for (const int count : {2, 3, 5}) {
        set_threads(count);
        packed.multiply(x.data(), rows, y.data(), activations);
        EXPECT_EQ(y, expected) << count << " threads, " << rows << " rows";
      }
    }
  set_threads(before);
}

TEST(PackedMatrix, RowsOfIntegersAreIndependent) {
  testing::for_every_target([] {
    const Matrix m({.outputs = 100, .inputs = 1200, .bits = 3, .group = 64});
    const PackedMatrix packed(m.source);
    const int64_t rows = 21;
    const auto x = random_rows(rows, 1200);
    std::vector<float> together(size_t(rows * 100)), alone(together.size());
    packed.multiply(x.data(), rows, together.data(), Activations::Int8);
    for (int64_t r = 0; r < rows; ++r)
      packed.multiply(x.data() + r * 1200, 1, alone.data() + r * 100, Activations::Int8);
    EXPECT_EQ(together, alone);
  });
}

TEST(PackedMatrix, ZerosAndWhatIsNotFinite) {
  testing::for_every_target([] {
    const Matrix m({.outputs = 32, .inputs = 64, .bits = 4, .group = 32});
    const PackedMatrix packed(m.source);
    std::vector<float> x(3 * 64), y(3 * 32);
    x[70] = std::numeric_limits<float>::quiet_NaN();
    x[140] = -std::numeric_limits<float>::infinity();
    packed.multiply(x.data(), 3, y.data(), Activations::Int8);
    for (size_t n = 0; n < 32; ++n) {
      EXPECT_EQ(y[n], 0);
      EXPECT_TRUE(std::isnan(y[32 + n]));
      EXPECT_TRUE(std::isnan(y[64 + n]));
    }
  });
}

TEST(PackedMatrix, TakesTheBytesItSays) {
  const Case c{.outputs = 4096, .inputs = 4096, .bits = 3, .group = 128};
  const PackedMatrix packed(Matrix(c).source);
  EXPECT_EQ(packed.bytes(), 4096 * 4096 * 3 / 8 + 4096 * 32 * (2 + 1));  // 3.19 bits a weight
  EXPECT_LE(double(packed.bytes()), 0.20 * 2 * 4096 * 4096);
}

std::string message(const PackedSource& source) {
  try {
    const PackedMatrix packed(source);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(PackedMatrix, RefusesWhatDoesNotFit) {
  Matrix m({.outputs = 4, .inputs = 64, .bits = 4, .group = 32});
  const auto with = [&](const auto& change) {
    PackedSource source = m.source;
    change(source);
    return message(source);
  };
  EXPECT_EQ(with([](auto&) {}), "");
  EXPECT_THAT(with([](auto& s) { s.bits = 5; }), HasSubstr("2, 3, 4 or 8 bits, got 5"));
  EXPECT_THAT(with([](auto& s) { s.group = 16; }), HasSubstr("multiple of 32"));
  EXPECT_THAT(with([](auto& s) { s.outputs = 0; }), HasSubstr("at least one output"));
  EXPECT_THAT(with([](auto& s) { s.codes = s.codes.first(9); }), HasSubstr("256 codes were expected"));
  EXPECT_THAT(with([](auto& s) { s.scales = s.scales.first(7); }), HasSubstr("8 scales were expected"));
  EXPECT_THAT(with([](auto& s) { s.zeros = s.zeros.first(7); }), HasSubstr("8 zero points were expected"));
  const std::vector<float> bias(3);
  EXPECT_THAT(with([&](auto& s) { s.bias = bias; }), HasSubstr("4 biases were expected"));
  std::vector<int32_t> order(64);
  EXPECT_THAT(with([&](auto& s) { s.order = order; }), HasSubstr("0 comes twice"));
  order[0] = 64;
  EXPECT_THAT(with([&](auto& s) { s.order = order; }), HasSubstr("64 is in it"));
  m.codes[3] = 16;
  EXPECT_THAT(with([](auto&) {}), HasSubstr("from 0 to 15, got 16"));
  m.codes[3] = 0;
  m.scales[1] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(with([](auto&) {}), HasSubstr("scale 1 of packed weights is not finite"));
  EXPECT_THAT(message({.outputs = 1, .inputs = 40000, .bits = 4}), HasSubstr("too long"));
}

}  // namespace
}  // namespace quanta
