#include "quanta/simulate/tableau.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace quanta::simulate {

namespace {

constexpr int kGroup = 4;  // words that are counted side by side, so that the compiler uses vectors

/// Counters modulo 4, one for each bit of a group of words.
struct Counters {
  uint64_t ones[kGroup]{}, twos[kGroup]{};

  /// Modulo 4.
  int sum() const {
    uint64_t one = 0, two = 0;
    for (int k = 0; k < kGroup; ++k) {
      two ^= twos[k] ^ (one & ones[k]);
      one ^= ones[k];
    }
    return std::popcount(one) + 2 * std::popcount(two);
  }
};

}  // namespace

Tableau::Tableau(int wires)
    : wires_(wires),
      words_((wires + 64 * kGroup - 1) / (64 * kGroup) * kGroup),
      bits_(size_t(wires) * 4 * words_),
      signs_(size_t(wires) * 2),
      rows_(size_t(wires) * 2) {
  std::iota(rows_.begin(), rows_.end(), 0);
  for (int q = 0; q < wires; ++q) {
    x(xs(q))[q / 64] |= uint64_t{1} << (q % 64);
    z(zs(q))[q / 64] |= uint64_t{1} << (q % 64);
  }
}

void Tableau::multiply(int a, int b, int phase) {
  uint64_t *xa = x(a), *za = z(a), *xb = x(b), *zb = z(b);
  Counters power;  // of i
  for (int w = 0; w < words_; w += kGroup) {
    for (int k = 0; k < kGroup; ++k) {
      const uint64_t x1 = xa[w + k], z1 = za[w + k], x2 = xb[w + k], z2 = zb[w + k], x1z2 = x1 & z2;
      const uint64_t anticommute = x1z2 ^ (z1 & x2), x3 = x1 ^ x2, z3 = z1 ^ z2;
      xa[w + k] = x3;
      za[w + k] = z3;
      const uint64_t minus = x3 ^ z3 ^ x1z2;  // XZ, YX, ZY = -i times the third; else +i
      power.twos[k] ^= anticommute & (power.ones[k] ^ minus);
      power.ones[k] ^= anticommute;
    }
  }
  phase += power.sum() + 2 * (signs_[a] + signs_[b]);
  signs_[a] = uint8_t(phase >> 1 & 1);
}

void Tableau::apply(const CliffordStep& gate) {
  const int a = gate.a, b = gate.b;
  switch (gate.kind) {
    case Clifford::X:
      signs_[zs(a)] ^= 1;
      break;
    case Clifford::Y:
      signs_[xs(a)] ^= 1;
      signs_[zs(a)] ^= 1;
      break;
    case Clifford::Z:
      signs_[xs(a)] ^= 1;
      break;
    case Clifford::H:
      std::swap(rows_[2 * size_t(a)], rows_[2 * size_t(a) + 1]);
      break;
    case Clifford::S:  // X -> -Y = -i X Z
      multiply(xs(a), zs(a), 3);
      break;
    case Clifford::SX:  // Z -> Y = -i Z X
      multiply(zs(a), xs(a), 3);
      break;
    case Clifford::CX:
      multiply(xs(a), xs(b), 0);
      multiply(zs(b), zs(a), 0);
      break;
    case Clifford::CZ:
      multiply(xs(a), zs(b), 0);
      multiply(xs(b), zs(a), 0);
      break;
    case Clifford::SWAP:
      std::swap(rows_[2 * size_t(a)], rows_[2 * size_t(b)]);
      std::swap(rows_[2 * size_t(a) + 1], rows_[2 * size_t(b) + 1]);
      break;
    default:
      break;
  }
}

bool Tableau::is_determined(int q) const {
  const uint64_t* row = x(zs(q));
  return std::all_of(row, row + words_, [](uint64_t word) { return word == 0; });
}

int Tableau::collapse(int q) {
  // Gates before U, on the qubits that are still |0>: CNOTs from the pivot, which change nothing there, leave one X or
  // Y in this row; H or its sister for Y makes it a Z, which is to put the pivot into that operator's eigenstate.
  const uint64_t* own = x(zs(q));
  std::vector<uint64_t> targets(own, own + words_);
  const int first = int(std::ranges::find_if(targets, [](uint64_t word) { return word != 0; }) - targets.begin());
  const int pivot = 64 * first + std::countr_zero(targets[first]);
  const uint64_t bit = uint64_t{1} << (pivot % 64);
  targets[first] ^= bit;
  const auto cnots = [&](int row) {
    uint64_t *xr = x(row), *zr = z(row), parity = 0;
    if (!(xr[first] & bit)) {
      for (int w = first; w < words_; ++w) parity ^= zr[w] & targets[w];
      if (std::popcount(parity) & 1) zr[first] ^= bit;
      return;
    }
    // Written as i^(number of Y) X.. Z.., a string keeps its sign; so the number of Y's tells it, modulo 4.
    Counters changed;  // qubits whose X appears or goes and that have a Z
    uint64_t both[kGroup]{};
    for (int w = first / kGroup * kGroup; w < words_; w += kGroup) {
      for (int k = 0; k < kGroup; ++k) {
        const uint64_t zt = zr[w + k] & targets[w + k], xw = xr[w + k];
        both[k] ^= zt & xw;
        changed.twos[k] ^= changed.ones[k] & zt;
        changed.ones[k] ^= zt;
        xr[w + k] = xw ^ targets[w + k];
      }
    }
    const int count = changed.sum(), odd = count & 1, before = (zr[first] & bit) != 0;
    uint64_t lost = 0;  // its parity matters
    for (const uint64_t word : both) lost ^= word;
    if (odd) zr[first] ^= bit;
    const int more = count - 2 * std::popcount(lost) + (before ^ odd) - before;
    signs_[row] ^= uint8_t(more >> 1 & 1);
  };
  cnots(zs(q));
  const bool is_y = z(zs(q))[first] & bit;
  for (int row = 0; row < 2 * wires_; ++row) {
    if (row != zs(q)) cnots(row);
    uint64_t &xw = x(row)[first], &zw = z(row)[first];
    const bool xk = xw & bit, zk = zw & bit;
    if (is_y) {  // Y <-> Z, X -> -X
      signs_[row] ^= xk && !zk;
      if (zk) xw ^= bit;
    } else {
      signs_[row] ^= xk && zk;
      if (xk != zk) {
        xw ^= bit;
        zw ^= bit;
      }
    }
  }
  return pivot;
}

bool Tableau::measure(int q, bool if_random) {
  if (is_determined(q)) return signs_[zs(q)];
  const int pivot = collapse(q);
  if (signs_[zs(q)] != uint8_t(if_random)) {  // the pivot starts in |1>
    for (int row = 0; row < 2 * wires_; ++row) signs_[row] ^= uint8_t(z(row)[pivot / 64] >> (pivot % 64) & 1);
  }
  return if_random;
}

}  // namespace quanta::simulate
