#include "quanta/report/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <regex>

#include "quanta/core/error.h"
#include "quanta/core/process.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

/// What is wrong with a piece of XML that has no CDATA and no comments; empty if it is well-formed.
std::string xml_fault(const std::string& xml) {
  static const std::regex tag(R"re(^<(/?)([A-Za-z][\w:.-]*)((\s+[\w:.-]+\s*=\s*("[^"<]*"|'[^'<]*'))*)\s*(/?)>)re");
  static const std::regex entity(R"(^&(amp|lt|gt|quot|apos|#\d+|#x[0-9A-Fa-f]+);)");
  std::vector<std::string> open;
  bool seen = false;
  for (size_t i = 0; i < xml.size();) {
    const std::string rest = xml.substr(i, 4000);
    std::smatch match;
    if (xml[i] == '<') {
      if (rest.find("base64,") < rest.find('>')) {  // a long attribute that is checked elsewhere
        i = xml.find("/>", i) + 2;
        continue;
      }
      if (!std::regex_search(rest, match, tag)) return "bad tag: " + rest.substr(0, 80);
      if (match[1].length()) {
        if (open.empty() || open.back() != match[2]) return "unmatched </" + match[2].str() + ">";
        open.pop_back();
      } else if (!match[6].length()) {
        if (open.empty() && seen) return "two roots";
        open.push_back(match[2]);
        seen = true;
      }
      i += match.length();
    } else if (xml[i] == '&') {
      if (!std::regex_search(rest, match, entity)) return "bad entity: " + rest.substr(0, 40);
      i += match.length();
    } else {
      if (open.empty() && !std::isspace(static_cast<unsigned char>(xml[i]))) return "text outside the root";
      ++i;
    }
  }
  return !seen ? "no element" : open.empty() ? "" : "unclosed <" + open.back() + ">";
}

TEST(XmlFault, FindsFaults) {
  EXPECT_EQ(xml_fault("<a b='1'><c/>x &amp; y</a>"), "");
  for (const char* bad : {"<a>", "<a></b>", "<a>&</a>", "<a b=1/>", "<a/>x", "<a><b></a></b>", "<a>1 < 2</a>", ""})
    EXPECT_NE(xml_fault(bad), "") << bad;
}

/// The texts of a picture that gnuplot drew, in order.
std::vector<std::string> texts(const std::string& svg) {
  static const std::regex text(R"(<text>\s*([^<]*)</text>)");
  std::vector<std::string> list;
  for (std::sregex_iterator it(svg.begin(), svg.end(), text), end; it != end; ++it) list.push_back((*it)[1]);
  return list;
}

#define NEEDS_GNUPLOT() \
  if (!find_program("gnuplot")) GTEST_SKIP() << "gnuplot is not installed"

void expect_drawn(const Figure& figure) {
  EXPECT_EQ(figure.note, "");
  EXPECT_EQ(xml_fault(figure.svg), "");
  EXPECT_THAT(figure.svg, Not(HasSubstr("<script")));
  EXPECT_THAT(figure.svg, Not(HasSubstr("black")));
}

constexpr const char* kHostile = "it's `date` \"$x\" @a \\n <b> & é %s";
constexpr const char* kHostileEscaped = "it's `date` \"$x\" @a \\n &lt;b> &amp; é %s";

TEST(LinePlot, DrawsSeriesBandsAndText) {
  NEEDS_GNUPLOT();
  const Figure figure = line_plot({.title = kHostile,
                                   .x = {.label = "epoch"},
                                   .y = {.label = "loss", .log = true},
                                   .series = {{.name = kHostile, .y = {3, 2, 1}},
                                              {.name = "b",
                                               .x = {1, 2, 3},
                                               .y = {1, NAN, -1},
                                               .low = {1, 1, 1},
                                               .high = {2, INFINITY, 2},
                                               .dashed = true}}},
                                  "caption");
  expect_drawn(figure);
  EXPECT_EQ(figure.caption, "caption");
  EXPECT_THAT(texts(figure.svg), IsSupersetOf({kHostileEscaped, "epoch", "loss", "b"}));
}

TEST(LinePlot, PointsLieWhereTheyBelong) {
  NEEDS_GNUPLOT();
  // On axes that run from 0 to 10, the line from (0, 0) to (10, 10) joins the frame's corners, and (5, 5) is its
  // middle.
  const Figure figure = line_plot({.x = {.min = 0, .max = 10},
                                   .y = {.min = 0, .max = 10},
                                   .series = {{.name = "", .x = {0, 5, 10}, .y = {0, 5, 10}}}});
  std::smatch line;
  ASSERT_TRUE(std::regex_search(
      figure.svg, line,
      std::regex(R"('rgb\(  0, 114, 178\)'\s+d='M([\d.]+),([\d.]+) L([\d.]+),([\d.]+) L([\d.]+),([\d.]+) )")));
  EXPECT_NEAR(std::stod(line[3]), (std::stod(line[1]) + std::stod(line[5])) / 2, 0.02);
  EXPECT_NEAR(std::stod(line[4]), (std::stod(line[2]) + std::stod(line[6])) / 2, 0.02);
  EXPECT_LT(std::stod(line[1]), std::stod(line[5]));
  EXPECT_GT(std::stod(line[2]), std::stod(line[6]));  // SVG's y grows downwards
}

TEST(LinePlot, BadInput) {
  EXPECT_THROW(line_plot({.title = "t"}), Error);
  EXPECT_THROW(line_plot({.series = {{.name = "a", .x = {1}, .y = {1, 2}}}}), Error);
  EXPECT_THROW(line_plot({.series = {{.name = "a", .y = {1, 2}, .low = {1, 2}}}}), Error);
  EXPECT_THAT(line_plot({.series = {{.name = "a", .y = {NAN, INFINITY}}}}).note, HasSubstr("nothing to draw"));
}

TEST(BarPlot, DrawsGroupsErrorsAndValues) {
  NEEDS_GNUPLOT();
  const std::vector<BarPlot::Bars> bars{{.name = "one", .values = {0.25, -3}, .errors = {0.1, NAN}},
                                        {.name = "two", .values = {7, NAN}}};
  const Figure figure = bar_plot({.title = "t", .groups = {kHostile, "B"}, .bars = bars, .y = {.label = "y"}});
  expect_drawn(figure);
  EXPECT_THAT(texts(figure.svg), IsSupersetOf({kHostileEscaped, "B", "0.25", "-3", "7", "one", "two"}));
}

TEST(BarPlot, BadInput) {
  const BarPlot::Bars bars{.name = "x", .values = {1}, .errors = {1, 2}};
  EXPECT_THROW(bar_plot({}), Error);
  EXPECT_THROW(bar_plot({.groups = {"a", "b"}, .bars = {bars}}), Error);
  EXPECT_THROW(bar_plot({.groups = {"a"}, .bars = {bars}}), Error);
}

TEST(ConfusionPlot, EveryCountStandsInItsCell) {
  NEEDS_GNUPLOT();
  const Figure figure = confusion_plot({"cat", "dog", "eel"}, {901, 2, 3, 4, 805, 6, 7, 8, 709});
  expect_drawn(figure);
  // Place of each text by the transform that surrounds it.
  static const std::regex label(R"(translate\(([\d.]+),([\d.]+)\)[^>]*>\s*<text>\s*([^<]*)</text>)");
  std::map<std::string, std::pair<double, double>> places;
  for (std::sregex_iterator it(figure.svg.begin(), figure.svg.end(), label), end; it != end; ++it)
    places.try_emplace((*it)[3], std::stod((*it)[1]), std::stod((*it)[2]));
  const char* cells[3][3] = {{"901", "2", "3"}, {"4", "805", "6"}, {"7", "8", "709"}};
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 3; ++c) {
      ASSERT_TRUE(places.contains(cells[r][c])) << cells[r][c];
      EXPECT_NEAR(places[cells[r][c]].first, places[cells[0][c]].first, 0.1);    // one column
      EXPECT_NEAR(places[cells[r][c]].second, places[cells[r][0]].second, 0.1);  // one row
    }
  }
  EXPECT_LT(places["901"].first, places["2"].first);
  EXPECT_LT(places["901"].second, places["4"].second);  // the first class on top
  const char* names[] = {"cat", "dog", "eel"};
  double last = 0;
  for (const char* name : names) {
    EXPECT_GT(places[name].second, last);
    last = places[name].second;
  }
}

TEST(HeatMap, OpacityIsTheShareOfTheRow) {
  NEEDS_GNUPLOT();
  const Figure figure = heat_map(
      {.title = "t", .columns = {"a", "b"}, .rows = {"r", "s"}, .values = {3, 1, NAN, 0}, .normalize_rows = true});
  expect_drawn(figure);
  static const std::regex fill(
      R"re(fill\s*=\s*['"]rgb\(\s*0,\s*114,\s*178\)['"]\s+fill-opacity\s*=\s*['"]([\d.]+)['"])re");
  std::vector<double> opacities;
  for (std::sregex_iterator it(figure.svg.begin(), figure.svg.end(), fill), end; it != end; ++it)
    opacities.push_back(std::stod((*it)[1]));
  ASSERT_FALSE(opacities.empty()) << figure.svg;
  EXPECT_NEAR(opacities[0], 0.75, 0.01);
  EXPECT_THAT(figure.svg, Not(HasSubstr("nan")));
}

TEST(HeatMap, BadInput) {
  EXPECT_THROW(heat_map({}), Error);
  EXPECT_THROW(heat_map({.columns = {"a"}, .rows = {"b"}, .values = {1, 2}}), Error);
  EXPECT_THROW(confusion_plot({"a", "b"}, {1, 2, 3}), Error);
  EXPECT_THAT(heat_map({.columns = {"a"}, .rows = {"b"}, .values = {NAN}}).note, HasSubstr("nothing to draw"));
}

TEST(ScatterPlot, LabelsEveryPointThatHasRoom) {
  NEEDS_GNUPLOT();
  ScatterPlot plot{.title = "t", .x = {.label = "size", .log = true}, .y = {.label = "accuracy"}, .pareto = true};
  for (int i = 0; i < 4; ++i)
    plot.points.push_back(
        {.x = std::pow(10, i), .y = double(i % 3), .label = "p" + std::to_string(i), .series = i % 2 ? "odd" : "even"});
  plot.points.push_back({.x = 30, .y = 0.5, .label = kHostile, .series = "odd"});
  plot.points.push_back({.x = -1, .y = 1, .label = "impossible"});
  const Figure figure = scatter_plot(plot);
  expect_drawn(figure);
  const auto shown = texts(figure.svg);
  EXPECT_THAT(shown, IsSupersetOf({"p0", "p1", "p2", "p3", "odd", "even", "best trade-off", kHostileEscaped}));
  EXPECT_THAT(shown, Not(::testing::Contains("impossible")));
  EXPECT_THAT(scatter_plot({}).note, HasSubstr("nothing to draw"));
}

TEST(Figures, WithoutGnuplotThePageSaysWhatToInstall) {
  const std::string path = std::getenv("PATH") ? std::getenv("PATH") : "";
  setenv("PATH", "/nonexistent", 1);
  const Figure figure = line_plot({.series = {{.name = "a", .y = {1, 2}}}}, "caption");
  setenv("PATH", path.c_str(), 1);
  EXPECT_THAT(figure.svg, IsEmpty());
  EXPECT_THAT(figure.note, HasSubstr("gnuplot-nox"));
  Report report;
  report.sections = {{.title = "s", .figures = {figure}}};
  EXPECT_THAT(to_html(report), HasSubstr("gnuplot-nox"));
}

std::string from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    group = group << 6 | uint32_t(digits.find(c));
    if ((bits += 6) >= 8) bytes += char(group >> (bits -= 8) & 255);
  }
  return bytes;
}

/// The pixels of each embedded PNG, interleaved.
std::vector<std::vector<uint8_t>> decoded(const std::string& svg, uint32_t format) {
  std::vector<std::vector<uint8_t>> images;
  const std::string mark = "base64,";
  for (size_t at = svg.find(mark); at != std::string::npos; at = svg.find(mark, at + 1)) {
    const size_t begin = at + mark.size();
    const std::string bytes = from_base64(svg.substr(begin, svg.find('"', begin) - begin));
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    EXPECT_TRUE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()));
    EXPECT_EQ(image.format, format);
    images.emplace_back(PNG_IMAGE_SIZE(image));
    EXPECT_TRUE(png_image_finish_read(&image, nullptr, images.back().data(), 0, nullptr));
  }
  return images;
}

TEST(ImageGrid, KeepsEveryPixel) {
  // Sizes whose PNGs end in each of base64's three ways.
  for (int64_t width : {1, 2, 3, 5}) {
    std::vector<uint8_t> pixels;
    for (int64_t i = 0; i < 2 * width; ++i) pixels.push_back(uint8_t(37 * i * i + 11));
    const Figure figure = image_grid({{.height = 2, .width = width, .pixels = pixels, .caption = "3 → 5 <&>"}});
    EXPECT_EQ(xml_fault(figure.svg), "");
    EXPECT_THAT(figure.svg, HasSubstr("3 → 5 &lt;&amp;&gt;"));
    EXPECT_THAT(decoded(figure.svg, PNG_FORMAT_GRAY), ElementsAre(pixels));
  }
}

TEST(ImageGrid, PlanarColoursBecomeInterleaved) {
  const Figure figure = image_grid({{.channels = 3, .height = 1, .width = 2, .pixels = {1, 2, 3, 4, 5, 6}}}, 4);
  EXPECT_THAT(decoded(figure.svg, PNG_FORMAT_RGB), ElementsAre(std::vector<uint8_t>{1, 3, 5, 2, 4, 6}));
}

TEST(ImageGrid, BadInput) {
  EXPECT_THROW(image_grid({{.height = 2, .width = 2, .pixels = {1, 2, 3}}}), Error);
  EXPECT_THROW(image_grid({{.channels = 2, .height = 1, .width = 1, .pixels = {1, 2}}}), Error);
  EXPECT_THROW(image_grid({{.height = 1, .width = 1, .pixels = {1}}}, 0), Error);
  EXPECT_THAT(image_grid({}).note, HasSubstr("no image"));
}

}  // namespace
}  // namespace quanta
