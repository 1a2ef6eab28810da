#include "quanta/cli/vision.h"

#include <filesystem>

#include "quanta/core/error.h"
#include "quanta/data/image_folder.h"
#include "quanta/data/known.h"

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

}  // namespace quanta::cli
