#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quanta {

/// The low `bits` (1 to 8) of each code, one after the other, the first in the lowest bits of the first byte. Signed
/// codes are in two's complement.
std::vector<uint8_t> pack_bits(std::span<const int8_t> codes, int bits);

/// `count` codes of what pack_bits() made, with their sign. `packed` holds (count * bits + 7) / 8 bytes.
std::vector<int8_t> unpack_bits(std::span<const std::byte> packed, size_t count, int bits);

}  // namespace quanta
