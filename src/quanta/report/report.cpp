#include "quanta/report/report.h"

#include <algorithm>
#include <cmath>

namespace quanta {
namespace {

using nlohmann::json;

std::string valid_utf8(std::string_view text) {
  // The JSON library's writer knows UTF-8; what it replaces comes back as U+FFFD.
  return json::parse(json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace));
}

json number(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}

}  // namespace

bool Report::passed() const {
  return std::ranges::all_of(checks, &Check::holds);
}

json to_json(const Report& report) {
  json results = json::array(), checks = json::array(), artifacts = json::array();
  for (const Result& result : report.results) {
    results.push_back({{"name", valid_utf8(result.name)},
                       {"value", number(result.value)},
                       {"unit", valid_utf8(result.unit)},
                       {"paper", result.paper ? number(*result.paper) : json(nullptr)},
                       {"paper_source", valid_utf8(result.paper_source)}});
  }
  for (const Check& check : report.checks)
    checks.push_back({{"name", valid_utf8(check.name)}, {"holds", check.holds}, {"detail", valid_utf8(check.detail)}});
  for (const std::string& artifact : report.artifacts) artifacts.push_back(valid_utf8(artifact));
  return {{"recipe", valid_utf8(report.recipe)},
          {"title", valid_utf8(report.title)},
          {"mode", valid_utf8(report.mode)},
          {"seed", report.seed},
          {"seconds", number(report.seconds)},
          {"data",
           {{"name", valid_utf8(report.data.name)},
            {"source", valid_utf8(report.data.source)},
            {"train", report.data.train},
            {"test", report.data.test}}},
          {"results", results},
          {"checks", checks},
          {"artifacts", artifacts}};
}

std::string escape_xml(std::string_view text) {
  std::string escaped;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      case '\t':
      case '\n':
      case '\r':
        escaped += c;
        break;
      default:
        // XML 1.0 has no way to write a control character.
        if (static_cast<unsigned char>(c) < 0x20)
          escaped += "\xEF\xBF\xBD";
        else
          escaped += c;
    }
  }
  return escaped;
}

}  // namespace quanta
