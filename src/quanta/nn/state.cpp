#include "quanta/nn/state.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr std::pair<torch::ScalarType, DataType> kTypes[]{
    {torch::kFloat32, DataType::kF32},   {torch::kFloat64, DataType::kF64}, {torch::kFloat16, DataType::kF16},
    {torch::kBFloat16, DataType::kBF16}, {torch::kInt64, DataType::kI64},   {torch::kInt32, DataType::kI32},
    {torch::kInt16, DataType::kI16},     {torch::kInt8, DataType::kI8},     {torch::kUInt8, DataType::kU8},
    {torch::kBool, DataType::kBool}};

DataType to_data_type(torch::ScalarType type, const std::string& name) {
  for (const auto& [torch_type, file_type] : kTypes)
    if (torch_type == type) return file_type;
  fail("tensor '{}' has type {}, which cannot be saved", name, torch::toString(type));
}

const torch::ScalarType* find_scalar_type(DataType type) {
  for (const auto& [torch_type, file_type] : kTypes)
    if (file_type == type) return &torch_type;
  return nullptr;
}

bool same_type(DataType there, DataType here, Types types) {
  if (there == here) return true;
  const auto *from = find_scalar_type(there), *to = find_scalar_type(here);
  return types == Types::AnyFloat && from && to && torch::isFloatingType(*from) && torch::isFloatingType(*to);
}

std::string describe(DataType type, const std::vector<int64_t>& shape) {
  return fmt::format("{} [{}]", data_type_name(type), fmt::join(shape, ", "));
}

}  // namespace

TensorMap state_of(const torch::nn::Module& module) {
  TensorMap tensors;
  for (const auto& item : module.named_parameters()) tensors[item.key()] = item.value();
  for (const auto& item : module.named_buffers()) tensors[item.key()] = item.value();
  return tensors;
}

TensorView view_of(const torch::Tensor& tensor, const std::string& name) {
  return {to_data_type(tensor.scalar_type(), name), tensor.sizes().vec(),
          std::span(static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes())};
}

void write_tensors(const std::filesystem::path& path, const TensorMap& tensors,
                   const std::map<std::string, std::string>& metadata) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> owners;  // of the memory the views show
  TensorViews views;
  for (const auto& [name, tensor] : tensors) {
    owners.push_back(tensor.detach().to(torch::kCPU).contiguous());
    views[name] = view_of(owners.back(), name);
  }
  write_safetensors(path, views, metadata);
}

torch::Tensor read_tensor(const TensorView& view, const std::string& name) {
  const auto* type = find_scalar_type(view.type);
  require(type, "tensor '{}' has type {}, which LibTorch does not know", name, data_type_name(view.type));
  torch::Tensor tensor = torch::empty(view.shape, *type);
  if (!view.bytes.empty()) std::memcpy(tensor.data_ptr(), view.bytes.data(), view.bytes.size());
  return tensor;
}

std::vector<std::string> misfits(const TensorViews& file, const TensorMap& expected, Types types) {
  std::vector<std::string> list;
  for (const auto& [name, tensor] : expected) {
    const auto found = file.find(name);
    if (found == file.end()) {
      list.push_back(fmt::format("{} is missing", name));
      continue;
    }
    const auto& there = found->second;
    const DataType here = to_data_type(tensor.scalar_type(), name);
    if (there.shape != tensor.sizes().vec() || !same_type(there.type, here, types))
      list.push_back(fmt::format("{} is {}, expected {}", name, describe(there.type, there.shape),
                                 describe(here, tensor.sizes().vec())));
  }
  for (const auto& [name, view] : file)
    if (!expected.contains(name)) list.push_back(fmt::format("{} is not expected", name));
  return list;
}

void require_fit(const std::filesystem::path& path, const std::vector<std::string>& misfits) {
  require(misfits.empty(), "{} does not fit this model: {}", path.string(), fmt::join(misfits, "; "));
}

void read_tensors(const TensorViews& file, const TensorMap& to) {
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : to) tensor.copy_(read_tensor(file.at(name), name));
}

void save_module(const torch::nn::Module& module, const std::filesystem::path& path,
                 const std::map<std::string, std::string>& metadata) {
  write_tensors(path, state_of(module), metadata);
}

std::map<std::string, std::string> load_module(torch::nn::Module& module, const std::filesystem::path& path) {
  const Safetensors file = Safetensors::open(path);
  const TensorMap tensors = state_of(module);
  require_fit(path, misfits(file.tensors(), tensors));
  read_tensors(file.tensors(), tensors);
  return file.metadata();
}

std::map<std::string, std::string> load_weights(torch::nn::Module& module, const std::filesystem::path& path) {
  const Safetensors file = Safetensors::open(path);
  const auto is_counter = [](const auto& item) { return item.first.ends_with("num_batches_tracked"); };
  const bool wrapped =
      std::ranges::all_of(file.tensors(), [](const auto& t) { return t.first.starts_with("module."); });
  TensorViews there;
  for (const auto& [name, view] : file.tensors()) there[wrapped ? name.substr(7) : name] = view;
  TensorMap here = state_of(module);
  std::erase_if(there, is_counter);
  std::erase_if(here, is_counter);
  require_fit(path, misfits(there, here, Types::AnyFloat));
  read_tensors(there, here);
  return file.metadata();
}

}  // namespace quanta
