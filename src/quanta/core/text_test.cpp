#include "quanta/core/text.h"

#include <gtest/gtest.h>

namespace quanta {
namespace {

TEST(Text, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("epochs", "epohcs"), 1);  // neighbours swapped
  EXPECT_EQ(edit_distance("ca", "abc"), 3);         // optimal string alignment; the unrestricted distance is 2
  EXPECT_EQ(edit_distance("bits", "bits"), 0);
}

TEST(Text, Nearest) {
  EXPECT_EQ(nearest("epoch", {"seed", "epochs", "batch"}), "epochs");
  EXPECT_EQ(nearest("b", {"a", "c"}), "a");
  EXPECT_EQ(nearest("b", {}), "");
}

TEST(Text, FormatDuration) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(-3), "0:00");
  EXPECT_EQ(format_duration(41.6), "0:42");
  EXPECT_EQ(format_duration(59.7), "1:00");
  EXPECT_EQ(format_duration(725), "12:05");
  EXPECT_EQ(format_duration(3599.6), "1:00:00");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(1e300), "277777:46:40");
}

}  // namespace
}  // namespace quanta
