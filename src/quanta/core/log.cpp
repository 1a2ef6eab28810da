#include "quanta/core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdio>

namespace quanta {
namespace {

std::atomic<LogLevel> level = LogLevel::kInfo;
std::atomic<bool> status_line = false;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    default:
      return spdlog::level::off;
  }
}

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger made("quanta", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made.set_level(spdlog::level::trace);  // the level is checked here, before a message is formatted
    made.set_pattern("%^%l:%$ %v");
    return made;
  }();
  return instance;
}

}  // namespace

void set_log_level(LogLevel new_level) {
  level = new_level;
}

LogLevel log_level() {
  return level;
}

void log_message(LogLevel message_level, std::string_view message) {
  if (message_level < log_level() || message_level == LogLevel::kQuiet) return;
  if (status_line.exchange(false)) std::fputs("\r\033[K", stderr);
  logger().log(to_spdlog(message_level), spdlog::string_view_t(message.data(), message.size()));
}

void set_status_line(bool shown) {
  status_line = shown;
}

}  // namespace quanta
