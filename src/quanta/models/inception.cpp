#include "quanta/core/error.h"
#include "quanta/models/architectures.h"

namespace quanta::architectures {
namespace {

struct Kernel {
  std::array<int64_t, 2> size{1, 1}, padding{0, 0};
  int64_t stride = 1;
};
Kernel square(int64_t k, int64_t padding = 0, int64_t stride = 1) {
  return {{k, k}, {padding, padding}, stride};
}

/// The network in the making, with the letters of torchvision's blocks.
struct Inception {
  Network net{};
  double width;
  std::vector<int64_t> channels{};  // of each node's value

  int note(int node, int64_t c) {
    channels.resize(size_t(node) + 1);
    channels[size_t(node)] = c;
    return node;
  }
  int conv(const std::string& name, int x, int64_t out, const Kernel& kernel = {}) {
    const int64_t scaled_out = scaled(out, width);
    return note(conv_bn(net, {name + ".conv", name + ".bn", name + ".relu"}, x,
                        {.in = channels[size_t(x)],
                         .out = scaled_out,
                         .kernel = kernel.size,
                         .stride{kernel.stride, kernel.stride},
                         .padding = kernel.padding},
                        1e-3),
                scaled_out);
  }
  int join(const std::string& name, const std::vector<int>& parts) {
    int64_t sum = 0;
    for (const int part : parts) sum += channels[size_t(part)];
    return note(net->concat(name, parts), sum);
  }
  int average(const std::string& name, int x) {
    return note(net->avg_pool(name, x, {.kernel = 3, .stride = 1, .padding = 1}), channels[size_t(x)]);
  }
  int maximum(const std::string& name, int x) {
    return note(net->max_pool(name, x, {.kernel = 3, .stride = 2}), channels[size_t(x)]);
  }

  int a(const std::string& name, int x, int64_t pool_features) {
    net->block(name);
    const std::string at = name + ".";
    const int one = conv(at + "branch1x1", x, 64);
    const int five = conv(at + "branch5x5_2", conv(at + "branch5x5_1", x, 48), 64, square(5, 2));
    int three = conv(at + "branch3x3dbl_2", conv(at + "branch3x3dbl_1", x, 64), 96, square(3, 1));
    three = conv(at + "branch3x3dbl_3", three, 96, square(3, 1));
    const int pool = conv(at + "branch_pool", average(at + "avgpool", x), pool_features);
    return join(at + "concat", {one, five, three, pool});
  }
  int b(const std::string& name, int x) {
    net->block(name);
    const std::string at = name + ".";
    const int three = conv(at + "branch3x3", x, 384, square(3, 0, 2));
    int twice = conv(at + "branch3x3dbl_2", conv(at + "branch3x3dbl_1", x, 64), 96, square(3, 1));
    twice = conv(at + "branch3x3dbl_3", twice, 96, square(3, 0, 2));
    return join(at + "concat", {three, twice, maximum(at + "maxpool", x)});
  }
  int c(const std::string& name, int x, int64_t c7) {
    net->block(name);
    const std::string at = name + ".";
    const Kernel wide{{1, 7}, {0, 3}}, high{{7, 1}, {3, 0}};
    const int one = conv(at + "branch1x1", x, 192);
    int seven = conv(at + "branch7x7_2", conv(at + "branch7x7_1", x, c7), c7, wide);
    seven = conv(at + "branch7x7_3", seven, 192, high);
    int twice = conv(at + "branch7x7dbl_2", conv(at + "branch7x7dbl_1", x, c7), c7, high);
    twice = conv(at + "branch7x7dbl_3", twice, c7, wide);
    twice = conv(at + "branch7x7dbl_4", twice, c7, high);
    twice = conv(at + "branch7x7dbl_5", twice, 192, wide);
    return join(at + "concat", {one, seven, twice, conv(at + "branch_pool", average(at + "avgpool", x), 192)});
  }
  int d(const std::string& name, int x) {
    net->block(name);
    const std::string at = name + ".";
    const int three = conv(at + "branch3x3_2", conv(at + "branch3x3_1", x, 192), 320, square(3, 0, 2));
    int seven = conv(at + "branch7x7x3_2", conv(at + "branch7x7x3_1", x, 192), 192, {{1, 7}, {0, 3}});
    seven = conv(at + "branch7x7x3_3", seven, 192, {{7, 1}, {3, 0}});
    seven = conv(at + "branch7x7x3_4", seven, 192, square(3, 0, 2));
    return join(at + "concat", {three, seven, maximum(at + "maxpool", x)});
  }
  int e(const std::string& name, int x) {
    net->block(name);
    const std::string at = name + ".";
    const Kernel wide{{1, 3}, {0, 1}}, high{{3, 1}, {1, 0}};
    const int one = conv(at + "branch1x1", x, 320);
    int three = conv(at + "branch3x3_1", x, 384);
    three = join(at + "concat3x3",
                 {conv(at + "branch3x3_2a", three, 384, wide), conv(at + "branch3x3_2b", three, 384, high)});
    int twice = conv(at + "branch3x3dbl_2", conv(at + "branch3x3dbl_1", x, 448), 384, square(3, 1));
    twice = join(at + "concat3x3dbl",
                 {conv(at + "branch3x3dbl_3a", twice, 384, wide), conv(at + "branch3x3dbl_3b", twice, 384, high)});
    return join(at + "concat", {one, three, twice, conv(at + "branch_pool", average(at + "avgpool", x), 192)});
  }
};

}  // namespace

Network inception_v3(const VisionOptions& options) {
  const bool is_small = small(options);
  require(options.input >= (is_small ? 16 : 75),
          "inception_v3 takes images of 16 to 64 or of at least 75 pixels, not {}", options.input);
  const int64_t pad = is_small, stride = is_small ? 1 : 2;
  Inception net{.width = options.width};
  int x = net.note(net.net->input(), options.channels);
  net.net->block("stem");
  x = net.conv("Conv2d_1a_3x3", x, 32, square(3, pad, stride));
  x = net.conv("Conv2d_2a_3x3", x, 32, square(3, pad));
  x = net.conv("Conv2d_2b_3x3", x, 64, square(3, 1));
  if (!is_small) x = net.maximum("maxpool1", x);
  x = net.conv("Conv2d_3b_1x1", x, 80);
  x = net.conv("Conv2d_4a_3x3", x, 192, square(3));
  if (!is_small) x = net.maximum("maxpool2", x);
  x = net.a("Mixed_5b", x, 32);
  x = net.a("Mixed_5c", x, 64);
  x = net.a("Mixed_5d", x, 64);
  x = net.b("Mixed_6a", x);
  x = net.c("Mixed_6b", x, 128);
  x = net.c("Mixed_6c", x, 160);
  x = net.c("Mixed_6d", x, 160);
  x = net.c("Mixed_6e", x, 192);
  x = net.d("Mixed_7a", x);
  x = net.e("Mixed_7b", x);
  x = net.e("Mixed_7c", x);
  classifier(net.net, x, net.channels[size_t(x)], options.classes, 0.5);
  return net.net;
}

}  // namespace quanta::architectures
