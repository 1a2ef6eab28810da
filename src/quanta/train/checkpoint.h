#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace quanta {

/// Writes a module's parameters and buffers under their names (model.safetensors), whole or not at all.
void save_module(const torch::nn::Module& module, const std::filesystem::path& path,
                 const std::map<std::string, std::string>& metadata = {});

/// Reads what save_module wrote into the module and returns the metadata. Throws Error, and changes nothing, if the
/// file is damaged or if names, shapes or types differ; the message lists every difference.
std::map<std::string, std::string> load_module(torch::nn::Module& module, const std::filesystem::path& path);

/// What a training needs to go on: beside the module and the optimizer, `state` (counters, history) and `tensors`.
struct Checkpoint {
  nlohmann::json state = nlohmann::json::object();
  std::map<std::string, torch::Tensor> tensors{};
};

/// Writes module, optimizer and checkpoint to one safetensors file, whole or not at all. Tensors are named
/// "model.<parameter or buffer>", "optimizer.<parameter>.<moment>" and "extra.<name>"; counters and learning rates are
/// JSON in the metadata. Optimizers: Adam, AdamW, SGD, RMSprop; Error for others, and if the optimizer holds a
/// parameter that is not the module's.
void save_checkpoint(const std::filesystem::path& path, const torch::nn::Module& module,
                     torch::optim::Optimizer& optimizer, const Checkpoint& checkpoint);

/// The state alone. Throws Error if the file is damaged or no checkpoint.
nlohmann::json read_checkpoint_state(const std::filesystem::path& path);

/// Reads what save_checkpoint wrote. Errors as in load_module, also for another kind of optimizer.
Checkpoint load_checkpoint(const std::filesystem::path& path, torch::nn::Module& module,
                           torch::optim::Optimizer& optimizer);

}  // namespace quanta
