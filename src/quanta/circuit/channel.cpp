#include "quanta/circuit/channel.h"

#include <cmath>

#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr int kMaxChannelWires = 6;
constexpr double kTolerance = 1e-6;

void require_probability(double p, const char* channel, const char* name) {
  require(p >= 0 && p <= 1, "{}: {} must be in 0..1, got {}", channel, name, p);
}

// The Pauli string with these digits.
Matrix pauli_matrix(int index, int wires) {
  constexpr GateKind kPauli[] = {GateKind::I, GateKind::X, GateKind::Y, GateKind::Z};
  Matrix result = Matrix::identity(1);
  for (int q = 0; q < wires; ++q) result = kron(gate_matrix(kPauli[index >> 2 * q & 3], {}), result);
  return result;
}

Matrix scaled(Matrix matrix, double factor) {
  for (Complex& element : matrix.data) element *= factor;
  return matrix;
}

Matrix real2(double a, double b, double c, double d) {
  return Matrix(2, {a, b, c, d});
}

// tr(A B)
Complex trace_of_product(const Matrix& a, const Matrix& b) {
  Complex sum = 0;
  for (int i = 0; i < a.dim; ++i)
    for (int j = 0; j < a.dim; ++j) sum += a(i, j) * b(j, i);
  return sum;
}

Channel named_pauli_channel(std::string name, std::span<const double> probabilities, int wires) {
  std::vector<Matrix> kraus;
  for (size_t i = 0; i < probabilities.size(); ++i)
    if (probabilities[i] > 0) kraus.push_back(scaled(pauli_matrix(int(i), wires), std::sqrt(probabilities[i])));
  return Channel(std::move(name), std::move(kraus));
}

}  // namespace

Channel::Channel(std::string name, std::vector<Matrix> kraus) : name_(std::move(name)), kraus_(std::move(kraus)) {
  require(!kraus_.empty(), "channel {}: expected at least one Kraus operator", name_);
  const int dim = kraus_[0].dim;
  while (1 << wires_ < dim && wires_ <= kMaxChannelWires) ++wires_;
  require(wires_ >= 1 && wires_ <= kMaxChannelWires && dim == 1 << wires_,
          "channel {}: expected operators of dimension 2^k for 1..{} wires, got {}", name_, kMaxChannelWires, dim);
  Matrix sum(dim);
  bool is_pauli = true;
  std::vector<double> pauli(size_t(1) << 2 * wires_);
  for (const Matrix& k : kraus_) {
    require(k.dim == dim && k.data.size() == size_t(dim) * dim,
            "channel {}: the Kraus operators' dimensions differ ({} and {})", name_, dim, k.dim);
    const Matrix square = k.adjoint() * k;
    for (size_t i = 0; i < sum.data.size(); ++i) sum.data[i] += square.data[i];

    const double weight = trace_of_product(k.adjoint(), k).real() / dim;
    if (weight == 0) continue;
    // A multiple of a Pauli string has all its weight there.
    size_t string = 0;
    double most = -1;
    for (size_t i = 0; i < pauli.size() && is_pauli; ++i) {
      const double overlap = std::norm(trace_of_product(pauli_matrix(int(i), wires_), k)) / dim / dim;
      if (overlap > most) {
        most = overlap;
        string = i;
      }
    }
    is_pauli = is_pauli && std::abs(most - weight) < 1e-12 * weight;
    pauli[string] += weight;
  }
  double error = 0;
  for (int i = 0; i < dim; ++i)
    for (int j = 0; j < dim; ++j) {
      const double off = std::abs(sum(i, j) - (i == j ? 1.0 : 0.0));
      if (!(off <= error)) error = std::isnan(off) ? INFINITY : off;
    }
  require(error < kTolerance,
          "channel {}: the Kraus operators are not complete (|sum K+K - 1| = {:.3g}), expected below {:g}", name_,
          error, kTolerance);
  if (is_pauli) pauli_ = std::move(pauli);
}

std::vector<double> Channel::transfer_matrix() const {
  const int dim = 1 << wires_, count = dim * dim;
  std::vector<double> transfer(size_t(count) * count);
  std::vector<Matrix> paulis;
  for (int p = 0; p < count; ++p) paulis.push_back(pauli_matrix(p, wires_));
  for (int q = 0; q < count; ++q) {
    Matrix image(dim);
    for (const Matrix& k : kraus_) {
      const Matrix term = k * paulis[q] * k.adjoint();
      for (size_t i = 0; i < image.data.size(); ++i) image.data[i] += term.data[i];
    }
    for (int p = 0; p < count; ++p) transfer[size_t(p) * count + q] = trace_of_product(paulis[p], image).real() / dim;
  }
  return transfer;
}

Channel bit_flip(double p) {
  require_probability(p, "bit_flip", "p");
  return named_pauli_channel("bit_flip", std::vector<double>{1 - p, p, 0, 0}, 1);
}

Channel phase_flip(double p) {
  require_probability(p, "phase_flip", "p");
  return named_pauli_channel("phase_flip", std::vector<double>{1 - p, 0, 0, p}, 1);
}

Channel bit_phase_flip(double p) {
  require_probability(p, "bit_phase_flip", "p");
  return named_pauli_channel("bit_phase_flip", std::vector<double>{1 - p, 0, p, 0}, 1);
}

Channel depolarizing(double p, int wires) {
  require_probability(p, "depolarizing", "p");
  require(wires >= 1 && wires <= 3, "depolarizing: expected 1..3 wires, got {}", wires);
  std::vector<double> probabilities(size_t(1) << 2 * wires, p / double(1 << 2 * wires));
  probabilities[0] += 1 - p;
  return named_pauli_channel("depolarizing", probabilities, wires);
}

Channel amplitude_damping(double gamma) {
  require_probability(gamma, "amplitude_damping", "gamma");
  return Channel("amplitude_damping", {real2(1, 0, 0, std::sqrt(1 - gamma)), real2(0, std::sqrt(gamma), 0, 0)});
}

Channel phase_damping(double lambda) {
  require_probability(lambda, "phase_damping", "lambda");
  return Channel("phase_damping", {real2(1, 0, 0, std::sqrt(1 - lambda)), real2(0, 0, 0, std::sqrt(lambda))});
}

Channel generalized_amplitude_damping(double gamma, double excited) {
  require_probability(gamma, "generalized_amplitude_damping", "gamma");
  require_probability(excited, "generalized_amplitude_damping", "excited");
  const double keep = std::sqrt(1 - gamma), move = std::sqrt(gamma);
  const double down = std::sqrt(1 - excited), up = std::sqrt(excited);
  return Channel("generalized_amplitude_damping", {real2(down, 0, 0, down * keep), real2(0, down * move, 0, 0),
                                                   real2(up * keep, 0, 0, up), real2(0, 0, up * move, 0)});
}

Channel thermal_relaxation(double t1, double t2, double time, double excited) {
  require(t1 > 0 && t2 > 0 && t2 <= 2 * t1,
          "thermal_relaxation: expected T1 > 0 and 0 < T2 <= 2 T1, got T1 {} and T2 {}", t1, t2);
  require(time >= 0, "thermal_relaxation: the time must not be negative, got {}", time);
  require_probability(excited, "thermal_relaxation", "excited");
  // Relaxation takes the coherence to exp(-t / 2 T1); dephasing takes it the rest of the way to exp(-t / T2).
  const double gamma = -std::expm1(-time / t1);
  const double lambda = std::max(0.0, -std::expm1(time / t1 - 2 * time / t2));
  const Channel relax = generalized_amplitude_damping(gamma, excited), dephase = phase_damping(lambda);
  std::vector<Matrix> kraus;
  for (const Matrix& second : dephase.kraus())
    for (const Matrix& first : relax.kraus()) {
      Matrix product = second * first;
      double size = 0;
      for (const Complex& element : product.data) size += std::norm(element);
      if (size > 0) kraus.push_back(std::move(product));
    }
  return Channel("thermal_relaxation", std::move(kraus));
}

Channel pauli_channel(std::span<const double> probabilities) {
  int wires = 0;
  while (wires <= kMaxChannelWires && size_t(1) << 2 * wires < probabilities.size()) ++wires;
  require(wires >= 1 && wires <= kMaxChannelWires && probabilities.size() == size_t(1) << 2 * wires,
          "pauli_channel: expected 4^k probabilities, got {}", probabilities.size());
  double sum = 0;
  for (const double p : probabilities) {
    require_probability(p, "pauli_channel", "each probability");
    sum += p;
  }
  require(std::abs(sum - 1) < 1e-6, "pauli_channel: the probabilities sum to {}, expected 1", sum);
  return named_pauli_channel("pauli_channel", probabilities, wires);
}

}  // namespace quanta
