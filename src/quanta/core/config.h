#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

template <class T>
concept ConfigScalar = std::same_as<T, bool> || std::same_as<T, int> || std::same_as<T, int64_t> ||
    std::same_as<T, uint64_t> || std::same_as<T, double> || std::same_as<T, std::string>;

template <class T>
concept ConfigValue = ConfigScalar<T> ||
    (ConfigScalar<typename T::value_type>&& std::same_as<T, std::vector<typename T::value_type>>);

/// Settings of a run: a TOML document (https://toml.io, version 1.0, without dates and times), its values named by
/// dotted keys ("train.epochs"). The document fixes which keys exist and the type of each: an override must name a
/// known key and give a value of its type. An integer is accepted where a floating-point number stands, never the
/// reverse, so write 1.0 for a rate. Comments do not survive to_toml().
class Config {
 public:
  Config() = default;

  /// Reads TOML text; `name` stands for the source in messages. Throws Error "name:line:column: ..." if it is not TOML.
  static Config parse(std::string_view toml, std::string_view name);

  /// Reads a file. Throws Error if it cannot be read or is not TOML.
  static Config load(const std::filesystem::path& path);

  /// The value of a key as bool, int, int64_t, uint64_t, double, std::string or a std::vector of these. Throws Error if
  /// there is no such key, or if its value is of another type or out of T's range.
  template <ConfigValue T>
  T get(std::string_view key) const;

  /// Whether a value or a table has this key.
  bool has(std::string_view key) const;

  /// Applies "key=value", the argument of `--set`. The value is TOML; quotes may be left out for a string. Throws
  /// UsageError for an unknown key (naming the nearest known one) and for a value of another type.
  void set(std::string_view assignment);

  /// Replaces values by those of `other` (full.toml over small.toml); an array is replaced as a whole. Throws Error if
  /// one of other's keys does not exist here or has another type, and then changes nothing.
  void overlay(const Config& other);

  /// Dotted keys of all values, sorted.
  std::vector<std::string> keys() const;

  std::string to_toml() const;
  nlohmann::json to_json() const { return root_; }

 private:
  const nlohmann::json* find(std::string_view key) const;
  std::string nearest_key(std::string_view key) const;

  nlohmann::json root_ = nlohmann::json::object();
  std::string name_ = "config";
};

}  // namespace quanta
