#pragma once

#include <cstdint>
#include <vector>

#include "quanta/nn/network.h"

// Small networks on which quantization methods are tried in seconds. Each takes images [batch, channels, H, W] and
// gives logits [batch, classes]; start values depend on the seed alone (see initialize()).

namespace quanta {

struct MiniNetOptions {
  int64_t channels = 3;  ///< of the images
  int64_t classes = 10;
  uint64_t seed = 0;
};

/// conv 3x3 to `widths[0]` - BN - ReLU (block "stem"), a BasicBlock for each width ("block1", ...), at stride 2 and
/// with a shortcut of conv 1x1 - BN where the width changes, global average, linear ("fc").
Network mini_resnet(const std::vector<int64_t>& widths, const MiniNetOptions& options = {});
/// Three BasicBlocks of 16, 32 and 64 channels: 78,042 parameters, 10 quantizable layers.
Network res_mini(const MiniNetOptions& options = {});
/// Six BasicBlocks of 16, 16, 32, 32, 64 and 64 channels: 8 blocks with the stem and the classifier.
Network res_mini2(const MiniNetOptions& options = {});

/// conv 3x3 to w, four blocks of depthwise 3x3 and pointwise 1x1 convolutions to 2w (stride 2), 2w, 4w (stride 2) and
/// 4w, each with BN - ReLU, global average, linear: MobileNetV1 at a size of 10,762 parameters (w = 16).
Network micro_mobile(int64_t width = 16, const MiniNetOptions& options = {});

/// A dense detector: the stem and blocks of res_mini() as backbone, then without batch normalization conv 3x3 - ReLU
/// and two maps, class logits [anchors * classes] and boxes [anchors * 4], joined along the channels: output [batch,
/// anchors * (classes + 4), H / 4, W / 4].
Network mini_detector(int64_t anchors = 3, const MiniNetOptions& options = {});

}  // namespace quanta
