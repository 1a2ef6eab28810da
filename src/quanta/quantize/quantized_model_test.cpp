#include "quanta/quantize/quantized_model.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/mini_nets.h"
#include "quanta/nn/fold.h"
#include "quanta/nn/state.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Place = QuantizableLayer::Place;

std::shared_ptr<FakeQuantize> fitted(const UniformOptions& options, const torch::Tensor& values) {
  auto made = std::make_shared<FakeQuantize>(options, ObserverOptions{});
  made->quantizer().fit(values);
  made->freeze();
  return made;
}

/// Weights on five kinds of grids, one layer left in float, two activations quantized.
Network quantized_net() {
  Network net = fold_batch_norm(mini_resnet({4, 8}));
  const UniformOptions grids[] = {{.bits = 4, .symmetric = true, .narrow = true, .axis = 0},
                                  {.bits = 8, .axis = -1},
                                  {.bits = 3, .axis = 0, .group = 12},
                                  {.bits = 2, .symmetric = true, .axis = 0},
                                  {.bits = 8, .symmetric = true, .narrow = true, .axis = 0}};
  size_t i = 0;
  for (const auto& [name, layer] : quantizable_layers(*net))
    if (i < std::size(grids)) layer->put(Place::Weight, fitted(grids[i++], layer->weight.detach()));
  torch::manual_seed(3);
  net->put(0, fitted({.bits = 8}, torch::randn({100})));
  net->put(net->find("stem.relu"), fitted({.bits = 4, .symmetric = true, .is_signed = false}, torch::rand({100})));
  net->eval();
  return net;
}

TEST(QuantizedModel, ComesBackBitForBit) {
  const testing::TemporaryFolder folder;
  Network net = quantized_net();
  save_quantized(folder / "model.safetensors", net, {{"note", "mine"}});
  Network again = load_quantized(folder / "model.safetensors", mini_resnet({4, 8}, {.seed = 9}));
  const auto x = torch::randn({3, 3, 8, 8});
  EXPECT_TRUE(torch::equal(net->forward(x), again->forward(x)));
  EXPECT_EQ(Safetensors::open(folder / "model.safetensors").metadata().at("note"), "mine");
  // The weights themselves are the decoded ones, so they can be quantized again without loss.
  const auto layers = quantizable_layers(*again);
  for (size_t i = 0; i < 5; ++i)
    EXPECT_TRUE(
        torch::equal(layers[i].second->weight, layers[i].second->slot(Place::Weight)(layers[i].second->weight)));
}

TEST(QuantizedModel, CodesTakeTheirBitsOnly) {
  const testing::TemporaryFolder folder;
  save_quantized(folder / "model.safetensors", quantized_net());
  const auto file = Safetensors::open(folder / "model.safetensors");
  EXPECT_EQ(file.at("stem.conv.codes").bytes.size(), 4u * 27 * 4 / 8);
  EXPECT_EQ(file.at("block1.conv2.codes").bytes.size(), (4u * 36 * 3 + 7) / 8);
}

TEST(QuantizedModel, RefusesWhatDoesNotFit) {
  const testing::TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  save_quantized(path, quantized_net());
  EXPECT_THAT(
      [&] {
        load_quantized(path, mini_resnet({4, 4}));
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("block2.downsample"), HasSubstr("block2.conv1"))));
  save_module(*mini_resnet({4}), path);
  EXPECT_THAT([&] { load_quantized(path, mini_resnet({4})); },
              ThrowsMessage<Error>(HasSubstr("is not a quantized network")));
  EXPECT_THAT([&] { save_quantized(path, mini_resnet({4})); }, ThrowsMessage<Error>(HasSubstr("fold it before")));
  Network open = fold_batch_norm(mini_resnet({4}));
  open->put(0, std::make_shared<FakeQuantize>(UniformOptions{}, ObserverOptions{}));
  EXPECT_THAT([&] { save_quantized(path, open); }, ThrowsMessage<Error>(HasSubstr("'input' does not hold a frozen")));
}

TEST(QuantizedModel, DamagedFilesAreErrors) {
  const testing::TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  save_quantized(path, quantized_net());
  const std::string whole = read_file(path);
  for (size_t at = 8; at < 1200; at += 7) {
    std::string text = whole;
    text[at] = char(text[at] ^ 5);
    write_file(path, text);
    try {
      load_quantized(path, mini_resnet({4, 8}));
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace quanta
