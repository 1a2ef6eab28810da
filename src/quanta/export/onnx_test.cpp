#include "quanta/export/onnx.h"

#include <gmock/gmock.h>

#include <cstring>

#include "quanta/core/error.h"
#include "quanta/models/vision.h"
#include "quanta/quantize/fake_quantize.h"

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
Network tiny(bool with_pool = true) {
  Network net;
  int x = net->input();
  Conv2dOptions conv = Conv2dOptions::square(2, 4, 3, 2, 2);
  conv.padding = {1, 2};
  x = net->relu("relu", net->batch_norm("bn", net->conv("conv", x, conv)));
  if (with_pool) x = net->max_pool("pool", x, {.kernel = 2, .stride = 2, .ceil = true});
  net->linear("fc", net->dropout("drop", net->flatten("flat", x), 0.5), with_pool ? 4 * 2 * 3 : 4 * 3 * 5, 3);
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
  const Network net = tiny();
  net->train();
  const size_t nodes = net->nodes().size();
  to_onnx(net, {.input{2, 6, 7}});
  EXPECT_TRUE(net->is_training());
  EXPECT_EQ(net->nodes().size(), nodes);
}

}  // namespace
}  // namespace quanta
