#include "quanta/circuit/entanglement.h"

#include <algorithm>

namespace quanta {

std::vector<std::pair<int, int>> entangled_pairs(Entanglement entanglement, int wires) {
  std::vector<std::pair<int, int>> pairs;
  if (entanglement == Entanglement::Ring && wires > 2) pairs.emplace_back(wires - 1, 0);
  for (int i = 0; i + 1 < wires; ++i) {
    const int last = entanglement == Entanglement::Full ? wires - 1 : i + 1;
    for (int j = i + 1; j <= last; ++j) pairs.emplace_back(i, j);
  }
  if (entanglement == Entanglement::ReverseLinear) std::ranges::reverse(pairs);
  return pairs;
}

}  // namespace quanta
