#include "quanta/data/image.h"

#include <cstdlib>

#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using testing::encode_jpeg;
using testing::encode_png;
using testing::error_of;
using ::testing::HasSubstr;

/// A smooth picture, interleaved.
std::vector<uint8_t> ramp(int width, int height, int channels) {
  std::vector<uint8_t> pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        pixels.push_back(uint8_t(c == 0 ? 255 * x / width : c == 1 ? 255 * y / height : 128));
  return pixels;
}

std::vector<uint8_t> interleaved(const Image& image) {
  std::vector<uint8_t> pixels;
  for (int64_t i = 0; i < image.width * image.height; ++i)
    for (int64_t c = 0; c < image.channels; ++c) pixels.push_back(image.pixels[c * image.width * image.height + i]);
  return pixels;
}

int largest_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  EXPECT_EQ(a.size(), b.size());
  int largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST(Image, PngRoundTripIsExact) {
  for (int channels : {1, 3}) {
    const auto pixels = ramp(7, 5, channels);
    const auto image = decode_image(encode_png(7, 5, channels, pixels), "f");
    EXPECT_EQ(image.channels, channels);
    EXPECT_EQ(image.width, 7);
    EXPECT_EQ(image.height, 5);
    EXPECT_EQ(interleaved(image), pixels);
  }
}

TEST(Image, PngTransparencyLiesOverBlack) {
  const auto image = decode_image(encode_png(2, 1, 4, {200, 100, 50, 255, 200, 100, 50, 0}), "f");
  EXPECT_EQ(image.channels, 3);
  EXPECT_THAT(interleaved(image), ElementsAre(200, 100, 50, 0, 0, 0));
}

TEST(Image, JpegAgreesWithAnotherDecoder) {
  // 33 x 17: not a multiple of the block's size. Quality below 91 makes stb subsample the colours.
  for (int quality : {60, 80, 95}) {
    const auto bytes = encode_jpeg(33, 17, 3, ramp(33, 17, 3), quality);
    const auto image = decode_image(bytes, "f");
    EXPECT_EQ(image.channels, 3);
    EXPECT_EQ(image.width, 33);
    EXPECT_EQ(image.height, 17);
    EXPECT_LE(largest_difference(interleaved(image), testing::decode_by_stb(bytes, 3)), 4) << quality;
  }
}

TEST(Image, FlatJpegIsFlat) {
  const auto image = decode_image(encode_jpeg(16, 16, 3, std::vector<uint8_t>(16 * 16 * 3, 100), 100), "f");
  for (int value : image.pixels) EXPECT_NEAR(value, 100, 1);
}

TEST(Image, DamageDoesNotReachTheNextImage) {
  const auto jpeg = encode_jpeg(16, 16, 3, ramp(16, 16, 3));
  const auto pixels = decode_image(jpeg, "f").pixels;
  for (size_t size = 2; size < jpeg.size() - 2; ++size) {
    EXPECT_THROW(decode_image(jpeg.substr(0, size), "cut"), Error);
    EXPECT_EQ(decode_image(jpeg, "f").pixels, pixels) << "after " << size << " bytes of one";
  }
}

TEST(Image, ConvertsChannelsOnRequest) {
  const auto jpeg = encode_jpeg(8, 8, 3, ramp(8, 8, 3)), png = encode_png(8, 8, 1, ramp(8, 8, 1));
  EXPECT_EQ(decode_image(jpeg, "f", 1).channels, 1);
  const auto colour = decode_image(png, "f", 3);
  const auto grey = decode_image(png, "f");
  ASSERT_EQ(colour.pixels.size(), 3 * grey.pixels.size());
  for (int c = 0; c < 3; ++c)
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(colour.pixels[64 * c + i], grey.pixels[i]);
  EXPECT_THAT(error_of([&] { decode_image(jpeg, "f", 2); }), HasSubstr("1 or 3 channels"));
}

TEST(Image, KnowsItsNames) {
  EXPECT_TRUE(is_image_name("a/b.JPG"));
  EXPECT_TRUE(is_image_name("b.jpeg"));
  EXPECT_TRUE(is_image_name("b.png"));
  EXPECT_FALSE(is_image_name("png"));
  EXPECT_FALSE(is_image_name("b.txt"));
}

TEST(Image, RejectsBadInputInOneClearLine) {
  const auto jpeg = encode_jpeg(32, 32, 3, ramp(32, 32, 3)), png = encode_png(32, 32, 3, ramp(32, 32, 3));
  const auto error = [](const std::string& bytes) { return error_of([&] { decode_image(bytes, "cat.jpg"); }); };
  EXPECT_THAT(error(""), HasSubstr("cat.jpg: empty file"));
  EXPECT_THAT(error("GIF89a"), HasSubstr("cat.jpg: neither JPEG nor PNG"));
  for (size_t size = 2; size < jpeg.size() - 2; size += 11)
    EXPECT_THAT(error(jpeg.substr(0, size)), HasSubstr("cat.jpg: damaged JPEG: ")) << size;
  for (size_t size = 4; size < png.size() - 12; size += 11)
    EXPECT_THAT(error(png.substr(0, size)), HasSubstr("cat.jpg: damaged PNG: ")) << size;
  auto flipped = png;
  flipped[png.size() / 2] ^= 4;
  EXPECT_THAT(error(flipped), HasSubstr("cat.jpg: damaged PNG: "));
}

TEST(Image, ClaimedSizesTakeNoMemory) {
  auto jpeg = encode_jpeg(8, 8, 1, ramp(8, 8, 1));
  const size_t frame = jpeg.find("\xFF\xC0");  // marker, length, precision, then height and width
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xEA\x60\xEA\x60");
  EXPECT_THAT(error_of([&] { decode_image(jpeg, "bomb.jpg"); }),
              HasSubstr("bomb.jpg: an image of 60000 x 60000 pixels"));
  jpeg.replace(frame + 5, 4, std::string("\x10\0\x10\0", 4));
  EXPECT_THAT(error_of([&] { decode_image(jpeg, "bomb.jpg"); }), HasSubstr("cannot hold 4096 x 4096 pixels"));
}

TEST(Image, SurvivesMutations) {
  Random random(3);
  const std::vector<std::string> seeds = {encode_jpeg(16, 16, 3, ramp(16, 16, 3), 60),
                                          encode_jpeg(9, 9, 1, ramp(9, 9, 1)), encode_png(9, 9, 3, ramp(9, 9, 3)),
                                          encode_png(9, 9, 1, ramp(9, 9, 1))};
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    try {
      const auto image = decode_image(testing::mutate(seeds[i % seeds.size()], random), "f");
      EXPECT_EQ(int64_t(image.pixels.size()), image.channels * image.height * image.width);
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 15'000);
}

}  // namespace
}  // namespace quanta
