#pragma once

#include <string_view>

namespace quanta::simulate {

/// Throws Error if `what` takes more bytes than this machine has memory.
void require_memory(std::string_view what, double bytes);

}  // namespace quanta::simulate
