#include "quanta/simulate/metric.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/memory.h"
#include "quanta/simulate/simulator.h"
#include "quanta/simulate/unbind.h"

namespace quanta {
namespace {

/// The weights of each layer.
std::vector<std::vector<int>> layers(const Circuit& circuit) {
  // How many layers lie before each wire's next gate.
  std::vector<int> depth(size_t(circuit.wires()), 0);
  std::vector<std::vector<int>> weights;
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Barrier) continue;
    const std::vector<int> wires = operation.all_wires();
    int at = 0;
    for (const int q : wires) at = std::max(at, depth[q]);
    bool trained = false;
    for (const Angle& angle : operation.angles) {
      if (!angle.has_weight()) continue;
      trained = true;
      if (int(weights.size()) <= at) weights.resize(size_t(at) + 1);
      if (angle.scale != 0 && angle.weight != Angle::kNone) weights[at].push_back(angle.weight);
      if (angle.offset != Angle::kNone) weights[at].push_back(angle.offset);
    }
    for (const int q : wires) depth[q] = at + trained;
  }
  // Join layers that share a weight.
  std::vector<int> home(size_t(circuit.weights()), -1), leader(weights.size());
  std::iota(leader.begin(), leader.end(), 0);
  const auto find = [&](int layer) {
    while (leader[layer] != layer) layer = leader[layer];
    return layer;
  };
  for (size_t layer = 0; layer < weights.size(); ++layer)
    for (const int i : weights[layer]) {
      if (home[i] < 0) home[i] = int(layer);
      const int a = find(home[i]), b = find(int(layer));
      leader[std::max(a, b)] = std::min(a, b);
    }
  std::vector<std::vector<int>> blocks(weights.size());
  for (int i = 0; i < circuit.weights(); ++i)
    if (home[i] >= 0) blocks[find(home[i])].push_back(i);
  std::erase_if(blocks, [](const auto& block) { return block.empty(); });
  return blocks;
}

}  // namespace

template <class Real>
struct MetricTensor<Real>::Impl {
  using State = std::vector<std::complex<Real>>;
  int W, I;
  Unbound unbound;
  Simulator<Real> simulator;
  std::vector<std::vector<int>> blocks;

  Impl(const Circuit& circuit, const MetricOptions& options)
      : W(circuit.weights()),
        I(circuit.inputs()),
        unbound(circuit),
        simulator(unbound.circuit),
        blocks(layers(circuit)) {
    if (options.block_diagonal || blocks.empty()) return;
    for (size_t i = 1; i < blocks.size(); ++i) blocks[0].insert(blocks[0].end(), blocks[i].begin(), blocks[i].end());
    blocks.resize(1);
    std::ranges::sort(blocks[0]);
  }

  /// Adds the real part of the block's tensor for one sample.
  void add(const std::vector<int>& block, const double* weights, const double* inputs, double* metric) const {
    const size_t size = size_t{1} << simulator.wires(), n = block.size();
    std::vector<Real> start(inputs, inputs + unbound.amplitudes);
    for (const GateAngle& a : unbound.angles) start.push_back(Real(a.angle.value(weights, inputs)));

    // Tangents are sums of states: of shifted angles, each for one weight or two.
    struct Effect {
      size_t tangent;
      double factor;
    };
    std::vector<int> place(size_t(W), -1);
    for (size_t i = 0; i < n; ++i) place[block[i]] = int(i);
    std::vector<Real> rows;
    std::vector<std::vector<Effect>> effects;
    std::vector<State> tangents(n, State(size));
    State states;
    const auto flush = [&] {
      states.resize(effects.size() * size);
      simulator.states(int64_t(effects.size()), nullptr, rows.data(), states.data());
      for (size_t r = 0; r < effects.size(); ++r)
        for (const Effect& effect : effects[r])
          for (size_t b = 0; b < size; ++b) tangents[effect.tangent][b] += Real(effect.factor) * states[r * size + b];
      rows.clear();
      effects.clear();
    };
    const size_t together = std::max<size_t>(16, (size_t{16} << 20) / (size * sizeof(states[0])));
    for (size_t p = 0; p < unbound.angles.size(); ++p) {
      std::vector<Effect> slopes;
      visit_derivatives(unbound.angles[p].angle, W, weights, inputs, [&](int i, double d) {
        if (i < W && place[i] >= 0) slopes.push_back({size_t(place[i]), d});
      });
      if (slopes.empty()) continue;
      for (const Shift& term : unbound.angles[p].state_rule) {
        rows.insert(rows.end(), start.begin(), start.end());
        rows[rows.size() - start.size() + size_t(unbound.amplitudes) + p] += Real(term.shift);
        effects.push_back(slopes);
        for (Effect& effect : effects.back()) effect.factor *= term.coefficient;
      }
      if (effects.size() >= together) flush();
    }
    flush();

    State psi(size);
    simulator.states(1, nullptr, start.data(), psi.data());
    const auto inner = [size](const State& a, const State& b) {
      double re = 0, im = 0;
      for (size_t k = 0; k < size; ++k) {
        const double ar = a[k].real(), ai = a[k].imag(), br = b[k].real(), bi = b[k].imag();
        re += ar * br + ai * bi;
        im += ar * bi - ai * br;
      }
      return Complex(re, im);
    };
    std::vector<Complex> along(n);  // <psi|d_i psi>
    parallel_for(int64_t(n), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) along[i] = inner(psi, tangents[i]);
    });
    parallel_for(int64_t(n), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j <= i; ++j) {
          const double element = inner(tangents[i], tangents[j]).real() - (std::conj(along[i]) * along[j]).real();
          metric[block[i] * W + block[j]] += element;
          if (j < i) metric[block[j] * W + block[i]] += element;
        }
    });
  }
};

template <class Real>
MetricTensor<Real>::MetricTensor(const Circuit& circuit, const MetricOptions& options)
    : impl_(std::make_unique<Impl>(circuit, options)) {}
template <class Real>
MetricTensor<Real>::~MetricTensor() = default;
template <class Real>
MetricTensor<Real>::MetricTensor(MetricTensor&&) noexcept = default;
template <class Real>
MetricTensor<Real>& MetricTensor<Real>::operator=(MetricTensor&&) noexcept = default;

template <class Real>
int MetricTensor<Real>::weights() const {
  return impl_->W;
}
template <class Real>
const std::vector<std::vector<int>>& MetricTensor<Real>::blocks() const {
  return impl_->blocks;
}

template <class Real>
void MetricTensor<Real>::operator()(int64_t batch, const Real* weights, const Real* inputs, double* metric) const {
  require(batch >= 1, "a metric tensor is a mean over samples: expected a batch of 1 or more, got {}", batch);
  const int W = impl_->W;
  size_t largest = 0;
  for (const auto& block : impl_->blocks) largest = std::max(largest, block.size());
  const double bytes = std::ldexp(double(largest) * 2 * sizeof(Real), impl_->simulator.wires());
  simulate::require_memory(
      fmt::format("a tensor of {} weights' tangents on {} qubits", largest, impl_->simulator.wires()), bytes);
  std::fill_n(metric, size_t(W) * W, 0.0);
  const std::vector<double> wide(weights, weights + W);
  for (int64_t b = 0; b < batch; ++b) {
    const std::vector<double> sample(inputs + b * impl_->I, inputs + (b + 1) * impl_->I);
    for (const auto& block : impl_->blocks) impl_->add(block, wide.data(), sample.data(), metric);
  }
  for (size_t i = 0; i < size_t(W) * W; ++i) metric[i] /= double(batch);
}

template class MetricTensor<float>;
template class MetricTensor<double>;

std::vector<double> natural_gradient(const std::vector<double>& metric, const std::vector<double>& gradient,
                                     double regularization) {
  const size_t n = gradient.size();
  require(metric.size() == n * n, "natural gradient: expected a metric of {} elements for {} weights, got {}", n * n, n,
          metric.size());
  require(regularization >= 0 && std::isfinite(regularization),
          "natural gradient: the regularization must be 0 or more, got {}", regularization);
  // Cholesky: metric + regularization = L L^T.
  std::vector<double> lower = metric, x = gradient;
  for (size_t i = 0; i < n; ++i) lower[i * n + i] += regularization;
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = j; i < n; ++i)
      for (size_t k = 0; k < j; ++k) lower[i * n + j] -= lower[i * n + k] * lower[j * n + k];
    const double pivot = lower[j * n + j];
    require(pivot > 1e-14,
            "natural gradient: the metric is not positive definite at weight {}; enlarge the regularization "
            "({})",
            j, regularization);
    for (size_t i = j; i < n; ++i) lower[i * n + j] /= std::sqrt(pivot);
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) x[i] -= lower[i * n + k] * x[k];
    x[i] /= lower[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) x[i] -= lower[k * n + i] * x[k];
    x[i] /= lower[i * n + i];
  }
  return x;
}

}  // namespace quanta
