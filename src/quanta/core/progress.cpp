#include "quanta/core/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <utility>

#include "quanta/core/log.h"
#include "quanta/core/text.h"

namespace quanta {
namespace {

constexpr double kRedraw = 0.1, kPlainLine = 5;

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool begins_character(char byte) {
  return (byte & 0xC0) != 0x80;  // UTF-8
}

// The first characters of a text, one a column.
std::string cut(std::string text, int columns) {
  size_t size = 0;
  for (; size < text.size(); ++size)
    if (begins_character(text[size]) && columns-- <= 0) break;
  text.resize(size);
  return text;
}

}  // namespace

ProgressOutput ProgressOutput::standard_error() {
  return {&std::cerr, isatty(STDERR_FILENO) == 1, terminal_columns, steady_seconds};
}

Progress::Progress(int64_t total, std::string label, std::string unit, int64_t start, ProgressOutput output)
    : total_(total),
      label_(std::move(label)),
      unit_(std::move(unit)),
      start_(start),
      done_(start),
      output_(std::move(output)),
      begin_(output_.clock()) {
  if (!output_.terminal) drawn_ = begin_;  // the first plain line comes when there is something to tell
}

Progress::~Progress() {
  if (!finished_ && output_.terminal && drawn_ >= begin_) {
    *output_.stream << '\n' << std::flush;
    set_status_line(false);
  }
}

void Progress::update(int64_t done, std::string_view fields) {
  done_ = done;
  const double now = output_.clock();
  fields_ = fields;
  if (now - drawn_ >= (output_.terminal ? kRedraw : kPlainLine)) draw(now, false);
}

void Progress::finish() {
  if (std::exchange(finished_, true)) return;
  draw(output_.clock(), true);
}

std::string Progress::line(double now, bool last) const {
  const double seconds = now - begin_;
  const double rate = seconds > 0 ? double(done_ - start_) / seconds : 0;
  std::string text = std::to_string(done_);
  if (total_ > 0) text += fmt::format("/{}", total_);
  text += " " + unit_;
  if (rate > 0) text += rate < 100 ? fmt::format(", {:.3g}/s", rate) : fmt::format(", {:.0f}/s", rate);
  if (last)
    text += ", took " + format_duration(seconds);
  else if (rate > 0 && total_ > 0)
    text += fmt::format(", {} left", format_duration(double(std::max<int64_t>(total_ - done_, 0)) / rate));
  if (!fields_.empty()) text += ", " + fields_;
  return text;
}

void Progress::draw(double now, bool last) {
  if (log_level() == LogLevel::kQuiet) return;
  drawn_ = now;
  std::ostream& out = *output_.stream;
  const std::string text = line(now, last);
  const double part = total_ > 0 ? std::clamp(double(done_) / double(total_), 0., 1.) : 0;
  const std::string percent = total_ > 0 ? fmt::format(" {:3.0f}%", 100 * part) : "";
  if (!output_.terminal) {
    out << label_ << ':' << percent << ' ' << text << '\n' << std::flush;
    return;
  }
  // The bar takes what the words leave.
  const std::string before = label_ + percent + ' ';
  const int columns = output_.columns() - 1;
  const int words = int(std::ranges::count_if(before + text, begins_character));
  const int width = total_ > 0 ? std::min(columns - words - 3, 30) : 0;
  std::string bar;
  if (width >= 5) bar = fmt::format("[{:-<{}}] ", std::string(size_t(part * width), '#'), width);
  out << '\r' << cut(before + bar + text, columns) << "\033[K" << (last ? "\n" : "") << std::flush;
  set_status_line(!last);
}

}  // namespace quanta
