#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quanta {

/// What a tokenizer's patterns ask of a character (general categories L, N, M, Pc; the property White_Space).
enum class CharClass : uint8_t { Other, Letter, Number, Mark, Space, Connector };

/// Other for what is no character (unassigned, a stray byte).
CharClass char_class(char32_t code);

/// Unicode's canonical normal forms: characters taken apart (NFD), and composed again (NFC). Bytes that are no UTF-8
/// stay.
std::string nfd(std::string_view text);
std::string nfc(std::string_view text);

}  // namespace quanta
