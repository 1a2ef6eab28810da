#include <charconv>
#include <type_traits>

#include "quanta/core/error.h"
#include "quanta/core/text.h"
#include "quanta/quantize/gradient_ptq.h"

namespace quanta {
namespace {

using Words = std::vector<std::string>;

// The words of each enumeration, in its order.
Words words(ReconstructionLoss) {
  return {"l2", "l1", "huber", "lp", "cosine", "kl"};
}
Words words(FeatureAugmentation) {
  return {"none", "noise", "mixup", "cutout"};
}
Words words(WeightSelection) {
  return {"all", "random", "largest", "undecided"};
}
Words words(RateSchedule) {
  return {"constant", "cosine"};
}
Words words(UpdateRule) {
  return {"sgd", "rmsprop", "adam", "adamw", "adamax", "nadam"};
}
Words words(RoundingKind) {
  return {"rectified_sigmoid", "sigmoid", "clamp", "sine", "straight", "full_space"};
}
Words words(GridScheme) {
  return {"uniform", "power", "log"};
}
Words words(RangeMethod) {
  return {"minmax", "percentile", "mse", "kl"};
}
Words words(ActivationSteps) {
  return {"mse", "after", "joint"};
}
Words words(PtqPreset) {
  return {"nearest", "adaround", "brecq", "qdrop", "best"};
}
Words words(bool) {
  return {"false", "true"};
}

template <class T>
T parse(std::string_view key, std::string_view text) {
  if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
    const Words all = words(T{});
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i] == text) return T(i);
    throw UsageError(fmt::format("unknown {} '{}': expected one of {}", key, text, fmt::join(all, ", ")));
  } else {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      throw UsageError(fmt::format("{} takes a number, got '{}'", key, text));
    return value;
  }
}

template <class T>
std::string print(const T& value) {
  if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>)
    return words(value)[size_t(value)];
  else
    return fmt::format("{}", value);
}

/// Calls f(key, member) for every option.
template <class Options, class F>
void each_option(Options& o, F f) {
  auto& r = o.reconstruct;
  f("learn", o.learn);
  f("blocks", o.blocks);
  f("bits", o.bits);
  f("edge_bits", o.edge_bits);
  f("symmetric", r.grid.uniform.symmetric);
  f("range", r.grid.uniform.range);
  f("norm", r.grid.uniform.norm);
  f("scheme", r.grid.scheme);
  f("exponent", r.grid.exponent);
  f("variable", r.variable);
  f("loss", r.loss);
  f("p", r.p);
  f("fisher", r.fisher);
  f("lambda", r.lambda);
  f("beta0", r.beta0);
  f("beta1", r.beta1);
  f("warmup", r.warmup);
  f("optimizer", r.optimizer);
  f("rate", r.rate);
  f("schedule", r.schedule);
  f("steps", r.steps);
  f("batch", r.batch);
  f("drop", r.drop);
  f("augment", r.augment);
  f("select", r.select);
  f("selected", r.selected);
  f("learn_bias", r.learn_bias);
  f("learn_scale", r.learn_scale);
  f("other_rate", r.other_rate);
  f("activation_bits", o.activation_bits);
  f("activations", o.activations);
  f("joint_rate", r.activation_rate);
  f("activation_steps", o.activation_steps);
  f("activation_rate", o.activation_rate);
  f("samples", o.samples);
  f("seed", r.seed);
}

}  // namespace

PtqPreset parse_preset(std::string_view name) {
  return parse<PtqPreset>("preset", name);
}

void set_option(GradientPtqOptions& options, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) throw UsageError(fmt::format("'{}' is no 'key=value'", assignment));
  const auto key = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  bool found = false;
  Words keys;
  each_option(options, [&](const char* name, auto& member) {
    keys.emplace_back(name);
    if (key != name) return;
    member = parse<std::remove_reference_t<decltype(member)>>(key, text);
    found = true;
  });
  if (!found)
    throw UsageError(fmt::format("unknown option '{}' of gradient-based quantization, did you mean {}?", key,
                                 nearest(std::string(key), keys)));
}

std::vector<std::string> list_options(const GradientPtqOptions& options) {
  std::vector<std::string> lines;
  each_option(options, [&](const char* name, const auto& member) {
    lines.push_back(fmt::format("{}={}", name, print(member)));
  });
  return lines;
}

GradientPtqOptions gradient_preset(PtqPreset preset) {
  GradientPtqOptions o;
  switch (preset) {
    case PtqPreset::Nearest:
      o.learn = false;
      break;
    case PtqPreset::AdaRound:
      o.blocks = false;
      break;
    case PtqPreset::Brecq:
      o.activations = ActivationSteps::After;
      break;
    case PtqPreset::QDrop:
      o.activations = ActivationSteps::Joint;
      o.reconstruct.drop = 0.5;
      break;
    case PtqPreset::Best:
      o.activations = ActivationSteps::Joint;
      o.reconstruct.drop = 0.5;
      o.reconstruct.learn_bias = true;
      o.reconstruct.steps = 2000;
      o.reconstruct.rate = 1e-2;
      break;
  }
  return o;
}

}  // namespace quanta
