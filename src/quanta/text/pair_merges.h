#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace quanta {

/// A part of a text that is being merged: an id, the bytes it covers, and its neighbours' indices (-1: none).
struct Symbol {
  int32_t id = 0;
  uint32_t begin = 0, end = 0;
  int32_t previous = -1, next = -1;
};

/// What two neighbours become, and when: the least rank first. `id` < 0: they stay apart.
struct Merge {
  int32_t rank = 0;
  int32_t id = -1;
};

/// Byte-pair encoding's merging (Sennrich et al., ACL 2016): merges the neighbours of least rank, the leftmost of
/// equals, until `find(left, right)` has no merge for any. Symbols come chained from index 0; what remains is chained
/// from there. O(n log n) calls of `find`.
template <class Find>
void merge_pairs(std::vector<Symbol>& symbols, Find find) {
  struct Candidate {
    int32_t rank, left, right, id;
    uint32_t end;
    bool operator<(const Candidate& other) const {  // the queue's top is its greatest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const auto candidate = [&](int32_t left, std::vector<Candidate>& into) {
    if (left < 0 || symbols[size_t(left)].next < 0) return false;
    const int32_t right = symbols[size_t(left)].next;
    const Merge merge = find(symbols[size_t(left)], symbols[size_t(right)]);
    if (merge.id < 0) return false;
    into.push_back({merge.rank, left, right, merge.id, symbols[size_t(right)].end});
    return true;
  };
  std::vector<Candidate> heap;
  for (size_t k = 0; k < symbols.size(); ++k) candidate(int32_t(k), heap);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[size_t(top.left)];
    Symbol& right = symbols[size_t(top.right)];
    // Symbols only grow, and one that was merged into its left neighbour covers nothing.
    if (left.next != top.right || left.end == left.begin || left.end != right.begin || right.end != top.end) continue;
    left.id = top.id;
    left.end = right.end;
    left.next = right.next;
    right.end = right.begin;
    if (left.next >= 0) symbols[size_t(left.next)].previous = top.left;
    if (candidate(left.previous, heap)) std::push_heap(heap.begin(), heap.end());
    if (candidate(top.left, heap)) std::push_heap(heap.begin(), heap.end());
  }
}

}  // namespace quanta
