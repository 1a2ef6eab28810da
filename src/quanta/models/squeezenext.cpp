#include <fmt/format.h>

#include "quanta/models/architectures.h"

namespace quanta::architectures {
namespace {

/// 1x1 down twice, 3x1 and 1x3 instead of 3x3, 1x1 up; every convolution has a bias.
int unit(Network& net, const std::string& name, int x, int64_t in, int64_t out, int64_t stride) {
  net->block(name);
  const int64_t reduction = stride == 2 ? 1 : in > out ? 4 : 2, mid = in / reduction;
  const Conv2dOptions convs[]{
      {.in = in, .out = mid, .stride{stride, stride}, .bias = true},
      {.in = mid, .out = mid / 2, .bias = true},
      {.in = mid / 2, .out = mid, .kernel{1, 3}, .padding{0, 1}, .bias = true},
      {.in = mid, .out = mid, .kernel{3, 1}, .padding{1, 0}, .bias = true},
      {.in = mid, .out = out, .bias = true},
  };
  int y = x, i = 0;
  for (const Conv2dOptions& options : convs) {
    ++i;
    y = conv_bn(net,
                {fmt::format("{}.conv{}", name, i), fmt::format("{}.bn{}", name, i), fmt::format("{}.relu{}", name, i)},
                y, options);
  }
  if (stride == 2 || in > out)
    x = conv_bn(net, {name + ".downsample.0", name + ".downsample.1", name + ".downsample.2"}, x,
                {.in = in, .out = out, .stride{stride, stride}, .bias = true});
  return net->relu(name + ".relu", net->add(name + ".add", y, x));
}

}  // namespace

Network squeezenext23(const VisionOptions& options) {
  constexpr std::pair<int, int64_t> kStages[]{{6, 32}, {6, 64}, {8, 128}, {1, 256}};  // units and their channels
  Network net;
  int x = net->input();
  int64_t in = scaled(64, options.width);
  net->block("stem");
  Conv2dOptions stem = Conv2dOptions::square(options.channels, in, 3);
  if (!small(options)) stem = {.in = options.channels, .out = in, .kernel{7, 7}, .stride{2, 2}, .padding{1, 1}};
  stem.bias = true;
  x = conv_bn(net, {"conv1", "bn1", "relu"}, x, stem);
  if (!small(options)) x = net->max_pool("maxpool", x, {.kernel = 3, .stride = 2, .ceil = true});
  for (int stage = 0; stage < 4; ++stage) {
    const auto [units, channels] = kStages[stage];
    const int64_t out = scaled(channels, options.width);
    for (int i = 0; i < units; ++i) {
      x = unit(net, fmt::format("layer{}.{}", stage + 1, i), x, in, out, stage > 0 && i == 0 ? 2 : 1);
      in = out;
    }
  }
  const int64_t features = scaled(128, options.width);
  net->block("head");
  x = conv_bn(net, {"conv2", "bn2", "relu2"}, x, {.in = in, .out = features, .bias = true});
  classifier(net, x, features, options.classes);
  return net;
}

}  // namespace quanta::architectures
