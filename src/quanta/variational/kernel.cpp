#include "quanta/variational/kernel.h"

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

size_t rows(const Circuit& circuit, const std::vector<double>& x, const std::vector<double>& weights) {
  const size_t inputs = size_t(circuit.inputs());
  require(inputs > 0 && !x.empty() && x.size() % inputs == 0,
          "kernel: {} numbers, expected rows of the circuit's {} inputs", x.size(), inputs);
  require(int(weights.size()) == circuit.weights(), "kernel: {} weights, the circuit has {}", weights.size(),
          circuit.weights());
  return x.size() / inputs;
}

// Amplitudes [2^wires][rows], so that the sums below run over samples side by side.
struct States {
  size_t count;
  std::vector<double> real, imag;
};

States states(const Circuit& circuit, const std::vector<double>& x, const std::vector<double>& weights) {
  const size_t count = rows(circuit, x, weights);
  const size_t dim = size_t{1} << circuit.wires();
  std::vector<Complex> amplitudes(count * dim);
  Simulator<double>(circuit).states(int64_t(count), weights.data(), x.data(), amplitudes.data());
  States result{count, std::vector<double>(count * dim), std::vector<double>(count * dim)};
  for (size_t row = 0; row < count; ++row)
    for (size_t i = 0; i < dim; ++i) {
      result.real[i * count + row] = amplitudes[row * dim + i].real();
      result.imag[i * count + row] = amplitudes[row * dim + i].imag();
    }
  return result;
}

}  // namespace

std::vector<double> fidelity_kernel(const Circuit& circuit, const std::vector<double>& x, const std::vector<double>& z,
                                    const std::vector<double>& weights) {
  const States a = states(circuit, x, weights);
  const States other = z.empty() ? States{} : states(circuit, z, weights);
  const States& b = z.empty() ? a : other;
  const size_t dim = a.real.size() / a.count;
  std::vector<double> gram(a.count * b.count);
  constexpr size_t kTile = 512;  // the sums of a row's tile stay in the cache
  parallel_for(int64_t(a.count), 1, [&](int64_t begin, int64_t end) {
    std::vector<double> real(kTile), imag(kTile);
    for (size_t first = 0; first < b.count; first += kTile) {
      const size_t tile = std::min(kTile, b.count - first);
      for (size_t row = size_t(begin); row < size_t(end); ++row) {
        // The Gram matrix of one set is symmetric.
        if (z.empty() && first + tile <= row) continue;
        std::fill(real.begin(), real.end(), 0.0);
        std::fill(imag.begin(), imag.end(), 0.0);
        for (size_t i = 0; i < dim; ++i) {
          const double re = a.real[i * a.count + row], im = a.imag[i * a.count + row];
          const double* bre = &b.real[i * b.count + first];
          const double* bim = &b.imag[i * b.count + first];
          for (size_t k = 0; k < tile; ++k) {
            real[k] += re * bre[k] + im * bim[k];
            imag[k] += re * bim[k] - im * bre[k];
          }
        }
        for (size_t k = 0; k < tile; ++k) gram[row * b.count + first + k] = real[k] * real[k] + imag[k] * imag[k];
      }
    }
  });
  if (z.empty())
    for (size_t row = 0; row < a.count; ++row)
      for (size_t column = 0; column < row; ++column) gram[row * a.count + column] = gram[column * a.count + row];
  return gram;
}

std::vector<double> projected_kernel(const Circuit& circuit, double gamma, const std::vector<double>& x,
                                     const std::vector<double>& z, const std::vector<double>& weights) {
  require(gamma > 0, "projected kernel: gamma is {}, expected a positive number", gamma);
  std::vector<PauliSum> observables;
  for (int q = 0; q < circuit.wires(); ++q) observables.insert(observables.end(), {X(q), Y(q), Z(q)});
  const Simulator<double> simulator(circuit, observables);
  const size_t width = observables.size();
  const auto bloch = [&](const std::vector<double>& samples) {
    const size_t count = rows(circuit, samples, weights);
    std::vector<double> values(count * width);
    simulator.expectations(int64_t(count), weights.data(), samples.data(), values.data());
    return values;
  };
  const std::vector<double> a = bloch(x), other = z.empty() ? std::vector<double>() : bloch(z);
  const std::vector<double>& b = z.empty() ? a : other;
  const size_t columns = b.size() / width;
  std::vector<double> gram(a.size() / width * columns);
  for (size_t i = 0; i < gram.size(); ++i) {
    double square = 0;  // |rho - rho'|_F^2 is half the squared distance of the Bloch vectors
    for (size_t k = 0; k < width; ++k) {
      const double difference = a[i / columns * width + k] - b[i % columns * width + k];
      square += difference * difference / 2;
    }
    gram[i] = std::exp(-gamma * square);
  }
  return gram;
}

}  // namespace quanta
