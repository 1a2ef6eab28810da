#include "quanta/quantize/input_hessian.h"

#include <algorithm>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/finite.h"
#include "quanta/quantize/tiled_blas.h"

namespace quanta {
namespace {

constexpr int64_t kTokens = 4096;  // of one product: bounds the copies for weights and types

template <class T>
void add_lower(const torch::Tensor& x, const torch::Tensor& sum) {
  const int64_t n = x.size(0), k = x.size(1);
  const tiled::Matrix<const T> tokens{x.data_ptr<T>(), n, k, k};
  tiled::add_product<T>(1, tokens, tokens, false, {sum.data_ptr<T>(), k, k, k}, tiled::Shape::Lower);
}

}  // namespace

InputHessian::InputHessian(int64_t inputs, torch::Dtype type) : inputs_(inputs) {
  require(inputs > 0, "a Hessian of {} inputs: expected at least 1", inputs);
  require(type == torch::kFloat32 || type == torch::kFloat64, "a Hessian is float32 or float64");
  sum_ = torch::zeros({inputs, inputs}, type);
}

void InputHessian::add(const torch::Tensor& x, const torch::Tensor& weights) {
  require(x.dim() >= 1 && x.size(-1) == inputs_, "inputs [{}] for a Hessian of {} inputs", fmt::join(x.sizes(), ", "),
          inputs_);
  const auto tokens = x.detach().reshape({-1, inputs_});
  require(tokens.size(0) > 0, "inputs [{}] hold no token: check the calibration data", fmt::join(x.sizes(), ", "));
  torch::Tensor root;
  if (weights.defined()) {
    require(weights.sizes() == x.sizes().slice(0, size_t(x.dim() - 1)),
            "token weights [{}] for inputs [{}]: expected one weight for each token", fmt::join(weights.sizes(), ", "),
            fmt::join(x.sizes(), ", "));
    root = weights.detach().reshape({-1, 1}).to(sum_.scalar_type()).sqrt();
    require(all_finite(root), "token weights must be numbers of at least 0");
  }
  for (int64_t first = 0; first < tokens.size(0); first += kTokens) {
    auto part = tokens.slice(0, first, first + kTokens).to(sum_.scalar_type());
    if (root.defined()) part = part * root.slice(0, first, first + kTokens);
    part = part.contiguous();
    require(all_finite(part), "a layer's inputs are NaN or infinite: look for what went wrong in the layers before");
    sum_.scalar_type() == torch::kFloat64 ? add_lower<double>(part, sum_) : add_lower<float>(part, sum_);
  }
  sequences_ += x.dim() > 2 ? x.size(0) : 1;
  tokens_ += tokens.size(0);
}

torch::Tensor InputHessian::value() const {
  require(tokens_ > 0, "a Hessian without tokens: run calibration data through the layer first");
  // The upper triangle is filled in tile by tile: whole transposed copies would be the largest thing in memory.
  constexpr int64_t kTile = 512;
  auto h = sum_.tril();
  for (int64_t first = 0; first < inputs_; first += kTile) {
    const int64_t last = std::min(first + kTile, inputs_);
    auto diagonal = h.slice(0, first, last).slice(1, first, last);
    diagonal.add_(diagonal.tril(-1).t());
    h.slice(0, first, last).slice(1, last).copy_(h.slice(0, last).slice(1, first, last).t());
  }
  return h.mul_(2.0 / double(sequences_));
}

InputHessian InputHessian::clone() const {
  InputHessian other = *this;
  other.sum_ = sum_.clone();
  return other;
}

std::vector<torch::Tensor> unfold(const torch::Tensor& x, const Conv2dOptions& o) {
  require(x.dim() == 4 && x.size(1) == o.in, "a convolution of {} channels reads [batch, {}, H, W], got [{}]", o.in,
          o.in, fmt::join(x.sizes(), ", "));
  const auto columns = torch::im2col(x.detach(), o.kernel, o.dilation, o.padding, o.stride).transpose(1, 2);
  return columns.chunk(o.groups, 2);
}

HessianCapture::HessianCapture(std::shared_ptr<InputHessian> hessian) : hessians_{std::move(hessian)} {}

HessianCapture::HessianCapture(std::vector<std::shared_ptr<InputHessian>> hessians, const Conv2dOptions& options)
    : hessians_(std::move(hessians)), convolution_(options) {
  require(int64_t(hessians_.size()) == options.groups, "{} Hessians for a convolution of {} groups", hessians_.size(),
          options.groups);
}

torch::Tensor HessianCapture::forward(const torch::Tensor& x) {
  if (!convolution_) {
    hessians_[0]->add(x);
    return x;
  }
  const auto groups = unfold(x, *convolution_);
  for (size_t g = 0; g < groups.size(); ++g) hessians_[g]->add(groups[g]);
  return x;
}

std::shared_ptr<TensorTransform> HessianCapture::copy() const {
  auto other = std::make_shared<HessianCapture>(*this);
  for (auto& hessian : other->hessians_) hessian = std::make_shared<InputHessian>(hessian->clone());
  return other;
}

}  // namespace quanta
