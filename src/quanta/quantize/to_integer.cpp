#include "quanta/quantize/to_integer.h"

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;

const UniformQuantizer& quantizer_in(const Slot& slot, const std::string& where) {
  const auto fake = slot.as<FakeQuantize>();
  require(fake != nullptr, "{} does not hold a uniform quantizer, which integers need", where);
  require(fake->quantizing() && fake->quantizer().ready(),
          "{} is not calibrated: its observer has seen no data, or it does not quantize", where);
  return fake->quantizer();
}

/// The grid of an activation, its codes counted from 0.
AffineU8 grid_of(const Node& node) {
  const std::string where = "the output of '" + node.name + "'";
  const QuantParams params = quantizer_in(node.output, where).params();
  require(params.scale.numel() == 1, "{} has {} scales; activations of integer networks have one", where,
          params.scale.numel());
  require(params.qmax - params.qmin <= 255, "{} has codes from {} to {}, which do not fit 8 bits", where, params.qmin,
          params.qmax);
  return {.scale = params.scale.item<float>(),
          .zero_point = int(params.zero_point.item<int32_t>() - params.qmin),
          .max_code = int(params.qmax - params.qmin)};
}

/// A layer's codes and what gives them meaning, as spans of what is kept here.
struct Weights {
  explicit Weights(const Node& node) {
    const QuantizableLayer& layer = *node.layer;
    const std::string where = "the weight of '" + node.name + "'";
    for (const Place place : {Place::Input, Place::Output})
      require(!layer.slot(place), "'{}' has a transform at its input or output, which integers do not have", node.name);
    const UniformQuantizer& quantizer = quantizer_in(layer.slot(Place::Weight), where);
    const QuantParams params = quantizer.params();
    require(quantizer.bits() <= 8 && params.group == 0 && params.axis <= 0,
            "{} is quantized to {}; integer kernels take up to 8 bits with one scale, or one a channel", where,
            quantizer.describe());
    const int64_t offset = params.qmin < 0 ? 0 : int64_t{1} << (quantizer.bits() - 1);  // to signed codes
    codes = (quantizer.encode(layer.weight.detach()) - offset).to(torch::kInt8).contiguous();
    scales = params.scale.detach().to(torch::kFloat32).contiguous();
    zero_points = (params.zero_point - offset).to(torch::kInt32).contiguous();
    const bool symmetric = zero_points.eq(0).all().item<bool>();
    if (layer.bias.defined()) bias = layer.bias.detach().to(torch::kFloat32).contiguous();
    spans = {.codes = {codes.data_ptr<int8_t>(), size_t(codes.numel())},
             .scales = {scales.data_ptr<float>(), size_t(scales.numel())},
             .bits = quantizer.bits()};
    if (!symmetric) spans.zero_points = {zero_points.data_ptr<int32_t>(), size_t(zero_points.numel())};
    if (bias.defined()) spans.bias = {bias.data_ptr<float>(), size_t(bias.numel())};
  }

  torch::Tensor codes, scales, zero_points, bias;
  IntegerWeights spans;
};

ConvolutionShape shape_of(const Conv2dOptions& o) {
  const auto narrow = [](int64_t v) { return int(v); };
  return {.in_channels = narrow(o.in),
          .out_channels = narrow(o.out),
          .kernel_h = narrow(o.kernel[0]),
          .kernel_w = narrow(o.kernel[1]),
          .stride_h = narrow(o.stride[0]),
          .stride_w = narrow(o.stride[1]),
          .padding_h = narrow(o.padding[0]),
          .padding_w = narrow(o.padding[1]),
          .dilation_h = narrow(o.dilation[0]),
          .dilation_w = narrow(o.dilation[1]),
          .groups = narrow(o.groups)};
}

class Converter {
 public:
  Converter(const Network& net, const ImageShape& input)
      : net_(net), tensors_(net->nodes().size(), -1), builder_(input, grid_of(net->nodes().front())) {
    tensors_[0] = builder_.input();
  }

  IntegerNetwork run() {
    const int last = int(net_->nodes().size()) - 1;
    for (int i = 1; i < last; ++i)
      if (tensors_[size_t(i)] < 0) convert(i);
    const Node& node = net_->nodes()[size_t(last)];
    if (tensors_[size_t(last)] < 0) {
      if (std::dynamic_pointer_cast<LinearImpl>(node.layer) && !node.output)
        return builder_.output_linear(node.name, in(node), Weights(node).spans);
      convert(last);
    }
    return builder_.output(tensors_[size_t(last)]);
  }

 private:
  int in(const Node& node, size_t i = 0) const { return tensors_[size_t(node.inputs[i])]; }

  /// The grid of a node's values and the rectifier that goes with it: its own, or that of the only node that uses it,
  /// if that is a rectifier, whose value is then this node's.
  struct Output {
    int node;
    AffineU8 grid;
    Activation activation = Activation::None;
  };
  Output output(int i) const {
    const Node& node = net_->nodes()[size_t(i)];
    if (node.output) return {.node = i, .grid = grid_of(node)};
    const std::vector<int> users = net_->users(i);
    if (users.size() == 1) {
      const Node& next = net_->nodes()[size_t(users[0])];
      if ((next.op == Op::Relu || next.op == Op::Relu6) && next.output)
        return {users[0], grid_of(next), next.op == Op::Relu ? Activation::Relu : Activation::Relu6};
    }
    fail("the output of '{}' ({}) has no quantizer, so it cannot become codes: quantize and calibrate its activations",
         node.name, op_name(node.op));
  }

  /// The node's own grid, or else that of its input.
  AffineU8 grid_or_input(const Node& node) const {
    return node.output ? grid_of(node) : builder_.quantization(in(node));
  }

  PoolShape pool_of(const Node& node) const {
    const Pool& p = node.pool;
    const ImageShape shape = builder_.shape(in(node));
    for (const int size : {shape.height, shape.width})
      require(!p.ceil || (size + 2 * p.padding - p.kernel) % p.stride == 0,
              "the pool '{}' rounds its size up, which integer networks do not have", node.name);
    const int k = int(p.kernel), s = int(p.stride), d = int(p.padding);
    return {k, k, s, s, d, d, p.count_padding};
  }

  void set(const Output& to, int i, int tensor) { tensors_[size_t(i)] = tensors_[size_t(to.node)] = tensor; }

  /// What only moves codes keeps their grid; a quantizer of the node's own then follows.
  void moved(int i, int tensor) {
    const Node& node = net_->nodes()[size_t(i)];
    if (node.output && !(grid_of(node) == builder_.quantization(tensor)))
      tensor = builder_.rescale(node.name + ".output", tensor, grid_of(node));
    tensors_[size_t(i)] = tensor;
  }

  void convert(int i) {
    const Node& node = net_->nodes()[size_t(i)];
    switch (node.op) {
      case Op::Layer: {
        require(!std::dynamic_pointer_cast<ConvBn2dImpl>(node.layer), "the batch normalization of '{}' is not folded",
                node.name);
        const Output to = output(i);
        const Weights weights(node);
        const auto conv = std::dynamic_pointer_cast<Conv2dImpl>(node.layer);
        require(conv || std::dynamic_pointer_cast<LinearImpl>(node.layer), "'{}' is no layer that integers have",
                node.name);
        set(to, i,
            conv ? builder_.convolution(node.name, in(node), shape_of(conv->options()), weights.spans, to.grid,
                                        to.activation)
                 : builder_.linear(node.name, in(node), weights.spans, to.grid, to.activation));
        return;
      }
      case Op::Add: {
        const Output to = output(i);
        return set(to, i, builder_.add(node.name, in(node, 0), in(node, 1), to.grid, to.activation));
      }
      case Op::Relu:
      case Op::Relu6:
        tensors_[size_t(i)] = builder_.rescale(node.name, in(node), grid_or_input(node),
                                               node.op == Op::Relu ? Activation::Relu : Activation::Relu6);
        return;
      case Op::Concat: {
        std::vector<int> parts;
        for (size_t k = 0; k < node.inputs.size(); ++k) parts.push_back(in(node, k));
        const bool shared = std::all_of(parts.begin(), parts.end(), [&](int part) {
          return builder_.quantization(part) == builder_.quantization(parts[0]);
        });
        if (shared && !node.output) return moved(i, builder_.concat(node.name, parts, builder_.quantization(parts[0])));
        const Output to = output(i);
        int joined = builder_.concat(node.name, parts, to.grid);
        if (!(code_range(to.activation, to.grid) == CodeRange{0, to.grid.max_code}))
          joined = builder_.rescale(node.name + ".relu", joined, to.grid, to.activation);
        return set(to, i, joined);
      }
      case Op::MaxPool:
        return moved(i, builder_.max_pool(node.name, in(node), pool_of(node)));
      case Op::Flatten:
        return moved(i, builder_.flatten(node.name, in(node)));
      case Op::ChannelShuffle:
        return moved(i, builder_.channel_shuffle(node.name, in(node), int(node.factor)));
      case Op::Dropout:
        return moved(i, in(node));
      case Op::AvgPool:
        tensors_[size_t(i)] = builder_.average_pool(node.name, in(node), pool_of(node), grid_or_input(node));
        return;
      case Op::GlobalAvgPool:
        tensors_[size_t(i)] = builder_.global_average_pool(node.name, in(node), grid_or_input(node));
        return;
      case Op::BatchNorm:
        fail("the batch normalization '{}' is not folded into a convolution", node.name);
      case Op::Input:
      case Op::Upsample:
      case Op::Module:
        break;
    }
    fail("'{}' ({}) is nothing that integer networks have", node.name, op_name(node.op));
  }

  const Network& net_;
  std::vector<int> tensors_;
  IntegerNetworkBuilder builder_;
};

}  // namespace

IntegerNetwork to_integer(const Network& net, const ImageShape& input) {
  const torch::NoGradGuard no_grad;
  return Converter(net, input).run();
}

}  // namespace quanta
