#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quanta/nn/layers.h"

namespace quanta {

/// What a node of a network does.
enum class Op {
  Input,
  Layer,      ///< a QuantizableLayer: convolution, linear
  BatchNorm,  ///< BatchNorm2d
  Relu,
  Relu6,
  Add,     ///< of two values of one shape
  Concat,  ///< along the channels
  MaxPool,
  AvgPool,
  GlobalAvgPool,   ///< [batch, C, H, W] -> [batch, C, 1, 1]
  Flatten,         ///< [batch, ...] -> [batch, features]
  ChannelShuffle,  ///< [groups, C / groups] channels transposed
  Upsample,        ///< nearest, by an integer factor
  Dropout,
  Module,  ///< any other map of one value, such as a transformer block
};
std::string_view op_name(Op op);  // "max pool"

struct Pool {
  int64_t kernel = 2;
  int64_t stride = 2;
  int64_t padding = 0;
  bool ceil = false;          ///< round the output's size up
  bool count_padding = true;  ///< an average divides by the whole window also at the border
};

struct Node {
  std::string name{};  ///< dotted, unique; for layers that of the checkpoint ("layer1.0.conv1")
  Op op = Op::Input;
  std::vector<int> inputs{};  ///< earlier nodes
  std::string block{};        ///< the block it belongs to ("layer1.0"); nodes of a block are consecutive
  std::shared_ptr<QuantizableLayer> layer{};
  torch::nn::BatchNorm2d batch_norm = nullptr;
  std::shared_ptr<TensorTransform> module{};
  Pool pool{};
  int64_t factor = 1;  ///< Upsample: the factor; ChannelShuffle: the groups
  double rate = 0;     ///< Dropout
  Slot output{};       ///< sees what the node puts out; where activations are quantized
};

/// A deep copy of the node alone: layer, module and transforms, which no network has registered yet.
Node copy_node(const Node& node);

/// Nodes of a block: [first, last], one value from outside goes in, that of `last` alone is used outside.
struct Block {
  std::string name;
  int first;
  int last;
  int input;  ///< the node outside whose value goes in
};

/// A network as an explicit list of named nodes, each after its inputs. What LibTorch's modules hide in their forward()
/// is data here, so one description is run, folded, calibrated, cut into blocks, converted to integers and exported.
/// The last node is the output. Parameters have the dotted names of their nodes, as in torchvision's checkpoints.
///
///   Network net;
///   int x = net->input();
///   x = net->conv("conv1", x, Conv2dOptions::square(3, 16, 3));
///   x = net->relu("relu", net->batch_norm("bn1", x));
///
/// Errors: a name that is taken, an input that does not exist, channels that do not fit (when run).
class NetworkImpl : public torch::nn::Module {
 public:
  /// Called after each node with the values that went in and came out (after its output slot).
  using Visitor =
      std::function<void(const Node& node, const std::vector<torch::Tensor>& inputs, const torch::Tensor& output)>;

  torch::Tensor forward(const torch::Tensor& x) { return run(x, {}); }
  torch::Tensor run(const torch::Tensor& x, const Visitor& visit);

  // Builders; each returns the new node's index.
  int input();
  int conv(const std::string& name, int x, const Conv2dOptions& options);
  int linear(const std::string& name, int x, int64_t in, int64_t out, bool bias = true);
  int layer(const std::string& name, int x, std::shared_ptr<QuantizableLayer> layer);
  int batch_norm(const std::string& name, int x, double eps = 1e-5);  ///< channels from the convolution before it
  int batch_norm(const std::string& name, int x, int64_t channels, double eps = 1e-5);
  int relu(const std::string& name, int x);
  int relu6(const std::string& name, int x);
  int add(const std::string& name, int a, int b);
  int concat(const std::string& name, std::vector<int> parts);
  int max_pool(const std::string& name, int x, const Pool& pool);
  int avg_pool(const std::string& name, int x, const Pool& pool);
  int global_avg_pool(const std::string& name, int x);
  int flatten(const std::string& name, int x);
  int channel_shuffle(const std::string& name, int x, int64_t groups);
  int upsample(const std::string& name, int x, int64_t factor);
  int dropout(const std::string& name, int x, double rate);
  int module(const std::string& name, int x, std::shared_ptr<TensorTransform> module);
  /// Nodes added from now on belong to this block; "": each is a block of its own.
  void block(const std::string& name) { block_ = name; }
  /// Adds a node that is described by hand (a pass that rewrites a network); its inputs are indices here.
  int add(Node node);

  const std::vector<Node>& nodes() const { return nodes_; }
  /// Index of the node of that name; Error that names the nearest if there is none.
  int find(std::string_view name) const;
  /// Indices of the nodes that use a node's value.
  std::vector<int> users(int node) const;
  /// Puts a transform into a node's output slot, registered as "<name>_output"; null empties it.
  void put(int node, std::shared_ptr<TensorTransform> transform);

  /// The blocks in order; together they hold every node but the input. A cut lies behind a node whose value is the only
  /// one used behind it, and never inside a named block.
  std::vector<Block> blocks() const;
  /// A network of a block's nodes; it shares layers, modules and transforms with this one.
  std::shared_ptr<NetworkImpl> part(const Block& block) const;

  /// A deep copy that shares nothing, in the same mode.
  std::shared_ptr<NetworkImpl> copy() const;

 private:
  int append(Op op, const std::string& name, std::vector<int> inputs);
  /// The module to register a name in, made if need be, and what the name is there.
  std::pair<torch::nn::Module*, std::string> place(std::string_view name);

  std::vector<Node> nodes_;
  std::string block_;
};
TORCH_MODULE(Network);

/// One quantizable layer of a network, as seen with an input of a given shape.
struct LayerInfo {
  std::string name;
  std::string kind;  ///< "conv 3x3", "depthwise 3x3", "linear"
  std::string block;
  std::vector<int64_t> weight;                      ///< shape
  std::vector<int64_t> output;                      ///< shape for one sample
  int64_t parameters = 0;                           ///< weight and bias
  int64_t macs = 0;                                 ///< a sample
  int64_t bytes() const { return 4 * parameters; }  ///< as float
};

/// Name, shapes, multiply-accumulates and bytes of each quantizable layer, for inputs [1, C, H, W].
std::vector<LayerInfo> layer_table(Network net, torch::IntArrayRef input_shape);

}  // namespace quanta
