#include "quanta/text/utf8.h"

#include <algorithm>

namespace quanta {

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
    return;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  put((0x7F80u >> more & 0xFF) | code >> (6 * more));
  for (int k = more - 1; k >= 0; --k) put(0x80 | (code >> (6 * k) & 0x3F));
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (!c.valid) return false;
    at += size_t(c.bytes);
  }
  return true;
}

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) at += size_t(character_at(text, at).bytes);
  return count;
}

size_t complete_utf8(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t bytes = byte >= 0xF5 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1;
    return bytes > back ? text.size() - back : text.size();
  }
  return text.size();
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (c.valid)
      result.append(text, at, size_t(c.bytes));
    else
      result += "\xEF\xBF\xBD";
    at += size_t(c.bytes);
  }
  return result;
}

}  // namespace quanta
