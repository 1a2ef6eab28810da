#include "quanta/quantize/input_hessian.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

torch::Tensor randn(torch::IntArrayRef sizes, torch::Dtype type = torch::kFloat32) {
  torch::manual_seed(1);
  return torch::randn(sizes, type);
}

/// 2 / sequences sum_t r_t x_t x_t' in float64.
torch::Tensor expected(const torch::Tensor& x, const torch::Tensor& r, int64_t sequences) {
  const auto rows = x.to(torch::kFloat64).reshape({-1, x.size(-1)});
  return rows.t().matmul(rows * r.to(torch::kFloat64).reshape({-1, 1})) * 2.0 / double(sequences);
}

double distance(const torch::Tensor& a, const torch::Tensor& b) {
  return ((a.to(torch::kFloat64) - b).norm() / b.norm()).item<double>();
}

TEST(InputHessian, IsTheSecondMoment) {
  for (const int64_t inputs : {1, 7, 640}) {  // 640: more than one tile
    const auto x = randn({3, 50, inputs}) + 1, more = randn({20, inputs});
    InputHessian hessian(inputs), wide(inputs, torch::kFloat64);
    for (InputHessian* h : {&hessian, &wide}) {
      h->add(x);
      h->add(more);
      EXPECT_EQ(h->sequences(), 4);
      EXPECT_EQ(h->tokens(), 170);
    }
    const auto all = torch::cat({x.reshape({-1, inputs}), more});
    const auto want = expected(all, torch::ones({170}), 4);
    EXPECT_LT(distance(hessian.value(), want), 1e-6);
    EXPECT_LT(distance(wide.value(), want), 1e-14);
    EXPECT_TRUE(hessian.value().equal(hessian.value().t()));
  }
}

TEST(InputHessian, TakesTokenWeights) {
  const auto x = randn({2, 30, 40}), r = torch::rand({2, 30});
  InputHessian hessian(40);
  hessian.add(x, r);
  EXPECT_LT(distance(hessian.value(), expected(x, r, 2)), 1e-6);
  // Weights 0 and 1 choose tokens; float16 inputs are widened.
  InputHessian chosen(40), kept(40);
  const auto mask = (torch::arange(60) % 3 == 0).to(torch::kFloat32).reshape({2, 30});
  chosen.add(x.to(torch::kHalf), mask);
  kept.add(x.to(torch::kHalf).reshape({60, 40}).index({mask.flatten() == 1}));
  EXPECT_LT(distance(chosen.value() * 2, kept.value().to(torch::kFloat64)), 1e-6);
}

TEST(InputHessian, HasTheSameBitsForAnyNumberOfThreads) {
  const auto x = randn({2, 300, 1100});
  const int before = threads();
  torch::Tensor first;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    InputHessian hessian(1100);
    hessian.add(x);
    if (!first.defined()) first = hessian.value();
    EXPECT_TRUE(hessian.value().equal(first)) << count;
  }
  set_threads(before);
}

TEST(InputHessian, CapturesWhatALinearLayerReads) {
  Linear a(12, 5);
  torch::nn::init::normal_(a->weight);
  const auto hessian = std::make_shared<InputHessian>(12);
  a->put(QuantizableLayer::Place::Input, std::make_shared<HessianCapture>(hessian));
  const auto x = randn({2, 9, 12});
  const auto y = a->forward(x);
  EXPECT_TRUE(y.equal(torch::linear(x, a->weight, a->bias)));
  EXPECT_LT(distance(hessian->value(), expected(x, torch::ones({18}), 2)), 1e-6);
  const auto twin = a->copy();  // has a Hessian of its own
  twin->forward(x);
  EXPECT_EQ(hessian->sequences(), 2);
}

TEST(InputHessian, UnfoldsConvolutions) {
  for (const int64_t groups : {1, 2, 4}) {
    const Conv2dOptions options{
        .in = 4, .out = 8, .kernel{3, 2}, .stride{2, 1}, .padding{1, 0}, .dilation{1, 2}, .groups = groups};
    Conv2d layer(options);
    const torch::NoGradGuard no_grad;
    layer->weight.normal_();
    const auto x = randn({3, 4, 9, 8});
    const auto y = layer->forward(x);
    const auto parts = unfold(x, options);
    ASSERT_EQ(int64_t(parts.size()), groups);
    // As linear layers of the flattened weight, the groups give the convolution's outputs.
    std::vector<torch::Tensor> outputs;
    std::vector<std::shared_ptr<InputHessian>> hessians;
    for (int64_t g = 0; g < groups; ++g) {
      const auto w = layer->weight.flatten(1).chunk(groups, 0)[size_t(g)];
      outputs.push_back(parts[size_t(g)].matmul(w.t()));
      hessians.push_back(std::make_shared<InputHessian>(w.size(1)));
    }
    EXPECT_TRUE(torch::allclose(torch::cat(outputs, 2).transpose(1, 2).reshape(y.sizes()), y, 1e-4, 1e-5));
    layer->put(QuantizableLayer::Place::Input, std::make_shared<HessianCapture>(hessians, options));
    layer->forward(x);
    for (int64_t g = 0; g < groups; ++g)
      EXPECT_LT(
          distance(hessians[size_t(g)]->value(),
                   expected(parts[size_t(g)], torch::ones({parts[size_t(g)].numel() / parts[size_t(g)].size(2)}), 3)),
          1e-6);
  }
}

TEST(InputHessian, RefusesNonsense) {
  EXPECT_THROW(InputHessian(0), Error);
  InputHessian hessian(4);
  EXPECT_THROW(hessian.value(), Error);
  EXPECT_THROW(hessian.add(torch::zeros({2, 5})), Error);
  EXPECT_THROW(hessian.add(torch::zeros({0, 4})), Error);
  EXPECT_THROW(hessian.add(torch::full({2, 4}, INFINITY)), Error);
  EXPECT_THROW(hessian.add(torch::zeros({2, 4}), torch::ones({3})), Error);
  EXPECT_THROW(hessian.add(torch::zeros({2, 4}), torch::tensor({1.0f, -1.0f})), Error);
}

}  // namespace
}  // namespace quanta
