#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "quanta/quantize/placement.h"

namespace quanta {

constexpr int kFloatBits = 32;  ///< what is not quantized

/// Weight bits of every layer: of the table, else of the first or the last layer where not 0, else `bits`. Error for
/// names that are no layers and bits outside 1 to 16 (and 32).
std::map<std::string, int> weight_bits_of(const NetworkImpl& net, int bits, int first, int last,
                                          const std::map<std::string, int>& table);

/// The quantizer of each group of activations, none for those that the table leaves float. Error for nodes that do not
/// exist or have no quantizer of their own, and for a grid that is not one for the tensor.
std::vector<std::optional<UniformOptions>> activation_options_of(const NetworkImpl& net, const Placement& placed,
                                                                 const UniformOptions& options,
                                                                 const std::map<std::string, int>& table);

}  // namespace quanta
