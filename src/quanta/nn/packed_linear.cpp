#include "quanta/nn/packed_linear.h"

#include "quanta/core/error.h"
#include "quanta/lowbit/gptq_layout.h"

namespace quanta {
namespace {

template <class T>
std::span<const T> values(const torch::Tensor& t) {
  return t.defined() ? std::span<const T>(t.data_ptr<T>(), size_t(t.numel())) : std::span<const T>();
}

torch::Tensor of_type(const torch::Tensor& t, torch::ScalarType type) {
  return t.defined() ? t.detach().to(torch::kCPU, type).contiguous() : t;
}

}  // namespace

std::shared_ptr<const PackedMatrix> pack(const PackedTensors& t) {
  require(t.codes.defined() && t.codes.dim() == 2 && t.codes.scalar_type() == torch::kUInt8,
          "codes to pack must be a uint8 tensor [out, in]");
  require(t.scales.defined(), "codes to pack need scales");
  const int64_t out = t.codes.size(0), in = t.codes.size(1);
  const auto codes = t.codes.contiguous(), scales = of_type(t.scales, torch::kFloat32),
             zeros = of_type(t.zeros, torch::kFloat32), bias = of_type(t.bias, torch::kFloat32),
             index = of_type(t.group_index, torch::kInt32);
  PackedSource source{.outputs = out,
                      .inputs = in,
                      .bits = t.bits,
                      .group = t.group,
                      .codes = values<uint8_t>(codes),
                      .scales = values<float>(scales),
                      .zeros = values<float>(zeros),
                      .bias = values<float>(bias)};
  if (!index.defined()) return std::make_shared<PackedMatrix>(source);
  require(index.numel() == in, "{} group indices were expected, got {}", in, index.numel());
  const auto order = order_of_groups(values<int32_t>(index), t.group == 0 ? in : t.group);
  source.order = order;
  torch::Tensor ordered;
  if (!order.empty()) {
    ordered = codes.index_select(1, torch::tensor(at::ArrayRef<int32_t>(order.data(), order.size()), torch::kInt64));
    source.codes = values<uint8_t>(ordered);
  }
  return std::make_shared<PackedMatrix>(source);
}

PackedLinearImpl::PackedLinearImpl(std::shared_ptr<const PackedMatrix> matrix, Activations activations)
    : activations(activations), matrix_(std::move(matrix)) {
  require(matrix_ != nullptr, "a packed layer needs a matrix");
}

torch::Tensor PackedLinearImpl::forward(const torch::Tensor& x) {
  require(!slot(Place::Weight), "a packed layer's weight slot must be empty: what it holds never sees the weights");
  const auto in = slot(Place::Input)(x);
  require(in.dim() >= 1 && in.size(-1) == matrix_->inputs(), "a packed layer of {} inputs got a tensor of {}",
          matrix_->inputs(), in.dim() == 0 ? 0 : in.size(-1));
  require(!in.requires_grad() || !torch::GradMode::is_enabled(),
          "gradients do not pass a packed layer: use unpacked(), or run without gradients");
  const auto rows = in.to(torch::kFloat32).contiguous();
  auto shape = in.sizes().vec();
  shape.back() = matrix_->outputs();
  auto y = torch::empty(shape, rows.options());
  matrix_->multiply(rows.data_ptr<float>(), rows.numel() / matrix_->inputs(), y.data_ptr<float>(), activations);
  return slot(Place::Output)(y.to(in.scalar_type()));
}

std::shared_ptr<QuantizableLayer> PackedLinearImpl::copy() const {
  auto made = std::make_shared<PackedLinearImpl>(matrix_, activations);
  made->copy_from(*this);
  return made;
}

int64_t PackedLinearImpl::macs(torch::IntArrayRef output_shape) const {
  return c10::multiply_integers(output_shape) * matrix_->inputs();
}

void PackedLinearImpl::pretty_print(std::ostream& stream) const {
  stream << "quanta::PackedLinear(" << matrix_->inputs() << ", " << matrix_->outputs() << ", " << matrix_->bits()
         << " bits)";
}

torch::Tensor PackedLinearImpl::effective_weight() const {
  const auto weights = matrix_->dequantize();
  return torch::tensor(at::ArrayRef<float>(weights)).view({matrix_->outputs(), matrix_->inputs()});
}

Linear PackedLinearImpl::unpacked() const {
  const torch::NoGradGuard no_grad;
  Linear made(matrix_->inputs(), matrix_->outputs(), matrix_->has_bias());
  made->weight.copy_(effective_weight());
  if (matrix_->has_bias()) made->bias.copy_(torch::tensor(at::ArrayRef<float>(matrix_->unpack().bias)));
  for (const Place place : {Place::Input, Place::Output})
    if (slot(place)) made->put(place, slot(place)->copy());
  made->train(is_training());
  return made;
}

}  // namespace quanta
