#include "quanta/learn/quantum_features.h"

#include <algorithm>
#include <cmath>

#include "quanta/circuit/encodings.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

Samples map_magnitudes(const QuantumFeatureMap& map, const Samples& x, double (*f)(const std::complex<double>&)) {
  const auto states = map.states(x);
  Samples result(x.rows, int64_t{1} << map.qubits());
  for (size_t i = 0; i < states.size(); ++i) result.values[i] = f(states[i]);
  return result;
}

}  // namespace

QuantumFeatureMap::QuantumFeatureMap(Kind kind, int qubits) : kind_(kind), qubits_(qubits) {
  require(qubits >= 1 && qubits <= 12, "feature map: expected 1..12 qubits, got {}", qubits);
}

Circuit QuantumFeatureMap::circuit() const {
  Circuit circuit(qubits_);
  if (kind_ == Kind::Zz) return zz_feature_map(circuit);
  return angle_encoding(circuit, kind_ == Kind::Rx ? 'X' : 'Y');
}

std::vector<std::complex<double>> QuantumFeatureMap::states(const Samples& x) const {
  require(x.columns >= qubits_, "feature map: {} qubits need as many columns, got {}", qubits_, x.columns);
  Samples inputs(x.rows, qubits_);
  for (int64_t i = 0; i < x.rows; ++i) std::copy_n(x.row(i), qubits_, inputs.row(i));
  std::vector<std::complex<double>> states(size_t(x.rows) << qubits_);
  Simulator<double>(circuit()).states(x.rows, nullptr, inputs.values.data(), states.data());
  return states;
}

Samples QuantumFeatureMap::amplitudes(const Samples& x) const {
  return map_magnitudes(*this, x, [](const std::complex<double>& a) { return std::abs(a); });
}

Samples QuantumFeatureMap::probabilities(const Samples& x) const {
  return map_magnitudes(*this, x, [](const std::complex<double>& a) { return std::norm(a); });
}

Samples QuantumFeatureMap::kernel(const Samples& a, const Samples& b) const {
  Samples result(a.rows, b.rows, 1);
  if (kind_ != Kind::Zz) {
    require(a.columns >= qubits_ && b.columns >= qubits_, "feature map: {} qubits need as many columns, got {} and {}",
            qubits_, a.columns, b.columns);
    for (int64_t i = 0; i < a.rows; ++i)
      for (int64_t j = 0; j < b.rows; ++j)
        for (int q = 0; q < qubits_; ++q) result(i, j) *= std::pow(std::cos((a(i, q) - b(j, q)) / 2), 2);
    return result;
  }
  const auto left = states(a), right = states(b);
  const int64_t size = int64_t{1} << qubits_;
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < b.rows; ++j) {
      std::complex<double> overlap = 0;
      for (int64_t k = 0; k < size; ++k) overlap += std::conj(left[i * size + k]) * right[j * size + k];
      result(i, j) = std::norm(overlap);
    }
  return result;
}

QuantumFeatureMap::Kind parse_feature_map(const std::string& word) {
  if (word == "rx") return QuantumFeatureMap::Kind::Rx;
  if (word == "ry") return QuantumFeatureMap::Kind::Ry;
  if (word == "zz") return QuantumFeatureMap::Kind::Zz;
  throw UsageError(fmt::format("unknown feature map '{}': expected rx, ry or zz", word));
}

}  // namespace quanta
