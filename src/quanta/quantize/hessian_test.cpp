#include "quanta/quantize/hessian.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using torch::Tensor;

const auto kDouble = torch::TensorOptions(torch::kFloat64);

Tensor leaf(const Tensor& values) {
  return values.to(torch::kFloat64).clone().requires_grad_();
}

Tensor random_values(std::vector<int64_t> shape, uint64_t seed) {
  Random random(seed);
  Tensor values = torch::empty(shape, kDouble);
  for (int64_t i = 0; i < values.numel(); ++i) values.data_ptr<double>()[i] = random.normal();
  return values;
}

/// 1/2 w^T A w of tensors whose concatenation is w.
LossFn quadratic(const Tensor& a, const Tensors& parts) {
  return LossFn([=] {
    const Tensor w = torch::cat(parts);
    return 0.5 * w.dot(a.mv(w));
  });
}

/// The Hessian of all values of the tensors, entry by entry.
Tensor dense_hessian(const LossFn& loss, const Tensors& tensors) {
  const auto gradients = torch::autograd::grad({loss.mean(0)}, tensors, {}, true, true);
  Tensors flat;
  for (const auto& gradient : gradients) flat.push_back(gradient.flatten());
  const Tensor gradient = torch::cat(flat);
  Tensors rows;
  for (int64_t i = 0; i < gradient.numel(); ++i) {
    Tensors row;
    for (const auto& part : torch::autograd::grad({gradient[i]}, tensors, {}, true, false, true))
      row.push_back(part.flatten());
    rows.push_back(torch::cat(row));
  }
  return torch::stack(rows);
}

/// A 2-8-3 network with tanh on 20 samples.
struct Mlp {
  Tensor x = random_values({20, 2}, 1);
  Tensor y = torch::arange(20).remainder(3);
  Tensor w1 = leaf(random_values({8, 2}, 2)), b1 = leaf(random_values({8}, 3));
  Tensor w2 = leaf(random_values({3, 8}, 4)), b2 = leaf(random_values({3}, 5));

  Tensor forward(const Tensor& in) const { return torch::addmm(b2, torch::tanh(torch::addmm(b1, in, w1.t())), w2.t()); }
  LossFn loss(int64_t batch = 20) const {
    return cross_entropy_of([this](const Tensor& in) { return forward(in); }, x, y, batch);
  }
};

TEST(Hessian, SoftmaxRegressionAtZero) {
  const Tensor w = leaf(torch::zeros({10, 2})), x = torch::tensor({{3.0, 4.0}}, kDouble);
  const LossFn loss = cross_entropy_of([=](const Tensor& in) { return in.mm(w.t()); }, x, torch::tensor({2}));
  const Hessian hessian(loss, {w});
  const auto top = top_eigenvalue(hessian, {.iterations = 100, .tolerance = 1e-10});
  EXPECT_NEAR(top.value, 2.5, 1e-5);
  EXPECT_TRUE(top.converged);
  const auto trace = hutchinson_trace(hessian, {.samples = 500, .tolerance = 0});
  EXPECT_NEAR(trace.value, 22.5, 4 * trace.standard_error);
  EXPECT_LT(trace.standard_error, 1);
  const auto all = top_eigenvalues(hessian, 10, {.iterations = 100, .tolerance = 1e-10});
  for (int i = 0; i < 9; ++i) EXPECT_NEAR(all[i].value, 2.5, 1e-5);
  EXPECT_NEAR(all[9].value, 0, 1e-5);
}

TEST(Hessian, LargestMagnitudeKeepsItsSign) {
  const Tensor w = leaf(torch::ones({3}));
  const Hessian hessian(quadratic(torch::diag(torch::tensor({5.0, -7.0, 1.0}, kDouble)), {w}), {w});
  const auto pairs = top_eigenvalues(hessian, 3, {.iterations = 200, .tolerance = 1e-12});
  EXPECT_NEAR(pairs[0].value, -7, 1e-8);
  EXPECT_NEAR(pairs[1].value, 5, 1e-8);
  EXPECT_NEAR(pairs[2].value, 1, 1e-8);
  EXPECT_NEAR(std::abs(pairs[0].vector[0][1].item<double>()), 1, 1e-5);
  EXPECT_NEAR(dot(pairs[0].vector, pairs[1].vector), 0, 1e-8);
}

TEST(Hessian, IsTheBlocksOwn) {
  const Tensor a = torch::tensor({{2.0, 1.0, 0.0}, {1.0, 2.0, 0.0}, {0.0, 0.0, 10.0}}, kDouble);
  const Tensor first = leaf(torch::ones({2})), second = leaf(torch::ones({1}));
  const LossFn loss = quadratic(a, {first, second});
  const PowerIteration options{.iterations = 200, .tolerance = 1e-12};
  EXPECT_NEAR(top_eigenvalue(Hessian(loss, {first}), options).value, 3, 1e-8);
  EXPECT_NEAR(top_eigenvalue(Hessian(loss, {second}), options).value, 10, 1e-8);
  EXPECT_NEAR(top_eigenvalue(Hessian(loss, {first, second}), options).value, 10, 1e-8);
}

TEST(Hessian, EqualsTheDenseHessianOfAnMlp) {
  const Mlp mlp;
  const LossFn loss = mlp.loss();
  for (const Tensors& block : {Tensors{mlp.w1}, Tensors{mlp.w2}, Tensors{mlp.w1, mlp.b1}, Tensors{mlp.w1, mlp.w2}}) {
    const Tensor dense = dense_hessian(loss, block);
    EXPECT_LT((dense - dense.t()).abs().max().item<double>(), 1e-12);
    const auto values = std::get<0>(torch::linalg_eigh(dense, "L"));
    const double expected = values[values.abs().argmax()].item<double>();
    const Hessian hessian(loss, block);
    const auto top = top_eigenvalue(hessian, {.iterations = 500, .tolerance = 1e-10});
    EXPECT_NEAR(top.value, expected, 1e-4 * std::abs(expected));
    // A product is the dense matrix times the vector.
    Tensors v;
    for (const auto& tensor : block) v.push_back(random_values(tensor.sizes().vec(), 7));
    Tensors flat, product;
    for (size_t i = 0; i < v.size(); ++i) flat.push_back(v[i].flatten());
    for (const auto& part : hessian(v)) product.push_back(part.flatten());
    EXPECT_LT((dense.mv(torch::cat(flat)) - torch::cat(product)).abs().max().item<double>(), 1e-10);
    const auto trace = hutchinson_trace(hessian, {.samples = 500, .tolerance = 0});
    EXPECT_NEAR(trace.value, dense.trace().item<double>(), 4 * trace.standard_error);
  }
}

TEST(Hessian, ProductsAreLinearAndSymmetric) {
  const Mlp mlp;
  const Hessian hessian(mlp.loss(), {mlp.w1, mlp.w2});
  const Tensors v{random_values({8, 2}, 1), random_values({3, 8}, 2)};
  const Tensors w{random_values({8, 2}, 3), random_values({3, 8}, 4)};
  const Tensors hv = hessian(v), hw = hessian(w), both = hessian({2 * v[0] - 3 * w[0], 2 * v[1] - 3 * w[1]});
  for (int i = 0; i < 2; ++i) EXPECT_LT((both[i] - (2 * hv[i] - 3 * hw[i])).abs().max().item<double>(), 1e-8);
  EXPECT_NEAR(dot(w, hv), dot(v, hw), 1e-8);
}

TEST(Hessian, BatchesAreWeightedBySamples) {
  const Mlp mlp;
  const Tensors block{mlp.w1, mlp.w2}, v{random_values({8, 2}, 1), random_values({3, 8}, 2)};
  const Tensors once = hessian_vector_product(mlp.loss(), block, v);
  for (const int64_t batch : {5, 8, 19}) {  // 8 + 8 + 4 and 19 + 1: unequal batches
    const Tensors parts = hessian_vector_product(mlp.loss(batch), block, v);
    for (int i = 0; i < 2; ++i) EXPECT_LT((once[i] - parts[i]).abs().max().item<double>(), 1e-12);
  }
}

TEST(Hessian, LanczosNodesAreTheSpectrum) {
  // A vector of signs has the same weight on each eigenvector of a diagonal matrix, so the quadrature is exact.
  const Tensor diagonal = torch::tensor({-3.0, -1.0, 0.5, 2.0, 4.0, 9.0}, kDouble), w = leaf(torch::zeros({6}));
  const auto density = lanczos_density(Hessian(quadratic(torch::diag(diagonal), {w}), {w}), {.steps = 30});
  for (size_t run = 0; run < density.nodes.size(); ++run) {
    ASSERT_EQ(density.nodes[run].size(), 6u);
    for (int i = 0; i < 6; ++i) {
      EXPECT_NEAR(density.nodes[run][i], diagonal[i].item<double>(), 1e-9);
      EXPECT_NEAR(density.weights[run][i], 1.0 / 6, 1e-9);
    }
  }
  double integral = 0;
  for (size_t i = 1; i < density.x.size(); ++i)
    integral += (density.x[i] - density.x[i - 1]) * (density.density[i] + density.density[i - 1]) / 2;
  EXPECT_NEAR(integral, 1, 1e-3);
}

TEST(Hessian, LanczosMoments) {
  // The mean over runs of sum_i w_i node_i^p nears tr A^p / n; off the diagonal A is small, and so is the variance.
  const Tensor noise = 0.2 * random_values({12, 12}, 3), w = leaf(torch::zeros({12}));
  const Tensor a = torch::diag(torch::arange(1, 13, kDouble)) + noise + noise.t();
  const auto density = lanczos_density(Hessian(quadratic(a, {w}), {w}), {.steps = 12, .vectors = 100});
  for (const int power : {1, 2}) {
    double moment = 0;
    for (size_t run = 0; run < density.nodes.size(); ++run)
      for (size_t i = 0; i < density.nodes[run].size(); ++i)
        moment += density.weights[run][i] * std::pow(density.nodes[run][i], power) / double(density.nodes.size());
    const double expected = torch::linalg_matrix_power(a, power).trace().item<double>() / 12;
    EXPECT_NEAR(moment, expected, 0.05 * expected);
  }
}

TEST(Hessian, LossAlongADirection) {
  const Tensor w = leaf(torch::tensor({1.0, 2.0}));
  const LossFn loss([=] { return (w * w).sum(); });
  const auto losses = loss_along(loss, {w}, {torch::tensor({0.6, 0.8}, kDouble)}, {-1, 0, 0.5});
  EXPECT_NEAR(losses[0], 0.4 * 0.4 + 1.2 * 1.2, 1e-12);
  EXPECT_NEAR(losses[1], 5, 1e-12);
  EXPECT_NEAR(losses[2], 1.3 * 1.3 + 2.4 * 2.4, 1e-12);
  EXPECT_TRUE(w.detach().equal(torch::tensor({1.0, 2.0}, kDouble)));
}

TEST(Hessian, SaysWhetherItConverged) {
  const Mlp mlp;
  const Hessian hessian(mlp.loss(), {mlp.w1});
  const auto few = top_eigenvalue(hessian, {.iterations = 2, .tolerance = 1e-12});
  EXPECT_FALSE(few.converged);
  EXPECT_EQ(few.iterations, 2);
  EXPECT_GT(few.change, 1e-12);
}

TEST(Hessian, BadInput) {
  const Tensor w = leaf(torch::ones({2})), other = leaf(torch::ones({2}));
  const LossFn loss([=] { return w.square().sum(); });
  EXPECT_THAT([&] { Hessian(loss, {other}, "block 'b3'"); },
              ThrowsMessage<Error>(HasSubstr("block 'b3' does not influence the loss")));
  EXPECT_THAT([&] { Hessian(loss, {}, "block 'b4'"); }, ThrowsMessage<Error>(HasSubstr("block 'b4': nothing")));
  EXPECT_THAT([&] { Hessian(loss, {torch::ones({2})}); }, ThrowsMessage<Error>(HasSubstr("requires no gradient")));
  EXPECT_THAT([&] { Hessian(LossFn([=] { return w * 1; }), {w}); }, ThrowsMessage<Error>(HasSubstr("scalar")));
  EXPECT_THAT([&] { Hessian(LossFn([=] { return (w / 0).sum(); }), {w}); }, ThrowsMessage<Error>(HasSubstr("inf")));
  const Tensor zero = leaf(torch::zeros({1}));
  EXPECT_THAT([&] { Hessian(LossFn([=] { return zero.pow(1.5).sum(); }), {zero})({torch::ones({1}, kDouble)}); },
              ThrowsMessage<Error>(HasSubstr("not finite")));
  EXPECT_THAT([&] { Hessian(loss, {w})({torch::ones({3}, kDouble)}); }, ThrowsMessage<Error>(HasSubstr("shape")));
}

TEST(Hessian, ALinearLossHasNone) {
  const Tensor w = leaf(torch::ones({2}));
  const Tensors product = hessian_vector_product(LossFn([=] { return w.sum(); }), {w}, {torch::ones({2}, kDouble)});
  EXPECT_EQ(product[0].abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace quanta
