#include "quanta/quantize/assign_bits.h"

#include "quanta/core/error.h"

namespace quanta {
namespace {

void require_bits(const std::string& name, int bits) {
  require((bits >= 1 && bits <= 16) || bits == kFloatBits, "'{}' shall have {} bits: expected 1 to 16, or {} for float",
          name, bits, kFloatBits);
}

}  // namespace

std::map<std::string, int> weight_bits_of(const NetworkImpl& net, int bits, int first, int last,
                                          const std::map<std::string, int>& table) {
  const auto layers = layers_of(net);
  std::map<std::string, int> assigned;
  for (const auto& [name, layer] : layers) assigned[name] = bits;
  if (!layers.empty() && first != 0) assigned[layers.front().first] = first;
  if (!layers.empty() && last != 0) assigned[layers.back().first] = last;
  for (const auto& [name, own] : table) {
    require(assigned.contains(net.nodes()[size_t(net.find(name))].name), "'{}' is no layer and has no weight bits",
            name);
    assigned[name] = own;
  }
  for (const auto& [name, own] : assigned) require_bits(name, own);
  return assigned;
}

std::vector<std::optional<UniformOptions>> activation_options_of(const NetworkImpl& net, const Placement& placed,
                                                                 const UniformOptions& options,
                                                                 const std::map<std::string, int>& table) {
  require(options.axis < 0 && options.group == 0,
          "activations have one grid for the tensor: a scale a channel cannot leave the sum over channels");
  std::vector<std::optional<UniformOptions>> made(placed.writers.size(), options);
  for (const auto& [name, bits] : table) {
    require_bits(name, bits);
    const int group = placed.group[size_t(net.find(name))];
    require(group >= 0, "the value of '{}' is never written and has no quantizer: name the ReLU behind it", name);
    if (bits == kFloatBits)
      made[size_t(group)].reset();
    else if (made[size_t(group)])
      made[size_t(group)]->bits = bits;
  }
  return made;
}

}  // namespace quanta
