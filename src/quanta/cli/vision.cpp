#include "quanta/cli/vision.h"

#include <filesystem>

#include "quanta/core/error.h"
#include "quanta/data/image_folder.h"
#include "quanta/data/known.h"
#include "quanta/nn/state.h"
#include "quanta/quantize/quantized_model.h"

namespace quanta::cli {

void add_image_source(CLI::App& command, ImageSource& source, bool required) {
  command
      .add_option("--data", source.set,
                  "Images: a known set (see quanta data list), or a folder or archive of class/name.jpg")
      ->type_name("SET")
      ->required(required);
  command.add_option("--data-dir", source.folder, "Look for known sets here first, then in $QUANTA_DATA and ./data")
      ->type_name("DIR");
}

ImageSplits load(const ImageSource& source, int64_t size) {
  ImageSplits splits;
  if (std::filesystem::exists(source.set)) {
    ImageFolderOptions options;
    if (size > 0) options.size = {size, size};
    splits = load_image_folder(source.set, options);
  } else {
    splits = load_images(source.set, source.folder);
  }
  for (ImageSet* set : {&splits.train, &splits.test})
    if (size > 0 && (set->height() != size || set->width() != size)) set->images = resize_area(set->images, size, size);
  return splits;
}

void add_model_source(CLI::App& command, ModelSource& source) {
  command.add_option("model", source.path, "A model's file or folder: of quanta train or quantize, or see --arch")
      ->required()
      ->type_name("MODEL");
  command
      .add_option("--arch", source.architecture,
                  "For a checkpoint with torchvision's names (safetensors): the network it is of, as in quanta train")
      ->type_name("NAME");
  command.add_option("--classes", source.classes, "With --arch: number of classes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--input", source.input, "With --arch: height and width of an image")
      ->check(CLI::Range(8, 4096))
      ->capture_default_str();
  command.add_option("--mean", source.mean, "With --arch: mean of each channel of pixels in [0, 1]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command.add_option("--deviation", source.deviation, "With --arch: standard deviation of each channel")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
}

OpenedModel open(const ModelSource& source) {
  namespace fs = std::filesystem;
  const fs::path path =
      fs::is_directory(source.path) ? fs::path(source.path) / "model.safetensors" : fs::path(source.path);
  OpenedModel model;
  if (!source.architecture.empty()) {
    model.info = {.model = source.architecture,
                  .options{.classes = source.classes, .input = source.input, .channels = int64_t(source.mean.size())},
                  .mean = source.mean,
                  .standard_deviation = source.deviation};
    vision_model_metadata(model.info);  // says what does not fit
    model.net = vision_model(source.architecture, model.info.options);
    load_weights(*model.net, path);
    model.net->eval();
    return model;
  }
  model.info = read_vision_model_info(path);
  model.quantized = is_quantized(path);
  model.net = model.quantized ? load_quantized(path, vision_model(model.info.model, model.info.options))
                              : load_vision_model(path).net;
  return model;
}

Normalization normalization_of(const VisionModelInfo& info) {
  return {.mean = info.mean, .standard_deviation = info.standard_deviation};
}

void require_fit(const VisionModelInfo& info, const ImageSet& images) {
  require(
      images.channels() == info.options.channels && int64_t(images.classes.size()) == info.options.classes,
      "the model takes images of {} channels and tells {} classes apart, but '{}' has {} and {}: use the set it was "
      "trained on ({})",
      info.options.channels, info.options.classes, images.name, images.channels(), images.classes.size(), info.data);
}

Evaluation evaluate_integers(const IntegerNetwork& network, const ImageSet& images, const Normalization& normalization,
                             int batch) {
  torch::nn::Module none;
  const Forward forward = [&](const torch::Tensor& pixels) {
    const auto x = normalization.apply(pixels).contiguous();
    auto logits = torch::empty({x.size(0), network.outputs()});
    network.run({x.data_ptr<float>(), size_t(x.numel())}, int(x.size(0)),
                {logits.data_ptr<float>(), size_t(logits.numel())});
    return logits;
  };
  return evaluate(forward, none, {.inputs = images.images, .targets = images.labels}, batch);
}

}  // namespace quanta::cli
