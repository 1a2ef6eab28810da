#include "quanta/models/mini_nets.h"

#include "quanta/core/error.h"
#include "quanta/nn/init.h"

namespace quanta {
namespace {

int conv_bn(Network& net, const std::string& conv, const std::string& bn, int x, const Conv2dOptions& options) {
  return net->batch_norm(bn, net->conv(conv, x, options));
}

int basic_block(Network& net, const std::string& name, int x, int64_t in, int64_t out) {
  net->block(name);
  const int64_t stride = in == out ? 1 : 2;
  int y = conv_bn(net, name + ".conv1", name + ".bn1", x, Conv2dOptions::square(in, out, 3, stride));
  y = net->relu(name + ".relu1", y);
  y = conv_bn(net, name + ".conv2", name + ".bn2", y, Conv2dOptions::square(out, out, 3));
  if (in != out)
    x = conv_bn(net, name + ".downsample.0", name + ".downsample.1", x, Conv2dOptions::square(in, out, 1, stride));
  return net->relu(name + ".relu2", net->add(name + ".add", y, x));
}

/// The stem and the blocks.
int mini_backbone(Network& net, const std::vector<int64_t>& widths, int64_t channels) {
  require(!widths.empty(), "a residual network needs at least one width");
  const int image = net->input();
  net->block("stem");
  int x = conv_bn(net, "stem.conv", "stem.bn", image, Conv2dOptions::square(channels, widths[0], 3));
  x = net->relu("stem.relu", x);
  int64_t in = widths[0];
  for (size_t i = 0; i < widths.size(); in = widths[i++])
    x = basic_block(net, fmt::format("block{}", i + 1), x, in, widths[i]);
  return x;
}

Network classifier(Network net, int x, int64_t width, const MiniNetOptions& options) {
  net->block("fc");
  net->linear("fc", net->flatten("flatten", net->global_avg_pool("pool", x)), width, options.classes);
  initialize(*net, Random(options.seed).split("start"));
  return net;
}

}  // namespace

Network mini_resnet(const std::vector<int64_t>& widths, const MiniNetOptions& options) {
  Network net;
  return classifier(net, mini_backbone(net, widths, options.channels), widths.back(), options);
}

Network res_mini(const MiniNetOptions& options) {
  return mini_resnet({16, 32, 64}, options);
}

Network res_mini2(const MiniNetOptions& options) {
  return mini_resnet({16, 16, 32, 32, 64, 64}, options);
}

Network micro_mobile(int64_t width, const MiniNetOptions& options) {
  Network net;
  const int image = net->input();
  net->block("stem");
  int x = conv_bn(net, "stem.conv", "stem.bn", image, Conv2dOptions::square(options.channels, width, 3));
  x = net->relu("stem.relu", x);
  int64_t in = width;
  int index = 0;
  for (const int64_t out : {2 * width, 2 * width, 4 * width, 4 * width}) {
    const std::string name = fmt::format("block{}", ++index);
    net->block(name);
    x = conv_bn(net, name + ".dw", name + ".bn1", x, Conv2dOptions::square(in, in, 3, in == out ? 1 : 2, in));
    x = net->relu(name + ".relu1", x);
    x = conv_bn(net, name + ".pw", name + ".bn2", x, Conv2dOptions::square(in, out, 1));
    x = net->relu(name + ".relu2", x);
    in = out;
  }
  return classifier(net, x, in, options);
}

Network mini_detector(int64_t anchors, const MiniNetOptions& options) {
  require(anchors >= 1, "the detector has {} anchors, expected at least 1", anchors);
  Network net;
  const auto conv = [&](const std::string& name, int x, int64_t in, int64_t out) {
    Conv2dOptions made = Conv2dOptions::square(in, out, 3);
    made.bias = true;
    return net->conv(name, x, made);
  };
  int x = mini_backbone(net, {16, 32, 64}, options.channels);
  net->block("head");
  x = net->relu("head.relu", conv("head.conv", x, 64, 64));
  net->concat("head.output",
              {conv("head.classes", x, 64, anchors * options.classes), conv("head.boxes", x, 64, anchors * 4)});
  initialize(*net, Random(options.seed).split("start"));
  return net;
}

}  // namespace quanta
