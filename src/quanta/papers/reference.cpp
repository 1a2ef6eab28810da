#include "quanta/papers/reference.h"

#include "quanta/core/log.h"
#include "quanta/train/checkpoint.h"

namespace quanta {

Reference reference_network(const std::string& label, Network untrained, const ImageSplits& data,
                            const Normalization& normalization, ImageTraining training, const RunContext& context) {
  const auto file = context.out / (label + ".safetensors");
  Reference reference{.net = std::move(untrained)};
  if (context.resume && std::filesystem::exists(file)) {
    load_module(*reference.net, file);
    log_info("{}: taken from {}", label, file.string());
  } else {
    training.out = context.out;
    training.label = label;
    training.resume = context.resume;
    reference.history = train_images(reference.net, data.train, data.test, normalization, training);
    if (reference.history.interrupted)
      throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", context.out.string()));
    save_module(*reference.net, file);
  }
  reference.net->eval();
  return reference;
}

}  // namespace quanta
