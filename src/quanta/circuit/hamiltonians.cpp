#include "quanta/circuit/hamiltonians.h"

#include <algorithm>
#include <set>

#include "quanta/core/error.h"

namespace quanta {
namespace {

// Term by term: operator+ copies, which for thousands of terms counts.
void add(PauliSum& sum, double coefficient, std::vector<std::pair<int, char>> factors) {
  sum.terms.push_back({coefficient, PauliString(std::move(factors))});
}

std::vector<std::pair<int, int>> bonds(int wires, bool periodic) {
  require(wires >= 2, "a chain has at least 2 wires, got {}", wires);
  std::vector<std::pair<int, int>> result;
  for (int q = 0; q + 1 < wires; ++q) result.emplace_back(q, q + 1);
  if (periodic && wires > 2) result.emplace_back(wires - 1, 0);
  return result;
}

constexpr const char* kH2 =
    "- 0.0905789860883481 + 0.172183932619155 Z0 + 0.172183932619156 Z1 - 0.225753492224024 Z2 - "
    "0.225753492224024 Z3 + 0.168927538700879 Z0 Z1 + 0.120912632617766 Z0 Z2 + 0.166145432563824 Z0 Z3 + "
    "0.166145432563824 Z1 Z2 + 0.120912632617766 Z1 Z3 + 0.174643430683004 Z2 Z3 - 0.0452327999460579 X0 "
    "X1 Y2 Y3 + 0.0452327999460579 X0 Y1 Y2 X3 + 0.0452327999460579 Y0 X1 X2 Y3 - 0.0452327999460579 Y0 "
    "Y1 X2 X3";

constexpr const char* kH2Reduced =
    "- 0.332404251323881 + 0.397937424843179 Z0 + 0.39793742484318 Z1 + 0.180931199784231 X0 X1 + "
    "0.0112801042562352 Z0 Z1";

constexpr const char* kLiH =
    "- 7.0101499017454 + 0.00315431214841756 X0 - 0.0936692988687097 Z0 + 0.0192178407149212 X1 + "
    "0.358810841802433 Z1 + 0.00315431214841756 X2 - 0.0936692988687097 Z2 + 0.0192178407149212 X3 + "
    "0.358810841802433 Z3 - 0.00120094245974902 X0 X1 - 0.00315431214841756 X0 Z1 + 0.00325324332616706 "
    "X0 X2 + 0.0121233156215692 X0 Z2 + 0.0023391084103445 X0 X3 - 0.010823229935474 X0 Z3 + "
    "0.00120094245974902 Y0 Y1 + 0.0192178407149212 Z0 X1 - 0.211658984063128 Z0 Z1 + 0.0121233156215692 "
    "Z0 X2 + 0.12191619135389 Z0 Z2 + 0.0128350666624383 Z0 X3 - 0.113511471388572 Z0 Z3 + "
    "0.0023391084103445 X1 X2 + 0.0128350666624383 X1 Z2 + 0.00660911705248326 X1 X3 - 0.0110129379243276 "
    "X1 Z3 - 0.010823229935474 Z1 X2 - 0.113511471388572 Z1 Z2 - 0.0110129379243276 Z1 X3 + "
    "0.113490473924209 Z1 Z3 - 0.00120094245974903 X2 X3 - 0.00315431214841756 X2 Z3 + "
    "0.00120094245974903 Y2 Y3 + 0.0192178407149212 Z2 X3 - 0.211658984063128 Z2 Z3 - 0.00863495321680233 "
    "X0 X1 X2 - 0.0317643603179628 X0 X1 Z2 - 0.0079640261701661 X0 X1 X3 + 0.0336337972789841 X0 X1 Z3 - "
    "0.00325324332616706 X0 Z1 X2 - 0.0121233156215692 X0 Z1 Z2 - 0.0023391084103445 X0 Z1 X3 + "
    "0.010823229935474 X0 Z1 Z3 - 0.00863495321680233 X0 X2 X3 - 0.00325324332616706 X0 X2 Z3 + "
    "0.00863495321680233 X0 Y2 Y3 + 0.0023391084103445 X0 Z2 X3 - 0.00185422032441971 X0 Z2 Z3 + "
    "0.00863495321680233 Y0 Y1 X2 + 0.0317643603179628 Y0 Y1 Z2 + 0.0079640261701661 Y0 Y1 X3 - "
    "0.0336337972789841 Y0 Y1 Z3 + 0.0023391084103445 Z0 X1 X2 + 0.0128350666624383 Z0 X1 Z2 + "
    "0.00660911705248326 Z0 X1 X3 - 0.0110129379243276 Z0 X1 Z3 - 0.00185422032441971 Z0 Z1 X2 + "
    "0.0559389865577691 Z0 Z1 Z2 - 0.00899548776165577 Z0 Z1 X3 - 0.0603671177677824 Z0 Z1 Z3 - "
    "0.0317643603179628 Z0 X2 X3 - 0.0121233156215692 Z0 X2 Z3 + 0.0317643603179628 Z0 Y2 Y3 + "
    "0.0128350666624383 Z0 Z2 X3 + 0.0559389865577691 Z0 Z2 Z3 - 0.0079640261701661 X1 X2 X3 - "
    "0.0023391084103445 X1 X2 Z3 + 0.0079640261701661 X1 Y2 Y3 + 0.00660911705248326 X1 Z2 X3 - "
    "0.00899548776165577 X1 Z2 Z3 + 0.0336337972789841 Z1 X2 X3 + 0.010823229935474 Z1 X2 Z3 - "
    "0.0336337972789841 Z1 Y2 Y3 - 0.0110129379243276 Z1 Z2 X3 - 0.0603671177677824 Z1 Z2 Z3 + "
    "0.0309678120243379 X0 X1 X2 X3 + 0.00863495321680233 X0 X1 X2 Z3 - 0.0309678120243379 X0 X1 Y2 Y3 - "
    "0.0079640261701661 X0 X1 Z2 X3 + 0.0030703797881389 X0 X1 Z2 Z3 + 0.00863495321680233 X0 Z1 X2 X3 + "
    "0.00325324332616706 X0 Z1 X2 Z3 - 0.00863495321680233 X0 Z1 Y2 Y3 - 0.0023391084103445 X0 Z1 Z2 X3 + "
    "0.00185422032441971 X0 Z1 Z2 Z3 - 0.0309678120243379 Y0 Y1 X2 X3 - 0.00863495321680233 Y0 Y1 X2 Z3 + "
    "0.0309678120243379 Y0 Y1 Y2 Y3 + 0.0079640261701661 Y0 Y1 Z2 X3 - 0.0030703797881389 Y0 Y1 Z2 Z3 - "
    "0.0079640261701661 Z0 X1 X2 X3 - 0.0023391084103445 Z0 X1 X2 Z3 + 0.0079640261701661 Z0 X1 Y2 Y3 + "
    "0.00660911705248326 Z0 X1 Z2 X3 - 0.00899548776165577 Z0 X1 Z2 Z3 + 0.0030703797881389 Z0 Z1 X2 X3 + "
    "0.00185422032441971 Z0 Z1 X2 Z3 - 0.0030703797881389 Z0 Z1 Y2 Y3 - 0.00899548776165577 Z0 Z1 Z2 X3 + "
    "0.0844840114239869 Z0 Z1 Z2 Z3";

}  // namespace

PauliSum transverse_ising(int wires, double coupling, double field, bool periodic) {
  PauliSum sum;
  for (const auto& [a, b] : bonds(wires, periodic)) add(sum, -coupling, {{a, 'Z'}, {b, 'Z'}});
  for (int q = 0; q < wires; ++q) add(sum, -field, {{q, 'X'}});
  return sum;
}

PauliSum xxz(int wires, double coupling, double anisotropy, bool periodic) {
  PauliSum sum;
  for (const auto& [a, b] : bonds(wires, periodic))
    for (const char pauli : {'X', 'Y', 'Z'})
      add(sum, pauli == 'Z' ? coupling * anisotropy : coupling, {{a, pauli}, {b, pauli}});
  return sum;
}

PauliSum heisenberg(int wires, double coupling, bool periodic) {
  return xxz(wires, coupling, 1, periodic);
}

PauliSum max_cut(const std::vector<Edge>& edges) {
  PauliSum sum;
  double constant = 0;
  for (const Edge& edge : edges) {
    require(edge.a >= 0 && edge.b >= 0 && edge.a != edge.b, "edge {}-{}: expected two different nodes from 0", edge.a,
            edge.b);
    add(sum, edge.weight / 2, {{edge.a, 'Z'}, {edge.b, 'Z'}});
    constant -= edge.weight / 2;
  }
  add(sum, constant, {});
  return sum.simplified();
}

PauliSum qubo(const std::vector<std::vector<double>>& q) {
  // x_i x_j = (1 - Z_i)(1 - Z_j) / 4, and x_i x_i = x_i = (1 - Z_i) / 2
  PauliSum sum;
  const int n = int(q.size());
  for (int i = 0; i < n; ++i) {
    require(int(q[size_t(i)].size()) == n, "qubo: row {} has {} elements, expected {}", i, q[size_t(i)].size(), n);
    for (int j = 0; j < n; ++j) {
      const double value = q[size_t(i)][size_t(j)];
      if (value == 0) continue;
      if (i == j) {
        add(sum, value / 2, {});
        add(sum, -value / 2, {{i, 'Z'}});
      } else {
        add(sum, value / 4, {});
        add(sum, -value / 4, {{i, 'Z'}});
        add(sum, -value / 4, {{j, 'Z'}});
        add(sum, value / 4, {{i, 'Z'}, {j, 'Z'}});
      }
    }
  }
  return sum.simplified();
}

PauliSum hydrogen() {
  return PauliSum::parse(kH2);
}

PauliSum hydrogen_reduced() {
  return PauliSum::parse(kH2Reduced);
}

PauliSum lithium_hydride() {
  return PauliSum::parse(kLiH);
}

std::vector<Edge> random_regular_graph(int nodes, int degree, Random random) {
  require(degree >= 1 && nodes > degree && nodes * degree % 2 == 0,
          "regular graph: {} nodes of degree {}: expected a degree from 1 to nodes - 1 and an even product", nodes,
          degree);
  // Steger and Wormald: join two free ends at random if that makes a new edge; start again when stuck.
  for (;;) {
    std::vector<int> ends;
    for (int node = 0; node < nodes; ++node) ends.insert(ends.end(), size_t(degree), node);
    std::set<std::pair<int, int>> edges;
    for (int misses = 0; !ends.empty() && misses < 100;) {
      const size_t i = random.below(ends.size()), j = random.below(ends.size());
      const std::pair edge = std::minmax(ends[i], ends[j]);
      if (edge.first == edge.second || edges.contains(edge)) {
        ++misses;
        continue;
      }
      misses = 0;
      edges.insert(edge);
      for (const size_t end : {std::max(i, j), std::min(i, j)}) ends.erase(ends.begin() + long(end));
    }
    if (!ends.empty()) continue;
    std::vector<Edge> result;
    for (const auto& [a, b] : edges) result.push_back({a, b});
    return result;
  }
}

}  // namespace quanta
