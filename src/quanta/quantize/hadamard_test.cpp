#include "quanta/quantize/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/nn/layers.h"

namespace quanta {
namespace {

using torch::Tensor;

double largest(const Tensor& x) {
  return x.abs().max().item<double>();
}

TEST(Hadamard, EveryOrderIsOrthogonalAndOfSigns) {
  std::vector<int64_t> orders{1, 2};
  for (int64_t n = 4; n < 188; n += 4) orders.push_back(n);
  for (const int64_t n : {256, 512, 1024, 28 * 16, 172 * 4}) orders.push_back(n);
  for (const int64_t n : orders) {
    const Tensor h = hadamard(n);
    EXPECT_TRUE(h.abs().eq(1).all().item<bool>()) << n;
    EXPECT_TRUE(h.mm(h.t()).equal(double(n) * torch::eye(n, torch::kFloat64))) << n;
  }
}

TEST(Hadamard, UnknownOrdersAreRefused) {
  for (const int64_t n : {0, 3, 6, 14, 188, 668}) {
    EXPECT_FALSE(has_hadamard(n)) << n;
    EXPECT_THROW(hadamard(n), Error);
  }
}

TEST(Hadamard, TheWalshMatrixHasItsClosedForm) {
  const Tensor h = hadamard(64);
  for (uint64_t i = 0; i < 64; ++i)
    for (uint64_t j = 0; j < 64; ++j)
      EXPECT_EQ(h[int64_t(i)][int64_t(j)].item<double>(), std::popcount(i & j) % 2 ? -1 : 1);
}

TEST(Hadamard, TheFastTransformIsTheDenseProduct) {
  torch::manual_seed(0);
  for (const int64_t n : {1, 2, 4, 8, 16, 32, 12, 24, 28, 40, 52, 96, 156, 176, 344, 1024, 1376})
    for (const int64_t stride : {1, 3, 8, 20, 64}) {
      if (n * stride > 12000) continue;
      const Tensor x = torch::randn({3, 2, 2 * n * stride}, torch::kFloat64);
      const Tensor h = hadamard(n) / std::sqrt(double(n));
      const Tensor parts = x.view({3, 2, 2, n, stride}).transpose(-1, -2);
      const auto back = [&](const Tensor& y) { return y.transpose(-1, -2).reshape(x.sizes()); };
      const Tensor expected = back(parts.matmul(h)), inverse = back(parts.matmul(h.t()));
      EXPECT_LT(largest(hadamard_product(x, n, stride) - expected), 1e-12) << n << " " << stride;
      EXPECT_LT(largest(hadamard_product(x, n, stride, true) - inverse), 1e-12) << n << " " << stride;
      EXPECT_LT(largest(hadamard_product(x.to(torch::kFloat32), n, stride) - expected), 4e-6) << n << " " << stride;
      EXPECT_LT(largest(hadamard_product(hadamard_product(x, n, stride), n, stride, true) - x), 1e-12);
    }
}

TEST(Hadamard, GradientsPassThroughTheTransposedMatrix) {
  torch::manual_seed(1);
  const Tensor x = torch::randn({5, 36}, torch::kFloat64).requires_grad_();
  const Tensor weight = torch::randn({5, 36}, torch::kFloat64);
  hadamard_product(x, 12, 3).mul(weight).sum().backward();
  EXPECT_LT(largest(x.grad() - hadamard_product(weight, 12, 3, true)), 1e-14);
  const double step = 1e-6;
  Tensor moved = x.detach().clone();
  moved[2][7] += step;
  const double slope =
      ((hadamard_product(moved, 12, 3) - hadamard_product(x.detach(), 12, 3)) * weight).sum().item<double>() / step;
  EXPECT_NEAR(slope, x.grad()[2][7].item<double>(), 1e-8);
}

TEST(Hadamard, ResultsDoNotDependOnThreads) {
  const int before = threads();
  const Tensor x = torch::randn({300, 688});
  set_threads(1);
  const Tensor one = hadamard_product(x, 344, 2);
  set_threads(3);
  EXPECT_TRUE(one.equal(hadamard_product(x, 344, 2)));
  set_threads(before);
}

TEST(Hadamard, RandomRotationsAreOrthogonalAndSeeded) {
  const Tensor q = random_orthogonal(60, 3);
  EXPECT_LT(largest(q.mm(q.t()) - torch::eye(60, torch::kFloat64)), 1e-12);
  EXPECT_TRUE(q.equal(random_orthogonal(60, 3)));
  EXPECT_FALSE(q.equal(random_orthogonal(60, 4)));
}

TEST(Hadamard, BadShapesAreRefused) {
  EXPECT_THROW(hadamard_product(torch::randn({2, 10}), 4), Error);
  EXPECT_THROW(hadamard_product(torch::randn({2, 8}), 4, 0), Error);
  EXPECT_THROW(hadamard_product(torch::ones({2, 8}, torch::kInt32), 4), Error);
}

TEST(StoredTransform, ASpecMakesTheSameTransform) {
  const auto chain = std::make_shared<TransformChain>(std::vector<std::shared_ptr<StoredTransform>>{
      std::make_shared<HadamardTransform>(4, 8), std::make_shared<HadamardTransform>(32)});
  const auto made = make_transform(nlohmann::json::parse(chain->spec().dump()));
  const Tensor x = torch::randn({5, 32});
  EXPECT_TRUE(made->forward(x).equal(chain->forward(x)));
  EXPECT_TRUE(made->forward(x).equal(hadamard_product(hadamard_product(x, 4, 8), 32)));
  EXPECT_EQ(made->spec(), chain->spec());
  EXPECT_TRUE(chain->copy()->forward(x).equal(chain->forward(x)));
}

TEST(StoredTransform, BadSpecsAreRefused) {
  for (const char* text : {"3", "{}", R"({"kind":"sorcery"})", R"({"kind":"hadamard"})", R"({"kind":"chain"})",
                           R"({"kind":"hadamard","size":6})", R"({"kind":"hadamard","size":8,"stride":0})",
                           R"({"kind":"hadamard","size":"8"})"})
    EXPECT_THROW(make_transform(nlohmann::json::parse(text)), Error) << text;
}

TEST(StoredTransform, SlotsGrowIntoChains) {
  Linear layer(32, 2);
  const auto place = QuantizableLayer::Place::Input;
  EXPECT_TRUE(spec_of(layer->slot(place)).is_null());
  const auto a = std::make_shared<HadamardTransform>(32), b = std::make_shared<HadamardTransform>(4, 8),
             c = std::make_shared<HadamardTransform>(2, 16);
  layer->put(place, after(layer->slot(place), a));
  EXPECT_EQ(spec_of(layer->slot(place)), a->spec());
  layer->put(place, after(layer->slot(place), b));
  layer->put(place, before(c, layer->slot(place)));
  EXPECT_EQ(spec_of(layer->slot(place))["links"], nlohmann::json({c->spec(), a->spec(), b->spec()}));
}

}  // namespace
}  // namespace quanta
