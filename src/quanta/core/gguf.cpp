#include "quanta/core/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <sstream>
#include <type_traits>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/core/tensor_at.h"
#include "quanta/core/text.h"

namespace quanta {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little endian");

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint32_t kArray = 9;
constexpr size_t kMostExtents = 4;
constexpr uint32_t kAlignment = 32;
constexpr const char* kAlignmentKey = "general.alignment";

struct TypeFacts {
  GgufType type;
  std::string_view name;
  int64_t elements, bytes;  // of a block
};
constexpr std::array<TypeFacts, 34> kTypes = {{
    {GgufType::F32, "F32", 1, 4},
    {GgufType::F16, "F16", 1, 2},
    {GgufType::Q4_0, "Q4_0", 32, 18},
    {GgufType::Q4_1, "Q4_1", 32, 20},
    {GgufType::Q5_0, "Q5_0", 32, 22},
    {GgufType::Q5_1, "Q5_1", 32, 24},
    {GgufType::Q8_0, "Q8_0", 32, 34},
    {GgufType::Q8_1, "Q8_1", 32, 36},
    {GgufType::Q2_K, "Q2_K", 256, 84},
    {GgufType::Q3_K, "Q3_K", 256, 110},
    {GgufType::Q4_K, "Q4_K", 256, 144},
    {GgufType::Q5_K, "Q5_K", 256, 176},
    {GgufType::Q6_K, "Q6_K", 256, 210},
    {GgufType::Q8_K, "Q8_K", 256, 292},
    {GgufType::IQ2_XXS, "IQ2_XXS", 256, 66},
    {GgufType::IQ2_XS, "IQ2_XS", 256, 74},
    {GgufType::IQ3_XXS, "IQ3_XXS", 256, 98},
    {GgufType::IQ1_S, "IQ1_S", 256, 50},
    {GgufType::IQ4_NL, "IQ4_NL", 32, 18},
    {GgufType::IQ3_S, "IQ3_S", 256, 110},
    {GgufType::IQ2_S, "IQ2_S", 256, 82},
    {GgufType::IQ4_XS, "IQ4_XS", 256, 136},
    {GgufType::I8, "I8", 1, 1},
    {GgufType::I16, "I16", 1, 2},
    {GgufType::I32, "I32", 1, 4},
    {GgufType::I64, "I64", 1, 8},
    {GgufType::F64, "F64", 1, 8},
    {GgufType::IQ1_M, "IQ1_M", 256, 56},
    {GgufType::BF16, "BF16", 1, 2},
    {GgufType::TQ1_0, "TQ1_0", 256, 54},
    {GgufType::TQ2_0, "TQ2_0", 256, 66},
    {GgufType::MXFP4, "MXFP4", 32, 17},
    {GgufType::NVFP4, "NVFP4", 64, 36},
    {GgufType::Q1_0, "Q1_0", 128, 18},
}};

const TypeFacts* find_type(GgufType type) {
  const auto found = std::ranges::find(kTypes, type, &TypeFacts::type);
  return found == kTypes.end() ? nullptr : &*found;
}

const TypeFacts& facts(GgufType type) {
  const TypeFacts* found = find_type(type);
  require(found, "there is no GGUF type {}", uint32_t(type));
  return *found;
}

// The bytes of a tensor; throws Error unless its rows are whole blocks and the size can be counted.
uint64_t tensor_bytes(const TypeFacts& type, const std::vector<int64_t>& shape, const std::string& where) {
  int64_t blocks = type.bytes;
  bool empty = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t extent = shape[i];
    require(extent >= 0, "{}: an extent must be from 0 to 2^63 - 1, got {}", where, uint64_t(extent));
    if (i + 1 == shape.size()) {
      require(extent % type.elements == 0, "{}: a row of {} elements is no whole number of {} blocks of {}", where,
              extent, type.name, type.elements);
      extent /= type.elements;
    }
    empty |= extent == 0;
    require(!__builtin_mul_overflow(blocks, std::max<int64_t>(extent, 1), &blocks),
            "{}: the size of its shape overflows", where);
  }
  require(!shape.empty() || type.elements == 1, "{}: a single element cannot be of type {}", where, type.name);
  return empty ? 0 : uint64_t(blocks);
}

uint64_t padded(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

uint32_t alignment_of(const GgufMetadata& metadata, std::string_view file) {
  const auto found = metadata.find(kAlignmentKey);
  if (found == metadata.end()) return kAlignment;
  const auto* alignment = std::get_if<uint32_t>(&found->second);
  require(alignment && std::has_single_bit(*alignment), "{}: {} must be an unsigned 32-bit power of two", file,
          kAlignmentKey);
  return *alignment;
}

// --- reading --------------------------------------------------------------------------------------------------------

/// Takes a buffer apart; whatever is asked for must be there.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  size_t position() const { return at_; }

  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string text(const std::string& what) {
    const auto length = number<uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  /// A number of things, each of at least `smallest` bytes.
  uint64_t count(size_t smallest, const std::string& what) {
    const auto result = number<uint64_t>(what);
    require(result <= left() / smallest, "{}: {} says {}, the {} bytes left cannot hold as many", file_, what, result,
            left());
    return result;
  }

  GgufValue value(const std::string& what) {
    const auto type = number<uint32_t>(what);
    if (type == kArray) return array(what);
    return by_type<GgufValue>(type, what, [&]<class T>(std::type_identity<T>) { return element<T>(what); });
  }

 private:
  size_t left() const { return bytes_.size() - at_; }

  std::span<const std::byte> take(uint64_t size, const std::string& what) {
    require(size <= left(), "{}: {} needs {} bytes, the file has {} left", file_, what, size, left());
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }

  template <class T>
  T element(const std::string& what) {
    if constexpr (std::is_same_v<T, std::string>) {
      return text(what);
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = number<uint8_t>(what);
      require(byte <= 1, "{}: {} is a truth value and must be 0 or 1, got {}", file_, what, byte);
      return byte == 1;
    } else {
      return number<T>(what);
    }
  }

  GgufValue array(const std::string& what) {
    const auto type = number<uint32_t>(what);
    require(type != kArray, "{}: {} is an array of arrays, which GGUF readers do not take", file_, what);
    return by_type<GgufArray>(type, what, [&]<class T>(std::type_identity<T>) {
      constexpr size_t smallest = std::is_same_v<T, std::string> ? sizeof(uint64_t) : sizeof(T);
      std::vector<T> result;
      for (uint64_t left = count(smallest, what); left > 0; --left) result.push_back(element<T>(what));
      return result;
    });
  }

  // make(std::type_identity<T>()) for the type of that number.
  template <class Result, class Make>
  Result by_type(uint32_t type, const std::string& what, const Make& make) {
    const auto of = [&]<class T>() { return Result(make(std::type_identity<T>())); };
    switch (type) {
      case 0:
        return of.template operator()<uint8_t>();
      case 1:
        return of.template operator()<int8_t>();
      case 2:
        return of.template operator()<uint16_t>();
      case 3:
        return of.template operator()<int16_t>();
      case 4:
        return of.template operator()<uint32_t>();
      case 5:
        return of.template operator()<int32_t>();
      case 6:
        return of.template operator()<float>();
      case 7:
        return of.template operator()<bool>();
      case 8:
        return of.template operator()<std::string>();
      case 10:
        return of.template operator()<uint64_t>();
      case 11:
        return of.template operator()<int64_t>();
      case 12:
        return of.template operator()<double>();
      default:
        fail("{}: {} is of the unknown type {}", file_, what, type);
    }
  }

  std::span<const std::byte> bytes_;
  std::string_view file_;
  size_t at_ = 0;
};

struct Entry {
  std::string name;
  GgufTensor tensor;
  uint64_t offset, size;
};

Entry read_entry(Reader& reader, uint64_t index, uint64_t alignment, std::string_view file) {
  Entry entry{.name = reader.text(fmt::format("the name of tensor {}", index)), .tensor{}, .offset = 0, .size = 0};
  const std::string where = fmt::format("{}: tensor {}", file, printable(entry.name));
  const std::string what = "the entry of tensor " + printable(entry.name);
  const auto extents = reader.number<uint32_t>(what);
  require(extents <= kMostExtents, "{}: {} extents, at most {} are possible", where, extents, kMostExtents);
  for (uint32_t i = 0; i < extents; ++i) entry.tensor.shape.push_back(reader.number<int64_t>(what));
  std::ranges::reverse(entry.tensor.shape);
  entry.tensor.type = reader.number<GgufType>(what);
  const TypeFacts* type = find_type(entry.tensor.type);
  require(type, "{}: unknown type {}", where, uint32_t(entry.tensor.type));
  entry.size = tensor_bytes(*type, entry.tensor.shape, where);
  entry.offset = reader.number<uint64_t>(what);
  require(entry.offset % alignment == 0, "{}: its offset {} is no multiple of {}", where, entry.offset, alignment);
  return entry;
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  return facts(type).name;
}

std::optional<GgufType> parse_gguf_type(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &TypeFacts::name);
  if (found == kTypes.end()) return {};
  return found->type;
}

int64_t gguf_block_size(GgufType type) {
  return facts(type).elements;
}

int64_t gguf_block_bytes(GgufType type) {
  return facts(type).bytes;
}

int64_t gguf_row_bytes(GgufType type, int64_t columns) {
  return int64_t(tensor_bytes(facts(type), {columns}, "GGUF"));
}

Gguf Gguf::parse(std::span<const std::byte> buffer, std::string_view file) {
  Gguf result;
  result.name_ = file;
  require(buffer.size() >= kMagic.size() && std::memcmp(buffer.data(), kMagic.data(), kMagic.size()) == 0,
          "{}: not a GGUF file (it does not begin with \"GGUF\")", file);
  Reader reader(buffer.subspan(kMagic.size()), file);
  const auto version = reader.number<uint32_t>("the version");
  require((version & 0xffff) != 0, "{}: a big-endian GGUF file; only little-endian ones are read", file);
  require(version == 2 || version == kVersion, "{}: GGUF version {}; only 2 and 3 are read", file, version);
  const uint64_t tensors = reader.count(24, "the number of tensors");
  const uint64_t keys = reader.count(13, "the number of metadata entries");

  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = reader.text(fmt::format("the key of metadata entry {}", i));
    require(!result.metadata_.contains(key), "{}: metadata {} is given twice", file, printable(key));
    result.metadata_.emplace(key, reader.value("metadata " + printable(key)));
  }

  const uint64_t alignment = alignment_of(result.metadata_, file);
  std::vector<Entry> entries;
  for (uint64_t i = 0; i < tensors; ++i) entries.push_back(read_entry(reader, i, alignment, file));

  const uint64_t start = padded(kMagic.size() + reader.position(), alignment);
  const auto data = buffer.subspan(std::min<uint64_t>(start, buffer.size()));
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::pair(e.offset, e.size); });
  const Entry* last = nullptr;
  for (Entry& entry : entries) {
    const std::string where = fmt::format("{}: tensor {}", file, printable(entry.name));
    require(entry.offset <= data.size() && entry.size <= data.size() - entry.offset,
            "{}: {} bytes at {} of the data, which has only {}", where, entry.size, entry.offset, data.size());
    if (entry.size > 0) {
      require(!last || last->offset + last->size <= entry.offset, "{} overlaps tensor {}", where,
              printable(last ? last->name : ""));
      last = &entry;
    }
    entry.tensor.bytes = data.subspan(entry.offset, entry.size);
    require(result.tensors_.emplace(entry.name, entry.tensor).second, "{} is given twice", where);
  }
  return result;
}

Gguf Gguf::open(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  Gguf result = parse(file->bytes(), path.string());
  result.file_ = file;
  return result;
}

const GgufTensor& Gguf::at(const std::string& name) const {
  return tensor_at(tensors_, name, name_);
}

// --- metadata as what one asks for ----------------------------------------------------------------------------------

namespace {

template <class T>
struct Wanted {
  static constexpr const char* name = std::is_same_v<T, bool>          ? "a truth value"
                                      : std::is_same_v<T, int64_t>     ? "an integer"
                                      : std::is_same_v<T, double>      ? "a number"
                                      : std::is_same_v<T, std::string> ? "a text"
                                                                       : "an array";
};

// A stored element as T, or nothing if it is of another kind.
template <class T, class From>
std::optional<T> converted(const From& from) {
  if constexpr (std::is_same_v<T, From>) {
    return from;
  } else if constexpr (std::is_arithmetic_v<From> && !std::is_same_v<From, bool>) {
    if constexpr (std::is_same_v<T, double>) return double(from);
    if constexpr (std::is_same_v<T, int64_t> && std::is_integral_v<From>)
      if (std::in_range<int64_t>(from)) return int64_t(from);
  }
  return {};
}

template <class T>
std::optional<T> scalar(const GgufValue& value) {
  return std::visit([](const auto& from) { return converted<T>(from); }, value);
}

template <class T>
requires requires {
  typename T::value_type;
} &&(!std::is_same_v<T, std::string>)std::optional<T> scalar(const GgufValue& value) {
  const auto* array = std::get_if<GgufArray>(&value);
  if (!array) return {};
  return std::visit(
      [](const auto& from) -> std::optional<T> {
        T result;
        if constexpr (std::is_same_v<std::decay_t<decltype(from)>, std::monostate>) {
          return {};
        } else {
          using From = typename std::decay_t<decltype(from)>::value_type;
          for (const From& element : from) {
            const auto made = converted<typename T::value_type>(element);
            if (!made) return {};
            result.push_back(*made);
          }
          return result;
        }
      },
      *array);
}

}  // namespace

template <class T>
std::optional<T> Gguf::get(const std::string& key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return {};
  const auto result = scalar<T>(found->second);
  require(result.has_value(), "{}: metadata {} must be {}", name_, printable(key), Wanted<T>::name);
  return result;
}

template <class T>
T Gguf::need(const std::string& key) const {
  auto result = get<T>(key);
  require(result.has_value(), "{}: metadata {} is missing; expected {}", name_, printable(key), Wanted<T>::name);
  return *std::move(result);
}

#define QUANTA_GGUF_VALUE(...)                                                          \
  template std::optional<__VA_ARGS__> Gguf::get<__VA_ARGS__>(const std::string&) const; \
  template __VA_ARGS__ Gguf::need<__VA_ARGS__>(const std::string&) const;
QUANTA_GGUF_VALUE(bool)
QUANTA_GGUF_VALUE(int64_t)
QUANTA_GGUF_VALUE(double)
QUANTA_GGUF_VALUE(std::string)
QUANTA_GGUF_VALUE(std::vector<int64_t>)
QUANTA_GGUF_VALUE(std::vector<double>)
QUANTA_GGUF_VALUE(std::vector<std::string>)
#undef QUANTA_GGUF_VALUE

// --- writing --------------------------------------------------------------------------------------------------------

namespace {

void put(std::ostream& out, std::span<const std::byte> bytes) {
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
}

template <class T>
requires std::is_arithmetic_v<T>
void put(std::ostream& out, T value) {
  put(out, std::as_bytes(std::span(&value, 1)));
}

void put(std::ostream& out, const std::string& text) {
  put(out, uint64_t{text.size()});
  out << text;
}

void put(std::ostream& out, const GgufArray& array) {
  put(out, uint32_t(array.index()));
  std::visit(
      [&](const auto& elements) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(elements)>, std::monostate>) {
          using T = typename std::decay_t<decltype(elements)>::value_type;
          put(out, uint64_t{elements.size()});
          for (const T& element : elements) put(out, element);
        }
      },
      array);
}

}  // namespace

struct GgufWriter::Impl {
  std::string path;
  AtomicFile file;
  uint64_t alignment;
  std::vector<GgufTensorInfo> tensors;
  std::vector<uint64_t> sizes{};
  size_t next = 0;       // the tensor that is being written
  uint64_t written = 0;  // of its bytes

  void pad(uint64_t size) {
    for (; size % alignment != 0; ++size) file.stream().put('\0');
  }
  // Ends the tensors that are complete.
  void advance() {
    for (; next < tensors.size() && written == sizes[next]; written = 0) pad(sizes[next++]);
  }
};

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       std::vector<GgufTensorInfo> tensors)
    : impl_(new Impl{path.string(), AtomicFile(path), alignment_of(metadata, path.string()), std::move(tensors)}) {
  constexpr size_t kLongestName = 63, kLongestKey = 65535;
  std::ostringstream out;
  out << kMagic;
  put(out, kVersion);
  put(out, uint64_t{impl_->tensors.size()});
  put(out, uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata) {
    require(!key.empty() && key.size() <= kLongestKey, "cannot write {}: metadata {} must have 1 to {} bytes",
            impl_->path, printable(key), kLongestKey);
    const auto* array = std::get_if<GgufArray>(&value);
    require(!array || array->index() != kArray, "cannot write {}: metadata {} is an array of nothing", impl_->path,
            printable(key));
    put(out, key);
    put(out, uint32_t(value.index()));
    std::visit([&](const auto& v) { put(out, v); }, value);
  }
  uint64_t offset = 0;
  std::map<std::string_view, int> names;
  for (const GgufTensorInfo& tensor : impl_->tensors) {
    const std::string where = fmt::format("cannot write {}: tensor {}", impl_->path, printable(tensor.name));
    require(!tensor.name.empty() && tensor.name.size() <= kLongestName, "{}: a name must have 1 to {} bytes", where,
            kLongestName);
    require(names[tensor.name]++ == 0, "{} is given twice", where);
    require(tensor.shape.size() <= kMostExtents, "{}: {} extents, at most {} are possible", where, tensor.shape.size(),
            kMostExtents);
    impl_->sizes.push_back(tensor_bytes(facts(tensor.type), tensor.shape, where));
    put(out, tensor.name);
    put(out, uint32_t(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) put(out, tensor.shape[i]);
    put(out, uint32_t(tensor.type));
    put(out, offset);
    offset += padded(impl_->sizes.back(), impl_->alignment);
  }
  const std::string_view header = out.view();
  impl_->file.stream() << header;
  impl_->pad(header.size());
  impl_->advance();
}

GgufWriter::~GgufWriter() = default;

void GgufWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  require(impl_->next < impl_->tensors.size(), "cannot write {}: data beyond the last tensor", impl_->path);
  const uint64_t left = impl_->sizes[impl_->next] - impl_->written;
  require(bytes.size() <= left, "cannot write {}: {} bytes for tensor {}, which lacks only {}", impl_->path,
          bytes.size(), printable(impl_->tensors[impl_->next].name), left);
  put(impl_->file.stream(), bytes);
  impl_->written += bytes.size();
  impl_->advance();
}

void GgufWriter::commit() {
  require(impl_->next == impl_->tensors.size(), "cannot write {}: tensor {} lacks data", impl_->path,
          impl_->next < impl_->tensors.size() ? printable(impl_->tensors[impl_->next].name) : "");
  impl_->file.commit();
}

}  // namespace quanta
