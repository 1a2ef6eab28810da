#include "quanta/text/split_pattern.h"

#include "quanta/text/unicode.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

struct Scanned {
  CharClass kind;
  size_t bytes;
  char32_t code;
};

// Letter, Number, Space or Other: what the patterns tell apart. Past the end: no bytes, Space.
Scanned scan(std::string_view text, size_t at) {
  if (at >= text.size()) return {CharClass::Space, 0, 0};
  const Character c = character_at(text, at);
  CharClass kind = c.valid ? char_class(c.code) : CharClass::Other;
  if (kind == CharClass::Mark || kind == CharClass::Connector) kind = CharClass::Other;
  return {kind, size_t(c.bytes), c.code};
}

size_t run_end(std::string_view text, size_t at, CharClass kind, int most = -1) {
  for (; at < text.size() && most != 0; --most) {
    const Scanned c = scan(text, at);
    if (c.kind != kind) break;
    at += c.bytes;
  }
  return at;
}

// The end of 's 't 're 've 'm 'll 'd at the apostrophe `at`, or `at`.
size_t contraction_end(std::string_view text, size_t at, bool any_case) {
  const auto lower = [&](size_t k) -> char {
    if (k >= text.size()) return 0;
    return any_case && text[k] >= 'A' && text[k] <= 'Z' ? char(text[k] + 32) : text[k];
  };
  const char first = lower(at + 1), second = lower(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')) return at + 3;
  if (any_case && text.substr(at + 1, 2) == "\xC5\xBF") return at + 3;  // U+017F, an s in old print
  return at;
}

bool is_newline(char32_t code) {
  return code == '\r' || code == '\n';
}

// \s+(?!\S)|\s+: white space up to its last character, which goes with the word that follows.
size_t space_end(std::string_view text, size_t at) {
  size_t end = at, last = at;
  while (end < text.size()) {
    const Scanned c = scan(text, end);
    if (c.kind != CharClass::Space) break;
    last = end;
    end += c.bytes;
  }
  return end == text.size() || last == at ? end : last;
}

size_t gpt2_end(std::string_view text, size_t at) {
  if (text[at] == '\'')
    if (const size_t end = contraction_end(text, at, false); end != at) return end;
  const size_t from = at + (text[at] == ' ');
  const Scanned c = scan(text, from);
  return c.kind == CharClass::Space ? space_end(text, at) : run_end(text, from, c.kind);
}

size_t llama3_end(std::string_view text, size_t at, int digits) {
  if (text[at] == '\'')
    if (const size_t end = contraction_end(text, at, true); end != at) return end;
  const Scanned c = scan(text, at);
  if (c.kind == CharClass::Letter) return run_end(text, at, CharClass::Letter);
  if (c.kind == CharClass::Number) return run_end(text, at, CharClass::Number, digits);
  const Scanned next = scan(text, at + c.bytes);
  if (!is_newline(c.code) && next.kind == CharClass::Letter) return run_end(text, at + c.bytes, CharClass::Letter);
  const size_t from = at + (c.code == ' ');
  if (scan(text, from).kind == CharClass::Other) {
    size_t end = run_end(text, from, CharClass::Other);
    while (end < text.size() && is_newline(char32_t(text[end]))) ++end;
    return end;
  }
  const size_t end = run_end(text, at, CharClass::Space);
  const size_t newline = text.substr(at, end - at).find_last_of("\r\n");
  return newline == std::string_view::npos ? space_end(text, at) : at + newline + 1;
}

}  // namespace

// Also forms that match the same: "\s*[\r\n]" ends at the last newline of a run as "\s*[\r\n]+" does, and what the
// possessive quantifiers keep the others would not give back.
std::optional<SplitPattern> split_pattern(std::string_view text) {
  for (const SplitPattern pattern : {SplitPattern::Gpt2, SplitPattern::Llama3, SplitPattern::Qwen2})
    if (text == regex(pattern)) return pattern;
  if (text ==
          R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)" ||
      text ==
          R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)")
    return SplitPattern::Llama3;
  return {};
}

std::string_view regex(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::Llama3:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case SplitPattern::Qwen2:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    default:
      return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  }
}

std::string_view gguf_name(SplitPattern pattern) {
  return pattern == SplitPattern::Llama3 ? "llama-bpe" : pattern == SplitPattern::Qwen2 ? "qwen2" : "gpt-2";
}

std::optional<SplitPattern> split_pattern_of_gguf(std::string_view name) {
  for (const SplitPattern pattern : {SplitPattern::Gpt2, SplitPattern::Llama3, SplitPattern::Qwen2})
    if (name == gguf_name(pattern)) return pattern;
  if (name == "default" || name.empty()) return SplitPattern::Gpt2;
  return {};
}

size_t word_end(SplitPattern pattern, std::string_view text, size_t at) {
  if (pattern == SplitPattern::Gpt2) return gpt2_end(text, at);
  return llama3_end(text, at, pattern == SplitPattern::Llama3 ? 3 : 1);
}

}  // namespace quanta
