#include "quanta/papers/vision_data.h"

#include <algorithm>

#include "quanta/core/log.h"
#include "quanta/data/gratings.h"
#include "quanta/data/known.h"

namespace quanta {
namespace {

ImageSet prepare(const ImageSet& set, int64_t count, int64_t size) {
  ImageSet made = count > 0 && count < set.size() ? subset(set, count, 0) : set;
  if (size > 0 && (made.height() != size || made.width() != size)) made.images = resize_area(made.images, size, size);
  return made;
}

}  // namespace

std::vector<VisionData> vision_data(const std::vector<std::string>& names, const VisionDataOptions& options,
                                    const RunContext& context) {
  std::vector<std::string> found;
  for (const auto& name : names) {
    const KnownData& known = known_data(name);
    if (known.generated || find_data(known.name, context.data))
      found.push_back(known.name);
    else
      log_warn("data set {} was not found and is left out; to get it: {}", known.name, known.get);
  }
  if (found.empty()) found = {"gratings"};

  std::vector<VisionData> all;
  for (const auto& name : found) {
    const ImageSplits loaded = load_images(name, context.data);
    VisionData data;
    data.images = {prepare(loaded.train, options.train, options.size),
                   prepare(loaded.test, options.test, options.size)};
    data.normalization = name == "gratings" ? grating_units() : Normalization::measure(data.images.train);
    const auto examples = [&](const ImageSet& set) {
      return Examples{data.normalization.apply(set.to_float()), set.labels};
    };
    data.train = examples(data.images.train);
    data.test = examples(data.images.test);
    all.push_back(std::move(data));
  }
  return all;
}

}  // namespace quanta
