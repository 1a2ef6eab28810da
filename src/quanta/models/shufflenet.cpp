#include <fmt/format.h>

#include <map>

#include "quanta/models/architectures.h"

namespace quanta::architectures {
namespace {

/// Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; at stride 2 the average of the input is joined, not added.
int unit(Network& net, const std::string& name, int x, int64_t in, int64_t out, int64_t groups, bool first) {
  net->block(name);
  const bool down = in != out;
  const int64_t mid = out / 4;
  int y = conv_bn(net, {name + ".conv1", name + ".bn1", name + ".relu1"}, x,
                  Conv2dOptions::square(in, mid, 1, 1, first ? 1 : groups));
  y = net->channel_shuffle(name + ".shuffle", y, groups);
  y = conv_bn(net, {name + ".conv2", name + ".bn2"}, y, Conv2dOptions::square(mid, mid, 3, down ? 2 : 1, mid));
  y = conv_bn(net, {name + ".conv3", name + ".bn3"}, y,
              Conv2dOptions::square(mid, down ? out - in : out, 1, 1, groups));
  const int joined =
      down ? net->concat(name + ".concat",
                         {y, net->avg_pool(name + ".avgpool", x, {.kernel = 3, .stride = 2, .padding = 1})})
           : net->add(name + ".add", y, x);
  return net->relu(name + ".relu", joined);
}

}  // namespace

Network shufflenet(int groups, const VisionOptions& options) {
  static const std::map<int, int64_t> kChannels{{1, 144}, {2, 200}, {3, 240}, {4, 272}, {8, 384}};  // of stage 2
  Network net;
  int x = net->input();
  int64_t in = scaled(24, options.width, groups);
  net->block("stem");
  x = conv_bn(net, {"conv1", "bn1", "relu"}, x, Conv2dOptions::square(options.channels, in, 3, small(options) ? 1 : 2));
  if (!small(options)) x = net->max_pool("maxpool", x, {.kernel = 3, .stride = 2, .padding = 1});
  for (int stage = 2; stage <= 4; ++stage) {
    const int64_t out = scaled(kChannels.at(groups) << (stage - 2), options.width, 4 * groups);
    for (int i = 0; i < (stage == 3 ? 8 : 4); ++i) {
      x = unit(net, fmt::format("stage{}.{}", stage, i), x, in, out, groups, stage == 2 && i == 0);
      in = out;
    }
  }
  classifier(net, x, in, options.classes);
  return net;
}

}  // namespace quanta::architectures
