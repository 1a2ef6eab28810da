#include "quanta/core/log.h"

#include <gmock/gmock.h>

namespace quanta {
namespace {

TEST(Log, SaysWhatIsAtOrAboveTheLevelOnStandardError) {
  const auto say_all = [](LogLevel level) {
    set_log_level(level);
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    log_debug("d {}", 1);
    log_info("i {}", 2);
    log_warn("w {}", 3);
    log_error("e {} {{}}", "{x}");
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
    set_log_level(LogLevel::kInfo);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(say_all(LogLevel::kDebug), "debug: d 1\ninfo: i 2\nwarning: w 3\nerror: e {x} {}\n");
  EXPECT_EQ(say_all(LogLevel::kInfo), "info: i 2\nwarning: w 3\nerror: e {x} {}\n");
  EXPECT_EQ(say_all(LogLevel::kError), "error: e {x} {}\n");
  EXPECT_EQ(say_all(LogLevel::kQuiet), "");
}

TEST(Log, ErasesAStatusLineOnce) {
  set_status_line(true);
  testing::internal::CaptureStderr();
  log_info("one");
  log_info("two");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "\r\033[Kinfo: one\ninfo: two\n");
}

}  // namespace
}  // namespace quanta
