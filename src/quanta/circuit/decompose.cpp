#include "quanta/circuit/decompose.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

constexpr Complex kI{0, 1};
constexpr double kPi = std::numbers::pi;
constexpr double kTiny = 1e-14;

// m G on columns p and q, G = [[c, -conj(s)], [s, c]].
void rotate_columns(Matrix& m, int p, int q, double c, Complex s) {
  for (int i = 0; i < m.dim; ++i) {
    const Complex a = m(i, p), b = m(i, q);
    m(i, p) = c * a + s * b;
    m(i, q) = c * b - std::conj(s) * a;
  }
}

// G^dagger m on rows p and q.
void rotate_rows(Matrix& m, int p, int q, double c, Complex s) {
  for (int j = 0; j < m.dim; ++j) {
    const Complex a = m(p, j), b = m(q, j);
    m(p, j) = c * a + std::conj(s) * b;
    m(q, j) = c * b - s * a;
  }
}

// Jacobi sweeps that turn a into a diagonal matrix; false if they got stuck.
bool jacobi(Matrix& a, Matrix& vectors, bool symmetric) {
  const int n = a.dim;
  for (int sweep = 0; sweep < 60; ++sweep) {
    double largest = 0;
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        if (std::abs(a(p, q)) + std::abs(a(q, p)) < 1e-15) continue;
        // Cardoso and Souloumiac's h(A); the best rotation is the dominant eigenvector of Re(h^dagger h), which is
        // Re(h) once h has the phase that makes its real part longest.
        const Complex h[3] = {a(p, p) - a(q, q), a(p, q) + a(q, p), symmetric ? 0 : kI * (a(q, p) - a(p, q))};
        const Complex phase = std::polar(1.0, -std::arg(h[0] * h[0] + h[1] * h[1] + h[2] * h[2]) / 2);
        double x = (h[0] * phase).real(), y = (h[1] * phase).real(), z = (h[2] * phase).real();
        const double length = std::sqrt(x * x + y * y + z * z) * (x < 0 ? -1 : 1);
        if (length == 0) continue;
        x /= length, y /= length, z /= length;
        const double c = std::sqrt((1 + x) / 2);
        const Complex s = Complex(y, -z) / (2 * c);
        if (std::abs(s) < 1e-16) continue;
        largest = std::max(largest, std::abs(s));
        rotate_columns(a, p, q, c, s);
        rotate_rows(a, p, q, c, s);
        rotate_columns(vectors, p, q, c, s);
      }
    }
    if (largest < 1e-15) break;
  }
  double rest = 0;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      if (i != j) rest = std::max(rest, std::abs(a(i, j)));
  return rest < 1e-13 * n;
}

// Columns [first, last) of x become orthogonal by rotations among them, which v undergoes too (one-sided Jacobi).
void orthogonalize(Matrix& x, Matrix& v, const std::vector<int>& columns, Matrix* also = nullptr) {
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool done = true;
    for (size_t i = 0; i < columns.size(); ++i) {
      for (size_t j = i + 1; j < columns.size(); ++j) {
        const int p = columns[i], q = columns[j];
        double alpha = 0, beta = 0;
        Complex gamma = 0;
        for (int k = 0; k < x.dim; ++k) {
          alpha += std::norm(x(k, p));
          beta += std::norm(x(k, q));
          gamma += std::conj(x(k, p)) * x(k, q);
        }
        const double size = std::abs(gamma);
        if (size <= 1e-16 * std::sqrt(alpha * beta) || size < 1e-40) continue;
        done = false;
        const double zeta = (beta - alpha) / (2 * size);
        const double t = (zeta < 0 ? -1 : 1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t);
        const Complex s = -c * t * std::conj(gamma) / size;
        rotate_columns(x, p, q, c, s);
        rotate_columns(v, p, q, c, s);
        if (also) rotate_columns(*also, p, q, c, s);
      }
    }
    if (done) return;
  }
}

// Normalizes the columns and returns their lengths; columns of length 0 are completed to a unitary matrix.
std::vector<double> normalize_columns(Matrix& m) {
  const int n = m.dim;
  std::vector<double> lengths(n);
  std::vector<bool> ready(n, false);
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < n; ++i) lengths[j] += std::norm(m(i, j));
    lengths[j] = std::sqrt(lengths[j]);
    if (lengths[j] < kTiny) continue;
    for (int i = 0; i < n; ++i) m(i, j) /= lengths[j];
    ready[j] = true;
  }
  for (int j = 0; j < n; ++j) {
    for (int axis = 0; axis < n && !ready[j]; ++axis) {
      std::vector<Complex> v(n);
      v[axis] = 1;
      for (int pass = 0; pass < 2; ++pass) {  // the second pass removes the first one's rounding
        for (int k = 0; k < n; ++k) {
          if (!ready[k]) continue;
          Complex overlap = 0;
          for (int i = 0; i < n; ++i) overlap += std::conj(m(i, k)) * v[i];
          for (int i = 0; i < n; ++i) v[i] -= overlap * m(i, k);
        }
      }
      double length = 0;
      for (const Complex& element : v) length += std::norm(element);
      if (length < 0.5 / n) continue;
      for (int i = 0; i < n; ++i) m(i, j) = v[i] / std::sqrt(length);
      ready[j] = true;
    }
  }
  return lengths;
}

Matrix block(const Matrix& m, int row, int column) {
  Matrix result(m.dim / 2);
  for (int i = 0; i < result.dim; ++i)
    for (int j = 0; j < result.dim; ++j) result(i, j) = m(row * result.dim + i, column * result.dim + j);
  return result;
}

// m = high x low up to rounding, for a 4 x 4 product.
std::pair<Matrix, Matrix> split(const Matrix& m) {
  int row = 0, column = 0;  // of the largest element
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      if (std::abs(m(i, j)) > std::abs(m(row, column))) row = i, column = j;
  Matrix high(2), low(2);
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      low(i, j) = m((row & 2) | i, (column & 2) | j);
      high(i, j) = m((row & 1) | i << 1, (column & 1) | j << 1);
    }
  }
  // Each is a unitary matrix times a number: low's length goes, high takes the element's value.
  double norm = 0;
  for (const Complex& element : low.data) norm += std::norm(element);
  for (Complex& element : low.data) element /= std::sqrt(norm / 2);
  const Complex pivot = low(row & 1, column & 1);
  for (Complex& element : high.data) element /= pivot;
  return {high, low};
}

Matrix gate(GateKind kind, std::vector<double> angles = {}) {
  return gate_matrix(kind, angles);
}

}  // namespace

Euler euler(const Matrix& m) {
  const double c = std::abs(m(0, 0)), s = std::abs(m(1, 0));
  Euler e{2 * std::atan2(s, c), 0, 0, 0};
  if (c < kTiny) {
    e.phase = std::arg(m(1, 0));
    e.lambda = std::arg(-m(0, 1)) - e.phase;
  } else if (s < kTiny) {
    e.phase = std::arg(m(0, 0));
    e.lambda = std::arg(m(1, 1)) - e.phase;
  } else {
    // The phases of small elements are poor; each branch uses those of the large ones for what matters.
    e.phase = std::arg(m(0, 0));
    e.phi = std::arg(m(1, 0)) - e.phase;
    e.lambda = c > s ? std::arg(m(1, 1)) - e.phase - e.phi : std::arg(-m(0, 1)) - e.phase;
  }
  return e;
}

Eigen diagonalize(const Matrix& normal) {
  const int n = normal.dim;
  Matrix a = normal, vectors = Matrix::identity(n);
  bool symmetric = true;  // exactly: then rounding must not make the vectors complex
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < i; ++j) symmetric &= a(i, j) == a(j, i);
  // From a few starts (as a cyclic permutation) no single rotation makes progress; a random basis is none of them.
  Random random(n);
  for (int attempt = 0; !jacobi(a, vectors, symmetric); ++attempt) {
    require(attempt < 20, "a {} x {} matrix cannot be diagonalized: expected a unitary one", n, n);
    a = normal;
    vectors = Matrix::identity(n);
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        const double angle = random.uniform(0, 2 * kPi);
        rotate_columns(a, p, q, std::cos(angle), std::sin(angle));
        rotate_rows(a, p, q, std::cos(angle), std::sin(angle));
        rotate_columns(vectors, p, q, std::cos(angle), std::sin(angle));
      }
    }
  }
  Eigen result{std::move(vectors), {}};
  for (int i = 0; i < n; ++i) result.values.push_back(a(i, i));
  return result;
}

CosineSine cosine_sine(const Matrix& u) {
  const int n = u.dim / 2;
  // u00 v = l0 C and u10 v = l1 S with v = r0^dagger. Columns with a large cosine are made orthogonal in u10, where
  // they are small and so determined to a small error; their directions in u00 are well conditioned anyhow.
  Matrix v = Matrix::identity(n), l0 = block(u, 0, 0), l1 = block(u, 1, 0);
  std::vector<int> columns(n);
  for (int j = 0; j < n; ++j) columns[j] = j;
  orthogonalize(l0, v, columns);
  l1 = l1 * v;
  const auto length = [](const Matrix& m, int column) {
    double sum = 0;
    for (int i = 0; i < m.dim; ++i) sum += std::norm(m(i, column));
    return std::sqrt(sum);
  };
  std::erase_if(columns, [&](int j) { return length(l0, j) < std::sqrt(0.5); });
  orthogonalize(l1, v, columns, &l0);

  CosineSine result;
  const std::vector<double> c = normalize_columns(l0), s = normalize_columns(l1);
  for (int j = 0; j < n; ++j) result.angles.push_back(std::atan2(s[j], c[j]));
  result.r0 = v.adjoint();
  const Matrix from0 = l0.adjoint() * block(u, 0, 1), from1 = l1.adjoint() * block(u, 1, 1);
  result.r1 = Matrix(n);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      result.r1(i, j) = std::cos(result.angles[i]) * from1(i, j) - std::sin(result.angles[i]) * from0(i, j);
  result.l0 = std::move(l0);
  result.l1 = std::move(l1);
  return result;
}

Cartan cartan(const Matrix& u) {
  require(u.dim == 4, "cartan: expected a 4 x 4 matrix, got dimension {}", u.dim);
  // In the magic basis local gates are real and the interaction diagonal (Kraus and Cirac, PRA 63, 062309, 2001).
  const double r = std::sqrt(0.5);
  const Matrix magic(4, {r, 0, 0, kI * r, 0, kI * r, r, 0, 0, kI * r, -r, 0, r, 0, 0, -kI * r});
  const Matrix m = magic.adjoint() * u * magic;
  Matrix transposed(4);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) transposed(i, j) = m(j, i);
  Matrix square = transposed * m;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < i; ++j) square(i, j) = square(j, i) = (square(i, j) + square(j, i)) / 2.0;
  Eigen eigen = diagonalize(square);
  const auto determinant_sign = [](const Matrix& p) {  // of a real orthogonal matrix, by elimination
    std::array<std::array<double, 4>, 4> a;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) a[i][j] = p(i, j).real();
    double sign = 1;
    for (int k = 0; k < 4; ++k) {
      int pivot = k;
      for (int i = k; i < 4; ++i)
        if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
      if (pivot != k) std::swap(a[pivot], a[k]), sign = -sign;
      if (a[k][k] < 0) sign = -sign;
      for (int i = k + 1; i < 4; ++i)
        for (int j = 3; j >= k; --j) a[i][j] -= a[i][k] / a[k][k] * a[k][j];
    }
    return sign;
  };
  if (determinant_sign(eigen.vectors) < 0)
    for (int i = 0; i < 4; ++i) eigen.vectors(i, 0) = -eigen.vectors(i, 0);
  // m = left diag(e^{i d}) vectors^T with a real left; its determinant's sign picks the branch of one root.
  std::array<double, 4> d;
  for (int j = 0; j < 4; ++j) d[j] = std::arg(eigen.values[j]) / 2;
  const auto left = [&] {
    Matrix result = m * eigen.vectors;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) result(i, j) *= std::polar(1.0, -d[j]);
    return result;
  };
  if (determinant_sign(left()) < 0) d[0] += kPi;

  // The columns of `magic` are eigenvectors of XX, YY and ZZ with these signs.
  Cartan result;
  result.phase = (d[0] + d[1] + d[2] + d[3]) / 4;
  result.weyl = {(d[0] + d[1] - d[2] - d[3]) / 4, (-d[0] + d[1] - d[2] + d[3]) / 4, (d[0] - d[1] - d[2] + d[3]) / 4};
  std::tie(result.after[1], result.after[0]) = split(magic * left() * magic.adjoint());
  std::tie(result.before[1], result.before[0]) = split(magic * eigen.vectors.adjoint() * magic.adjoint());

  // Into the Weyl chamber by local gates.
  auto& w = result.weyl;
  const Matrix paulis[3] = {gate(GateKind::X), gate(GateKind::Y), gate(GateKind::Z)};
  const auto conjugate = [&](const Matrix& g1, const Matrix& g0) {  // N = (g^dagger) N' (g)
    result.after[1] = result.after[1] * g1.adjoint();
    result.after[0] = result.after[0] * g0.adjoint();
    result.before[1] = g1 * result.before[1];
    result.before[0] = g0 * result.before[0];
  };
  const auto shift = [&](int axis, double halves) {  // w[axis] -= halves * pi/2, as exp(i pi/2 PP) = i PP
    w[axis] -= halves * kPi / 2;
    result.phase += halves * kPi / 2;
    if (std::abs(std::fmod(halves, 2)) < 0.5) return;
    for (int k = 0; k < 2; ++k) result.after[k] = result.after[k] * paulis[axis];
  };
  const auto negate = [&](int a, int b) {  // the signs of two coordinates
    conjugate(paulis[3 - a - b], Matrix::identity(2));
    w[a] = -w[a];
    w[b] = -w[b];
  };
  const auto exchange = [&](int a, int b) {  // by a quarter turn about the third axis
    const GateKind kinds[3] = {GateKind::RX, GateKind::RY, GateKind::RZ};
    const Matrix quarter = gate(kinds[3 - a - b], {kPi / 2});
    conjugate(quarter, quarter);
    std::swap(w[a], w[b]);
  };
  const auto sort = [&] {
    if (std::abs(w[0]) < std::abs(w[1])) exchange(0, 1);
    if (std::abs(w[1]) < std::abs(w[2])) exchange(1, 2);
    if (std::abs(w[0]) < std::abs(w[1])) exchange(0, 1);
    if (w[0] < 0) negate(0, 2);
    if (w[1] < 0) negate(1, 2);
  };
  constexpr double kEdge = 1e-12;  // a coordinate that rounding puts beyond the edge counts as on it
  for (int axis = 0; axis < 3; ++axis) shift(axis, std::round(w[axis] / (kPi / 2)));
  sort();
  if (w[0] > kPi / 4 - kEdge && w[2] < 0) {  // x = pi/4: the sign of z is free, x becomes pi/2 - x
    shift(0, 1);
    negate(0, 2);
  }
  return result;
}

}  // namespace quanta
