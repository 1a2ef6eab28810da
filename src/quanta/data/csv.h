#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

struct CsvOptions {
  /// 0: tab if the file's name has ".tsv" or ".tab", else a comma.
  char separator = 0;
  /// Whether fields may be quoted as in RFC 4180. Tab-separated files have no quoting: a quote is a character there.
  enum class Quotes { kAutomatic, kRfc4180, kNone } quotes = Quotes::kAutomatic;
  bool header = true;  ///< the first line names the columns; otherwise they are called "0", "1", ...
};

/// A table of text cells with named columns.
class CsvTable {
 public:
  CsvTable(std::string name, std::vector<std::string> columns, std::vector<std::string> cells,
           std::vector<int64_t> lines)
      : name_(std::move(name)), columns_(std::move(columns)), cells_(std::move(cells)), lines_(std::move(lines)) {}

  int64_t rows() const { return int64_t(lines_.size()); }
  const std::vector<std::string>& columns() const { return columns_; }
  bool has(std::string_view column) const;
  /// Position of a column; Error naming the columns there are.
  int64_t index(std::string_view column) const;
  const std::string& cell(int64_t row, int64_t column) const { return cells_[row * int64_t(columns_.size()) + column]; }

  /// One column as text.
  std::vector<std::string> text(std::string_view column) const;
  /// Columns as float64 [rows, columns]. An empty cell, "NA", "N/A", "nan" or "null" (any case) is NaN; any other cell
  /// that is not a finite number is an Error that names line and column.
  torch::Tensor numbers(const std::vector<std::string>& columns) const;
  /// One column as float64 [rows].
  torch::Tensor numbers(std::string_view column) const;

 private:
  std::string name_;
  std::vector<std::string> columns_;
  std::vector<std::string> cells_;  // row by row
  std::vector<int64_t> lines_;      // where each row starts in the file, from 1
};

/// Reads CSV (RFC 4180: quoted fields may hold separators, doubled quotes and line ends) or TSV held in memory. Lines
/// end with LF or CRLF; a UTF-8 byte-order mark and empty lines are skipped. `name` heads the message of an Error,
/// which names the line: a row with another number of fields than the first, an unclosed quote, text after a closing
/// quote, a NUL byte, two columns of one name.
CsvTable parse_csv(std::string_view text, const std::string& name, const CsvOptions& options = {});

/// The same from a file, plain or gzip.
CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options = {});

}  // namespace quanta
