#include "quanta/models/hqnn.h"

#include <numbers>

#include "quanta/core/error.h"
#include "quanta/nn/init.h"

namespace quanta {

using torch::Tensor;

namespace {

Tensor resize(const Tensor& images, int size) {  // by area average; nothing to do if it has the size
  return images.size(2) == size && images.size(3) == size ? images : torch::adaptive_avg_pool2d(images, {size, size});
}

/// Linear layers with ReLU between them.
torch::nn::Sequential dense_layers(int64_t features, const std::vector<int>& widths, int classes) {
  torch::nn::Sequential layers;
  for (const int width : widths) {
    layers->push_back(torch::nn::Linear(features, width));
    layers->push_back(torch::nn::ReLU());
    features = width;
  }
  layers->push_back(torch::nn::Linear(features, classes));
  return layers;
}

void check_batch_norm(const torch::nn::Module& model, const Tensor& images) {
  require(
      !model.is_training() || images.size(0) > 1,
      "{}: batch normalization cannot be trained on a single sample: call eval() for inference, or use a larger batch",
      model.name());
}

}  // namespace

void ImageClassifier::check(const Tensor& images) const {
  require(images.dim() == 4 && images.size(1) == shape_.channels && images.size(2) == shape_.height &&
              images.size(3) == shape_.width,
          "{}: expected images [batch, {}, {}, {}], got [{}]", name(), shape_.channels, shape_.height, shape_.width,
          fmt::join(images.sizes(), ", "));
}

int64_t conv_features(const ImageShape& shape, const std::vector<int>& channels) {
  require(!channels.empty(), "a convolutional block needs at least one stage");
  const int height = shape.height >> channels.size(), width = shape.width >> channels.size();
  require(height > 0 && width > 0, "{}x{} images are too small for {} stages that halve them", shape.height,
          shape.width, channels.size());
  return int64_t{channels.back()} * height * width;
}

torch::nn::Sequential conv_block(const ImageShape& shape, const std::vector<int>& channels) {
  torch::nn::Sequential block;
  int in = shape.channels;
  for (const int out : channels) {
    block->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 5).padding(2)));
    block->push_back(torch::nn::BatchNorm2d(out));
    block->push_back(torch::nn::ReLU());
    block->push_back(torch::nn::MaxPool2d(2));
    in = out;
  }
  block->push_back(torch::nn::Flatten());
  return block;
}

AngleRange parse_angle_range(std::string_view name) {
  if (name == "relu") return AngleRange::Relu;
  if (name == "pi") return AngleRange::PiRelu;
  if (name == "tanh") return AngleRange::Tanh;
  throw UsageError(fmt::format("unknown angle range '{}': expected relu, pi or tanh", name));
}

namespace {

QuantumDenseOptions seeded(QuantumDenseOptions options, uint64_t seed) {
  options.seed = Random(seed).split("circuits").bits64();
  return options;
}

Quanv2dOptions seeded(Quanv2dOptions options, int channels, uint64_t seed) {
  options.in_channels = channels;
  options.seed = Random(seed).split("quanv").bits64();
  return options;
}

}  // namespace

HqnnParallelImpl::HqnnParallelImpl(const HqnnParallelOptions& options)
    : ImageClassifier("HqnnParallel", options.shape),
      conv(conv_block(options.shape, options.channels)),
      fc1(conv_features(options.shape, options.channels), options.circuits * options.circuit.qubits),
      bn(options.circuits * options.circuit.qubits),
      circuits(options.circuits, seeded(options.circuit, options.seed)),
      range_(options.angle_range) {
  const int features = options.circuits * options.circuit.qubits;
  register_module("conv", conv);
  register_module("fc1", fc1);
  register_module("bn", bn);
  register_module("circuits", circuits);
  if (options.post_bn) post_bn = register_module("post_bn", torch::nn::BatchNorm1d(features));
  fc2 = register_module("fc2", torch::nn::Linear(features, options.shape.classes));
  initialize(*this, Random(options.seed));
}

Tensor HqnnParallelImpl::angles(const Tensor& images) {
  check(images);
  check_batch_norm(*this, images);
  const Tensor z = bn(fc1(conv->forward(images)));
  if (range_ == AngleRange::Tanh) return torch::tanh(z) * (std::numbers::pi / 2);
  return range_ == AngleRange::PiRelu ? torch::relu(z) * std::numbers::pi : torch::relu(z);
}

Tensor HqnnParallelImpl::readout(const Tensor& expectations) {
  return fc2(post_bn ? post_bn(expectations) : expectations);
}

ClassicalTwinImpl::ClassicalTwinImpl(const ClassicalTwinOptions& options)
    : ImageClassifier("ClassicalTwin", options.shape),
      conv(conv_block(options.shape, options.channels)),
      dense(dense_layers(conv_features(options.shape, options.channels), options.widths, options.shape.classes)) {
  register_module("conv", conv);
  register_module("dense", dense);
  initialize(*this, Random(options.seed));
}

Tensor ClassicalTwinImpl::forward(const Tensor& images) {
  check(images);
  check_batch_norm(*this, images);
  return dense->forward(conv->forward(images));
}

MatchedCnnImpl::MatchedCnnImpl(const MatchedCnnOptions& options)
    : ImageClassifier("MatchedCnn", options.shape),
      conv(conv_block(options.shape, options.channels)),
      dense(torch::nn::Linear(conv_features(options.shape, options.channels), options.bottleneck),
            torch::nn::BatchNorm1d(options.bottleneck), torch::nn::ReLU(),
            torch::nn::Linear(options.bottleneck, options.bottleneck), torch::nn::ReLU(),
            torch::nn::Linear(options.bottleneck, options.shape.classes)) {
  register_module("conv", conv);
  register_module("dense", dense);
  initialize(*this, Random(options.seed));
}

Tensor MatchedCnnImpl::forward(const Tensor& images) {
  check(images);
  check_batch_norm(*this, images);
  return dense->forward(conv->forward(images));
}

HqnnQuanvImpl::HqnnQuanvImpl(const HqnnQuanvOptions& options)
    : ImageClassifier("HqnnQuanv", options.shape),
      quanv(seeded(options.quanv, options.shape.channels, options.seed)),
      size_(options.size) {
  const int k = options.quanv.kernel, side = (size_ - k) / options.quanv.stride + 1;
  require(size_ >= k, "HqnnQuanv: the image ({0}x{0}) is smaller than the kernel ({1}x{1})", size_, k);
  register_module("quanv", quanv);
  fc = register_module("fc", torch::nn::Linear(k * k * options.shape.channels * side * side, options.shape.classes));
  initialize(*this, Random(options.seed));
}

Tensor HqnnQuanvImpl::forward(const Tensor& images) {
  check(images);
  return fc(quanv(resize(images, size_)).flatten(1));
}

KernelCnnImpl::KernelCnnImpl(const KernelCnnOptions& options)
    : ImageClassifier(fmt::format("Cnn{}", options.filters), options.shape),
      conv(torch::nn::Conv2dOptions(options.shape.channels, options.filters, options.kernel).stride(options.kernel)),
      size_(options.size) {
  const int side = size_ / options.kernel;
  register_module("conv", conv);
  fc = register_module("fc", torch::nn::Linear(options.filters * side * side, options.shape.classes));
  initialize(*this, Random(options.seed));
}

Tensor KernelCnnImpl::forward(const Tensor& images) {
  check(images);
  return fc(conv(resize(images, size_)).flatten(1));
}

KernelCnn cnn1(const ImageShape& shape, uint64_t seed) {
  return KernelCnn(KernelCnnOptions{shape, 1, 28, 4, seed});
}
KernelCnn cnn4(const ImageShape& shape, uint64_t seed) {
  return KernelCnn(KernelCnnOptions{shape, 4, 28, 4, seed});
}

}  // namespace quanta
