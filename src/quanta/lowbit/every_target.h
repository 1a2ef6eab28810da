#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "quanta/lowbit/kernels.h"

namespace quanta::testing {

/// Runs body() once for every instruction set that has been compiled and that this processor has. For tests.
template <class Body>
void for_every_target(const Body& body) {
  const int64_t all = lowbit::kernel_targets() & hwy::SupportedTargets();
  for (int64_t rest = all; rest != 0; rest &= rest - 1) {
    const int64_t one = rest & -rest;
    hwy::SetSupportedTargetsForTest(one);
    hwy::GetChosenTarget().Update(one);
    SCOPED_TRACE(lowbit::kernels().target);
    EXPECT_EQ(lowbit::kernels().target, std::string(hwy::TargetName(one)));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace quanta::testing
