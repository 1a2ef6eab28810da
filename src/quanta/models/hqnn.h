#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/nn/quantum_dense.h"
#include "quanta/nn/quanv2d.h"

// The image classifiers of "Quantum machine learning for image classification" (arXiv 2304.09224) and what they are
// compared with. Each takes images [batch, channels, height, width], pixels in [0, 1] or standardized, and gives logits
// [batch, classes]. Start values depend on the seed alone. Errors: images of another size, and a single sample in
// training mode where batch normalization needs two.

namespace quanta {

struct ImageShape {
  int channels = 1;
  int height = 28;
  int width = 28;
  int classes = 10;
};

/// What the five networks below have in common, so that one recipe can train them all.
class ImageClassifier : public torch::nn::Module {
 public:
  virtual torch::Tensor forward(const torch::Tensor& images) = 0;
  const ImageShape& shape() const { return shape_; }

 protected:
  ImageClassifier(std::string name, const ImageShape& shape) : torch::nn::Module(std::move(name)), shape_(shape) {}
  /// Throws Error unless the images have the shape.
  void check(const torch::Tensor& images) const;

 private:
  ImageShape shape_;
};

/// Stages of Conv2d(5x5, padding 2), BatchNorm2d, ReLU, MaxPool2d(2), one for each number of channels, then flatten.
torch::nn::Sequential conv_block(const ImageShape& shape, const std::vector<int>& channels);
/// Number of features it puts out: the last number of channels times the pixels that are left.
int64_t conv_features(const ImageShape& shape, const std::vector<int>& channels);

/// How a feature z (after batch normalization) becomes an angle.
enum class AngleRange {
  Relu,    // max(z, 0)
  PiRelu,  // pi max(z, 0)
  Tanh,    // (pi/2) tanh(z)
};
/// "relu", "pi", "tanh"; UsageError for another name.
AngleRange parse_angle_range(std::string_view name);

struct HqnnParallelOptions {
  ImageShape shape{};
  std::vector<int> channels = {16, 32};  // of the conv stages
  int circuits = 4;                      // c
  QuantumDenseOptions circuit{};         // n, depth, axes; its seed is not used
  AngleRange angle_range = AngleRange::Relu;
  bool post_bn = true;  // BatchNorm1d after the circuits
  uint64_t seed = 0;
};

/// Convolutions, a linear layer to c * n features, c circuits of n qubits side by side, a linear layer.
/// MNIST's 45,194 parameters: convolutions 13,344; fc1 31,380; batch normalizations 40 + 40; circuits 180; fc2 210.
class HqnnParallelImpl : public ImageClassifier {
 public:
  explicit HqnnParallelImpl(const HqnnParallelOptions& options = {});
  torch::Tensor forward(const torch::Tensor& images) override { return readout(circuits->forward(angles(images))); }

  /// The two halves around the circuits: images -> angles [batch, c * n], expectation values [batch, c * n] -> logits.
  torch::Tensor angles(const torch::Tensor& images);
  torch::Tensor readout(const torch::Tensor& expectations);

  torch::nn::Sequential conv;
  torch::nn::Linear fc1, fc2 = nullptr;
  torch::nn::BatchNorm1d bn, post_bn = nullptr;
  ParallelQuantum circuits;

 private:
  AngleRange range_;
};
TORCH_MODULE(HqnnParallel);

struct ClassicalTwinOptions {
  ImageShape shape{};
  std::vector<int> channels = {16, 32};
  std::vector<int> widths = {216, 88};  // of the hidden dense layers
  uint64_t seed = 0;
};

/// The same convolutions, then dense layers with ReLU. The default widths give the published count, 372,234, on MNIST.
class ClassicalTwinImpl : public ImageClassifier {
 public:
  explicit ClassicalTwinImpl(const ClassicalTwinOptions& options = {});
  torch::Tensor forward(const torch::Tensor& images) override;

  torch::nn::Sequential conv, dense;
};
TORCH_MODULE(ClassicalTwin);

struct MatchedCnnOptions {
  ImageShape shape{};
  std::vector<int> channels = {16, 32};
  int bottleneck = 20;  // c * n of the model it is matched with
  uint64_t seed = 0;
};

/// HQNN-Parallel with a linear layer and ReLU in place of the circuits: about as many parameters (45,394 on MNIST), the
/// same bottleneck, nothing quantum.
class MatchedCnnImpl : public ImageClassifier {
 public:
  explicit MatchedCnnImpl(const MatchedCnnOptions& options = {});
  torch::Tensor forward(const torch::Tensor& images) override;

  torch::nn::Sequential conv, dense;
};
TORCH_MODULE(MatchedCnn);

struct HqnnQuanvOptions {
  ImageShape shape{};
  int size = 14;           // images are first resized to size x size by area average
  Quanv2dOptions quanv{};  // in_channels and seed are set by the model
  uint64_t seed = 0;
};

/// A trainable quanvolution and one linear layer: 16 + 1,970 parameters on MNIST.
class HqnnQuanvImpl : public ImageClassifier {
 public:
  explicit HqnnQuanvImpl(const HqnnQuanvOptions& options = {});
  torch::Tensor forward(const torch::Tensor& images) override;

  Quanv2d quanv;
  torch::nn::Linear fc = nullptr;

 private:
  int size_;
};
TORCH_MODULE(HqnnQuanv);

struct KernelCnnOptions {
  ImageShape shape{};
  int filters = 1;
  int size = 28;   // images are first resized to size x size by area average
  int kernel = 4;  // and stride
  uint64_t seed = 0;
};

/// One convolution and one linear layer. With 1 filter (CNN-1) it has as many kernel weights as the quanvolution has
/// angles (16, and 1 bias); with 4 filters (CNN-4) as many output channels (64 kernel weights, and 4 biases).
class KernelCnnImpl : public ImageClassifier {
 public:
  explicit KernelCnnImpl(const KernelCnnOptions& options = {});
  torch::Tensor forward(const torch::Tensor& images) override;

  torch::nn::Conv2d conv;
  torch::nn::Linear fc = nullptr;

 private:
  int size_;
};
TORCH_MODULE(KernelCnn);

/// CNN-1 and CNN-4 of the paper.
KernelCnn cnn1(const ImageShape& shape = {}, uint64_t seed = 0);
KernelCnn cnn4(const ImageShape& shape = {}, uint64_t seed = 0);

}  // namespace quanta
