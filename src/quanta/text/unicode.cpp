#include "quanta/text/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "quanta/text/unicode_ranges.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

using namespace unicode_data;

template <class Range, size_t n>
const Range* find_range(const Range (&ranges)[n], char32_t code) {
  const auto after = std::upper_bound(std::begin(ranges), std::end(ranges), code,
                                      [](char32_t c, const Range& range) { return c < range.first; });
  if (after == std::begin(ranges) || code > std::prev(after)->last) return nullptr;
  return std::prev(after);
}

CharClass search_class(char32_t code) {
  const ClassRange* range = find_range(kClassRanges, code);
  if (!range) return CharClass::Other;
  constexpr CharClass kClasses[] = {CharClass::Other, CharClass::Letter, CharClass::Number,
                                    CharClass::Mark,  CharClass::Space,  CharClass::Connector};
  return kClasses[range->kind];
}

int combining_class(char32_t code) {
  if (code < 0x300) return 0;
  const CombiningRange* range = find_range(kCombiningRanges, code);
  return range ? range->combining_class : 0;
}

constexpr char32_t kSyllables = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTails = 28;

void take_apart(char32_t code, std::u32string& out) {
  if (code < 0xC0) {
    out += code;
  } else if (code - kSyllables < kLeads * kVowels * kTails) {
    const char32_t index = code - kSyllables;
    out += kLead + index / (kVowels * kTails);
    out += kVowel + index / kTails % kVowels;
    if (index % kTails) out += kTail + index % kTails;
  } else {
    const auto found = std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code,
                                        [](const Decomposition& d, char32_t c) { return d.code < c; });
    if (found == std::end(kDecompositions) || found->code != code) {
      out += code;
    } else {
      take_apart(found->first, out);
      if (const char32_t second = found->second & ~kApart) take_apart(second, out);
    }
  }
}

// The character that two compose to; 0 if none.
char32_t compose(char32_t a, char32_t b) {
  if (a - kLead < kLeads && b - kVowel < kVowels) return kSyllables + ((a - kLead) * kVowels + (b - kVowel)) * kTails;
  if (a - kSyllables < kLeads * kVowels * kTails && (a - kSyllables) % kTails == 0 && b - kTail - 1 < kTails - 1)
    return a + (b - kTail);
  static const auto pairs = [] {
    std::unordered_map<uint64_t, char32_t> map;
    for (const Decomposition& d : kDecompositions)
      if (!(d.second & kApart)) map[uint64_t(d.first) << 32 | d.second] = d.code;
    return map;
  }();
  const auto found = pairs.find(uint64_t(a) << 32 | b);
  return found == pairs.end() ? 0 : found->second;
}

// Marks of each run in the order of their classes, equal ones as they were.
void order_marks(std::u32string& text) {
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && combining_class(text[end])) ++end;
    if (end - at > 1)
      std::stable_sort(text.begin() + std::ptrdiff_t(at), text.begin() + std::ptrdiff_t(end),
                       [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    at = std::max(end, at + 1);
  }
}

void compose_all(std::u32string& text) {
  size_t length = 0, starter = std::u32string::npos;
  int last_class = 0;
  for (const char32_t code : text) {
    const int kind = combining_class(code);
    const bool blocked = starter == std::u32string::npos || (length - 1 != starter && last_class >= kind);
    if (const char32_t whole = blocked ? 0 : compose(text[starter], code)) {
      text[starter] = whole;
      continue;
    }
    if (kind == 0) starter = length;
    last_class = kind;
    text[length++] = code;
  }
  text.resize(length);
}

std::string normalize(std::string_view text, bool composed) {
  std::string result;
  std::u32string run;
  const auto flush = [&] {
    order_marks(run);
    if (composed) compose_all(run);
    for (const char32_t code : run) append_utf8(result, code);
    run.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (c.valid) {
      take_apart(c.code, run);
    } else {
      flush();
      result += text[at];
    }
    at += size_t(c.bytes);
  }
  flush();
  return result;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

CharClass char_class(char32_t code) {
  constexpr size_t kPages = 0x3400;  // scripts in daily use; beyond them a search is fast enough
  static const auto table = [] {
    auto classes = std::vector<CharClass>(kPages);
    for (size_t c = 0; c < kPages; ++c) classes[c] = search_class(char32_t(c));
    return classes;
  }();
  return code < kPages ? table[code] : search_class(code);
}

std::string nfd(std::string_view text) {
  return is_ascii(text) ? std::string(text) : normalize(text, false);
}

std::string nfc(std::string_view text) {
  return is_ascii(text) ? std::string(text) : normalize(text, true);
}

}  // namespace quanta
