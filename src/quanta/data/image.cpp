#include "quanta/data/image.h"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "quanta/core/error.h"

namespace quanta {
namespace {

// Deflate expands at most 1032 times and a PNG pixel may take one bit. A Huffman-coded JPEG spends at least one bit on
// each block of 8 x 8 pixels.
constexpr int64_t kPngPixelsPerByte = 1032 * 8;
constexpr int64_t kJpegPixelsPerByte = 64 * 8;

/// Called before memory is taken for the pixels: the size is only a claim.
void check_size(const std::string& name, int64_t width, int64_t height, size_t bytes, int64_t pixels_per_byte) {
  require(width <= kMaxImagePixels / height, "{}: an image of {} x {} pixels; at most {} are read", name, width, height,
          kMaxImagePixels);
  require(width * height <= int64_t(bytes) * pixels_per_byte, "{}: damaged: {} bytes cannot hold {} x {} pixels", name,
          bytes, width, height);
}

Image to_planar(std::vector<uint8_t> interleaved, int channels, int64_t width, int64_t height) {
  if (channels == 1) return {1, height, width, std::move(interleaved)};
  Image image{channels, height, width, std::vector<uint8_t>(interleaved.size())};
  const int64_t plane = width * height;
  for (int64_t i = 0; i < plane; ++i)
    for (int c = 0; c < channels; ++c) image.pixels[c * plane + i] = interleaved[i * channels + c];
  return image;
}

Image decode_jpeg(std::string_view bytes, const std::string& name, int channels) {
  // One for each image: after a failure a decoder keeps half-read tables, and the next image would suffer for it.
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), &tjDestroy);
  require(decoder != nullptr, "{}: the JPEG decoder could not be started", name);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decoder.get(), data, bytes.size(), &width, &height, &subsampling, &colours) != 0)
    fail("{}: damaged JPEG: {}", name, tjGetErrorStr2(decoder.get()));
  // The header of a file that ends before the frame counts as "tables only", without an error.
  require(width > 0 && height > 0, "{}: damaged JPEG: it ends before the image", name);
  check_size(name, width, height, bytes.size(), kJpegPixelsPerByte);
  if (channels == 0) channels = colours == TJCS_GRAY ? 1 : 3;
  std::vector<uint8_t> pixels(int64_t{width} * height * channels);
  // Without "stop on warning" a truncated file would yield a picture that is grey below the cut; without "limit scans"
  // a small progressive file could keep the decoder busy for minutes.
  const int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  if (tjDecompress2(decoder.get(), data, bytes.size(), pixels.data(), width, 0, height,
                    channels == 1 ? TJPF_GRAY : TJPF_RGB, flags) != 0)
    fail("{}: damaged JPEG: {}", name, tjGetErrorStr2(decoder.get()));
  return to_planar(std::move(pixels), channels, width, height);
}

Image decode_png(std::string_view bytes, const std::string& name, int channels) {
  struct Reader : png_image {
    Reader() : png_image{} { version = PNG_IMAGE_VERSION; }
    ~Reader() { png_image_free(this); }
  } reader;
  if (!png_image_begin_read_from_memory(&reader, bytes.data(), bytes.size()))
    fail("{}: damaged PNG: {}", name, reader.message);
  check_size(name, reader.width, reader.height, bytes.size(), kPngPixelsPerByte);
  if (channels == 0) channels = reader.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
  reader.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  std::vector<uint8_t> pixels(int64_t{reader.width} * reader.height * channels);
  const int64_t width = reader.width, height = reader.height;
  const png_color black{0, 0, 0};
  if (!png_image_finish_read(&reader, &black, pixels.data(), 0, nullptr))
    fail("{}: damaged PNG: {}", name, reader.message);
  return to_planar(std::move(pixels), channels, width, height);
}

}  // namespace

bool is_image_name(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower.ends_with(".jpg") || lower.ends_with(".jpeg") || lower.ends_with(".png");
}

Image decode_image(std::string_view bytes, const std::string& name, int channels) {
  require(channels == 0 || channels == 1 || channels == 3, "an image is decoded to 1 or 3 channels, not {}", channels);
  require(!bytes.empty(), "{}: empty file, expected a JPEG or PNG image", name);
  if (bytes.starts_with("\xFF\xD8")) return decode_jpeg(bytes, name, channels);
  if (bytes.starts_with("\x89PNG")) return decode_png(bytes, name, channels);
  fail("{}: neither JPEG nor PNG", name);
}

}  // namespace quanta
