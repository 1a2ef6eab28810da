#include "quanta/train/metrics_file.h"

#include <sstream>

#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta {

using nlohmann::json;
void write_metrics(const std::filesystem::path& path, const std::string& label, const std::vector<json>& rows) {
  std::string text;
  if (std::filesystem::exists(path)) {
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
      const json row = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (row.is_object() && row.value("label", json()) != label) text += line + "\n";
    }
  }
  for (json row : rows) {
    row["label"] = label;
    text += row.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  write_file(path, text);
}

}  // namespace quanta
