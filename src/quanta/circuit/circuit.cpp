#include "quanta/circuit/circuit.h"

#include <algorithm>
#include <cmath>
#include <ranges>

#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr int kMaxParameters = 1 << 28;
constexpr int kMaxUnitaryWires = 10;
constexpr int kMaxAmplitudeWires = 28;
constexpr int kMaxMatrixWires = 12;
constexpr int kMaxClbits = 1 << 20;
constexpr double kUnitarityTolerance = 1e-6;

void check_index(const GateInfo& info, const Angle& angle, int index, const char* what) {
  require(index >= Angle::kNone && index < kMaxParameters, "{}: {} {} of angle {} is out of range, expected 0..{}",
          info.name, what, index, angle.to_string(), kMaxParameters - 1);
}

void check_matrix(const Operation& operation) {
  if (operation.kind != GateKind::Unitary) return;
  const int k = int(operation.wires.size());
  const std::string where = fmt::format("Unitary on wires {}", fmt::join(operation.wires, ","));
  require(k >= 1 && k <= kMaxUnitaryWires, "Unitary: expected 1..{} wires, got {}", kMaxUnitaryWires, k);
  require(operation.matrix != nullptr, "{}: the matrix is missing", where);
  const Matrix& matrix = *operation.matrix;
  require(matrix.dim == 1 << k && matrix.data.size() == size_t(matrix.dim) * matrix.dim,
          "{}: expected a {} x {} matrix, got dimension {} with {} elements", where, 1 << k, 1 << k, matrix.dim,
          matrix.data.size());
  const double error = matrix.unitarity_error();
  require(error < kUnitarityTolerance, "{}: the matrix is not unitary (|U+U - 1| = {:.3g}), expected below {:g}", where,
          error, kUnitarityTolerance);
}

// Applies `small` on `wires` of the rows' index: wires[0] is its least significant bit.
void apply(const Matrix& small, const std::vector<int>& wires, Matrix& matrix) {
  int mask = 0;
  for (const int q : wires) mask |= 1 << q;
  std::vector<int> spread(small.dim, 0);
  for (int i = 0; i < small.dim; ++i)
    for (size_t bit = 0; bit < wires.size(); ++bit)
      if (i >> bit & 1) spread[i] |= 1 << wires[bit];
  std::vector<Complex> before(small.dim);
  for (int base = 0; base < matrix.dim; ++base) {
    if (base & mask) continue;
    for (int column = 0; column < matrix.dim; ++column) {
      for (int i = 0; i < small.dim; ++i) before[i] = matrix(base | spread[i], column);
      for (int i = 0; i < small.dim; ++i) {
        Complex sum = 0;
        for (int j = 0; j < small.dim; ++j) sum += small(i, j) * before[j];
        matrix(base | spread[i], column) = sum;
      }
    }
  }
}

// Angles whose sum is the negative of `angle`: two if its weight has to stand apart.
std::vector<Angle> negated(const Angle& angle) {
  if (angle.offset == Angle::kNone) return {-angle};
  Angle rest = angle;
  rest.offset = Angle::kNone;
  std::vector<Angle> parts{-weight(angle.offset)};
  if (rest != Angle()) parts.push_back(-rest);
  return parts;
}

GateKind inverse_kind(GateKind kind) {
  switch (kind) {
    case GateKind::S:
      return GateKind::Sdg;
    case GateKind::Sdg:
      return GateKind::S;
    case GateKind::T:
      return GateKind::Tdg;
    case GateKind::Tdg:
      return GateKind::T;
    case GateKind::SX:
      return GateKind::SXdg;
    case GateKind::SXdg:
      return GateKind::SX;
    default:
      return kind;
  }
}

}  // namespace

bool Condition::holds(const uint8_t* bits) const {
  bool equal = count >= 64 || value >> count == 0;
  for (int i = 0; i < count; ++i) equal &= bits[first + i] == (i < 64 ? value >> i & 1 : 0);
  return equal != negated;
}

Matrix Operation::unitary(const double* weights, const double* inputs) const {
  std::vector<double> values;
  for (const Angle& angle : angles) values.push_back(angle.value(weights, inputs));

  Matrix own;
  if (kind == GateKind::Unitary) {
    own = *matrix;
  } else if (kind == GateKind::PauliRotation) {
    PauliString local;  // on wires 0, 1, ...
    for (size_t i = 0; i < pauli.factors.size(); ++i) local.factors.emplace_back(int(i), pauli.factors[i].second);
    own = PauliSum(local).matrix(int(local.factors.size()));
    for (Complex& element : own.data) element *= Complex(0, -std::sin(values[0] / 2));
    for (int i = 0; i < own.dim; ++i) own(i, i) += std::cos(values[0] / 2);
  } else {
    own = gate_matrix(kind, values);
  }
  if (controls.empty()) return own;
  Matrix result = Matrix::identity(own.dim << controls.size());
  const int first = result.dim - own.dim;
  for (int row = 0; row < own.dim; ++row)
    for (int column = 0; column < own.dim; ++column) result(first + row, first + column) = own(row, column);
  return result;
}

std::vector<int> Operation::all_wires() const {
  std::vector<int> all = wires;
  all.insert(all.end(), controls.begin(), controls.end());
  return all;
}

Circuit::Circuit(int wires, int clbits) : wires_(wires) {
  require(wires >= 1 && wires <= kMaxWires, "a circuit has 1..{} wires, got {}", kMaxWires, wires);
  if (clbits != 0) add_register("c", clbits);
}

int Circuit::add_register(const std::string& name, int size) {
  require(size >= 1 && size <= kMaxClbits - clbits_, "register {}: expected 1..{} bits, got {}", name,
          kMaxClbits - clbits_, size);
  for (const ClassicalRegister& other : registers_)
    require(other.name != name, "there is a classical register {} already", name);
  registers_.push_back({name, clbits_, size});
  clbits_ += size;
  return registers_.back().first;
}

bool Circuit::is_unitary() const {
  return std::ranges::all_of(operations_, [](const Operation& operation) {
    return operation.conditions.empty() && operation.kind <= GateKind::Barrier;
  });
}

namespace {

/// Visits the operations from the last to the first, without barriers: visit(operation, whether it is a final
/// measurement).
template <class Visit>
void visit_backwards(const Circuit& circuit, Visit visit) {
  std::vector<bool> used(circuit.wires(), false);  // later on
  std::vector<bool> read(circuit.clbits(), false);
  for (const Operation& operation : circuit.operations() | std::views::reverse) {
    if (operation.kind == GateKind::Barrier) continue;
    const bool final = operation.kind == GateKind::Measure && !used[operation.wires[0]] && !read[operation.clbit] &&
                       operation.conditions.empty();
    visit(operation, final);
    if (final) continue;
    for (const int q : operation.all_wires()) used[q] = true;
    for (const Condition& condition : operation.conditions)
      std::fill_n(read.begin() + condition.first, condition.count, true);
  }
}

}  // namespace

Circuit Circuit::without_final_measurements() const {
  Circuit result = *this;
  result.operations_.clear();
  visit_backwards(*this, [&](const Operation& operation, bool final) {
    if (!final) result.operations_.push_back(operation);
  });
  std::ranges::reverse(result.operations_);
  return result;
}

Circuit Circuit::without_initial_resets() const {
  Circuit result = *this;
  std::vector<bool> used(wires_, false);
  std::erase_if(result.operations_, [&](const Operation& operation) {
    if (operation.kind == GateKind::Barrier) return false;
    if (operation.kind == GateKind::Reset && !used[operation.wires[0]]) return true;
    for (const int q : operation.all_wires()) used[q] = true;
    return false;
  });
  return result;
}

std::vector<Operation> Circuit::final_measurements() const {
  std::vector<Operation> result;
  visit_backwards(*this, [&](const Operation& operation, bool final) {
    if (final) result.push_back(operation);
  });
  std::ranges::reverse(result);
  return result;
}

int Circuit::depth() const {
  std::vector<int> level(wires_, 0);
  int depth = 0;
  for (const Operation& operation : operations_) {
    if (operation.kind == GateKind::Barrier) continue;
    const std::vector<int> wires = operation.all_wires();
    int last = 0;
    for (const int q : wires) last = std::max(last, level[q]);
    for (const int q : wires) level[q] = last + 1;
    if (!wires.empty()) depth = std::max(depth, last + 1);
  }
  return depth;
}

bool Circuit::has_amplitude_encoding() const {
  return !operations_.empty() && operations_[0].kind == GateKind::AmplitudeEncoding;
}

Circuit& Circuit::i(int q) {
  return add(GateKind::I, {q});
}
Circuit& Circuit::x(int q) {
  return add(GateKind::X, {q});
}
Circuit& Circuit::y(int q) {
  return add(GateKind::Y, {q});
}
Circuit& Circuit::z(int q) {
  return add(GateKind::Z, {q});
}
Circuit& Circuit::h(int q) {
  return add(GateKind::H, {q});
}
Circuit& Circuit::s(int q) {
  return add(GateKind::S, {q});
}
Circuit& Circuit::sdg(int q) {
  return add(GateKind::Sdg, {q});
}
Circuit& Circuit::t(int q) {
  return add(GateKind::T, {q});
}
Circuit& Circuit::tdg(int q) {
  return add(GateKind::Tdg, {q});
}
Circuit& Circuit::sx(int q) {
  return add(GateKind::SX, {q});
}
Circuit& Circuit::sxdg(int q) {
  return add(GateKind::SXdg, {q});
}
Circuit& Circuit::rx(int q, Angle a) {
  return add(GateKind::RX, {q}, {a});
}
Circuit& Circuit::ry(int q, Angle a) {
  return add(GateKind::RY, {q}, {a});
}
Circuit& Circuit::rz(int q, Angle a) {
  return add(GateKind::RZ, {q}, {a});
}
Circuit& Circuit::p(int q, Angle a) {
  return add(GateKind::P, {q}, {a});
}
Circuit& Circuit::u(int q, Angle theta, Angle phi, Angle lambda) {
  return add(GateKind::U, {q}, {theta, phi, lambda});
}
Circuit& Circuit::rot(int q, Angle a, Angle b, Angle c) {
  return rz(q, a).ry(q, b).rz(q, c);
}
Circuit& Circuit::cnot(int control, int target) {
  return add(GateKind::CX, {control, target});
}
Circuit& Circuit::cy(int control, int target) {
  return add(GateKind::CY, {control, target});
}
Circuit& Circuit::cz(int control, int target) {
  return add(GateKind::CZ, {control, target});
}
Circuit& Circuit::ch(int control, int target) {
  return add(GateKind::CH, {control, target});
}
Circuit& Circuit::crx(int control, int target, Angle a) {
  return add(GateKind::CRX, {control, target}, {a});
}
Circuit& Circuit::cry(int control, int target, Angle a) {
  return add(GateKind::CRY, {control, target}, {a});
}
Circuit& Circuit::crz(int control, int target, Angle a) {
  return add(GateKind::CRZ, {control, target}, {a});
}
Circuit& Circuit::cp(int control, int target, Angle a) {
  return add(GateKind::CP, {control, target}, {a});
}
Circuit& Circuit::cu(int control, int target, Angle theta, Angle phi, Angle lambda, Angle gamma) {
  return add(GateKind::CU, {control, target}, {theta, phi, lambda, gamma});
}
Circuit& Circuit::swap(int a, int b) {
  return add(GateKind::SWAP, {a, b});
}
Circuit& Circuit::iswap(int a, int b) {
  return add(GateKind::ISWAP, {a, b});
}
Circuit& Circuit::rxx(int a, int b, Angle angle) {
  return add(GateKind::RXX, {a, b}, {angle});
}
Circuit& Circuit::ryy(int a, int b, Angle angle) {
  return add(GateKind::RYY, {a, b}, {angle});
}
Circuit& Circuit::rzz(int a, int b, Angle angle) {
  return add(GateKind::RZZ, {a, b}, {angle});
}
Circuit& Circuit::ccx(int control1, int control2, int target) {
  return add(GateKind::CCX, {control1, control2, target});
}
Circuit& Circuit::cswap(int control, int a, int b) {
  return add(GateKind::CSWAP, {control, a, b});
}
Circuit& Circuit::amplitude_encoding() {
  return add(GateKind::AmplitudeEncoding, {});
}
Circuit& Circuit::barrier() {
  return add(GateKind::Barrier, {});
}

Circuit& Circuit::measure(int q, int clbit) {
  return add(
      Operation{.kind = GateKind::Measure, .wires = {q}, .angles = {}, .controls = {}, .pauli = {}, .clbit = clbit});
}
Circuit& Circuit::measure_all() {
  const int first = add_register("meas", wires_);
  for (int q = 0; q < wires_; ++q) measure(q, first + q);
  return *this;
}
Circuit& Circuit::reset(int q) {
  return add(GateKind::Reset, {q});
}

Circuit& Circuit::channel(quanta::Channel channel, const std::vector<int>& wires) {
  return add(Operation{.kind = GateKind::Channel,
                       .wires = wires,
                       .angles = {},
                       .controls = {},
                       .pauli = {},
                       .channel = std::make_shared<const quanta::Channel>(std::move(channel))});
}

Circuit& Circuit::when(const Condition& condition, const Circuit& body) {
  Circuit result = *this;
  for (Operation operation : body.operations_) {
    require(operation.kind != GateKind::Measure || operation.clbit < condition.first ||
                operation.clbit >= condition.first + condition.count,
            "a conditional block measures into bit {} of its own condition; copy the bit first", operation.clbit);
    operation.conditions.push_back(condition);
    result.place(std::move(operation));
  }
  *this = std::move(result);
  return *this;
}

Circuit& Circuit::pauli_rotation(const PauliString& pauli, Angle angle) {
  return add(
      Operation{.kind = GateKind::PauliRotation, .wires = {}, .angles = {angle}, .controls = {}, .pauli = pauli});
}

Circuit& Circuit::unitary(const std::vector<int>& wires, Matrix matrix) {
  return add(Operation{.kind = GateKind::Unitary,
                       .wires = wires,
                       .angles = {},
                       .controls = {},
                       .pauli = {},
                       .matrix = std::make_shared<const Matrix>(std::move(matrix))});
}

Circuit& Circuit::add(GateKind kind, std::vector<int> wires, std::vector<Angle> angles, std::vector<int> controls) {
  return add(Operation{.kind = kind,
                       .wires = std::move(wires),
                       .angles = std::move(angles),
                       .controls = std::move(controls),
                       .pauli = {}});
}

Circuit& Circuit::add(Operation operation) {
  check_matrix(operation);
  return place(std::move(operation));
}

Circuit& Circuit::place(Operation operation) {
  const GateInfo& info = gate_info(operation.kind);
  const bool encodes = operation.kind == GateKind::AmplitudeEncoding;

  if (operation.kind == GateKind::PauliRotation) {
    operation.pauli = PauliString(std::move(operation.pauli.factors));
    std::vector<int> wires;
    for (const auto& [wire, letter] : operation.pauli.factors) wires.push_back(wire);
    require(operation.wires.empty() || operation.wires == wires,
            "{}: the wires are those of the Pauli string ({}), expected none or the same", info.name,
            operation.pauli.to_string());
    operation.wires = std::move(wires);
  }
  if (encodes) {
    require(operations_.empty(), "{}: must be the first operation of its circuit", info.name);
    require(wires_ <= kMaxAmplitudeWires, "{}: expected at most {} wires, got {}", info.name, kMaxAmplitudeWires,
            wires_);
    std::vector<int> all(wires_);
    for (int q = 0; q < wires_; ++q) all[q] = q;
    require(operation.wires.empty() || operation.wires == all, "{}: expected all wires in order", info.name);
    operation.wires = std::move(all);
  }
  require(info.wires == 0 || int(operation.wires.size()) == info.wires, "{}: expected {} wires, got {}", info.name,
          info.wires, operation.wires.size());
  require(operation.controls.empty() || quanta::is_unitary(operation.kind), "{}: cannot be controlled", info.name);
  require(operation.conditions.empty() || (!encodes && operation.kind != GateKind::Barrier),
          "{}: cannot be conditional", info.name);
  for (const Condition& condition : operation.conditions)
    require(condition.first >= 0 && condition.count >= 1 && condition.count <= clbits_ - condition.first,
            "{}: the condition reads classical bits {}..{}, the circuit has {}", info.name, condition.first,
            condition.first + condition.count - 1, clbits_);
  if (operation.kind == GateKind::Measure) {
    require(operation.clbit >= 0 && operation.clbit < clbits_,
            "{}: classical bit {} is out of range, the circuit has {} classical bits", info.name, operation.clbit,
            clbits_);
    for (const double p : operation.misread)
      require(p >= 0 && p <= 1, "{}: a probability to misread must be in 0..1, got {}", info.name, p);
  }
  if (operation.kind == GateKind::Channel) {
    require(operation.channel != nullptr, "{}: the channel is missing", info.name);
    require(int(operation.wires.size()) == operation.channel->wires(), "{}: expected {} wires, got {}",
            operation.channel->name(), operation.channel->wires(), operation.wires.size());
  }
  std::vector<bool> used(wires_, false);
  for (const int q : operation.all_wires()) {
    require(q >= 0 && q < wires_, "{}: wire {} is out of range, the circuit has wires 0..{}", info.name, q, wires_ - 1);
    require(!used[q], "{}: wire {} is used twice", info.name, q);
    used[q] = true;
  }

  require(int(operation.angles.size()) == info.angles, "{}: expected {} angles, got {}", info.name, info.angles,
          operation.angles.size());
  int weights = weights_;
  int inputs = encodes ? 1 << wires_ : inputs_;
  for (Angle& angle : operation.angles) {
    require(std::isfinite(angle.constant) && std::isfinite(angle.scale), "{}: angle {} is not finite", info.name,
            angle.to_string());
    require(angle.input != Angle::kNone || angle.input2 == Angle::kNone, "{}: an angle's only input belongs in `input`",
            info.name);
    if (angle.scale == 0) angle.weight = angle.input = angle.input2 = Angle::kNone;  // an absent product
    for (int* index : {&angle.weight, &angle.offset}) {
      if (*index == Angle::kNext) *index = weights;
      check_index(info, angle, *index, "weight");
      weights = std::max(weights, *index + 1);
    }
    for (const int index : {angle.input, angle.input2}) {
      check_index(info, angle, index, "input");
      inputs = std::max(inputs, index + 1);
    }
  }
  weights_ = weights;
  inputs_ = inputs;
  operations_.push_back(std::move(operation));
  return *this;
}

Circuit& Circuit::declare(int weights, int inputs) {
  require(weights <= kMaxParameters && inputs <= kMaxParameters, "declare: expected at most {} weights and inputs",
          kMaxParameters);
  weights_ = std::max(weights_, weights);
  inputs_ = std::max(inputs_, inputs);
  return *this;
}

Circuit& Circuit::append(const Circuit& other, std::vector<int> on, int weight_offset, int input_offset) {
  if (on.empty())
    for (int q = 0; q < other.wires(); ++q) on.push_back(q);
  require(int(on.size()) == other.wires(), "append: expected {} wires for a circuit of {} wires, got {}", other.wires(),
          other.wires(), on.size());
  for (size_t i = 0; i < on.size(); ++i)
    require(std::count(on.begin(), on.begin() + i, on[i]) == 0, "append: wire {} is used twice", on[i]);
  require(weight_offset >= 0 && weight_offset < kMaxParameters && input_offset >= 0 && input_offset < kMaxParameters,
          "append: the offsets must be in 0..{}, got {} and {}", kMaxParameters - 1, weight_offset, input_offset);
  require(!other.has_amplitude_encoding() || input_offset == 0,
          "append: amplitude encoding reads the inputs from 0, expected no input offset, got {}", input_offset);

  const auto shift = [](int& index, int offset) {
    if (index >= 0) index += offset;
  };
  // A copy, so that a failure leaves this circuit as it was and a circuit may be appended to itself.
  Circuit result = *this;
  for (Operation operation : other.operations_) {
    for (int& q : operation.wires) q = on[q];
    for (int& q : operation.controls) q = on[q];
    if (operation.kind == GateKind::PauliRotation) {
      for (auto& [wire, letter] : operation.pauli.factors) wire = on[wire];
      operation.wires.clear();
    }
    for (Angle& angle : operation.angles) {
      shift(angle.weight, weight_offset);
      shift(angle.offset, weight_offset);
      shift(angle.input, input_offset);
      shift(angle.input2, input_offset);
    }
    if (operation.kind == GateKind::Barrier && operation.wires.empty()) operation.wires = on;
    result.place(std::move(operation));
  }
  *this = std::move(result);
  return *this;
}

Circuit& Circuit::cnot_ring(int stride) {
  if (wires_ == 1) return *this;
  require(stride % wires_ != 0, "cnot_ring: a stride of {} on {} wires joins each wire with itself", stride, wires_);
  const int step = (stride % wires_ + wires_) % wires_;
  for (int q = 0; q < wires_; ++q) cnot(q, (q + step) % wires_);
  return *this;
}

Circuit& Circuit::cnot_chain() {
  for (int q = 0; q + 1 < wires_; ++q) cnot(q, q + 1);
  return *this;
}

Circuit Circuit::inverse() const {
  require(!has_amplitude_encoding(), "a circuit with amplitude encoding has no inverse");
  require(is_unitary(), "a circuit with measurements, resets, channels or conditions has no inverse");
  Circuit result(wires_);
  for (auto operation = operations_.rbegin(); operation != operations_.rend(); ++operation) {
    const GateInfo& info = gate_info(operation->kind);
    Operation inverted = *operation;
    inverted.kind = inverse_kind(operation->kind);
    if (operation->kind == GateKind::ISWAP || operation->kind == GateKind::Unitary) {
      inverted.kind = GateKind::Unitary;
      inverted.matrix = std::make_shared<const Matrix>(
          (operation->matrix ? *operation->matrix : gate_matrix(GateKind::ISWAP, {})).adjoint());
      result.place(std::move(inverted));
    } else if (info.angles == 0) {
      result.place(std::move(inverted));
    } else if (info.angles == 1) {
      for (const Angle& part : negated(operation->angles[0])) {
        inverted.angles = {part};
        result.place(inverted);
      }
    } else {  // U and CU
      const std::vector<Angle>& a = operation->angles;
      if (std::ranges::all_of(a, [](const Angle& angle) { return angle.offset == Angle::kNone; })) {
        inverted.angles = {-a[0], -a[2], -a[1]};
        if (info.angles == 4) inverted.angles.push_back(-a[3]);
        result.place(std::move(inverted));
        continue;
      }
      // U = P(phi) RY(theta) P(lambda), and gamma is a phase of the control.
      std::vector<int> controls = operation->controls;
      const auto parts = [&](GateKind kind, int wire, const Angle& angle) {
        for (const Angle& part : negated(angle)) result.add(kind, {wire}, {part}, controls);
      };
      if (info.angles == 4) {
        parts(GateKind::P, operation->wires[0], a[3]);
        controls.insert(controls.begin(), operation->wires[0]);
      }
      parts(GateKind::P, operation->wires.back(), a[1]);
      parts(GateKind::RY, operation->wires.back(), a[0]);
      parts(GateKind::P, operation->wires.back(), a[2]);
    }
  }
  return result;
}

Matrix Circuit::matrix(const std::vector<double>& weights, const std::vector<double>& inputs) const {
  require(wires_ <= kMaxMatrixWires, "the dense matrix of a circuit: expected at most {} wires, got {}",
          kMaxMatrixWires, wires_);
  require(!has_amplitude_encoding(), "a circuit with amplitude encoding has no matrix");
  require(is_unitary(), "a circuit with measurements, resets, channels or conditions has no matrix");
  require(int(weights.size()) == weights_ && int(inputs.size()) == inputs_,
          "the circuit has {} weights and {} inputs, got {} and {}", weights_, inputs_, weights.size(), inputs.size());
  Matrix result = Matrix::identity(1 << wires_);
  for (const Operation& operation : operations_)
    if (operation.kind != GateKind::Barrier)
      apply(operation.unitary(weights.data(), inputs.data()), operation.all_wires(), result);
  return result;
}

}  // namespace quanta
