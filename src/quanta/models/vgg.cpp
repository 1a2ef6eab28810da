#include "quanta/core/error.h"
#include "quanta/models/architectures.h"

namespace quanta::architectures {

Network vgg_small(const VisionOptions& options) {
  require(small(options) && options.input % 8 == 0, "vgg_small is made for images of 8, 16 ... 64 pixels, not {}",
          options.input);
  Network net;
  int x = net->input(), index = 0;
  int64_t in = options.channels;
  const auto next = [&] { return fmt::format("features.{}", index++); };
  for (const int64_t channels : {128, 256, 512}) {
    const int64_t out = scaled(channels, options.width);
    net->block(fmt::format("stage{}", channels / 128));
    for (int i = 0; i < 2; ++i) {
      const std::string conv = next(), batch_norm = next(), relu = next();
      x = conv_bn(net, {conv, batch_norm, relu}, x, Conv2dOptions::square(in, out, 3));
      in = out;
    }
    x = net->max_pool(next(), x, {});
  }
  net->block("classifier");
  const int64_t side = options.input / 8;
  net->linear("classifier", net->flatten("flatten", x), in * side * side, options.classes);
  return net;
}

}  // namespace quanta::architectures
