#include <fmt/format.h>

#include <algorithm>

#include "quanta/models/architectures.h"

namespace quanta::architectures {
namespace {

struct Form {
  int depth;
  bool bottleneck;
  std::vector<int> blocks;  // a stage
  int64_t channels;         // of the first stage
};

const std::vector<Form>& forms() {
  static const std::vector<Form> forms{{18, false, {2, 2, 2, 2}, 64},  {34, false, {3, 4, 6, 3}, 64},
                                       {50, true, {3, 4, 6, 3}, 64},   {101, true, {3, 4, 23, 3}, 64},
                                       {152, true, {3, 8, 36, 3}, 64}, {20, false, {3, 3, 3}, 16},
                                       {32, false, {5, 5, 5}, 16},     {44, false, {7, 7, 7}, 16},
                                       {56, false, {9, 9, 9}, 16},     {110, false, {18, 18, 18}, 16}};
  return forms;
}

/// A residual block from `in` to `out` channels, with `mid` in the middle of a bottleneck.
int block(Network& net, const std::string& name, int x, int64_t in, int64_t mid, int64_t out, int64_t stride,
          bool bottleneck) {
  net->block(name);
  const auto names = [&](int i, bool relu) {
    return ConvNames{fmt::format("{}.conv{}", name, i), fmt::format("{}.bn{}", name, i),
                     relu ? fmt::format("{}.relu{}", name, i) : ""};
  };
  int y = x;
  if (bottleneck) {
    y = conv_bn(net, names(1, true), y, Conv2dOptions::square(in, mid, 1));
    y = conv_bn(net, names(2, true), y, Conv2dOptions::square(mid, mid, 3, stride));
    y = conv_bn(net, names(3, false), y, Conv2dOptions::square(mid, out, 1));
  } else {
    y = conv_bn(net, names(1, true), y, Conv2dOptions::square(in, out, 3, stride));
    y = conv_bn(net, names(2, false), y, Conv2dOptions::square(out, out, 3));
  }
  if (stride != 1 || in != out)
    x = conv_bn(net, {name + ".downsample.0", name + ".downsample.1"}, x, Conv2dOptions::square(in, out, 1, stride));
  return net->relu(name + ".relu", net->add(name + ".add", y, x));
}

}  // namespace

Network resnet(int depth, const VisionOptions& options) {
  const Form& form = *std::ranges::find(forms(), depth, &Form::depth);
  const bool small_stem = small(options) || form.channels == 16;
  Network net;
  int x = net->input();
  net->block("stem");
  int64_t in = scaled(form.channels, options.width);
  x = conv_bn(
      net, {"conv1", "bn1", "relu"}, x,
      small_stem ? Conv2dOptions::square(options.channels, in, 3) : Conv2dOptions::square(options.channels, in, 7, 2));
  if (!small_stem) x = net->max_pool("maxpool", x, {.kernel = 3, .stride = 2, .padding = 1});
  for (size_t stage = 0; stage < form.blocks.size(); ++stage) {
    const int64_t mid = scaled(form.channels << stage, options.width), out = form.bottleneck ? 4 * mid : mid;
    for (int i = 0; i < form.blocks[stage]; ++i) {
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      x = block(net, fmt::format("layer{}.{}", stage + 1, i), x, in, mid, out, stride, form.bottleneck);
      in = out;
    }
  }
  classifier(net, x, in, options.classes);
  return net;
}

}  // namespace quanta::architectures
