#include "quanta/circuit/pauli.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "quanta/core/error.h"

namespace quanta {
namespace {

bool is_pauli(char letter) {
  return letter == 'X' || letter == 'Y' || letter == 'Z';
}

// The product of two Pauli operators is i^power times a third.
struct Product {
  char letter;  // 'I' for the identity
  int power;
};

Product multiply(char a, char b) {
  if (a == b) return {'I', 0};
  const char third = char('X' + 'Y' + 'Z' - a - b);
  const bool cyclic = (b - a + 3) % 3 == 1;  // XY = iZ, YZ = iX, ZX = iY
  return {third, cyclic ? 1 : 3};
}

// a * b = i^power * result.
PauliString multiply(const PauliString& a, const PauliString& b, int& power) {
  PauliString result;
  auto l = a.factors.begin();
  auto r = b.factors.begin();
  while (l != a.factors.end() || r != b.factors.end()) {
    if (r == b.factors.end() || (l != a.factors.end() && l->first < r->first)) {
      result.factors.push_back(*l++);
    } else if (l == a.factors.end() || r->first < l->first) {
      result.factors.push_back(*r++);
    } else {
      const Product product = multiply(l->second, r->second);
      power = (power + product.power) % 4;
      if (product.letter != 'I') result.factors.emplace_back(l->first, product.letter);
      ++l, ++r;
    }
  }
  return result;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  PauliSum sum() {
    PauliSum result;
    skip_blanks();
    double sign = 1;
    if (peek() == '+' || peek() == '-') sign = take_sign();
    for (;;) {
      result.terms.push_back(term(sign));
      if (position_ == text_.size()) return result;
      if (peek() != '+' && peek() != '-') error("'+', '-' or the end");
      sign = take_sign();
    }
  }

 private:
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  bool is_digit() const { return peek() >= '0' && peek() <= '9'; }

  void skip_blanks() {
    while (position_ < text_.size() && (peek() == ' ' || peek() == '\t')) ++position_;
  }

  double take_sign() {
    const double sign = peek() == '-' ? -1 : 1;
    ++position_;
    skip_blanks();
    return sign;
  }

  PauliSum::Term term(double coefficient) {
    const size_t start = position_;
    PauliString pauli;
    int power = 0;
    bool starred = false;
    for (int factors = 0;; ++factors) {
      if (is_digit() || peek() == '.') {
        coefficient *= number();
      } else if (is_pauli(peek()) || peek() == 'I') {
        pauli = multiply(pauli, factor(), power);
      } else if (factors == 0 || starred) {
        error("a number or a Pauli operator such as X0");
      } else {
        break;
      }
      skip_blanks();
      starred = peek() == '*';
      if (starred) {
        ++position_;
        skip_blanks();
      }
    }
    require(power % 2 == 0, "observable \"{}\": the product in column {} is not Hermitian", printable(text_),
            start + 1);
    require(std::isfinite(coefficient), "observable \"{}\": the coefficient in column {} is too large",
            printable(text_), start + 1);
    return {power == 2 ? -coefficient : coefficient, pauli};
  }

  double number() {
    double value = 0;
    const auto [end, status] = std::from_chars(text_.data() + position_, text_.data() + text_.size(), value);
    if (status != std::errc()) error("a number of double precision");
    position_ = size_t(end - text_.data());
    return value;
  }

  PauliString factor() {
    const size_t start = position_;
    const char letter = text_[position_++];
    if (letter == 'I' && !is_digit()) return {};
    int wire = 0;
    const auto [end, status] = std::from_chars(text_.data() + position_, text_.data() + text_.size(), wire);
    if (!is_digit() || status != std::errc() || wire >= kMaxWires) {
      position_ = start;
      error(fmt::format("{} with a wire from 0 to {}", letter, kMaxWires - 1));
    }
    position_ = size_t(end - text_.data());
    return letter == 'I' ? PauliString() : PauliString({{wire, letter}});
  }

  // Fit for one line of a message.
  static std::string printable(std::string_view text) {
    constexpr size_t kLongest = 60;
    std::string result(text.substr(0, kLongest));
    for (char& c : result)
      if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
    if (text.size() > kLongest) result += "...";
    return result;
  }

  [[noreturn]] void error(std::string_view expected) const {
    const std::string_view rest = text_.substr(position_);
    const std::string_view token = rest.substr(0, std::max<size_t>(1, rest.find_first_of(" \t+-*")));
    fail("observable \"{}\": column {}: expected {}, got {}", printable(text_), position_ + 1, expected,
         rest.empty() ? "the end" : fmt::format("'{}'", printable(token)));
  }

  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace

PauliString::PauliString(std::vector<std::pair<int, char>> list) : factors(std::move(list)) {
  std::ranges::sort(factors);
  for (size_t i = 0; i < factors.size(); ++i) {
    const auto [wire, letter] = factors[i];
    require(wire >= 0 && wire < kMaxWires, "Pauli string: wire {} is out of range, expected 0..{}", wire,
            kMaxWires - 1);
    require(is_pauli(letter), "Pauli string: expected X, Y or Z on wire {}, got character {}", wire, int(letter));
    require(i == 0 || factors[i - 1].first != wire, "Pauli string: wire {} is used twice", wire);
  }
}

int PauliString::max_wire() const {
  return factors.empty() ? -1 : factors.back().first;
}

char PauliString::at(int wire) const {
  const auto found = std::ranges::lower_bound(factors, wire, {}, &std::pair<int, char>::first);
  return found != factors.end() && found->first == wire ? found->second : 'I';
}

bool PauliString::commutes_with(const PauliString& other) const {
  const auto differs = [&](const auto& f) { return other.at(f.first) != 'I' && other.at(f.first) != f.second; };
  return std::ranges::count_if(factors, differs) % 2 == 0;
}

bool PauliString::qubit_wise_commutes_with(const PauliString& other) const {
  return std::ranges::all_of(factors,
                             [&](const auto& f) { return other.at(f.first) == 'I' || other.at(f.first) == f.second; });
}

std::string PauliString::to_string() const {
  if (factors.empty()) return "I";
  std::string text;
  for (const auto& [wire, letter] : factors) text += fmt::format("{}{}{}", text.empty() ? "" : " ", letter, wire);
  return text;
}

PauliSum::PauliSum(double constant) : terms{{constant, {}}} {}
PauliSum::PauliSum(PauliString pauli, double coefficient) : terms{{coefficient, std::move(pauli)}} {}

PauliSum PauliSum::parse(std::string_view text) {
  return Parser(text).sum();
}

int PauliSum::max_wire() const {
  int result = -1;
  for (const Term& term : terms) result = std::max(result, term.pauli.max_wire());
  return result;
}

PauliSum PauliSum::simplified() const {
  std::map<PauliString, double> sum;
  for (const Term& term : terms) sum[term.pauli] += term.coefficient;
  PauliSum result;
  for (const auto& [pauli, coefficient] : sum)
    if (coefficient != 0) result.terms.push_back({coefficient, pauli});
  return result;
}

std::string PauliSum::to_string() const {
  std::string text;
  for (const Term& term : terms) {
    const bool negative = std::signbit(term.coefficient);
    const double size = std::abs(term.coefficient);
    text += text.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
    if (term.pauli.factors.empty())
      text += fmt::format("{}", size);
    else
      text += size == 1 ? term.pauli.to_string() : fmt::format("{} {}", size, term.pauli.to_string());
  }
  return text.empty() ? "0" : text;
}

Matrix PauliSum::matrix(int wires) const {
  require(wires >= 0 && wires <= 12, "the dense matrix of an observable: expected 0..12 wires, got {}", wires);
  require(max_wire() < wires, "observable {}: wire {} is out of range, the matrix has wires 0..{}", to_string(),
          max_wire(), wires - 1);
  Matrix result(1 << wires);
  for (const Term& term : terms) {
    // A Pauli string has one element in each column.
    for (int column = 0; column < result.dim; ++column) {
      int row = column;
      Complex value = term.coefficient;
      for (const auto& [wire, letter] : term.pauli.factors) {
        const bool one = column >> wire & 1;
        if (letter != 'Z') row ^= 1 << wire;
        if (letter == 'Z' && one) value = -value;
        if (letter == 'Y') value *= Complex(0, one ? -1 : 1);
      }
      result(row, column) += value;
    }
  }
  return result;
}

PauliSum X(int wire) {
  return PauliString({{wire, 'X'}});
}
PauliSum Y(int wire) {
  return PauliString({{wire, 'Y'}});
}
PauliSum Z(int wire) {
  return PauliString({{wire, 'Z'}});
}

PauliSum operator+(const PauliSum& a, const PauliSum& b) {
  PauliSum sum = a;
  sum.terms.insert(sum.terms.end(), b.terms.begin(), b.terms.end());
  return sum;
}

PauliSum operator-(const PauliSum& a) {
  PauliSum result = a;
  for (PauliSum::Term& term : result.terms) term.coefficient = -term.coefficient;
  return result;
}

PauliSum operator-(const PauliSum& a, const PauliSum& b) {
  return a + -b;
}

PauliSum operator*(const PauliSum& a, const PauliSum& b) {
  // (X + Y)(X + Y) is Hermitian although two of its terms are not, so judge the sum. `size` is what rounding is
  // measured by.
  struct Sum {
    Complex value = 0;
    double size = 0;
  };
  std::map<PauliString, Sum> sums;
  for (const PauliSum::Term& l : a.terms) {
    for (const PauliSum::Term& r : b.terms) {
      int power = 0;
      Sum& sum = sums[multiply(l.pauli, r.pauli, power)];
      const double product = l.coefficient * r.coefficient;
      sum.value += power == 0   ? Complex(product, 0)
                   : power == 1 ? Complex(0, product)
                   : power == 2 ? Complex(-product, 0)
                                : Complex(0, -product);
      sum.size += std::abs(product);
    }
  }
  PauliSum result;
  for (const auto& [pauli, sum] : sums) {
    require(std::abs(sum.value.imag()) <= 1e-12 * sum.size,
            "the product of ({}) and ({}) is not Hermitian: it contains {}i * {}", a.to_string(), b.to_string(),
            sum.value.imag(), pauli.to_string());
    if (sum.value.real() != 0) result.terms.push_back({sum.value.real(), pauli});
  }
  return result;
}

std::vector<PauliSum> each(char pauli, int wires) {
  std::vector<PauliSum> result;
  for (int q = 0; q < wires; ++q) result.push_back(PauliString({{q, pauli}}));
  return result;
}

PauliSum sum_of(char pauli, int wires) {
  PauliSum result;
  for (int q = 0; q < wires; ++q) result.terms.push_back({1, PauliString({{q, pauli}})});
  return result;
}

}  // namespace quanta
