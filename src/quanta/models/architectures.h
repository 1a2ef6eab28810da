#pragma once

#include "quanta/models/vision.h"

/// The builders behind vision_model: one function a family, parameters still zero.
namespace quanta::architectures {

/// channels * width, rounded to a multiple of `divisor` and never down by more than a tenth (MobileNetV2's rule).
int64_t scaled(int64_t channels, double width, int64_t divisor = 8);

/// The image is as small as CIFAR's.
inline bool small(const VisionOptions& options) {
  return options.input <= 64;
}

/// Convolution, batch normalization and, if `relu` has a name, ReLU: the names of the three nodes.
struct ConvNames {
  std::string conv, batch_norm, relu{};
};
int conv_bn(Network& net, const ConvNames& names, int x, const Conv2dOptions& options, double eps = 1e-5);

/// The end of most networks, as block "fc": global average, dropout at a rate above 0, "fc".
void classifier(Network& net, int x, int64_t features, int64_t classes, double dropout = 0);

Network resnet(int depth, const VisionOptions& options);
Network mobilenet_v1(const VisionOptions& options);
Network mobilenet_v2(const VisionOptions& options);
Network inception_v3(const VisionOptions& options);
Network shufflenet(int groups, const VisionOptions& options);
Network squeezenext23(const VisionOptions& options);
Network vgg_small(const VisionOptions& options);

}  // namespace quanta::architectures
