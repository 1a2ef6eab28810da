#include "quanta/quantize/to_integer.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/mini_nets.h"
#include "quanta/models/vision.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Place = QuantizableLayer::Place;

std::shared_ptr<FakeQuantize> fitted(const UniformOptions& options, const torch::Tensor& values) {
  auto made = std::make_shared<FakeQuantize>(options, ObserverOptions{});
  made->quantizer().fit(values);
  made->freeze();
  return made;
}

/// Folds, and quantizes every weight, and every value that is not taken up by a rectifier, by its extremes on x.
Network quantized(const Network& net, const torch::Tensor& x, const UniformOptions& weights,
                  const UniformOptions& activations) {
  const torch::NoGradGuard no_grad;
  Network made = fold_batch_norm(net);
  for (const auto& [name, layer] : quantizable_layers(*made))
    layer->put(Place::Weight, fitted(weights, layer->weight.detach()));
  std::vector<std::pair<int, torch::Tensor>> values;
  int index = 0;
  made->run(x, [&](const Node& node, const auto&, const torch::Tensor& output) {
    const int i = index++;
    const auto users = made->users(i);
    const auto rectified = [&] {
      const Op op = made->nodes()[size_t(users[0])].op;
      return users.size() == 1 && (op == Op::Relu || op == Op::Relu6);
    };
    const bool grid = node.op != Op::MaxPool && node.op != Op::Flatten && node.op != Op::ChannelShuffle;
    if (grid && !users.empty() && !rectified()) values.emplace_back(i, output);
  });
  for (const auto& [i, output] : values) made->put(i, fitted(activations, output));
  made->eval();
  return made;
}

/// Random moments and affine parts, so that folding and zero points are not trivial.
Network shaken(Network net, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(seed);
  for (const auto& b : net->named_buffers())
    if (b.value().is_floating_point()) b.value().uniform_(0.5, 1.5);
  for (const auto& p : net->named_parameters())
    if (p.value().dim() == 1) p.value().add_(0.2 * torch::randn_like(p.value()));
  net->eval();
  return net;
}

constexpr UniformOptions kChannel{.bits = 8, .symmetric = true, .narrow = true, .axis = 0};

struct Case {
  const char* name;
  Network (*make)();
  UniformOptions weights = kChannel;
  UniformOptions activations{};
  int64_t size = 16;
};

class ToInteger : public ::testing::TestWithParam<Case> {};

// Each operation, fed the codes that the integer network feeds it, gives the codes that the simulated one gives: at
// most 1 off, and that where the float value lies next to the middle between two codes.
TEST_P(ToInteger, EveryOperationIsTheSimulatedOne) {
  const Case& c = GetParam();
  Network float_net = shaken(c.make(), 1);
  const auto x = torch::randn({4, 3, c.size, c.size});
  Network net = quantized(float_net, x, c.weights, c.activations);
  const IntegerNetwork integers = to_integer(net, {3, int(c.size), int(c.size)});
  const auto input = x.contiguous();
  const auto codes = integers.quantize_input({input.data_ptr<float>(), size_t(input.numel())}, 4);
  const auto trace = integers.trace(codes, 4);
  const auto described = integers.describe();

  std::map<std::string, torch::Tensor> real;  // values of the integer network's tensors
  const auto decode = [&](const std::vector<uint8_t>& from, const ImageShape& shape, const AffineU8& q) {
    auto values = torch::empty({4, shape.height, shape.width, shape.channels});
    for (int64_t i = 0; i < values.numel(); ++i) values.data_ptr<float>()[i] = dequantize(from[size_t(i)], q);
    return values.permute({0, 3, 1, 2}).contiguous();
  };
  real["input"] = decode(codes, integers.input_shape(), integers.input_quantization());
  std::map<std::string, int> pixels{{"input", int(c.size * c.size)}};
  std::map<std::string, double> scales{{"input", integers.input_quantization().scale}};
  for (size_t op = 0; op < described.size(); ++op) {
    const auto& info = described[op];
    scales[info.name] = info.output.scale;
    pixels[info.name] = info.shape.height * info.shape.width;
    if (trace[op].empty()) continue;
    real[info.name] = decode(trace[op], info.shape, info.output);
    const Node& node = net->nodes()[size_t(net->find(info.name))];
    Network one;  // the node alone
    torch::Tensor value = real.at(info.inputs[0]);
    if (node.op == Op::Flatten) continue;
    if (node.op == Op::Add) {
      value = value + real.at(info.inputs[1]);
    } else if (node.op == Op::Concat) {
      std::vector<torch::Tensor> parts;
      for (const auto& part : info.inputs) parts.push_back(real.at(part));
      value = torch::cat(parts, 1);
    } else {
      one->input();
      Node copy = copy_node(node);
      copy.inputs = {0};
      copy.output = {};
      if (copy.layer && std::dynamic_pointer_cast<LinearImpl>(copy.layer)) value = value.flatten(1);
      one->add(std::move(copy));
      one->eval();
      value = one->forward(value);
    }
    const auto users = net->users(net->find(info.name));
    if (!node.output && users.size() == 1) {
      if (net->nodes()[size_t(users[0])].op == Op::Relu) value = torch::relu(value);
      if (net->nodes()[size_t(users[0])].op == Op::Relu6) value = torch::clamp(value, 0, 6);
    }
    const auto position = (value / info.output.scale + info.output.zero_point).clamp(0, info.output.max_code);
    const auto difference = (real[info.name] / info.output.scale + info.output.zero_point - position).abs();
    // Half a code; half a unit of the first of two roundings; and of a layer half a unit of its bias.
    double bound = 0.5 + 1e-3;
    const auto factor = [&](double input_unit, bool bias) {
      const double m = input_unit / info.output.scale;
      const int shift = fixed_point(m).shift;
      bound = std::max(bound, 0.5 + 1e-3 + (shift > 0 ? std::ldexp(0.5, -shift) : 0) + (bias ? 0.5 * m : 0));
    };
    for (const auto& input : info.inputs) {
      if (node.op == Op::Concat) factor(scales.at(input), false);
      if (node.op == Op::AvgPool) factor(scales.at(input) / double(node.pool.kernel * node.pool.kernel), false);
      if (node.op == Op::GlobalAvgPool) factor(scales.at(input) / double(pixels.at(input)), false);
      if (!node.layer) continue;
      const auto params = node.layer->slot(Place::Weight).as<FakeQuantize>()->quantizer().params();
      for (int64_t c = 0; c < params.scale.numel(); ++c)
        factor(params.scale[c].item<double>() * scales.at(input), true);
    }
    EXPECT_LT(difference.max().item<double>(), bound) << info.name;
  }
}

TEST_P(ToInteger, WholeNetworkAgrees) {
  const Case& c = GetParam();
  Network float_net = shaken(c.make(), 2);
  const auto x = torch::randn({8, 3, c.size, c.size});
  Network net = quantized(float_net, x, c.weights, c.activations);
  const auto simulated = net->forward(x);
  const auto got = to_integer(net, {3, int(c.size), int(c.size)}).run({x.data_ptr<float>(), size_t(x.numel())}, 8);
  const auto logits = torch::tensor(got).view({8, -1});
  const double error = ((logits - simulated).norm() / simulated.norm()).item<double>();
  EXPECT_LT(error, 0.1);
  EXPECT_GT(error, 0);  // rounding differs, or nothing was computed in integers
}

INSTANTIATE_TEST_SUITE_P(
    Networks, ToInteger,
    ::testing::Values(
        Case{"ResNet", [] { return res_mini({.seed = 1}); }},
        Case{"MicroMobile", [] { return micro_mobile(8, {.seed = 2}); }},
        Case{"ResNetPerTensorAffine", [] { return res_mini({.seed = 3}); }, UniformOptions{.bits = 8}},
        Case{"ResNetFourBits", [] { return res_mini({.seed = 4}); },
             UniformOptions{.bits = 4, .symmetric = true, .narrow = true, .axis = 0}, UniformOptions{.bits = 4}},
        Case{"ResNetSignedActivations", [] { return res_mini({.seed = 5}); }, kChannel,
             UniformOptions{.bits = 8, .symmetric = true}},
        Case{
            "ShuffleNet", [] { return vision_model("shufflenet_g2", {.input = 32, .width = 0.25}); }, kChannel, {}, 32},
        Case{"MobileNetV2",
             [] { return vision_model("mobilenet_v2", {.input = 32, .width = 0.25}); },
             kChannel,
             {},
             32}),
    [](const auto& info) { return info.param.name; });

TEST(ToIntegerErrors, NameTheNode) {
  Network net = fold_batch_norm(mini_resnet({4}));
  const ImageShape shape{3, 8, 8};
  EXPECT_THAT([&] { to_integer(net, shape); }, ThrowsMessage<Error>(HasSubstr("the output of 'input' does not hold")));
  net->put(0, std::make_shared<FakeQuantize>(UniformOptions{}, ObserverOptions{}));
  EXPECT_THAT([&] { to_integer(net, shape); },
              ThrowsMessage<Error>(HasSubstr("the output of 'input' is not calibrated")));
  net = quantized(mini_resnet({4}), torch::randn({1, 3, 8, 8}), kChannel, {});
  net->put(net->find("stem.relu"), nullptr);
  EXPECT_THAT([&] { to_integer(net, shape); },
              ThrowsMessage<Error>(HasSubstr("the output of 'stem.conv' (layer) has no quantizer")));
  net = quantized(mini_resnet({4}), torch::randn({1, 3, 8, 8}), {.bits = 4, .axis = 0, .group = 1}, {});
  EXPECT_THAT([&] { to_integer(net, shape); },
              ThrowsMessage<Error>(HasSubstr("the weight of 'stem.conv' is quantized to")));
  Network up;
  up->upsample("up", up->input(), 2);
  up->put(0, fitted({}, torch::randn({9})));
  EXPECT_THAT([&] { to_integer(up, shape); }, ThrowsMessage<Error>(HasSubstr("'up' (upsample) is nothing")));
}

}  // namespace
}  // namespace quanta
