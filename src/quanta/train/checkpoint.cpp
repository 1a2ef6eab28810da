#include "quanta/train/checkpoint.h"

#include <array>
#include <functional>
#include <memory>
#include <sstream>
#include <type_traits>
#include <vector>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using nlohmann::json;
using ParamState = torch::optim::OptimizerParamState;

/// The file's tensors called `prefix...`, without the prefix.
TensorViews section(const Safetensors& file, const std::string& prefix) {
  TensorViews views;
  for (const auto& [name, view] : file.tensors())
    if (name.starts_with(prefix)) views[name.substr(prefix.size())] = view;
  return views;
}

/// What an optimizer keeps for each parameter.
struct OptimizerKind {
  const char* name;
  bool (*is)(const torch::optim::Optimizer&);
  std::unique_ptr<ParamState> (*make)();
  int64_t* (*step)(ParamState&);  // nullptr: not counted
  struct Moment {
    const char* name;
    torch::Tensor& (*of)(ParamState&);
  };
  std::vector<Moment> moments;
};

template <class Optimizer, class State>
OptimizerKind make_kind(const char* name, std::vector<OptimizerKind::Moment> moments) {
  return {.name = name,
          .is = [](const torch::optim::Optimizer& o) { return dynamic_cast<const Optimizer*>(&o) != nullptr; },
          .make = []() -> std::unique_ptr<ParamState> { return std::make_unique<State>(); },
          .step = [](ParamState& state) -> int64_t* {
            if constexpr (requires(State s) { s.step(); })
              return &static_cast<State&>(state).step();
            else
              return nullptr;
          },
          .moments = std::move(moments)};
}

template <class State, torch::Tensor& (State::*member)() noexcept>
torch::Tensor& moment(ParamState& state) {
  return (static_cast<State&>(state).*member)();
}

const OptimizerKind& kind_of(const torch::optim::Optimizer& optimizer) {
  using namespace torch::optim;
  static const std::array kinds{
      make_kind<Adam, AdamParamState>("Adam",
                                      {{"exp_avg", moment<AdamParamState, &AdamParamState::exp_avg>},
                                       {"exp_avg_sq", moment<AdamParamState, &AdamParamState::exp_avg_sq>},
                                       {"max_exp_avg_sq", moment<AdamParamState, &AdamParamState::max_exp_avg_sq>}}),
      make_kind<AdamW, AdamWParamState>(
          "AdamW", {{"exp_avg", moment<AdamWParamState, &AdamWParamState::exp_avg>},
                    {"exp_avg_sq", moment<AdamWParamState, &AdamWParamState::exp_avg_sq>},
                    {"max_exp_avg_sq", moment<AdamWParamState, &AdamWParamState::max_exp_avg_sq>}}),
      make_kind<SGD, SGDParamState>("SGD",
                                    {{"momentum_buffer", moment<SGDParamState, &SGDParamState::momentum_buffer>}}),
      make_kind<RMSprop, RMSpropParamState>(
          "RMSprop", {{"square_avg", moment<RMSpropParamState, &RMSpropParamState::square_avg>},
                      {"momentum_buffer", moment<RMSpropParamState, &RMSpropParamState::momentum_buffer>},
                      {"grad_avg", moment<RMSpropParamState, &RMSpropParamState::grad_avg>}})};
  for (const OptimizerKind& kind : kinds)
    if (kind.is(optimizer)) return kind;
  fail("checkpoints know the optimizers Adam, AdamW, SGD and RMSprop, not this one");
}

/// The optimizer's key of a parameter; LibTorch changed it from a string to a pointer after 1.13.
template <class Map, class T>
auto state_key(const Map&, const T& parameter) {
  if constexpr (std::is_same_v<typename Map::key_type, std::string>)
    return c10::guts::to_string(parameter.unsafeGetTensorImpl());
  else
    return static_cast<typename Map::key_type>(parameter.unsafeGetTensorImpl());
}

/// The optimizer's parameters under the module's names.
TensorMap parameters_of(torch::optim::Optimizer& optimizer, const torch::nn::Module& module) {
  std::map<const void*, std::string> names;
  for (const auto& item : module.named_parameters()) names[item.value().unsafeGetTensorImpl()] = item.key();
  TensorMap parameters;
  for (const auto& group : optimizer.param_groups()) {
    for (const torch::Tensor& parameter : group.params()) {
      const auto name = names.find(parameter.unsafeGetTensorImpl());
      require(name != names.end(), "the optimizer holds a parameter of shape [{}] that is not the module's",
              fmt::join(parameter.sizes().vec(), ", "));
      parameters[name->second] = parameter;
    }
  }
  return parameters;
}

/// The first line in which two texts differ, for a message.
std::string first_difference(const std::string& there, const std::string& here) {
  std::istringstream a(there), b(here);
  std::string line_a, line_b;
  while (true) {
    const bool more_a = bool(std::getline(a, line_a)), more_b = bool(std::getline(b, line_b));
    if (!more_a) line_a = "(nothing)";
    if (!more_b) line_b = "(nothing)";
    if (line_a != line_b || !(more_a && more_b)) return fmt::format("'{}' there, '{}' here", line_a, line_b);
  }
}

json parse_metadata(const Safetensors& file, const std::filesystem::path& path, const char* key) {
  const auto found = file.metadata().find(key);
  require(found != file.metadata().end(), "{} is not a training's checkpoint: it has no '{}' in its metadata",
          path.string(), key);
  json value = json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  require(value.is_object(), "{} is damaged: '{}' in its metadata is no JSON object", path.string(), key);
  return value;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const torch::nn::Module& module,
                     torch::optim::Optimizer& optimizer, const TrainingState& checkpoint) {
  const OptimizerKind& kind = kind_of(optimizer);
  TensorMap tensors;
  for (const auto& [name, tensor] : state_of(module)) tensors["model." + name] = tensor;
  for (const auto& [name, tensor] : checkpoint.tensors) tensors["extra." + name] = tensor;
  json steps = json::object(), rates = json::array();
  for (const auto& [name, parameter] : parameters_of(optimizer, module)) {
    const auto found = optimizer.state().find(state_key(optimizer.state(), parameter));
    if (found == optimizer.state().end()) continue;  // no gradient has come yet
    ParamState& state = *found->second;
    steps[name] = kind.step(state) ? *kind.step(state) : 0;
    for (const auto& [moment_name, of] : kind.moments)
      if (of(state).defined()) tensors[fmt::format("optimizer.{}.{}", name, moment_name)] = of(state);
  }
  for (const auto& group : optimizer.param_groups()) rates.push_back(group.options().get_lr());
  const json optimizer_state{{"kind", kind.name}, {"steps", steps}, {"learning_rates", rates}};
  write_tensors(path, tensors,
                {{"format", "quanta checkpoint 1"},
                 {"optimizer", optimizer_state.dump()},
                 {"state", checkpoint.state.dump(-1, ' ', false, json::error_handler_t::replace)}});
}

json read_checkpoint_state(const std::filesystem::path& path) {
  return parse_metadata(Safetensors::open(path), path, "state");
}

TrainingState load_checkpoint(const std::filesystem::path& path, torch::nn::Module& module,
                              torch::optim::Optimizer& optimizer) {
  const Safetensors file = Safetensors::open(path);
  TrainingState checkpoint{.state = parse_metadata(file, path, "state")};
  const json saved = parse_metadata(file, path, "optimizer");
  const OptimizerKind& kind = kind_of(optimizer);
  try {
    require(saved.at("kind") == kind.name, "{} was made with the optimizer {}, not {}", path.string(),
            saved.at("kind").get<std::string>(), kind.name);
    const auto rates = saved.at("learning_rates").get<std::vector<double>>();
    const auto steps = saved.at("steps").get<std::map<std::string, int64_t>>();
    require(rates.size() == optimizer.param_groups().size(), "{} has {} parameter groups, the optimizer has {}",
            path.string(), rates.size(), optimizer.param_groups().size());

    const TensorMap model = state_of(module), parameters = parameters_of(optimizer, module);
    std::vector<std::string> list = misfits(section(file, "model."), model);
    TensorMap moments;  // those the file has, each in its parameter's form
    for (const auto& [name, step] : steps) {
      const auto parameter = parameters.find(name);
      if (parameter == parameters.end()) {
        list.push_back(fmt::format("the optimizer's state of {} is not expected", name));
        continue;
      }
      for (const auto& moment : kind.moments)
        if (const std::string key = name + "." + moment.name; file.tensors().contains("optimizer." + key))
          moments[key] = parameter->second;
    }
    for (const std::string& misfit : misfits(section(file, "optimizer."), moments))
      list.push_back("the optimizer's " + misfit);
    require_fit(path, list);

    std::map<std::string, std::unique_ptr<ParamState>> states;
    for (const auto& [name, step] : steps) {
      auto& state = states[name] = kind.make();
      if (kind.step(*state)) *kind.step(*state) = step;
      for (const auto& [moment_name, of] : kind.moments)
        if (const std::string key = name + "." + moment_name; moments.contains(key))
          of(*state) = read_tensor(file.at("optimizer." + key), key).to(parameters.at(name).device());
    }
    for (const auto& [name, view] : file.tensors())
      if (name.starts_with("extra.")) checkpoint.tensors[name.substr(6)] = read_tensor(view, name);

    read_tensors(section(file, "model."), model);
    optimizer.state().clear();
    for (auto& [name, state] : states)
      optimizer.state()[state_key(optimizer.state(), parameters.at(name))] = std::move(state);
    for (size_t i = 0; i < rates.size(); ++i) optimizer.param_groups()[i].options().set_lr(rates[i]);
  } catch (const json::exception& error) {
    fail("{} is damaged: {}", path.string(), error.what());
  }
  return checkpoint;
}

void require_same_settings(const std::filesystem::path& checkpoint, const json& there, const json& here) {
  for (const auto& [key, value] : here.items()) {
    const json old = there.value(key, json());
    require(old == value,
            "{} was made with another {}: {}; give the same settings to resume, or start over without resuming",
            checkpoint.string(), key,
            key == "config" ? first_difference(old.is_string() ? old.get<std::string>() : "", value)
                            : fmt::format("{} there, {} here", old.dump(), value.dump()));
  }
}

std::string checkpoint_name(const std::string& label) {
  std::string name = label;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') c = '-';
  return name + ".checkpoint.safetensors";
}

}  // namespace quanta
