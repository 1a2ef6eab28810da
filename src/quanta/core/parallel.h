#pragma once

#include <cstdint>
#include <functional>

namespace quanta {

/// Number of threads that parallel_for may use: OMP_NUM_THREADS, or what set_threads() said, or the cores this process
/// may run on.
int threads();

/// Sets the number of threads of parallel_for, and of OpenMP libraries called from the same thread. Throws Error if
/// below 1.
void set_threads(int count);

/// Calls body(begin, end) on disjoint ranges that cover [0, count), in parallel. A range holds at least `grain`
/// elements (unless there are fewer), so work that is smaller than a thread's wake-up stays on the calling thread.
/// Nested calls run serially. An exception of a body is rethrown here after all ranges have ended. The ranges depend on
/// the number of threads: a result must not depend on how elements are grouped.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t begin, int64_t end)>& body);

/// Makes OpenMP's waiting threads give up the processor soon: libgomp's default spins without end in sight, and a busy
/// neighbour then costs a factor of 20. libgomp reads its environment once, when it is loaded, so this sets
/// GOMP_SPINCOUNT and starts the program again; it does nothing if the user has set OMP_WAIT_POLICY or GOMP_SPINCOUNT.
/// Call it first in main().
void restart_with_bounded_spinning(char** argv);

}  // namespace quanta
