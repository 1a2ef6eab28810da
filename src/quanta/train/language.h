#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/models/language_model.h"

namespace quanta {

/// A learning rate's factor over a training.
struct RateSchedule {
  enum class Kind {
    Constant,  ///< rises, then stays
    Linear,    ///< rises, then falls on a line to `last`
    Cosine,    ///< rises, then falls along half a cosine to `last`
    Wsd,       ///< rises, stays, and falls to `last` over the last `decay` of the steps
    OneCycle,  ///< rises from 1/25 along half a cosine and falls along another to `last`; warmup 0.3, last 4e-6 usual
  };
  enum class Fall { Linear, OneMinusRoot, Cosine };  ///< how Wsd falls

  Kind kind = Kind::Cosine;
  double warmup = 0.1;  ///< share of the steps in which the rate rises, in [0, 1)
  double last = 0.1;    ///< factor at the end
  double decay = 0.2;   ///< share of the steps, in [0, 1 - warmup]
  Fall fall = Fall::Linear;

  /// At a step in [0, steps).
  double factor(int64_t step, int64_t steps) const;
};

/// Next-token training with AdamW: weight decay on tensors of two or more dimensions, the gradient's norm clipped.
struct LanguageTraining {
  int64_t steps = 400;
  int64_t batch = 16;    ///< sequences a step
  int64_t length = 128;  ///< tokens that are predicted in a sequence of a stream
  double rate = 3e-3;    ///< highest learning rate
  double beta1 = 0.9, beta2 = 0.95;
  double weight_decay = 0.1;
  double clip = 1;  ///< largest norm of the whole gradient; 0: no clipping
  RateSchedule schedule{};
  uint64_t seed = 0;
  int64_t report_every = 50;    ///< steps between rows of the history
  std::filesystem::path out{};  ///< as TrainOptions::out, label and resume
  std::string label = "train";
  bool resume = false;
  std::string config{};  ///< all else that fixes the result; a checkpoint made under another text is refused
  double checkpoint_seconds = 30;
};

struct LanguageProgress {
  int64_t step = 0;     ///< done
  double loss = 0;      ///< nats a token, mean since the row before
  double rate = 0;      ///< of the last step
  double gradient = 0;  ///< norm before clipping, of the last step
  double val_loss = std::numeric_limits<double>::quiet_NaN();
  double tokens_per_second = 0;
};

struct LanguageHistory {
  std::vector<LanguageProgress> rows{};
  double seconds = 0;
  bool interrupted = false;  ///< the state was saved if training.out is given
  bool resumed = false;
};

/// Trains all parameters of `model`. `tokens` is a stream int64 [n], of which each step takes random windows of
/// length + 1, or sequences int64 [n, T], of which it takes random ones. `validation` int64 [m, T] may be undefined; it
/// is only looked at. Writes metrics.jsonl and <label>.checkpoint.safetensors to training.out. The result depends on
/// the seed, not on the number of threads nor on interruptions: a step's windows are a function of the seed and the
/// step, and gradients of fixed shards of the batch are added in order. Error for ids out of the vocabulary, a text
/// shorter than a window, a loss that is not finite, and a checkpoint that does not fit.
LanguageHistory train_language(LanguageModel model, const torch::Tensor& tokens, const torch::Tensor& validation,
                               const LanguageTraining& training);

/// What fixes a training's result beside the model, its start and the tokens.
nlohmann::json settings_of(const LanguageTraining& training);

/// The small models of the language recipes, by name.
struct LanguagePreset {
  std::string name{};
  int64_t layers = 0, width = 0, heads = 0, inner = 0;
  LanguageTraining training{};

  /// Untied, with twice the positions that training sees.
  LanguageConfig config(int64_t vocabulary) const;
};
/// pico (2 layers of 64), nano (4 of 128), micro (6 of 256), in this order.
const std::vector<LanguagePreset>& language_presets();
/// UsageError naming those there are.
const LanguagePreset& language_preset(std::string_view name);

}  // namespace quanta
