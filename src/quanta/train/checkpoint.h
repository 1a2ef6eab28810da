#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "quanta/nn/state.h"

namespace quanta {

/// What a training needs to go on: beside the module and the optimizer, `state` (counters, history) and `tensors`.
struct TrainingState {
  nlohmann::json state = nlohmann::json::object();
  std::map<std::string, torch::Tensor> tensors{};
};

/// Writes module, optimizer and checkpoint to one safetensors file, whole or not at all. Tensors are named
/// "model.<parameter or buffer>", "optimizer.<parameter>.<moment>" and "extra.<name>"; counters and learning rates are
/// JSON in the metadata. Optimizers: Adam, AdamW, SGD, RMSprop; Error for others, and if the optimizer holds a
/// parameter that is not the module's.
void save_checkpoint(const std::filesystem::path& path, const torch::nn::Module& module,
                     torch::optim::Optimizer& optimizer, const TrainingState& checkpoint);

/// The state alone. Throws Error if the file is damaged or no checkpoint.
nlohmann::json read_checkpoint_state(const std::filesystem::path& path);

/// Reads what save_checkpoint wrote. Errors as in load_module, also for another kind of optimizer.
TrainingState load_checkpoint(const std::filesystem::path& path, torch::nn::Module& module,
                              torch::optim::Optimizer& optimizer);

/// Error unless a checkpoint was made with the settings a training resumes with: says the first that differs, for a
/// text of many lines its first line that differs.
void require_same_settings(const std::filesystem::path& checkpoint, const nlohmann::json& there,
                           const nlohmann::json& here);

/// "label.checkpoint.safetensors" with whatever does not belong in a file's name replaced.
std::string checkpoint_name(const std::string& label);

}  // namespace quanta
