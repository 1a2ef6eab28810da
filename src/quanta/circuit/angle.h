#pragma once

#include <string>
#include <vector>

namespace quanta {

/// Where a gate's parameter comes from, in radians:
///
///   scale * weight[i] * input[j] * input[k] + weight[m] + constant
///
/// Every part may be absent. So a fixed angle, a trainable one, an encoded feature, trainable input scaling, data
/// re-uploading and the feature products of IQP maps are the same thing. Built by arithmetic:
///
///   weight(0) * input(2) + weight(1) + 0.5        2 * input(0) * input(1)        -weight()
///
/// `weight()` without an index stands for the circuit's next free weight; a Circuit gives it its index when the gate is
/// added. An expression that has no such form (weight * weight, weight(0) * weight(1) + ...) throws Error.
struct Angle {
  static constexpr int kNone = -1;  // the part is absent
  static constexpr int kNext = -2;  // the circuit's next free weight

  double constant = 0;
  double scale = 0;    // 0: the product is absent
  int weight = kNone;  // of the product
  int input = kNone;   // of the product
  int input2 = kNone;  // of the product
  int offset = kNone;  // the weight that is added

  Angle() = default;
  Angle(double value) : constant(value) {}  // NOLINT: a number is an angle

  bool is_constant() const { return scale == 0 && offset == kNone; }
  bool has_weight() const { return (scale != 0 && weight != kNone) || offset != kNone; }
  bool has_input() const { return scale != 0 && input != kNone; }

  /// The value for one sample; reads only the elements it names.
  double value(const double* weights, const double* inputs) const;

  /// For example "0.5*w0*x2 + w1 + 0.5", "x3", "pi/2".
  std::string to_string() const;

  friend bool operator==(const Angle&, const Angle&) = default;
};

Angle weight(int index = Angle::kNext);
Angle input(int index);

Angle operator+(const Angle& a, const Angle& b);
Angle operator-(const Angle& a, const Angle& b);
Angle operator-(const Angle& a);
Angle operator*(const Angle& a, const Angle& b);
Angle operator/(const Angle& a, double divisor);

}  // namespace quanta
