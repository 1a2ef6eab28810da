#include "quanta/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "quanta/core/error.h"
#include "quanta/core/process.h"

namespace quanta {
namespace {

constexpr int kWidth = 520, kHeight = 360;  // of most figures, in the page's pixels
constexpr int kMaxLabelledCells = 20;       // rows or columns of a heat map beyond which cells show no numbers

// Okabe and Ito's colours without yellow, which is lost on white; the last stands for their black, lost on dark pages.
constexpr std::array kPalette{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"};

const char* color_of(size_t index) {
  return kPalette[index % kPalette.size()];
}

std::string number(double value) {
  return fmt::format("{:.9g}", value);
}

/// A gnuplot string; in single quotes nothing is expanded.
std::string quote(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'')
      result += "''";
    else
      result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + "'";
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

void erase_elements(std::string& svg, const std::string& name) {
  for (size_t begin; (begin = svg.find("<" + name + ">")) != std::string::npos;)
    svg.erase(begin, svg.find("</" + name + ">", begin) + name.size() + 3 - begin);
}

Figure draw(const std::string& script, int width, int height, const std::string& title, std::string caption) {
  Figure figure{.caption = std::move(caption), .svg = {}};
  const std::string head = fmt::format(
      "set encoding utf8\nset terminal svg size {},{} dynamic noenhanced font 'sans-serif,13'\n"
      "set border 3 lw 1\nset tics nomirror out scale 0.5\nset xtics offset 0,0.3\nset grid lc rgb '#A0808080' lw 0.7\n"
      "set key noautotitle bottom center outside horizontal Left reverse samplen 1.6 spacing 1.2\nset tmargin 2.4\nset "
      "pointintervalbox 0\n"
      "set title {} font 'sans-serif,15' offset 0,-0.3\n",
      width, height, quote(title));
  const auto gnuplot = find_program("gnuplot");
  if (!gnuplot) {
    figure.note = "This figure needs gnuplot: install the package gnuplot-nox and run again.";
    return figure;
  }
  const ProcessResult result = run_process(*gnuplot, {"--default-settings", "-"}, head + script);
  if (result.status != 0 || result.output.find("</svg>") == std::string::npos) {
    figure.note = "gnuplot could not draw this figure: " + result.errors.substr(0, 400);
    return figure;
  }
  figure.svg = result.output.substr(result.output.find("<svg"));
  erase_elements(figure.svg, "title");  // they would show as tooltips
  erase_elements(figure.svg, "desc");
  // What gnuplot draws in black follows the page's text colour, so that it shows on light and dark.
  for (const char* attribute : {"stroke=", "fill=", "fill = ", "color="})
    for (const char* black : {"'black'", "\"black\"", "'rgb(  0,   0,   0)'"})
      replace_all(figure.svg, std::string(attribute) + black, std::string(attribute) + "\"currentColor\"");
  figure.svg.insert(4, fmt::format(" role=\"img\" aria-label=\"{}\"", escape_xml(title)));
  return figure;
}

Figure empty_figure(std::string caption) {
  return {.caption = std::move(caption), .svg = {}, .note = "There is nothing to draw: no value is a finite number."};
}

std::string axis_script(const char* name, const Axis& axis) {
  std::string script =
      fmt::format("set {}label {}{}\n", name, quote(axis.label), name[0] == 'x' ? " offset 0,0.8" : "");
  if (axis.log) script += fmt::format("set logscale {}\n", name);
  if (axis.min || axis.max)
    script += fmt::format("set {}range [{}:{}]\n", name, axis.min ? number(*axis.min) : "*",
                          axis.max ? number(*axis.max) : "*");
  return script;
}

bool drawable(double value, const Axis& axis) {
  return std::isfinite(value) && (!axis.log || value > 0);
}

/// Names along an axis, slanted if they would run into each other.
std::string names_script(const char* axis, const std::vector<std::string>& names, double room) {
  size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  std::string script = fmt::format("set {}tics scale 0 offset 0,0 (", axis);
  for (size_t i = 0; i < names.size(); ++i) {
    std::string name = names[i];
    replace_all(name, "%", "%%");  // a tic's name is a format
    script += fmt::format("{}{} {}", i ? ", " : "", quote(name), i);
  }
  script += ")";
  if (axis[0] == 'x' && 7.5 * double(longest * names.size()) > room) script += " rotate by 35 right";
  return script + "\n";
}

/// Labels of points, each at the first of six places around its point where it covers no point and no other label.
/// Works with an estimate of the plot's inside and of the letters' size.
std::string labels_script(const std::vector<ScatterPlot::Point>& points, const ScatterPlot& plot) {
  struct Box {
    double left, right, bottom, top;
    bool meets(const Box& b) const { return left < b.right && b.left < right && bottom < b.top && b.bottom < top; }
  };
  const auto scaled = [](double value, const Axis& axis) { return axis.log ? std::log(value) : value; };
  const auto pixels = [&](auto member, const Axis& axis, double size) {
    std::vector<double> places;
    for (const auto& point : points) places.push_back(scaled(point.*member, axis));
    const auto [low, high] = std::ranges::minmax(places);
    for (double& place : places) place = high > low ? (place - low) / (high - low) * size : size / 2;
    return places;
  };
  constexpr double kInsideWidth = 0.75 * kWidth, kInsideHeight = 0.5 * kHeight, kLetter = 6.5, kLine = 13;
  const auto x = pixels(&ScatterPlot::Point::x, plot.x, kInsideWidth);
  const auto y = pixels(&ScatterPlot::Point::y, plot.y, kInsideHeight);
  std::vector<Box> taken;
  for (size_t i = 0; i < points.size(); ++i) taken.push_back({x[i] - 5, x[i] + 5, y[i] - 5, y[i] + 5});
  std::string script;
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].label.empty()) continue;
    const double width = kLetter * double(points[i].label.size());
    struct Place {
      const char* justify;
      double dx, dy;
    };
    constexpr Place kPlaces[]{{"left", 8, 0},     {"right", -8, 0}, {"center", 0, 14},
                              {"center", 0, -14}, {"left", 8, 14},  {"right", -8, -14}};
    const Place* best = nullptr;
    Box box{};
    for (const Place& place : kPlaces) {
      const double left = x[i] + place.dx - (place.justify[0] == 'l' ? 0 : place.justify[0] == 'r' ? width : width / 2);
      const Box tried{left, left + width, y[i] + place.dy - kLine / 2, y[i] + place.dy + kLine / 2};
      const bool inside = tried.left > -25 && tried.right < kInsideWidth + 25;
      if (!inside || std::ranges::any_of(taken, [&](const Box& b) { return b.meets(tried); })) continue;
      best = &place;
      box = tried;
      break;
    }
    if (!best) continue;  // a label no one could read
    taken.push_back(box);
    script +=
        fmt::format("set label {} at {},{} {} offset char {:.2f},{:.2f} font 'sans-serif,12'\n", quote(points[i].label),
                    number(points[i].x), number(points[i].y), best->justify, best->dx / kLetter, best->dy / kLine);
  }
  return script;
}

}  // namespace

Figure line_plot(const LinePlot& plot, std::string caption) {
  require(!plot.series.empty(), "the plot '{}' has no series", plot.title);
  std::string data, bands, commands;  // bands lie behind all lines
  bool whole = !plot.x.log, any = false;
  double least = INFINITY, most = -INFINITY;
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    const size_t n = series.y.size();
    require((series.x.empty() || series.x.size() == n) && series.low.size() == series.high.size() &&
                (series.low.empty() || series.low.size() == n),
            "series '{}' of the plot '{}' has {} y values, {} x values and a band of {} and {}", series.name,
            plot.title, n, series.x.size(), series.low.size(), series.high.size());
    std::string line, band;
    size_t points = 0;
    for (size_t i = 0; i < n; ++i) {
      const double x = series.x.empty() ? double(i + 1) : series.x[i];
      if (!drawable(x, plot.x)) continue;
      if (drawable(series.y[i], plot.y)) {
        line += fmt::format("{} {}\n", number(x), number(series.y[i]));
        ++points;
        whole = whole && x == std::round(x);
        least = std::min(least, x);
        most = std::max(most, x);
      }
      if (!series.low.empty() && drawable(series.low[i], plot.y) && drawable(series.high[i], plot.y))
        band += fmt::format("{} {} {}\n", number(x), number(series.low[i]), number(series.high[i]));
    }
    if (!points) continue;
    any = true;
    const char* color = color_of(series.color >= 0 ? series.color : s);
    data += fmt::format("$line{} << EOD\n{}EOD\n", s, line);
    if (!band.empty()) {
      data += fmt::format("$band{} << EOD\n{}EOD\n", s, band);
      bands += fmt::format("$band{} using 1:2:3 with filledcurves fc rgb '{}' fs transparent solid 0.2 noborder, ", s,
                           color);
    }
    commands += fmt::format("{}$line{} using 1:2 with {} lc rgb '{}' lw 2 dt {} pt 7 ps 0.5 title {}",
                            commands.empty() ? "" : ", ", s, points <= 40 ? "linespoints" : "lines", color,
                            series.dashed ? "(8,5)" : "1", quote(series.name));
  }
  if (!any) return empty_figure(std::move(caption));
  std::string script = axis_script("x", plot.x) + axis_script("y", plot.y);
  if (whole && most - least <= 12) script += "set xtics 1\n";
  return draw(script + data + "plot " + bands + commands + "\n", kWidth, kHeight, plot.title, std::move(caption));
}

Figure bar_plot(const BarPlot& plot, std::string caption) {
  require(!plot.groups.empty() && !plot.bars.empty(), "the plot '{}' has no bars", plot.title);
  std::string data, commands;
  const double width = 0.8 / double(plot.bars.size());
  const bool labelled = plot.groups.size() * plot.bars.size() <= 12;
  bool any = false, negative = false;
  for (size_t s = 0; s < plot.bars.size(); ++s) {
    const auto& bars = plot.bars[s];
    require(
        bars.values.size() == plot.groups.size() && (bars.errors.empty() || bars.errors.size() == plot.groups.size()),
        "bars '{}' of the plot '{}': {} values and {} errors for {} groups", bars.name, plot.title, bars.values.size(),
        bars.errors.size(), plot.groups.size());
    std::string rows;
    for (size_t i = 0; i < bars.values.size(); ++i) {
      if (!drawable(bars.values[i], plot.y)) continue;
      const double x = double(i) + (double(s) - double(plot.bars.size() - 1) / 2) * width;
      const double error = bars.errors.empty() || !std::isfinite(bars.errors[i]) ? 0 : bars.errors[i];
      rows += fmt::format("{} {} {} {} {:.4g}\n", number(x), number(bars.values[i]), number(error),
                          number(bars.values[i] + error), bars.values[i]);
      any = true;
      negative = negative || bars.values[i] - error < 0;
    }
    if (rows.empty()) continue;
    data += fmt::format("$bars{} << EOD\n{}EOD\n", s, rows);
    commands += fmt::format("{}$bars{} using 1:2:({}) with boxes fc rgb '{}' fs solid 0.85 noborder title {}",
                            commands.empty() ? "" : ", ", s, number(0.92 * width), color_of(s), quote(bars.name));
    if (!bars.errors.empty())
      commands +=
          fmt::format(", $bars{} using 1:($2-$3):(0):(2*$3) with vectors heads size graph 0.008,90 lc black lw 1.3", s);
    if (labelled) commands += fmt::format(", $bars{} using 1:4:5 with labels offset 0,0.6 font 'sans-serif,12'", s);
  }
  if (!any) return empty_figure(std::move(caption));
  Axis y = plot.y;
  if (!y.min && !y.log && !negative) y.min = 0;
  const std::string script =
      axis_script("y", y) + names_script("x", plot.groups, kWidth - 100) + "set grid noxtics\n" +
      fmt::format("set xrange [-0.6:{}]\nset offsets 0, 0, graph 0.08, 0\n", double(plot.groups.size()) - 0.4);
  return draw(script + data + "plot " + commands + "\n", kWidth, kHeight, plot.title, std::move(caption));
}

Figure heat_map(const HeatMap& map, std::string caption) {
  const int rows = int(map.rows.size()), columns = int(map.columns.size());
  require(rows > 0 && columns > 0 && map.values.size() == map.rows.size() * map.columns.size(),
          "the heat map '{}' has {} values for {} rows and {} columns", map.title, map.values.size(), rows, columns);
  double least = INFINITY, most = -INFINITY;
  for (const double value : map.values) {
    if (!std::isfinite(value)) continue;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  if (least > most) return empty_figure(std::move(caption));
  std::string cells, dark_text, light_text;
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int c = 0; c < columns; ++c)
      if (const double value = map.values[r * columns + c]; std::isfinite(value)) sum += value;
    for (int c = 0; c < columns; ++c) {
      const double value = map.values[r * columns + c];
      if (!std::isfinite(value)) continue;
      const double share =
          map.normalize_rows ? (sum > 0 ? value / sum : 0) : (most > least ? (value - least) / (most - least) : 1);
      // One hue, as opaque as the value is high: right on a light and on a dark page. gnuplot's alpha is transparency.
      const auto transparency = uint32_t(std::lround(255 * (1 - std::clamp(share, 0.0, 1.0))));
      cells += fmt::format("{} {} {}\n", c, r, transparency << 24 | 0x0072B2);
      (share > 0.8 ? light_text : dark_text) += fmt::format("{} {} {:.{}f}\n", c, r, value, map.decimals);
    }
  }
  std::string data = "$cells << EOD\n" + cells + "EOD\n";
  std::string commands = "$cells using 1:2:(0.49):(0.49):3 with boxxyerror lc rgb variable fs solid noborder";
  if (rows <= kMaxLabelledCells && columns <= kMaxLabelledCells) {
    if (!dark_text.empty()) {
      data += "$dark << EOD\n" + dark_text + "EOD\n";
      commands += ", $dark using 1:2:3 with labels font 'sans-serif,12'";
    }
    if (!light_text.empty()) {
      data += "$light << EOD\n" + light_text + "EOD\n";
      commands += ", $light using 1:2:3 with labels font 'sans-serif,12' tc rgb 'white'";
    }
  }
  size_t longest = 1;
  for (const std::string& name : map.rows) longest = std::max(longest, name.size());
  const int cell = std::clamp(400 / std::max(rows, columns), 8, 56);
  const int left = int(8 * longest) + 50, width = left + cell * columns + 20;
  const int height = cell * rows + 110;
  const std::string script = fmt::format(
      "unset grid\nset border 0\nset xlabel {}\nset ylabel {}\nset xrange [-0.5:{}]\nset yrange [{}:-0.5]\n",
      quote(map.x_label), quote(map.y_label), columns - 0.5, rows - 0.5);
  return draw(script + names_script("x", map.columns, cell * columns) + names_script("y", map.rows, 0) + data +
                  "plot " + commands + "\n",
              width, height, map.title, std::move(caption));
}

Figure confusion_plot(const std::vector<std::string>& classes, const std::vector<int64_t>& counts,
                      std::string caption) {
  return heat_map({.title = "Confusion matrix",
                   .x_label = "predicted",
                   .y_label = "true",
                   .columns = classes,
                   .rows = classes,
                   .values = std::vector<double>(counts.begin(), counts.end()),
                   .decimals = 0,
                   .normalize_rows = true},
                  std::move(caption));
}

Figure scatter_plot(const ScatterPlot& plot, std::string caption) {
  std::vector<std::string> names;  // in order of appearance
  std::map<std::string, std::string> points;
  std::vector<ScatterPlot::Point> drawn;
  for (const auto& point : plot.points) {
    if (!drawable(point.x, plot.x) || !drawable(point.y, plot.y)) continue;
    if (!points.contains(point.series)) names.push_back(point.series);
    points[point.series] += fmt::format("{} {}\n", number(point.x), number(point.y));
    drawn.push_back(point);
  }
  if (drawn.empty()) return empty_figure(std::move(caption));
  std::ranges::stable_sort(drawn, [](const auto& a, const auto& b) { return a.x != b.x ? a.x < b.x : a.y > b.y; });
  std::string data, commands;
  if (plot.pareto) {
    std::string front;
    double best = -INFINITY;
    for (const auto& point : drawn) {
      if (point.y <= best) continue;
      best = point.y;
      front += fmt::format("{} {}\n", number(point.x), number(point.y));
    }
    data += "$front << EOD\n" + front + "EOD\n";
    commands = "$front using 1:2 with lines lc rgb '#7F7F7F' lw 1.5 dt (8,5) title 'best trade-off'";
  }
  for (size_t s = 0; s < names.size(); ++s) {
    data += fmt::format("$points{} << EOD\n{}EOD\n", s, points[names[s]]);
    commands += fmt::format("{}$points{} using 1:2 with points pt 7 ps 0.9 lc rgb '{}' title {}",
                            commands.empty() ? "" : ", ", s, color_of(s), quote(names[s]));
  }
  return draw(axis_script("x", plot.x) + axis_script("y", plot.y) +
                  "set offsets graph 0.05, graph 0.05, graph 0.08, graph 0.05\n" + labels_script(drawn, plot) + data +
                  "plot " + commands + "\n",
              kWidth, kHeight, plot.title, std::move(caption));
}

}  // namespace quanta
