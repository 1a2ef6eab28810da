#pragma once

namespace quanta::cli {

/// Exit status of the program `quanta`.
enum Status {
  kDone = 0,
  kFailed = 1,
  kWrongUsage = 2,
  kCheckFailed = 3,
  kInterrupted = 130,  // by SIGINT or SIGTERM, after saving
};

/// Runs a command line and returns its exit status. Results go to standard output; errors, as one line, and progress to
/// standard error.
int program(int argc, const char* const* argv);

}  // namespace quanta::cli
