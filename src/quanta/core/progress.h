#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <string>
#include <string_view>

namespace quanta {

/// Where a Progress writes and what time it is; the default is standard error and the steady clock.
struct ProgressOutput {
  std::ostream* stream;
  bool terminal;
  std::function<int()> columns;   // of the terminal
  std::function<double()> clock;  // seconds

  static ProgressOutput standard_error();
};

/// Shows how far a long job is, at what rate, and how long it will still take. On a terminal that is one line redrawn
/// at most ten times a second, elsewhere a line every five seconds and one at the end. Says nothing at
/// LogLevel::kQuiet. For one thread; update() is cheap enough to be called for every batch.
///
///   Progress progress(samples, "epoch 3/10", "samples");
///   for (...) progress.update(done, fmt::format("loss {:.3f} acc {:.2f}", loss, accuracy));
///   progress.finish();
class Progress {
 public:
  /// `total` is in `unit`s, 0 if unknown. A job that resumes begins at `start`; the rate does not count what was there.
  Progress(int64_t total, std::string label, std::string unit, int64_t start = 0,
           ProgressOutput output = ProgressOutput::standard_error());
  /// Ends the line if finish() was not called (an exception).
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` counts from 0 to total, whatever `start` was. `fields` is free text, such as "loss 0.231 acc 0.94".
  void update(int64_t done, std::string_view fields = {});
  /// Shows the last state and the time taken.
  void finish();

 private:
  std::string line(double now, bool last) const;
  void draw(double now, bool last);

  int64_t total_;
  std::string label_, unit_;
  int64_t start_, done_;
  ProgressOutput output_;
  double begin_;
  double drawn_ = -std::numeric_limits<double>::infinity();
  std::string fields_;
  bool finished_ = false;
};

}  // namespace quanta
