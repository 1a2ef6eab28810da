#include "quanta/circuit/angle.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "quanta/core/error.h"

namespace quanta {
namespace {

// An angle as a polynomial: a constant and monomials of weights and inputs.
struct Monomial {
  double scale;
  std::vector<int> weights;
  std::vector<int> inputs;
};

std::vector<Monomial> monomials(const Angle& angle) {
  std::vector<Monomial> terms;
  if (angle.scale != 0) {
    Monomial term{angle.scale, {}, {}};
    if (angle.weight != Angle::kNone) term.weights.push_back(angle.weight);
    if (angle.input != Angle::kNone) term.inputs.push_back(angle.input);
    if (angle.input2 != Angle::kNone) term.inputs.push_back(angle.input2);
    terms.push_back(std::move(term));
  }
  if (angle.offset != Angle::kNone) terms.push_back({1, {angle.offset}, {}});
  return terms;
}

// Multiples of pi as such, everything else rounded.
std::string number(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  for (const int denominator : {1, 2, 3, 4, 6, 8, 12, 16}) {
    const double numerator = value / std::numbers::pi * denominator;
    const double rounded = std::round(numerator);
    if (rounded == 0 || std::abs(rounded) > 64 || std::abs(numerator - rounded) > 1e-12 * std::abs(rounded)) continue;
    std::string text = rounded == 1 ? "pi" : rounded == -1 ? "-pi" : fmt::format("{}*pi", int(rounded));
    if (denominator > 1) text += fmt::format("/{}", denominator);
    return text;
  }
  return fmt::format("{:.6g}", value);
}

std::string to_string(const Monomial& term) {
  std::string product;
  const auto times = [&product](const std::string& factor) { product += (product.empty() ? "" : "*") + factor; };
  for (const int i : term.weights) times(i == Angle::kNext ? "w?" : fmt::format("w{}", i));
  if (term.inputs.size() == 2 && term.inputs[0] == term.inputs[1])
    times(fmt::format("x{}^2", term.inputs[0]));
  else
    for (const int j : term.inputs) times(fmt::format("x{}", j));
  if (product.empty()) return number(term.scale);
  if (term.scale == 1) return product;
  if (term.scale == -1) return "-" + product;
  return number(term.scale) + "*" + product;
}

std::string to_string(const std::vector<Monomial>& terms, double constant) {
  std::string sum;
  const auto plus = [&sum](const std::string& text) {
    if (sum.empty())
      sum = text;
    else
      sum += text[0] == '-' ? " - " + text.substr(1) : " + " + text;
  };
  for (const Monomial& term : terms) plus(to_string(term));
  if (constant != 0 || sum.empty()) plus(number(constant));
  return sum;
}

// Each weight() is a weight of its own, so terms that hold one are never added up.
bool same(const Monomial& a, const Monomial& b) {
  return a.weights == b.weights && a.inputs == b.inputs && std::ranges::count(a.weights, Angle::kNext) == 0;
}

Angle to_angle(const std::vector<Monomial>& terms, double constant) {
  std::vector<Monomial> sum;
  for (const Monomial& term : terms) {
    const auto found = std::ranges::find_if(sum, [&](const Monomial& other) { return same(term, other); });
    if (found == sum.end())
      sum.push_back(term);
    else
      found->scale += term.scale;
  }
  std::erase_if(sum, [](const Monomial& term) { return term.scale == 0; });

  const auto is_offset = [](const Monomial& term) {
    return term.scale == 1 && term.weights.size() == 1 && term.inputs.empty();
  };
  if (sum.size() == 2 && is_offset(sum[0]) && !is_offset(sum[1])) std::swap(sum[0], sum[1]);
  const bool fits = sum.size() <= 2 && (sum.size() < 2 || is_offset(sum[1])) &&
                    std::ranges::all_of(
                        sum, [](const Monomial& term) { return term.weights.size() <= 1 && term.inputs.size() <= 2; });
  require(fits,
          "the angle {} does not have the form scale * weight * input * input + weight + constant; rotate by its terms "
          "one after the other",
          to_string(sum, constant));

  Angle angle(constant);
  if (!sum.empty()) {
    angle.scale = sum[0].scale;
    if (!sum[0].weights.empty()) angle.weight = sum[0].weights[0];
    if (!sum[0].inputs.empty()) angle.input = sum[0].inputs[0];
    if (sum[0].inputs.size() > 1) angle.input2 = sum[0].inputs[1];
  }
  if (sum.size() > 1) angle.offset = sum[1].weights[0];
  return angle;
}

}  // namespace

double Angle::value(const double* weights, const double* inputs) const {
  double result = constant;
  if (scale != 0) {
    double product = scale;
    if (weight != kNone) product *= weights[weight];
    if (input != kNone) product *= inputs[input];
    if (input2 != kNone) product *= inputs[input2];
    result += product;
  }
  if (offset != kNone) result += weights[offset];
  return result;
}

std::string Angle::to_string() const {
  return quanta::to_string(monomials(*this), constant);
}

Angle weight(int index) {
  require(index >= 0 || index == Angle::kNext, "weight({}): the index must be 0 or more", index);
  Angle angle;
  angle.scale = 1;
  angle.weight = index;
  return angle;
}

Angle input(int index) {
  require(index >= 0, "input({}): the index must be 0 or more", index);
  Angle angle;
  angle.scale = 1;
  angle.input = index;
  return angle;
}

Angle operator+(const Angle& a, const Angle& b) {
  std::vector<Monomial> terms = monomials(a);
  for (Monomial& term : monomials(b)) terms.push_back(std::move(term));
  return to_angle(terms, a.constant + b.constant);
}

Angle operator-(const Angle& a) {
  return -1.0 * a;
}
Angle operator-(const Angle& a, const Angle& b) {
  return a + -b;
}

Angle operator*(const Angle& a, const Angle& b) {
  const std::vector<Monomial> left = monomials(a), right = monomials(b);
  std::vector<Monomial> terms;
  for (Monomial term : left) {
    term.scale *= b.constant;
    terms.push_back(std::move(term));
  }
  for (Monomial term : right) {
    term.scale *= a.constant;
    terms.push_back(std::move(term));
  }
  for (const Monomial& l : left) {
    for (const Monomial& r : right) {
      Monomial term{l.scale * r.scale, l.weights, l.inputs};
      term.weights.insert(term.weights.end(), r.weights.begin(), r.weights.end());
      term.inputs.insert(term.inputs.end(), r.inputs.begin(), r.inputs.end());
      std::ranges::sort(term.inputs);
      terms.push_back(std::move(term));
    }
  }
  return to_angle(terms, a.constant * b.constant);
}

Angle operator/(const Angle& a, double divisor) {
  return a * (1 / divisor);
}

}  // namespace quanta
