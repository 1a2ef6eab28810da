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

}  // namespace
}  // namespace quanta
