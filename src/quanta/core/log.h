#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace quanta {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kQuiet };

/// What is said to the user goes to standard error, one line a message: standard output belongs to results. Messages
/// below the level, at first kInfo, are dropped; kQuiet drops all, and progress bars too. Safe to call from any thread.
void set_log_level(LogLevel level);
LogLevel log_level();

void log_message(LogLevel level, std::string_view message);

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::kDebug) log_message(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::kInfo) log_message(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::kWarn) log_message(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() <= LogLevel::kError) log_message(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

/// Whether a progress bar stands on the terminal's current line: the next message then takes that line.
void set_status_line(bool shown);

}  // namespace quanta
