#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numbers>
#include <optional>
#include <unordered_map>

#include "quanta/circuit/qasm.h"
#include "quanta/circuit/qasm_body.h"
#include "quanta/circuit/qasm_library.h"
#include "quanta/circuit/qasm_tokens.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/text.h"

namespace quanta {
namespace {

using namespace qasm;

constexpr int kMaxAlternatives = 64;
constexpr size_t kMaxRegisters = 10000;
constexpr int kMaxIncludes = 1000;
constexpr int kMaxMatchedWires = 5;

// Alternatives that exclude each other, each a list of conditions that all hold.
using Alternatives = std::vector<std::vector<Condition>>;

// What an expression may be. Bits and conditions are known only when the circuit runs.
struct Value {
  enum Type { kBool, kInt, kReal, kBits, kCondition } type = kReal;
  int64_t integer = 0;    // of kBool, kInt
  Angle real{};           // of kReal; may hold inputs
  bool quotient = false;  // of two integers: as an integer it is rounded towards zero
  Condition bits{};       // of kBits: first and count
  Alternatives alternatives{};

  static Value of(bool value) { return {.type = kBool, .integer = value}; }
  static Value of(int64_t value) { return {.type = kInt, .integer = value}; }
  static Value of(Angle value) { return {.type = kReal, .real = value}; }
  bool is_number() const { return type <= kReal; }
  bool is_integer() const { return type <= kInt; }
};

struct Gate {
  std::string_view name;
  std::vector<std::string_view> parameters;
  std::vector<std::string_view> wires;
  const Source* source;
  size_t body;  // the first token after {
  bool opaque;
  int depth;                  // of definitions within definitions
  const LibraryGate* native;  // the gate of the table that the definition equals
};

struct Symbol {
  enum Kind { kValue, kVariable, kQubits, kBits } kind;
  Value value{};
  bool is_scalar = false;  // of qubits and bits: declared without a size
  int first = 0;           // of qubits and bits
  int size = 0;
  std::vector<int> list{};  // an alias that is no range

  int element(int i) const { return list.empty() ? first + i : list[i]; }
};

struct Operand {
  std::vector<int> elements;
  bool is_register;
};

struct Modifier {
  enum Kind { kControl, kInverse, kPower } kind;
  int count = 1;
  bool negated = false;
  double exponent = 1;
};

class Reader {
 public:
  explicit Reader(const QasmLimits& limits) : limits_(limits) {}

  Circuit read(std::string file, std::string text) {
    open(std::move(file), std::move(text));
    version_line();
    for (const LibraryGate& gate : kLibrary)
      if (gate.source & (v3_ ? LibraryGate::kBuiltin3 : LibraryGate::kBuiltin2)) declare_library(gate);
    while (!at_end()) statement();
    return build();
  }

 private:
  // --- tokens

  std::string_view view() const { return source_->view(at_); }
  Token::Kind kind() const { return source_->tokens[at_].kind; }
  bool at_end() const { return kind() == Token::kEnd; }
  bool is(std::string_view text) const { return kind() != Token::kString && view() == text; }
  bool accept(std::string_view text) {
    if (!is(text) || at_end()) return false;
    ++at_;
    return true;
  }
  void expect(std::string_view text) {
    if (!accept(text)) unexpected(fmt::format("'{}'", text));
  }
  std::string_view expect_name(std::string_view what) {
    if (kind() != Token::kName) unexpected(what);
    return source_->view(at_++);
  }
  void end_statement() { expect(";"); }

  std::string shown(size_t token) const {
    if (source_->tokens[token].kind == Token::kEnd) return "the end of the file";
    std::string text(source_->view(token).substr(0, 40));
    for (char& c : text)
      if (uint8_t(c) < ' ' || c == 0x7f) c = '?';
    return "'" + text + "'";
  }
  template <class... Args>
  [[noreturn]] void fail_at(size_t token, fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(source_->position(source_->tokens[token].start) + fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void check(bool condition, size_t token, fmt::format_string<Args...> format, Args&&... args) const {
    if (!condition) [[unlikely]]
      fail_at(token, format, std::forward<Args>(args)...);
  }
  [[noreturn]] void unexpected(std::string_view expected) const {
    fail_at(at_, "syntax error, got {}, expected {}", shown(at_), expected);
  }
  [[noreturn]] void unsupported(size_t token, std::string_view what) const {
    fail_at(token, "{} is not supported: only what is a circuit of gates, measurements, resets and conditions", what);
  }

  struct Deeper {
    explicit Deeper(Reader& reader) : reader(reader) {
      reader.check(++reader.depth_ <= reader.limits_.depth, reader.at_, "nested deeper than {} levels",
                   reader.limits_.depth);
    }
    ~Deeper() { --reader.depth_; }
    Reader& reader;
  };

  // Counts work, whether or not it leaves operations behind.
  void charge(size_t token, int64_t steps) {
    steps_ += steps;
    check(steps_ <= 4 * limits_.operations, token, "the text expands to too many steps, expected at most {}",
          4 * limits_.operations);
  }

  void open(std::string file, std::string text) {
    bytes_ += text.size();
    require(bytes_ <= limits_.bytes, "{}: expected at most {} bytes", file, limits_.bytes);
    sources_.push_back(tokenize(std::move(file), std::move(text)));
    source_ = sources_.back().get();
    at_ = 0;
  }

  // --- names

  void declare(size_t token, std::string_view name, Symbol symbol) {
    if (blocks_.empty()) {
      check(globals_.try_emplace(name, std::move(symbol)).second, token, "'{}' is declared already", name);
      return;
    }
    for (size_t i = blocks_.back(); i < locals_.size(); ++i)
      check(locals_[i].first != name, token, "'{}' is declared already", name);
    locals_.emplace_back(name, std::move(symbol));
  }

  void declare_library(const LibraryGate& gate) { callables_.try_emplace(gate.name, Callable{nullptr, &gate}); }

  Symbol* find(std::string_view name) {
    for (size_t i = locals_.size(); i-- > frame_;)
      if (locals_[i].first == name) return &locals_[i].second;
    const auto found = globals_.find(name);
    if (found == globals_.end()) return nullptr;
    Symbol& symbol = found->second;
    return !in_gate_ || symbol.kind == Symbol::kValue ? &symbol : nullptr;
  }

  Symbol& lookup(size_t token, std::string_view what) {
    if (Symbol* symbol = find(source_->view(token))) return *symbol;
    std::vector<std::string> known;
    if (!in_gate_)
      for (const auto& [other, symbol] : globals_) known.emplace_back(other);
    for (size_t i = frame_; i < locals_.size(); ++i) known.emplace_back(locals_[i].first);
    fail_at(token, "there is no {} {}{}", what, shown(token), suggestion(token, known));
  }

  // A gate that may be called: a definition or a library's.
  struct Callable {
    const Gate* gate;
    const LibraryGate* library;
  };
  const Callable& lookup_gate(size_t token) {
    const std::string_view name = source_->view(token);
    if (const auto found = callables_.find(name); found != callables_.end()) return found->second;
    const bool is_library = std::ranges::any_of(kLibrary, [&](const LibraryGate& g) {
      return g.name == name && (g.source & (v3_ ? LibraryGate::kStdgates : LibraryGate::kQelib1));
    });
    if (is_library)
      fail_at(token, "there is no gate {}, expected it defined or include \"{}\"", shown(token),
              v3_ ? "stdgates.inc" : "qelib1.inc");
    std::vector<std::string> known;
    for (const auto& [other, callable] : callables_) known.emplace_back(other);
    fail_at(token, "there is no gate {}{}", shown(token), suggestion(token, known));
  }

  std::string suggestion(size_t token, const std::vector<std::string>& known) const {
    const std::string_view name = source_->view(token);
    if (known.empty() || known.size() > 1000 || name.size() > 40) return "";
    return fmt::format(", did you mean '{}'?", nearest(name, known));
  }

  // Runs `body` with names of its own.
  template <class Body>
  void block(Body body) {
    const size_t mark = locals_.size();
    blocks_.push_back(mark);
    body();
    blocks_.pop_back();
    locals_.erase(locals_.begin() + mark, locals_.end());
  }

  // --- expressions

  static int precedence(std::string_view op, bool v3) {
    static const std::map<std::string_view, int> levels = {
        {"||", 1}, {"&&", 2}, {"|", 3},  {"^", 4}, {"&", 5}, {"==", 6}, {"!=", 6}, {"<", 7},  {">", 7},  {"<=", 7},
        {">=", 7}, {"<<", 8}, {">>", 8}, {"+", 9}, {"-", 9}, {"*", 10}, {"/", 10}, {"%", 10}, {"**", 12}};
    if (!v3 && op == "^") return 12;
    const auto found = levels.find(op);
    return found == levels.end() ? 0 : found->second;
  }

  Value expression(int level = 1) {
    const Deeper deeper(*this);
    Value left = unary();
    for (;;) {
      if (kind() != Token::kSymbol) return left;
      const size_t op = at_;
      const int own = precedence(view(), v3_);
      if (own < level || own == 0) return left;
      ++at_;
      const Value right = expression(own == 12 ? 12 : own + 1);
      left = binary(op, left, right);
    }
  }

  Value unary() {
    const size_t op = at_;
    if (accept("-")) {
      const Value value = expression(11);
      if (value.is_integer() && value.integer != INT64_MIN) return Value::of(-value.integer);
      return Value::of(-number(op, value));
    }
    if (accept("+")) return expression(11);
    if (v3_ && accept("!")) {
      const Value value = expression(11);
      if (value.is_number()) return Value::of(!truth(op, value));
      return {.type = Value::kCondition, .alternatives = negate(op, condition(op, value))};
    }
    if (v3_ && accept("~")) return Value::of(~integer(op, expression(11)));
    return primary();
  }

  Value primary() {
    const size_t token = at_;
    const std::string_view text = view();
    switch (kind()) {
      case Token::kInteger:
      case Token::kReal:
        ++at_;
        return literal(token);
      case Token::kString:
        ++at_;
        return bit_string(token);
      case Token::kName:
        ++at_;
        return name_in_expression(token);
      default:
        if (text == "(") {
          ++at_;
          const Value value = expression();
          expect(")");
          return value;
        }
        unexpected("an expression");
    }
  }

  Value literal(size_t token) {
    std::string digits(source_->view(token));
    if (source_->tokens[token].kind == Token::kInteger) {
      std::erase(digits, '_');
      const char letter = digits.size() > 1 ? char(digits[1] | 0x20) : '0';
      const int base = letter == 'x' ? 16 : letter == 'b' ? 2 : letter == 'o' ? 8 : 10;
      const char* begin = digits.data() + (base == 10 ? 0 : 2);
      uint64_t value = 0;
      const auto [end, status] = std::from_chars(begin, digits.data() + digits.size(), value, base);
      const bool whole = end == digits.data() + digits.size() && end != begin;
      check(whole || base == 10, token, "malformed number {}", shown(token));
      if (status == std::errc() && whole && value <= uint64_t(INT64_MAX)) return Value::of(int64_t(value));
    } else {
      std::erase(digits, '_');
    }
    double value = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    check((status == std::errc() || status == std::errc::result_out_of_range) && end == digits.data() + digits.size(),
          token, "malformed number {}", shown(token));
    check(status == std::errc(), token, "the number {} is out of range", shown(token));
    return Value::of(Angle(value));
  }

  // "0110" as a number, its last digit being bit 0.
  Value bit_string(size_t token) {
    const std::string_view text = source_->view(token);
    uint64_t value = 0;
    int count = 0;
    for (const char c : text.substr(1, text.size() - 2)) {
      if (c == '_') continue;
      check((c == '0' || c == '1') && ++count < 64, token, "got {}, expected a bit string of at most 63 digits 0 and 1",
            shown(token));
      value = value << 1 | uint64_t(c - '0');
    }
    return Value::of(int64_t(value));
  }

  static bool is_type(std::string_view name) {
    return name == "int" || name == "uint" || name == "float" || name == "angle" || name == "bool" || name == "bit";
  }

  Value name_in_expression(size_t token) {
    const std::string_view name = source_->view(token);
    if (Symbol* symbol = find(name)) {
      if (symbol->kind == Symbol::kValue || symbol->kind == Symbol::kVariable) {
        const Value value = symbol->value;
        if (!v3_ || !is("[")) return value;
        ++at_;
        const int64_t bit = integer(at_, expression());
        check(value.is_integer() && bit >= 0 && bit < 64, token, "bit {} of {} does not exist", bit, shown(token));
        expect("]");
        return Value::of(int64_t(value.integer >> bit & 1));
      }
      if (symbol->kind == Symbol::kBits && v3_) {
        const Operand bits = select(token, *symbol);
        const int count = int(bits.elements.size());
        check(bits.elements.back() - bits.elements.front() == count - 1, token,
              "a condition reads neighbouring bits only");
        return {.type = Value::kBits, .bits = {.first = bits.elements.front(), .count = count}};
      }
      fail_at(token, "{} has no value here", shown(token));
    }
    constexpr double pi = std::numbers::pi;
    if (name == "pi" || (v3_ && name == "π")) return Value::of(Angle(pi));
    if (v3_) {
      if (name == "tau" || name == "τ") return Value::of(Angle(2 * pi));
      if (name == "euler" || name == "ℇ") return Value::of(Angle(std::numbers::e));
      if (name == "true" || name == "false") return Value::of(name == "true");
      if (is_type(name)) return cast_expression(token);
      if (name == "measure") unsupported(token, "a measurement within an expression");
    }
    if (is("(")) return call(token);
    return lookup(token, "parameter or constant").value;
  }

  Value cast_expression(size_t token) {
    const std::string_view type = source_->view(token);
    if (accept("[")) {
      integer(at_, expression());
      expect("]");
    }
    expect("(");
    const Value value = expression();
    expect(")");
    if (value.type == Value::kBits && (type == "int" || type == "uint" || type == "bit")) return value;
    if (!value.is_number() && type == "bool") return value;
    return cast(token, type, value);
  }

  Value cast(size_t token, std::string_view type, const Value& value) {
    check(value.is_number(), token, "expected a value that is known before the circuit runs");
    if (type == "bool") return Value::of(truth(token, value));
    if (type == "float" || type == "angle") return Value::of(number(token, value));
    if (value.is_integer()) return Value::of(value.integer);
    check(value.real.is_constant() && std::abs(value.real.constant) < 9e18, token, "expected an integer");
    return Value::of(int64_t(value.real.constant));
  }

  Value call(size_t token) {
    const std::string_view name = source_->view(token);
    using Function = double (*)(double);
    static const std::map<std::string_view, Function> functions = {
        {"sin", std::sin},   {"cos", std::cos},     {"tan", std::tan},     {"exp", std::exp},
        {"ln", std::log},    {"sqrt", std::sqrt},   {"log", std::log},     {"arcsin", std::asin},
        {"asin", std::asin}, {"arccos", std::acos}, {"acos", std::acos},   {"arctan", std::atan},
        {"atan", std::atan}, {"abs", std::fabs},    {"floor", std::floor}, {"ceiling", std::ceil}};
    const auto function = functions.find(name);
    const bool two = v3_ && (name == "pow" || name == "mod");
    if (function == functions.end() && !two) {
      if (v3_ && (name == "sizeof" || name == "popcount")) unsupported(token, shown(token));
      std::vector<std::string> known;
      for (const auto& [other, f] : functions) known.emplace_back(other);
      fail_at(token, "there is no function {}, did you mean '{}'?", shown(token), nearest(name.substr(0, 40), known));
    }
    expect("(");
    const Value first = expression();
    if (two) {
      expect(",");
      const Value second = expression();
      expect(")");
      return arithmetic(token, name == "pow" ? "**" : "%", first, second);
    }
    expect(")");
    const Angle argument = number(token, first);
    check(argument.is_constant(), token,
          "{} of an input is not supported: an angle is scale * input * input + constant", name);
    const double value = function->second(argument.constant);
    check(std::isfinite(value) || checking_, token, "{}({}) is not a finite number", name, argument.constant);
    return Value::of(Angle(std::isfinite(value) ? value : 1));
  }

  Angle number(size_t token, const Value& value) const {
    check(value.is_number(), token, "classical bits cannot be part of an angle");
    return value.type == Value::kReal ? value.real : Angle(double(value.integer));
  }
  int64_t integer(size_t token, const Value& value) const {
    if (value.is_integer()) return value.integer;
    check(value.type == Value::kReal && value.real.is_constant() && std::abs(value.real.constant) < 9e18 &&
              (value.quotient || checking_ || value.real.constant == std::trunc(value.real.constant)),
          token, "expected an integer that is known before the circuit runs");
    return int64_t(value.real.constant);
  }
  bool truth(size_t token, const Value& value) const {
    if (value.is_integer()) return value.integer != 0;
    check(value.type == Value::kReal && value.real.is_constant(), token,
          "expected a condition that is known before the circuit runs");
    return value.real.constant != 0;
  }

  Value binary(size_t op, const Value& left, const Value& right) {
    const std::string_view text = source_->view(op);
    if (left.is_number() && right.is_number()) {
      if (text == "&&") return Value::of(truth(op, left) && truth(op, right));
      if (text == "||") return Value::of(truth(op, left) || truth(op, right));
      return arithmetic(op, text, left, right);
    }
    if (text == "&&") return conjunction(op, left, right);
    if (text == "||") {  // not (not a and not b), so that the alternatives exclude each other
      const Value a{.type = Value::kCondition, .alternatives = negate(op, condition(op, left))};
      const Value b{.type = Value::kCondition, .alternatives = negate(op, condition(op, right))};
      return {.type = Value::kCondition, .alternatives = negate(op, conjunction(op, a, b).alternatives)};
    }
    return comparison(op, text, left, right);
  }

  Value arithmetic(size_t op, std::string_view text, const Value& left, const Value& right) {
    if (left.is_integer() && right.is_integer()) {
      const int64_t a = left.integer, b = right.integer;
      int64_t result = 0;
      if (text == "+" && !__builtin_add_overflow(a, b, &result)) return Value::of(result);
      if (text == "-" && !__builtin_sub_overflow(a, b, &result)) return Value::of(result);
      if (text == "*" && !__builtin_mul_overflow(a, b, &result)) return Value::of(result);
      if (text == "/" && b != 0 && b != -1 && a % b == 0) return Value::of(a / b);
      if (text == "%") {
        check(b != 0 || checking_, op, "remainder of a division by zero");
        return Value::of(b == 0 || b == -1 ? int64_t{0} : a % b);
      }
      if (power(text) && b >= 0) {
        result = 1;
        bool overflow = false;
        if (a == 0 || a == 1) return Value::of(b == 0 ? int64_t{1} : a);
        for (int64_t k = 0; k < b && !overflow; ++k) overflow = __builtin_mul_overflow(result, a, &result);
        if (!overflow) return Value::of(result);
      }
    }
    if (text == "<<" || text == ">>" || text == "&" || text == "|" || (text == "^" && v3_)) {
      const int64_t a = integer(op, left), b = integer(op, right);
      if (text == "&") return Value::of(a & b);
      if (text == "|") return Value::of(a | b);
      if (text == "^") return Value::of(a ^ b);
      check(b >= 0 && b < 64, op, "cannot shift by {} bits", b);
      return Value::of(text == "<<" ? int64_t(uint64_t(a) << b) : a >> b);
    }
    const Angle a = number(op, left), b = number(op, right);
    if (precedence(text, true) == 6 || precedence(text, true) == 7) {
      check(a.is_constant() && b.is_constant(), op, "an input is not known before the circuit runs");
      const double x = a.constant, y = b.constant;
      return Value::of(text == "=="   ? x == y
                       : text == "!=" ? x != y
                       : text == "<"  ? x < y
                       : text == ">"  ? x > y
                       : text == "<=" ? x <= y
                                      : x >= y);
    }
    Angle result;
    try {
      if (text == "+") result = a + b;
      if (text == "-") result = a - b;
      if (text == "*") result = a * b;
      if (text == "/" || text == "%" || power(text)) {
        check(b.is_constant() && (a.is_constant() || text == "/"), op,
              "an input cannot be used so: an angle is scale * input * input + constant");
        if (text == "/") {
          check(b.constant != 0 || checking_, op, "division by zero");
          result = a.is_constant() ? Angle(a.constant / b.constant) : a / b.constant;
        } else {
          result = text == "%" ? std::fmod(a.constant, b.constant) : std::pow(a.constant, b.constant);
        }
      }
    } catch (const Error& error) {
      if (std::string_view(error.what()).starts_with(source_->file + ":")) throw;
      fail_at(op, "{}", error.what());
    }
    const bool finite = std::isfinite(result.constant) && std::isfinite(result.scale);
    check(finite || checking_, op, "the result of {} is not a finite number", shown(op));
    Value value = Value::of(finite ? result : Angle(1));
    value.quotient = text == "/" && left.is_integer() && right.is_integer();
    return value;
  }
  bool power(std::string_view op) const { return op == "**" || (!v3_ && op == "^"); }

  // --- conditions

  // The alternatives under which a value is true.
  Alternatives condition(size_t token, const Value& value) {
    if (value.type == Value::kCondition) return value.alternatives;
    if (value.type == Value::kBits) {
      Condition nonzero = value.bits;
      nonzero.value = nonzero.count == 1;
      nonzero.negated = nonzero.count > 1;
      return {{nonzero}};
    }
    return truth(token, value) ? Alternatives{{}} : Alternatives{};
  }

  Value conjunction(size_t op, const Value& left, const Value& right) {
    const Alternatives a = condition(op, left), b = condition(op, right);
    check(a.size() * b.size() <= kMaxAlternatives, op, "the condition has too many alternatives");
    Alternatives both;
    for (const auto& x : a) {
      for (const auto& y : b) {
        both.push_back(x);
        both.back().insert(both.back().end(), y.begin(), y.end());
      }
    }
    return {.type = Value::kCondition, .alternatives = std::move(both)};
  }

  Alternatives negate(size_t op, const Alternatives& alternatives) {
    Value result{.type = Value::kCondition, .alternatives = {{}}};
    for (const auto& conditions : alternatives) {
      // not (a and b and c): not a; a and not b; a and b and not c.
      check(conditions.size() <= kMaxAlternatives, op, "the condition has too many parts");
      Value negation{.type = Value::kCondition};
      for (size_t i = 0; i < conditions.size(); ++i) {
        negation.alternatives.emplace_back(conditions.begin(), conditions.begin() + i + 1);
        negation.alternatives.back().back().negated ^= true;
      }
      result = conjunction(op, result, negation);
    }
    return result.alternatives;
  }

  Value comparison(size_t op, std::string_view text, const Value& left, const Value& right) {
    if (left.is_number()) {
      static const std::map<std::string_view, std::string_view> mirrored = {{"==", "=="}, {"!=", "!="}, {"<", ">"},
                                                                            {">", "<"},   {"<=", ">="}, {">=", "<="}};
      const auto found = mirrored.find(text);
      check(found != mirrored.end(), op, "{} of classical bits is not supported", shown(op));
      return comparison(op, found->second, right, left);
    }
    check(right.is_number(), op, "comparing classical bits with each other is not supported");
    const int64_t value = integer(op, right);
    if (left.type == Value::kCondition) {
      check((text == "==" || text == "!=") && (value == 0 || value == 1), op, "a condition is true or false");
      const bool same = (text == "==") == (value == 1);
      return {.type = Value::kCondition, .alternatives = same ? left.alternatives : negate(op, left.alternatives)};
    }
    Condition bits = left.bits;
    const auto equal = [&](uint64_t number) {
      bits.value = number;
      return std::vector<Condition>{bits};
    };
    if (text == "==" || text == "!=") {
      if (value < 0) return Value::of(text == "!=");
      bits.negated = text == "!=";
      return {.type = Value::kCondition, .alternatives = {equal(uint64_t(value))}};
    }
    check(precedence(text, true) == 7, op, "{} of classical bits is not supported", shown(op));
    // Below a small bound, one alternative a value.
    const bool strict = text == "<" || text == ">=";
    const bool above = text == ">" || text == ">=";
    const int64_t bound = strict ? value : value + 1;  // below the bound, or not
    check(bound <= kMaxAlternatives || (bits.count < 7 && bound <= 1 << bits.count), op,
          "classical bits can be compared with numbers up to {}", kMaxAlternatives);
    Value below{.type = Value::kCondition};
    for (int64_t k = 0; k < bound; ++k) below.alternatives.push_back(equal(uint64_t(k)));
    if (above) below.alternatives = negate(op, below.alternatives);
    return below;
  }

  // --- registers

  // The elements of a register, alias or qubit whose name was read; reads its indices.
  Operand select(size_t token, const Symbol& symbol) {
    Operand operand{{}, !symbol.is_scalar};
    if (!is("[")) {
      charge(token, symbol.size);
      for (int i = 0; i < symbol.size; ++i) operand.elements.push_back(symbol.element(i));
      return operand;
    }
    check(!symbol.is_scalar, at_, "{} is a single one, it has no index", shown(token));
    const auto [chosen, is_register] = indices(symbol.size, token);
    operand.is_register = is_register;
    for (const int i : chosen) operand.elements.push_back(symbol.element(i));
    while (v3_ && operand.is_register && is("[")) {
      const auto [again, still] = indices(int(operand.elements.size()), token);
      std::vector<int> elements;
      for (const int i : again) elements.push_back(operand.elements[i]);
      operand = {elements, still};
    }
    return operand;
  }

  // [i], [a:b], [a:step:b] or [{i, j}] of something of that size.
  std::pair<std::vector<int>, bool> indices(int size, size_t name) {
    expect("[");
    const auto index = [&](size_t token, const Value& value) {
      const int64_t i = integer(token, value);
      check(i < size && i >= (v3_ ? -size : 0), token, "index {} is out of range, {} has 0..{}", i, shown(name),
            size - 1);
      return int(i < 0 ? i + size : i);
    };
    std::vector<int> chosen;
    bool is_register = false;
    const size_t token = at_;
    if (v3_ && accept("{")) {
      is_register = true;
      do {
        const size_t element = at_;
        chosen.push_back(index(element, expression()));
        check(chosen.size() <= size_t(kMaxWires), element, "too many indices");
      } while (accept(","));
      expect("}");
    } else {
      std::optional<Value> first;
      if (!is(":")) first = expression();
      if (v3_ && is(":")) {
        is_register = true;
        const auto [start, step, stop] = range(first, token, size);
        for (int64_t i = start; step > 0 ? i <= stop : i >= stop; i += step) {
          charge(token, 1);
          chosen.push_back(index(token, Value::of(i)));
        }
        check(!chosen.empty(), token, "the range is empty");
      } else {
        check(first.has_value(), token, "expected an index");
        chosen.push_back(index(token, *first));
      }
    }
    expect("]");
    return {chosen, is_register};
  }

  struct Range {
    int64_t start, step, stop;
  };
  // The rest of start:stop or start:step:stop; of a register (size > 0) both ends may be absent or negative.
  Range range(const std::optional<Value>& first, size_t token, int size) {
    expect(":");
    std::optional<Value> second, third;
    if (!is("]") && !is(":")) second = expression();
    if (accept(":")) {
      third = second;
      second.reset();
      if (!is("]")) second = expression();
    }
    Range result{0, third ? integer(token, *third) : 1, 0};
    check(result.step != 0, token, "the range has step 0");
    check(size > 0 || (first && second), token, "expected a range with start and end");
    check(std::abs(result.step) < (int64_t{1} << 40), token, "the range has too large a step");
    const auto bound = [&](const std::optional<Value>& value, int64_t absent) {
      const int64_t i = value ? integer(token, *value) : absent;
      check(std::abs(i) < (int64_t{1} << 40), token, "the range is too large");
      return i < 0 && size > 0 ? i + size : i;
    };
    result.start = bound(first, result.step > 0 ? 0 : size - 1);
    result.stop = bound(second, result.step > 0 ? size - 1 : 0);
    return result;
  }

  Operand qubits(std::string_view what = "a qubit") {
    const size_t token = at_;
    const std::string_view name = expect_name(what);
    if (name[0] == '$') {
      int wire = -1;
      const auto [end, status] = std::from_chars(name.data() + 1, name.data() + name.size(), wire);
      check(v3_ && status == std::errc() && end == name.data() + name.size() && wire < kMaxWires, token,
            "{} is no physical qubit, expected $0..${}", shown(token), kMaxWires - 1);
      check(!declares_qubits_, token, "physical qubits beside declared ones are not supported");
      wires_ = std::max(wires_, wire + 1);
      return {{wire}, false};
    }
    const Symbol& symbol = lookup(token, "qubit");
    check(symbol.kind == Symbol::kQubits, token, "{} is not a qubit", shown(token));
    check(!in_gate_ || v3_ || !is("["), at_, "a gate's qubits have no index");
    return select(token, symbol);
  }

  Operand bits() {
    const size_t token = at_;
    expect_name("a classical bit");
    const Symbol& symbol = lookup(token, "classical register");
    check(symbol.kind == Symbol::kBits, token, "{} is not a classical register", shown(token));
    return select(token, symbol);
  }

  // --- declarations

  void version_line() {
    if (accept("OPENQASM")) {
      const std::string_view number = view();
      v3_ = number.starts_with('3');
      check(number == "2.0" || number == "2" || number == "3" || number == "3.0" || number == "3.1", at_,
            "OpenQASM version {} is not supported, expected 2.0 or 3.0", shown(at_));
      ++at_;
      end_statement();
      return;
    }
    for (size_t i = 0; i + 1 < source_->tokens.size(); ++i) {
      const std::string_view word = source_->view(i);
      const bool is_start = i == 0 || source_->view(i - 1) == ";" || source_->view(i - 1) == "}";
      v3_ |= word == "\"stdgates.inc\"" || (is_start && (word == "qubit" || word == "bit" || word == "input"));
    }
  }

  void include() {
    const size_t token = at_;
    if (kind() != Token::kString) unexpected("a file name in quotes");
    const std::string name(view().substr(1, view().size() - 2));
    ++at_;
    end_statement();
    check(blocks_.empty(), token, "include must not be within a block");
    check(++includes_ <= kMaxIncludes, token, "more than {} files are included", kMaxIncludes);
    const bool qelib1 = name == "qelib1.inc";
    if (qelib1 || name == "stdgates.inc") {
      for (const LibraryGate& gate : kLibrary)
        if (gate.source & (qelib1 ? LibraryGate::kQelib1 : LibraryGate::kStdgates)) declare_library(gate);
      if (qelib1 && !callables_.contains("rccx")) run_file(name, std::string(kQelib1Definitions));
      return;
    }
    std::string text;
    const std::filesystem::path path = std::filesystem::path(source_->file).parent_path() / name;
    try {
      text = quanta::read_file(path, limits_.bytes);
    } catch (const Error& error) {
      fail_at(token, "cannot include: {}", error.what());
    }
    run_file(path.string(), std::move(text));
  }

  void run_file(std::string file, std::string text) {
    const Deeper deeper(*this);
    const Source* source = source_;
    const size_t at = at_;
    open(std::move(file), std::move(text));
    while (!at_end()) statement();
    source_ = source;
    at_ = at;
  }

  int size_in_brackets() {
    expect("[");
    const size_t token = at_;
    const int64_t size = integer(token, expression());
    check(size >= 1 && size <= 1 << 20, token, "a register has 1..{} elements, got {}", 1 << 20, size);
    expect("]");
    return int(size);
  }

  void declare_qubits(size_t token, std::string_view name, int size, bool is_scalar) {
    check(blocks_.empty(), token, "qubits are declared outside of blocks only");
    check(declares_qubits_ || wires_ == 0, token, "physical qubits beside declared ones are not supported");
    check(size <= kMaxWires - wires_, token, "a circuit has at most {} qubits", kMaxWires);
    declare(token, name, {.kind = Symbol::kQubits, .is_scalar = is_scalar, .first = wires_, .size = size});
    declares_qubits_ = true;
    wires_ += size;
  }

  void declare_bits(size_t token, std::string_view name, int size, bool is_scalar) {
    check(blocks_.empty(), token, "classical bits are declared outside of blocks only");
    check(registers_.size() < kMaxRegisters, token, "more than {} classical registers", kMaxRegisters);
    check(size <= (1 << 20) - clbits_, token, "a circuit has at most {} classical bits", 1 << 20);
    declare(token, name, {.kind = Symbol::kBits, .is_scalar = is_scalar, .first = clbits_, .size = size});
    registers_.push_back({std::string(name), clbits_, size});
    clbits_ += size;
  }

  void old_register(bool quantum) {
    const size_t token = at_;
    const std::string_view name = expect_name("a register's name");
    const bool scalar = v3_ && !is("[");
    const int size = scalar ? 1 : size_in_brackets();
    end_statement();
    if (quantum)
      declare_qubits(token, name, size, scalar);
    else
      declare_bits(token, name, size, scalar);
  }

  void new_register(bool quantum) {
    const bool scalar = !is("[");
    const int size = scalar ? 1 : size_in_brackets();
    const size_t token = at_;
    const std::string_view name = expect_name("a name");
    if (quantum) {
      declare_qubits(token, name, size, scalar);
    } else {
      declare_bits(token, name, size, scalar);
      if (accept("=")) {
        if (is("measure")) {
          const Symbol symbol = *find(name);
          const size_t measure = at_++;
          Operand bits{{}, !scalar};
          for (int i = 0; i < size; ++i) bits.elements.push_back(symbol.first + i);
          emit_measurements(measure, qubits(), bits);
        } else {
          const size_t value = at_;
          check(integer(value, expression()) == 0, value, "classical bits start at 0, other values are not supported");
        }
      }
    }
    end_statement();
  }

  void typed_declaration(std::string_view type, bool is_const) {
    if (accept("[")) {
      integer(at_, expression());
      expect("]");
    }
    const size_t token = at_;
    const std::string_view name = expect_name("a name");
    Value value = type == "bool" ? Value::of(false) : Value::of(int64_t{0});
    if (is_const && !is("=")) unexpected("'='");
    if (accept("=")) value = expression();
    end_statement();
    declare(token, name, {.kind = is_const ? Symbol::kValue : Symbol::kVariable, .value = cast(token, type, value)});
  }

  void input(bool is_weight) {
    const size_t type = at_;
    const std::string_view name = expect_name("a type");
    check(name == "float" || name == "angle", type, "an input of type {} is not supported, expected float or angle",
          shown(type));
    if (accept("[")) {
      integer(at_, expression());
      expect("]");
    }
    const size_t token = at_;
    const std::string_view variable = expect_name("a name");
    end_statement();
    check(blocks_.empty(), token, "inputs are declared outside of blocks only");
    declare(token, variable,
            {.kind = Symbol::kValue, .value = Value::of(is_weight ? weight(weights_++) : quanta::input(inputs_++))});
  }

  void alias() {
    const size_t token = at_;
    const std::string_view name = expect_name("a name");
    expect("=");
    Symbol symbol{.kind = Symbol::kQubits};
    do {
      const Operand part = qubits();
      symbol.list.insert(symbol.list.end(), part.elements.begin(), part.elements.end());
      check(symbol.list.size() <= size_t(kMaxWires), token, "an alias of more than {} qubits", kMaxWires);
    } while (accept("++"));
    end_statement();
    symbol.size = int(symbol.list.size());
    charge(token, symbol.size);
    declare(token, name, std::move(symbol));
  }

  // --- gate definitions

  std::vector<std::string_view> names(std::string_view end, std::string_view what) {
    std::vector<std::string_view> list;
    if (is(end)) return list;
    do {
      const size_t token = at_;
      const std::string_view name = expect_name(what);
      check(std::ranges::find(list, name) == list.end(), token, "{} is named twice", shown(token));
      list.push_back(name);
      check(list.size() <= 1000, token, "more than 1000 names");
    } while (accept(","));
    return list;
  }

  void gate_definition(bool opaque) {
    const size_t token = at_;
    check(blocks_.empty(), token, "gates are defined outside of blocks only");
    Gate gate{.name = expect_name("a gate's name"),
              .parameters = {},
              .wires = {},
              .source = source_,
              .body = 0,
              .opaque = opaque,
              .depth = 1,
              .native = nullptr};
    if (accept("(")) {
      gate.parameters = names(")", "a parameter");
      expect(")");
    }
    gate.wires = names("{", "a qubit");
    if (gate.wires.empty()) unexpected("a qubit");
    if (opaque) {
      end_statement();
    } else {
      expect("{");
      gate.body = at_;
      gate.depth = 1 + check_body(gate);
      check(gate.depth <= limits_.depth, token, "gate definitions nested deeper than {} levels", limits_.depth);
      match_library(gate);
    }
    gates_.push_back(std::make_unique<Gate>(gate));
    Callable& callable = callables_[gates_.back()->name];  // a definition may replace a library's
    check(!callable.gate, token, "the gate '{}' is defined already", gate.name);
    callable = {gates_.back().get(), nullptr};
  }

  // Runs a gate's body without what it calls; leaves the cursor behind it. Returns the depth of what it calls.
  int check_body(const Gate& gate) {
    Body scratch;
    std::vector<Angle> parameters;
    for (size_t k = 0; k < gate.parameters.size(); ++k) parameters.emplace_back(0.7 + 0.1 * double(k % 10));
    std::vector<int> wires(gate.wires.size());
    for (size_t k = 0; k < wires.size(); ++k) wires[k] = int(k);
    const bool outer = std::exchange(checking_, true);
    const int depth = std::exchange(called_depth_, 0);
    run_body(gate, parameters, wires, scratch);
    checking_ = outer;
    return std::exchange(called_depth_, depth);
  }

  // A definition that equals the library's gate of that name becomes that gate, so that what lacks a gate in one file
  // is still one operation.
  void match_library(Gate& gate) {
    const auto found = std::ranges::find_if(kLibrary, [&](const LibraryGate& library) {
      return library.name == gate.name && library.angles == int(gate.parameters.size()) &&
             library.wires == int(gate.wires.size());
    });
    if (found == kLibrary.end() || gate.wires.size() > kMaxMatchedWires) return;
    const size_t at = at_, names = locals_.size(), frame = frame_;
    const Source* source = source_;
    const int wires = int(gate.wires.size());
    std::vector<int> on(wires);
    for (int q = 0; q < wires; ++q) on[q] = q;
    bool equal = true;
    for (const double probe : {0.7, 2.3, -1.1}) {
      std::vector<Angle> parameters;
      for (size_t k = 0; k < gate.parameters.size(); ++k) parameters.emplace_back(probe + 0.37 * double(k));
      Body defined, known;
      try {
        run_body(gate, parameters, on, defined);
      } catch (const Error&) {  // of a value that these parameters do not allow
        at_ = at;
        source_ = source;
        frame_ = frame;
        locals_.erase(locals_.begin() + names, locals_.end());
        blocks_.clear();
        in_gate_ = false;
        sink_ = nullptr;
        return;
      }
      apply_library(*found, parameters, on, known);
      equal &= body_distance(defined, known, wires, !v3_) < 1e-10;
    }
    at_ = at;
    if (equal) gate.native = &*found;
  }

  // --- gates

  void apply_library(const LibraryGate& gate, std::vector<Angle> angles, const std::vector<int>& wires, Body& sink) {
    if (gate.name == "u2") angles.insert(angles.begin(), std::numbers::pi / 2);
    if (gate.name == "cu3") angles.push_back(0);
    if (gate.name == "u0") angles.clear();
    sink.operations.push_back(make_operation(gate.kind, {wires.begin() + gate.controls, wires.end()}, std::move(angles),
                                             {wires.begin(), wires.begin() + gate.controls}));
  }

  void run_body(const Gate& gate, const std::vector<Angle>& parameters, const std::vector<int>& wires, Body& sink) {
    const Deeper deeper(*this);
    const Source* source = std::exchange(source_, gate.source);
    const size_t at = std::exchange(at_, gate.body);
    const size_t frame = std::exchange(frame_, locals_.size());
    const bool in_gate = std::exchange(in_gate_, true);
    Body* outer = std::exchange(sink_, &sink);
    block([&] {
      for (size_t k = 0; k < parameters.size(); ++k)
        locals_.emplace_back(gate.parameters[k], Symbol{.kind = Symbol::kValue, .value = Value::of(parameters[k])});
      for (size_t k = 0; k < wires.size(); ++k) {
        if (checking_)
          check(std::ranges::find(gate.parameters, gate.wires[k]) == gate.parameters.end(), gate.body,
                "'{}' names a parameter and a qubit", gate.wires[k]);
        locals_.emplace_back(gate.wires[k],
                             Symbol{.kind = Symbol::kQubits, .is_scalar = true, .first = wires[k], .size = 1});
      }
      while (!accept("}")) {
        if (at_end()) unexpected("'}'");
        statement();
      }
    });
    sink_ = outer;
    in_gate_ = in_gate;
    frame_ = frame;
    source_ = source;
    if (checking_ && source == gate.source && at == gate.body) return;  // a definition: go on behind it
    at_ = at;
  }

  void expand(size_t token, const Callable& symbol, const std::vector<Angle>& parameters, const std::vector<int>& wires,
              Body& sink) {
    charge(token, 1 + int64_t(wires.size()) / 8);
    const LibraryGate* library = symbol.library ? symbol.library : symbol.gate->native;
    if (library) return apply_library(*library, parameters, wires, sink);
    check(!symbol.gate->opaque, token, "the gate {} is opaque: it has no definition that could be applied",
          shown(token));
    if (checking_) {
      called_depth_ = std::max(called_depth_, symbol.gate->depth);
      return;
    }
    run_body(*symbol.gate, parameters, wires, sink);
  }

  void gate_call() {
    std::vector<Modifier> modifiers;
    int controls = 0;
    while (v3_ && (is("ctrl") || is("negctrl") || is("inv") || is("pow"))) {
      const std::string_view name = view();
      ++at_;
      Modifier modifier{.kind = name == "inv"   ? Modifier::kInverse
                                : name == "pow" ? Modifier::kPower
                                                : Modifier::kControl,
                        .negated = name == "negctrl"};
      if (name == "pow" && !is("(")) unexpected("'('");
      if (name != "inv" && accept("(")) {
        const size_t token = at_;
        const Value value = expression();
        if (name == "pow") {
          const Angle exponent = number(token, value);
          check(exponent.is_constant(), token, "a power that depends on an input is not supported");
          modifier.exponent = exponent.constant;
        } else {
          const int64_t count = integer(token, value);
          check(count >= 1 && count <= kMaxWires, token, "expected 1 or more controls, got {}", count);
          modifier.count = int(count);
        }
        expect(")");
      }
      expect("@");
      if (modifier.kind == Modifier::kControl) controls += modifier.count;
      modifiers.push_back(modifier);
      check(modifiers.size() <= 1000 && controls <= kMaxWires, at_, "too many modifiers");
    }

    const size_t token = at_;
    const bool is_phase = v3_ && is("gphase");
    expect_name("a gate");
    const Callable gate = is_phase ? Callable{nullptr, nullptr} : lookup_gate(token);
    size_t wanted_angles = 1, wanted_wires = 0;
    if (gate.gate) {
      wanted_angles = gate.gate->parameters.size();
      wanted_wires = gate.gate->wires.size();
    } else if (gate.library) {
      wanted_angles = size_t(gate.library->angles);
      wanted_wires = size_t(gate.library->wires);
    }
    std::vector<Angle> angles;
    if (accept("(") && !accept(")")) {
      do {
        const size_t at = at_;
        angles.push_back(number(at, expression()));
      } while (accept(","));
      expect(")");
    }
    check(angles.size() == wanted_angles, token, "gate {}: expected {} angles, got {}", shown(token), wanted_angles,
          angles.size());
    std::vector<Operand> operands;
    if (!is(";")) {
      do operands.push_back(qubits());
      while (accept(","));
    }
    if (!is(";")) unexpected(operands.empty() ? "a qubit" : "',' or ';'");
    check(operands.size() == wanted_wires + controls, token, "gate {}: expected {} qubits, got {}", shown(token),
          wanted_wires + controls, operands.size());
    end_statement();

    size_t repeat = 1;
    bool broadcast = false;
    for (const Operand& operand : operands) {
      if (!operand.is_register) continue;
      check(!broadcast || operand.elements.size() == repeat, token, "gate {}: registers of different sizes, {} and {}",
            shown(token), repeat, operand.elements.size());
      broadcast = true;
      repeat = operand.elements.size();
    }
    for (size_t k = 0; k < repeat; ++k) {
      std::vector<int> wires;
      for (const Operand& operand : operands) wires.push_back(operand.elements[operand.is_register ? k : 0]);
      check_distinct(token, wires);
      apply(token, gate, angles, wires, modifiers);
    }
  }

  void check_distinct(size_t token, std::vector<int> wires) const {
    std::ranges::sort(wires);
    check(std::ranges::adjacent_find(wires) == wires.end(), token, "{}: a qubit is used twice", shown(token));
  }

  // A call without a gate is gphase.
  void apply(size_t token, const Callable& gate, const std::vector<Angle>& angles, std::vector<int> wires,
             const std::vector<Modifier>& modifiers) {
    const bool is_phase = !gate.gate && !gate.library;
    if (modifiers.empty() && !is_phase) {
      if (sink_) return expand(token, gate, angles, wires, *sink_);
      Body body;
      expand(token, gate, angles, wires, body);
      return emit(token, std::move(body));
    }
    int controls = 0;
    for (const Modifier& modifier : modifiers)
      if (modifier.kind == Modifier::kControl) controls += modifier.count;
    Body body;
    if (is_phase)
      body.phases = {angles[0]};
    else
      expand(token, gate, angles, {wires.begin() + controls, wires.end()}, body);
    for (size_t k = modifiers.size(); k-- > 0;) {
      const Modifier& modifier = modifiers[k];
      charge(token, 1 + int64_t(body.operations.size()));
      try {
        if (modifier.kind == Modifier::kInverse) {
          invert(body);
        } else if (modifier.kind == Modifier::kPower) {
          charge(token, 1);
          if (std::trunc(modifier.exponent) == modifier.exponent) {
            const double copies = std::abs(modifier.exponent) * double(body.operations.size());
            check(copies <= double(limits_.operations), token, "the power has too many operations");
            if (!is_scalable(body)) charge(token, int64_t(copies));
          }
          if (!checking_) raise(body, modifier.exponent);
        } else {
          controls -= modifier.count;
          charge(token, modifier.count * int64_t(1 + body.operations.size()));
          control(body, {wires.begin() + controls, wires.begin() + controls + modifier.count}, modifier.negated);
        }
      } catch (const Error& error) {
        if (std::string_view(error.what()).starts_with(source_->file + ":")) throw;
        fail_at(token, "{}", error.what());
      }
    }
    if (!sink_) return emit(token, std::move(body));
    for (Operation& operation : body.operations) sink_->operations.push_back(std::move(operation));
    sink_->phases.insert(sink_->phases.end(), body.phases.begin(), body.phases.end());
  }

  // --- operations of the program

  void emit(size_t token, Body body) {
    for (Operation& operation : body.operations) emit(token, std::move(operation));
  }

  void emit(size_t token, Operation operation) {
    check(int64_t(program_.size()) < limits_.operations, token, "more than {} operations", limits_.operations);
    if (operation.kind != GateKind::Barrier) {
      for (const Guard& guard : guards_)
        check(!guard.changed, token,
              "a condition's bit was measured within its own block, what follows is not supported; copy the bit first");
      operation.conditions = conditions_;
    }
    if (operation.kind == GateKind::Measure)
      for (Guard& guard : guards_)
        for (const auto& [first, last] : guard.bits)
          guard.changed |= operation.clbit >= first && operation.clbit < last;
    program_.push_back(std::move(operation));
  }

  void emit_measurements(size_t token, const Operand& qubits, const Operand& bits) {
    check(!in_gate_, token, "a gate cannot measure");
    check(qubits.elements.size() == bits.elements.size(), token, "measure: {} qubits into {} classical bits",
          qubits.elements.size(), bits.elements.size());
    for (size_t k = 0; k < qubits.elements.size(); ++k) {
      charge(token, 1);
      Operation operation = make_operation(GateKind::Measure, {qubits.elements[k]});
      operation.clbit = bits.elements[k];
      emit(token, std::move(operation));
    }
  }

  void measure(size_t token) {
    const Operand source = qubits();
    if (v3_ && is(";")) unsupported(token, "a measurement without a bit that takes its outcome");
    expect("->");
    const Operand target = bits();
    end_statement();
    emit_measurements(token, source, target);
  }

  void reset(size_t token) {
    check(!in_gate_, token, "a gate cannot reset");
    const Operand operand = qubits();
    end_statement();
    for (const int q : operand.elements) {
      charge(token, 1);
      emit(token, make_operation(GateKind::Reset, {q}));
    }
  }

  void barrier(size_t token) {
    std::vector<int> wires;
    if (!is(";")) {
      do {
        const Operand operand = qubits();
        wires.insert(wires.end(), operand.elements.begin(), operand.elements.end());
        charge(token, int64_t(operand.elements.size()));
      } while (accept(","));
    } else {
      check(v3_, at_, "syntax error, got ';', expected a qubit");
    }
    end_statement();
    check_distinct(token, wires);
    Operation operation = make_operation(GateKind::Barrier, std::move(wires));
    if (!sink_) return emit(token, std::move(operation));
    sink_->operations.push_back(std::move(operation));
  }

  // --- control flow

  struct Guard {
    std::vector<std::pair<int, int>> bits;  // first, behind the last
    bool changed = false;
  };

  void body_or_statement() {
    if (accept("{")) {
      block([&] {
        while (!accept("}")) {
          if (at_end()) unexpected("'}'");
          statement();
        }
      });
    } else {
      block([&] { statement(); });
    }
  }

  // Behind the next statement without running it.
  void skip_statement() {
    const Deeper deeper(*this);
    if (accept("if")) {
      skip_group("(", ")");
      skip_statement();
      if (accept("else")) skip_statement();
      return;
    }
    if (accept("for")) {
      while (!at_end() && !is("in") && !is(";")) ++at_;
      expect("in");
      if (is("["))
        skip_group("[", "]");
      else
        skip_group("{", "}");
      return skip_statement();
    }
    if (is("{")) return skip_group("{", "}");
    while (!is(";")) {
      if (at_end() || is("}")) unexpected("';'");
      if (is("{"))
        skip_group("{", "}");
      else
        ++at_;
    }
    ++at_;
  }

  void skip_group(std::string_view open, std::string_view close) {
    if (!is(open)) unexpected(fmt::format("'{}'", open));
    int level = 0;
    do {
      if (at_end()) unexpected(fmt::format("'{}'", close));
      level += is(open) ? 1 : is(close) ? -1 : 0;
      ++at_;
    } while (level > 0);
  }

  void run_conditional(const Alternatives& alternatives, size_t body) {
    at_ = body;
    if (alternatives.empty()) return skip_statement();
    for (const auto& conditions : alternatives) {
      at_ = body;
      const size_t mark = conditions_.size();
      conditions_.insert(conditions_.end(), conditions.begin(), conditions.end());
      ++runtime_;
      body_or_statement();
      --runtime_;
      conditions_.resize(mark);
    }
  }

  void if_statement() {
    const Deeper deeper(*this);
    const size_t token = at_;
    expect("(");
    Value value;
    if (v3_) {
      value = expression();
    } else {
      const size_t name = at_;
      expect_name("a classical register");
      const Symbol& symbol = lookup(name, "classical register");
      check(symbol.kind == Symbol::kBits, name, "{} is not a classical register", shown(name));
      expect("==");
      if (kind() != Token::kInteger) unexpected("an integer");
      const size_t number = at_++;
      value = comparison(token, "==", {.type = Value::kBits, .bits = {.first = symbol.first, .count = symbol.size}},
                         literal(number));
    }
    expect(")");
    const size_t body = at_;
    if (value.is_number()) {
      const bool holds = truth(token, value);
      if (holds)
        body_or_statement();
      else
        skip_statement();
      if (v3_ && accept("else")) {
        if (holds)
          skip_statement();
        else
          body_or_statement();
      }
      return;
    }
    check(!in_gate_, token, "a gate cannot depend on classical bits");
    if (!v3_ && (is("if") || is("qreg") || is("creg") || is("gate") || is("include") || is("opaque")))
      unexpected("a gate, measure or reset");
    const Alternatives alternatives = condition(token, value);
    Guard guard;
    for (const auto& conditions : alternatives)
      for (const Condition& part : conditions) guard.bits.emplace_back(part.first, part.first + part.count);
    guards_.push_back(std::move(guard));
    run_conditional(alternatives, body);
    if (v3_ && accept("else")) run_conditional(negate(token, alternatives), at_);
    guards_.pop_back();
  }

  void for_loop() {
    const Deeper deeper(*this);
    if (kind() == Token::kName && is_type(view())) {
      ++at_;
      if (accept("[")) {
        integer(at_, expression());
        expect("]");
      }
    }
    const size_t token = at_;
    const std::string_view name = expect_name("a loop variable");
    expect("in");
    std::vector<Value> values;
    Range counted{0, 1, -1};
    const size_t set = at_;
    if (accept("{")) {
      if (!is("}")) {
        do values.push_back(expression());
        while (accept(","));
      }
      expect("}");
    } else if (accept("[")) {
      std::optional<Value> first;
      if (!is(":")) first = expression();
      counted = range(first, set, 0);
      expect("]");
    } else {
      unexpected("a range [start:end] or a set {a, b}");
    }
    const size_t body = at_;
    bool ran = false;
    const auto iterate = [&](const Value& value) {
      charge(token, 1);
      ran = true;
      at_ = body;
      block([&] {
        locals_.emplace_back(name, Symbol{.kind = Symbol::kValue, .value = value});
        body_or_statement();
      });
    };
    for (const Value& value : values) iterate(value);
    for (int64_t i = counted.start; counted.step > 0 ? i <= counted.stop : i >= counted.stop; i += counted.step)
      iterate(Value::of(i));
    if (!ran) skip_statement();
  }

  // name = ..., where the name is a classical register or a variable.
  void assignment(Symbol& symbol) {
    const size_t token = at_;
    if (symbol.kind == Symbol::kBits) {
      const Operand target = bits();
      if (is("=") && source_->view(at_ + 1) == "measure") {
        at_ += 2;
        const Operand source = qubits();
        end_statement();
        return emit_measurements(token, source, target);
      }
      unsupported(at_, "an assignment to classical bits other than a measurement's");
    }
    check(symbol.kind == Symbol::kVariable, token, "{} cannot be assigned to", shown(token));
    check(runtime_ == 0, token, "an assignment within a condition on measured bits is not supported");
    ++at_;
    const size_t op = at_;
    const std::string_view text = view();
    if (kind() != Token::kSymbol || text.back() != '=' || text == "==" || text == "!=") unexpected("'='");
    ++at_;
    Value value = expression();
    end_statement();
    charge(token, 1);
    if (text.size() > 1) value = arithmetic(op, text.substr(0, text.size() - 1), symbol.value, value);
    static constexpr std::string_view kTypes[] = {"bool", "int", "float"};
    symbol.value = cast(token, kTypes[symbol.value.type], value);
  }

  // --- statements

  void statement() {
    const Deeper deeper(*this);
    charge(at_, 1);
    const size_t token = at_;
    if (v3_ && accept("@")) return annotation(token);
    if (is("#") || (v3_ && is("pragma"))) return skip_line();
    if (v3_ && is(";")) {
      ++at_;
      return;
    }
    if (kind() != Token::kName) unexpected("a statement");
    const std::string_view word = view();
    const auto takes = [&](std::string_view keyword) { return word == keyword && ++at_; };
    if (in_gate_) {
      if (word == "barrier" && ++at_) return barrier(token);
      if (v3_ && word == "for" && ++at_) return for_loop();
      if (v3_ && word == "if" && ++at_) return if_statement();
      if (word == "measure" || word == "reset") fail_at(token, "{} cannot be part of a gate", shown(token));
      return gate_call();
    }
    if (takes("barrier")) return barrier(token);
    if (takes("measure")) return measure(token);
    if (takes("reset")) return reset(token);
    if (takes("if")) return if_statement();
    if (takes("include")) return include();
    if (takes("gate")) return gate_definition(false);
    if (takes("qreg")) return old_register(true);
    if (takes("creg")) return old_register(false);
    if (word == "OPENQASM") fail_at(token, "the version must be the first statement");
    if (!v3_) {
      if (takes("opaque")) return gate_definition(true);
      return gate_call();
    }
    if (takes("qubit")) return new_register(true);
    if (takes("output")) {
      if (!is("bit")) unsupported(token, "an output other than classical bits");
      ++at_;
      return new_register(false);
    }
    if (takes("bit")) return new_register(false);
    if (takes("input")) return input(false);
    if (takes("let")) return alias();
    if (takes("for")) return for_loop();
    if (takes("const")) {
      const std::string_view type = expect_name("a type");
      check(is_type(type), at_ - 1, "a constant of type {} is not supported", shown(at_ - 1));
      return typed_declaration(type, true);
    }
    if (is_type(word) && ++at_) return typed_declaration(word, false);
    static constexpr std::string_view kUnsupported[] = {
        "def",     "defcal",  "defcalgrammar", "cal",      "delay",  "box",     "extern",
        "while",   "switch",  "break",         "continue", "end",    "return",  "duration",
        "stretch", "complex", "array",         "nop",      "opaque", "mutable", "readonly"};
    if (std::ranges::find(kUnsupported, word) != std::end(kUnsupported)) unsupported(token, shown(token));
    if (Symbol* symbol = find(word); symbol && symbol->kind != Symbol::kQubits &&
                                     source_->tokens[at_ + 1].kind == Token::kSymbol && source_->view(at_ + 1) != "(")
      return assignment(*symbol);
    gate_call();
  }

  size_t line_end(size_t byte) const { return std::min(source_->text.find('\n', byte), source_->text.size()); }

  void skip_line() {
    const size_t end = line_end(source_->tokens[at_].start);
    while (!at_end() && source_->tokens[at_].start < end) ++at_;
  }

  // Annotations say how, never what, and so are skipped; but for @quanta.weight, which write_qasm() writes.
  void annotation(size_t token) {
    const bool is_weight = is("quanta") && source_->view(at_ + 1) == ".";
    at_ = token;
    skip_line();
    if (is_weight && accept("input")) return input(true);
    if (at_end()) unexpected("a statement behind the annotation");
    statement();
  }

  Circuit build() {
    require(wires_ > 0, "{}the text declares no qubits", sources_.front()->position(0));
    Circuit circuit(wires_);
    for (const ClassicalRegister& bits : registers_) circuit.add_register(bits.name, bits.size);
    for (Operation& operation : program_) {
      if (operation.kind == GateKind::Barrier && int(operation.wires.size()) == wires_) operation.wires.clear();
      circuit.add(std::move(operation));
    }
    return circuit;
  }

  QasmLimits limits_;
  std::vector<std::unique_ptr<const Source>> sources_;
  const Source* source_ = nullptr;
  size_t at_ = 0;
  bool v3_ = false;

  std::unordered_map<std::string_view, Callable> callables_;
  std::unordered_map<std::string_view, Symbol> globals_;
  std::vector<std::pair<std::string_view, Symbol>> locals_;
  std::vector<size_t> blocks_;  // where each block's names start
  size_t frame_ = 0;            // where the running gate's names start
  std::vector<std::unique_ptr<Gate>> gates_;
  bool in_gate_ = false;
  bool checking_ = false;  // a definition is run to check it, with made-up parameters
  int called_depth_ = 0;

  int wires_ = 0;
  int clbits_ = 0;
  int weights_ = 0;
  int inputs_ = 0;
  bool declares_qubits_ = false;
  std::vector<ClassicalRegister> registers_;
  std::vector<Operation> program_;
  Body* sink_ = nullptr;  // where a running gate's operations go; the program if null
  std::vector<Condition> conditions_;
  std::vector<Guard> guards_;
  int runtime_ = 0;  // blocks under conditions on measured bits

  int depth_ = 0;
  int includes_ = 0;
  size_t bytes_ = 0;
  int64_t steps_ = 0;
};

}  // namespace

Circuit parse_qasm(std::string_view text, const std::string& file, const QasmLimits& limits) {
  return Reader(limits).read(file, std::string(text));
}

Circuit read_qasm(const std::filesystem::path& path, const QasmLimits& limits) {
  return Reader(limits).read(path.string(), read_file(path, limits.bytes));
}

}  // namespace quanta
