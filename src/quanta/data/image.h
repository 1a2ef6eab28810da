#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// Largest image that decode_image accepts: width times height.
constexpr int64_t kMaxImagePixels = int64_t{1} << 25;

struct Image {
  int64_t channels = 0;  ///< 1 (grey) or 3 (RGB)
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> pixels;  ///< planar: [channels][height][width]
};

/// True for names that end in .jpg, .jpeg or .png, in any case.
bool is_image_name(std::string_view name);

/// Decodes a JPEG or PNG held in memory (told apart by its first bytes). `channels` is 1, 3 or 0 for as stored: a PNG
/// is grey when it is of a grey type, a JPEG when it has one component; transparent pixels are laid over black. `name`
/// heads the message of an Error: not an image, damaged, truncated (a JPEG decoder's warnings count: half an image is
/// no image), or too large.
Image decode_image(std::string_view bytes, const std::string& name, int channels = 0);

}  // namespace quanta
