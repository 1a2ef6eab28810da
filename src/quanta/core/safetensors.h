#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quanta/core/file.h"

namespace quanta {

/// Element types of a safetensors file that fill whole bytes.
enum class DataType { kBool, kU8, kI8, kF8E4M3, kF8E5M2, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kI64, kU64, kF64 };

size_t item_size(DataType type);                 // in bytes
std::string_view data_type_name(DataType type);  // "F32"
std::optional<DataType> parse_data_type(std::string_view name);

/// A tensor in somebody else's memory: row-major, little endian. The address may be unaligned.
struct TensorView {
  DataType type;
  std::vector<int64_t> shape;  // empty: a scalar
  std::span<const std::byte> bytes;
};

/// A safetensors file (https://huggingface.co/docs/safetensors): eight bytes of header length, a JSON header, the data.
/// All of the header is checked before anything is handed out: every tensor's bytes lie in the file, belong to it
/// alone, fit its shape and type, and leave no gap. A file that does not hold is refused with an Error naming it, the
/// tensor and the fault.
class Safetensors {
 public:
  /// Maps a file into memory. The views live as long as this object or a copy of it.
  static Safetensors open(const std::filesystem::path& path);

  /// Reads a buffer, which must outlive the views; `name` stands for the file in messages.
  static Safetensors parse(std::span<const std::byte> buffer, std::string_view name);

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

  /// See MappedFile::release().
  void release() const {
    if (file_) file_->release();
  }

  /// The tensor of that name. Throws Error, naming the nearest, if there is none.
  const TensorView& at(const std::string& name) const;

 private:
  std::string name_;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, TensorView> tensors_;
};

/// Writes a safetensors file in one step (see AtomicFile), tensor by tensor without a copy. As the reference program
/// does, tensors of larger items come first, then in the order of their names, so that each is aligned to its item.
/// Throws Error if a tensor's bytes do not fit its shape and type, or the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace quanta
