#include "quanta/core/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "quanta/core/error.h"
#include "quanta/core/tensor_at.h"
#include "quanta/core/text.h"

namespace quanta {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is little endian");

constexpr uint64_t kLargestHeader = 100'000'000;  // the reference program's limit

struct TypeFacts {
  std::string_view name;
  size_t size;
};
constexpr std::array<TypeFacts, 15> kTypes = {{{"BOOL", 1},
                                               {"U8", 1},
                                               {"I8", 1},
                                               {"F8_E4M3", 1},
                                               {"F8_E5M2", 1},
                                               {"I16", 2},
                                               {"U16", 2},
                                               {"F16", 2},
                                               {"BF16", 2},
                                               {"I32", 4},
                                               {"U32", 4},
                                               {"F32", 4},
                                               {"I64", 8},
                                               {"U64", 8},
                                               {"F64", 8}}};

// The bytes a tensor needs, or nothing if a dimension is negative or the size overflows. A dimension of 0 does not hide
// an overflow of the others, whose strides a reader may want to compute.
std::optional<uint64_t> byte_count(DataType type, const std::vector<int64_t>& shape) {
  int64_t bytes = int64_t(item_size(type));
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return {};
    empty |= extent == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(extent, 1), &bytes)) return {};
  }
  return empty ? 0 : uint64_t(bytes);
}

// JSON that is refused early if a name is given twice or it is nested deeper than any header is.
json parse_header(std::string_view text, std::string_view file) {
  constexpr int kDeepest = 3;
  const size_t zero = text.find('\0');  // the parser would take it for the end
  require(zero == text.npos, "{}: the header is not JSON (at its byte {})", file, zero + 1);
  std::vector<std::set<std::string>> names;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    require(depth <= kDeepest, "{}: the header is nested too deeply to be a safetensors header", file);
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key)
      require(names.back().insert(value.get<std::string>()).second, "{}: the header names {} twice", file,
              printable(value.get<std::string>()));
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::parse_error& error) {
    fail("{}: the header is not JSON (at its byte {})", file, error.byte);
  } catch (const json::exception&) {  // a number beyond all ranges
    fail("{}: the header holds a value out of range", file);
  }
}

struct Extent {
  uint64_t begin, end;
  std::string_view name;
};

TensorView parse_tensor(const json& entry, std::span<const std::byte> data, const std::string& where, Extent& extent) {
  require(entry.is_object(), "{}: expected an object with dtype, shape and data_offsets", where);
  const auto field = [&](const char* name, json::value_t type) -> const json& {
    const auto found = entry.find(name);
    require(found != entry.end(), "{}: {} is missing", where, name);
    require(found->type() == type, "{}: {} must be {}", where, name,
            type == json::value_t::string ? "a string" : "an array of integers");
    return *found;
  };

  TensorView tensor;
  const auto& type = field("dtype", json::value_t::string).get_ref<const std::string&>();
  const auto known = parse_data_type(type);
  require(known.has_value(), "{}: unknown dtype {}", where, printable(type));
  tensor.type = *known;

  for (const json& size : field("shape", json::value_t::array)) {
    require(size.is_number_unsigned() && size.get<uint64_t>() <= INT64_MAX,
            "{}: every dimension must be an integer from 0 to 2^63 - 1, got {}", where,
            size.is_number() ? size.dump() : size.type_name());
    tensor.shape.push_back(size.get<int64_t>());
  }
  const auto needed = byte_count(tensor.type, tensor.shape);
  require(needed.has_value(), "{}: the size of its shape overflows", where);

  const json& offsets = field("data_offsets", json::value_t::array);
  require(offsets.size() == 2 && offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned(),
          "{}: data_offsets must be two integers, begin and end", where);
  extent.begin = offsets[0].get<uint64_t>();
  extent.end = offsets[1].get<uint64_t>();
  require(extent.begin <= extent.end, "{}: data_offsets begin at {}, after their end at {}", where, extent.begin,
          extent.end);
  require(extent.end <= data.size(), "{}: data_offsets end at {}, but the file holds {} bytes of data", where,
          extent.end, data.size());
  require(extent.end - extent.begin == *needed, "{}: its shape and dtype need {} bytes, its data_offsets hold {}",
          where, *needed, extent.end - extent.begin);
  tensor.bytes = data.subspan(extent.begin, *needed);
  return tensor;
}

}  // namespace

size_t item_size(DataType type) {
  return kTypes.at(size_t(type)).size;
}

std::string_view data_type_name(DataType type) {
  return kTypes.at(size_t(type)).name;
}

std::optional<DataType> parse_data_type(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &TypeFacts::name);
  if (found == kTypes.end()) return {};
  return DataType(found - kTypes.begin());
}

Safetensors Safetensors::parse(std::span<const std::byte> buffer, std::string_view name) {
  Safetensors result;
  result.name_ = name;
  uint64_t length = 0;
  require(buffer.size() >= sizeof length, "{}: {} bytes are too few for a safetensors file", name, buffer.size());
  std::memcpy(&length, buffer.data(), sizeof length);
  require(length <= kLargestHeader, "{}: a header of {} bytes is beyond the limit of {}; not a safetensors file?", name,
          length, kLargestHeader);
  require(length <= buffer.size() - sizeof length, "{}: the header should hold {} bytes, the file has only {} left",
          name, length, buffer.size() - sizeof length);
  const std::string_view text(reinterpret_cast<const char*>(buffer.data()) + sizeof length, length);
  const auto data = buffer.subspan(sizeof length + length);
  require(text.starts_with('{'), "{}: the header does not begin with '{{'; not a safetensors file?", name);

  const json header = parse_header(text, name);
  std::vector<Extent> extents;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") {
      require(entry.is_object(), "{}: __metadata__ must be an object of strings", name);
      for (const auto& [item, value] : entry.items()) {
        require(value.is_string(), "{}: __metadata__ {} must be a string", name, printable(item));
        result.metadata_[item] = value.get<std::string>();
      }
      continue;
    }
    Extent extent{};
    auto tensor = parse_tensor(entry, data, fmt::format("{}: tensor {}", name, printable(key)), extent);
    extent.name = result.tensors_.emplace(key, std::move(tensor)).first->first;
    extents.push_back(extent);
  }

  std::ranges::sort(extents, {}, [](const Extent& e) { return std::pair(e.begin, e.end); });
  Extent last{0, 0, ""};
  for (const Extent& extent : extents) {
    require(extent.begin >= last.end, "{}: tensor {} overlaps tensor {}", name, printable(extent.name),
            printable(last.name));
    require(extent.begin == last.end, "{}: bytes {} to {} before tensor {} belong to no tensor", name, last.end,
            extent.begin, printable(extent.name));
    last = extent;
  }
  require(last.end == data.size(), "{}: the last {} bytes belong to no tensor", name, data.size() - last.end);
  return result;
}

Safetensors Safetensors::open(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  Safetensors result = parse(file->bytes(), path.string());
  result.file_ = file;
  return result;
}

const TensorView& Safetensors::at(const std::string& name) const {
  return tensor_at(tensors_, name, name_);
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  using Item = std::pair<const std::string, TensorView>;
  std::vector<const Item*> order;
  for (const Item& item : tensors) order.push_back(&item);
  std::ranges::stable_sort(order, std::greater(), [](const Item* item) { return item_size(item->second.type); });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const Item* item : order) {
    const auto& [name, tensor] = *item;
    require(name != "__metadata__", "cannot write {}: a tensor may not be called __metadata__", path.string());
    const auto needed = byte_count(tensor.type, tensor.shape);
    require(needed == tensor.bytes.size(), "cannot write {}: tensor {} [{}] of {} does not fit its {} bytes",
            path.string(), printable(name), fmt::join(tensor.shape, ", "), data_type_name(tensor.type),
            tensor.bytes.size());
    header[name] = {
        {"dtype", data_type_name(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + *needed}}};
    offset += *needed;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    fail("cannot write {}: a name or a metadata entry is not UTF-8", path.string());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  require(length <= kLargestHeader, "cannot write {}: its header of {} bytes is beyond the limit of {}", path.string(),
          length, kLargestHeader);

  AtomicFile file(path);
  file.stream().write(reinterpret_cast<const char*>(&length), sizeof length) << text;
  for (const Item* item : order) {
    const auto bytes = item->second.bytes;
    file.stream().write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  }
  file.commit();
}

}  // namespace quanta
