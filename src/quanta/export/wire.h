#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quanta {

/// A message of protocol buffers in the making, field by field, in its wire format
/// (https://protobuf.dev/programming-guides/encoding).
class Message {
 public:
  void number(int field, int64_t value) {
    tag(field, 0);
    varint(uint64_t(value));
  }
  void real(int field, float value) {
    tag(field, 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_ += char(bits >> shift);
  }
  /// Text, bytes or an encoded message.
  void bytes(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
  }
  void message(int field, const Message& value) { bytes(field, value.bytes_); }
  void numbers(int field, std::span<const int64_t> values) {
    for (const int64_t value : values) number(field, value);
  }
  const std::string& encoded() const { return bytes_; }

 private:
  void tag(int field, int type) { varint(uint64_t(field) << 3 | uint64_t(type)); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += char(value | 0x80);
    bytes_ += char(value);
  }

  std::string bytes_;
};

}  // namespace quanta
