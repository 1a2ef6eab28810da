#include <fmt/format.h>

#include <algorithm>

#include "quanta/models/architectures.h"

namespace quanta::architectures {
namespace {

/// Convolution, batch normalization and ReLU6 as PREFIX.0, PREFIX.1, PREFIX.2.
int conv_relu6(Network& net, const std::string& prefix, int x, const Conv2dOptions& options) {
  return net->relu6(prefix + ".2", conv_bn(net, {prefix + ".0", prefix + ".1"}, x, options));
}

}  // namespace

Network mobilenet_v1(const VisionOptions& options) {
  // Channels and stride of each depthwise separable block.
  constexpr std::pair<int64_t, int64_t> kBlocks[]{{64, 1},  {128, 2}, {128, 1}, {256, 2}, {256, 1},  {512, 2}, {512, 1},
                                                  {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}};
  Network net;
  int x = net->input();
  int64_t in = scaled(32, options.width);
  net->block("stem");
  x = conv_bn(net, {"conv1", "bn1", "relu"}, x, Conv2dOptions::square(options.channels, in, 3, small(options) ? 1 : 2));
  int index = 0;
  for (const auto& [channels, stride] : kBlocks) {
    const std::string name = fmt::format("features.{}", index++);
    const int64_t out = scaled(channels, options.width);
    net->block(name);
    x = conv_bn(net, {name + ".conv1", name + ".bn1", name + ".relu1"}, x,
                Conv2dOptions::square(in, in, 3, stride, in));
    x = conv_bn(net, {name + ".conv2", name + ".bn2", name + ".relu2"}, x, Conv2dOptions::square(in, out, 1));
    in = out;
  }
  classifier(net, x, in, options.classes);
  return net;
}

Network mobilenet_v2(const VisionOptions& options) {
  struct Stage {
    int64_t expansion, channels;
    int repeats;
    int64_t stride;
  };
  const Stage stages[]{
      {1, 16, 1, 1}, {6, 24, 2, small(options) ? 1 : 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2},
      {6, 320, 1, 1}};
  Network net;
  int x = net->input();
  int64_t in = scaled(32, options.width);
  net->block("features.0");
  x = conv_relu6(net, "features.0", x, Conv2dOptions::square(options.channels, in, 3, small(options) ? 1 : 2));
  int index = 1;
  for (const Stage& stage : stages) {
    const int64_t out = scaled(stage.channels, options.width);
    for (int i = 0; i < stage.repeats; ++i) {
      const std::string name = fmt::format("features.{}", index++);
      const int64_t stride = i == 0 ? stage.stride : 1, hidden = in * stage.expansion;
      net->block(name);
      int y = x, part = 0;
      const auto next = [&] { return fmt::format("{}.conv.{}", name, part++); };
      if (stage.expansion != 1) y = conv_relu6(net, next(), y, Conv2dOptions::square(in, hidden, 1));
      y = conv_relu6(net, next(), y, Conv2dOptions::square(hidden, hidden, 3, stride, hidden));
      const std::string conv = next(), batch_norm = next();
      y = conv_bn(net, {conv, batch_norm}, y, Conv2dOptions::square(hidden, out, 1));
      x = stride == 1 && in == out ? net->add(name + ".add", x, y) : y;
      in = out;
    }
  }
  const std::string last = fmt::format("features.{}", index);
  const int64_t features = scaled(1280, std::max(1.0, options.width));
  net->block(last);
  x = conv_relu6(net, last, x, Conv2dOptions::square(in, features, 1));
  net->block("classifier");
  x = net->flatten("flatten", net->global_avg_pool("avgpool", x));
  net->linear("classifier.1", net->dropout("classifier.0", x, 0.2), features, options.classes);
  return net;
}

}  // namespace quanta::architectures
