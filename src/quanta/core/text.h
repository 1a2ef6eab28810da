#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// Least number of insertions, deletions, replacements and swaps of neighbouring bytes that turn a into b ("optimal
/// string alignment").
int edit_distance(std::string_view a, std::string_view b);

/// The candidate with the least edit distance, the first of equals; empty if there are none. For "did you mean".
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// A name from a file in quotes, fit to be printed on one line: escaped as in JSON, and cut off if it is long.
std::string printable(std::string_view text);

/// "0:42", "12:05", "1:02:03"; rounded to seconds, negative counts as 0.
std::string format_duration(double seconds);

}  // namespace quanta
