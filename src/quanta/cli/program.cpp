#include "quanta/cli/program.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <cstdio>
#include <string>

#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"
#include "quanta/core/text.h"
#include "quanta/papers/recipe.h"
#include "quanta/train/trainer.h"

namespace quanta::cli {
namespace {

int report_error(const std::string& message, int status) {
  fmt::print(stderr, "quanta: error: {}\n", first_line(message));
  return status;
}

std::string describe(const CLI::App& app, const CLI::ParseError& error) {
  const auto extra = app.remaining();
  if (!extra.empty() && app.get_subcommands().empty()) {
    std::vector<std::string> known;
    for (const auto* command : app.get_subcommands({})) known.push_back(command->get_name());
    return fmt::format("there is no command '{}'; did you mean '{}'? See quanta --help", extra.front(),
                       nearest(extra.front(), known));
  }
  return fmt::format("{}; see quanta --help", first_line(error.what()));
}

}  // namespace

std::string first_line(const std::string& message) {
  return message.substr(0, message.find('\n'));
}

void print(const std::string& text) {
  require(std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0,
          "cannot write to standard output");
}

void print_json(const nlohmann::ordered_json& json) {
  print(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void add_threads_option(CLI::App& command) {
  command
      .add_option_function<int>(
          "--threads", [](int count) { use_threads(count); },
          "Threads (default: OMP_NUM_THREADS, or all cores this process may use)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
}

int program(int argc, const char* const* argv) {
  CLI::App app("Quantum and quantized neural networks: train, compress, run", "quanta");
  app.set_version_flag("--version", "quanta " + std::string(version()));
  app.require_subcommand(1);
  app.footer(
      "quanta COMMAND --help tells more. Exit status: 0 done, 1 failed, 2 wrong usage, 3 a check did not hold,\n"
      "130 interrupted (after saving).");
  app.get_formatter()->column_width(34);
  int status = kDone;
  add_list(app, status);
  add_run(app, status);
  add_train(app, status);
  add_eval(app, status);
  add_quantize(app, status);
  add_plan(app, status);
  add_ledger(app, status);
  add_generate(app, status);
  add_outliers(app, status);
  add_data(app, status);
  add_draw(app, status);
  add_compile(app, status);
  add_simulate(app, status);
  add_bench(app, status);
  add_doctor(app, status);
  try {
    use_threads(threads());  // LibTorch's own default ignores the cores this process is bound to
    app.parse(argc, argv);
    return status;
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report_error(describe(app, error), kWrongUsage);
  } catch (const Interrupted& error) {
    return report_error(error.what(), kInterrupted);
  } catch (const UsageError& error) {
    return report_error(error.what(), kWrongUsage);
  } catch (const c10::Error& error) {
    return report_error(error.what_without_backtrace(), kFailed);
  } catch (const std::bad_alloc&) {
    return report_error("out of memory", kFailed);
  } catch (const std::exception& error) {
    return report_error(error.what(), kFailed);
  }
}

}  // namespace quanta::cli
