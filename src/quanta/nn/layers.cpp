#include "quanta/nn/layers.h"

#include <cmath>

#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr const char* kSlotNames[] = {"input_transform", "weight_transform", "output_transform"};

/// The start values of LibTorch's own layers come from initialize() or a checkpoint; until then zero is as good as any.
torch::Tensor parameter(torch::nn::Module& module, const char* name, torch::IntArrayRef shape) {
  return module.register_parameter(name, torch::zeros(shape));
}

}  // namespace

void QuantizableLayer::put(Place place, std::shared_ptr<TensorTransform> transform) {
  slots_[size_t(place)].put(*this, kSlotNames[size_t(place)], std::move(transform));
}

void QuantizableLayer::copy_from(const QuantizableLayer& other) {
  for (const Place place : {Place::Input, Place::Weight, Place::Output})
    if (other.slot(place)) put(place, other.slot(place)->copy());
  copy_values(other, *this, /*recurse=*/false);  // a network may have registered more inside
}

LinearImpl::LinearImpl(int64_t in, int64_t out, bool with_bias) {
  require(in > 0 && out > 0, "a linear layer needs at least one input and one output, got {} and {}", in, out);
  weight = parameter(*this, "weight", {out, in});
  if (with_bias) bias = parameter(*this, "bias", {out});
}

torch::Tensor LinearImpl::forward(const torch::Tensor& x) {
  return slot(Place::Output)(torch::nn::functional::linear(slot(Place::Input)(x), used_weight(weight), bias));
}

std::shared_ptr<QuantizableLayer> LinearImpl::copy() const {
  auto made = std::make_shared<LinearImpl>(weight.size(1), weight.size(0), bias.defined());
  made->copy_from(*this);
  return made;
}

int64_t LinearImpl::macs(torch::IntArrayRef output_shape) const {
  return c10::multiply_integers(output_shape) * weight.size(1);
}

void LinearImpl::pretty_print(std::ostream& stream) const {
  stream << "quanta::Linear(" << weight.size(1) << ", " << weight.size(0) << ")";
}

Conv2dOptions Conv2dOptions::square(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups) {
  const int64_t pad = (kernel - 1) / 2;
  return {.in = in, .out = out, .kernel{kernel, kernel}, .stride{stride, stride}, .padding{pad, pad}, .groups = groups};
}

Conv2dImpl::Conv2dImpl(const Conv2dOptions& options) : options_(options) {
  const auto& o = options_;
  require(o.in > 0 && o.out > 0 && o.groups > 0 && o.in % o.groups == 0 && o.out % o.groups == 0,
          "a convolution of {} to {} channels in {} groups: the groups must divide both", o.in, o.out, o.groups);
  for (int i = 0; i < 2; ++i)
    require(o.kernel[i] > 0 && o.stride[i] > 0 && o.dilation[i] > 0 && o.padding[i] >= 0,
            "a convolution's kernel {}, stride {} and dilation {} must be positive and its padding {} not negative",
            o.kernel[i], o.stride[i], o.dilation[i], o.padding[i]);
  weight = parameter(*this, "weight", {o.out, o.in / o.groups, o.kernel[0], o.kernel[1]});
  if (o.bias) bias = parameter(*this, "bias", {o.out});
}

torch::Tensor Conv2dImpl::convolve(const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b) const {
  return torch::conv2d(x, w, b, options_.stride, options_.padding, options_.dilation, options_.groups);
}

torch::Tensor Conv2dImpl::forward(const torch::Tensor& x) {
  return slot(Place::Output)(convolve(slot(Place::Input)(x), used_weight(weight), bias));
}

std::shared_ptr<QuantizableLayer> Conv2dImpl::copy() const {
  auto made = std::make_shared<Conv2dImpl>(options_);
  made->copy_from(*this);
  return made;
}

int64_t Conv2dImpl::macs(torch::IntArrayRef output_shape) const {
  return c10::multiply_integers(output_shape) * weight[0].numel();
}

void Conv2dImpl::pretty_print(std::ostream& stream) const {
  const auto& o = options_;
  stream << fmt::format("quanta::Conv2d({}, {}, kernel {}x{}, stride {}, padding {}, groups {})", o.in, o.out,
                        o.kernel[0], o.kernel[1], o.stride[0], o.padding[0], o.groups);
}

namespace {

Conv2dOptions without_bias(Conv2dOptions options) {
  options.bias = false;
  return options;
}

/// One factor a channel, for a weight [out, in, kh, kw].
torch::Tensor per_filter(const torch::Tensor& v) {
  return v.view({-1, 1, 1, 1});
}

}  // namespace

ConvBn2dImpl::ConvBn2dImpl(const Conv2dImpl& conv, const torch::nn::BatchNorm2dImpl& batch_norm, BatchNormFold fold)
    : Conv2dImpl(without_bias(conv.options())),
      eps_(batch_norm.options.eps()),
      momentum_(batch_norm.options.momentum().value_or(0.1)),
      fold_(fold) {
  const int64_t out = conv.options().out;
  require(batch_norm.running_mean.defined(), "a batch normalization without running statistics cannot be folded");
  require(batch_norm.running_mean.size(0) == out,
          "a batch normalization of {} channels does not fit a convolution of {}", batch_norm.running_mean.size(0),
          out);
  const torch::NoGradGuard no_grad;
  const auto take = [](const torch::Tensor& t) { return t.detach().clone(); };
  weight.set_data(take(conv.weight));
  const bool affine = batch_norm.options.affine();
  const auto ones = torch::ones({out}, weight.options());
  gamma = register_parameter("gamma", affine ? take(batch_norm.weight) : ones);
  beta = register_parameter("beta", affine ? take(batch_norm.bias) : torch::zeros_like(ones));
  // What the convolution adds to each channel, the normalization takes away.
  running_mean = register_buffer("running_mean", conv.bias.defined() ? batch_norm.running_mean - conv.bias.detach()
                                                                     : take(batch_norm.running_mean));
  running_var = register_buffer("running_var", take(batch_norm.running_var));
  for (const Place place : {Place::Input, Place::Weight, Place::Output})
    if (conv.slot(place)) put(place, conv.slot(place)->copy());
  train(conv.is_training());
}

torch::Tensor ConvBn2dImpl::effective_weight() const {
  return weight * per_filter(gamma / (running_var + eps_).sqrt());
}

torch::Tensor ConvBn2dImpl::effective_bias() const {
  return beta - gamma * running_mean / (running_var + eps_).sqrt();
}

torch::Tensor ConvBn2dImpl::forward(const torch::Tensor& input) {
  const auto x = slot(Place::Input)(input);
  const auto out = slot(Place::Output);
  if (!is_training() || frozen_) return out(convolve(x, used_weight(effective_weight()), effective_bias()));

  const auto running_sd = (running_var + eps_).sqrt();
  if (fold_ == BatchNormFold::Rescaled) {
    // The factor that folding put in is taken out again after the slot; it must not be zero.
    const auto factor = torch::where(gamma.abs() < 1e-12, torch::full_like(gamma, 1e-12), gamma) / running_sd;
    const auto w = used_weight(weight * per_filter(factor)) / per_filter(factor);
    return out(
        torch::batch_norm(convolve(x, w, {}), gamma, beta, running_mean, running_var, true, momentum_, eps_, false));
  }

  const auto y0 = convolve(x, weight, {});
  const auto [variance, mean] = torch::var_mean(y0, {0, 2, 3}, /*unbiased=*/false);
  {
    const torch::NoGradGuard no_grad;
    const double n = double(y0.numel() / y0.size(1));
    running_mean.lerp_(mean.detach(), momentum_);
    running_var.lerp_(variance.detach() * (n / std::max(n - 1, 1.0)), momentum_);
  }
  const auto sd = (variance + eps_).sqrt();
  const auto b = beta - gamma * mean / sd;
  const auto w = fold_ == BatchNormFold::Naive
                     ? used_weight(weight * per_filter(gamma / sd))
                     : used_weight(weight * per_filter(gamma / running_sd)) * per_filter(running_sd / sd);
  return out(convolve(x, w, b));
}

std::shared_ptr<QuantizableLayer> ConvBn2dImpl::copy() const {
  torch::nn::BatchNorm2dImpl batch_norm(torch::nn::BatchNorm2dOptions(options().out).eps(eps_).momentum(momentum_));
  auto made = std::make_shared<ConvBn2dImpl>(Conv2dImpl(options()), batch_norm, fold_);
  made->frozen_ = frozen_;
  made->copy_from(*this);
  return made;
}

std::vector<std::pair<std::string, std::shared_ptr<QuantizableLayer>>> quantizable_layers(
    const torch::nn::Module& module) {
  std::vector<std::pair<std::string, std::shared_ptr<QuantizableLayer>>> found;
  for (const auto& item : module.named_modules("", /*include_self=*/false))
    if (auto layer = std::dynamic_pointer_cast<QuantizableLayer>(item.value())) found.emplace_back(item.key(), layer);
  return found;
}

}  // namespace quanta
