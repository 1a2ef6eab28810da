#include "quanta/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

Report example() {
  Report report{.recipe = "02", .title = "Images", .mode = "small", .seed = 18446744073709551615u, .seconds = 75.4};
  report.data = {.name = "MNIST", .source = "data/mnist", .train = 2000, .test = 1000};
  report.results = {{.name = "accuracy", .value = 95.5, .unit = "%", .paper = 99.21, .paper_source = "abstract"},
                    {.name = "diverged", .value = NAN}};
  report.checks = {{.name = "better", .holds = true, .detail = "95.5 > 90"}};
  report.artifacts = {"metrics.jsonl"};
  return report;
}

TEST(Report, JsonHasTheseKeysAndNoOthers) {
  EXPECT_EQ(to_json(example()), json::parse(R"({
    "recipe": "02", "title": "Images", "mode": "small", "seed": 18446744073709551615, "seconds": 75.4,
    "data": {"name": "MNIST", "source": "data/mnist", "train": 2000, "test": 1000},
    "results": [{"name": "accuracy", "value": 95.5, "unit": "%", "paper": 99.21, "paper_source": "abstract"},
                {"name": "diverged", "value": null, "unit": "", "paper": null, "paper_source": ""}],
    "checks": [{"name": "better", "holds": true, "detail": "95.5 > 90"}],
    "artifacts": ["metrics.jsonl"]})"));
}

TEST(Report, EmptyListsAreArraysAndInfinityIsNull) {
  Report report;
  report.seconds = INFINITY;
  report.results = {{.name = "x", .value = -INFINITY, .paper = NAN}};
  const json j = to_json(report);
  EXPECT_TRUE(j.at("checks").is_array() && j.at("artifacts").is_array());
  EXPECT_TRUE(j.at("seconds").is_null() && j.at("results")[0].at("value").is_null() &&
              j.at("results")[0].at("paper").is_null());
}

TEST(Report, BytesThatAreNotUtf8AreReplaced) {
  Report report;
  report.title = "a\xFFz";
  EXPECT_EQ(to_json(report).at("title"), "a\xEF\xBF\xBDz");
  EXPECT_NO_THROW(to_json(report).dump());
  EXPECT_THAT(to_html(report), HasSubstr("a\xEF\xBF\xBDz"));
}

TEST(Report, PassesIfAllChecksHold) {
  Report report = example();
  EXPECT_TRUE(report.passed());
  EXPECT_THAT(to_html(report), HasSubstr("PASS: 1 of 1 checks hold"));
  report.checks.push_back({.name = "best", .holds = false});
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(to_html(report), HasSubstr("FAIL: 1 of 2 checks hold"));
}

TEST(EscapeXml, AllThatHasAMeaning) {
  EXPECT_EQ(escape_xml("<a href=\"x\">'&'</a>\n"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;\n");
  EXPECT_EQ(escape_xml(std::string("\x01\0é", 4)), "\xEF\xBF\xBD\xEF\xBF\xBDé");
}

TEST(Html, EscapesEveryField) {
  // Each field its own marker, so that one that slips through is named.
  int count = 0;
  const auto bad = [&] { return "<script>alert(" + std::to_string(++count) + ")</script>\"'&"; };
  Report report;
  report.recipe = bad();
  report.title = bad();
  report.mode = bad();
  report.data = {.name = bad(), .source = bad()};
  report.results = {{.name = bad(), .unit = bad(), .paper = 1, .paper_source = bad()}};
  report.checks = {{.name = bad(), .detail = bad()}};
  report.artifacts = {bad()};
  report.summary = bad();
  report.sections = {{.title = bad(),
                      .text = bad(),
                      .tables = {{.caption = bad(), .columns = {bad()}, .rows = {{bad()}}}},
                      .figures = {{.caption = bad(), .note = bad()}}}};
  report.config = bad();
  report.command = bad();
  report.environment = {{bad(), bad()}};
  const std::string html = to_html(report);
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  for (int i = 1; i <= count; ++i)
    EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(" + std::to_string(i) + ")&lt;/script&gt;&quot;&#39;&amp;"));
}

TEST(Html, LoadsNothingFromElsewhere) {
  Report report = example();
  report.sections = {{.title = "s", .figures = {{.caption = "c", .svg = "<svg viewBox=\"0 0 9 9\"/>"}}}};
  const std::string html = to_html(report);
  for (const char* loader : {"src=", "@import", "<link", "<script", "url(http", "href=\"http"})
    EXPECT_THAT(html, Not(HasSubstr(loader)));
}

TEST(Html, PicturesKeepTheirNamesApartAndLoseScriptsAndProlog) {
  const std::string svg =
      "<?xml version=\"1.0\"?><!DOCTYPE svg><svg viewBox=\"0 0 100 50\"><script>x</script>"
      "<defs><path id='dot'/></defs><use xlink:href='#dot'/><g fill=\"url(#dot)\"/></svg>";
  Report report;
  report.sections = {{.title = "s", .figures = {{.caption = "a", .svg = svg}, {.caption = "b", .svg = svg}}}};
  const std::string html = to_html(report);
  for (const char* text : {"id='figure1-dot'", "href='#figure1-dot'", "url(#figure1-dot)", "id='figure2-dot'",
                           "href='#figure2-dot'", "url(#figure2-dot)"})
    EXPECT_THAT(html, HasSubstr(text));
  for (const char* text : {"<?xml", "<!DOCTYPE svg", "<script", "'#dot'", "'dot'"})
    EXPECT_THAT(html, Not(HasSubstr(text)));
}

TEST(Html, ShowsNumbersAsReadersWriteThem) {
  Report report;
  report.results = {{.name = "a", .value = 45194},
                    {.name = "b", .value = -1234567},
                    {.name = "c", .value = 0.98765432},
                    {.name = "d", .value = 9999},
                    {.name = "e", .value = -0.0}};
  report.seconds = 3725;
  const std::string html = to_html(report);
  for (const char* text :
       {"<b>45\u202f194</b>", "<b>-1\u202f234\u202f567</b>", "<b>0.98765</b>", "<b>9999</b>", "<b>0</b>", "1 h 2 min"})
    EXPECT_THAT(html, HasSubstr(text));
}

TEST(Html, WritesAWholeFile) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "quanta_report_test.html";
  write_html(example(), path);
  EXPECT_EQ(read_file(path), to_html(example()));
  std::filesystem::remove(path);
  EXPECT_THROW(write_html(example(), "/nonexistent/report.html"), Error);
}

TEST(Environment, NamesTheProcessor) {
  bool found = false;
  for (const auto& [name, value] : environment_facts()) {
    EXPECT_FALSE(name.empty());
    found = found || (name == "Processor" && !value.empty());
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace quanta
