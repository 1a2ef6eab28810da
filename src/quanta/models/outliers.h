#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quanta/models/language_model.h"

namespace quanta {

/// Outliers that leave a decoder's function as it is: a channel between two linear maps is multiplied by a gain where
/// it is made and divided by it where it is read. Small models then meet quantization as large ones do, whose outliers
/// come from training. A gain below 1 makes the outliers of the weights that read the channel.
struct OutlierSpec {
  struct Place {
    int64_t channels = 0;  ///< drawn at random in each block
    double gain = 1;
  };
  Place mlp{};     ///< rows of up_proj times the gain, columns of down_proj by it
  Place values{};  ///< rows of v_proj (of the whole layer), columns of o_proj for all heads that read them
  Place norms{};   ///< weights of each of a block's two norms, columns of the layers that read it
  Place keys{};    ///< pairs of each key head that rotary positions turn: rows of k_proj, of q_proj the inverse
  uint64_t seed = 0;

  bool operator==(const OutlierSpec&) const = default;
};
inline bool operator==(const OutlierSpec::Place& a, const OutlierSpec::Place& b) {
  return a.channels == b.channels && a.gain == b.gain;
}

/// "mlp=6x16,values=2x1/16,norms=3x16,keys=2x12": so many channels and their gain at each place; or a name:
///   standard  keys=2x12,mlp=6x16: queries, keys and activations as a large language model's
///   rsq       mlp=4x1/16,values=2x1/16: heavy weights (arXiv 2503.01820's stand-in)
///   qllm      norms=2x20,mlp=2x20: heavy activations (arXiv 2310.08041's stand-in)
/// UsageError that says what was expected.
OutlierSpec parse_outliers(std::string_view text, uint64_t seed = 0);

/// Plants them into a LLaMA. In float32 the logits stay within rounding (1e-4), with gains that are powers of two
/// within a few units of the last place. Error for another family, and for more channels than there are.
void inject_outliers(LanguageModel& model, const OutlierSpec& spec);

}  // namespace quanta
