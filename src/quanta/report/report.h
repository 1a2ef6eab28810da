#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quanta {

/// One measured figure, beside the published one if there is one.
struct Result {
  std::string name{};
  double value = 0;
  std::string unit{};  ///< "%", "s", "parameters"; empty for a bare number
  std::optional<double> paper{};
  std::string paper_source{};  ///< "abstract", "Table 2"
};

/// A relation the paper claims, evaluated on this run's numbers; `detail` states both sides.
struct Check {
  std::string name{};
  bool holds = false;
  std::string detail{};
};

struct DataInfo {
  std::string name{};
  std::string source{};  ///< where it was found, or "generated"
  int64_t train = 0;
  int64_t test = 0;
};

struct Table {
  std::string caption{};
  std::vector<std::string> columns{};
  std::vector<std::vector<std::string>> rows{};  ///< cells that are numbers are set to the right
};

/// A picture; made by plot.h, image_grid() or the circuit module's drawing.
struct Figure {
  std::string caption{};
  std::string svg{};
  std::string note{};  ///< shown instead of the picture if there is no svg
};

struct Section {
  std::string title{};
  std::string text{};  ///< plain; a blank line starts a paragraph
  std::vector<Table> tables{};
  std::vector<Figure> figures{};
};

/// What a run leaves: its figures, its checks and its page.
struct Report {
  std::string recipe{};  ///< "02"
  std::string title{};
  std::string mode{};  ///< "small" or "full"
  uint64_t seed = 0;
  double seconds = 0;
  DataInfo data{};
  std::vector<Result> results{};
  std::vector<Check> checks{};
  std::vector<std::string> artifacts{};  ///< files it wrote, relative to the run's folder

  // For the page only.
  std::string summary{};  ///< what was done and what it shows; plain, a blank line starts a paragraph
  std::vector<Section> sections{};
  std::string config{};                                            ///< TOML
  std::string command{};                                           ///< repeats the run
  std::vector<std::pair<std::string, std::string>> environment{};  ///< see environment_facts()

  bool passed() const;  ///< all checks hold
};

/// {"recipe","title","mode","seed","seconds","data":{"name","source","train","test"},
///  "results":[{"name","value","unit","paper","paper_source"}],"checks":[{"name","holds","detail"}],"artifacts":[...]}
/// A number that is not finite, and an absent published one, is null. Text that is not UTF-8 has its bad bytes
/// replaced.
nlohmann::json to_json(const Report& report);

/// One self-contained page: no scripts, nothing loaded from elsewhere, for light and dark and small screens.
std::string to_html(const Report& report);

/// to_html() to a file, whole or not at all.
void write_html(const Report& report, const std::filesystem::path& path);

/// The machine and the program this run was measured on.
std::vector<std::pair<std::string, std::string>> environment_facts();

/// Text for HTML and XML, in elements and attributes: & < > " ' escaped, control characters and bytes that are not
/// UTF-8 replaced.
std::string escape_xml(std::string_view text);

}  // namespace quanta
