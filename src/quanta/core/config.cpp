#include "quanta/core/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <sstream>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/text.h"

namespace quanta {
namespace {

using nlohmann::json;
using Kind = json::value_t;

constexpr size_t kLargestFile = 16 << 20;

// TOML values are kept as JSON: null, unsigned and binary never occur.
json to_json_value(const toml::node& node, std::string_view name) {
  const auto where = [&] {
    return fmt::format("{}:{}:{}", name, node.source().begin.line, node.source().begin.column);
  };
  switch (node.type()) {
    case toml::node_type::table: {
      json object = json::object();
      for (auto&& [key, value] : *node.as_table()) {
        require(key.str().find('.') == std::string_view::npos, "{}: the quoted key '{}' holds a dot; rename it",
                where(), key.str());
        object[std::string(key.str())] = to_json_value(value, name);
      }
      return object;
    }
    case toml::node_type::array: {
      json array = json::array();
      for (const auto& value : *node.as_array()) array.push_back(to_json_value(value, name));
      // [1, 2.5] is an array of floating-point numbers.
      const auto is_number = [](const json& value) { return value.is_number(); };
      const auto is_float = [](const json& value) { return value.is_number_float(); };
      if (std::ranges::all_of(array, is_number) && std::ranges::any_of(array, is_float))
        for (auto& value : array) value = value.get<double>();
      return array;
    }
    case toml::node_type::string:
      return node.as_string()->get();
    case toml::node_type::integer:
      return node.as_integer()->get();
    case toml::node_type::floating_point:
      return node.as_floating_point()->get();
    case toml::node_type::boolean:
      return node.as_boolean()->get();
    default:
      fail("{}: dates and times are not supported; write a string", where());
  }
}

toml::table toml_table(const json& object);
toml::array toml_array(const json& array);

// Calls sink with `value` as what toml++ takes for it.
template <class Sink>
void visit_as_toml(const json& value, Sink sink) {
  switch (value.type()) {
    case Kind::object:
      return sink(toml_table(value));
    case Kind::array:
      return sink(toml_array(value));
    case Kind::string:
      return sink(toml::value(value.get<std::string>()));
    case Kind::boolean:
      return sink(toml::value(value.get<bool>()));
    case Kind::number_float:
      return sink(toml::value(value.get<double>()));
    default:
      return sink(toml::value(value.get<int64_t>()));
  }
}

toml::table toml_table(const json& object) {
  toml::table table;
  for (const auto& [key, value] : object.items())
    visit_as_toml(value, [&table, &key = key](auto&& node) { table.insert(key, std::move(node)); });
  return table;
}

toml::array toml_array(const json& array) {
  toml::array result;
  for (const auto& value : array) visit_as_toml(value, [&](auto&& node) { result.push_back(std::move(node)); });
  return result;
}

std::string toml_text(const json& value) {
  std::ostringstream out;
  visit_as_toml(value, [&](auto&& node) { out << node; });
  return out.str();
}

std::string describe(const json& value) {
  switch (value.type()) {
    case Kind::object:
      return "a table";
    case Kind::array: {
      if (value.empty()) return "an array";
      std::string element = describe(value[0]);
      return "an array of " + element.substr(element.find(' ') + 1) + "s";
    }
    case Kind::string:
      return "a string";
    case Kind::boolean:
      return "a boolean";
    case Kind::number_float:
      return "a floating-point number";
    default:
      return "an integer";
  }
}

// `next` in the type of `current`, or nothing if it does not fit.
std::optional<json> as_type_of(const json& current, const json& next) {
  if (current.is_number_float() && next.is_number_integer()) return json(next.get<double>());
  if (current.type() != next.type()) return {};
  if (!current.is_array() || current.empty()) return next;
  json array = json::array();
  for (const auto& item : next) {
    auto element = as_type_of(current[0], item);
    if (!element) return {};
    array.push_back(std::move(*element));
  }
  return array;
}

json::json_pointer pointer(std::string_view key) {
  json::json_pointer result;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    result /= std::string(key.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

void collect_keys(const json& table, const std::string& prefix, std::vector<std::string>& keys) {
  for (const auto& [key, value] : table.items())
    if (value.is_object())
      collect_keys(value, prefix + key + ".", keys);
    else
      keys.push_back(prefix + key);
}

// The value as T, or nothing if it is of another type or out of range.
template <class T>
std::optional<T> convert(const json& value) {
  if constexpr (std::same_as<T, bool>) {
    if (value.is_boolean()) return value.get<bool>();
  } else if constexpr (std::same_as<T, std::string>) {
    if (value.is_string()) return value.get<std::string>();
  } else if constexpr (std::same_as<T, double>) {
    if (value.is_number()) return value.get<double>();
  } else if constexpr (ConfigScalar<T>) {
    if (value.is_number_integer() && std::in_range<T>(value.get<int64_t>())) return T(value.get<int64_t>());
  } else {
    if (!value.is_array()) return {};
    T result;
    for (const auto& item : value) {
      auto element = convert<typename T::value_type>(item);
      if (!element) return {};
      result.push_back(std::move(*element));
    }
    return result;
  }
  return {};
}

template <class T>
std::string expected() {
  if constexpr (std::same_as<T, bool>)
    return "a boolean";
  else if constexpr (std::same_as<T, std::string>)
    return "a string";
  else if constexpr (std::same_as<T, double>)
    return "a number";
  else if constexpr (ConfigScalar<T>)
    return fmt::format("an integer from {} to {}", std::numeric_limits<T>::min(),
                       std::min<uint64_t>(std::numeric_limits<T>::max(), INT64_MAX));
  else
    return "an array, each element " + expected<typename T::value_type>();
}

}  // namespace

Config Config::parse(std::string_view text, std::string_view name) {
  Config config;
  config.name_ = name;
  try {
    config.root_ = to_json_value(toml::parse(text, name), name);
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    fail("{}:{}:{}: {}", name, at.line, at.column, error.description());
  }
  return config;
}

Config Config::load(const std::filesystem::path& path) {
  return parse(read_file(path, kLargestFile), path.string());
}

template <ConfigValue T>
T Config::get(std::string_view key) const {
  const json* value = find(key);
  require(value, "{}: no key '{}'; nearest: '{}'", name_, key, nearest_key(key));
  auto result = convert<T>(*value);
  require(result.has_value(), "{}: '{}' must be {}, got {}", name_, key, expected<T>(),
          value->is_object() ? "a table" : toml_text(*value));
  return *std::move(result);
}

#define QUANTA_CONFIG_GET(T)                             \
  template T Config::get<T>(std::string_view key) const; \
  template std::vector<T> Config::get<std::vector<T>>(std::string_view key) const;
QUANTA_CONFIG_GET(bool)
QUANTA_CONFIG_GET(int)
QUANTA_CONFIG_GET(int64_t)
QUANTA_CONFIG_GET(uint64_t)
QUANTA_CONFIG_GET(double)
QUANTA_CONFIG_GET(std::string)
#undef QUANTA_CONFIG_GET

bool Config::has(std::string_view key) const {
  return find(key);
}

void Config::set(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  const auto trim = [](std::string_view text) {
    const size_t begin = text.find_first_not_of(" \t");
    return begin == text.npos ? std::string_view() : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
  };
  if (equals == assignment.npos)
    throw UsageError(fmt::format("cannot set '{}': expected key=value, for example train.epochs=3", assignment));
  const std::string_view key = trim(assignment.substr(0, equals));
  const std::string_view text = trim(assignment.substr(equals + 1));
  const json* current = find(key);
  if (!current) throw UsageError(fmt::format("unknown key '{}'; did you mean '{}'?", key, nearest_key(key)));
  if (current->is_object()) {
    std::vector<std::string> inside;
    collect_keys(*current, std::string(key) + ".", inside);
    throw UsageError(fmt::format("'{}' is a table: set one of its keys: {}", key, fmt::join(inside, ", ")));
  }

  std::optional<json> next;
  if (current->is_string() && !text.starts_with('"') && !text.starts_with('\'')) {
    next = std::string(text);
  } else {
    try {
      const json parsed = to_json_value(toml::parse(fmt::format("value = {}", text)), key);
      if (parsed.size() == 1) next = as_type_of(*current, parsed["value"]);  // more: a line break in the value
    } catch (const std::exception&) {                                        // not TOML: the message below says what is
    }
  }
  if (!next)
    throw UsageError(fmt::format("cannot set {}={}: expected {}, for example {}={}", key, text, describe(*current), key,
                                 toml_text(*current)));
  root_[pointer(key)] = *std::move(next);
}

void Config::overlay(const Config& other) {
  json merged = root_;
  for (const auto& key : other.keys()) {
    const json* current = find(key);
    require(current, "{}: unknown key '{}'; did you mean '{}'? (the keys are those of {})", other.name_, key,
            nearest_key(key), name_);
    auto next = as_type_of(*current, *other.find(key));
    require(next.has_value(), "{}: '{}' must be {}, as in {}, got {}", other.name_, key, describe(*current), name_,
            toml_text(*other.find(key)));
    merged[pointer(key)] = *std::move(next);
  }
  root_ = std::move(merged);
}

std::vector<std::string> Config::keys() const {
  std::vector<std::string> result;
  collect_keys(root_, "", result);
  std::ranges::sort(result);
  return result;
}

std::string Config::to_toml() const {
  return toml_text(root_) + "\n";
}

const json* Config::find(std::string_view key) const {
  const json* value = &root_;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    if (!value->is_object()) return nullptr;
    const auto found = value->find(key.substr(begin, end - begin));
    if (found == value->end()) return nullptr;
    value = &*found;
    begin = end + 1;
  }
  return value;
}

std::string Config::nearest_key(std::string_view key) const {
  const auto last = [](std::string_view dotted) { return dotted.substr(dotted.rfind('.') + 1); };
  std::vector<std::string> all = keys(), same;
  for (const auto& candidate : all)  // "epochs" for "train.epochs"
    if (last(candidate) == last(key)) same.push_back(candidate);
  return nearest(key, same.empty() ? all : same);
}

}  // namespace quanta
