#include "quanta/core/signal.h"

#include <gtest/gtest.h>

namespace quanta {
namespace {

TEST(InterruptGuard, TurnsASignalIntoARequest) {
  for (int number : {SIGINT, SIGTERM}) {
    {
      const InterruptGuard guard;
      EXPECT_FALSE(interrupted());
      raise(number);
      EXPECT_TRUE(interrupted());
      const InterruptGuard inner;
      EXPECT_TRUE(interrupted());
    }
    EXPECT_TRUE(interrupted());
  }
  const InterruptGuard guard;
  EXPECT_FALSE(interrupted());
}

TEST(InterruptGuard, PutsEarlierHandlersBack) {
  static int calls;
  calls = 0;
  const auto old = signal(SIGINT, [](int) { ++calls; });
  {
    const InterruptGuard outer;
    { const InterruptGuard inner; }
    raise(SIGINT);
    EXPECT_TRUE(interrupted());
  }
  EXPECT_EQ(calls, 0);
  raise(SIGINT);
  EXPECT_EQ(calls, 1);
  signal(SIGINT, SIG_IGN);
  {
    const InterruptGuard guard;
    raise(SIGINT);
    raise(SIGINT);
    EXPECT_FALSE(interrupted());
  }
  signal(SIGINT, old);
}

TEST(InterruptGuardDeathTest, TheSecondSignalKills) {
  const auto twice = [](int first, int second) {
    const InterruptGuard guard;
    raise(first);
    raise(second);
  };
  EXPECT_EXIT(twice(SIGINT, SIGINT), testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT(twice(SIGINT, SIGTERM), testing::KilledBySignal(SIGTERM), "");
  EXPECT_EXIT(raise(SIGINT), testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace quanta
