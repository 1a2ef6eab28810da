#include "quanta/core/progress.h"

#include <gmock/gmock.h>

#include <sstream>

#include "quanta/core/log.h"

namespace quanta {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class ProgressTest : public testing::Test {
 protected:
  ~ProgressTest() override {
    set_status_line(false);
    set_log_level(LogLevel::kInfo);
  }
  ProgressOutput output(bool terminal) {
    return {&out_, terminal, [this] { return columns_; }, [this] { return now_; }};
  }
  std::string taken() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }

  std::ostringstream out_;
  double now_ = 1000;
  int columns_ = 80;
};

TEST_F(ProgressTest, PlainLinesEveryFiveSeconds) {
  Progress progress(1000, "epoch 1/2", "samples", 0, output(false));
  progress.update(10);
  now_ += 4.9;
  progress.update(90, "loss 1");
  EXPECT_EQ(taken(), "");
  now_ += 0.1;
  progress.update(100, "loss 0.9");
  EXPECT_EQ(taken(), "epoch 1/2:  10% 100/1000 samples, 20/s, 0:45 left, loss 0.9\n");
  now_ += 4;
  progress.update(500);
  EXPECT_EQ(taken(), "");
  now_ += 1;
  progress.update(1000, "loss 0.5");
  EXPECT_EQ(taken(), "epoch 1/2: 100% 1000/1000 samples, 100/s, 0:00 left, loss 0.5\n");
  progress.finish();
  EXPECT_EQ(taken(), "epoch 1/2: 100% 1000/1000 samples, 100/s, took 0:10, loss 0.5\n");
  progress.finish();
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, BarIsRedrawnAtMostTenTimesASecond) {
  Progress progress(200, "train", "steps", 0, output(true));
  now_ += 0.5;
  progress.update(50, "loss 1.25");
  EXPECT_EQ(taken(), "\rtrain  25% [######------------------] 50/200 steps, 100/s, 0:02 left, loss 1.25\033[K");
  for (int i = 0; i < 9; ++i) {
    now_ += 0.01;
    progress.update(51 + i);
  }
  EXPECT_EQ(taken(), "");
  now_ += 0.02;
  progress.update(100);
  EXPECT_THAT(taken(), HasSubstr("100/200"));
  now_ += 0.001;
  progress.update(200, "loss 1");
  progress.finish();
  EXPECT_THAT(taken(), testing::AllOf(HasSubstr("100% [###############"), HasSubstr("took 0:01, loss 1\033[K\n")));
}

TEST_F(ProgressTest, FitsTheTerminal) {
  for (int columns : {1, 2, 10, 30, 50, 60, 100, 300}) {
    columns_ = columns;
    taken();
    Progress progress(200, "tr\u00e4n", "steps", 0, output(true));
    now_ += 1;
    progress.update(50, "loss 1.25");
    std::string text = taken();
    ASSERT_TRUE(text.starts_with('\r') && text.ends_with("\033[K"));
    text = text.substr(1, text.size() - 4);
    const auto shown = std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; });
    EXPECT_LT(shown, columns) << text;
    EXPECT_EQ(text.find("[#") != text.npos, columns >= 60) << text;
  }
}

TEST_F(ProgressTest, UnknownTotalAndResumedJob) {
  Progress unknown(0, "read", "bytes", 0, output(true));
  now_ += 2;
  unknown.update(7);
  EXPECT_EQ(taken(), "\rread 7 bytes, 3.5/s\033[K");
  unknown.finish();
  taken();

  Progress resumed(1000, "train", "steps", 900, output(false));
  now_ += 5;
  resumed.update(950);
  EXPECT_EQ(taken(), "train:  95% 950/1000 steps, 10/s, 0:05 left\n");
}

TEST_F(ProgressTest, AnExceptionEndsTheLine) {
  {
    Progress progress(10, "train", "steps", 0, output(true));
    progress.update(1);
    taken();
  }
  EXPECT_EQ(taken(), "\n");
  { Progress never_shown(10, "train", "steps", 0, output(true)); }
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, ALogMessageTakesTheBarsLine) {
  Progress progress(10, "train", "steps", 0, output(true));
  progress.update(1);
  testing::internal::CaptureStderr();
  log_info("saved");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "\r\033[Kinfo: saved\n");
  progress.finish();
  testing::internal::CaptureStderr();
  log_info("saved");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "info: saved\n");
}

TEST_F(ProgressTest, QuietSaysNothing) {
  set_log_level(LogLevel::kQuiet);
  for (bool terminal : {false, true}) {
    Progress progress(10, "train", "steps", 0, output(terminal));
    now_ += 10;
    progress.update(5);
    progress.finish();
  }
  EXPECT_EQ(taken(), "");
}

}  // namespace
}  // namespace quanta
