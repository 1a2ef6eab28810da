#include "quanta/circuit/qasm_tokens.h"

#include <algorithm>
#include <array>

#include "quanta/core/error.h"

namespace quanta::qasm {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
// Bytes of UTF-8 characters are letters: Greek names are usual.
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || (c & 0x80);
}
bool continues_name(char c) {
  return starts_name(c) || is_digit(c);
}

constexpr auto kSymbols =
    std::to_array<std::string_view>({"<<=", ">>=", "**=", "->", "==", "!=", "<=", ">=", "&&", "||", "++", "**",
                                     "<<",  ">>",  "+=",  "-=", "*=", "/=", "%=", "&=", "|=", "^=", "(",  ")",
                                     "[",   "]",   "{",   "}",  ";",  ",",  ":",  "=",  "+",  "-",  "*",  "/",
                                     "%",   "^",   "<",   ">",  "!",  "~",  "&",  "|",  "@",  ".",  "#"});

}  // namespace

std::string Source::position(size_t byte) const {
  byte = std::min(byte, text.size());
  const size_t line = std::count(text.begin(), text.begin() + byte, '\n') + 1;
  const size_t start = byte == 0 ? std::string::npos : text.rfind('\n', byte - 1);
  const auto begin = text.begin() + (start == std::string::npos ? 0 : start + 1);
  const size_t column = std::count_if(begin, text.begin() + byte, [](char c) { return (c & 0xC0) != 0x80; }) + 1;
  return fmt::format("{}:{}:{}: ", file, line, column);
}

std::unique_ptr<const Source> tokenize(std::string file, std::string content) {
  auto source = std::make_unique<Source>(Source{std::move(file), std::move(content), {}});
  const std::string_view text = source->text;
  size_t i = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  const auto at = [&](size_t k) { return k < text.size() ? text[k] : '\0'; };
  const auto add = [&](Token::Kind kind, size_t end) {
    source->tokens.push_back({uint32_t(i), uint32_t(end - i), kind});
    i = end;
  };
  while (i < text.size()) {
    const char c = text[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v') {
      ++i;
    } else if (c == '/' && at(i + 1) == '/') {
      i = std::min(text.find('\n', i), text.size());
    } else if (c == '/' && at(i + 1) == '*') {
      const size_t end = text.find("*/", i + 2);
      require(end != std::string_view::npos, "{}the comment does not end, expected */", source->position(i));
      i = end + 2;
    } else if (starts_name(c)) {
      size_t end = i;
      while (end < text.size() && continues_name(text[end])) ++end;
      add(Token::kName, end);
    } else if (is_digit(c) || (c == '.' && is_digit(at(i + 1)))) {
      size_t end = i;
      Token::Kind kind = Token::kInteger;
      const char base = c == '0' ? at(i + 1) | 0x20 : 0;
      if (base == 'x' || base == 'b' || base == 'o') {
        end = i + 2;
        while (end < text.size() && continues_name(text[end])) ++end;
      } else {
        const auto digits = [&] {
          while (is_digit(at(end)) || (at(end) == '_' && is_digit(at(end + 1)))) ++end;
        };
        digits();
        if (at(end) == '.') {
          kind = Token::kReal;
          ++end;
          digits();
        }
        if ((at(end) | 0x20) == 'e') {
          const size_t exponent = end + (at(end + 1) == '+' || at(end + 1) == '-' ? 2 : 1);
          if (is_digit(at(exponent))) {
            kind = Token::kReal;
            end = exponent;
            digits();
          }
        }
      }
      add(kind, end);
    } else if (c == '"' || c == '\'') {
      size_t end = i + 1;
      while (end < text.size() && text[end] != c && text[end] != '\n') ++end;
      require(at(end) == c, "{}the string does not end, expected {}", source->position(i), c);
      add(Token::kString, end + 1);
    } else {
      const auto symbol = std::ranges::find_if(kSymbols, [&](auto s) { return text.substr(i).starts_with(s); });
      if (symbol == kSymbols.end()) {
        const bool printable = c > ' ' && c < 0x7f;
        fail("{}unexpected character {}", source->position(i),
             printable ? fmt::format("'{}'", c) : fmt::format("with code {}", int(uint8_t(c))));
      }
      add(Token::kSymbol, i + symbol->size());
    }
  }
  i = text.size();
  add(Token::kEnd, i);
  return source;
}

}  // namespace quanta::qasm
