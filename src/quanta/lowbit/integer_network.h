#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/lowbit/convolution.h"

namespace quanta {

/// Channels first, as PyTorch names an image; codes in memory are [n, height, width, channels].
struct ImageShape {
  int channels = 1, height = 1, width = 1;
  int64_t size() const { return int64_t{channels} * height * width; }
  bool operator==(const ImageShape&) const = default;
};

enum class IntegerOpKind {
  Convolution,
  Linear,
  Add,
  Concat,
  MaxPool,
  AveragePool,
  Flatten,
  ChannelShuffle,
  Rescale,  // other scale, zero point or range: also a ReLU by itself
};
std::string_view integer_op_name(IntegerOpKind kind);

/// One operation as describe() tells it.
struct IntegerOpInfo {
  std::string name;
  IntegerOpKind kind;
  std::vector<std::string> inputs;  // names of tensors: "input" or the operation that made it
  ImageShape shape;                 // of the output
  AffineU8 output;
  int64_t macs = 0;          // multiply-adds an image
  int64_t weight_bytes = 0;  // as stored in a file, with scales and bias
  int64_t output_bytes = 0;  // an image
  int weight_bits = 0;
};

/// A network of which every operation computes with integers: a list of operations on tensors of u8 codes. Build it
/// with IntegerNetworkBuilder. Whitepaper 1806.08342, section "Integer-only inference": images are quantized, each
/// layer hands codes to the next, the last layer's values leave as floats.
class IntegerNetwork {
 public:
  struct Impl;
  IntegerNetwork(IntegerNetwork&&) noexcept;
  IntegerNetwork& operator=(IntegerNetwork&&) noexcept;
  ~IntegerNetwork();

  ImageShape input_shape() const;
  AffineU8 input_quantization() const;
  int64_t outputs() const;      // values an image
  bool integer_output() const;  // whether the last tensor is one of codes: else the real values of accumulators

  /// images [batch, channels, height, width] -> [batch, outputs]. Safe to call from several threads. After a first call
  /// with this batch the second form allocates nothing. The result does not depend on the number of threads, the
  /// batch or the instruction set.
  std::vector<float> run(std::span<const float> images, int batch) const;
  void run(std::span<const float> images, int batch, std::span<float> out) const;

  /// The same from the input's codes [batch, height, width, channels].
  std::vector<float> run_codes(std::span<const uint8_t> codes, int batch) const;

  /// Input codes [batch, height, width, channels] of real images [batch, channels, height, width].
  std::vector<uint8_t> quantize_input(std::span<const float> images, int batch) const;

  /// Output codes of every operation, in order. An operation that gives real values has an empty entry.
  std::vector<std::vector<uint8_t>> trace(std::span<const uint8_t> codes, int batch) const;

  /// One operation alone on given input codes, [batch, height, width, channels] each: codes, or real values for the
  /// last operation of a network without integer output.
  std::vector<uint8_t> run_op(size_t op, const std::vector<std::span<const uint8_t>>& inputs, int batch) const;
  std::vector<float> run_real_op(size_t op, std::span<const uint8_t> input, int batch) const;

  std::vector<IntegerOpInfo> describe() const;
  /// Index of the operation of that name; throws Error, naming the nearest, if there is none.
  size_t find(std::string_view name) const;

  /// Most bytes of activations that live at once, and that the arena takes, for a batch of one image.
  int64_t arena_bytes() const;

  /// One safetensors file: every integer as it is, weights at their own bits, the list of operations as JSON.
  void save(const std::filesystem::path& path) const;
  static IntegerNetwork load(const std::filesystem::path& path);

 private:
  friend class IntegerNetworkBuilder;
  explicit IntegerNetwork(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Adds operations one by one; each gives the number of its output tensor. Names must differ. Throws Error on what does
/// not fit, naming the operation.
class IntegerNetworkBuilder {
 public:
  using Tensor = int;

  IntegerNetworkBuilder(const ImageShape& input, const AffineU8& quantization);
  ~IntegerNetworkBuilder();

  Tensor input() const { return 0; }
  ImageShape shape(Tensor tensor) const;
  AffineU8 quantization(Tensor tensor) const;

  Tensor convolution(std::string name, Tensor x, const ConvolutionShape& shape, const IntegerWeights& weights,
                     const AffineU8& output, Activation activation = Activation::None);
  /// x of shape [features, 1, 1] (see flatten); weight codes [out, features].
  Tensor linear(std::string name, Tensor x, const IntegerWeights& weights, const AffineU8& output,
                Activation activation = Activation::None);
  /// Both inputs rescaled to the output's scale and summed; half rounds away from zero.
  Tensor add(std::string name, Tensor a, Tensor b, const AffineU8& output, Activation activation = Activation::None);
  /// Along the channels; an input whose quantizer differs from the output's is requantized.
  Tensor concat(std::string name, const std::vector<Tensor>& inputs, const AffineU8& output);
  Tensor max_pool(std::string name, Tensor x, const PoolShape& pool);  // keeps the quantizer
  Tensor average_pool(std::string name, Tensor x, const PoolShape& pool, const AffineU8& output);
  Tensor global_average_pool(std::string name, Tensor x, const AffineU8& output);
  /// To [channels * height * width, 1, 1] in PyTorch's order.
  Tensor flatten(std::string name, Tensor x);
  /// Channel g * (channels / groups) + k goes to k * groups + g (ShuffleNet).
  Tensor channel_shuffle(std::string name, Tensor x, int groups);
  Tensor rescale(std::string name, Tensor x, const AffineU8& output, Activation activation = Activation::None);

  /// The network's result: the dequantized values of a tensor, in PyTorch's order.
  IntegerNetwork output(Tensor x);
  /// The network's result: a last linear layer whose accumulators leave as real values, without an output quantizer.
  IntegerNetwork output_linear(std::string name, Tensor x, const IntegerWeights& weights);

 private:
  std::unique_ptr<IntegerNetwork::Impl> impl_;
};

}  // namespace quanta
