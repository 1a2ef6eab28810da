#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "quanta/circuit/decompose.h"
#include "quanta/circuit/passes.h"

namespace quanta::passes {
namespace {

constexpr double kPi = std::numbers::pi;
// Coordinates below it count as 0. Rounding leaves 1e-15 on exact ones.
constexpr double kZero = 1e-11;

int cnot_count(const Cartan& d) {
  const auto& [x, y, z] = d.weyl;
  if (std::abs(z) > kZero) return 3;
  if (y > kZero) return 2;
  if (x > kPi / 4 - kZero) return 1;
  return x > kZero ? 2 : 0;
}

// A rotation of wires.back() by angles[state of the others] about Y or Z: 2^(wires - 1) CNOTs in the order of a Gray
// code (Moettoenen et al., PRL 93, 130502, 2004).
void multiplexed(GateKind kind, const std::vector<double>& angles, const std::vector<int>& wires, Operations& out) {
  const size_t count = angles.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t code = i ^ i >> 1, next = (i + 1) % count ^ (i + 1) % count >> 1;
    double angle = 0;
    for (size_t j = 0; j < count; ++j) angle += (std::popcount(j & code) % 2 ? -1 : 1) * angles[j];
    out.push_back(gate(kind, {wires.back()}, {angle / double(count)}));
    if (count > 1) out.push_back(gate(GateKind::CX, {wires[std::countr_zero(code ^ next)], wires.back()}));
  }
}

// u0 where wires.back() is 0 and u1 where it is 1.
void demultiplex(const Matrix& u0, const Matrix& u1, const std::vector<int>& wires, Operations& out) {
  const Eigen eigen = diagonalize(u0 * u1.adjoint());
  const int n = u0.dim;
  std::vector<double> angles;
  Matrix before = eigen.vectors.adjoint() * u1;
  for (int i = 0; i < n; ++i) {
    const double half = std::arg(eigen.values[i]) / 2;
    for (int j = 0; j < n; ++j) before(i, j) *= std::polar(1.0, half);
    angles.push_back(-2 * half);
  }
  const std::vector<int> rest(wires.begin(), wires.end() - 1);
  synthesize(before, rest, out);
  multiplexed(GateKind::RZ, angles, wires, out);
  synthesize(eigen.vectors, rest, out);
}

}  // namespace

int cnot_count(const Matrix& u) {
  return cnot_count(cartan(u));
}

void synthesize_pair(const Matrix& u, int low, int high, Operations& out) {
  const Cartan d = cartan(u);
  const auto& [x, y, z] = d.weyl;
  const auto add = [&](GateKind kind, int q, std::vector<Angle> angles = {}) {
    out.push_back(gate(kind, {q}, std::move(angles)));
  };
  const auto cx = [&](int control, int target) { out.push_back(gate(GateKind::CX, {control, target})); };
  out.push_back(one_qubit(d.before[0], low));
  out.push_back(one_qubit(d.before[1], high));
  switch (cnot_count(d)) {
    case 3:
      add(GateKind::RZ, high, {kPi / 2});
      cx(high, low);
      add(GateKind::RZ, low, {kPi / 2 - 2 * z});
      add(GateKind::RY, high, {kPi / 2 - 2 * x});
      cx(low, high);
      add(GateKind::RY, high, {2 * y - kPi / 2});
      cx(high, low);
      add(GateKind::RZ, low, {-kPi / 2});
      break;
    case 2:
      if (y <= kZero) {  // exp(i x ZZ) in the basis of X: one rotation between the CNOTs
        for (const int q : {low, high}) add(GateKind::H, q);
        cx(low, high);
        add(GateKind::RZ, high, {-2 * x});
        cx(low, high);
        for (const int q : {low, high}) add(GateKind::H, q);
        break;
      }
      // XX and ZZ are X and Z of one wire each between CNOTs; a quarter turn about X makes YY of ZZ
      for (const int q : {low, high}) add(GateKind::RX, q, {kPi / 2});
      cx(low, high);
      add(GateKind::RX, low, {-2 * x});
      add(GateKind::RZ, high, {-2 * y});
      cx(low, high);
      for (const int q : {low, high}) add(GateKind::RX, q, {-kPi / 2});
      break;
    case 1:  // exp(i pi/4 XX): diag(1, -i) on both wires and CZ, in the basis of X
      for (const int q : {low, high}) add(GateKind::H, q);
      for (const int q : {low, high}) add(GateKind::Sdg, q);
      add(GateKind::H, high);
      cx(low, high);
      add(GateKind::H, high);
      for (const int q : {low, high}) add(GateKind::H, q);
      break;
    default:
      break;
  }
  out.push_back(one_qubit(d.after[0], low));
  out.push_back(one_qubit(d.after[1], high));
}

int rotation_count(const Matrix& u) {
  const Cartan d = cartan(u);
  return int(std::ranges::count_if(d.weyl, [](double w) { return std::abs(w) > kZero; }));
}

void synthesize_rotations(const Matrix& u, int low, int high, Operations& out) {
  const Cartan d = cartan(u);
  out.push_back(one_qubit(d.before[0], low));
  out.push_back(one_qubit(d.before[1], high));
  const GateKind kinds[3] = {GateKind::RXX, GateKind::RYY, GateKind::RZZ};
  for (int axis = 0; axis < 3; ++axis)
    if (std::abs(d.weyl[axis]) > kZero) out.push_back(gate(kinds[axis], {low, high}, {-2 * d.weyl[axis]}));
  out.push_back(one_qubit(d.after[0], low));
  out.push_back(one_qubit(d.after[1], high));
}

void synthesize(const Matrix& u, const std::vector<int>& wires, Operations& out) {
  if (wires.size() == 1) {
    out.push_back(one_qubit(u, wires[0]));
  } else if (wires.size() == 2) {
    synthesize_pair(u, wires[0], wires[1], out);
  } else {
    const CosineSine d = cosine_sine(u);
    std::vector<double> angles = d.angles;
    for (double& angle : angles) angle *= 2;
    demultiplex(d.r0, d.r1, wires, out);
    multiplexed(GateKind::RY, angles, wires, out);
    demultiplex(d.l0, d.l1, wires, out);
  }
}

}  // namespace quanta::passes
