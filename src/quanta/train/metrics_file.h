#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace quanta {

/// Rewrites the lines of `label` in a metrics.jsonl, with rows[i] plus "label" in each, and leaves those of other
/// trainings that share the folder; so none is missing or doubled after a kill.
void write_metrics(const std::filesystem::path& path, const std::string& label,
                   const std::vector<nlohmann::json>& rows);

}  // namespace quanta
