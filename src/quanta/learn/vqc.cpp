#include "quanta/learn/vqc.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <memory>
#include <numbers>
#include <random>

#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

using Complex = std::complex<double>;
constexpr double kClip = 1e-12;

/// A Hermitian matrix's independent numbers, [4^n]: the diagonal, the real parts above it, the imaginary parts above
/// it. Those of states are doubled off the diagonal, so a state's dot product with an observable is the expectation
/// value.
template <class Element>
void pack(int64_t size, double off_diagonal, double* out, Element element) {
  double *re = out + size, *im = re + size * (size - 1) / 2;
  for (int64_t a = 0; a < size; ++a) {
    *out++ = element(a, a).real();
    for (int64_t b = a + 1; b < size; ++b) {
      const Complex value = off_diagonal * element(a, b);
      *re++ = value.real();
      *im++ = value.imag();
    }
  }
}

/// Rows as states, packed; imaginary parts left out if there are none.
Samples pack_states(const Circuit& map, const Samples& x) {
  const int64_t size = int64_t{1} << map.wires();
  std::vector<Complex> states(size_t(x.rows * size));
  Simulator<double>(map).states(x.rows, nullptr, x.values.data(), states.data());
  const bool real = std::ranges::all_of(states, [](const Complex& a) { return a.imag() == 0; });
  Samples result(x.rows, real ? size * (size + 1) / 2 : size * size);
  std::vector<double> packed(size_t(size * size));
  for (int64_t i = 0; i < x.rows; ++i) {
    const Complex* psi = states.data() + i * size;
    pack(size, 2, packed.data(), [&](int64_t a, int64_t b) { return psi[a] * std::conj(psi[b]); });
    std::copy_n(packed.begin(), result.columns, result.row(i));
  }
  return result;
}

/// The ansatz and its classes' observables.
class Observables {
 public:
  Observables(const Circuit& ansatz, int classes) : size_(int64_t{1} << ansatz.wires()), classes_(classes) {
    Circuit circuit(ansatz.wires());
    circuit.amplitude_encoding().append(ansatz);
    simulator_ = std::make_unique<Simulator<double>>(circuit);
    basis_.assign(size_t(size_ * size_), 0);
    for (int64_t i = 0; i < size_; ++i) basis_[i * size_ + i] = 1;
    for (int64_t i = 0; i < size_; ++i) label_.push_back(class_of_state(uint64_t(i), ansatz.wires(), classes));
  }

  /// Packed, [classes, size^2].
  Samples at(const std::vector<double>& theta) const {
    std::vector<Complex> columns(basis_.size());  // columns[a, s] = <s|U|a>
    simulator_->states(size_, theta.data(), basis_.data(), columns.data());
    Samples result(classes_, size_ * size_);
    std::vector<Complex> matrix(size_t(classes_ * size_ * size_));
    for (int64_t a = 0; a < size_; ++a)
      for (int64_t b = a; b < size_; ++b)
        for (int64_t s = 0; s < size_; ++s) {
          // Of psi_a conj(psi_b) the coefficient is U_sa conj(U_sb).
          const Complex u = columns[a * size_ + s], v = columns[b * size_ + s];
          matrix[(label_[s] * size_ + a) * size_ + b] +=
              Complex(u.real() * v.real() + u.imag() * v.imag(), u.real() * v.imag() - u.imag() * v.real());
        }
    for (int k = 0; k < classes_; ++k)
      pack(size_, 1, result.row(k), [&](int64_t a, int64_t b) { return matrix[(k * size_ + a) * size_ + b]; });
    return result;
  }

  /// Class probabilities of packed states.
  Samples probabilities(const Samples& states, const std::vector<double>& theta) const {
    const Samples observables = at(theta);
    Samples result(states.rows, classes_);
    parallel_for(states.rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double rest = 1;
        for (int k = 1; k < classes_; ++k) {
          const double *rho = states.row(i), *m = observables.row(k);
          double sums[8] = {};
          int64_t j = 0;
          for (; j + 8 <= states.columns; j += 8)
            for (int lane = 0; lane < 8; ++lane) sums[lane] += rho[j + lane] * m[j + lane];
          for (; j < states.columns; ++j) sums[0] += rho[j] * m[j];
          double p = 0;
          for (const double sum : sums) p += sum;
          rest -= result(i, k) = p;
        }
        result(i, 0) = rest;
      }
    });
    return result;
  }

 private:
  int64_t size_;
  int classes_;
  std::unique_ptr<Simulator<double>> simulator_;
  std::vector<double> basis_;
  std::vector<int> label_;
};

double cross_entropy(const Samples& p, const Labels& y) {
  double sum = 0;
  for (int64_t i = 0; i < p.rows; ++i) sum -= std::log(std::clamp(p(i, y[i]), kClip, 1 - kClip));
  return sum / double(p.rows);
}

/// Replaces probabilities by frequencies of so many draws.
void draw(Samples& p, int64_t shots, const Random& random) {
  for (int64_t i = 0; i < p.rows; ++i) {
    Random row = random.split(uint64_t(i));
    int64_t left = shots;
    double rest = 1;
    for (int64_t k = 0; k < p.columns; ++k) {
      const double share = rest > 0 ? std::clamp(p(i, k) / rest, 0.0, 1.0) : 0;
      rest -= p(i, k);
      const int64_t count = k + 1 == p.columns ? left : std::binomial_distribution<int64_t>(left, share)(row);
      left -= count;
      p(i, k) = double(count) / double(shots);
    }
  }
}

std::vector<double> list(std::span<const double> x) {
  return {x.begin(), x.end()};
}

}  // namespace

int class_of_state(uint64_t state, int qubits, int classes) {
  const auto parity = [](uint64_t bits) { return std::popcount(bits) % 2; };
  if (classes == 2) return qubits % 2 ? std::popcount(state) > qubits / 2 : parity(state);
  if (classes == 3) return parity(state >> (qubits / 2)) + parity(state & ((uint64_t{1} << (qubits / 2)) - 1));
  const uint64_t step = (uint64_t{1} << qubits) / uint64_t(classes);
  require(step > 0, "VQC: {} qubits cannot tell {} classes apart", qubits, classes);
  return int(std::min(state / step, uint64_t(classes - 1)));
}

VariationalQuantumClassifier::VariationalQuantumClassifier(Circuit map, Circuit ansatz, VqcOptions options)
    : map_(std::move(map)), ansatz_(std::move(ansatz)), options_(std::move(options)) {
  require(map_.wires() == ansatz_.wires() && map_.wires() <= 8,
          "VQC: the map's {} and the ansatz' {} qubits must be the same, at most 8", map_.wires(), ansatz_.wires());
  require(map_.weights() == 0 && map_.inputs() > 0, "VQC: the feature map must have inputs and no weights");
  require(ansatz_.inputs() == 0 && ansatz_.weights() > 0, "VQC: the ansatz must have weights and no inputs");
  require(options_.shots >= 0, "VQC: expected 0 or more shots, got {}", options_.shots);
  require(options_.start.empty() || int(options_.start.size()) == parameters(),
          "VQC: expected {} angles to start from, got {}", parameters(), options_.start.size());
}

const Minimum& VariationalQuantumClassifier::minimum() const {
  require(minimum_.has_value(), "VQC: call fit() first");
  return *minimum_;
}

Samples VariationalQuantumClassifier::probabilities(const Samples& x, const std::vector<double>& theta,
                                                    int classes) const {
  require(x.columns == map_.inputs(), "VQC: the feature map takes {} features, got {}", map_.inputs(), x.columns);
  require(int(theta.size()) == parameters(), "VQC: expected {} angles, got {}", parameters(), theta.size());
  return Observables(ansatz_, classes).probabilities(pack_states(map_, x), theta);
}

Objective VariationalQuantumClassifier::objective(const Samples& x, const Labels& y) const {
  require(x.columns == map_.inputs(), "VQC: the feature map takes {} features, got {}", map_.inputs(), x.columns);
  const auto states = std::make_shared<Samples>(pack_states(map_, x));
  const auto observables = std::make_shared<Observables>(ansatz_, count_classes(y));
  const auto evaluation = std::make_shared<uint64_t>(0);
  const auto probabilities = [=, shots = options_.shots, seed = options_.seed](const std::vector<double>& theta) {
    Samples p = observables->probabilities(*states, theta);
    if (shots > 0) draw(p, shots, Random(seed).split("shots").split((*evaluation)++));
    return p;
  };
  return Objective(
      Objective::Value([=](std::span<const double> theta) { return cross_entropy(probabilities(list(theta)), y); }),
      Objective::Gradient([=](std::span<const double> at, std::span<double> gradient) {
        std::vector<double> theta = list(at);
        const Samples p = probabilities(theta);
        // d loss / d p(class of i) = -1 / (n p); the clipped are flat.
        std::vector<double> slope(p.rows);
        for (int64_t i = 0; i < p.rows; ++i) {
          const double right = p(i, y[i]);
          slope[i] = right > kClip && right < 1 - kClip ? -1 / (double(p.rows) * right) : 0;
        }
        for (size_t j = 0; j < theta.size(); ++j) {
          gradient[j] = 0;
          for (const double sign : {1.0, -1.0}) {
            theta[j] = at[j] + sign * std::numbers::pi / 2;
            const Samples shifted = probabilities(theta);
            for (int64_t i = 0; i < p.rows; ++i) gradient[j] += sign * slope[i] * shifted(i, y[i]) / 2;
          }
          theta[j] = at[j];
        }
        return cross_entropy(p, y);
      }));
}

void VariationalQuantumClassifier::learn(const Samples& x, const Labels& y) {
  std::vector<double> start = options_.start;
  for (Random random = Random(options_.seed).split("theta"); int(start.size()) < parameters();)
    start.push_back(random.normal());
  minimum_ = minimize(objective(x, y), std::move(start), options_.optimizer, options_.callback);
}

Samples VariationalQuantumClassifier::score(const Samples& x) const {
  Samples p = probabilities(x, minimum_->x, classes());
  if (options_.shots > 0) draw(p, options_.shots, Random(options_.seed).split("scores"));
  return p;
}

}  // namespace quanta
