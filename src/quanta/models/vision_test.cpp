#include "quanta/models/vision.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/architectures.h"
#include "quanta/nn/state.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

constexpr VisionOptions kImageNet{.classes = 1000, .input = 224};

int64_t parameters(const Network& net) {
  int64_t n = 0;
  for (const auto& p : net->parameters()) n += p.numel();
  return n;
}

// Numbers of parameters: torchvision 0.29 and pytorchcv 0.0.74 (the same nets, counted there).
TEST(Vision, HasThePublishedNumbersOfParameters) {
  namespace a = architectures;
  EXPECT_EQ(parameters(a::resnet(18, kImageNet)), 11'689'512);
  EXPECT_EQ(parameters(a::resnet(34, kImageNet)), 21'797'672);
  EXPECT_EQ(parameters(a::resnet(50, kImageNet)), 25'557'032);
  EXPECT_EQ(parameters(a::resnet(101, kImageNet)), 44'549'160);
  EXPECT_EQ(parameters(a::resnet(152, kImageNet)), 60'192'808);
  EXPECT_EQ(parameters(a::resnet(20, {})), 272'474);
  EXPECT_EQ(parameters(a::resnet(56, {})), 855'770);
  EXPECT_EQ(parameters(a::resnet(110, {})), 1'730'714);
  EXPECT_EQ(parameters(a::mobilenet_v1(kImageNet)), 4'231'976);
  EXPECT_EQ(parameters(a::mobilenet_v2(kImageNet)), 3'504'872);
  EXPECT_EQ(parameters(a::inception_v3({.classes = 1000, .input = 299})), 23'834'568);
  EXPECT_EQ(parameters(a::shufflenet(1, kImageNet)), 1'531'936);
  EXPECT_EQ(parameters(a::shufflenet(2, kImageNet)), 1'733'848);
  EXPECT_EQ(parameters(a::shufflenet(3, kImageNet)), 1'865'728);
  EXPECT_EQ(parameters(a::shufflenet(4, kImageNet)), 1'968'344);
  EXPECT_EQ(parameters(a::shufflenet(8, kImageNet)), 2'434'768);
  EXPECT_EQ(parameters(a::squeezenext23(kImageNet)), 724'056);
  EXPECT_EQ(parameters(vision_model("sqnxt23_w2", kImageNet)), 2'583'752);
  constexpr int64_t kWeights = 9 * (3 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512);
  EXPECT_EQ(parameters(a::vgg_small({})), kWeights + 2 * 2 * (128 + 256 + 512) + 8192 * 10 + 10);
}

TEST(Vision, WidthMultipliesChannelsAsPublished) {
  const auto mobilenet = [](double width) {
    return parameters(architectures::mobilenet_v2({.classes = 1000, .input = 224, .width = width}));
  };
  EXPECT_EQ(mobilenet(0.5), 1'968'680);
  EXPECT_EQ(mobilenet(0.75), 2'636'424);
  EXPECT_EQ(mobilenet(1.4), 6'108'776);
  EXPECT_EQ(parameters(architectures::squeezenext23({.classes = 1000, .input = 224, .width = 1.5})), 1'511'824);
  EXPECT_EQ(parameters(architectures::mobilenet_v1({.classes = 1000, .input = 224, .width = 0.25})), 470'072);
}

/// Values that any program can make: element j of tensor k is a multiplicative sequence modulo 2^32, in [0, 1).
torch::Tensor sequence(int64_t size, uint64_t k) {
  auto values = torch::empty({size}, torch::kFloat64);
  for (int64_t j = 0; j < size; ++j)
    values.data_ptr<double>()[j] = double(uint32_t(uint64_t(j) * 2654435761u + k * 40503u + 12345u)) / 4294967296.0;
  return values;
}

/// Fills tensor k with sequence k, scaled: weights U(+-sqrt(6 / fan in)), biases +-0.5, means +-0.1, the rest 0.5-1.5.
void fill(const std::vector<std::pair<std::string, torch::Tensor>>& tensors) {
  const torch::NoGradGuard no_grad;
  for (size_t k = 0; k < tensors.size(); ++k) {
    auto [name, t] = tensors[k];
    auto v = sequence(t.numel(), k);
    if (t.dim() > 1)
      v = (2 * v - 1) * std::sqrt(6.0 / double(t.numel() / t.size(0)));
    else if (name.ends_with("bias"))
      v = v - 0.5;
    else if (name.ends_with("running_mean"))
      v = 0.2 * (v - 0.5);
    else
      v = v + 0.5;
    t.copy_(v.view(t.sizes()));
  }
}

struct Peer {
  const char* model;
  int64_t input;
  uint64_t names;  ///< FNV-1a of the lines "name:shape" in the order of the names; 0: it has names of its own
  std::vector<double> logits;
};

class Peers : public ::testing::TestWithParam<Peer> {};

// Logits in double precision of torchvision 0.29 (where names are compared; tensors numbered by name) and pytorchcv
// 0.0.74 (tensors numbered in their order, parameters first), filled as above, for the image 2 sequence(99) - 1.
TEST_P(Peers, GivesItsLogitsWithItsNames) {
  const Peer& peer = GetParam();
  const VisionOptions options{.classes = peer.input == 32 ? 10 : 1000, .input = peer.input};
  Network net = vision_model(peer.model, options);
  net->to(torch::kFloat64);
  net->eval();
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto& p : net->named_parameters()) tensors.emplace_back(p.key(), p.value());
  for (const auto& b : net->named_buffers())
    if (!b.key().ends_with("num_batches_tracked")) tensors.emplace_back(b.key(), b.value());
  if (peer.names != 0) {
    std::ranges::sort(tensors, {}, [](const auto& t) { return t.first; });
    uint64_t digest = 0xcbf29ce484222325;
    for (const auto& [name, t] : tensors)
      for (const char c : fmt::format("{}:{}\n", name, fmt::join(t.sizes().vec(), ",")))
        digest = (digest ^ uint8_t(c)) * 0x100000001b3;
    EXPECT_EQ(digest, peer.names);
  }
  fill(tensors);
  const torch::NoGradGuard no_grad;
  const auto x = (2 * sequence(3 * peer.input * peer.input, 99) - 1).view({1, 3, peer.input, peer.input});
  const auto y = net->forward(x)[0];
  for (size_t i = 0; i < peer.logits.size(); ++i)
    EXPECT_NEAR(y[int64_t(i)].item<double>(), peer.logits[i], 1e-9 * y.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(
    Vision, Peers,
    ::testing::Values(
        Peer{"resnet18", 96, 0x8ca70e3d5b3970a, {22.403498351524576, -11.636672764148463, 6.4480398201242775}},
        Peer{"resnet50", 96, 0xa7e590ca4c9fdde3, {783.2878272711325, -196.67386445744262, -392.8779238708132}},
        Peer{"mobilenet_v2", 96, 0x5f76d3a72054f487, {9.112630701776522, 6.998089892130348, 2.4391081403233628}},
        Peer{"inception_v3", 107, 0xfda8be56a2cd50ad, {2.145900609509458, -1.3441154894395395, -2.3911105628597}},
        Peer{"sqnxt23_w2", 96, 0, {77.76495654883594, 7.525921400812772, -35.264302462380385}},
        Peer{"shufflenet_g1", 96, 0, {416.9120628931032, 419.42074719484185, 365.2824755797684}},
        Peer{"shufflenet_g3", 96, 0, {325.912680358887, -28.72631150640779, -156.16674079701517}},
        Peer{"mobilenet_v1", 96, 0, {22.163411523173977, 5.1970297135835395, -7.325456364386592}},
        Peer{"resnet20", 32, 0, {6.447165793264993, -4.460908279148161, 2.328083886398727}}),
    [](const auto& info) { return info.param.model; });

TEST(Vision, TakesCifarAndLargerImages) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, int64_t> sides;  // of the last feature map for CIFAR
  for (const std::string& name : vision_model_names()) {
    if (name.starts_with("resnet1") && name.size() > 8) continue;  // resnet101, 110, 152: deeper, not other
    Network net = vision_model(name, {.classes = 7, .channels = 1, .width = 0.25});
    net->eval();
    int64_t side = 0;
    const auto y = net->run(torch::ones({2, 1, 32, 32}), [&](const Node& node, const auto& in, const auto&) {
      if (node.op == Op::GlobalAvgPool || (node.op == Op::Flatten && side == 0)) side = in[0].size(2);
    });
    EXPECT_EQ(y.sizes(), (std::vector<int64_t>{2, 7})) << name;
    sides[name] = side;
    if (name == "vgg_small") continue;
    Network large = vision_model(name, {.classes = 7, .input = 96, .width = 0.25});
    EXPECT_EQ(large->forward(torch::ones({2, 3, 96, 96})).sizes(), (std::vector<int64_t>{2, 7})) << name;
  }
  EXPECT_EQ(sides.at("resnet18"), 4);
  EXPECT_EQ(sides.at("resnet20"), 8);
  EXPECT_EQ(sides.at("mobilenet_v1"), 2);
  EXPECT_EQ(sides.at("mobilenet_v2"), 4);
  EXPECT_EQ(sides.at("inception_v3"), 6);
  EXPECT_EQ(sides.at("shufflenet_g3"), 4);
  EXPECT_EQ(sides.at("sqnxt23"), 4);
  EXPECT_EQ(sides.at("vgg_small"), 4);
}

TEST(Vision, BlocksAreTheArchitectures) {
  const auto names = [](const Network& net) {
    std::vector<std::string> names;
    for (const Block& block : net->blocks()) names.push_back(block.name);
    return names;
  };
  EXPECT_THAT(names(architectures::resnet(18, {})), ElementsAre("stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1",
                                                                "layer3.0", "layer3.1", "layer4.0", "layer4.1", "fc"));
  EXPECT_THAT(names(architectures::inception_v3({})),
              ElementsAre("stem", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d",
                          "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "fc"));
  const auto v2 = names(architectures::mobilenet_v2({}));
  EXPECT_EQ(v2.size(), 20u);
  EXPECT_EQ(v2[1], "features.1");
  EXPECT_EQ(v2.back(), "classifier");
}

TEST(Vision, StartValuesDependOnSeedAndNameAlone) {
  const auto weight = [](const char* model, uint64_t seed) {
    return vision_model(model, {.seed = seed})->named_parameters()["layer3.0.conv1.weight"];
  };
  const auto w = weight("resnet20", 3);
  EXPECT_TRUE(torch::equal(w, weight("resnet56", 3)));
  EXPECT_FALSE(torch::equal(w, weight("resnet20", 4)));
  EXPECT_NEAR(w.std().item<double>(), std::sqrt(2.0 / (64 * 9)), 0.02 * std::sqrt(2.0 / (64 * 9)));  // 18432 values
  const auto p = vision_model("resnet20")->named_parameters();
  EXPECT_TRUE(torch::equal(p["bn1.weight"], torch::ones(16)));
  EXPECT_LE(p["fc.weight"].abs().max().item<double>(), 1 / std::sqrt(64.0));
  EXPECT_GT(p["fc.bias"].abs().min().item<double>(), 0);
}

TEST(Vision, Refuses) {
  EXPECT_THAT([] { vision_model("resnet21"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("did you mean 'resnet20'"), HasSubstr("mobilenet_v2"))));
  EXPECT_THROW(vision_model("resnet20", {.classes = 0}), Error);
  EXPECT_THROW(vision_model("resnet20", {.width = 0}), Error);
  EXPECT_THAT([] { vision_model("vgg_small", {.input = 224}); }, ThrowsMessage<Error>(HasSubstr("16 ... 64 pixels")));
  EXPECT_THAT([] { vision_model("inception_v3", {.input = 70}); }, ThrowsMessage<Error>(HasSubstr("at least 75")));
}

class Checkpoints : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "model.safetensors";
  Network net_ = vision_model("resnet20", {.width = 0.5, .seed = 1});
};

TEST_F(Checkpoints, OfOtherProgramsAreConverted) {
  TensorMap state;
  for (const auto& [name, t] : state_of(*net_))
    if (!name.ends_with("num_batches_tracked"))
      state["module." + name] = t.to(name.ends_with("weight") ? torch::kHalf : torch::kFloat64);
  state["module.bn1.num_batches_tracked"] = torch::tensor(5);
  write_tensors(file_, state);
  Network other = vision_model("resnet20", {.width = 0.5, .seed = 2});
  load_weights(*other, file_);
  for (const auto& [name, t] : state_of(*other)) {
    if (name.ends_with("num_batches_tracked")) continue;
    EXPECT_EQ(t.scalar_type(), torch::kFloat32);
    EXPECT_TRUE(torch::equal(t, state.at("module." + name).to(torch::kFloat32))) << name;
  }
}

TEST_F(Checkpoints, OneMessageListsEveryMisfitAndNothingChanges) {
  TensorMap state = state_of(*net_);
  state.erase("conv1.weight");
  state.erase("layer2.1.bn1.running_mean");
  state["fc.weight"] = torch::zeros({100, 32});
  state["bn1.bias"] = torch::zeros({8}, torch::kInt32);
  state["aux.weight"] = torch::zeros({3});
  write_tensors(file_, state);
  Network other = vision_model("resnet20", {.width = 0.5, .seed = 2});
  const Network before = other->copy();
  EXPECT_THAT([&] { load_weights(*other, file_); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("conv1.weight is missing"), HasSubstr("layer2.1.bn1.running_mean is missing"),
                        HasSubstr("fc.weight is F32 [100, 32], expected F32 [10, 32]"),
                        HasSubstr("bn1.bias is I32 [8], expected F32 [8]"), HasSubstr("aux.weight is not expected"),
                        Not(HasSubstr("layer3.0.conv1.weight")))));
  const auto after = state_of(*other);
  for (const auto& [name, t] : state_of(*before)) EXPECT_TRUE(torch::equal(t, after.at(name))) << name;
}

TEST_F(Checkpoints, DescribeTheirNetwork) {
  const VisionModelInfo info{.model = "resnet20",
                             .options{.width = 0.5, .seed = 1},
                             .mean{0.49, 0.48, 0.45},
                             .standard_deviation{0.2, 0.21, 0.22},
                             .class_names{"a", "b", "c", "d", "e", "f", "g", "h", "i", "\"j\""},
                             .data = "cifar10"};
  save_vision_model(file_, net_, info);
  for (const auto& path : {file_, folder_.path()}) {
    LoadedVisionModel loaded = load_vision_model(path);
    EXPECT_EQ(loaded.info.model, "resnet20");
    EXPECT_EQ(loaded.info.options.width, 0.5);
    EXPECT_EQ(loaded.info.mean, info.mean);
    EXPECT_EQ(loaded.info.standard_deviation, info.standard_deviation);
    EXPECT_EQ(loaded.info.class_names, info.class_names);
    EXPECT_EQ(loaded.info.data, "cifar10");
    net_->eval();
    const auto x = torch::ones({1, 3, 32, 32});
    EXPECT_TRUE(torch::equal(loaded.net->forward(x), net_->forward(x)));
  }
  load_weights(*net_, file_);  // is a plain checkpoint, too
}

TEST_F(Checkpoints, RefuseWhatDoesNotFit) {
  const VisionModelInfo info{.model = "resnet20", .options{.width = 0.5}};
  VisionModelInfo wrong = info;
  wrong.options.width = 1;
  EXPECT_THAT([&] { save_vision_model(file_, net_, wrong); }, ThrowsMessage<Error>(HasSubstr("is not the resnet20")));
  wrong = info;
  wrong.mean = {0.5};
  EXPECT_THAT([&] { save_vision_model(file_, net_, wrong); }, ThrowsMessage<Error>(HasSubstr("1 means")));
  wrong = info;
  wrong.class_names = {"cat"};
  EXPECT_THAT([&] { save_vision_model(file_, net_, wrong); }, ThrowsMessage<Error>(HasSubstr("names 1 classes of 10")));
  EXPECT_FALSE(std::filesystem::exists(file_));

  save_module(*net_, file_);
  EXPECT_THAT([&] { load_vision_model(file_); }, ThrowsMessage<Error>(HasSubstr("load_weights")));
  const std::map<std::string, std::string> cut{{"format", "quanta vision model 1"}, {"model", "{\"model\":"}};
  save_module(*net_, file_, cut);
  EXPECT_THAT([&] { load_vision_model(file_); }, ThrowsMessage<Error>(HasSubstr("is damaged")));
  save_vision_model(file_, net_, info);
  const Safetensors saved = Safetensors::open(file_);
  TensorMap state = state_of(*net_);
  state.erase("fc.bias");
  write_tensors(file_, state, saved.metadata());
  EXPECT_THAT([&] { load_vision_model(file_); }, ThrowsMessage<Error>(HasSubstr("fc.bias is missing")));
  EXPECT_THROW(load_vision_model(folder_ / "absent"), Error);
}

}  // namespace
}  // namespace quanta
