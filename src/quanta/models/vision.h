#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/nn/network.h"

namespace quanta {

struct VisionOptions {
  int64_t classes = 10;
  int64_t input = 32;    ///< height and width of an image; up to 64 the network takes its CIFAR form (vision_model)
  int64_t channels = 3;  ///< of an image
  double width = 1;      ///< multiplies the channels of every layer, which are rounded as in MobileNetV2
  uint64_t seed = 0;     ///< of the start values
};

/// A classifier of images [batch, channels, input, input] -> logits [batch, classes] by its name:
///
///   resnet18, resnet34, resnet50, resnet101, resnet152   arXiv 1512.03385, stride on the 3x3 convolution (v1.5)
///   resnet20, resnet32, resnet44, resnet56, resnet110    the same paper's for CIFAR, shortcuts by 1x1 convolutions (B)
///   mobilenet_v1, mobilenet_v2                           arXiv 1704.04861, 1801.04381
///   inception_v3                                         arXiv 1512.00567, without the auxiliary classifier
///   shufflenet_g1, _g2, _g3, _g4, _g8                    arXiv 1707.01083 with so many groups
///   sqnxt23, sqnxt23_w2                                  arXiv 1803.10615, SqueezeNext-23, width 1 and 2
///   vgg_small                                            six convolutions of 128, 256 and 512 channels (1702.00953)
///
/// Nodes and parameters have torchvision's names ("layer1.0.conv1", "features.1.conv.0.0", "Mixed_5b.branch1x1.conv",
/// "fc", "classifier.1"), so that its checkpoints load (load_weights); networks that torchvision lacks are named in the
/// style of its ResNets. Each residual or inception block is a block of the network, so are what comes before and
/// behind ("stem" or "features.0", "fc" or "classifier").
///
/// The CIFAR form keeps parameters' shapes but for the stem: a 3x3 convolution of stride 1 and no pooling behind it;
/// MobileNetV2 also keeps the size in its second stage, inception_v3 in all of its stem. resnet20 to resnet110 and
/// vgg_small have no other form.
///
/// Start values: convolutions normal with variance 2 / fan_out, batch normalizations 1 and 0, linear layers LibTorch's
/// default; a value depends on the seed and its parameter's name alone.
/// Errors: a name that is not known, classes or channels below 1, an input too small for the network.
Network vision_model(std::string_view name, const VisionOptions& options = {});

/// All names, in the order above.
std::vector<std::string> vision_model_names();

/// What one must know of a trained network to use it; all of it is kept in its file.
struct VisionModelInfo {
  std::string model{};  ///< its name in vision_model
  VisionOptions options{};
  std::vector<double> mean{},
      standard_deviation{};  ///< what is taken from and divides pixels in [0, 1]; a channel each
  std::vector<std::string> class_names{};
  std::string data{};  ///< the data set it was trained on, as load_images knows it
};

/// Writes network and description to one safetensors file. Error if the network is not the one that vision_model makes
/// of the description (folded or quantized ones are not), or the description does not fit itself.
void save_vision_model(const std::filesystem::path& path, const Network& net, const VisionModelInfo& info);

/// The description as a safetensors file keeps it in its metadata, for files with other forms of the same network.
std::map<std::string, std::string> vision_model_metadata(const VisionModelInfo& info);
/// The description in a file's metadata; Error if there is none or it is damaged.
VisionModelInfo read_vision_model_info(const std::filesystem::path& path);

struct LoadedVisionModel {
  Network net;  ///< in evaluation mode
  VisionModelInfo info;
};

/// Reads what save_vision_model wrote; of a folder, its model.safetensors. Errors: no such description in the file, one
/// that is damaged, tensors that do not fit it (all of them in one message).
LoadedVisionModel load_vision_model(const std::filesystem::path& path);

}  // namespace quanta
