#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include <string>

#include "quanta/cli/program.h"

namespace quanta::cli {

// Each adds its subcommand, which sets `status` when it has run and throws Error if it cannot.
void add_list(CLI::App& app, int& status);
void add_run(CLI::App& app, int& status);
void add_train(CLI::App& app, int& status);
void add_eval(CLI::App& app, int& status);
void add_quantize(CLI::App& app, int& status);
void add_plan(CLI::App& app, int& status);
void add_ledger(CLI::App& app, int& status);
void add_generate(CLI::App& app, int& status);
void add_outliers(CLI::App& app, int& status);
void add_data(CLI::App& app, int& status);
void add_draw(CLI::App& app, int& status);
void add_compile(CLI::App& app, int& status);
void add_simulate(CLI::App& app, int& status);
void add_bench(CLI::App& app, int& status);
void add_doctor(CLI::App& app, int& status);

/// Adds --threads, which is applied as soon as it is parsed. Without it all cores this process may use work.
void add_threads_option(CLI::App& command);

/// Up to the first line break: LibTorch appends a backtrace to its messages.
std::string first_line(const std::string& message);

/// Prints to standard output; Error if it cannot be written (a full disk, a closed pipe).
void print(const std::string& text);
void print_json(const nlohmann::ordered_json& json);

}  // namespace quanta::cli
