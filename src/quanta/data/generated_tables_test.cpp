#include "quanta/data/generated_tables.h"

#include <gtest/gtest.h>

#include "quanta/data/csv.h"

namespace quanta {
namespace {

TEST(GeneratedTables, IrisLikeHasItsMeans) {
  const CsvTable table = parse_csv(iris_like_csv(1), "iris_like.csv");
  ASSERT_EQ(table.rows(), 150);
  const auto x = table.numbers({"c0", "c1", "c2", "c3"});
  EXPECT_NEAR(x.slice(0, 0, 50).mean(0)[2].item<double>(), 1.5, 0.1);
  EXPECT_NEAR(x.slice(0, 100, 150).mean(0)[0].item<double>(), 6.6, 0.3);
  EXPECT_EQ(iris_like_csv(1), iris_like_csv(1));
  EXPECT_NE(iris_like_csv(1), iris_like_csv(2));
}

TEST(GeneratedTables, ReviewsAreWhatTheOptionsSay) {
  const CsvTable table = parse_csv(pseudo_reviews_tsv({.documents = 300, .seed = 2}), "reviews.tsv");
  ASSERT_EQ(table.rows(), 300);
  EXPECT_NEAR(table.numbers("Liked").mean().item<double>(), 0.5, 0.1);
  for (const auto& text : table.text("Review")) {
    const auto words = 1 + std::ranges::count(text, ' ');
    EXPECT_GE(words, 8);
    EXPECT_LE(words, 20);
  }
}

}  // namespace
}  // namespace quanta
