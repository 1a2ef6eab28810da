#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <string_view>
#include <utility>
#include <vector>

#include "quanta/circuit/gate.h"
#include "quanta/core/random.h"

/// Deliberately naive linear algebra, the judge of the fast code. For tests only: it shares nothing with what it judges
/// but the type Matrix.
namespace quanta::naive {

using State = std::vector<Complex>;

inline Matrix add(Matrix a, const Matrix& b, Complex factor = 1) {
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] += factor * b.data[i];
  return a;
}

inline Matrix scale(Matrix a, Complex factor) {
  for (Complex& element : a.data) element *= factor;
  return a;
}

inline Matrix one(int dim) {
  Matrix result(dim);
  for (int i = 0; i < dim; ++i) result(i, i) = 1;
  return result;
}

inline Matrix multiply(const Matrix& a, const Matrix& b) {
  Matrix result(a.dim);
  for (int i = 0; i < a.dim; ++i)
    for (int j = 0; j < a.dim; ++j)
      for (int k = 0; k < a.dim; ++k) result(i, j) += a(i, k) * b(k, j);
  return result;
}

inline Matrix pauli(char letter) {
  const Complex i(0, 1);
  switch (letter) {
    case 'X':
      return Matrix(2, {0, 1, 1, 0});
    case 'Y':
      return Matrix(2, {0, -i, i, 0});
    case 'Z':
      return Matrix(2, {1, 0, 0, -1});
    default:
      return one(2);
  }
}

/// Kronecker product of Pauli matrices, the first letter on the LEAST significant bit.
inline Matrix pauli(std::string_view letters) {
  Matrix result(1);
  result(0, 0) = 1;
  for (const char letter : letters) {
    const Matrix factor = pauli(letter);
    Matrix next(2 * result.dim);
    for (int i = 0; i < next.dim; ++i)
      for (int j = 0; j < next.dim; ++j)
        next(i, j) = factor(i / result.dim, j / result.dim) * result(i % result.dim, j % result.dim);
    result = std::move(next);
  }
  return result;
}

/// exp(factor * a) by its Taylor series, with scaling and squaring.
inline Matrix exp(const Matrix& a, Complex factor) {
  double norm = 0;
  for (const Complex& element : a.data) norm = std::max(norm, std::abs(factor * element) * a.dim);
  const int squarings = std::max(0, int(std::ceil(std::log2(norm + 1e-300))) + 2);
  const Matrix x = scale(a, factor * std::ldexp(1.0, -squarings));
  Matrix result = one(a.dim), term = one(a.dim);
  for (int k = 1; k <= 20; ++k) {
    term = scale(multiply(term, x), 1.0 / k);
    result = add(result, term);
  }
  for (int k = 0; k < squarings; ++k) result = multiply(result, result);
  return result;
}

/// `small` on `wires` (wires[0] its least significant bit) of n qubits where all `controls` are 1, as a 2^n matrix.
inline Matrix embed(const Matrix& small, const std::vector<int>& wires, const std::vector<int>& controls, int n) {
  Matrix result(1 << n);
  const auto local = [&](int index) {
    int bits = 0;
    for (size_t k = 0; k < wires.size(); ++k) bits |= (index >> wires[k] & 1) << k;
    return bits;
  };
  int own = 0;
  for (const int q : wires) own |= 1 << q;
  for (int row = 0; row < result.dim; ++row) {
    for (int column = 0; column < result.dim; ++column) {
      if ((row & ~own) != (column & ~own)) continue;
      const bool on = std::ranges::all_of(controls, [&](int q) { return row >> q & 1; });
      result(row, column) = on ? small(local(row), local(column)) : Complex(row == column);
    }
  }
  return result;
}

/// The same, applied to a state of any size.
inline void apply(const Matrix& small, const std::vector<int>& wires, const std::vector<int>& controls, State& state) {
  State result(state.size());
  for (size_t row = 0; row < state.size(); ++row) {
    if (!std::ranges::all_of(controls, [&](int q) { return row >> q & 1; })) {
      result[row] = state[row];
      continue;
    }
    size_t rest = row;
    int r = 0;
    for (size_t k = 0; k < wires.size(); ++k) {
      r |= int(row >> wires[k] & 1) << k;
      rest &= ~(size_t{1} << wires[k]);
    }
    for (int c = 0; c < small.dim; ++c) {
      size_t column = rest;
      for (size_t k = 0; k < wires.size(); ++k) column |= size_t(c >> k & 1) << wires[k];
      result[row] += small(r, c) * state[column];
    }
  }
  state = std::move(result);
}

inline State operator_times(const Matrix& a, const State& x) {
  State result(x.size());
  for (int i = 0; i < a.dim; ++i)
    for (int j = 0; j < a.dim; ++j) result[i] += a(i, j) * x[j];
  return result;
}

inline Complex inner(const State& a, const State& b) {
  Complex sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::conj(a[i]) * b[i];
  return sum;
}

/// Largest |a - b|; infinite if the sizes differ or a number is not finite.
inline double distance(const std::vector<Complex>& a, const std::vector<Complex>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= largest)) largest = std::isnan(d) ? INFINITY : d;
  }
  return largest;
}
inline double distance(const Matrix& a, const Matrix& b) {
  return distance(a.data, b.data);
}

/// A random unitary: Gram-Schmidt on a complex Gaussian matrix (Haar distributed).
inline Matrix random_unitary(int dim, Random& random) {
  std::vector<State> columns;
  while (int(columns.size()) < dim) {
    State v(dim);
    for (Complex& element : v) element = {random.normal(), random.normal()};
    for (int pass = 0; pass < 2; ++pass) {  // the second pass removes the first one's rounding
      for (const State& u : columns) {
        const Complex overlap = inner(u, v);
        for (int i = 0; i < dim; ++i) v[i] -= overlap * u[i];
      }
    }
    const double norm = std::sqrt(inner(v, v).real());
    for (Complex& element : v) element /= norm;
    columns.push_back(std::move(v));
  }
  Matrix result(dim);
  for (int i = 0; i < dim; ++i)
    for (int j = 0; j < dim; ++j) result(i, j) = columns[j][i];
  return result;
}

}  // namespace quanta::naive
