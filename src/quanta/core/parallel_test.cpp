#include "quanta/core/parallel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "quanta/core/error.h"

namespace quanta {
namespace {

class Parallel : public testing::Test {
 protected:
  ~Parallel() override { set_threads(before_); }
  int before_ = threads();
};

TEST_F(Parallel, CoversEveryElementOnceInRangesOfAtLeastTheGrain) {
  for (int count_of_threads : {1, 2, 3, 8}) {
    set_threads(count_of_threads);
    EXPECT_EQ(threads(), count_of_threads);
    for (int64_t count : {0, 1, 2, 7, 64, 1000})
      for (int64_t grain : {0, 1, 6, 10, 999, 5000}) {
        std::vector<std::atomic<int>> visits(count);
        std::atomic<int> ranges = 0;
        parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          ++ranges;
          EXPECT_GE(end - begin, std::min(std::max<int64_t>(grain, 1), count));
          for (int64_t i = begin; i < end; ++i) ++visits.at(i);
        });
        for (const auto& visit : visits) EXPECT_EQ(visit, 1);
        EXPECT_LE(ranges, count_of_threads);
      }
  }
  parallel_for(-3, 1, [](int64_t, int64_t) { FAIL(); });
}

TEST_F(Parallel, UsesSeveralThreads) {
  set_threads(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  const auto note = [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  };
  parallel_for(300, 1, note);
  EXPECT_EQ(seen.size(), 3u);
  seen.clear();
  parallel_for(300, 200, note);  // too little work for two
  EXPECT_EQ(seen, std::set{std::this_thread::get_id()});
  int count = 0;
  std::thread([&] { count = threads(); }).join();  // the setting is the process's, not the thread's
  EXPECT_EQ(count, 3);
}

TEST_F(Parallel, RethrowsAfterAllRangesHaveEnded) {
  set_threads(4);
  std::atomic<int> ended = 0;
  const auto run = [&] {
    parallel_for(4, 1, [&](int64_t begin, int64_t) {
      if (begin == 0) fail("range {} is bad", begin);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ++ended;
    });
  };
  try {
    run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "range 0 is bad");
  }
  EXPECT_EQ(ended, 3);
  EXPECT_THROW(parallel_for(1, 1, [](int64_t, int64_t) { throw std::logic_error("serial"); }), std::logic_error);
}

TEST_F(Parallel, NestedCallsRunSerially) {
  set_threads(2);
  std::atomic<int> outer = 0, inner = 0;
  parallel_for(2, 1, [&](int64_t, int64_t) {
    ++outer;
    const auto self = std::this_thread::get_id();
    parallel_for(100, 1, [&](int64_t begin, int64_t end) {
      ++inner;
      EXPECT_EQ(std::this_thread::get_id(), self);
      EXPECT_EQ(end - begin, 100);
    });
  });
  EXPECT_EQ(outer, 2);
  EXPECT_EQ(inner, 2);
  EXPECT_THROW(parallel_for(2, 1, [](int64_t, int64_t) { parallel_for(9, 1, [](auto, auto) { fail("inner"); }); }),
               Error);
}

TEST_F(Parallel, RefusesNoThreads) {
  EXPECT_THROW(set_threads(0), Error);
  EXPECT_EQ(threads(), before_);
}

void restart_as_user(const char* name, const char* value) {
  setenv("QUANTA_TEST_RESTARTED", "1", 1);
  unsetenv("OMP_WAIT_POLICY");
  unsetenv("GOMP_SPINCOUNT");
  if (name) setenv(name, value, 1);
  std::string program = "quanta_core_test", filter = "--gtest_filter=RestartDeathTest.*";
  char* argv[] = {program.data(), filter.data(), nullptr};
  restart_with_bounded_spinning(argv);
  _exit(4);  // not restarted
}

TEST(RestartDeathTest, SetsASpinCountUnlessTheUserDid) {
  if (std::getenv("QUANTA_TEST_RESTARTED")) {
    const char* count = std::getenv("GOMP_SPINCOUNT");
    std::fprintf(stderr, "spin count %s\n", count ? count : "unset");
    _exit(3);
  }
  EXPECT_EXIT(restart_as_user(nullptr, nullptr), testing::ExitedWithCode(3), "spin count 1000");
  EXPECT_EXIT(restart_as_user("GOMP_SPINCOUNT", "5"), testing::ExitedWithCode(4), "");
  EXPECT_EXIT(restart_as_user("OMP_WAIT_POLICY", "passive"), testing::ExitedWithCode(4), "");
}

}  // namespace
}  // namespace quanta
