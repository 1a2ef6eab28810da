#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quanta {

/// A character of a text. A byte that is no part of valid UTF-8 is a character of its own: not valid, one byte long.
struct Character {
  char32_t code = 0;
  int bytes = 1;
  bool valid = true;
};

/// The character that starts at `at` (< text.size()).
inline Character character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[at + k]); };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const int bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < size_t(bytes)) return {first, 1, false};
  char32_t code = first & (0x7Fu >> bytes);
  for (int k = 1; k < bytes; ++k) {
    if ((byte(size_t(k)) & 0xC0) != 0x80) return {first, 1, false};
    code = code << 6 | (byte(size_t(k)) & 0x3F);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return {first, 1, false};
  return {code, bytes};
}

void append_utf8(std::string& text, char32_t code);

/// Whether all of it is valid UTF-8.
bool is_utf8(std::string_view text);

/// The number of characters; bytes that are no UTF-8 count one each.
int64_t count_characters(std::string_view text);

/// How many bytes from the start can be shown now: all but a character at the end whose bytes have not all come.
size_t complete_utf8(std::string_view text);

/// Text with a replacement character (U+FFFD) for each byte that is no UTF-8.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace quanta
