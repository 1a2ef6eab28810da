#pragma once

#include <signal.h>

namespace quanta {

/// While one lives, the first SIGINT (Ctrl-C) or SIGTERM only asks the program to stop: loops poll interrupted(), save
/// and return. The second one kills as usual. A signal that is ignored (nohup, a background job) stays ignored.
///
///   const InterruptGuard guard;
///   while (!done && !interrupted()) step();
class InterruptGuard {
 public:
  InterruptGuard();   // the outermost one forgets earlier requests
  ~InterruptGuard();  // puts the earlier handlers back
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction interrupt_, terminate_;
};

/// Whether a request to stop came since the outermost guard was made; still true after its end.
bool interrupted();

}  // namespace quanta
