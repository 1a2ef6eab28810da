#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "quanta/circuit/passes.h"
#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > kMaxWires) return {};
  return value;
}

}  // namespace

Coupling Coupling::parse(std::string_view text, int wires) {
  Coupling result{wires, {}};
  auto& edges = result.edges;
  if (text == "line" || text == "ring") {
    for (int q = 0; q + 1 < wires; ++q) edges.emplace_back(q, q + 1);
    if (text == "ring" && wires > 2) edges.emplace_back(wires - 1, 0);
  } else if (text == "full") {
    for (int a = 0; a < wires; ++a)
      for (int b = a + 1; b < wires; ++b) edges.emplace_back(a, b);
  } else if (text.starts_with("grid:")) {
    const std::string_view size = text.substr(5);
    const size_t x = std::min(size.find('x'), size.size());
    const auto rows = number(size.substr(0, x)), columns = number(size.substr(std::min(x + 1, size.size())));
    require(rows && columns && *rows > 0 && *columns > 0 && *rows <= kMaxWires / *columns,
            "coupling '{}': expected grid:ROWSxCOLUMNS, for example grid:2x3", text);
    result.wires = *rows * *columns;
    for (int q = 0; q < result.wires; ++q) {
      if (q % *columns + 1 < *columns) edges.emplace_back(q, q + 1);
      if (q + *columns < result.wires) edges.emplace_back(q, q + *columns);
    }
  } else {
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      const std::string_view edge = text.substr(begin, end - begin);
      const size_t dash = std::min(edge.find('-'), edge.size());
      const auto a = number(edge.substr(0, dash)), b = number(edge.substr(std::min(dash + 1, edge.size())));
      require(a && b, "coupling '{}': '{}' is no edge; expected line, ring, full, grid:2x3 or edges as 0-1,1-2", text,
              edge);
      edges.emplace_back(*a, *b);
      result.wires = std::max({result.wires, *a + 1, *b + 1});
      begin = end + 1;
    }
  }
  return result;
}

namespace passes {
namespace {

constexpr int kAhead = 20;  // gates of two qubits that the look-ahead sees
constexpr double kAheadWeight = 0.5;
constexpr double kDecay = 0.001;
constexpr double kMerge = 0.3;  // what a SWAP is worth that becomes part of the gate before it

bool needs_edge(const Operation& operation) {
  return is_unitary(operation.kind) && operation.all_wires().size() == 2;
}

struct Graph {
  std::vector<std::vector<int>> neighbours;
  std::vector<std::vector<int>> distance;

  explicit Graph(const Coupling& coupling) : neighbours(coupling.wires), distance(coupling.wires) {
    for (const auto& [a, b] : coupling.edges) {
      neighbours[a].push_back(b);
      neighbours[b].push_back(a);
    }
    for (int start = 0; start < coupling.wires; ++start) {
      std::vector<int>& from = distance[start];
      from.assign(coupling.wires, -1);
      from[start] = 0;
      std::vector<int> queue{start};
      for (size_t i = 0; i < queue.size(); ++i) {
        for (const int next : neighbours[queue[i]]) {
          if (from[next] >= 0) continue;
          from[next] = from[queue[i]] + 1;
          queue.push_back(next);
        }
      }
    }
  }
};

// Which operations come after which, through wires and classical bits.
struct Order {
  std::vector<std::vector<int>> after;
  std::vector<int> before;  // how many

  Order(const Operations& operations, int wires, int clbits) : after(operations.size()), before(operations.size(), 0) {
    std::vector<int> last(wires + clbits, -1);
    for (size_t i = 0; i < operations.size(); ++i) {
      const Operation& operation = operations[i];
      std::vector<int> uses = operation.all_wires();
      if (operation.kind == GateKind::Barrier && uses.empty()) {
        uses.resize(wires);
        std::iota(uses.begin(), uses.end(), 0);
      }
      if (operation.clbit >= 0) uses.push_back(wires + operation.clbit);
      for (const Condition& condition : operation.conditions)
        for (int bit = 0; bit < condition.count; ++bit) uses.push_back(wires + condition.first + bit);
      std::set<int> earlier;
      for (const int use : uses) {
        if (last[use] >= 0 && last[use] != int(i)) earlier.insert(last[use]);
        last[use] = int(i);
      }
      for (const int j : earlier) after[j].push_back(int(i));
      before[i] = int(earlier.size());
    }
  }
};

// One pass of SABRE from a layout (place[wire]); with `emit`, the operations and SWAPs on the machine's wires. Returns
// the CNOTs that the SWAPs add, where one that follows a gate on its pair adds one.
int sabre(const Operations& operations, const Order& order, const Graph& graph, std::vector<int>& place, Random random,
          Operations* emit) {
  const int wires = int(place.size());
  std::vector<int> waits = order.before, ready, front;
  for (size_t i = 0; i < operations.size(); ++i)
    if (waits[i] == 0) ready.push_back(int(i));
  std::vector<double> decay(wires, 1);
  std::vector<int> partner(wires, -1);  // of a place in its last gate of two qubits
  int effort = 0, stuck = 0;            // CNOTs that SWAPs add
  const auto merges = [&](int a, int b) { return partner[a] == b && partner[b] == a; };

  const auto near = [&](int i) {
    const std::vector<int> on = operations[i].all_wires();
    return graph.distance[place[on[0]]][place[on[1]]] == 1;
  };
  const auto run = [&](int i) {
    if (needs_edge(operations[i])) {
      const std::vector<int> on = operations[i].all_wires();
      partner[place[on[0]]] = place[on[1]];
      partner[place[on[1]]] = place[on[0]];
    }
    if (emit) {
      Operation operation = operations[i];
      for (int& q : operation.wires) q = place[q];
      for (int& q : operation.controls) q = place[q];
      for (auto& [wire, letter] : operation.pauli.factors) wire = place[wire];
      emit->push_back(std::move(operation));
    }
    for (const int next : order.after[i])
      if (--waits[next] == 0) ready.push_back(next);
  };
  const auto exchange = [&](int a, int b) {  // what is on two places of the machine
    if (emit) emit->push_back(gate(GateKind::SWAP, {std::min(a, b), std::max(a, b)}));
    for (int& p : place) p = p == a ? b : p == b ? a : p;
    effort += merges(a, b) ? 1 : 3;
    partner[a] = b;
    partner[b] = a;
  };

  for (;;) {
    bool progress = false;
    for (bool again = true; again;) {
      again = false;
      std::vector<int> batch = std::move(ready);
      ready.clear();
      std::ranges::sort(batch);
      for (const int i : batch) {
        if (needs_edge(operations[i]) && !near(i)) {
          front.push_back(i);
        } else {
          run(i);
          again = progress = true;
        }
      }
    }
    std::vector<int> blocked;
    bool freed = false;
    for (const int i : front) {
      if (near(i)) {
        run(i);
        freed = progress = true;
      } else {
        blocked.push_back(i);
      }
    }
    front = std::move(blocked);
    if (freed) continue;
    if (front.empty()) return effort;
    if (progress) {
      std::ranges::fill(decay, 1);
      stuck = 0;
    }

    if (++stuck > 10 * wires) {  // the shortest way for one gate
      const std::vector<int> on = operations[front[0]].all_wires();
      while (!near(front[0])) {
        const int a = place[on[0]], b = place[on[1]];
        for (const int next : graph.neighbours[a]) {
          if (graph.distance[next][b] != graph.distance[a][b] - 1) continue;
          exchange(a, next);
          break;
        }
      }
      continue;
    }

    // The gates behind the front, nearest first.
    std::vector<int> ahead, queue = front;
    std::set<int> seen(front.begin(), front.end());
    for (size_t k = 0; k < queue.size() && ahead.size() < kAhead; ++k) {
      for (const int next : order.after[queue[k]]) {
        if (!seen.insert(next).second) continue;
        queue.push_back(next);
        if (needs_edge(operations[next])) ahead.push_back(next);
      }
    }
    std::vector<int> wire_at(wires);
    for (int q = 0; q < wires; ++q) wire_at[place[q]] = q;
    const auto distances = [&](const std::vector<int>& gates, int a, int b) {
      const auto moved = [&](int q) { return place[q] == a ? b : place[q] == b ? a : place[q]; };
      double sum = 0;
      for (const int i : gates) {
        const Operation& operation = operations[i];
        const int first = operation.wires[0],
                  second = operation.wires.size() > 1 ? operation.wires[1] : operation.controls[0];
        sum += graph.distance[moved(first)][moved(second)];
      }
      return gates.empty() ? 0 : sum / double(gates.size());
    };
    std::set<std::pair<int, int>> candidates;
    for (const int i : front)
      for (const int q : operations[i].all_wires())
        for (const int next : graph.neighbours[place[q]])
          candidates.emplace(std::min(place[q], next), std::max(place[q], next));
    double lowest = INFINITY;
    std::vector<std::pair<int, int>> best;
    for (const auto& [a, b] : candidates) {
      const double score =
          std::max(decay[wire_at[a]], decay[wire_at[b]]) *
          (distances(front, a, b) + kAheadWeight * distances(ahead, a, b) - (merges(a, b) ? kMerge : 0));
      if (score < lowest - 1e-12) best.clear();
      if (best.empty() || score < lowest + 1e-12) best.emplace_back(a, b);
      lowest = std::min(lowest, score);
    }
    const auto [a, b] = best[random.below(best.size())];
    decay[wire_at[a]] += kDecay;
    decay[wire_at[b]] += kDecay;
    exchange(a, b);
  }
}

}  // namespace

void check(const Coupling& coupling, int wires) {
  require(coupling.wires >= wires, "the coupling has {} wires, the circuit {}", coupling.wires, wires);
  require(coupling.wires <= 4096, "the coupling has {} wires, expected at most 4096", coupling.wires);
  for (const auto& [a, b] : coupling.edges)
    require(a >= 0 && b >= 0 && a < coupling.wires && b < coupling.wires && a != b,
            "coupling: {}-{} is no edge between two of the wires 0..{}", a, b, coupling.wires - 1);
  const Graph graph(coupling);
  const auto far = std::ranges::find(graph.distance[0], -1);
  require(far == graph.distance[0].end(), "the coupling is in several parts: no path joins the wires 0 and {}",
          far - graph.distance[0].begin());
}

Routed route(const Operations& operations, int clbits, const Coupling& coupling, int trials, bool fixed,
             uint64_t seed) {
  const Graph graph(coupling);
  const Operations reversed(operations.rbegin(), operations.rend());
  const Order order(operations, coupling.wires, clbits), back(reversed, coupling.wires, clbits);
  std::vector<int> best;
  int fewest = -1;
  Random chosen(seed);
  for (int trial = 0; trial < trials; ++trial) {
    const Random random = Random(seed).split(trial);
    std::vector<int> layout(coupling.wires);
    std::iota(layout.begin(), layout.end(), 0);
    const int sweeps = fixed || (trial == 0) ? 0 : 2;
    if (trial > 1 && !fixed) {
      Random shuffle = random.split("layout");
      std::vector<int> shuffled;
      for (const int64_t q : shuffle.permutation(coupling.wires)) shuffled.push_back(int(q));
      layout = shuffled;
    }
    for (int sweep = 0; sweep < sweeps; ++sweep) {
      sabre(operations, order, graph, layout, random.split(2 * sweep), nullptr);
      sabre(reversed, back, graph, layout, random.split(2 * sweep + 1), nullptr);
    }
    std::vector<int> end = layout;
    const int effort = sabre(operations, order, graph, end, random.split("route"), nullptr);
    if (fewest >= 0 && effort >= fewest) continue;
    fewest = effort;
    best = layout;
    chosen = random.split("route");
  }
  Routed result{{}, best, best};
  sabre(operations, order, graph, result.final_layout, chosen, &result.operations);
  return result;
}

}  // namespace passes
}  // namespace quanta
