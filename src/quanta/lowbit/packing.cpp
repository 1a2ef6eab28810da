#include "quanta/lowbit/packing.h"

namespace quanta {

std::vector<uint8_t> pack_bits(std::span<const int8_t> codes, int bits) {
  std::vector<uint8_t> packed((codes.size() * size_t(bits) + 7) / 8);
  for (size_t i = 0; i < codes.size(); ++i)
    for (int b = 0; b < bits; ++b)
      if (codes[i] >> b & 1)
        packed[(i * size_t(bits) + size_t(b)) / 8] |= uint8_t(1 << (i * size_t(bits) + size_t(b)) % 8);
  return packed;
}

std::vector<int8_t> unpack_bits(std::span<const std::byte> packed, size_t count, int bits) {
  std::vector<int8_t> codes(count);
  for (size_t i = 0; i < count; ++i) {
    unsigned code = 0;
    for (int b = 0; b < bits; ++b) {
      const size_t at = i * size_t(bits) + size_t(b);
      code |= unsigned(int(packed[at / 8]) >> at % 8 & 1) << b;
    }
    const int sign = 1 << (bits - 1);
    codes[i] = int8_t((int(code) ^ sign) - sign);
  }
  return codes;
}

}  // namespace quanta
