#include <cstring>
#include <nlohmann/json.hpp>

#include "quanta/core/error.h"
#include "quanta/core/safetensors.h"
#include "quanta/lowbit/integer_network_impl.h"
#include "quanta/lowbit/packing.h"

// The file: metadata {"format": "quanta.integer_network", "version": "1", "network": JSON}, and for each layer with
// weights the tensors NAME.codes (I8, or U8 with the codes' low bits one after the other, the first in the lowest
// bits), NAME.scales (F32), NAME.zero_points (I32, unless symmetric) and NAME.bias (I32, if there is one).

namespace quanta {

using nlohmann::json;
using Impl = IntegerNetwork::Impl;

namespace {

constexpr const char* kFormat = "quanta.integer_network";
constexpr const char* kVersion = "1";

json to_json(const AffineU8& q) {
  return {{"scale", q.scale}, {"zero_point", q.zero_point}, {"max_code", q.max_code}};
}

// A description from a file: every access says what is missing or of the wrong kind.
class Reader {
 public:
  Reader(const json& value, std::string where) : value_(value), where_(std::move(where)) {}

  Reader at(const char* key) const {
    require(value_.is_object() && value_.contains(key), "{}: {} is missing", where_, key);
    return {value_.at(key), where_ + ": " + key};
  }
  const json& array() const {
    require(value_.is_array(), "{} must be an array", where_);
    return value_;
  }
  std::string text() const {
    require(value_.is_string(), "{} must be a string", where_);
    return value_.get<std::string>();
  }
  bool boolean() const {
    require(value_.is_boolean(), "{} must be true or false", where_);
    return value_.get<bool>();
  }
  float number() const {
    require(value_.is_number(), "{} must be a number", where_);
    return value_.get<float>();
  }
  int integer(const char* key) const {
    const Reader item = at(key);
    require(item.value_.is_number_integer() && item.value_ >= -(1 << 24) && item.value_ <= 1 << 24,
            "{} must be an integer of at most 24 bits", item.where_);
    return item.value_.get<int>();
  }
  AffineU8 affine(const char* key) const {
    const Reader item = at(key);
    return {item.at("scale").number(), item.integer("zero_point"), item.integer("max_code")};
  }
  ImageShape image(const char* key) const {
    const Reader item = at(key);
    return {item.integer("channels"), item.integer("height"), item.integer("width")};
  }
  CodeRange clamp() const { return {integer("low"), integer("high")}; }
  const std::string& where() const { return where_; }

 private:
  const json& value_;
  std::string where_;
};

template <class T>
std::vector<T> read_values(const Safetensors& file, const std::string& where, const std::string& name, DataType type) {
  const TensorView& view = file.at(name);
  require(view.type == type, "{}: tensor {} must be {}, not {}", where, name, data_type_name(type),
          data_type_name(view.type));
  std::vector<T> values(view.bytes.size() / sizeof(T));
  std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
  return values;
}

struct Weights {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> zero_points, bias;
  int bits;
  IntegerWeights view() const {
    return {.codes = codes, .scales = scales, .zero_points = zero_points, .bias_codes = bias, .bits = bits};
  }
};

Weights read_weights(const Safetensors& file, const Reader& op, const std::string& name, int64_t count) {
  Weights weights;
  weights.bits = op.integer("bits");
  require(weights.bits >= 2 && weights.bits <= 8, "{}: weights have 2 to 8 bits, got {}", op.where(), weights.bits);
  if (weights.bits == 8) {
    weights.codes = read_values<int8_t>(file, op.where(), name + ".codes", DataType::kI8);
  } else {
    const auto packed = read_values<std::byte>(file, op.where(), name + ".codes", DataType::kU8);
    const int64_t bytes = (count * weights.bits + 7) / 8;
    require(int64_t(packed.size()) == bytes, "{}: {} weights of {} bits take {} bytes, the file has {}", op.where(),
            count, weights.bits, bytes, packed.size());
    weights.codes = unpack_bits(packed, size_t(count), weights.bits);
  }
  weights.scales = read_values<float>(file, op.where(), name + ".scales", DataType::kF32);
  if (file.tensors().contains(name + ".zero_points"))
    weights.zero_points = read_values<int32_t>(file, op.where(), name + ".zero_points", DataType::kI32);
  if (file.tensors().contains(name + ".bias"))
    weights.bias = read_values<int32_t>(file, op.where(), name + ".bias", DataType::kI32);
  return weights;
}

void read_op(Impl& impl, const Safetensors& file, const Reader& op, bool real) {
  const std::string name = op.at("name").text(), kind = op.at("kind").text();
  std::vector<int> inputs;
  for (const json& input : op.at("inputs").array()) {
    require(input.is_number_integer() && input >= 0 && input < impl.tensors.size(),
            "{}: inputs must be numbers of earlier tensors", op.where());
    inputs.push_back(input.get<int>());
  }
  const auto is = [&](IntegerOpKind k, size_t count) {
    if (kind != integer_op_name(k)) return false;
    require(count == 0 ? !inputs.empty() : inputs.size() == count, "{}: {} takes {} inputs, got {}", op.where(), kind,
            count, inputs.size());
    return true;
  };
  const auto pool = [&] {
    const Reader p = op.at("pool");
    return PoolShape{p.integer("kernel_h"),          p.integer("kernel_w"),  p.integer("stride_h"),
                     p.integer("stride_w"),          p.integer("padding_h"), p.integer("padding_w"),
                     p.at("count_padding").boolean()};
  };
  if (is(IntegerOpKind::Convolution, 1)) {
    const Reader c = op.at("shape");
    const ConvolutionShape shape{c.integer("in_channels"), c.integer("out_channels"), c.integer("kernel_h"),
                                 c.integer("kernel_w"),    c.integer("stride_h"),     c.integer("stride_w"),
                                 c.integer("padding_h"),   c.integer("padding_w"),    c.integer("dilation_h"),
                                 c.integer("dilation_w"),  c.integer("groups")};
    require(shape.groups >= 1, "{}: groups must be at least 1", op.where());
    const Weights weights = read_weights(file, op, name, shape.weights());
    impl.add_convolution(name, IntegerOpKind::Convolution, inputs[0], shape, weights.view(), op.affine("output"),
                         op.clamp());
  } else if (is(IntegerOpKind::Linear, 1)) {
    const int64_t count = int64_t{op.integer("out_features")} * impl.tensors[size_t(inputs[0])].shape.channels;
    const Weights weights = read_weights(file, op, name, count);
    require(int64_t(weights.codes.size()) == count, "{}: {} weights were expected, the file has {}", op.where(), count,
            weights.codes.size());
    if (real)
      impl.add_real_linear(name, inputs[0], weights.view());
    else
      impl.add_linear(name, inputs[0], weights.view(), op.affine("output"), op.clamp());
  } else if (is(IntegerOpKind::Add, 2)) {
    impl.add_add(name, inputs[0], inputs[1], op.affine("output"), op.clamp());
  } else if (is(IntegerOpKind::Concat, 0)) {
    impl.add_concat(name, inputs, op.affine("output"));
  } else if (is(IntegerOpKind::MaxPool, 1)) {
    impl.add_max_pool(name, inputs[0], pool());
  } else if (is(IntegerOpKind::AveragePool, 1)) {
    impl.add_average_pool(name, inputs[0], pool(), op.affine("output"));
  } else if (is(IntegerOpKind::Flatten, 1)) {
    impl.add_flatten(name, inputs[0]);
  } else if (is(IntegerOpKind::ChannelShuffle, 1)) {
    impl.add_shuffle(name, inputs[0], op.integer("groups"));
  } else if (is(IntegerOpKind::Rescale, 1)) {
    impl.add_rescale(name, inputs[0], op.affine("output"), op.clamp());
  } else {
    fail("{}: unknown kind '{}'", op.where(), kind);
  }
}

}  // namespace

void IntegerNetwork::save(const std::filesystem::path& path) const {
  const Impl& impl = *impl_;
  std::map<std::string, TensorView> views;
  std::vector<std::vector<uint8_t>> kept;
  const auto keep = [&](const std::string& name, DataType type, const void* data, size_t count) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    kept.emplace_back(bytes, bytes + count * item_size(type));
    views[name] = {type, {int64_t(count)}, std::as_bytes(std::span(kept.back()))};
  };
  json ops = json::array();
  for (const Impl::Op& op : impl.ops) {
    json entry = {{"name", op.name}, {"kind", integer_op_name(op.kind)}, {"inputs", op.inputs}};
    entry["output"] = to_json(impl.tensors[size_t(op.output)].quantization);
    entry["low"] = op.clamp.low;
    entry["high"] = op.clamp.high;
    if (op.convolution) {
      const IntegerConvolution& c = *op.convolution;
      const ConvolutionShape& s = c.shape();
      entry["bits"] = c.bits();
      if (op.kind == IntegerOpKind::Linear)
        entry["out_features"] = s.out_channels;
      else
        entry["shape"] = {{"in_channels", s.in_channels},
                          {"out_channels", s.out_channels},
                          {"kernel_h", s.kernel_h},
                          {"kernel_w", s.kernel_w},
                          {"stride_h", s.stride_h},
                          {"stride_w", s.stride_w},
                          {"padding_h", s.padding_h},
                          {"padding_w", s.padding_w},
                          {"dilation_h", s.dilation_h},
                          {"dilation_w", s.dilation_w},
                          {"groups", s.groups}};
      const std::vector<int8_t> codes = c.codes();
      if (c.bits() == 8) {
        keep(op.name + ".codes", DataType::kI8, codes.data(), codes.size());
      } else {
        const std::vector<uint8_t> packed = pack_bits(codes, c.bits());
        keep(op.name + ".codes", DataType::kU8, packed.data(), packed.size());
      }
      keep(op.name + ".scales", DataType::kF32, c.scales().data(), c.scales().size());
      if (!c.zero_points().empty())
        keep(op.name + ".zero_points", DataType::kI32, c.zero_points().data(), c.zero_points().size());
      if (!c.bias_codes().empty())
        keep(op.name + ".bias", DataType::kI32, c.bias_codes().data(), c.bias_codes().size());
    }
    if (op.kind == IntegerOpKind::MaxPool || op.kind == IntegerOpKind::AveragePool)
      entry["pool"] = {{"kernel_h", op.pool.kernel_h},          {"kernel_w", op.pool.kernel_w},
                       {"stride_h", op.pool.stride_h},          {"stride_w", op.pool.stride_w},
                       {"padding_h", op.pool.padding_h},        {"padding_w", op.pool.padding_w},
                       {"count_padding", op.pool.count_padding}};
    if (op.kind == IntegerOpKind::ChannelShuffle) entry["groups"] = op.groups;
    ops.push_back(std::move(entry));
  }
  const Impl::Tensor& input = impl.tensors.front();
  const json network = {
      {"input", {{"channels", input.shape.channels}, {"height", input.shape.height}, {"width", input.shape.width}}},
      {"input_quantization", to_json(input.quantization)},
      {"real_output", impl.real_output},
      {"operations", ops}};
  write_safetensors(path, views, {{"format", kFormat}, {"version", kVersion}, {"network", network.dump()}});
}

IntegerNetwork IntegerNetwork::load(const std::filesystem::path& path) {
  const Safetensors file = Safetensors::open(path);
  const std::string name = path.string();
  const auto entry = [&](const char* key) {
    const auto found = file.metadata().find(key);
    require(found != file.metadata().end(), "{}: the metadata lack {}; an integer network was expected", name, key);
    return found->second;
  };
  require(entry("format") == kFormat, "{}: its format is {}, {} was expected", name, entry("format"), kFormat);
  require(entry("version") == kVersion,
          "{}: version {} of the format was expected, got {}; write it again with this Quanta", name, kVersion,
          entry("version"));
  json network;
  try {
    network = json::parse(entry("network"));
  } catch (const json::exception& error) {
    fail("{}: the network's description is not JSON", name);
  }
  const Reader reader(network, name);
  auto impl = std::make_unique<Impl>();
  try {
    impl->add_input(reader.image("input"), reader.affine("input_quantization"));
    const bool real = reader.at("real_output").boolean();
    const json& ops = reader.at("operations").array();
    for (size_t i = 0; i < ops.size(); ++i)
      read_op(*impl, file, Reader(ops[i], "operation " + std::to_string(i)), real && i + 1 == ops.size());
    require(impl->real_output == real, "the last operation must be a linear layer, as real_output says");
    impl->finish(int(impl->tensors.size()) - 1);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with(name)) throw;
    fail("{}: {}", name, message);
  }
  return IntegerNetwork(std::move(impl));
}

}  // namespace quanta
