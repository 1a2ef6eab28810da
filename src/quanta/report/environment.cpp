#include <fmt/format.h>

#include <ctime>

#include "quanta/core/file.h"
#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"
#include "quanta/report/report.h"

namespace quanta {

std::vector<std::pair<std::string, std::string>> environment_facts() {
  const Machine machine = Machine::detect();
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
  return {{"Date", date},
          {"Quanta", std::string(version())},
          {"Processor", machine.processor},
          {"Cores", std::to_string(machine.cores)},
          {"Threads used", std::to_string(threads())},
          {"SIMD", fmt::format("{}", fmt::join(machine.simd, " "))},
          {"Memory", fmt::format("{:.1f} GiB", double(machine.memory_total) / double(1 << 30))},
          {"BLAS kernels", machine.blas_core.value_or("no OpenBLAS")},
          {"System", machine.system},
          {"Compiler", machine.compiler}};
}

void write_html(const Report& report, const std::filesystem::path& path) {
  write_file(path, to_html(report));
}

}  // namespace quanta
