#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quanta::qasm {

struct Token {
  enum Kind : uint8_t { kEnd, kName, kInteger, kReal, kString, kSymbol };
  uint32_t start;
  uint32_t length;
  Kind kind;
};

/// A text and its tokens; the last one is kEnd.
struct Source {
  std::string file;
  std::string text;
  std::vector<Token> tokens;

  std::string_view view(size_t token) const {
    return std::string_view(text).substr(tokens[token].start, tokens[token].length);
  }
  /// "file:line:column: " of a byte of the text, counted from 1; a tab and a UTF-8 character are one column.
  std::string position(size_t byte) const;
};

/// Throws Error for a character that starts no token, an unfinished string or an unfinished comment.
std::unique_ptr<const Source> tokenize(std::string file, std::string text);

}  // namespace quanta::qasm
