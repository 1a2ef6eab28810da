#include "quanta/variational/ground_energy.h"

#include <bit>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using Vector = std::vector<Complex>;

// factor |b ^ flip> (-1)^popcount(b & sign) for |b>.
struct Mask {
  Complex factor;
  size_t flip = 0;
  size_t sign = 0;
};

std::vector<Mask> masks(const PauliSum& sum) {
  std::vector<Mask> result;
  for (const auto& [coefficient, pauli] : sum.terms) {
    Mask mask{coefficient};
    for (const auto& [wire, letter] : pauli.factors) {
      const size_t bit = size_t{1} << wire;
      if (letter != 'Z') mask.flip |= bit;
      if (letter != 'X') mask.sign |= bit;
      if (letter == 'Y') mask.factor *= Complex(0, 1);
    }
    result.push_back(mask);
  }
  return result;
}

Vector product(const std::vector<Mask>& masks, const Vector& x) {
  Vector y(x.size());
  parallel_for(int64_t(x.size()), 4096, [&](int64_t begin, int64_t end) {
    for (const Mask& mask : masks)
      for (int64_t i = begin; i < end; ++i) {
        const size_t from = size_t(i) ^ mask.flip;
        const Complex term = mask.factor * x[from];
        y[size_t(i)] += std::popcount(from & mask.sign) % 2 ? -term : term;
      }
  });
  return y;
}

Complex inner(const Vector& a, const Vector& b) {
  Complex sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::conj(a[i]) * b[i];
  return sum;
}

void subtract(Vector& a, Complex factor, const Vector& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= factor * b[i];
}

void normalize(Vector& a) {
  const double norm = std::sqrt(inner(a, a).real());
  for (Complex& value : a) value /= norm;
}

// The least eigenvalue of a symmetric tridiagonal matrix in [low, high], by the sign changes of its Sturm sequence.
double least_eigenvalue(const std::vector<double>& diagonal, const std::vector<double>& beside, double low,
                        double high) {
  const auto below = [&](double x) {
    double pivot = 1;
    for (size_t i = 0; i < diagonal.size(); ++i) {
      pivot = diagonal[i] - x - (i ? beside[i - 1] * beside[i - 1] / pivot : 0);
      if (pivot < 0) return true;
      if (pivot == 0) pivot = 1e-300;
    }
    return false;
  };
  for (int i = 0; i < 100; ++i) (below((low + high) / 2) ? high : low) = (low + high) / 2;
  return (low + high) / 2;
}

}  // namespace

double ground_energy(const PauliSum& hamiltonian, int wires) {
  if (wires == 0) wires = hamiltonian.max_wire() + 1;
  require(wires <= 16, "ground_energy: {} qubits, expected at most 16", wires);
  require(hamiltonian.max_wire() < wires, "ground_energy: the observable names wire {}, there are {}",
          hamiltonian.max_wire(), wires);
  const std::vector<Mask> terms = masks(hamiltonian);
  double scale = 1e-300;
  for (const auto& term : hamiltonian.terms) scale += std::abs(term.coefficient);

  const size_t dim = size_t{1} << wires;
  std::vector<Vector> basis(1, Vector(dim));
  Random random(0);
  for (Complex& value : basis[0]) value = {random.normal(), random.normal()};
  normalize(basis[0]);
  std::vector<double> diagonal, beside;
  double energy = 0;
  for (int settled = 0;;) {
    Vector next = product(terms, basis.back());
    diagonal.push_back(inner(basis.back(), next).real());
    const double before = energy;
    energy = least_eigenvalue(diagonal, beside, -scale, scale);
    settled = std::abs(energy - before) < 1e-14 * scale ? settled + 1 : 0;
    if (settled == 5 || basis.size() == dim || basis.size() == 300) return energy;
    // Twice, as rounding brings the earlier vectors back.
    for (int pass = 0; pass < 2; ++pass)
      for (const Vector& vector : basis) subtract(next, inner(vector, next), vector);
    const double norm = std::sqrt(inner(next, next).real());
    if (norm < 1e-12 * scale) return energy;
    beside.push_back(norm);
    normalize(next);
    basis.push_back(std::move(next));
  }
}

}  // namespace quanta
