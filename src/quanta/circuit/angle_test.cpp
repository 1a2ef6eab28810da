#include "quanta/circuit/angle.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numbers>

#include "quanta/core/error.h"

namespace quanta {
namespace {

const double kWeights[] = {0.3, -1.7, 2.9};
const double kInputs[] = {0.11, -0.6, 1.3};

double value(const Angle& angle) {
  return angle.value(kWeights, kInputs);
}

TEST(Angle, ArithmeticFollowsTheNumbers) {
  EXPECT_DOUBLE_EQ(value(0.5), 0.5);
  EXPECT_DOUBLE_EQ(value(weight(1)), -1.7);
  EXPECT_DOUBLE_EQ(value(input(2)), 1.3);
  EXPECT_DOUBLE_EQ(value(0.5 * weight(0) * input(2) + weight(1) + 0.5), 0.5 * 0.3 * 1.3 - 1.7 + 0.5);
  EXPECT_DOUBLE_EQ(value(weight(1) + input(2) * weight(0) - 1), -1.7 + 0.3 * 1.3 - 1);
  EXPECT_DOUBLE_EQ(value(2 * input(0) * input(1)), 2 * 0.11 * -0.6);
  EXPECT_DOUBLE_EQ(value(weight(2) * input(1) * input(1)), 2.9 * 0.36);
  EXPECT_DOUBLE_EQ(value(-(weight(2) - 1.5) / 4), -(2.9 - 1.5) / 4);
  EXPECT_DOUBLE_EQ(value((std::numbers::pi - input(0)) * 2), 2 * (std::numbers::pi - 0.11));
  EXPECT_DOUBLE_EQ(value((1 + input(0)) * weight(1)), 1.11 * -1.7);
  EXPECT_DOUBLE_EQ(value(weight(0) + weight(1)), 0.3 - 1.7);
  EXPECT_DOUBLE_EQ(value(weight(0) - 2 * weight(0)), -0.3);
}

TEST(Angle, EqualTermsAddUp) {
  EXPECT_EQ(weight(0) + weight(0), 2 * weight(0));
  EXPECT_EQ(input(1) * input(0), input(0) * input(1));
  EXPECT_EQ(input(0) - input(0), Angle(0));
  EXPECT_EQ(0 * weight(3) + 1, Angle(1));
}

TEST(Angle, EachNewWeightIsItsOwn) {
  const Angle angle = weight() * input(0) + weight();
  EXPECT_EQ(angle.weight, Angle::kNext);
  EXPECT_EQ(angle.offset, Angle::kNext);
  EXPECT_EQ((weight() + weight()).offset, Angle::kNext);
}

TEST(Angle, Kinds) {
  EXPECT_TRUE(Angle(1).is_constant());
  EXPECT_FALSE(weight().is_constant());
  EXPECT_TRUE((input(0) + weight(0)).has_weight());
  EXPECT_TRUE((input(0) + weight(0)).has_input());
  EXPECT_FALSE(input(0).has_weight());
  EXPECT_FALSE(weight(0).has_input());
}

TEST(Angle, ToString) {
  constexpr double kPi = std::numbers::pi;
  EXPECT_EQ((0.5 * weight(0) * input(2) + weight(1) + 0.5).to_string(), "0.5*w0*x2 + w1 + 0.5");
  EXPECT_EQ(input(3).to_string(), "x3");
  EXPECT_EQ(Angle(kPi / 2).to_string(), "pi/2");
  EXPECT_EQ(Angle(-3 * kPi / 4).to_string(), "-3*pi/4");
  EXPECT_EQ(Angle(0).to_string(), "0");
  EXPECT_EQ(Angle(0.1 + 0.2).to_string(), "0.3");
  EXPECT_EQ((2 * kPi - kPi * input(0)).to_string(), "-pi*x0 + 2*pi");
  EXPECT_EQ((-weight() - 1).to_string(), "-w? - 1");
  EXPECT_EQ((input(1) * input(1) * 2).to_string(), "2*x1^2");
  EXPECT_EQ(Angle(NAN).to_string(), "nan");
}

TEST(Angle, OtherFormsAreErrors) {
  EXPECT_THROW(weight(0) * weight(1), Error);
  EXPECT_THROW(weight(0) * weight(0), Error);
  EXPECT_THROW(input(0) + input(1), Error);
  EXPECT_THROW(weight(0) + weight(1) + weight(2), Error);
  EXPECT_THROW(input(0) * input(1) * input(2), Error);
  EXPECT_THROW(2 * (weight(0) * input(0) + weight(1)), Error);
  EXPECT_THROW(weight(-1), Error);
  EXPECT_THROW(input(-1), Error);
}

}  // namespace
}  // namespace quanta
