#include "quanta/data/idx.h"

#include <cmath>

#include "quanta/data/archive.h"
#include "quanta/data/known.h"
#include "quanta/data/test_files.h"
#include "quanta/data/transform.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using testing::get;
using ::testing::HasSubstr;
using testing::put;
using testing::TemporaryFolder;

// Written out by hand from the format's description: 2 x 2 x 3, bytes 1 to 12.
const std::string kImages("\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03\1\2\3\4\5\6\7\x08\x09\x0A\x0B\x0C", 28);
const std::string kLabels("\0\0\x08\x01\0\0\0\x02\x01\0", 10);

TEST(Idx, ReadsTheFormat) {
  const auto array = parse_idx(kImages, "f");
  EXPECT_EQ(array.sizes(), torch::IntArrayRef({2, 2, 3}));
  EXPECT_TRUE(array.flatten().equal(torch::arange(1, 13, torch::kUInt8)));
  EXPECT_EQ(format_idx(array), kImages);
  EXPECT_EQ(format_idx(parse_idx(kLabels, "f")), kLabels);
}

TEST(Idx, RejectsBadInputInOneClearLine) {
  const auto error = [](std::string bytes) { return error_of([&] { parse_idx(bytes, "file.idx"); }); };
  EXPECT_THAT(error(""), AllOf(HasSubstr("file.idx: truncated"), HasSubstr("0 bytes")));
  EXPECT_THAT(error("PNG!"), HasSubstr("file.idx: not an IDX file: starts with 50 4e 47 21, expected 00 00 08"));
  EXPECT_THAT(error(std::string("\0\0\x08\x05", 4) + kImages), HasSubstr("not an IDX file"));
  EXPECT_THAT(error(std::string("\0\0\x08\0", 4)), HasSubstr("not an IDX file"));
  EXPECT_THAT(error(std::string("\0\0\x0D\x01\0\0\0\x01\0\0\0\0", 12)), HasSubstr("type 0x0d"));
  EXPECT_THAT(error(kImages.substr(0, 15)), HasSubstr("truncated: 15 bytes, an IDX header of 3 dimensions has 16"));
  EXPECT_THAT(error(kImages.substr(0, 27)),
              HasSubstr("truncated: the IDX header promises 12 bytes of data (2 x 2 x 3), there are 11"));
  EXPECT_THAT(error(kImages + "x"), HasSubstr("1 bytes left over after the 12 bytes of data (2 x 2 x 3)"));
  EXPECT_THAT(error(std::string("\0\0\x08\x02\0\0\0\0\xFF\xFF\xFF\xFF", 12)), HasSubstr("has no elements"));
  // 2^32 - 1 in each of four dimensions: the product overflows 64 bits and no memory may be asked for.
  EXPECT_THAT(error(std::string("\0\0\x08\x04", 4) + std::string(16, '\xFF') + "data"), HasSubstr("truncated"));
}

TEST(Idx, SurvivesMutations) {
  Random random(1);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string bytes = testing::mutate(i % 2 ? kImages : kLabels, random);
    try {
      EXPECT_EQ(format_idx(parse_idx(bytes, "f")), bytes);
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 15'000);
}

TEST(Idx, WritesAndReadsSetsPlainAndCompressed) {
  const TemporaryFolder folder;
  put(folder / "i", kImages);
  put(folder / "l.gz", gzip(kLabels));
  const auto set = read_idx_set(folder / "i", folder / "l.gz", {.name = "tiny"});
  EXPECT_EQ(set.images.sizes(), torch::IntArrayRef({2, 1, 2, 3}));
  EXPECT_TRUE(set.labels.equal(torch::tensor({1, 0}, torch::kInt64)));
  EXPECT_THAT(set.classes, ElementsAre("0", "1"));
  EXPECT_EQ(set.name, "tiny");
  EXPECT_EQ(set.source, (folder / "i").string());
  write_idx(folder / "copy.gz", set.images.squeeze(1));
  EXPECT_EQ(get(folder / "copy.gz").substr(0, 2), "\x1f\x8b");
  EXPECT_EQ(read_maybe_gzip(folder / "copy.gz"), kImages);
  write_idx(folder / "copy", set.images.squeeze(1));
  EXPECT_EQ(get(folder / "copy"), kImages);
}

TEST(Idx, RejectsFilesThatDoNotFitEachOther) {
  const TemporaryFolder folder;
  put(folder / "i", kImages);
  put(folder / "l", kLabels);
  put(folder / "l1", std::string("\0\0\x08\x01\0\0\0\x01\x01", 9));
  put(folder / "l12", std::string("\0\0\x08\x01\0\0\0\x02\x01\x0C", 10));
  const auto error = [&](const char* images, const char* labels, const IdxOptions& options) {
    return error_of([&] { read_idx_set(folder / images, folder / labels, options); });
  };
  EXPECT_THAT(error("i", "l1", {}), AllOf(HasSubstr("l1: 1 labels"), HasSubstr("/i has 2 images")));
  EXPECT_THAT(error("i", "l12", {.classes = {"a", "b"}}), HasSubstr("l12: label 12, expected 0 to 1"));
  EXPECT_THAT(error("i", "l", {.height = 28, .width = 28}), HasSubstr("i: images of 2 x 3 pixels, expected 28 x 28"));
  EXPECT_THAT(error("l", "l", {}), HasSubstr("l: 1 dimensions, images have 3"));
  EXPECT_THAT(error("i", "i", {}), HasSubstr("i: 3 dimensions, labels have 1"));
  EXPECT_THAT(error("none", "l", {}), HasSubstr("none: no such file"));
  put(folder / "cut.gz", gzip(kImages).substr(0, 30));
  EXPECT_THAT(error("cut.gz", "l", {}), AllOf(HasSubstr("cut.gz: "), HasSubstr("truncated")));
  std::string wrong = gzip(kImages);
  wrong[wrong.size() - 6] ^= 1;  // in the checksum
  put(folder / "wrong.gz", wrong);
  EXPECT_THAT(error("wrong.gz", "l", {}), AllOf(HasSubstr("wrong.gz: damaged"), HasSubstr("data check")));
}

TEST(Idx, FolderTakesTheCustomaryNames) {
  for (const char* style : {"-idx{}-ubyte", ".idx{}-ubyte", "-idx{}-ubyte.gz", ".idx{}-ubyte.gz"}) {
    const TemporaryFolder folder;
    EXPECT_FALSE(is_idx_folder(folder.path()));
    const bool zipped = std::string(style).ends_with(".gz");
    for (const char* stem : {"train", "t10k"}) {
      put(folder / (stem + std::string("-images") + fmt::format(fmt::runtime(style), 3)),
          zipped ? gzip(kImages) : kImages);
      put(folder / (stem + std::string("-labels") + fmt::format(fmt::runtime(style), 1)),
          zipped ? gzip(kLabels) : kLabels);
    }
    EXPECT_TRUE(is_idx_folder(folder.path()));
    const auto splits = read_idx_folder(folder.path());
    EXPECT_EQ(splits.train.size(), 2) << style;
    EXPECT_EQ(splits.test.size(), 2) << style;
  }
}

TEST(Idx, FolderNamesWhatIsMissingOrDiffers) {
  const TemporaryFolder folder;
  put(folder / "train-images-idx3-ubyte", kImages);
  put(folder / "train-labels-idx1-ubyte", kLabels);
  EXPECT_THAT(error_of([&] { read_idx_folder(folder.path()); }),
              HasSubstr("t10k-images-idx3-ubyte (plain or .gz) is missing"));
  std::string turned = kImages;
  std::swap(turned[11], turned[15]);  // 3 x 2
  put(folder / "t10k-images-idx3-ubyte", turned);
  put(folder / "t10k-labels-idx1-ubyte", kLabels);
  EXPECT_THAT(error_of([&] { read_idx_folder(folder.path()); }), HasSubstr("images of 3 x 2 pixels, expected 2 x 3"));
}

TEST(Idx, FolderRoundTrip) {
  for (int channels : {1, 3}) {
    const TemporaryFolder folder;
    ImageSplits splits;
    for (auto* set : {&splits.train, &splits.test}) {
      set->name = "made";
      set->images = torch::randint(256, {6, channels, 4, 5}).to(torch::kUInt8);
      set->labels = torch::tensor({0, 1, 2, 2, 1, 0}, torch::kInt64);
      set->classes = {"a", "b", "c"};
    }
    const auto target = folder / "deep" / "er";
    write_idx_folder(target, splits);
    const auto again = read_idx_folder(target, {.classes = {"a", "b", "c"}});
    EXPECT_TRUE(again.train.images.equal(splits.train.images));
    EXPECT_TRUE(again.test.images.equal(splits.test.images));
    EXPECT_TRUE(again.test.labels.equal(splits.test.labels));
    EXPECT_EQ(again.train.source, target.string());
  }
}

TEST(Idx, WritingToAnImpossiblePlaceIsAnError) {
  const TemporaryFolder folder;
  put(folder / "file", "x");
  EXPECT_THAT(error_of([&] { write_idx(folder / "file" / "a.idx", torch::ones({2}, torch::kUInt8)); }),
              HasSubstr("a.idx"));
  EXPECT_THAT(error_of([&] { write_idx_folder(folder / "file" / "set", {}); }), HasSubstr("file"));
}

TEST(Idx, MnistFacts) {
  const auto data = testing::real_data();
  if (!data || !find_data("mnist", *data))
    GTEST_SKIP() << "MNIST was not found; set QUANTA_DATA to the folder that has mnist/";
  const auto mnist = load_images("mnist", *data);
  EXPECT_EQ(mnist.train.images.sizes(), torch::IntArrayRef({60000, 1, 28, 28}));
  EXPECT_EQ(mnist.test.images.sizes(), torch::IntArrayRef({10000, 1, 28, 28}));
  EXPECT_THAT(mnist.train.class_counts(), ElementsAre(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949));
  EXPECT_THAT(mnist.test.class_counts(), ElementsAre(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009));
  const auto measured = Normalization::measure(mnist.train);
  EXPECT_NEAR(measured.mean[0], 0.13066, 5e-6);
  EXPECT_NEAR(measured.standard_deviation[0], 0.30811, 5e-6);
}

}  // namespace
}  // namespace quanta
