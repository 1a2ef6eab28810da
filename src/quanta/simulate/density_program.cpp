#include "quanta/simulate/density_program.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

#include "quanta/core/error.h"

namespace quanta::simulate::pauli_basis {
namespace {

constexpr int kBySample = 4;    // up to so many wires, lanes are samples
constexpr int kBlockWires = 4;  // 256 vectors of a cache line: 16 KiB

// A Pauli string takes basis state c to phase(c) |c ^ flip>; digits in base 4.
struct Monomial {
  int flip = 0;
  std::vector<Complex> phase;
};
Monomial pauli(int digits, int wires) {
  Monomial result;
  result.phase.assign(size_t(1) << wires, 1);
  for (int q = 0; q < wires; ++q) {
    const int digit = digits >> 2 * q & 3;
    if (digit == 1 || digit == 2) result.flip |= 1 << q;
    for (int c = 0; c < 1 << wires; ++c) {
      if (digit == 2) result.phase[c] *= c >> q & 1 ? Complex(0, -1) : Complex(0, 1);
      if (digit == 3 && c >> q & 1) result.phase[c] = -result.phase[c];
    }
  }
  return result;
}

// The effect's Kraus operators on [wires..., where...]. Where it does not happen the first one is the identity and the
// others are 0, which is right because `where` are classical bits unless there is one operator only.
std::vector<Matrix> full_kraus(const Effect& effect) {
  std::vector<Matrix> result;
  for (size_t k = 0; k < effect.kraus.size(); ++k) {
    const int own = effect.kraus[k].dim;
    Matrix full(own << effect.where.size());
    for (size_t bits = 0; bits < effect.holds.size(); ++bits)
      for (int i = 0; i < own; ++i)
        for (int j = 0; j < own; ++j)
          full(int(bits) * own + i, int(bits) * own + j) =
              effect.holds[bits] ? effect.kraus[k](i, j) : Complex(i == j && k == 0);
    result.push_back(std::move(full));
  }
  return result;
}

std::vector<double> transfer_matrix(const Effect& effect) {
  const std::vector<Matrix> kraus = full_kraus(effect);
  const int dim = kraus[0].dim, count = dim * dim, wires = std::countr_zero(unsigned(dim));
  std::vector<double> result(size_t(count) * count);
  std::vector<Monomial> paulis;
  for (int p = 0; p < count; ++p) paulis.push_back(pauli(p, wires));
  for (int q = 0; q < count; ++q) {
    Matrix image(dim);
    for (const Matrix& k : kraus) {
      Matrix left(dim);
      for (int i = 0; i < dim; ++i)
        for (int j = 0; j < dim; ++j) left(i, j) = k(i, j ^ paulis[q].flip) * paulis[q].phase[j];
      for (int i = 0; i < dim; ++i)
        for (int j = 0; j < dim; ++j)
          for (int l = 0; l < dim; ++l) image(i, j) += left(i, l) * std::conj(k(j, l));
    }
    for (int p = 0; p < count; ++p) {
      Complex trace = 0;
      for (int j = 0; j < dim; ++j) trace += paulis[p].phase[j ^ paulis[p].flip] * image(j ^ paulis[p].flip, j);
      const double value = trace.real() / dim;
      if (std::abs(value) > 1e-15) result[size_t(p) * count + q] = value;
    }
  }
  std::fill_n(result.begin(), count, 0.0);
  result[0] = 1;
  return result;
}

bool is_monomial(const double* matrix, int rows) {
  for (int i = 0; i < rows; ++i)
    if (std::count_if(matrix + size_t(i) * rows, matrix + size_t(i + 1) * rows, [](double x) { return x != 0; }) > 1)
      return false;
  return true;
}

Map rotation_map(int axis, double angle) {
  Map map = identity_map();
  const int a = axis % 3 + 1, b = a % 3 + 1;  // about Z: from X to Y
  map[a * 4 + a] = map[b * 4 + b] = std::cos(angle);
  map[b * 4 + a] = std::sin(angle);
  map[a * 4 + b] = -map[b * 4 + a];
  return map;
}

class Lowering {
 public:
  Lowering(const Circuit& circuit, Program& program) : circuit_(circuit), program_(program) {
    place_classical_bits();
    const int wires = program.layout.wires;
    pending_.resize(wires);
    touched_.resize(wires);
    block_wires_ = program.layout.by_sample ? wires : std::min(kBlockWires, wires - 2);
  }

  std::vector<Step> run(bool product_start) {
    const auto& operations = circuit_.operations();
    for (size_t i = 0; i < operations.size(); ++i) {
      now_ = i;
      lower(operations[i]);
      for (int b = 0; b < circuit_.clbits(); ++b)
        if (slot_[i][b] >= 0 && (i + 1 == operations.size() || slot_[i + 1][b] != slot_[i][b])) reset(slot_[i][b]);
    }
    for (int q = 0; q < program_.layout.wires; ++q) {
      if (!touched_[q]) keep_start(q);
      flush(q);
    }
    if (!product_start) {
      std::vector<Step> all;
      for (int q = 0; q < program_.layout.wires; ++q)
        if (!program_.start[q].empty())
          all.push_back({.kind = Step::Kind::kChain, .wires = {q}, .chain = program_.start[q]});
      program_.start.assign(program_.start.size(), {});
      all.insert(all.end(), std::make_move_iterator(steps_.begin()), std::make_move_iterator(steps_.end()));
      // The first chains stand before what needs them, as all others do.
      steps_ = sunk(std::move(all));
    }
    return std::move(steps_);
  }

  bool fits(const std::vector<int>& wires) const { return int(closure(wires).size()) <= block_wires_; }
  int block_wires() const { return block_wires_; }

  // Wires 0 and 1 go into a block together: their 16 elements are lanes or are transposed into them.
  std::vector<int> closure(std::vector<int> wires) const {
    if (program_.layout.by_sample) {
      wires.resize(program_.layout.wires);
      std::iota(wires.begin(), wires.end(), 0);
      return wires;
    }
    if (std::ranges::any_of(wires, [](int q) { return q < 2; })) wires.insert(wires.end(), {0, 1});
    std::ranges::sort(wires);
    wires.erase(std::unique(wires.begin(), wires.end()), wires.end());
    return wires;
  }

 private:
  // A classical bit that a condition reads is one more wire, from the measurement to the last reading. It has no
  // coherences, so a condition on it is a control.
  void place_classical_bits() {
    const auto& operations = circuit_.operations();
    const int bits = circuit_.clbits();
    std::vector<std::vector<char>> live(operations.size() + 1, std::vector<char>(bits));
    for (size_t i = operations.size(); i-- > 0;) {
      live[i] = live[i + 1];
      const Operation& operation = operations[i];
      if (operation.kind == GateKind::Measure && operation.conditions.empty()) live[i][operation.clbit] = false;
      for (const Condition& condition : operation.conditions)
        std::fill_n(live[i].begin() + condition.first, condition.count, true);
    }
    // slot_[i][b]: the wire of bit b while operation i happens and after it.
    slot_.assign(operations.size(), std::vector<int>(bits, -1));
    std::vector<int> slot(bits, -1);
    std::vector<char> used;
    for (size_t i = 0; i < operations.size(); ++i) {
      for (int b = 0; b < bits; ++b)
        if (slot[b] >= 0 && !live[i][b]) {
          used[slot[b] - circuit_.wires()] = false;
          slot[b] = -1;
        }
      const int bit = operations[i].kind == GateKind::Measure ? operations[i].clbit : -1;
      if (bit >= 0 && live[i + 1][bit] && slot[bit] < 0) {
        auto free = std::ranges::find(used, false);
        if (free == used.end()) free = used.insert(used.end(), false);
        *free = true;
        slot[bit] = circuit_.wires() + int(free - used.begin());
      }
      slot_[i] = slot;
    }
    program_.layout.wires = circuit_.wires() + int(used.size());
  }

  // Which bits hold a value is known before the measurement itself has happened.
  int slot_before(int bit) const { return slot_[now_][bit]; }

  void reset(int q) {
    Map map{};
    map[0] = map[12] = 1;
    fixed(q, map);
  }

  void fixed(int q, const Map& map) {
    std::vector<Factor>& chain = pending_[q];
    if (!chain.empty() && chain.back().axis == 0)
      chain.back().map = after(map, chain.back().map);
    else
      chain.push_back({.map = map, .angle = {}});
  }

  void keep_start(int q) {
    touched_[q] = true;
    program_.start[q] = std::move(pending_[q]);
    pending_[q].clear();
  }

  void flush(int q) {
    if (!touched_[q]) keep_start(q);
    if (pending_[q].empty()) return;
    if (!(pending_[q].size() == 1 && pending_[q][0].axis == 0 && pending_[q][0].map == identity_map()))
      steps_.push_back({.kind = Step::Kind::kChain, .wires = {q}, .chain = std::move(pending_[q])});
    pending_[q].clear();
  }

  void effect(Effect e) {
    std::vector<int> wires = e.wires;
    wires.insert(wires.end(), e.where.begin(), e.where.end());
    if (wires.size() == 1 && wires[0] >= 0) {
      const std::vector<double> matrix = transfer_matrix(e);
      Map map{};
      std::ranges::copy(matrix, map.begin());
      return fixed(wires[0], map);
    }
    if (!fits(wires)) {
      for (const int q : wires) flush(q);
      steps_.push_back({.kind = Step::Kind::kWide, .wires = wires, .effect = std::move(e)});
      return;
    }
    Step step{.kind = Step::Kind::kLocal, .wires = wires, .matrix = transfer_matrix(e)};
    const size_t rows = size_t(1) << 2 * wires.size();
    for (size_t k = 0; k < wires.size(); ++k) {
      if (!touched_[wires[k]]) keep_start(wires[k]);
      const std::vector<Factor>& chain = pending_[wires[k]];
      // Signs, dampings and exchanges cost nothing here.
      if (chain.size() != 1 || chain[0].axis != 0 || !is_monomial(chain[0].map.data(), 4)) {
        flush(wires[k]);
        continue;
      }
      std::vector<double> product(rows * rows);
      for (size_t i = 0; i < rows; ++i)
        for (size_t j = 0; j < rows; ++j) {
          const size_t digit = j >> 2 * k & 3, rest = j & ~(size_t(3) << 2 * k);
          for (size_t d = 0; d < 4; ++d)
            product[i * rows + (rest | d << 2 * k)] += step.matrix[i * rows + j] * chain[0].map[digit * 4 + d];
        }
      step.matrix = std::move(product);
      pending_[wires[k]].clear();
    }
    steps_.push_back(std::move(step));
  }

  // exp(-i scale angle / 2 P Pi), P the string of digits on wires, Pi the projector on where's bits that hold: a
  // product of Pauli rotations, one for each Walsh coefficient of Pi.
  void rotate(const std::vector<int>& wires, const std::vector<int>& digits, const Angle& angle, double scale,
              const std::vector<int>& where, const std::vector<uint8_t>& holds) {
    for (size_t s = 0; s < holds.size(); ++s) {
      double walsh = 0;
      for (size_t bits = 0; bits < holds.size(); ++bits)
        if (holds[bits]) walsh += std::popcount(s & bits) & 1 ? -1 : 1;
      if (walsh == 0) continue;
      std::vector<int> all = wires, letters = digits;
      for (size_t k = 0; k < where.size(); ++k)
        if (s >> k & 1) {
          all.push_back(where[k]);
          letters.push_back(3);
        }
      if (!all.empty()) rotate(all, letters, angle, scale * walsh / double(holds.size()));
    }
  }

  void rotate(const std::vector<int>& wires, const std::vector<int>& digits, const Angle& angle, double scale) {
    if (wires.size() == 1) {
      if (angle.is_constant())
        fixed(wires[0], rotation_map(digits[0], scale * angle.constant));
      else
        pending_[wires[0]].push_back({.axis = digits[0], .angle = angle, .scale = scale});
      return;
    }
    if (fits(wires)) {
      for (const int q : wires) flush(q);
      steps_.push_back(
          {.kind = Step::Kind::kRotation, .wires = wires, .digits = digits, .angle = angle, .scale = scale});
      return;
    }
    // In the frame where the string is Z on the last wire.
    constexpr double kQuarter = std::numbers::pi / 2;
    const auto turn = [&](double sign) {
      for (size_t k = 0; k < wires.size(); ++k) {
        Map map = rotation_map(3 - digits[k], sign * (digits[k] == 1 ? -kQuarter : kQuarter));
        for (double& x : map) x = std::round(x);
        if (digits[k] != 3) fixed(wires[k], map);
      }
    };
    const auto cnot = [&](size_t k) {
      effect({.wires = {wires[k], wires[k + 1]}, .kraus = {gate_matrix(GateKind::CX, {})}, .where = {}});
    };
    turn(1);
    for (size_t k = 0; k + 1 < wires.size(); ++k) cnot(k);
    rotate({wires.back()}, {3}, angle, scale);
    for (size_t k = wires.size() - 1; k-- > 0;) cnot(k);
    turn(-1);
  }

  void lower(const Operation& operation) {
    if (operation.kind == GateKind::Barrier || operation.kind == GateKind::AmplitudeEncoding) return;
    // Where it happens: conditions on bits that may be 1, and controls.
    std::vector<int> bits, where;
    for (const Condition& condition : operation.conditions)
      for (int b = condition.first; b < condition.first + condition.count; ++b)
        if (slot_before(b) >= 0 && std::ranges::count(bits, b) == 0) bits.push_back(b);
    const GateInfo& info = gate_info(operation.kind);
    std::vector<int> own = operation.wires, controls = operation.controls;
    if (info.angles > 0) {
      controls.insert(controls.end(), own.begin(), own.begin() + info.controls);
      own.erase(own.begin(), own.begin() + info.controls);
    }
    for (const int b : bits) where.push_back(slot_before(b));
    where.insert(where.end(), controls.begin(), controls.end());
    std::vector<uint8_t> holds(size_t(1) << where.size()), values(circuit_.clbits());
    for (size_t v = 0; v < holds.size(); ++v) {
      for (size_t k = 0; k < bits.size(); ++k) values[bits[k]] = v >> k & 1;
      holds[v] = v >> bits.size() == (size_t(1) << controls.size()) - 1 &&
                 std::ranges::all_of(operation.conditions, [&](const auto& c) { return c.holds(values.data()); });
    }
    if (std::ranges::count(holds, 0) == int64_t(holds.size())) return;
    if (std::ranges::count(holds, 0) == 0) {
      where.clear();
      holds = {1};
    }

    if (operation.kind == GateKind::Measure) {
      const int q = own[0], bit = slot_[now_][operation.clbit];
      if (bit < 0) {
        effect({.wires = own,
                .kraus = {Matrix(2, {1, 0, 0, 0}), Matrix(2, {0, 0, 0, 1})},
                .where = where,
                .holds = holds});
        return;
      }
      Effect measure{.wires = {q, bit}, .kraus = {}, .where = where, .holds = holds};
      for (int outcome = 0; outcome < 2; ++outcome)
        for (int old = 0; old < 2; ++old)
          for (int read = 0; read < 2; ++read) {
            const double wrong = operation.misread[outcome];
            const double p = read == outcome ? 1 - wrong : wrong;
            if (p == 0) continue;
            Matrix k(4);
            k(outcome | read << 1, outcome | old << 1) = std::sqrt(p);
            measure.kraus.push_back(std::move(k));
          }
      return effect(std::move(measure));
    }
    if (operation.kind == GateKind::Reset)
      return effect(
          {.wires = own, .kraus = {Matrix(2, {1, 0, 0, 0}), Matrix(2, {0, 1, 0, 0})}, .where = where, .holds = holds});
    if (operation.kind == GateKind::Channel)
      return effect({.wires = own, .kraus = operation.channel->kraus(), .where = where, .holds = holds});
    if (info.angles == 0) {
      Operation plain = operation;
      plain.controls.clear();
      return effect({.wires = own, .kraus = {plain.unitary()}, .where = where, .holds = holds});
    }

    const std::vector<Angle>& a = operation.angles;
    const auto about = [&](std::vector<int> digits, const Angle& angle) {
      rotate(own, digits, angle, 1, where, holds);
    };
    // exp(i factor angle) is no phase of the whole only where it does not always happen.
    const auto phase = [&](const Angle& angle, double factor) { rotate({}, {}, angle, -2 * factor, where, holds); };
    const auto phase_gate = [&](const Angle& angle) {
      about({3}, angle);
      phase(angle, 0.5);
    };
    switch (info.base) {
      case GateKind::RX:
        return about({1}, a[0]);
      case GateKind::RY:
        return about({2}, a[0]);
      case GateKind::RZ:
        return about({3}, a[0]);
      case GateKind::P:
        return phase_gate(a[0]);
      case GateKind::U:
        if (operation.kind == GateKind::CU) phase(a[3], 1);
        phase_gate(a[2]);
        about({2}, a[0]);
        return phase_gate(a[1]);
      case GateKind::RXX:
        return about({1, 1}, a[0]);
      case GateKind::RYY:
        return about({2, 2}, a[0]);
      case GateKind::RZZ:
        return about({3, 3}, a[0]);
      case GateKind::PauliRotation: {
        std::vector<int> digits;
        own.clear();
        for (const auto& [wire, letter] : operation.pauli.factors) {
          own.push_back(wire);
          digits.push_back(letter - 'X' + 1);
        }
        if (own.empty()) return phase(a[0], -0.5);
        return about(digits, a[0]);
      }
      default:
        fail("DensitySimulator: it does not know the gate {}", info.name);
    }
  }

  // Each chain moved to just before the next step on its wire.
  static std::vector<Step> sunk(std::vector<Step> steps) {
    std::vector<Step> result, waiting;
    for (Step& step : steps) {
      if (step.kind == Step::Kind::kChain) {
        waiting.push_back(std::move(step));
        continue;
      }
      for (size_t i = 0; i < waiting.size();)
        if (std::ranges::count(step.wires, waiting[i].wires[0])) {
          result.push_back(std::move(waiting[i]));
          waiting.erase(waiting.begin() + int64_t(i));
        } else {
          ++i;
        }
      result.push_back(std::move(step));
    }
    std::ranges::move(waiting, std::back_inserter(result));
    return result;
  }

  const Circuit& circuit_;
  Program& program_;
  int block_wires_ = 0;
  size_t now_ = 0;
  std::vector<std::vector<int>> slot_;
  std::vector<std::vector<Factor>> pending_;
  std::vector<char> touched_;
  std::vector<Step> steps_;
};

Sparse sparse(const std::vector<double>& matrix, size_t rows, bool transpose) {
  Sparse result{.begin = {0}, .column = {}, .value = {}, .monomial = true};
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < rows; ++j) {
      const double value = transpose ? matrix[j * rows + i] : matrix[i * rows + j];
      if (value == 0) continue;
      result.column.push_back(uint32_t(j));
      result.value.push_back(value);
    }
    result.monomial &= result.column.size() - result.begin.back() <= 1;
    result.begin.push_back(uint32_t(result.column.size()));
  }
  return result;
}

// The matrix on some digits of a block's index, as one on the whole index.
Sparse spread(const Sparse& small, const std::vector<int>& places, size_t block) {
  Sparse result{.begin = {0}, .column = {}, .value = {}, .monomial = small.monomial};
  for (size_t i = 0; i < block; ++i) {
    size_t row = 0, rest = i;
    for (size_t k = 0; k < places.size(); ++k) {
      row |= (i >> 2 * places[k] & 3) << 2 * k;
      rest &= ~(size_t(3) << 2 * places[k]);
    }
    for (uint32_t e = small.begin[row]; e < small.begin[row + 1]; ++e) {
      size_t column = rest;
      for (size_t k = 0; k < places.size(); ++k) column |= size_t(small.column[e] >> 2 * k & 3) << 2 * places[k];
      result.column.push_back(uint32_t(column));
      result.value.push_back(small.value[e]);
    }
    result.begin.push_back(uint32_t(result.column.size()));
  }
  return result;
}

// b a, a and b monomial.
Sparse product(const Sparse& b, const Sparse& a) {
  Sparse result{.begin = {0}, .column = {}, .value = {}, .monomial = true};
  for (size_t i = 0; i + 1 < b.begin.size(); ++i) {
    if (b.begin[i] < b.begin[i + 1]) {
      const uint32_t j = b.column[b.begin[i]];
      if (a.begin[j] < a.begin[j + 1]) {
        result.column.push_back(a.column[a.begin[j]]);
        result.value.push_back(b.value[b.begin[i]] * a.value[a.begin[j]]);
      }
    }
    result.begin.push_back(uint32_t(result.column.size()));
  }
  return result;
}

// A monomial matrix with an element in each row, 0 if need be.
Sparse one_a_row(const Sparse& matrix) {
  Sparse result{.begin = {}, .column = {}, .value = {}, .monomial = true};
  for (size_t i = 0; i + 1 < matrix.begin.size(); ++i) {
    const bool empty = matrix.begin[i] == matrix.begin[i + 1];
    result.column.push_back(empty ? 0 : matrix.column[matrix.begin[i]]);
    result.value.push_back(empty ? 0 : matrix.value[matrix.begin[i]]);
  }
  return result;
}

bool is_unital(const std::vector<Factor>& chain) {
  return std::ranges::all_of(chain, [](const Factor& factor) {
    return factor.axis != 0 || (factor.map[4] == 0 && factor.map[8] == 0 && factor.map[12] == 0);
  });
}

// Adds what the kernels need to know of a step on the pass's wires.
void append(Program& program, Pass& pass, Step step) {
  const size_t block = size_t(1) << 2 * pass.wires.size();
  BlockStep result{.kind = step.kind};
  std::vector<int> places;
  for (const int q : step.wires) places.push_back(int(std::ranges::find(pass.wires, q) - pass.wires.begin()));
  if (step.kind == Step::Kind::kChain) {
    result.place = places[0];
    result.slot = program.coefficients;
    program.coefficients += 16;
    result.unital = is_unital(step.chain);
    for (const Factor& factor : step.chain) {
      result.per_input |= factor.axis && factor.angle.has_input();
      if (factor.axis && !factor.angle.is_constant()) result.gradient = program.gradients;
    }
    if (result.gradient >= 0) program.gradients += 16;
  } else if (step.kind == Step::Kind::kRotation) {
    result.slot = program.coefficients;
    program.coefficients += 2;
    result.per_input = step.angle.has_input();
    if (!step.angle.is_constant()) result.gradient = program.gradients++;
    uint32_t mask = 0;
    for (size_t k = 0; k < places.size(); ++k) mask |= uint32_t(step.digits[k]) << 2 * places[k];
    for (uint32_t q = 0; q < block; ++q) {
      int power = 3;  // -i P Q = i^power Q'
      for (size_t k = 0; k < places.size(); ++k) {
        const int p = step.digits[k], d = int(q >> 2 * places[k] & 3);
        if (d != 0 && d != p) power += (d - p + 3) % 3 == 1 ? 1 : 3;
      }
      if (power % 4 == 0) {
        result.first.push_back(q);
        result.second.push_back(q ^ mask);
      }
    }
  } else {
    const size_t rows = size_t(1) << 2 * places.size();
    result.forward = spread(sparse(step.matrix, rows, false), places, block);
    result.backward = spread(sparse(step.matrix, rows, true), places, block);
    BlockStep* last = pass.steps.empty() ? nullptr : &pass.steps.back();
    if (last && last->kind == Step::Kind::kLocal && last->forward.monomial && result.forward.monomial &&
        last->backward.monomial && result.backward.monomial) {
      last->forward = product(result.forward, last->forward);
      last->backward = product(last->backward, result.backward);
      return;
    }
  }
  pass.saves += result.gradient >= 0;
  result.step = std::move(step);
  pass.steps.push_back(std::move(result));
}

void finish(Program& program, Pass& pass, std::vector<Step> steps) {
  const Program::Layout& layout = program.layout;
  // Chains go before the local steps they commute with, so that these come together.
  for (size_t i = 1; i < steps.size(); ++i)
    if (steps[i].kind == Step::Kind::kChain)
      for (size_t j = i; j > 0 && std::ranges::count(steps[j - 1].wires, steps[j].wires[0]) == 0; --j)
        std::swap(steps[j - 1], steps[j]);
  for (Step& step : steps) append(program, pass, std::move(step));
  for (BlockStep& step : pass.steps)
    for (Sparse* matrix : {&step.forward, &step.backward})
      if (matrix->monomial) *matrix = one_a_row(*matrix);
  const auto offsets = [&layout](const std::vector<int>& wires) {
    std::vector<uint32_t> result(size_t(1) << 2 * wires.size());
    for (size_t i = 0; i < result.size(); ++i)
      for (size_t k = 0; k < wires.size(); ++k) result[i] += uint32_t(i >> 2 * k & 3) * layout.stride[wires[k]];
    return result;
  };
  std::vector<int> others;
  for (int q = 0; q < layout.wires; ++q)
    if (std::ranges::count(pass.wires, q) == 0) others.push_back(q);
  pass.block_offset = offsets(pass.wires);
  pass.outer_offset = offsets(others);
  pass.transposed = !layout.by_sample && pass.wires[0] == 0;
}

// Places the observables behind the steps; with `absorb`, the last steps act on them instead if that takes less work:
// signed permutations take a string to a string, and chains make it a product of vectors.
void observe(Program& program, std::vector<Step>& steps, const std::vector<PauliSum>& observables, bool absorb) {
  const int wires = program.layout.wires;
  program.finals.assign(wires, {});
  // Of a step that takes strings to strings.
  const auto permutation = [](const Step& step) -> const double* {
    const bool fixed = step.kind == Step::Kind::kChain && step.chain.size() == 1 && step.chain[0].axis == 0;
    const double* matrix = fixed ? step.chain[0].map.data() : step.matrix.data();
    const bool is = (fixed || step.kind == Step::Kind::kLocal) && is_monomial(matrix, 1 << 2 * step.wires.size());
    return is ? matrix : nullptr;
  };
  std::vector<char> taken(steps.size()), blocked(wires), closed(wires);
  int chains = 0;
  for (size_t i = steps.size(); i-- > 0 && absorb;) {
    const Step& step = steps[i];
    const bool ends = step.kind == Step::Kind::kChain && !permutation(step);
    taken[i] =
        (ends || permutation(step)) && std::ranges::none_of(step.wires, [&](int q) { return blocked[q] || closed[q]; });
    chains += taken[i] && ends;
    for (const int q : step.wires) {
      blocked[q] |= !taken[i];
      closed[q] |= ends;
    }
  }

  double work = 0;  // numbers that are added up
  for (size_t k = 0; k < observables.size(); ++k)
    for (const PauliSum::Term& sum : observables[k].terms) {
      Program::Term term{.output = int(k), .coefficient = sum.coefficient};
      std::vector<int> digits(wires);
      for (const auto& [wire, letter] : sum.pauli.factors) digits[wire] = letter - 'X' + 1;
      double numbers = 1;
      for (size_t i = steps.size(); i-- > 0;) {
        if (!taken[i]) continue;
        const Step& step = steps[i];
        const double* matrix = permutation(step);
        if (!matrix) {
          const int q = step.wires[0];
          if (digits[q] == 0) continue;
          term.wires.emplace_back(q, digits[q]);
          digits[q] = 0;
          numbers *= is_unital(step.chain) ? 3 : 4;
          continue;
        }
        const size_t rows = size_t(1) << 2 * step.wires.size();
        size_t row = 0, column = 0;
        for (size_t w = 0; w < step.wires.size(); ++w) row |= size_t(digits[step.wires[w]]) << 2 * w;
        while (column + 1 < rows && matrix[row * rows + column] == 0) ++column;
        term.coefficient *= matrix[row * rows + column];
        for (size_t w = 0; w < step.wires.size(); ++w) digits[step.wires[w]] = int(column >> 2 * w & 3);
      }
      std::ranges::sort(term.wires, std::greater());
      for (int q = 0; q < wires; ++q) term.offset += size_t(digits[q]) * program.layout.stride[q];
      program.terms.push_back(std::move(term));
      work += numbers;
    }
  if (work > 0.1 * chains * double(program.layout.size) + 4.0 * double(program.terms.size())) {
    program.terms.clear();
    return observe(program, steps, observables, false);
  }
  std::vector<Step> left;
  for (size_t i = 0; i < steps.size(); ++i)
    if (!taken[i])
      left.push_back(std::move(steps[i]));
    else if (!permutation(steps[i]))
      program.finals[steps[i].wires[0]] = std::move(steps[i].chain);
  steps = std::move(left);
}

}  // namespace

Map identity_map() {
  Map map{};
  for (int i = 0; i < 4; ++i) map[i * 5] = 1;
  return map;
}

Map after(const Map& b, const Map& a) {
  Map result{};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      for (int k = 0; k < 4; ++k) result[i * 4 + j] += b[i * 4 + k] * a[k * 4 + j];
  return result;
}

Program lower(const Circuit& circuit, const std::vector<PauliSum>& observables, size_t lanes,
              const LowerOptions& options) {
  Program program;
  program.qubits = circuit.wires();
  program.weights = circuit.weights();
  program.inputs = circuit.inputs();
  program.amplitude_encoding = circuit.has_amplitude_encoding();
  require(circuit.wires() <= kMaxQubits,
          "a density matrix of {} qubits has 4^{} numbers ({:.3g} GiB in double precision): use at most {} qubits",
          circuit.wires(), circuit.wires(), std::ldexp(8.0, 2 * circuit.wires() - 30), kMaxQubits);
  Program::Layout& layout = program.layout;
  layout.by_sample = false;
  Lowering lowering(circuit, program);
  require(
      layout.wires <= kMaxWires,
      "a density matrix of {} qubits and {} classical bits that later conditions read at the same time: expected at "
      "most {} together ({:.3g} GiB in double precision)",
      circuit.wires(), layout.wires - circuit.wires(), kMaxWires, std::ldexp(8.0, 2 * layout.wires - 30));
  layout.by_sample = layout.wires <= kBySample;
  layout.lanes = lanes;
  layout.size = 1;
  for (int q = 0; q < layout.wires; ++q) {
    // Without gaps the elements of the high wires would share a few sets of the caches.
    const uint32_t gap = !layout.by_sample && q >= 5 ? 16 : 0;
    layout.stride.push_back(q == 0 ? (layout.by_sample ? uint32_t(lanes) : 1) : 4 * layout.stride.back() + gap);
    layout.size += 3 * size_t(layout.stride.back());
  }
  layout.size = (layout.size + lanes - 1 + 15) / 16 * 16;
  program.start.resize(layout.wires);

  Lowering placed(circuit, program);
  std::vector<Step> steps = placed.run(options.product_start && !layout.by_sample && !program.amplitude_encoding);
  observe(program, steps, observables, options.absorb && !layout.by_sample);
  // A pass takes all steps that it can reach and that fit together with those before.
  while (!steps.empty()) {
    Pass pass;
    std::vector<Step> taken, left;
    std::vector<char> blocked(layout.wires);
    for (Step& step : steps) {
      std::vector<int> wires = pass.wires;
      wires.insert(wires.end(), step.wires.begin(), step.wires.end());
      const bool free = !pass.wide && std::ranges::none_of(step.wires, [&](int q) { return blocked[q]; });
      if (free && step.kind == Step::Kind::kWide && taken.empty()) {
        pass.wide = true;
        pass.effect = std::move(step.effect);
      } else if (free && step.kind != Step::Kind::kWide && placed.fits(wires)) {
        pass.wires = placed.closure(wires);
        taken.push_back(std::move(step));
      } else {
        for (const int q : step.wires) blocked[q] = true;
        left.push_back(std::move(step));
      }
    }
    if (!pass.wide) finish(program, pass, std::move(taken));
    program.passes.push_back(std::move(pass));
    steps = std::move(left);
  }
  return program;
}

}  // namespace quanta::simulate::pauli_basis
