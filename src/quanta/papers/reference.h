#pragma once

#include <functional>

#include "quanta/papers/recipe.h"
#include "quanta/train/images.h"

namespace quanta {

/// The network that all comparisons of a recipe stand on: trained once and kept in the run's folder as
/// "<label>.safetensors", from where a resumed run takes it. training.out, label and resume are set here. Throws
/// Interrupted.
struct Reference {
  Network net = nullptr;  ///< in evaluation mode
  History history{};      ///< empty if the network was taken from the folder
};
Reference reference_network(const std::string& label, Network untrained, const ImageSplits& data,
                            const Normalization& normalization, ImageTraining training, const RunContext& context);

}  // namespace quanta
