#include "quanta/data/csv.h"

#include <cmath>

#include "quanta/data/archive.h"
#include "quanta/data/known.h"
#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

TEST(Csv, ReadsRfc4180) {
  const auto table = parse_csv("\xEF\xBB\xBFname,\"a \"\"b\"\"\",c\r\n\"x,1\",\"two\nlines\",\r\n\r\n,\"\",z", "f.csv");
  EXPECT_THAT(table.columns(), ElementsAre("name", "a \"b\"", "c"));
  EXPECT_EQ(table.rows(), 2);
  EXPECT_THAT(table.text("name"), ElementsAre("x,1", ""));
  EXPECT_THAT(table.text("a \"b\""), ElementsAre("two\nlines", ""));
  EXPECT_THAT(table.text("c"), ElementsAre("", "z"));
  EXPECT_TRUE(table.has("c"));
  EXPECT_FALSE(table.has("d"));
}

TEST(Csv, TabSeparatedHasNoQuotes) {
  const auto table = parse_csv("Review\tLiked\nsay \"no\", they said\t0\n\"odd\t1\n", "f.tsv");
  EXPECT_THAT(table.text("Review"), ElementsAre("say \"no\", they said", "\"odd"));
  EXPECT_TRUE(table.numbers("Liked").equal(torch::tensor({0., 1.}, torch::kFloat64)));
}

TEST(Csv, OptionsOverrideTheName) {
  const auto table = parse_csv("1;2\n3;'4'\n", "f", {.separator = ';', .header = false});
  EXPECT_THAT(table.columns(), ElementsAre("0", "1"));
  EXPECT_EQ(table.rows(), 2);
  EXPECT_EQ(table.cell(1, 1), "'4'");
  EXPECT_EQ(parse_csv("\"a\"\n", "f", {.quotes = CsvOptions::Quotes::kNone}).columns()[0], "\"a\"");
}

TEST(Csv, Numbers) {
  const auto table = parse_csv("a,b,t\n1, 2.5e-3 ,x\n-0.1,,y\n+7,NA,z\n 8 ,nan,\n", "f.csv");
  const auto x = table.numbers(std::vector<std::string>{"b", "a"});
  ASSERT_EQ(x.sizes(), torch::IntArrayRef({4, 2}));
  EXPECT_EQ(x[0][0].item<double>(), 0.0025);
  EXPECT_EQ(x[1][1].item<double>(), -0.1);
  EXPECT_EQ(x[2][1].item<double>(), 7);
  EXPECT_EQ(x[3][1].item<double>(), 8);
  for (int row : {1, 2, 3}) EXPECT_TRUE(std::isnan(x[row][0].item<double>()));
  EXPECT_THAT(error_of([&] { table.numbers("t"); }),
              HasSubstr("f.csv: line 2, column 't': 'x' is not a finite number"));
  EXPECT_THAT(error_of([&] { table.numbers("d"); }), HasSubstr("f.csv: no column 'd'; it has: a, b, t"));
  for (const char* bad : {"1e999", "inf", "1.5.2", "0x10", "1,5"})
    EXPECT_THAT(error_of([&] { parse_csv(std::string("a\n\"") + bad + "\"\n", "f").numbers("a"); }),
                HasSubstr("line 2"));
}

TEST(Csv, ErrorsNameTheLine) {
  const auto error = [](std::string_view text) { return error_of([&] { parse_csv(text, "f.csv"); }); };
  EXPECT_THAT(error("a,b\n1,2\n\n3\n"), HasSubstr("f.csv: line 4: 1 fields, expected 2"));
  EXPECT_THAT(error("a,b\n1,\"x\ny\"\n1,2,3\n"), HasSubstr("line 4: 3 fields, expected 2"));
  EXPECT_THAT(error("a,b\n1,\"x\ny"), HasSubstr("line 2, field 2: the quote is never closed"));
  EXPECT_THAT(error("a,b\n1,\"x\"y\n"), HasSubstr("line 2, field 2: text after the closing quote"));
  EXPECT_THAT(error("a,b\n1,x\"y\n"), HasSubstr("line 2, field 2: a quote that does not start it"));
  EXPECT_THAT(error(std::string_view("a,b\n1,\0\n", 8)), HasSubstr("line 2, field 2: a NUL byte"));
  EXPECT_THAT(error("a,b,a\n"), HasSubstr("two columns are called 'a'"));
  EXPECT_THAT(error(""), HasSubstr("f.csv: empty file"));
  EXPECT_THAT(error("\n\n"), HasSubstr("f.csv: empty file"));
}

/// RFC 4180 text of a table.
std::string format_csv(const CsvTable& table) {
  std::string text;
  const auto put = [&](const std::string& cell, bool last) {
    text += '"';
    for (char c : cell) text += c == '"' ? "\"\"" : std::string(1, c);
    text += last ? "\"\n" : "\",";
  };
  const auto count = int64_t(table.columns().size());
  for (int64_t c = 0; c < count; ++c) put(table.columns()[c], c + 1 == count);
  for (int64_t r = 0; r < table.rows(); ++r)
    for (int64_t c = 0; c < count; ++c) put(table.cell(r, c), c + 1 == count);
  return text;
}

TEST(Csv, SurvivesMutationsAndRoundTripsWhatItAccepts) {
  const std::string seed = "a,\"b \"\"x\"\"\",c\r\n1,2.5,\"x\ny\"\n,NA,z\n\n4,\"5\",6\n";
  Random random(4);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    try {
      const auto table = parse_csv(testing::mutate(seed, random), "f.csv");
      ++accepted;
      const auto again = parse_csv(format_csv(table), "f.csv");
      ASSERT_EQ(again.columns(), table.columns());
      ASSERT_EQ(format_csv(again), format_csv(table));
      table.numbers(table.columns()[0]);
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 19'000);
}

TEST(Csv, RealFiles) {
  const auto data = testing::real_data();
  if (!data || !find_data("tox21", *data) || !find_data("esol", *data) || !find_data("restaurant_reviews", *data))
    GTEST_SKIP() << "the real tables were not found; set QUANTA_DATA to the folder that has molecules/ and text/";
  const auto esol = read_csv(*find_data("esol", *data));
  EXPECT_EQ(esol.rows(), 1128);
  EXPECT_EQ(esol.text("smiles")[1], "Cc1occc1C(=O)Nc2ccccc2");
  EXPECT_EQ(esol.numbers("measured log solubility in mols per litre")[0].item<double>(), -0.77);
  const auto tox21 = read_csv(*find_data("tox21", *data));
  std::vector<std::string> assays(tox21.columns().begin(), tox21.columns().begin() + 12);
  const auto y = tox21.numbers(assays);
  EXPECT_TRUE((y.isnan() | y.eq(0) | y.eq(1)).all().item<bool>());
  EXPECT_TRUE(y[0][3].isnan().item<bool>());  // the first row is 0,0,1,,,0,...
  EXPECT_EQ(y[0][2].item<double>(), 1);
  const auto reviews = read_csv(*find_data("restaurant_reviews", *data));
  EXPECT_EQ(reviews.rows(), 1000);
  EXPECT_EQ(reviews.numbers("Liked").sum().item<double>(), 500);
}

}  // namespace
}  // namespace quanta
