#include "quanta/quantize/hessian.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using torch::Tensor;

constexpr double kTiny = 1e-6;

Tensors random_like(const Tensors& shapes, Random random, bool signs) {
  Tensors result;
  for (const Tensor& shape : shapes) {
    Tensor values = torch::empty(shape.sizes(), torch::kFloat64);
    auto* value = values.data_ptr<double>();
    for (int64_t i = 0; i < values.numel(); ++i) value[i] = signs ? (random() & 1 ? 1.0 : -1.0) : random.normal();
    result.push_back(values.to(shape.options().requires_grad(false)));
  }
  return result;
}

/// a + factor * b
void add_to(Tensors& a, const Tensors& b, double factor) {
  for (size_t i = 0; i < a.size(); ++i) a[i].add_(b[i], factor);
}

/// Divides by the norm and returns it; leaves zeros alone.
double normalize(Tensors& v) {
  const double norm = std::sqrt(dot(v, v));
  if (norm > 0)
    for (Tensor& part : v) part.div_(norm);
  return norm;
}

void orthogonalize(Tensors& v, const std::vector<Tensors>& against) {
  for (const Tensors& other : against) add_to(v, other, -dot(v, other));
}

}  // namespace

LossFn::LossFn(std::function<Tensor()> loss) : mean([loss = std::move(loss)](int64_t) { return loss(); }) {}

LossFn::LossFn(std::function<Tensor(int64_t)> batch_mean, std::vector<int64_t> batch_samples)
    : mean(std::move(batch_mean)), samples(std::move(batch_samples)) {}

LossFn cross_entropy_of(std::function<Tensor(const Tensor&)> forward, const Tensor& inputs, const Tensor& classes,
                        int64_t batch) {
  require(inputs.size(0) == classes.size(0) && inputs.size(0) > 0, "{} inputs and {} classes: expected equal numbers",
          inputs.size(0), classes.size(0));
  require(batch >= 1, "batch is {}, expected at least 1", batch);
  std::vector<int64_t> samples;
  for (int64_t at = 0; at < inputs.size(0); at += batch) samples.push_back(std::min(batch, inputs.size(0) - at));
  return {[=](int64_t b) {
            return torch::cross_entropy_loss(forward(inputs.slice(0, b * batch, (b + 1) * batch)),
                                             classes.slice(0, b * batch, (b + 1) * batch));
          },
          samples};
}

double dot(const Tensors& a, const Tensors& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += a[i].detach().flatten().to(torch::kFloat64).dot(b[i].detach().flatten().to(torch::kFloat64)).item<double>();
  return sum;
}

Hessian::Hessian(LossFn loss, Tensors tensors, std::string name)
    : loss_(std::move(loss)), tensors_(std::move(tensors)), name_(std::move(name)) {
  require(size() > 0, "{}: nothing to take the Hessian with respect to", name_);
  for (const Tensor& tensor : tensors_) require(tensor.requires_grad(), "{}: a tensor requires no gradient", name_);
  require(!loss_.samples.empty(), "{}: the loss has no batches", name_);
  for (const int64_t samples : loss_.samples) require(samples > 0, "{}: a batch of {} samples", name_, samples);
  if (loss_.samples.size() == 1) kept_ = gradient(0);
}

int64_t Hessian::size() const {
  return std::accumulate(tensors_.begin(), tensors_.end(), int64_t{0},
                         [](int64_t sum, const Tensor& tensor) { return sum + tensor.numel(); });
}

Tensors Hessian::gradient(int64_t batch) const {
  torch::AutoGradMode on(true);
  const Tensor loss = loss_.mean(batch);
  require(loss.numel() == 1, "the loss has {} values, expected a scalar", loss.numel());
  require(std::isfinite(loss.item<double>()), "the loss is {}", loss.item<double>());
  require(loss.requires_grad(), "{} does not influence the loss", name_);
  auto gradients = torch::autograd::grad({loss.reshape({})}, tensors_, {}, true, true, true);
  for (const Tensor& gradient : gradients) require(gradient.defined(), "{} does not influence the loss", name_);
  return gradients;
}

Tensors Hessian::operator()(const Tensors& v) const {
  require(v.size() == tensors_.size(), "{}: the vector has {} tensors, expected {}", name_, v.size(), tensors_.size());
  for (size_t i = 0; i < v.size(); ++i)
    require(v[i].sizes() == tensors_[i].sizes(), "{}: tensor {} of the vector has another shape", name_, i);
  torch::AutoGradMode on(true);
  const double total = double(std::accumulate(loss_.samples.begin(), loss_.samples.end(), int64_t{0}));
  Tensors sum;
  for (const Tensor& tensor : tensors_) sum.push_back(torch::zeros_like(tensor).detach());
  for (size_t batch = 0; batch < loss_.samples.size(); ++batch) {
    const Tensors gradients = kept_.empty() ? gradient(int64_t(batch)) : kept_;
    Tensor product = torch::zeros({}, tensors_[0].options().requires_grad(false));
    for (size_t i = 0; i < v.size(); ++i) product = product + (gradients[i] * v[i].detach()).sum();
    if (!product.requires_grad()) continue;  // a loss that is linear in the tensors
    Tensors column;
    try {
      column = torch::autograd::grad({product}, tensors_, {}, !kept_.empty(), false, true);
    } catch (const c10::Error& error) {
      fail("{}: the loss cannot be differentiated twice: {}", name_, error.what_without_backtrace());
    }
    torch::NoGradGuard off;
    for (size_t i = 0; i < sum.size(); ++i)
      if (column[i].defined()) sum[i].add_(column[i], double(loss_.samples[batch]) / total);
  }
  require(std::isfinite(dot(sum, sum)), "{}: the product of its Hessian with a vector is not finite", name_);
  return sum;
}

Tensors hessian_vector_product(const LossFn& loss, const Tensors& tensors, const Tensors& v) {
  return Hessian(loss, tensors)(v);
}

std::vector<double> loss_along(const LossFn& loss, const Tensors& tensors, const Tensors& direction,
                               const std::vector<double>& steps) {
  require(tensors.size() == direction.size(), "a direction of {} tensors for {}", direction.size(), tensors.size());
  torch::NoGradGuard off;
  Tensors start, moved = tensors;  // the same tensors: what is written is what the loss sees
  for (const Tensor& tensor : tensors) start.push_back(tensor.detach().clone());
  const double total = double(std::accumulate(loss.samples.begin(), loss.samples.end(), int64_t{0}));
  std::vector<double> losses;
  for (const double step : steps) {
    for (size_t i = 0; i < moved.size(); ++i) moved[i].copy_(start[i] + step * direction[i]);
    double sum = 0;
    for (size_t b = 0; b < loss.samples.size(); ++b)
      sum += loss.mean(int64_t(b)).item<double>() * double(loss.samples[b]) / total;
    losses.push_back(sum);
  }
  for (size_t i = 0; i < moved.size(); ++i) moved[i].copy_(start[i]);
  return losses;
}

Eigenpair top_eigenvalue(const Hessian& hessian, const PowerIteration& options) {
  return top_eigenvalues(hessian, 1, options).front();
}

std::vector<Eigenpair> top_eigenvalues(const Hessian& hessian, int count, const PowerIteration& options) {
  require(options.iterations >= 1, "power iteration: {} iterations, expected at least 1", options.iterations);
  require(count >= 1 && count <= hessian.size(), "power iteration: {} eigenvalues of {}", count, hessian.size());
  torch::NoGradGuard off;
  std::vector<Eigenpair> pairs;
  std::vector<Tensors> found;
  while (int(pairs.size()) < count) {
    Eigenpair pair;
    Tensors v = random_like(hessian.tensors(), Random(options.seed).split(pairs.size()), false);
    orthogonalize(v, found);
    normalize(v);
    while (pair.iterations < options.iterations && !pair.converged) {
      pair.vector = v;
      v = hessian(v);
      const double previous = pair.value;
      pair.value = dot(pair.vector, v);
      pair.change = std::abs(pair.value - previous) / (std::abs(previous) + kTiny);
      pair.converged = pair.iterations++ > 0 && pair.change < options.tolerance;
      orthogonalize(v, found);
      if (normalize(v) == 0) {
        pair.converged = true;
        break;
      }
    }
    found.push_back(pair.vector);
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

Trace hutchinson_trace(const Hessian& hessian, const TraceOptions& options) {
  require(options.samples >= 1, "Hutchinson's trace: {} samples, expected at least 1", options.samples);
  torch::NoGradGuard off;
  Trace trace;
  double squares = 0;  // of differences to the running mean (Welford)
  while (trace.samples < options.samples && !trace.converged) {
    const Tensors v = random_like(hessian.tensors(), Random(options.seed).split(uint64_t(trace.samples)), true);
    const double value = dot(v, hessian(v)), before = trace.value;
    trace.value += (value - before) / ++trace.samples;
    squares += (value - before) * (value - trace.value);
    trace.converged =
        trace.samples > 1 && std::abs(trace.value - before) < options.tolerance * (std::abs(before) + kTiny);
  }
  if (trace.samples > 1) trace.standard_error = std::sqrt(squares / (trace.samples - 1.0) / trace.samples);
  return trace;
}

SpectralDensity lanczos_density(const Hessian& hessian, const LanczosOptions& options) {
  require(options.steps >= 1 && options.vectors >= 1 && options.points >= 2 && options.width > 0,
          "Lanczos density: steps, vectors, points and width must be positive");
  torch::NoGradGuard off;
  SpectralDensity result;
  const int64_t steps = std::min<int64_t>(options.steps, hessian.size());
  for (int run = 0; run < options.vectors; ++run) {
    Tensor tridiagonal = torch::zeros({steps, steps}, torch::kFloat64);
    std::vector<Tensors> basis;
    Tensors v = random_like(hessian.tensors(), Random(options.seed).split(uint64_t(run)), true);
    normalize(v);
    int64_t size = 0;
    while (size < steps) {
      basis.push_back(v);
      v = hessian(v);
      tridiagonal[size][size] = dot(basis.back(), v);
      for (int pass = 0; pass < 2; ++pass) orthogonalize(v, basis);  // once is not enough in floating point
      const double norm = normalize(v);
      const double scale = tridiagonal.abs().max().item<double>();
      if (++size == steps || norm <= 1e-7 * scale) break;  // an invariant subspace: the quadrature is exact
      tridiagonal[size - 1][size] = tridiagonal[size][size - 1] = norm;
    }
    const auto [values, vectors] = torch::linalg_eigh(tridiagonal.slice(0, 0, size).slice(1, 0, size), "L");
    const Tensor weights = vectors[0].square().contiguous();
    const Tensor nodes = values.contiguous();
    result.nodes.emplace_back(nodes.data_ptr<double>(), nodes.data_ptr<double>() + size);
    result.weights.emplace_back(weights.data_ptr<double>(), weights.data_ptr<double>() + size);
  }
  double low = result.nodes[0][0], high = low;
  for (const auto& nodes : result.nodes)
    low = std::min(low, std::ranges::min(nodes)), high = std::max(high, std::ranges::max(nodes));
  const double range = std::max(high - low, kTiny), sigma = options.width * range;
  for (int i = 0; i < options.points; ++i) {
    const double x = low - 0.05 * range + 1.1 * range * i / (options.points - 1);
    double density = 0;
    for (size_t run = 0; run < result.nodes.size(); ++run)
      for (size_t j = 0; j < result.nodes[run].size(); ++j)
        density += result.weights[run][j] * std::exp(-0.5 * std::pow((x - result.nodes[run][j]) / sigma, 2));
    result.x.push_back(x);
    result.density.push_back(density / (sigma * std::sqrt(2 * std::numbers::pi)) / double(result.nodes.size()));
  }
  return result;
}

}  // namespace quanta
