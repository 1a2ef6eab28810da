#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace quanta {

// Second-order information of a loss without ever forming the Hessian: its product with a vector is the gradient of
// <gradient, v> (double backward), and the spectrum follows from products. Vectors are lists of tensors, shaped as the
// tensors the Hessian is with respect to. PyHessian (Yao et al., arXiv 1912.07145); HAWQ (arXiv 1905.03696),
// algorithm 1.

/// A loss as the mean over samples that come in batches. Its value must be the same on every call: evaluation mode, no
/// dropout, the same samples.
struct LossFn {
  std::function<torch::Tensor(int64_t batch)> mean{};  ///< a scalar: the mean over the batch's samples
  std::vector<int64_t> samples{1};                     ///< of each batch

  LossFn() = default;
  /// One batch.
  LossFn(std::function<torch::Tensor()> loss);
  LossFn(std::function<torch::Tensor(int64_t)> batch_mean, std::vector<int64_t> batch_samples);
};

/// The mean cross-entropy of forward(inputs [N, ...]) and classes [N], in batches.
LossFn cross_entropy_of(std::function<torch::Tensor(const torch::Tensor&)> forward, const torch::Tensor& inputs,
                        const torch::Tensor& classes, int64_t batch = 256);

using Tensors = std::vector<torch::Tensor>;

/// The Hessian of a loss with respect to some of the tensors it depends on (leaves that require gradients): the block
/// of the whole Hessian that belongs to them. Products with a vector are sample-weighted means over the batches. The
/// gradient's graph of a loss of one batch is kept between products, which then cost one backward pass each.
///
/// Errors: no tensors, a tensor that requires no gradient or does not influence the loss, a loss that is no scalar or
/// not finite, an operation that cannot be differentiated twice, a product that is not finite.
class Hessian {
 public:
  /// `name` stands for the tensors in messages ("block layer1.0").
  Hessian(LossFn loss, Tensors tensors, std::string name = "the tensors");

  Tensors operator()(const Tensors& v) const;
  const Tensors& tensors() const { return tensors_; }
  int64_t size() const;  ///< number of values

 private:
  Tensors gradient(int64_t batch) const;

  LossFn loss_;
  Tensors tensors_;
  std::string name_;
  Tensors kept_;  // the gradient of a single batch
};

/// Hv once.
Tensors hessian_vector_product(const LossFn& loss, const Tensors& tensors, const Tensors& v);

/// The loss at W + step * direction for each step; the tensors W get their values back.
std::vector<double> loss_along(const LossFn& loss, const Tensors& tensors, const Tensors& direction,
                               const std::vector<double>& steps);

/// <a, b> over all tensors, summed in double precision.
double dot(const Tensors& a, const Tensors& b);

struct PowerIteration {
  int iterations = 100;
  double tolerance = 1e-3;  ///< stop if |lambda - previous| / (|previous| + 1e-6) is below
  uint64_t seed = 0;
};

/// The eigenvalue of the largest magnitude, with its sign, and how it was found.
struct Eigenpair {
  double value = 0;
  Tensors vector{};  ///< of norm 1
  int iterations = 0;
  double change = 0;  ///< relative, of the last iteration
  bool converged = false;
};

Eigenpair top_eigenvalue(const Hessian& hessian, const PowerIteration& options = {});
/// The `count` eigenvalues of largest magnitude, largest first: each vector is kept orthogonal to those found before.
std::vector<Eigenpair> top_eigenvalues(const Hessian& hessian, int count, const PowerIteration& options = {});

struct TraceOptions {
  int samples = 100;
  double tolerance = 1e-3;  ///< stop if the mean changes by less, relative
  uint64_t seed = 0;
};
struct Trace {
  double value = 0;
  double standard_error = 0;
  int samples = 0;
  bool converged = false;
};
/// Hutchinson's estimate: the mean of v^T H v over vectors of random signs.
Trace hutchinson_trace(const Hessian& hessian, const TraceOptions& options = {});

struct LanczosOptions {
  int steps = 30;       ///< of each run; at most the number of values
  int vectors = 4;      ///< runs
  double width = 0.01;  ///< of the Gaussians, as a share of the eigenvalues' range
  int points = 400;
  uint64_t seed = 0;
};
/// Stochastic Lanczos quadrature: nodes and weights of each run, (1/n) tr f(H) ~ mean over runs of sum_i w_i f(node_i),
/// and the density of eigenvalues smoothed with Gaussians.
struct SpectralDensity {
  std::vector<std::vector<double>> nodes{};
  std::vector<std::vector<double>> weights{};  ///< sum to 1 in each run
  std::vector<double> x{};
  std::vector<double> density{};
};
SpectralDensity lanczos_density(const Hessian& hessian, const LanczosOptions& options = {});

}  // namespace quanta
