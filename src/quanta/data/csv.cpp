#include "quanta/data/csv.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "quanta/core/error.h"
#include "quanta/data/archive.h"

namespace quanta {
namespace {

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool is_missing(std::string_view text) {
  if (text.size() > 4) return false;
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower.empty() || lower == "na" || lower == "n/a" || lower == "nan" || lower == "null";
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& name, char separator, bool quotes)
      : text_(text), name_(name), separator_(separator), quotes_(quotes) {}

  bool at_end() const { return at_ == text_.size(); }
  int64_t line() const { return line_; }

  bool skip_empty_line() {
    if (!at_line_end()) return false;
    end_line();
    return true;
  }

  std::vector<std::string> row() {
    std::vector<std::string> fields;
    for (;;) {
      fields.push_back(quotes_ && !at_end() && text_[at_] == '"' ? quoted(fields.size()) : plain(fields.size()));
      if (at_line_end()) {
        end_line();
        return fields;
      }
      ++at_;  // plain() and quoted() stop at a separator or a line's end
    }
  }

 private:
  bool at_line_end() const {
    return at_end() || text_[at_] == '\n' || (text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n');
  }

  void end_line() {
    if (at_end()) return;
    at_ += text_[at_] == '\r' ? 2 : 1;
    ++line_;
  }

  std::string plain(size_t column) {
    const size_t start = at_;
    for (; !at_line_end() && text_[at_] != separator_; ++at_)
      require(text_[at_] != '\0' && !(quotes_ && text_[at_] == '"'), "{}: line {}, field {}: a {} within a field",
              name_, line_, column + 1, text_[at_] ? "quote that does not start it" : "NUL byte");
    return std::string(text_.substr(start, at_ - start));
  }

  std::string quoted(size_t column) {
    const int64_t start_line = line_;
    std::string field;
    for (++at_; !at_end(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        if (at_end() || text_[at_] != '"') {
          require(at_line_end() || text_[at_] == separator_, "{}: line {}, field {}: text after the closing quote",
                  name_, line_, column + 1);
          return field;
        }
      }
      require(text_[at_] != '\0', "{}: line {}, field {}: a NUL byte within a field", name_, line_, column + 1);
      line_ += text_[at_] == '\n';
      field.push_back(text_[at_]);
    }
    fail("{}: line {}, field {}: the quote is never closed", name_, start_line, column + 1);
  }

  std::string_view text_;
  const std::string& name_;
  char separator_;
  bool quotes_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

bool CsvTable::has(std::string_view column) const {
  return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
}

int64_t CsvTable::index(std::string_view column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  require(found != columns_.end(), "{}: no column '{}'; it has: {}", name_, column, fmt::join(columns_, ", "));
  return found - columns_.begin();
}

std::vector<std::string> CsvTable::text(std::string_view column) const {
  const int64_t at = index(column);
  std::vector<std::string> result;
  result.reserve(rows());
  for (int64_t row = 0; row < rows(); ++row) result.push_back(cell(row, at));
  return result;
}

torch::Tensor CsvTable::numbers(const std::vector<std::string>& columns) const {
  auto result = torch::empty({rows(), int64_t(columns.size())}, torch::kFloat64);
  double* out = result.data_ptr<double>();
  std::vector<int64_t> at;
  for (const auto& column : columns) at.push_back(index(column));
  for (int64_t row = 0; row < rows(); ++row) {
    for (size_t i = 0; i < at.size(); ++i, ++out) {
      std::string_view text = trim(cell(row, at[i]));
      *out = std::numeric_limits<double>::quiet_NaN();
      if (is_missing(text)) continue;
      if (text.starts_with('+')) text.remove_prefix(1);
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
      require(error == std::errc() && end == text.data() + text.size() && std::isfinite(*out),
              "{}: line {}, column '{}': '{}' is not a finite number", name_, lines_[row], columns[i],
              std::string_view(cell(row, at[i])).substr(0, 40));
    }
  }
  return result;
}

torch::Tensor CsvTable::numbers(std::string_view column) const {
  return numbers(std::vector<std::string>{std::string(column)}).squeeze(1);
}

CsvTable parse_csv(std::string_view text, const std::string& name, const CsvOptions& options) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::string file = std::filesystem::path(name).filename().string();
  const bool tab_name = file.find(".tsv") != std::string::npos || file.find(".tab") != std::string::npos;
  const char separator = options.separator ? options.separator : tab_name ? '\t' : ',';
  const bool quotes = options.quotes == CsvOptions::Quotes::kAutomatic ? separator != '\t'
                                                                       : options.quotes == CsvOptions::Quotes::kRfc4180;
  Parser parser(text, name, separator, quotes);
  std::vector<std::string> columns, cells;
  std::vector<int64_t> lines;
  while (!parser.at_end()) {
    if (parser.skip_empty_line()) continue;
    const int64_t line = parser.line();
    auto fields = parser.row();
    if (columns.empty() && options.header) {
      columns = std::move(fields);
      std::unordered_set<std::string> seen;
      for (const auto& column : columns)
        require(seen.insert(column).second, "{}: line {}: two columns are called '{}'", name, line, column);
      continue;
    }
    if (columns.empty())
      for (size_t i = 0; i < fields.size(); ++i) columns.push_back(std::to_string(i));
    require(fields.size() == columns.size(), "{}: line {}: {} fields, expected {} as in the first line", name, line,
            fields.size(), columns.size());
    std::move(fields.begin(), fields.end(), std::back_inserter(cells));
    lines.push_back(line);
  }
  require(!columns.empty(), "{}: empty file, expected {}", name, options.header ? "a line of column names" : "rows");
  return CsvTable(name, std::move(columns), std::move(cells), std::move(lines));
}

CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options) {
  return parse_csv(read_maybe_gzip(path), path.string(), options);
}

}  // namespace quanta
