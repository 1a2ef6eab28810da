#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "quanta/core/safetensors.h"

namespace quanta {

using TensorMap = std::map<std::string, torch::Tensor>;
using TensorViews = std::map<std::string, TensorView>;

/// A module's parameters and buffers under their names; the tensors are the module's own.
TensorMap state_of(const torch::nn::Module& module);

/// Writes tensors to a safetensors file, whole or not at all. Error for types that the format does not have.
void write_tensors(const std::filesystem::path& path, const TensorMap& tensors,
                   const std::map<std::string, std::string>& metadata = {});

/// A contiguous tensor's bytes, which it owns. Error for a type that the format does not have.
TensorView view_of(const torch::Tensor& tensor, const std::string& name);

/// A copy of a file's tensor.
torch::Tensor read_tensor(const TensorView& view, const std::string& name);

enum class Types {
  Exact,     ///< a tensor's type in the file is that in memory
  AnyFloat,  ///< floating-point types are converted to each other
};

/// What keeps a file's tensors from being read into others, a line each ("fc.bias is missing", "conv1.weight is F32
/// [3], expected F32 [4]", "x is not expected"); empty if they fit.
std::vector<std::string> misfits(const TensorViews& file, const TensorMap& expected, Types types = Types::Exact);

/// Error "PATH does not fit this model: ..." with all of them, unless there are none.
void require_fit(const std::filesystem::path& path, const std::vector<std::string>& misfits);

/// Reads the tensors of a file that fits, converted to the types they have in memory.
void read_tensors(const TensorViews& file, const TensorMap& to);

/// Writes a module's parameters and buffers under their names (model.safetensors), whole or not at all.
void save_module(const torch::nn::Module& module, const std::filesystem::path& path,
                 const std::map<std::string, std::string>& metadata = {});

/// Reads what save_module wrote into the module and returns the metadata. Throws Error, and changes nothing, if the
/// file is damaged or if names, shapes or types differ; the message lists every difference.
std::map<std::string, std::string> load_module(torch::nn::Module& module, const std::filesystem::path& path);

/// The same for a file that another program wrote: a checkpoint of PyTorch as safetensors. Floating-point types are
/// converted, "module." in front of all names (DataParallel) is dropped, and the counters "num_batches_tracked" may be
/// missing or left over.
std::map<std::string, std::string> load_weights(torch::nn::Module& module, const std::filesystem::path& path);

}  // namespace quanta
