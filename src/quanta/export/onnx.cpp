#include "quanta/export/onnx.h"

#include <algorithm>
#include <optional>
#include <span>
#include <variant>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/export/wire.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;
using Ints = std::vector<int64_t>;
using Grid = std::optional<QuantParams>;

struct Attribute {
  std::string name;
  std::variant<int64_t, float, std::string, Ints> value;
};

struct Operation {
  std::string type, name;
  std::vector<std::string> inputs;
  std::string output;
  std::vector<Attribute> attributes{};
};

/// A value in the ONNX graph, and the grid it lies on if it is a quantized one.
struct Value {
  std::string name;
  Grid grid{};
};

bool same(const QuantParams& a, const QuantParams& b) {
  return torch::equal(a.scale, b.scale) && torch::equal(a.zero_point, b.zero_point) && a.qmin == b.qmin &&
         a.qmax == b.qmax;
}

bool is_signed(const QuantParams& grid) {
  return grid.qmin < 0;
}

// The numbers of fields and types are those of onnx/onnx.proto.

Message encode(const Attribute& attribute) {
  Message m;
  m.bytes(1, attribute.name);
  const int type = std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, float>)
          return m.real(2, value), 1;
        else if constexpr (std::is_same_v<T, int64_t>)
          return m.number(3, value), 2;
        else if constexpr (std::is_same_v<T, std::string>)
          return m.bytes(4, value), 3;
        else
          return m.numbers(8, value), 7;
      },
      attribute.value);
  m.number(20, type);
  return m;
}

Message encode(const Operation& operation) {
  Message m;
  for (const std::string& input : operation.inputs) m.bytes(1, input);
  m.bytes(2, operation.output);
  m.bytes(3, operation.name);
  m.bytes(4, operation.type);
  for (const Attribute& attribute : operation.attributes) m.message(5, encode(attribute));
  return m;
}

constexpr int kFloat = 1;

Message encode(const std::string& name, const torch::Tensor& tensor) {
  constexpr std::pair<torch::ScalarType, int> kTypes[]{
      {torch::kFloat32, kFloat}, {torch::kUInt8, 2}, {torch::kInt8, 3}, {torch::kInt32, 6}, {torch::kInt64, 7}};
  const torch::Tensor t = tensor.detach().contiguous();
  Message m;
  m.numbers(1, t.sizes());
  m.number(2, std::ranges::find(kTypes, t.scalar_type(), &std::pair<torch::ScalarType, int>::first)->second);
  m.bytes(8, name);
  m.bytes(9, {static_cast<const char*>(t.data_ptr()), t.nbytes()});
  return m;
}

/// A value of float [batch, shape...].
Message encode_type(const std::string& name, torch::IntArrayRef shape) {
  Message batch, dims, tensor, type, value;
  batch.bytes(2, "batch");
  dims.message(1, batch);
  for (const int64_t size : shape) {
    Message dim;
    dim.number(1, size);
    dims.message(1, dim);
  }
  tensor.number(1, kFloat);
  tensor.message(2, dims);
  type.message(1, tensor);
  value.bytes(1, name);
  value.message(2, type);
  return value;
}

/// The grid a slot puts values on, or none if it leaves them as they are.
Grid grid_of(const Slot& slot, const std::string& node) {
  const auto fake = slot.as<FakeQuantize>();
  if (!slot || slot.as<Observer>() || (fake && !fake->quantizing())) return {};
  const auto plain = slot.as<UniformQuantizer>();
  if (!fake && !plain) {
    const auto other = slot.as<Quantizer>();
    fail("ONNX cannot express what '{}' holds ({}): its quantization is uniform only", node,
         other ? other->describe() : "a transform that is no quantizer");
  }
  const UniformQuantizer& quantizer = fake ? fake->quantizer() : *plain;
  require(quantizer.ready(), "the quantizer of '{}' is not set: calibrate the network before it is exported", node);
  QuantParams grid = quantizer.params();
  require(grid.group == 0, "ONNX opset 13 cannot express a scale for every {} values, which '{}' has", grid.group,
          node);
  require(is_signed(grid) ? grid.qmin >= -128 && grid.qmax <= 127 : grid.qmax <= 255,
          "ONNX opset 13 quantizes to 8 bits; the codes of '{}' are {} to {}", node, grid.qmin, grid.qmax);
  grid.scale = grid.scale.detach().to(torch::kFloat32).flatten();
  grid.zero_point = grid.zero_point.to(torch::kInt32).flatten();
  return grid;
}

/// The grid of an activation: one for the tensor.
Grid activation_grid(const Slot& slot, const std::string& node) {
  const Grid grid = grid_of(slot, node);
  require(!grid || (grid->axis < 0 && grid->scale.numel() == 1),
          "ONNX Runtime's integer kernels want one scale for an activation; '{}' has one a channel", node);
  return grid;
}

/// The grids of a node's slots.
struct Grids {
  Grid input{}, weight{}, layer_output{}, output{};
};

class Graph {
 public:
  Graph(const Network& folded, const OnnxOptions& options) : net_(folded), options_(options) {
    bool quantized = false;
    for (const Node& node : net_->nodes()) {
      Grids g{.output = activation_grid(node.output, node.name)};
      if (node.layer) {
        g.input = activation_grid(node.layer->slot(Place::Input), node.name);
        g.weight = grid_of(node.layer->slot(Place::Weight), node.name);
        g.layer_output = activation_grid(node.layer->slot(Place::Output), node.name);
        require(!g.weight || g.weight->axis <= 0, "ONNX export wants a weight's scales by output channel, not as '{}'",
                node.name);
      }
      quantized |= g.input || g.weight || g.layer_output || g.output;
      grids_.push_back(std::move(g));
    }
    for (const Node& node : net_->nodes())
      require(!quantized || node.op != Op::BatchNorm,
              "the batch normalization '{}' of a quantized network cannot be folded into a convolution", node.name);
  }

  std::string model() {
    measure();
    std::vector<Value> values;
    for (size_t i = 0; i < net_->nodes().size(); ++i) {
      const Node& node = net_->nodes()[i];
      std::vector<Value> in;
      for (const int j : node.inputs) in.push_back(values[size_t(j)]);
      values.push_back(quantized(node.name, convert(i, node, in), grids_[i].output));
    }
    require(!operations_.empty(), "a network without operations cannot be exported");
    operations_.back().output = "logits";
    return encoded();
  }

 private:
  /// Shapes of all values; the grids are known, so the slots may be emptied and see nothing.
  void measure() {
    for (size_t i = 0; i < net_->nodes().size(); ++i) {
      net_->put(int(i), nullptr);
      if (const auto& layer = net_->nodes()[i].layer)
        for (const Place place : {Place::Input, Place::Weight, Place::Output}) layer->put(place, nullptr);
    }
    const torch::NoGradGuard no_grad;
    Ints shape = options_.input;
    shape.insert(shape.begin(), 1);
    net_->to(torch::kFloat32);
    net_->run(torch::zeros(shape), [&](const Node&, const auto&, const torch::Tensor& out) {
      shapes_.push_back(out.sizes().slice(1).vec());
    });
  }

  std::string encoded() const {
    size_t size = 0;
    for (const auto& [name, tensor] : constants_) size += tensor.nbytes();
    require(size < (size_t{1} << 31) - (size_t{1} << 24), "the weights take {} MB, but an ONNX file holds at most 2 GB",
            size >> 20);
    Message graph, opset, model;
    for (const Operation& operation : operations_) graph.message(1, encode(operation));
    graph.bytes(2, "quanta");
    for (const auto& [name, tensor] : constants_) graph.message(5, encode(name, tensor));
    graph.message(11, encode_type("input", shapes_.front()));
    graph.message(12, encode_type("logits", shapes_.back()));
    model.number(1, 7);  // the version of the format that came with opset 13
    model.bytes(2, "quanta");
    model.message(7, graph);
    opset.bytes(1, "");
    opset.number(2, 13);
    model.message(8, opset);
    for (const auto& [key, value] : options_.metadata) {
      Message entry;
      entry.bytes(1, key);
      entry.bytes(2, value);
      model.message(14, entry);
    }
    return model.encoded();
  }

  std::string constant(const std::string& name, const torch::Tensor& value) {
    constants_.emplace_back(name, value);
    return name;
  }
  std::string constant(const std::string& name, const Ints& value) { return constant(name, torch::tensor(value)); }
  std::string constant(const std::string& name, float value) { return constant(name, torch::tensor(value)); }

  /// Adds an operation and returns its value, which is called as the operation.
  std::string apply(const std::string& type, const std::string& name, const std::vector<std::string>& inputs,
                    const std::vector<Attribute>& attributes = {}) {
    operations_.push_back({type, name, inputs, name + ".output", attributes});
    return operations_.back().output;
  }

  /// The names of a grid's scale and zero point; a scalar where there is one for the tensor.
  std::array<std::string, 2> scale_and_zero(const std::string& name, const QuantParams& grid) {
    const auto form = [&](const torch::Tensor& t) { return grid.axis < 0 ? t[0] : t; };
    const auto type = is_signed(grid) ? torch::kInt8 : torch::kUInt8;
    return {constant(name + ".scale", form(grid.scale)),
            constant(name + ".zero_point", form(grid.zero_point.to(type)))};
  }

  /// x on a grid; `clip`: values outside the codes in use may occur.
  Value quantized(const std::string& node, const Value& x, const Grid& grid, bool clip = true) {
    if (!grid || (x.grid && same(*x.grid, *grid))) return x;
    std::string name = x.name;
    const float scale = grid->scale.item<float>();
    const auto zero = float(grid->zero_point.item<int>());
    const bool all_codes = is_signed(*grid) ? grid->qmin == -128 && grid->qmax == 127 : grid->qmax == 255;
    if (clip && !all_codes)
      name = apply("Clip", node + ".clip",
                   {name, constant(node + ".low", (float(grid->qmin) - zero) * scale),
                    constant(node + ".high", (float(grid->qmax) - zero) * scale)});
    const auto [s, z] = scale_and_zero(node, *grid);
    name = apply("QuantizeLinear", node + ".quantize", {name, s, z});
    return {apply("DequantizeLinear", node + ".dequantize", {name, s, z}), grid};
  }

  Value convert(size_t index, const Node& node, const std::vector<Value>& in) {
    std::vector<std::string> names;
    for (const Value& v : in) names.push_back(v.name);
    switch (node.op) {
      case Op::Input:
        return {"input"};
      case Op::Layer:
        return layer(node, in[0], grids_[index]);
      case Op::BatchNorm:
        return batch_norm(node, names[0]);
      case Op::Relu:
        return keep(node, apply("Relu", node.name, names), in, index);
      case Op::Relu6:
        return {apply("Clip", node.name,
                      {names[0], constant(node.name + ".min", 0.0f), constant(node.name + ".max", 6.0f)})};
      case Op::Add:
        return {apply("Add", node.name, names)};
      case Op::Concat:
        return keep(node, apply("Concat", node.name, names, {{"axis", int64_t{1}}}), in, index);
      case Op::MaxPool:
        return keep(node, apply("MaxPool", node.name, names, window(index, node)), in, index);
      case Op::AvgPool: {
        auto attributes = window(index, node);
        attributes.push_back({"count_include_pad", int64_t(node.pool.count_padding)});
        return {apply("AveragePool", node.name, names, attributes)};
      }
      case Op::GlobalAvgPool:
        return {apply("GlobalAveragePool", node.name, names)};
      case Op::Flatten:
        return keep(node, apply("Flatten", node.name, names, {{"axis", int64_t{1}}}), in, index);
      case Op::ChannelShuffle:
        return keep(node, channel_shuffle(index, node, names[0]), in, index);
      case Op::Upsample: {
        const auto factor = float(node.factor);
        const auto scales = constant(node.name + ".scales", torch::tensor({1.0f, 1.0f, factor, factor}));
        return keep(
            node,
            apply("Resize", node.name, {names[0], "", scales},
                  {{"mode", "nearest"}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}}),
            in, index);
      }
      case Op::Dropout:  // folding took it out
      case Op::Module:
        break;
    }
    fail("ONNX export knows no form of '{}', a {}", node.name, op_name(node.op));
  }

  /// What only picks among values leaves them on their grid, if they share one; the grid is written behind it again
  /// unless the node has one of its own.
  Value keep(const Node& node, const std::string& output, const std::vector<Value>& in, size_t index) {
    const bool one_grid = std::ranges::all_of(in, [&](const Value& v) { return v.grid && same(*v.grid, *in[0].grid); });
    if (!one_grid || grids_[index].output) return {output};
    return quantized(node.name, {output}, in[0].grid, /*clip=*/false);
  }

  Value layer(const Node& node, Value x, const Grids& grids) {
    const auto conv = std::dynamic_pointer_cast<Conv2dImpl>(node.layer);
    require(conv || std::dynamic_pointer_cast<LinearImpl>(node.layer),
            "ONNX export knows convolutions and linear layers; '{}' is neither", node.name);
    x = quantized(node.name + ".input", x, grids.input);
    std::vector<std::string> inputs{x.name};
    weight_and_bias(node, x.grid, grids.weight, inputs);
    std::string y;
    if (conv) {
      const auto& o = conv->options();
      const auto both = [](const std::array<int64_t, 2>& a) { return Ints{a[0], a[1]}; };
      y = apply("Conv", node.name, inputs,
                {{"kernel_shape", both(o.kernel)},
                 {"strides", both(o.stride)},
                 {"pads", Ints{o.padding[0], o.padding[1], o.padding[0], o.padding[1]}},
                 {"dilations", both(o.dilation)},
                 {"group", o.groups}});
    } else {
      require(shapes_[size_t(node.inputs[0])].size() == 1,
              "ONNX export wants a linear layer's input as [batch, features]; that of '{}' has more dimensions",
              node.name);
      y = apply("Gemm", node.name, inputs, {{"transB", int64_t{1}}});
    }
    return quantized(node.name + ".layer", {y}, grids.layer_output);
  }

  void weight_and_bias(const Node& node, const Grid& x, Grid grid, std::vector<std::string>& inputs) {
    const torch::NoGradGuard no_grad;
    torch::Tensor weight = node.layer->effective_weight();
    const torch::Tensor& bias = node.layer->bias;
    const std::string name = node.name + ".weight";
    if (!grid) {
      inputs.push_back(constant(name, weight));
      if (bias.defined()) inputs.push_back(constant(node.name + ".bias", bias));
      return;
    }
    torch::Tensor codes = quantize(weight, *grid);
    if (x && bias.defined()) {
      // Smallest scales with which the bias stays below 2^30.
      const auto least = bias.abs() / (x->scale * double(1 << 30));
      const auto scale = torch::maximum(grid->scale, grid->axis < 0 ? least.max().view(1) : least);
      if (!torch::equal(scale, grid->scale)) {
        weight = dequantize(codes, *grid);
        grid->scale = scale;
        codes = quantize(weight, *grid);
      }
    }
    const auto [s, z] = scale_and_zero(name, *grid);
    const std::vector<Attribute> axis =
        grid->axis < 0 ? std::vector<Attribute>{} : std::vector<Attribute>{{"axis", int64_t{0}}};
    codes = codes.to(is_signed(*grid) ? torch::kInt8 : torch::kUInt8);
    inputs.push_back(apply("DequantizeLinear", name + ".dequantize", {constant(name, codes), s, z}, axis));
    if (!bias.defined()) return;
    const std::string bias_name = node.name + ".bias";
    if (!x) {
      inputs.push_back(constant(bias_name, bias));
      return;
    }
    const auto scale = grid->scale * x->scale;
    const auto steps = (bias.to(torch::kFloat64) / scale.to(torch::kFloat64)).round().to(torch::kInt32);
    const auto form = [&](const torch::Tensor& t) { return grid->axis < 0 ? t[0] : t; };
    inputs.push_back(apply("DequantizeLinear", bias_name + ".dequantize",
                           {constant(bias_name, steps), constant(bias_name + ".scale", form(scale)),
                            constant(bias_name + ".zero_point", form(torch::zeros_like(scale, torch::kInt32)))},
                           axis));
  }

  Value batch_norm(const Node& node, const std::string& x) {
    const auto& norm = *node.batch_norm;
    require(norm.running_mean.defined(), "the batch normalization '{}' has no running statistics", node.name);
    const auto ones = torch::ones_like(norm.running_var);
    const auto or_else = [](const torch::Tensor& t, const torch::Tensor& other) { return t.defined() ? t : other; };
    return {apply("BatchNormalization", node.name,
                  {x, constant(node.name + ".weight", or_else(norm.weight, ones)),
                   constant(node.name + ".bias", or_else(norm.bias, torch::zeros_like(ones))),
                   constant(node.name + ".running_mean", norm.running_mean),
                   constant(node.name + ".running_var", norm.running_var)},
                  {{"epsilon", float(norm.options.eps())}})};
  }

  /// A window's attributes. Where the size is rounded up, the padding at the end is what the last window needs.
  std::vector<Attribute> window(size_t index, const Node& node) const {
    const Pool& pool = node.pool;
    const Ints &in = shapes_[size_t(node.inputs[0])], &out = shapes_[index];
    Ints pads{pool.padding, pool.padding};
    for (const size_t d : {size_t{1}, size_t{2}})
      pads.push_back(std::max(pool.padding, (out[d] - 1) * pool.stride + pool.kernel - in[d] - pool.padding));
    require(node.op == Op::MaxPool || !pool.count_padding || (pads[2] == pool.padding && pads[3] == pool.padding),
            "ONNX opset 13 cannot express the average pool '{}', which rounds its size up and counts padding",
            node.name);
    return {
        {"kernel_shape", Ints{pool.kernel, pool.kernel}}, {"strides", Ints{pool.stride, pool.stride}}, {"pads", pads}};
  }

  std::string channel_shuffle(size_t index, const Node& node, const std::string& x) {
    const Ints& shape = shapes_[index];
    const auto split = constant(node.name + ".split", Ints{0, node.factor, shape[0] / node.factor, -1});
    const auto join = constant(node.name + ".join", Ints{0, shape[0], shape[1], shape[2]});
    const auto parts = apply("Reshape", node.name + ".groups", {x, split});
    const auto moved = apply("Transpose", node.name + ".transpose", {parts}, {{"perm", Ints{0, 2, 1, 3}}});
    return apply("Reshape", node.name, {moved, join});
  }

  Network net_;
  const OnnxOptions& options_;
  std::vector<Grids> grids_;  // a node each
  std::vector<Ints> shapes_;  // a node each, without the batch
  std::vector<Operation> operations_;
  std::vector<std::pair<std::string, torch::Tensor>> constants_;
};

}  // namespace

std::string to_onnx(const Network& net, const OnnxOptions& options) {
  require(!options.input.empty() && std::ranges::all_of(options.input, [](int64_t n) { return n > 0; }),
          "an ONNX model's input needs a shape of positive sizes, not [{}]", fmt::join(options.input, ", "));
  return Graph(fold_batch_norm(net), options).model();
}

void export_onnx(const std::filesystem::path& path, const Network& net, const OnnxOptions& options) {
  write_file(path, to_onnx(net, options));
}

}  // namespace quanta
