#include "quanta/core/parallel.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>

#include "quanta/core/error.h"
#include "quanta/core/process.h"

namespace quanta {

namespace {
// OpenMP's own setting holds for the thread that made it only; this one for all.
std::atomic<int> thread_count = 0;
}  // namespace

int threads() {
  const int count = thread_count;
  return count ? count : omp_get_max_threads();
}

void set_threads(int count) {
  require(count >= 1, "the number of threads must be at least 1, got {}", count);
  thread_count = count;
  omp_set_num_threads(count);
}

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  const int64_t parts = std::min<int64_t>(threads(), count / std::max<int64_t>(grain, 1));
  if (parts <= 1 || omp_in_parallel()) {
    body(0, count);
    return;
  }
  std::exception_ptr error;
  std::mutex mutex;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int64_t part = 0; part < parts; ++part) {
    try {
      body(count * part / parts, count * (part + 1) / parts);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

void restart_with_bounded_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  // Tens of microseconds (a pause takes 10 to 140 cycles): enough to bridge the gap between the parallel regions of a
  // training step; twenty times as much costs a factor of five in processor time beside a busy neighbour.
  setenv("GOMP_SPINCOUNT", "1000", 0);
  restart(argv);  // where that fails (no /proc) the program goes on, only less polite
}

}  // namespace quanta
