#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>

#include "quanta/circuit/decompose.h"
#include "quanta/circuit/passes.h"
#include "quanta/core/error.h"

namespace quanta::passes {
namespace {

using enum GateKind;

constexpr double kPi = std::numbers::pi;
constexpr double kEqual = 1e-11;
constexpr int kReach = 200;  // how many gates on a wire cancel() looks back

std::vector<int> touched(const Operation& operation, int wires) {
  std::vector<int> all = operation.all_wires();
  if (operation.kind == Barrier && all.empty()) {
    all.resize(wires);
    std::iota(all.begin(), all.end(), 0);
  }
  return all;
}

// The Pauli operator that the gate commutes with on its n-th wire; 0: unknown.
char axis(const Operation& operation, size_t n) {
  if (!is_unitary(operation.kind) || !operation.conditions.empty() || !operation.controls.empty()) return 0;
  if (operation.kind == PauliRotation) return operation.pauli.factors[n].second;
  const GateInfo& info = gate_info(operation.kind);
  if (n < size_t(info.controls)) return 'Z';
  switch (info.base) {
    case X:
    case SX:
    case SXdg:
    case RX:
    case RXX:
      return 'X';
    case Y:
    case RY:
    case RYY:
      return 'Y';
    case Z:
    case S:
    case Sdg:
    case T:
    case Tdg:
    case RZ:
    case P:
    case RZZ:
      return 'Z';
    default:
      return 0;
  }
}

bool exchangeable(GateKind kind) {  // its wires
  return kind == CZ || kind == CP || kind == SWAP || kind == ISWAP || kind == RXX || kind == RYY || kind == RZZ;
}

bool same_wires(const Operation& a, const Operation& b) {
  if (a.wires == b.wires) return true;
  if (exchangeable(a.kind)) return a.wires[0] == b.wires[1] && a.wires[1] == b.wires[0];
  return a.kind == CCX && a.wires[2] == b.wires[2] && a.wires[0] == b.wires[1] && a.wires[1] == b.wires[0];
}

bool is_rotation(GateKind kind) {
  return gate_info(kind).angles == 1 && kind != PauliRotation;
}

bool vanishes(const Operation& operation) {
  if (!is_rotation(operation.kind) || !operation.angles[0].is_constant()) return false;
  const bool controlled = operation.kind == CRX || operation.kind == CRY || operation.kind == CRZ;
  return std::abs(std::remainder(operation.angles[0].constant, controlled ? 4 * kPi : 2 * kPi)) < kEqual;
}

// Merges `next` into `operation` if both together are one gate or none; true with kind I for none.
bool merge(Operation& operation, const Operation& next) {
  if (operation.kind != next.kind || !same_wires(operation, next)) return false;
  if (is_rotation(operation.kind)) {
    const auto angle = sum(operation.angles[0], next.angles[0]);
    if (!angle) return false;
    operation.angles[0] = *angle;
    if (vanishes(operation)) operation.kind = I;
    return true;
  }
  if (gate_info(operation.kind).hermitian && gate_info(operation.kind).angles == 0) {
    operation.kind = I;
    return true;
  }
  return false;
}

bool can_merge(const Operation& operation) {
  return is_unitary(operation.kind) && operation.kind != Unitary && operation.kind != PauliRotation &&
         operation.conditions.empty() && operation.controls.empty();
}

}  // namespace

Operation gate(GateKind kind, std::vector<int> wires, std::vector<Angle> angles) {
  return Operation{.kind = kind, .wires = std::move(wires), .angles = std::move(angles), .controls = {}, .pauli = {}};
}

Operation one_qubit(const Matrix& m, int wire) {
  const Euler e = euler(m);
  return gate(U, {wire}, {e.theta, e.phi, e.lambda});
}

std::optional<Operation> canonical(const Matrix& m, int wire) {
  const Euler e = euler(m);
  const auto turn = [&](GateKind kind, double angle) -> std::optional<Operation> {
    angle = std::remainder(angle, 2 * kPi);
    if (std::abs(angle) < kEqual) return {};
    return gate(kind, {wire}, {angle});
  };
  if (std::abs(m(1, 0)) < kEqual / 2) return turn(RZ, e.phi + e.lambda);
  // RX(theta) = U(theta, -pi/2, pi/2) and RY(theta) = U(theta, 0, 0), up to a phase and the sign of theta
  if (std::abs(m(0, 0)) < kEqual / 2) {
    const double difference = std::remainder(e.phi - e.lambda, 2 * kPi);
    if (std::abs(difference) < kEqual) return turn(RY, kPi);
    if (kPi - std::abs(difference) < kEqual) return turn(RX, kPi);
  } else {
    const double phi = std::remainder(e.phi, 2 * kPi), lambda = std::remainder(e.lambda, 2 * kPi);
    if (std::abs(phi + kPi / 2) + std::abs(lambda - kPi / 2) < kEqual) return turn(RX, e.theta);
    if (std::abs(phi - kPi / 2) + std::abs(lambda + kPi / 2) < kEqual) return turn(RX, -e.theta);
    if (std::abs(phi) + std::abs(lambda) < kEqual) return turn(RY, e.theta);
    if (std::abs(std::abs(phi) - kPi) + std::abs(std::abs(lambda) - kPi) < kEqual) return turn(RY, -e.theta);
  }
  return one_qubit(m, wire);
}

bool is_constant_gate(const Operation& operation, size_t wires) {
  return is_unitary(operation.kind) && operation.conditions.empty() &&
         std::ranges::all_of(operation.angles, &Angle::is_constant) && operation.all_wires().size() == wires;
}

std::vector<Angle> scaled(const Angle& angle, double factor) {
  if (factor == 1) return {angle};
  if (angle.offset == Angle::kNone) return {factor * angle};
  Angle rest = angle;
  rest.offset = Angle::kNone;
  std::vector<Angle> parts{factor * weight(angle.offset)};
  if (rest != Angle()) parts.push_back(factor * rest);
  return parts;
}

std::optional<Angle> sum(const Angle& a, const Angle& b) {
  if (a.is_constant() || b.is_constant()) return a + b;
  try {
    return a + b;
  } catch (const Error&) {
    return {};
  }
}

double distance_up_to_phase(const Matrix& a, const Matrix& b) {
  Complex overlap = 0;
  for (size_t i = 0; i < a.data.size(); ++i) overlap += std::conj(b.data[i]) * a.data[i];
  if (overlap == 0.0) return 2;
  overlap /= std::abs(overlap);
  double largest = 0;
  for (size_t i = 0; i < a.data.size(); ++i) largest = std::max(largest, std::abs(a.data[i] - overlap * b.data[i]));
  return largest;
}

void fuse(Operations& operations, int wires) {
  Operations result;
  std::vector<std::optional<Matrix>> run(wires);
  const auto flush = [&](int q) {
    if (!run[q]) return;
    if (auto operation = canonical(*run[q], q)) result.push_back(std::move(*operation));
    run[q].reset();
  };
  for (Operation& operation : operations) {
    if (is_constant_gate(operation, 1)) {
      const int q = operation.all_wires()[0];
      run[q] = run[q] ? operation.unitary() * *run[q] : operation.unitary();
      continue;
    }
    for (const int q : touched(operation, wires)) flush(q);
    result.push_back(std::move(operation));
  }
  for (int q = 0; q < wires; ++q) flush(q);
  operations = std::move(result);
}

void name_rotations(Operations& operations) {
  Operations result;
  for (Operation& operation : operations) {
    if (!is_constant_gate(operation, 1)) {
      result.push_back(std::move(operation));
      continue;
    }
    const auto named = canonical(operation.unitary(), operation.wires[0]);
    if (!named) continue;
    result.push_back(named->kind == RZ || named->kind == RX ? *named : operation);
  }
  operations = std::move(result);
}

void cancel(Operations& operations, int wires) {
  Operations result;
  struct Use {
    int operation;
    char axis;
  };
  std::vector<std::vector<Use>> uses(wires);
  // Whether `operation` can move back along its n-th wire to behind operation `place`.
  const auto reaches = [&](const Operation& operation, size_t n, int place) {
    const auto& line = uses[operation.wires[n]];
    const char own = axis(operation, n);
    for (size_t i = line.size(); i-- > 0;) {
      if (line[i].operation <= place) return line[i].operation == place;
      if (result[line[i].operation].kind == I) continue;
      if (own == 0 || line[i].axis != own) return false;
    }
    return false;
  };
  for (Operation& operation : operations) {
    if (vanishes(operation) && can_merge(operation)) continue;
    bool merged = false;
    if (can_merge(operation)) {
      const auto& line = uses[operation.wires[0]];
      const char own = axis(operation, 0);
      int steps = 0;
      for (size_t i = line.size(); i-- > 0 && !merged && ++steps < kReach;) {
        Operation& earlier = result[line[i].operation];
        if (earlier.kind == I) continue;
        if (can_merge(earlier) && earlier.kind == operation.kind && same_wires(earlier, operation)) {
          bool free = true;
          for (size_t n = 1; n < operation.wires.size(); ++n) free = free && reaches(operation, n, line[i].operation);
          merged = free && merge(earlier, operation);
        }
        if (own == 0 || line[i].axis != own) break;
      }
    }
    if (merged) continue;
    const std::vector<int> on = touched(operation, wires);
    for (size_t n = 0; n < on.size(); ++n)
      uses[on[n]].push_back({int(result.size()), n < operation.wires.size() ? axis(operation, n) : char(0)});
    result.push_back(std::move(operation));
  }
  std::erase_if(result, [](const Operation& operation) { return operation.kind == I && operation.conditions.empty(); });
  operations = std::move(result);
}

void consolidate(Operations& operations, int wires, const Basis& basis) {
  struct Block {
    int low = 0, high = 0;
    Operations operations;
  };
  Operations result;
  std::vector<Block> blocks;
  std::vector<int> current(wires, -1);
  std::vector<Operations> lone(wires);
  Operations cnot;
  basis.cnot(0, 1, cnot);
  const auto per_cnot = std::ranges::count_if(cnot, [](const Operation& o) { return o.wires.size() == 2; });

  // How many gates of the basis the one-qubit gates take.
  const auto length = [&](Operations block) {
    fuse(block, wires);
    Operations translated;
    for (const Operation& operation : block)
      if (is_constant_gate(operation, 1)) basis.constant(operation.unitary(), operation.wires[0], translated);
    return translated.size();
  };

  const auto close = [&](int q) {
    if (current[q] < 0) {
      for (Operation& operation : lone[q]) result.push_back(std::move(operation));
      lone[q].clear();
      return;
    }
    Block& block = blocks[current[q]];
    current[block.low] = current[block.high] = -1;
    Matrix product = Matrix::identity(4);
    long pairs = 0;
    for (const Operation& operation : block.operations) {
      Matrix m = operation.unitary();
      const std::vector<int> on = operation.all_wires();
      if (on.size() == 1) {
        m = on[0] == block.low ? kron(Matrix::identity(2), m) : kron(m, Matrix::identity(2));
      } else {
        if (basis.has(operation.kind) && operation.controls.empty())
          ++pairs;
        else
          pairs += per_cnot * cnot_count(m);
        if (on[0] != block.low) {
          Matrix exchanged(4);
          const int other[4] = {0, 2, 1, 3};
          for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j) exchanged(i, j) = m(other[i], other[j]);
          m = std::move(exchanged);
        }
      }
      product = m * product;
    }
    const long cnots = per_cnot * cnot_count(product);
    const long rotations = basis.interaction() ? rotation_count(product) : cnots + 1;
    if (std::min(cnots, rotations) <= pairs) {
      Operations better;
      if (rotations < cnots)
        synthesize_rotations(product, block.low, block.high, better);
      else
        synthesize_pair(product, block.low, block.high, better);
      fuse(better, wires);
      if (std::min(cnots, rotations) < pairs || length(better) < length(block.operations))
        block.operations = std::move(better);
    }
    for (Operation& operation : block.operations) result.push_back(std::move(operation));
    block.operations.clear();
  };

  for (Operation& operation : operations) {
    if (is_constant_gate(operation, 1)) {
      const int q = operation.all_wires()[0];
      (current[q] < 0 ? lone[q] : blocks[current[q]].operations).push_back(std::move(operation));
    } else if (is_constant_gate(operation, 2)) {
      const std::vector<int> on = operation.all_wires();
      if (current[on[0]] < 0 || current[on[0]] != current[on[1]]) {
        for (const int q : on)
          if (current[q] >= 0) close(q);
        Block block{on[0], on[1], {}};
        for (const int q : on) {
          for (Operation& earlier : lone[q]) block.operations.push_back(std::move(earlier));
          lone[q].clear();
          current[q] = int(blocks.size());
        }
        blocks.push_back(std::move(block));
      }
      blocks[current[on[0]]].operations.push_back(std::move(operation));
    } else {
      for (const int q : touched(operation, wires)) close(q);
      result.push_back(std::move(operation));
    }
  }
  for (int q = 0; q < wires; ++q) close(q);
  operations = std::move(result);
}

Operations translate(const Operations& operations, int wires, const Basis& basis, bool fused) {
  Operations expanded;
  for (const Operation& operation : operations) {
    const size_t first = expanded.size();
    const bool native = basis.has(operation.kind) && operation.controls.empty();
    if (operation.kind == CX && !native)
      basis.cnot(operation.wires[0], operation.wires[1], expanded);
    else if (is_unitary(operation.kind) && operation.all_wires().size() == 1 && !native &&
             !std::ranges::all_of(operation.angles, &Angle::is_constant)) {
      require(basis.continuous(),
              "the basis {} cannot express {}({}): its gates of one qubit turn by fixed angles only", basis.to_string(),
              gate_info(operation.kind).name, operation.angles[0].to_string());
      basis.symbolic(operation, expanded);
    } else {
      expanded.push_back(operation);
    }
    for (size_t i = first; i < expanded.size(); ++i) expanded[i].conditions = operation.conditions;
  }
  if (fused) fuse(expanded, wires);

  Operations result;
  for (const Operation& operation : expanded) {
    const bool constant = std::ranges::all_of(operation.angles, &Angle::is_constant);
    const bool single = is_unitary(operation.kind) && constant && operation.all_wires().size() == 1;
    if (!single || (!fused && basis.has(operation.kind))) {
      result.push_back(operation);
      continue;
    }
    const size_t first = result.size();
    if (!basis.constant(operation.unitary(), operation.all_wires()[0], result)) {
      std::vector<std::string> angles;
      for (const Angle& angle : operation.angles) angles.push_back(angle.to_string());
      const std::string text = angles.empty() ? "" : fmt::format("({})", fmt::join(angles, ", "));
      fail("the basis {} cannot express {}{} exactly; add a rotation, as rz, or another gate that makes it complete",
           basis.to_string(), gate_info(operation.kind).name, text);
    }
    for (size_t i = first; i < result.size(); ++i) result[i].conditions = operation.conditions;
  }
  return result;
}

std::vector<int> elide_swaps(Operations& operations, int wires) {
  std::vector<int> now(wires);  // where the circuit's wire is
  std::iota(now.begin(), now.end(), 0);
  Operations result;
  for (Operation& operation : operations) {
    if (operation.kind == SWAP && operation.conditions.empty() && operation.controls.empty()) {
      std::swap(now[operation.wires[0]], now[operation.wires[1]]);
      continue;
    }
    for (int& q : operation.wires) q = now[q];
    for (int& q : operation.controls) q = now[q];
    for (auto& [wire, letter] : operation.pauli.factors) wire = now[wire];
    result.push_back(std::move(operation));
  }
  operations = std::move(result);
  return now;
}

}  // namespace quanta::passes
