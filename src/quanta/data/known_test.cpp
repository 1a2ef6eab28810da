#include "quanta/data/known.h"

#include "quanta/data/archive.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/idx.h"
#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using testing::error_of;
using ::testing::HasSubstr;
using testing::put;
using testing::put_archive;
using testing::ScopedVariable;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

/// The tests' own folders only: neither $QUANTA_DATA nor what lies beside the working folder.
class KnownTest : public ::testing::Test {
 protected:
  KnownTest() : before_(fs::current_path()) {
    fs::create_directories(folder_ / "work" / "here");
    fs::current_path(folder_ / "work" / "here");
  }
  ~KnownTest() override { fs::current_path(before_); }

  TemporaryFolder folder_;
  fs::path before_;
  ScopedVariable variable_{"QUANTA_DATA", nullptr};
};

std::string cifar_records(std::initializer_list<int> labels) {
  std::string bytes;
  for (int label : labels) {
    bytes += char(label);
    for (int c = 0; c < 3; ++c) bytes += std::string(1024, char(10 * label + c));
  }
  return bytes;
}

ImageSplits small_digits() {
  return {glyph_digits({.count = 20}), glyph_digits({.count = 10, .split = GlyphSplit::kTest})};
}

TEST_F(KnownTest, RegistryIsConsistent) {
  for (const auto& data : known_data()) {
    EXPECT_EQ(known_data(data.name).title, data.title);
    EXPECT_FALSE(data.get.empty()) << data.name;
    EXPECT_TRUE(data.stand_in.empty() || known_data(data.stand_in).generated) << data.name;
    EXPECT_FALSE(find_data(data.name)) << data.name << " cannot be found where nothing is";
  }
  EXPECT_EQ(known_data("Tiny-Shakespeare").name, "tiny_shakespeare");
  EXPECT_THROW(known_data("nmist"), UsageError);
  EXPECT_THAT(error_of([] { find_data("nmist"); }),
              AllOf(HasSubstr("unknown data set 'nmist'"), HasSubstr("mnist, cifar10")));
  EXPECT_THAT(error_of([] { load_images("tox21"); }), HasSubstr("tox21 holds molecules, not images"));
}

TEST_F(KnownTest, SearchesInOrder) {
  const auto place = [&](const fs::path& root) { put(root / "text/tiny-shakespeare.txt", "x"); };
  const auto found = [&](const fs::path& dir = {}) {
    return fs::weakly_canonical(find_data("tiny-shakespeare", dir).value());
  };
  const auto root = fs::weakly_canonical(folder_.path());
  place(folder_ / "work" / "shared" / "data");
  EXPECT_EQ(found(), root / "work/shared/data/text/tiny-shakespeare.txt");
  place(folder_ / "work" / "here" / "data");
  EXPECT_EQ(found(), root / "work/here/data/text/tiny-shakespeare.txt");
  place(folder_ / "variable");
  const ScopedVariable variable("QUANTA_DATA", (folder_ / "variable").c_str());
  EXPECT_EQ(found(), root / "variable/text/tiny-shakespeare.txt");
  fs::create_directories(folder_ / "mine");
  EXPECT_EQ(found(folder_ / "mine"), root / "variable/text/tiny-shakespeare.txt");
  place(folder_ / "mine");
  EXPECT_EQ(found(folder_ / "mine"), root / "mine/text/tiny-shakespeare.txt");
  EXPECT_THAT(error_of([&] { find_data("mnist", folder_ / "nowhere"); }), HasSubstr("nowhere: no such folder"));
}

TEST_F(KnownTest, MissingDataSaysWhereAndHow) {
  fs::create_directories(folder_ / "mine");
  const auto message = error_of([&] { load_images("mnist", folder_ / "mine"); });
  EXPECT_THAT(message, AllOf(HasSubstr("data set mnist was not found in"), HasSubstr("/mine, data (no such folder)"),
                             HasSubstr("to get it: "), HasSubstr("train-images-idx3-ubyte.gz"),
                             HasSubstr("generated stand-in: glyph_digits")));
  EXPECT_THAT(error_of([] { require_data("esol"); }), AllOf(HasSubstr("esol"), HasSubstr("esol-delaney.csv")));
}

TEST_F(KnownTest, StandInsAreAnnounced) {
  std::vector<std::string> lines;
  const auto log = [&](const std::string& line) { lines.push_back(line); };
  const auto digits = load_images_or_stand_in("mnist", {}, log);
  EXPECT_EQ(digits.train.source, "generated");
  EXPECT_EQ(digits.train.name, "glyph_digits");
  EXPECT_EQ(digits.train.images.sizes(), torch::IntArrayRef({10000, 1, 28, 28}));
  EXPECT_EQ(digits.test.size(), 2000);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("stand-in: glyph_digits, used instead"));
  const auto hues = load_images_or_stand_in("cifar10");
  EXPECT_EQ(hues.test.images.sizes(), torch::IntArrayRef({2000, 3, 32, 32}));
  EXPECT_EQ(hues.test.source, "generated");
  load_images_or_stand_in("glyph-digits", {}, log);
  EXPECT_EQ(lines.size(), 1u) << "what was asked for is no stand-in";
}

TEST_F(KnownTest, DamagedDataIsNotReplaced) {
  write_idx_folder(folder_ / "d" / "mnist", small_digits());
  EXPECT_EQ(load_images_or_stand_in("mnist", folder_ / "d").train.size(), 20);
  put(folder_ / "d" / "mnist" / "t10k-labels-idx1-ubyte.gz", "broken");
  EXPECT_THAT(error_of([&] { load_images_or_stand_in("mnist", folder_ / "d"); }),
              HasSubstr("t10k-labels-idx1-ubyte.gz: not an IDX file"));
}

TEST_F(KnownTest, MnistNeedsItsSize) {
  write_idx_folder(folder_ / "d" / "mnist",
                   {glyph_digits({.count = 10, .size = 20}), glyph_digits({.count = 10, .size = 20})});
  EXPECT_THAT(error_of([&] { load_images("mnist", folder_ / "d"); }),
              AllOf(HasSubstr("train-images-idx3-ubyte.gz"), HasSubstr("images of 20 x 20 pixels, expected 28 x 28")));
}

TEST_F(KnownTest, MnistInCustomaryPlaces) {
  for (const char* place : {"mnist", "MNIST/raw", "."}) {
    const TemporaryFolder root;
    write_idx_folder(root / place, small_digits());
    EXPECT_EQ(load_images("MNIST", root.path()).test.size(), 10) << place;
  }
}

TEST_F(KnownTest, WrittenCopyOfAGeneratedSetComesFirst) {
  const auto set = small_digits();
  write_idx_folder(folder_ / "d" / "glyph_digits", set);
  const auto again = load_images("glyph_digits", folder_ / "d");
  EXPECT_TRUE(again.train.images.equal(set.train.images));
  EXPECT_EQ(again.train.source, (folder_ / "d" / "glyph_digits").string());
  const GlyphOptions options{.count = 20, .size = 32, .classes = {0, 1}};
  write_idx_folder(folder_ / "d" / "glyph_hues", {glyph_hues(options), glyph_hues(options)});
  const auto hues = load_images("glyph_hues", folder_ / "d");
  EXPECT_TRUE(hues.train.images.equal(glyph_hues(options).images));
  EXPECT_EQ(hues.train.classes, glyph_hues(options).classes);
}

TEST_F(KnownTest, CifarBinaryBatches) {
  std::vector<std::pair<std::string, std::string>> files;
  for (int i = 1; i <= 5; ++i)
    files.emplace_back("cifar-10-batches-bin/data_batch_" + std::to_string(i) + ".bin", cifar_records({i, 9 - i}));
  files.emplace_back("cifar-10-batches-bin/test_batch.bin", cifar_records({3}));
  files.emplace_back("cifar-10-batches-bin/readme.html", "x");
  for (const auto& [name, bytes] : files) put(folder_ / "plain" / name, bytes);
  put_archive(folder_ / "packed" / "cifar-10-binary.tar.gz", files);
  for (const char* root : {"plain", "packed"}) {
    const auto cifar = load_images("cifar10", folder_ / root);
    EXPECT_EQ(cifar.train.images.sizes(), torch::IntArrayRef({10, 3, 32, 32}));
    EXPECT_TRUE(cifar.train.labels.equal(torch::tensor({1, 8, 2, 7, 3, 6, 4, 5, 5, 4}, torch::kInt64)));
    EXPECT_EQ(cifar.train.images[1][2][31][31].item<int>(), 82);
    EXPECT_EQ(cifar.test.images[0][1][0][0].item<int>(), 31);
    EXPECT_EQ(cifar.train.classes[3], "cat");
  }
  put(folder_ / "plain" / files[1].first, cifar_records({1}).substr(1));
  EXPECT_THAT(error_of([&] { load_images("cifar10", folder_ / "plain"); }),
              HasSubstr("data_batch_2.bin has 3072 bytes, not a multiple of the record's 3073"));
  put(folder_ / "plain" / files[1].first, cifar_records({1, 10}));
  EXPECT_THAT(error_of([&] { load_images("cifar10", folder_ / "plain"); }),
              HasSubstr("data_batch_2.bin: record 1 has label 10, expected 0 to 9"));
  fs::remove(folder_ / "plain" / files[1].first);
  EXPECT_THAT(error_of([&] { load_images("cifar10", folder_ / "plain"); }), HasSubstr("data_batch_2.bin is missing"));
}

TEST(RealData, ImageSets) {
  const auto data = testing::real_data();
  if (!data) GTEST_SKIP() << "no folder of real data was found; set QUANTA_DATA";
  if (find_data("medical_mnist", *data)) {
    const auto scans = load_images("medical_mnist", *data);
    EXPECT_THAT(scans.train.classes,
                ::testing::ElementsAre("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"));
    EXPECT_EQ(scans.train.images.sizes().slice(1), torch::IntArrayRef({1, 64, 64}));
    EXPECT_NO_THROW(scans.train.check());
  }
  if (const auto path = find_data("cifar10", *data)) {
    const auto cifar = load_images("cifar10", *data);
    EXPECT_EQ(cifar.train.images.sizes(), torch::IntArrayRef({50000, 3, 32, 32}));
    EXPECT_THAT(cifar.train.class_counts(), Each(5000));
    const auto mean = cifar.train.to_float().mean({0, 2, 3});  // published: 0.4914 0.4822 0.4465
    EXPECT_TRUE(torch::allclose(mean, torch::tensor({0.4914f, 0.4822f, 0.4465f}), 0, 0.003)) << mean;
  }
}

}  // namespace
}  // namespace quanta
