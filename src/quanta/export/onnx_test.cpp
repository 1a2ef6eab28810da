#include "quanta/export/onnx.h"

#include <gmock/gmock.h>

#include <cstring>

#include "quanta/core/error.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/weight_quantizers.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Place = QuantizableLayer::Place;

/// A message of protocol buffers, read by the rules of its wire format alone.
struct Read {
  std::multimap<int, int64_t> numbers{};
  std::multimap<int, std::string> bytes{};

  explicit Read(std::string_view in) {
    const auto varint = [&] {
      uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        if (in.empty() || shift > 63) throw std::runtime_error("a number is cut");
        const auto byte = uint8_t(in[0]);
        in.remove_prefix(1);
        value |= uint64_t(byte & 127) << shift;
        if (byte < 128) return value;
      }
    };
    while (!in.empty()) {
      const uint64_t tag = varint();
      const int field = int(tag >> 3);
      if ((tag & 7) == 0) {
        numbers.emplace(field, int64_t(varint()));
        continue;
      }
      if ((tag & 7) != 2 && (tag & 7) != 5) throw std::runtime_error("an unknown wire type");
      const size_t size = (tag & 7) == 5 ? 4 : varint();
      if (size > in.size()) throw std::runtime_error("a field is cut");
      bytes.emplace(field, in.substr(0, size));
      in.remove_prefix(size);
    }
  }
  std::string text(int field) const { return bytes.find(field)->second; }
  std::vector<Read> messages(int field) const {
    std::vector<Read> found;
    for (auto [at, end] = bytes.equal_range(field); at != end; ++at) found.emplace_back(at->second);
    return found;
  }
  std::vector<std::string> texts(int field) const {
    std::vector<std::string> found;
    for (auto [at, end] = bytes.equal_range(field); at != end; ++at) found.push_back(at->second);
    return found;
  }
  std::vector<int64_t> all(int field) const {
    std::vector<int64_t> found;
    for (auto [at, end] = numbers.equal_range(field); at != end; ++at) found.push_back(at->second);
    return found;
  }
};

struct Model {
  explicit Model(const std::string& file) : model(file), graph(model.text(7)) {}
  Read model, graph;

  /// "Conv(input, conv1.weight) -> ..." of each operation.
  std::vector<std::string> operations() const {
    std::vector<std::string> list;
    for (const Read& node : graph.messages(1))
      list.push_back(fmt::format("{}({}) -> {}", node.text(4), fmt::join(node.texts(1), ", "), node.text(2)));
    return list;
  }
  Read operation(const std::string& name) const {
    for (Read& node : graph.messages(1))
      if (node.text(3) == name) return node;
    throw std::runtime_error("no operation " + name);
  }
  std::vector<int64_t> attribute(const std::string& operation_name, const std::string& name) const {
    for (const Read& a : operation(operation_name).messages(5))
      if (a.text(1) == name) return a.all(20)[0] == 7 ? a.all(8) : a.all(3);
    throw std::runtime_error("no attribute " + name);
  }
  Read constant(const std::string& name) const {
    for (Read& tensor : graph.messages(5))
      if (tensor.text(8) == name) return tensor;
    throw std::runtime_error("no constant " + name);
  }
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const std::string raw = constant(name).text(9);
    std::vector<T> v(raw.size() / sizeof(T));
    std::memcpy(v.data(), raw.data(), raw.size());
    return v;
  }
};

/// conv - batch norm - ReLU - pool - linear on [2, 6, 7].
Network tiny() {
  Network net;
  int x = net->input();
  Conv2dOptions conv = Conv2dOptions::square(2, 4, 3, 2, 2);
  conv.padding = {1, 2};
  x = net->relu("relu", net->batch_norm("bn", net->conv("conv", x, conv)));
  x = net->max_pool("pool", x, {.kernel = 2, .stride = 2, .ceil = true});
  net->linear("fc", net->dropout("drop", net->flatten("flat", x), 0.5), 4 * 2 * 3, 3);
  torch::manual_seed(1);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->parameters()) p.normal_();
  net->eval();
  return net;
}

TEST(Onnx, WritesTheGraph) {
  const Network net = tiny();
  const Model file(to_onnx(net, {.input{2, 6, 7}, .metadata{{"classes", "a,b,c"}}}));
  EXPECT_THAT(file.operations(),
              ElementsAre("Conv(input, conv.weight, conv.bias) -> conv.output", "Relu(conv.output) -> relu.output",
                          "MaxPool(relu.output) -> pool.output", "Flatten(pool.output) -> flat.output",
                          "Gemm(flat.output, fc.weight, fc.bias) -> logits"));
  EXPECT_THAT(file.model.all(1), ElementsAre(7));
  EXPECT_THAT(file.model.messages(8)[0].all(2), ElementsAre(13));
  EXPECT_EQ(file.model.messages(14)[0].text(2), "a,b,c");
  EXPECT_THAT(file.attribute("conv", "pads"), ElementsAre(1, 2, 1, 2));
  EXPECT_THAT(file.attribute("conv", "strides"), ElementsAre(2, 2));
  EXPECT_THAT(file.attribute("conv", "group"), ElementsAre(2));
  EXPECT_THAT(file.attribute("pool", "pads"), ElementsAre(0, 0, 1, 1));  // 3x5 -> 2x3
  EXPECT_THAT(file.attribute("fc", "transB"), ElementsAre(1));
  EXPECT_THAT(file.constant("conv.weight").all(1), ElementsAre(4, 1, 3, 3));
  // The moments are 0 and 1: folding multiplies by gamma / sqrt(1 + eps).
  const auto p = net->named_parameters();
  const auto expected = (p["conv.weight"] * (p["bn.weight"] / std::sqrt(1 + 1e-5)).view({4, 1, 1, 1})).flatten();
  const auto weight = file.values<float>("conv.weight");
  for (size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(weight[i], expected[int64_t(i)].item<float>(), 1e-6);

  const Read dims(Read(Read(file.graph.messages(11)[0].text(2)).text(1)).text(2));
  EXPECT_EQ(dims.messages(1)[0].text(2), "batch");
  EXPECT_EQ(dims.messages(1)[3].all(1)[0], 7);
  EXPECT_EQ(file.graph.messages(12)[0].text(1), "logits");
}

TEST(Onnx, LeavesTheNetworkAsItWas) {
  Network net = tiny();
  net->train();
  const size_t nodes = net->nodes().size();
  to_onnx(net, {.input{2, 6, 7}});
  EXPECT_TRUE(net->is_training());
  EXPECT_EQ(net->nodes().size(), nodes);
}

std::shared_ptr<UniformQuantizer> grid(const UniformOptions& options, double low = -1, double high = 1) {
  auto quantizer = std::make_shared<UniformQuantizer>(options);
  quantizer->set_range(torch::tensor({low}).to(torch::kFloat32), torch::tensor({high}).to(torch::kFloat32));
  return quantizer;
}

/// tiny(), folded, with quantizers: affine on the input and 4 bits behind the ReLU, the weights by channel and by
/// tensor.
Network quantized() {
  Network net = fold_batch_norm(tiny());
  net->put(0, grid({}, -1, 3));
  net->put(net->find("relu"), grid({.bits = 4}, 0, 3));
  const auto weight = [&](const char* node, const UniformOptions& options) {
    const auto& layer = net->nodes()[size_t(net->find(node))].layer;
    auto quantizer = std::make_shared<FakeQuantize>(options, ObserverOptions{});
    quantizer->quantizer().fit(layer->weight.detach());
    layer->put(Place::Weight, quantizer);
  };
  weight("conv", {.symmetric = true, .narrow = true, .axis = 0});
  weight("fc", {.bits = 3, .symmetric = true});
  net->eval();
  return net;
}

TEST(Onnx, WritesQuantizationAsQdq) {
  const Network net = quantized();
  const Model file(to_onnx(net, {.input{2, 6, 7}}));
  EXPECT_THAT(
      file.operations(),
      ElementsAre("QuantizeLinear(input, input.scale, input.zero_point) -> input.quantize.output",
                  "DequantizeLinear(input.quantize.output, input.scale, input.zero_point) -> input.dequantize.output",
                  "DequantizeLinear(conv.weight, conv.weight.scale, conv.weight.zero_point) -> "
                  "conv.weight.dequantize.output",
                  "DequantizeLinear(conv.bias, conv.bias.scale, conv.bias.zero_point) -> conv.bias.dequantize.output",
                  "Conv(input.dequantize.output, conv.weight.dequantize.output, conv.bias.dequantize.output) -> "
                  "conv.output",
                  "Relu(conv.output) -> relu.output",
                  "Clip(relu.output, relu.low, relu.high) -> relu.clip.output",  // 16 of 256 codes
                  "QuantizeLinear(relu.clip.output, relu.scale, relu.zero_point) -> relu.quantize.output",
                  "DequantizeLinear(relu.quantize.output, relu.scale, relu.zero_point) -> relu.dequantize.output",
                  "MaxPool(relu.dequantize.output) -> pool.output",
                  "QuantizeLinear(pool.output, pool.scale, pool.zero_point) -> pool.quantize.output",
                  "DequantizeLinear(pool.quantize.output, pool.scale, pool.zero_point) -> pool.dequantize.output",
                  "Flatten(pool.dequantize.output) -> flat.output",
                  "QuantizeLinear(flat.output, flat.scale, flat.zero_point) -> flat.quantize.output",
                  "DequantizeLinear(flat.quantize.output, flat.scale, flat.zero_point) -> flat.dequantize.output",
                  "DequantizeLinear(fc.weight, fc.weight.scale, fc.weight.zero_point) -> fc.weight.dequantize.output",
                  "DequantizeLinear(fc.bias, fc.bias.scale, fc.bias.zero_point) -> fc.bias.dequantize.output",
                  "Gemm(flat.dequantize.output, fc.weight.dequantize.output, fc.bias.dequantize.output) -> logits"));
  EXPECT_THAT(file.values<float>("input.scale"), ElementsAre(4.0f / 255));  // the whitepaper's [-1, 3]
  EXPECT_THAT(file.values<uint8_t>("input.zero_point"), ElementsAre(64));
  EXPECT_THAT(file.constant("input.scale").all(1), ElementsAre());  // a scalar
  EXPECT_THAT(file.values<float>("relu.high"), ElementsAre(3.0f));
  EXPECT_THAT(file.attribute("conv.weight.dequantize", "axis"), ElementsAre(0));
  EXPECT_THAT(file.constant("conv.weight").all(2), ElementsAre(3));  // int8
  const auto& layer = net->nodes()[size_t(net->find("conv"))].layer;
  const auto codes = layer->slot(Place::Weight).as<FakeQuantize>()->quantizer().encode(layer->weight).flatten();
  const auto written = file.values<int8_t>("conv.weight");
  ASSERT_EQ(int64_t(written.size()), codes.numel());
  for (size_t i = 0; i < written.size(); ++i) EXPECT_EQ(written[i], codes[int64_t(i)].item<int>());
  const auto bias = file.values<int32_t>("conv.bias");
  const auto steps = file.values<float>("conv.bias.scale"), scales = file.values<float>("conv.weight.scale");
  ASSERT_EQ(bias.size(), 4u);
  for (size_t i = 0; i < bias.size(); ++i) {
    EXPECT_FLOAT_EQ(steps[i], scales[i] * 4 / 255);
    EXPECT_NEAR(bias[i] * double(steps[i]), layer->bias[int64_t(i)].item<double>(), 0.51 * steps[i]);
  }
}

TEST(Onnx, LeavesOutWhatDoesNotQuantize) {
  Network net = tiny();
  auto resting = std::make_shared<FakeQuantize>(UniformOptions{}, ObserverOptions{});
  resting->quantize(false);
  net->put(net->find("relu"), resting);
  net->put(net->find("pool"), make_observer({}));
  EXPECT_EQ(to_onnx(net, {.input{2, 6, 7}}), to_onnx(tiny(), {.input{2, 6, 7}}));
}

struct Doubling : TensorTransform {
  torch::Tensor forward(const torch::Tensor& x) override { return 2 * x; }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Doubling>(); }
};

TEST(Onnx, RefusesWhatItCannotExpress) {
  const auto message = [](auto&& change) {
    Network net = quantized();
    change(net);
    try {
      to_onnx(net, {.input{2, 6, 7}});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  const auto on_relu = [&](std::shared_ptr<TensorTransform> transform) {
    return message([&](Network& net) { net->put(net->find("relu"), transform); });
  };
  const auto on_weight = [&](std::shared_ptr<TensorTransform> transform) {
    return message([&](Network& net) { net->nodes()[size_t(net->find("fc"))].layer->put(Place::Weight, transform); });
  };
  EXPECT_THAT(on_relu(std::make_shared<Doubling>()), AllOf(HasSubstr("'relu'"), HasSubstr("no quantizer")));
  EXPECT_THAT(on_weight(std::make_shared<CodebookQuantizer>()), AllOf(HasSubstr("'fc'"), HasSubstr("uniform only")));
  EXPECT_THAT(on_relu(std::make_shared<UniformQuantizer>()),
              AllOf(HasSubstr("'relu' is not set"), HasSubstr("calibrate")));
  EXPECT_THAT(on_relu(grid({.bits = 12})), AllOf(HasSubstr("8 bits"), HasSubstr("'relu' are 0 to 4095")));
  auto by_channel = std::make_shared<UniformQuantizer>(UniformOptions{.axis = 1});
  by_channel->fit(torch::randn({2, 4, 3, 5}));
  EXPECT_THAT(on_relu(by_channel), AllOf(HasSubstr("'relu'"), HasSubstr("one scale for an activation")));
  by_channel->fit(torch::randn({3, 24}));
  EXPECT_THAT(on_weight(by_channel), AllOf(HasSubstr("'fc'"), HasSubstr("by output channel")));
  auto groups = std::make_shared<UniformQuantizer>(UniformOptions{.symmetric = true, .axis = 0, .group = 8});
  groups->fit(torch::randn({3, 24}));
  EXPECT_THAT(on_weight(groups), AllOf(HasSubstr("'fc'"), HasSubstr("every 8 values")));

  EXPECT_THAT(message([](Network& net) { net->batch_norm("late", net->find("fc"), int64_t{3}); }),
              AllOf(HasSubstr("'late'"), HasSubstr("cannot be folded")));
  EXPECT_THAT(message([](Network& net) { net->module("block", net->find("fc"), std::make_shared<Doubling>()); }),
              HasSubstr("no form of 'block', a module"));
  EXPECT_THAT(message([](Network& net) { net->avg_pool("mean", net->find("relu"), {.ceil = true}); }),
              AllOf(HasSubstr("'mean'"), HasSubstr("counts padding")));
  EXPECT_THAT([] { to_onnx(tiny(), {.input{}}); }, ThrowsMessage<Error>(HasSubstr("positive sizes")));

  Network unfolded = tiny();
  unfolded->nodes()[1].layer->put(Place::Weight, grid({.symmetric = true}));
  EXPECT_THAT(
      [&] {
        to_onnx(unfolded, {.input{2, 6, 7}});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("'conv'"), HasSubstr("fold its batch normalization first"))));
}

}  // namespace
}  // namespace quanta
