#pragma once

// For tests of layers: gradients against central differences.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

namespace quanta {

/// Expects the gradient of sum(function() * fixed random numbers) with respect to `variable` (a float64 leaf that
/// requires gradients and that `function` uses) to agree with central differences.
inline void expect_gradient(const std::function<torch::Tensor()>& function, torch::Tensor variable,
                            double tolerance = 1e-8) {
  const auto weighting = torch::rand(function().sizes().vec(), torch::kFloat64) + 0.5;
  const auto objective = [&] { return (function() * weighting).sum(); };
  const auto gradient = torch::autograd::grad({objective()}, {variable})[0].contiguous();
  const torch::NoGradGuard no_grad;
  const double h = 1e-5;
  for (int64_t i = 0; i < variable.numel(); ++i) {
    double& x = variable.data_ptr<double>()[i];
    const double start = x;
    x = start + h;
    const double up = objective().item<double>();
    x = start - h;
    const double down = objective().item<double>();
    x = start;
    EXPECT_NEAR(gradient.data_ptr<double>()[i], (up - down) / (2 * h), tolerance) << "element " << i;
  }
}

}  // namespace quanta
