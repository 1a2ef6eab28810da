#include "quanta/simulate/mps_program.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>
#include <set>

#include "quanta/core/error.h"

namespace quanta::simulate {

namespace {

constexpr int kMaxGateWires = 6;

Operation gate(GateKind kind, std::vector<int> wires, std::vector<Angle> angles = {}) {
  return {.kind = kind, .wires = std::move(wires), .angles = std::move(angles), .controls = {}, .pauli = {}};
}

/// Neighbours in breadth-first order from wires with few of them (Cuthill and McKee, 1969).
std::vector<int> wire_order(const Circuit& circuit) {
  const int n = circuit.wires();
  std::vector<std::set<int>> neighbours(n);
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Barrier) continue;
    std::vector<int> wires = operation.all_wires();
    std::ranges::sort(wires);
    for (size_t i = 0; i + 1 < wires.size(); ++i) {
      neighbours[wires[i]].insert(wires[i + 1]);
      neighbours[wires[i + 1]].insert(wires[i]);
    }
  }
  const auto fewer = [&](int a, int b) {
    return std::pair(neighbours[a].size(), a) < std::pair(neighbours[b].size(), b);
  };
  std::vector<int> starts(n), order;
  std::iota(starts.begin(), starts.end(), 0);
  std::ranges::sort(starts, fewer);
  std::vector<bool> seen(n);
  for (const int start : starts) {
    if (seen[start]) continue;
    seen[start] = true;
    order.push_back(start);
    for (size_t at = order.size() - 1; at < order.size(); ++at) {
      std::vector<int> next;
      for (const int q : neighbours[order[at]])
        if (!seen[q]) next.push_back(q);
      std::ranges::sort(next, fewer);
      for (const int q : next) {
        seen[q] = true;
        order.push_back(q);
      }
    }
  }
  return order;
}

/// A rotation about a long string: a rotation about Z of its parity, which CNOTs along the chain gather.
void lower_pauli_rotation(const Operation& operation, const std::vector<int>& site, std::vector<Operation>& out) {
  auto factors = operation.pauli.factors;
  std::ranges::sort(factors, {}, [&](const auto& factor) { return site[factor.first]; });
  const double quarter = std::acos(0.0);
  const auto basis = [&](double sign) {
    for (const auto& [wire, letter] : factors) {
      if (letter == 'X') out.push_back(gate(GateKind::H, {wire}));
      if (letter == 'Y') out.push_back(gate(GateKind::RX, {wire}, {sign * quarter}));
    }
  };
  basis(1);
  for (size_t i = 0; i + 1 < factors.size(); ++i)
    out.push_back(gate(GateKind::CX, {factors[i].first, factors[i + 1].first}));
  out.push_back(gate(GateKind::RZ, {factors.back().first}, operation.angles));
  for (size_t i = factors.size() - 1; i > 0; --i)
    out.push_back(gate(GateKind::CX, {factors[i - 1].first, factors[i].first}));
  basis(-1);
}

std::vector<Operation> lower(const Circuit& circuit, const std::vector<int>& site) {
  std::vector<Operation> out;
  for (size_t i = 0; i < circuit.operations().size(); ++i) {
    const Operation& operation = circuit.operations()[i];
    const std::string_view name = gate_info(operation.kind).name;
    if (operation.kind == GateKind::Barrier) continue;
    require(is_unitary(operation.kind) && operation.conditions.empty(),
            "operation {}: a matrix-product state runs unitary gates alone, not {}{}", i, name,
            operation.conditions.empty() ? "" : " with a condition");
    const size_t count = operation.all_wires().size();
    if (operation.kind == GateKind::PauliRotation && operation.controls.empty() && count == 0) {
      const Angle& a = operation.angles[0];  // a global phase
      out.push_back(gate(GateKind::RZ, {0}, {a}));
      out.push_back(gate(GateKind::P, {0}, {-a}));
    } else if (operation.kind == GateKind::PauliRotation && operation.controls.empty() && count > 2) {
      lower_pauli_rotation(operation, site, out);
    } else {
      require(count <= kMaxGateWires,
              "operation {}: {} acts on {} wires, a matrix-product state takes gates on up to {}; decompose it", i,
              name, count, kMaxGateWires);
      out.push_back(operation);
    }
  }
  return out;
}

}  // namespace

std::vector<Scalar> step_matrix(const MpsStep& step, const Operation* operation, const double* weights,
                                const double* inputs) {
  if (!step.fixed.empty()) return step.fixed;
  const Matrix matrix = operation->unitary(weights, inputs);
  std::vector<int> index(matrix.dim);
  for (int i = 0; i < matrix.dim; ++i)
    for (int j = 0; j < step.count(); ++j) index[i] |= (i >> j & 1) << step.local[j];
  std::vector<Scalar> result(matrix.data.size());
  for (int i = 0; i < matrix.dim; ++i)
    for (int j = 0; j < matrix.dim; ++j) result[size_t(index[i]) * matrix.dim + index[j]] = matrix(i, j);
  return result;
}

MpsProgram compile_mps(const Circuit& circuit, bool reorder) {
  MpsProgram program{.wires = circuit.wires(), .operations = {}, .steps = {}, .site = {}};
  const int n = program.wires;
  std::vector<int> wire(n);  // of each site
  std::iota(wire.begin(), wire.end(), 0);
  if (reorder) wire = wire_order(circuit);
  std::vector<int>& site = program.site;
  site.resize(n);
  for (int s = 0; s < n; ++s) site[wire[s]] = s;
  program.operations = lower(circuit, site);

  int centre = 0;
  const auto exchange = [&](int s) {
    std::swap(wire[s], wire[s + 1]);
    site[wire[s]] = s;
    site[wire[s + 1]] = s + 1;
  };
  const auto swap_step = [&](int s) {
    program.steps.push_back({.operation = MpsStep::kSwap, .first = s, .local = {0, 1}});
    program.steps.back().fixed = {1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1};
    exchange(s);
    centre = s;
  };
  const auto sites_of = [&](const Operation& operation) {
    std::vector<int> sites;
    for (const int q : operation.all_wires()) sites.push_back(site[q]);
    return sites;
  };
  const auto emit = [&](int index) {
    const Operation& operation = program.operations[index];
    if (operation.kind == GateKind::SWAP && operation.controls.empty()) {  // renames
      const int a = operation.wires[0], b = operation.wires[1];
      std::swap(site[a], site[b]);
      wire[site[a]] = a;
      wire[site[b]] = b;
      return;
    }
    // Together around the middle one.
    std::vector<int> sorted = sites_of(operation);
    std::ranges::sort(sorted);
    const int count = int(sorted.size()), middle = count / 2;
    for (int j = middle - 1; j >= 0; --j)
      for (int s = sorted[j]; s < sorted[middle] - (middle - j); ++s) swap_step(s);
    for (int j = middle + 1; j < count; ++j)
      for (int s = sorted[j]; s > sorted[middle] + (j - middle); --s) swap_step(s - 1);
    MpsStep step{.operation = index, .first = sorted[middle] - middle, .local = sites_of(operation)};
    for (int& s : step.local) s -= step.first;
    step.trainable = std::ranges::any_of(operation.angles, [](const Angle& a) { return !a.is_constant(); });
    if (!step.trainable) step.fixed = step_matrix(step, &operation, nullptr, nullptr);
    if (count > 1) centre = step.first + count - 1;
    program.steps.push_back(std::move(step));
  };

  // Of the operations that may come next, the one nearest to the centre.
  std::vector<std::vector<int>> queue(n);  // of each wire, last operation first
  for (int i = int(program.operations.size()) - 1; i >= 0; --i)
    for (const int q : program.operations[i].all_wires()) queue[q].push_back(i);
  std::set<int> ready;
  const auto look_at = [&](int q) {
    if (queue[q].empty()) return;
    const int index = queue[q].back();
    if (std::ranges::all_of(program.operations[index].all_wires(),
                            [&](int other) { return queue[other].back() == index; }))
      ready.insert(index);
  };
  for (int q = 0; q < n; ++q) look_at(q);
  while (!ready.empty()) {
    int best = -1, shortest = INT32_MAX;
    for (const int index : ready) {
      const Operation& operation = program.operations[index];
      const std::vector<int> sites = sites_of(operation);
      const auto [low, high] = std::ranges::minmax(sites);
      const bool free = sites.size() == 1 || (operation.kind == GateKind::SWAP && operation.controls.empty());
      const int way = free ? -1 : std::max({0, low - centre, centre - high}) + (high - low) - int(sites.size()) + 1;
      if (way < shortest) {
        shortest = way;
        best = index;
      }
      if (way < 0) break;
    }
    emit(best);
    ready.erase(best);
    const std::vector<int> wires = program.operations[best].all_wires();
    for (const int q : wires) queue[q].pop_back();
    for (const int q : wires) look_at(q);
  }
  int next = 0;
  for (auto step = program.steps.rbegin(); step != program.steps.rend(); ++step) {
    if (step->count() < 2) continue;
    step->to_left = next < step->first;
    next = step->first;
  }
  return program;
}

PauliTree::PauliTree(const std::vector<PauliSum>& observables, const std::vector<int>& site)
    : edges(site.size()), nodes(site.size() + 1, 1), constants(observables.size()) {
  std::vector<std::map<std::pair<int, char>, int>> known(site.size());
  const auto edge = [&](int s, int from, char letter) -> Edge& {
    const auto [at, is_new] = known[s].try_emplace({from, letter}, int(edges[s].size()));
    if (is_new) edges[s].push_back({.from = from, .letter = letter});
    return edges[s][at->second];
  };
  int started = 0;  // sites that have an edge from "nothing yet" to itself
  for (size_t k = 0; k < observables.size(); ++k) {
    for (const PauliSum::Term& term : observables[k].terms) {
      if (term.pauli.factors.empty()) {
        constants[k] += term.coefficient;
        continue;
      }
      std::vector<std::pair<int, char>> letters;
      for (const auto& [wire, letter] : term.pauli.factors) letters.emplace_back(site[wire], letter);
      std::ranges::sort(letters);
      for (; started < letters[0].first; ++started) edge(started, 0, 'I').to = 0;
      int node = 0;
      size_t next = 0;
      for (int s = letters[0].first;; ++s) {
        const bool here = s == letters[next].first;
        Edge& e = edge(s, node, here ? letters[next].second : 'I');
        next += here;
        if (next == letters.size()) {
          if (e.term < 0) e.term = terms++;
          coefficients.push_back({int(k), e.term, term.coefficient});
          break;
        }
        if (e.to < 0) e.to = nodes[s + 1]++;
        node = e.to;
      }
    }
  }
  for (auto& list : edges) std::ranges::stable_sort(list, {}, &Edge::from);
}

}  // namespace quanta::simulate
