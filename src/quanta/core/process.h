#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

struct ProcessResult {
  int status;  // the exit status, or 128 + the signal that ended it, as a shell says
  std::string output;
  std::string errors;
};

/// Runs a program to its end, without a shell: arguments arrive as they are. `input` is its standard input, as a file.
/// A program that takes longer than timeout_seconds is killed with all it started. Throws Error if the program cannot
/// be started or was killed so; a status other than 0 is the caller's business.
ProcessResult run_process(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                          std::string_view input = {}, double timeout_seconds = 60);

/// The path of an executable: of that name in a folder of PATH, or the name itself if it holds a slash.
std::optional<std::filesystem::path> find_program(std::string_view name);

/// Starts this program again with the environment as it is now, for what libraries read when they are loaded. Returns
/// only if that is impossible.
void restart(char** argv);

}  // namespace quanta
