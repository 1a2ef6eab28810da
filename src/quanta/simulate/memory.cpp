#include "quanta/simulate/memory.h"

#include <unistd.h>

#include "quanta/core/error.h"

namespace quanta::simulate {

void require_memory(std::string_view what, double bytes) {
  const double memory = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE)), gib = 1 << 30;
  require(bytes < memory, "{} takes {:.1f} GiB, this machine has {:.1f} GiB: use fewer qubits or a smaller batch", what,
          bytes / gib, memory / gib);
}

}  // namespace quanta::simulate
