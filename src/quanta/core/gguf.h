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
#include <variant>
#include <vector>

#include "quanta/core/file.h"

namespace quanta {

/// Element types of a GGUF tensor, numbered as in the file. Most hold blocks of elements that share their scales
/// (lowbit/gguf_blocks.h).
enum class GgufType : uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
  NVFP4 = 40,
  Q1_0 = 41,
};

std::string_view gguf_type_name(GgufType type);  // "Q4_K"
std::optional<GgufType> parse_gguf_type(std::string_view name);
int64_t gguf_block_size(GgufType type);   // elements of a block
int64_t gguf_block_bytes(GgufType type);  // bytes of a block
/// Bytes of a row. Throws Error unless `columns` is a whole number of blocks.
int64_t gguf_row_bytes(GgufType type, int64_t columns);

/// A metadata value; index() is its type's number in the file. Arrays do not nest.
using GgufArray = std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                               std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
                               std::vector<std::string>, std::monostate, std::vector<uint64_t>, std::vector<int64_t>,
                               std::vector<double>>;
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               GgufArray, uint64_t, int64_t, double>;
using GgufMetadata = std::map<std::string, GgufValue>;

struct GgufTensorInfo {
  std::string name{};
  GgufType type = GgufType::F32;
  std::vector<int64_t> shape{};  ///< at most four extents, the innermost last (the file has it first)
};

struct GgufTensor {
  GgufType type;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  ///< in the file
};

/// A GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3 or 2, little endian. Everything
/// up to the data is checked before anything is handed out: counts and lengths against the bytes that are left, names,
/// types, and that every tensor's bytes lie in the file, aligned, and belong to it alone. A file that does not hold is
/// refused with an Error naming it, the tensor or key and the fault.
class Gguf {
 public:
  /// Maps a file into memory. The tensors' bytes live as long as this object or a copy of it.
  static Gguf open(const std::filesystem::path& path);

  /// Reads a buffer, which must outlive the tensors; `name` stands for the file in messages.
  static Gguf parse(std::span<const std::byte> buffer, std::string_view name);

  const std::string& name() const { return name_; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }

  /// The tensor of that name. Throws Error, naming the nearest, if there is none.
  const GgufTensor& at(const std::string& name) const;

  /// A metadata value as T: bool, int64_t (of any integer type), double (of any number), std::string, or a vector of
  /// int64_t, double or std::string. Nothing if there is no such key. Throws Error if it is of another kind.
  template <class T>
  std::optional<T> get(const std::string& key) const;
  /// The same for a key that must be there.
  template <class T>
  T need(const std::string& key) const;

 private:
  std::string name_;
  std::shared_ptr<const MappedFile> file_;
  GgufMetadata metadata_;
  std::map<std::string, GgufTensor> tensors_;
};

/// Writes a GGUF file (version 3) in one step (see AtomicFile) without holding it in memory: the constructor writes
/// metadata and the list of tensors, write() their data in the order of the list, in pieces of any size, commit() ends.
/// Data is aligned to "general.alignment" of the metadata, 32 if there is none.
class GgufWriter {
 public:
  /// Throws Error for names that readers refuse (empty, given twice, longer than 63 bytes), rows that are no whole
  /// number of blocks, and a bad alignment.
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata, std::vector<GgufTensorInfo> tensors);
  ~GgufWriter();

  /// The next bytes. Throws Error if they reach beyond the tensor that is being written.
  void write(std::span<const std::byte> bytes);
  /// Throws Error if data is missing or the file cannot be written.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
