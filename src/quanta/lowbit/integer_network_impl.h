#pragma once

#include <mutex>

#include "quanta/core/aligned.h"
#include "quanta/lowbit/integer_network.h"

namespace quanta {

/// What IntegerNetwork, its builder and its file share.
struct IntegerNetwork::Impl {
  struct Tensor {
    std::string name;
    ImageShape shape;
    AffineU8 quantization;
    int64_t offset = 0;  // in the arena, for one image; n images begin at n times it
  };
  struct Op {
    std::string name;
    IntegerOpKind kind;
    std::vector<int> inputs;
    int output;
    CodeRange clamp;
    // What its kind needs:
    std::unique_ptr<IntegerConvolution> convolution;
    PoolShape pool;
    int groups = 1;
    AddFactors add{};
    AverageFactors average{};
    std::vector<CodeTable> tables;  // one an input; of Concat and Rescale
  };
  struct Workspace {
    AlignedVector<uint8_t> arena, scratch;
  };

  std::vector<Tensor> tensors;  // the first is the input
  std::vector<Op> ops;          // op i makes tensor i + 1
  bool finished = false, real_output = false;
  int64_t arena_bytes = 0;  // for one image
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Workspace>> idle;

  int add_input(const ImageShape& shape, const AffineU8& quantization);
  int add_convolution(std::string name, IntegerOpKind kind, int x, const ConvolutionShape& shape,
                      const IntegerWeights& weights, const AffineU8& output, CodeRange clamp);
  int add_linear(std::string name, int x, const IntegerWeights& weights, const AffineU8& output, CodeRange clamp);
  void add_real_linear(std::string name, int x, const IntegerWeights& weights);
  int add_add(std::string name, int a, int b, const AffineU8& output, CodeRange clamp);
  int add_concat(std::string name, const std::vector<int>& inputs, const AffineU8& output);
  int add_max_pool(std::string name, int x, const PoolShape& pool);
  int add_average_pool(std::string name, int x, const PoolShape& pool, const AffineU8& output);
  int add_flatten(std::string name, int x);
  int add_shuffle(std::string name, int x, int groups);
  int add_rescale(std::string name, int x, const AffineU8& output, CodeRange clamp);
  void finish(int result);  // the last tensor must be the result

  const Tensor& tensor(int id) const;
  int64_t batch_of(size_t values, int64_t each, const char* what) const;

  /// Input and output are in the tensors' layout; a real output goes to `real` instead of `out`.
  void execute(const Op& op, const uint8_t* const* in, int count, uint8_t* out, float* real, std::span<uint8_t> scratch,
               int threads) const;
  size_t scratch_bytes(const Op& op, int count, int threads) const;

 private:
  Op& append(std::string name, IntegerOpKind kind, std::vector<int> inputs, const ImageShape& shape,
             const AffineU8& output, CodeRange clamp);
  void plan();
};

}  // namespace quanta
