#include "quanta/core/signal.h"

#include <atomic>

namespace quanta {
namespace {

std::atomic<bool> requested = false;
std::atomic<int> guards = 0;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch only lock-free atomics");

void handle(int number) {
  if (!requested.exchange(true)) return;
  signal(number, SIG_DFL);
  raise(number);  // takes effect when this handler returns
}

void install(int number, struct sigaction& old) {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(number, nullptr, &old);
  if (old.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  if (guards++ == 0) requested = false;
  install(SIGINT, interrupt_);
  install(SIGTERM, terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &interrupt_, nullptr);
  sigaction(SIGTERM, &terminate_, nullptr);
  --guards;
}

bool interrupted() {
  return requested;
}

}  // namespace quanta
