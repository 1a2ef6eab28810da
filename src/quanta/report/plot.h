#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quanta/report/report.h"

namespace quanta {

// Figures drawn by gnuplot. Series take the Okabe-Ito colours in order, which colour-blind readers can tell apart; text
// and axes take the page's text colour. Points that are not finite are left out. If gnuplot is missing or fails, the
// figure has a note that says what to install instead of a picture. Errors (Error): vectors whose lengths differ,
// nothing to draw.

struct Axis {
  std::string label{};
  bool log = false;  ///< values <= 0 are left out
  std::optional<double> min{};
  std::optional<double> max{};
};

struct Series {
  std::string name{};       ///< in the legend; empty: none
  std::vector<double> x{};  ///< empty: 1, 2, 3, ...
  std::vector<double> y{};
  std::vector<double> low{};  ///< a band around the line: from low to high, for example one standard deviation
  std::vector<double> high{};
  bool dashed = false;
  int color = -1;  ///< index into the palette, to tie two series together; -1: the next one
};

struct LinePlot {
  std::string title{};
  Axis x{};
  Axis y{};
  std::vector<Series> series{};
};
Figure line_plot(const LinePlot& plot, std::string caption = "");

struct BarPlot {
  std::string title{};
  std::vector<std::string> groups{};  ///< names along the x axis
  struct Bars {
    std::string name{};
    std::vector<double> values{};  ///< one a group
    std::vector<double> errors{};  ///< half the length of the error bar; empty: none
  };
  std::vector<Bars> bars{};  ///< side by side in each group
  Axis y{};
};
Figure bar_plot(const BarPlot& plot, std::string caption = "");

struct HeatMap {
  std::string title{};
  std::string x_label{};
  std::string y_label{};
  std::vector<std::string> columns{};
  std::vector<std::string> rows{};  ///< from top to bottom
  std::vector<double> values{};     ///< [rows * columns], row by row; not finite: an empty cell
  int decimals = 2;                 ///< of the numbers in the cells
  bool normalize_rows = false;      ///< colour by the share of the row's sum; the cells still show the values
};
Figure heat_map(const HeatMap& map, std::string caption = "");

/// counts [classes * classes], row: true class, column: prediction; coloured by the share of the true class.
Figure confusion_plot(const std::vector<std::string>& classes, const std::vector<int64_t>& counts,
                      std::string caption = "");

struct ScatterPlot {
  std::string title{};
  Axis x{};
  Axis y{};
  struct Point {
    double x = 0;
    double y = 0;
    std::string label{};   ///< beside the point
    std::string series{};  ///< colour and legend
  };
  std::vector<Point> points{};
  /// Joins the points no other is better than: towards small x and large y, if set.
  bool pareto = false;
};
Figure scatter_plot(const ScatterPlot& plot, std::string caption = "");

/// An image with the text below it.
struct GridImage {
  int64_t channels = 1;  ///< 1 (grey) or 3 (RGB)
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> pixels{};  ///< planar: [channels][height][width]
  std::string caption{};
};

/// Images side by side, `columns` in a row; pixels stay sharp.
Figure image_grid(const std::vector<GridImage>& images, int columns = 10, std::string caption = "");

}  // namespace quanta
