#include "quanta/core/process.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta {
namespace {

using testing::HasSubstr;

TEST(Process, FeedsInputAndCapturesBothOutputs) {
  const auto result = run_process("sh", {"-c", "cat; echo oops >&2; exit 3"}, "some input\n");
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.output, "some input\n");
  EXPECT_EQ(result.errors, "oops\n");
}

TEST(Process, NeverDeadlocksOnMuchData) {
  const std::string input(3'000'000, 'x');
  EXPECT_EQ(run_process("cat", {}, input).output, input);
  EXPECT_EQ(run_process("true", {}, input).status, 0);  // which does not read it
  EXPECT_EQ(run_process("cat", {}).output, "");
}

TEST(Process, PassesArgumentsAsTheyAre) {
  const auto result = run_process("printf", {"%s|", "a b", "$HOME", "'\"", "", "*"});
  EXPECT_EQ(result.output, "a b|$HOME|'\"||*|");
}

TEST(Process, SaysWhichSignalEndedIt) {
  EXPECT_EQ(run_process("sh", {"-c", "kill -TERM $$"}).status, 128 + SIGTERM);
}

TEST(Process, StartsWithDefaultSignals) {
  const auto handler = signal(SIGTERM, SIG_IGN);
  const int status = run_process("sh", {"-c", "kill -TERM $$; exit 0"}).status;
  signal(SIGTERM, handler);
  EXPECT_EQ(status, 128 + SIGTERM);
}

TEST(Process, KillsWhatTakesTooLongAndItsChildren) {
  const auto file = std::filesystem::path(testing::TempDir()) / "quanta_process_test";
  const auto begin = std::chrono::steady_clock::now();
  try {
    run_process("sh", {"-c", "sleep 30 & echo $! > \"$0\"; wait", file.string()}, "", 0.2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "sh was stopped: it took longer than 0.2 s");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  const std::string child = read_file(file);
  std::filesystem::remove(file);
  // Gone, or dead and not yet collected by whoever inherits orphans; dying takes a while on a busy machine.
  std::string state;
  for (int i = 0; i < 50; ++i) {
    state = run_process("ps", {"-o", "stat=", "-p", child.substr(0, child.size() - 1)}).output;
    if (state.empty() || state[0] == 'Z') return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  FAIL() << "still there after 5 s: " << state;
}

TEST(Process, SaysThatAProgramCannotRun) {
  try {
    run_process("no-such-program", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cannot run no-such-program: No such file or directory");
  }
  EXPECT_THROW(run_process("/etc/passwd", {}), Error);
}

TEST(Process, FindsPrograms) {
  const auto sh = find_program("sh");
  ASSERT_TRUE(sh.has_value());
  EXPECT_TRUE(sh->is_absolute());
  EXPECT_EQ(find_program("/bin/sh"), "/bin/sh");
  EXPECT_FALSE(find_program("no-such-program"));
  EXPECT_FALSE(find_program("/etc/passwd"));
  EXPECT_FALSE(find_program("/bin"));
  EXPECT_FALSE(find_program(""));

  const std::string path = std::getenv("PATH");
  setenv("PATH", "/nowhere::/bin", 1);
  EXPECT_EQ(find_program("sh"), "/bin/sh");
  setenv("PATH", "", 1);
  EXPECT_FALSE(find_program("sh"));
  setenv("PATH", path.c_str(), 1);
}

}  // namespace
}  // namespace quanta
