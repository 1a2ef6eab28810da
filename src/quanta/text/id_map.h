#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace quanta {

/// A pair of 32-bit numbers to a value: open addressing, no removal. For a vocabulary's hundred thousands of merges.
template <class Value>
class IdMap {
 public:
  /// The value of (a, b), made from Value{} if it is new. `a` is not UINT32_MAX.
  Value& operator()(uint32_t a, uint32_t b) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[place(key(a, b))];
    if (slot.key == kEmpty) {
      slot.key = key(a, b);
      ++count_;
    }
    return slot.value;
  }
  const Value* find(uint32_t a, uint32_t b) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(key(a, b))];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }
  size_t size() const { return count_; }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };
  static uint64_t key(uint32_t a, uint32_t b) { return uint64_t(a) << 32 | b; }
  size_t place(uint64_t key) const {
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash = (hash ^ hash >> 32) * 0xD6E8FEB86659FD93u;
    size_t at = size_t(hash ^ hash >> 32) & (slots_.size() - 1);
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : 2 * slots_.size());
    std::swap(old, slots_);
    for (Slot& slot : old)
      if (slot.key != kEmpty) slots_[place(slot.key)] = std::move(slot);
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

/// Words and a number for each, for finding those a text begins with.
class Trie {
 public:
  /// The number of a word; -1 at first.
  int32_t& operator[](std::string_view word) {
    uint32_t node = 0;
    for (const char c : word) {
      uint32_t& child = children_(node, static_cast<unsigned char>(c));
      if (!child) {
        child = uint32_t(numbers_.size());
        numbers_.push_back(-1);
      }
      node = child;
    }
    return numbers_[node];
  }
  bool empty() const { return numbers_.size() == 1; }

  /// Calls visit(length, number) for each word that stands at text[at...], the shortest first.
  template <class Visit>
  void visit_prefixes(std::string_view text, size_t at, Visit visit) const {
    uint32_t node = 0;
    for (size_t k = at; k < text.size(); ++k) {
      const uint32_t* child = children_.find(node, static_cast<unsigned char>(text[k]));
      if (!child) return;
      node = *child;
      if (numbers_[node] >= 0) visit(k + 1 - at, numbers_[node]);
    }
  }
  /// Length and number of the longest word there; (0, -1) if none.
  std::pair<size_t, int32_t> longest_prefix(std::string_view text, size_t at) const {
    std::pair<size_t, int32_t> best{0, -1};
    visit_prefixes(text, at, [&](size_t length, int32_t number) { best = {length, number}; });
    return best;
  }

 private:
  IdMap<uint32_t> children_;
  std::vector<int32_t> numbers_{-1};
};

}  // namespace quanta
