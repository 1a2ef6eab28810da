#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "quanta/core/error.h"
#include "quanta/report/plot.h"

namespace quanta {
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string png(const GridImage& image) {
  const int64_t plane = image.height * image.width;
  std::vector<uint8_t> interleaved(image.pixels.size());
  for (int64_t c = 0; c < image.channels; ++c)
    for (int64_t i = 0; i < plane; ++i) interleaved[i * image.channels + c] = image.pixels[c * plane + i];
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = png_uint_32(image.width);
  header.height = png_uint_32(image.height);
  header.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(header), '\0');
  png_alloc_size_t size = bytes.size();
  require(png_image_write_to_memory(&header, bytes.data(), &size, 0, interleaved.data(), 0, nullptr),
          "a {}x{} image could not be encoded: {}", image.width, image.height, header.message);
  bytes.resize(size);
  return bytes;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

Figure image_grid(const std::vector<GridImage>& images, int columns, std::string caption) {
  require(columns >= 1, "an image grid needs at least one column, got {}", columns);
  Figure figure{.caption = std::move(caption), .svg = {}};
  if (images.empty()) {
    figure.note = "There is no image to show.";
    return figure;
  }
  constexpr double kLine = 15, kLetter = 6.6, kGap = 10;  // font size 12
  double cell = 72, tallest = 0;
  size_t text_lines = 0;
  for (const GridImage& image : images) {
    require((image.channels == 1 || image.channels == 3) && image.height > 0 && image.width > 0 &&
                image.pixels.size() == size_t(image.channels * image.height * image.width),
            "an image of {}x{} with {} channels has {} pixel values; expected 1 or 3 channels and {} values",
            image.width, image.height, image.channels, image.pixels.size(),
            image.channels * image.height * image.width);
    const auto lines = lines_of(image.caption);
    text_lines = std::max(text_lines, lines.size());
    for (const std::string& line : lines) cell = std::max(cell, kLetter * double(line.size()));
    tallest = std::max(tallest, 72.0 * double(image.height) / double(image.width));
  }
  columns = std::min<int>(columns, int(images.size()));
  const double row_height = tallest + kLine * double(text_lines) + kGap + (text_lines ? 4 : 0);
  const auto rows = (int64_t(images.size()) + columns - 1) / columns;
  const double width = columns * (cell + kGap) - kGap;
  figure.svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" font-family=\"sans-serif\" "
      "font-size=\"12\" fill=\"currentColor\" text-anchor=\"middle\">\n",
      width, double(rows) * row_height);
  for (size_t i = 0; i < images.size(); ++i) {
    const GridImage& image = images[i];
    const double x = double(i % columns) * (cell + kGap), y = double(i / columns) * row_height;
    const double height = 72.0 * double(image.height) / double(image.width);
    figure.svg += fmt::format(
        "<image x=\"{:.1f}\" y=\"{:.1f}\" width=\"72\" height=\"{:.1f}\" style=\"image-rendering:pixelated\" "
        "href=\"data:image/png;base64,{}\"/>\n",
        x + (cell - 72) / 2, y, height, base64(png(image)));
    double baseline = y + tallest;
    for (const std::string& line : lines_of(image.caption))
      figure.svg +=
          fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x + cell / 2, baseline += kLine, escape_xml(line));
  }
  figure.svg += "</svg>\n";
  return figure;
}

}  // namespace quanta
