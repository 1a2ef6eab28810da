// Exported networks in ONNX Runtime: the model is valid and puts out what the network does, float and quantized.
#include <gmock/gmock.h>

#include <cstdlib>
#include <cstring>
#include <sstream>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/process.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/data/known.h"
#include "quanta/export/onnx.h"
#include "quanta/models/mini_nets.h"
#include "quanta/models/vision.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/ptq.h"
#include "quanta/train/images.h"

namespace quanta {
namespace {

using Place = QuantizableLayer::Place;

/// What a case's network put out, and what ONNX Runtime did: with all optimizations (integer kernels) and without.
struct Outputs {
  torch::Tensor ours, optimized, plain;
  std::string kinds;  ///< of the optimized graph's operations
};

class Onnx : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* python = std::getenv("QUANTA_ONNX_PYTHON");
    if (!python) GTEST_SKIP() << "set QUANTA_ONNX_PYTHON to a Python that has onnx and onnxruntime";
    python_ = python;
    torch::manual_seed(1);
  }

  void add(const std::string& name, Network net, const torch::Tensor& x) {
    net->eval();
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> parts;
    for (const auto& part : x.split(500)) parts.push_back(net->forward(part));
    outputs_[name].ours = torch::cat(parts);
    export_onnx(folder_ / (name + ".onnx"), net, {.input = x.sizes().slice(1).vec()});
    const auto data = x.contiguous();
    write_file(folder_ / (name + ".input"), {static_cast<const char*>(data.data_ptr()), data.nbytes()});
  }

  const std::map<std::string, Outputs>& run() {
    const auto result =
        run_process(python_, {QUANTA_SOURCE_DIR "/tests/onnx_run.py", folder_.path().string()}, {}, 300);
    EXPECT_EQ(result.status, 0) << result.errors;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) outputs_.at(line.substr(0, line.find(' '))).kinds = line + " ";
    for (auto& [name, out] : outputs_) {
      const auto read = [&](const std::string& suffix) {
        const std::string bytes = read_file(folder_ / (name + suffix));
        auto t = torch::empty_like(out.ours);
        if (bytes.size() != t.nbytes()) throw std::runtime_error(name + suffix + " has another size");
        std::memcpy(t.data_ptr(), bytes.data(), bytes.size());
        return t;
      };
      out.optimized = read(".output");
      out.plain = read(".plain");
    }
    return outputs_;
  }

 private:
  testing::TemporaryFolder folder_;
  std::string python_;
  std::map<std::string, Outputs> outputs_;
};

double distance(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// Every operation on [3, 12, 11], some in several forms, among them a normalization that cannot be folded.
Network every_operation(bool normalization) {
  Network net;
  int x = net->input();
  x = net->relu("relu", net->batch_norm("bn", net->conv("conv", x, Conv2dOptions::square(3, 8, 3))));
  if (normalization) x = net->batch_norm("free", x, int64_t{8});
  int y = net->conv("wide", x,
                    {.in = 8, .out = 8, .kernel{3, 1}, .padding{2, 0}, .dilation{2, 1}, .groups = 4, .bias = true});
  y = net->channel_shuffle("shuffle", y, 4);
  x = net->relu6("relu6", net->add("add", x, y));
  const int depthwise = net->conv("depthwise", x, Conv2dOptions::square(8, 8, 5, 2, 8));
  const int largest = net->max_pool("max", x, {.kernel = 3, .stride = 2, .padding = 1});
  const int mean = net->avg_pool("mean", x, {.kernel = 3, .stride = 2, .padding = 1});
  const int inner = net->avg_pool("inner", x, {.kernel = 3, .stride = 2, .padding = 1, .count_padding = false});
  x = net->concat("concat", {depthwise, largest, mean, inner});                       // [32, 6, 6]
  const int up = net->max_pool("ceil", x, {.kernel = 3, .stride = 2, .ceil = true});  // 3
  const int rest = net->avg_pool("rest", x, {.kernel = 3, .stride = 2, .ceil = true, .count_padding = false});
  x = net->add("add2", net->upsample("upsample", up, 2), net->upsample("upsample2", rest, 2));
  x = net->concat("concat2", {net->flatten("flat", x), net->flatten("global", net->global_avg_pool("gap", x))});
  net->linear("fc", net->dropout("drop", x, 0.5), 32 * 36 + 32, 5);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->named_parameters())
    p.value().normal_(0, p.value().dim() > 1 ? 1 / std::sqrt(double(p.value()[0].numel())) : 0.5);
  for (const auto& b : net->named_buffers())
    if (b.value().is_floating_point()) b.value().uniform_(0.5, 1.5);
  return net;
}

Network quantized(const Network& net, const torch::Tensor& x, PtqOptions options = {}) {
  options.quantize_output = true;
  return ptq(net, x, options);
}

/// A copy whose biases are whole steps of the products they are added to, as integer arithmetic and the file have them.
Network with_whole_biases(const Network& net) {
  const Network made = net->copy();
  const auto step = [](const Slot& slot) {
    return slot.as<FakeQuantize>()->quantizer().params().scale.to(torch::kFloat64);
  };
  const torch::NoGradGuard no_grad;
  for (const Node& node : made->nodes()) {
    if (!node.layer || !node.layer->bias.defined()) continue;
    int from = node.inputs[0];
    while (!made->nodes()[size_t(from)].output) from = made->nodes()[size_t(from)].inputs[0];
    const auto unit = step(node.layer->slot(Place::Weight)) * step(made->nodes()[size_t(from)].output);
    node.layer->bias.copy_((node.layer->bias / unit).round() * unit);
  }
  return made;
}

double output_step(const Network& net) {
  return net->nodes().back().output.as<FakeQuantize>()->quantizer().params().scale.item<double>();
}

TEST_F(Onnx, EveryFloatOperation) {
  const auto x = torch::randn({3, 3, 12, 11});
  add("operations", every_operation(true), x);
  add("detector", mini_detector(2), torch::randn({2, 3, 16, 16}));
  for (const auto& [name, out] : run()) {
    const double tolerance = 2e-5 * out.ours.abs().max().item<double>();
    EXPECT_LT(distance(out.ours, out.plain), tolerance) << name;
    EXPECT_LT(distance(out.ours, out.optimized), tolerance) << name;
  }
}

TEST_F(Onnx, EveryQuantizedOperation) {
  const std::map<std::string, PtqOptions> schemes{
      {"per_channel", {}},
      {"per_tensor", {.weight{.symmetric = true}}},
      {"affine_weights", {.weight{}}},
      {"affine_weights_per_channel", {.weight{.axis = 0}}},
      {"signed_activations", {.activation{.symmetric = true}}},
      {"four_bits", {.weight{.bits = 4, .symmetric = true, .axis = 0}, .activation{.bits = 4}}},
      {"powers_of_two",
       {.weight{.symmetric = true, .axis = 0, .power_of_two = true}, .activation{.power_of_two = true}}},
      {"weights_of_two_bits", {.weight{.bits = 2, .symmetric = true, .narrow = true, .axis = 0}}},
  };
  const auto x = torch::randn({3, 3, 12, 11});
  const Network net = every_operation(false);
  std::map<std::string, double> steps;
  for (const auto& [name, scheme] : schemes) {
    const Network made = with_whole_biases(quantized(net, x, scheme));
    steps[name] = output_step(made);
    add(name, made, x);
  }
  for (const auto& [name, out] : run()) {
    EXPECT_LT(distance(out.ours, out.plain), 1.01 * steps.at(name)) << name;
    EXPECT_LT(distance(out.ours, out.optimized), 1.01 * steps.at(name)) << name << ": " << out.kinds;
  }
}

TEST_F(Onnx, EveryNetwork) {
  const auto x = torch::randn({2, 3, 32, 32});
  std::map<std::string, double> steps;
  for (const std::string& name : vision_model_names()) {
    if (name.starts_with("resnet1") && name.size() > 8) continue;  // resnet101, 110, 152: deeper, not other
    Network net = vision_model(name, {.width = 0.25});
    net->forward(x);  // some moments
    net->eval();
    add(name, net, x);
    const Network made = with_whole_biases(quantized(net, x));
    steps[name + "_int8"] = output_step(made);
    add(name + "_int8", made, x);
  }
  // An untrained network's logits hardly differ, so that a single code that falls to the other side within it moves
  // them by more than a step; a wrong scale moves them by dozens.
  for (const auto& [name, out] : run()) {
    const double tolerance = steps.contains(name) ? 3.01 * steps.at(name) : 2e-5 * out.ours.abs().max().item<double>();
    EXPECT_LT(distance(out.ours, out.plain), tolerance) << name;
    EXPECT_LT(distance(out.ours, out.optimized), tolerance) << name << ": " << out.kinds;
    EXPECT_EQ(out.kinds.find(" QLinearConv ") != std::string::npos, steps.contains(name)) << name << ": " << out.kinds;
  }
}

TEST_F(Onnx, DeadChannelsKeepTheirBias) {
  Network net;
  net->relu("relu", net->conv("conv", net->input(), {.in = 3, .out = 4, .bias = true}));
  {
    const torch::NoGradGuard no_grad;
    for (const auto& p : net->parameters()) p.normal_();
    net->nodes()[1].layer->weight[2] *= 1e-12;  // its bias takes 1e14 steps of the weight's times the input's
  }
  const auto x = torch::randn({2, 3, 4, 4});
  const Network made = quantized(net, x);
  add("dead", made, x);
  const auto out = run().at("dead");
  EXPECT_LT(distance(out.ours, out.plain), 1.01 * output_step(made));
  EXPECT_LT(distance(out.ours, out.optimized), 1.01 * output_step(made));
}

class OnnxOnRealImages : public Onnx, public ::testing::WithParamInterface<const char*> {};

TEST_P(OnnxOnRealImages, GivesTheSameAnswers) {
  const std::string name = GetParam();
  if (!find_data(name)) GTEST_SKIP() << name << " was not found; set QUANTA_DATA";
  const ImageSplits data = load_images(name);
  const ImageSet train = subset(data.train, 6000, 0);
  const auto normalization = Normalization::measure(train);
  Network net = micro_mobile(16, {.channels = train.channels()});
  train_images(net, train, {}, normalization, {.epochs = 2, .batch = 64, .rate = 0.05});
  net->eval();
  const auto images = [&](const ImageSet& set) { return normalization.apply(set.to_float()); };
  const auto x = images(data.test);
  const Network made = quantized(net, images(train.take(640)));
  const double step = output_step(made);
  add("float", net, x);
  add("int8", made, x);
  add("int8_whole", with_whole_biases(made), x);
  for (const auto& [kind, out] : run()) {
    const auto order = out.ours.argsort(1, /*descending=*/true);
    const auto best = out.ours.gather(1, order);
    const auto clear = best.select(1, 0) - best.select(1, 1) > 1.01 * step;
    const auto differ = [&](const torch::Tensor& theirs) { return out.ours.argmax(1) != theirs.argmax(1); };
    for (const auto& theirs : {out.plain, out.optimized}) {
      EXPECT_LT(distance(out.ours, theirs), 1.01 * step) << kind;
      EXPECT_EQ((differ(theirs) & clear).sum().item<int>(), 0) << kind;
    }
    // Where the file holds the very network, every answer is the same; only the rounding of ONNX Runtime's own integer
    // kernels may decide between two logits that lie no more than a step apart.
    if (kind != "int8") {
      EXPECT_EQ(differ(out.plain).sum().item<int>(), 0) << kind;
      EXPECT_LE(differ(out.optimized).sum().item<int>(), data.test.size() / 2000) << kind;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Data, OnnxOnRealImages, ::testing::Values("mnist", "cifar10"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quanta
