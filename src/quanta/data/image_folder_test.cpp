#include "quanta/data/image_folder.h"

#include "quanta/core/parallel.h"
#include "quanta/data/archive.h"
#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::encode_jpeg;
using testing::encode_png;
using testing::error_of;
using ::testing::HasSubstr;
using testing::put;
using testing::put_archive;
using testing::TemporaryFolder;

using Files = std::vector<std::pair<std::string, std::string>>;

/// A 4 x 2 PNG whose pixels all have this value.
std::string flat(int value, int channels = 1) {
  return encode_png(4, 2, channels, std::vector<uint8_t>(8 * channels, uint8_t(value)));
}

std::vector<int64_t> values(const ImageSet& set) {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < set.size(); ++i) result.push_back(set.images[i][0][0][0].item<int64_t>());
  return result;
}

std::vector<int64_t> labels(const ImageSet& set) {
  return {set.labels.data_ptr<int64_t>(), set.labels.data_ptr<int64_t>() + set.size()};
}

const Files kSplit = {{"train/dog/2.png", flat(12)},     {"train/dog/1.png", flat(11)},
                      {"train/cat/9.PNG", flat(29)},     {"test/cat/1.png", flat(31)},
                      {"test/dog/5.png", flat(45)},      {"README.md", "read me"},
                      {"train/.hidden.png", "no image"}, {"__MACOSX/train/dog/._1.png", "no image"}};

TEST(ImageFolder, ReadsSplitsFromFolderAndArchives) {
  const TemporaryFolder folder;
  for (const auto& [name, bytes] : kSplit) put(folder / "plain" / name, bytes);
  Files below;
  for (const auto& [name, bytes] : kSplit) below.emplace_back("top/" + name, bytes);
  put_archive(folder / "a.tar.gz", kSplit);
  put_archive(folder / "a.zip", below);
  for (const char* name : {"plain", "a.tar.gz", "a.zip"}) {
    const auto splits = load_image_folder(folder / name);
    EXPECT_THAT(splits.train.classes, ElementsAre("cat", "dog")) << name;
    EXPECT_THAT(values(splits.train), ElementsAre(29, 11, 12)) << name;
    EXPECT_THAT(labels(splits.train), ElementsAre(0, 1, 1)) << name;
    EXPECT_THAT(values(splits.test), ElementsAre(31, 45)) << name;
    EXPECT_THAT(labels(splits.test), ElementsAre(0, 1)) << name;
    EXPECT_EQ(splits.train.images.sizes(), torch::IntArrayRef({3, 1, 2, 4}));
    EXPECT_EQ(splits.train.source, (folder / name).string());
    EXPECT_NO_THROW(splits.test.check());
  }
}

TEST(ImageFolder, SplitsClassFoldersBySeed) {
  const TemporaryFolder folder;
  for (int i = 0; i < 10; ++i) {
    put(folder / "set" / ("a/" + std::to_string(i) + ".png"), flat(i));
    put(folder / "set" / ("b/" + std::to_string(i) + ".png"), flat(100 + i));
  }
  const auto splits = load_image_folder(folder / "set", {.name = "mine"});
  EXPECT_THAT(splits.train.class_counts(), ElementsAre(8, 8));
  EXPECT_THAT(splits.test.class_counts(), ElementsAre(2, 2));
  EXPECT_EQ(splits.train.name, "mine");
  EXPECT_EQ(values(splits.test), values(load_image_folder(folder / "set").test));
  EXPECT_NE(values(splits.test), values(load_image_folder(folder / "set", {.seed = 1}).test));
}

TEST(ImageFolder, ValidationStandsInForTest) {
  const TemporaryFolder folder;
  put(folder / "s/train/a/1.png", flat(1));
  put(folder / "s/val/a/1.png", flat(2));
  EXPECT_THAT(values(load_image_folder(folder / "s").test), ElementsAre(2));
  put(folder / "s/test/a/1.png", flat(3));
  EXPECT_THAT(values(load_image_folder(folder / "s").test), ElementsAre(3));
}

TEST(ImageFolder, TakesTheChannelsOfTheFirst) {
  const TemporaryFolder folder;
  put(folder / "grey/train/a/1.png", flat(7));
  put(folder / "grey/train/a/2.png", flat(9, 3));
  put(folder / "grey/test/a/0.png", flat(5));
  EXPECT_EQ(load_image_folder(folder / "grey").train.channels(), 1);
  put(folder / "colour/train/a/1.png", flat(7, 3));
  put(folder / "colour/train/a/2.png", flat(9));
  put(folder / "colour/test/a/0.png", flat(5, 3));
  const auto colour = load_image_folder(folder / "colour").train;
  EXPECT_EQ(colour.channels(), 3);
  EXPECT_TRUE(colour.images[1].eq(9).all().item<bool>());
}

TEST(ImageFolder, ResizesOnRequest) {
  const TemporaryFolder folder;
  put(folder / "s/train/a/1.png", encode_png(4, 2, 1, {0, 10, 20, 30, 40, 50, 60, 70}));
  put(folder / "s/test/a/1.png", encode_png(2, 1, 1, {1, 2}));
  EXPECT_THAT(error_of([&] { load_image_folder(folder / "s"); }),
              AllOf(HasSubstr("train/a/1.png: an image of 2 x 4 pixels"), HasSubstr("test/a/1.png has 1 x 2")));
  const auto splits = load_image_folder(folder / "s", {.size = std::pair<int64_t, int64_t>(1, 2)});
  EXPECT_TRUE(splits.train.images.flatten().equal(torch::tensor({25, 45}, torch::kUInt8)));
  EXPECT_TRUE(splits.test.images.flatten().equal(torch::tensor({1, 2}, torch::kUInt8)));
}

TEST(ImageFolder, NamesTheDamagedMember) {
  const TemporaryFolder folder;
  const auto jpeg = encode_jpeg(16, 16, 3, std::vector<uint8_t>(768, 90));
  Files files;
  for (int i = 10; i < 90; ++i) files.emplace_back("train/a/" + std::to_string(i) + ".jpg", jpeg);
  files.emplace_back("test/a/1.jpg", jpeg);
  files[20].second.resize(jpeg.size() / 2);
  files[70].second = "no image";
  put_archive(folder / "a.tar.gz", files);
  const int before = threads();
  for (int count : {1, 4}) {  // always the first by name
    set_threads(count);
    EXPECT_THAT(error_of([&] { load_image_folder(folder / "a.tar.gz"); }),
                HasSubstr("a.tar.gz: member train/a/30.jpg: damaged JPEG: "));
  }
  set_threads(before);
  files[20].second = "";
  put_archive(folder / "a.tar.gz", files);
  EXPECT_THAT(error_of([&] { load_image_folder(folder / "a.tar.gz"); }),
              HasSubstr("member train/a/30.jpg: empty file"));
  put(folder / "plain/train/a/1.jpg", "no image");
  EXPECT_THAT(error_of([&] { load_image_folder(folder / "plain"); }), HasSubstr("of training images"));
  put(folder / "plain/test/a/1.jpg", jpeg);
  EXPECT_THAT(error_of([&] { load_image_folder(folder / "plain"); }),
              HasSubstr("plain/train/a/1.jpg: neither JPEG nor PNG"));
}

TEST(ImageFolder, BadLayouts) {
  const TemporaryFolder folder;
  int number = 0;
  const auto error = [&](const Files& files, ImageFolderOptions options = {}) {
    const auto path = folder / (std::to_string(++number) + ".tar");
    put_archive(path, files);
    return error_of([&] { load_image_folder(path, options); });
  };
  EXPECT_THAT(error({{"a/readme.txt", "x"}}), HasSubstr("1.tar: no JPEG or PNG images in it"));
  EXPECT_THAT(error({{"1.png", flat(1)}}), HasSubstr("image 1.png is in no class folder"));
  EXPECT_THAT(error({{"train/a/1.png", flat(1)}, {"b/1.png", flat(1)}}), HasSubstr("lie at different levels"));
  EXPECT_THAT(error({{"a/1.png", flat(1)}, {"x/b/1.png", flat(1)}}), HasSubstr("lie at different levels"));
  EXPECT_THAT(error({{"train/a/1.png", flat(1)}}), HasSubstr("but none of test images"));
  EXPECT_THAT(error({{"test/a/1.png", flat(1)}}), HasSubstr("but none of training images"));
  EXPECT_THAT(error({{"train/a/1.png", flat(1)}, {"test/b/1.png", flat(1)}}),
              HasSubstr("class b has test images but no training images"));
  EXPECT_THAT(error({{"train/a/1.png", flat(1)}, {"test/a/1.png", flat(1)}}, {.max_bytes = 15}),
              HasSubstr("2 images of 2 x 4 pixels and 1 channels take more than 15 bytes"));
  EXPECT_THAT(error_of([&] { load_image_folder(folder / "none"); }), HasSubstr("none: no such file"));
}

}  // namespace
}  // namespace quanta
