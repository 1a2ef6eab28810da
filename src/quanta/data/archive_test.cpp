#include "quanta/data/archive.h"

#include <map>

#include "quanta/data/test_files.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using testing::error_of;
using testing::get;
using ::testing::HasSubstr;
using testing::put;
using testing::put_archive;
using testing::TemporaryFolder;

std::string noise(size_t size) {
  Random random(5);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = char(random.below(256));
  return bytes;
}

TEST(Gzip, RoundTripsAndIsReproducible) {
  const TemporaryFolder folder;
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(1 << 20, 'a'), noise(300'000)}) {
    put(folder / "f.gz", gzip(bytes));
    EXPECT_EQ(read_maybe_gzip(folder / "f.gz"), bytes);
    EXPECT_EQ(gzip(bytes), gzip(bytes));
    put(folder / "plain", bytes);
    EXPECT_EQ(read_maybe_gzip(folder / "plain"), bytes);
  }
  put(folder / "two.gz", gzip("one ") + gzip("two"));
  EXPECT_EQ(read_maybe_gzip(folder / "two.gz"), "one two");
}

TEST(Gzip, BadInput) {
  const TemporaryFolder folder;
  put(folder / "bomb.gz", gzip(std::string(1 << 22, '\0')));
  EXPECT_THAT(error_of([&] { read_maybe_gzip(folder / "bomb.gz", 1 << 20); }),
              HasSubstr("bomb.gz: holds more than the 1048576 bytes"));
  EXPECT_THAT(error_of([&] { read_maybe_gzip(folder / "none"); }), HasSubstr("none: no such file"));
  EXPECT_THAT(error_of([&] { read_maybe_gzip(folder.path()); }), HasSubstr("not a regular file"));
  const std::string whole = gzip(noise(1000));
  for (size_t size = 3; size < whole.size(); size += 50) {
    put(folder / "cut.gz", whole.substr(0, size));
    EXPECT_THAT(error_of([&] { read_maybe_gzip(folder / "cut.gz"); }), HasSubstr("cut.gz: damaged or truncated"))
        << size;
  }
}

TEST(Archive, KnowsItsNames) {
  for (const char* name : {"a.tar", "a.tar.gz", "a.tgz", "A.TAR.GZ", "a.zip", "a.tar.xz"})
    EXPECT_TRUE(is_archive_name(name));
  for (const char* name : {"a.gz", "a.csv.gz", "tar", "a"}) EXPECT_FALSE(is_archive_name(name));
}

TEST(Archive, ReadsTarAndZip) {
  const TemporaryFolder folder;
  const std::string big = noise(200'000);
  for (const char* name : {"a.tar", "a.tar.gz", "a.zip"}) {
    put_archive(folder / name, {{"./x/one.txt", "1"}, {"x/two.bin", big}, {"empty", ""}, {"x/gr\u00fcn", "g"}});
    EXPECT_THAT(list_archive(folder / name), ElementsAre("x/one.txt", "x/two.bin", "empty", "x/gr\u00fcn")) << name;
    std::map<std::string, std::string> members;
    for_each_member(
        folder / name, [](const std::string& member) { return member != "x/one.txt"; },
        [&](const std::string& member, std::string bytes) { members[member] = std::move(bytes); });
    EXPECT_EQ(members.size(), 3u);
    EXPECT_EQ(members["x/two.bin"], big);
    EXPECT_EQ(members.at("empty"), "");
  }
}

TEST(Archive, RefusesNamesThatClimb) {
  const TemporaryFolder folder;
  for (const char* bad : {"../x", "a/../../x", "/etc/x", "a\\..\\x"}) {
    put_archive(folder / "a.tar", {{"fine", "1"}, {bad, "2"}});
    EXPECT_THAT(error_of([&] { list_archive(folder / "a.tar"); }),
                AllOf(HasSubstr("a.tar: member '"), HasSubstr("unsafe path")))
        << bad;
  }
}

TEST(Archive, KeepsItsBounds) {
  const TemporaryFolder folder;
  put_archive(folder / "a.tar.gz", {{"one", std::string(5000, 'a')}, {"two", std::string(5000, 'b')}});
  const auto error = [&](const ArchiveLimits& limits) {
    return error_of([&] {
      for_each_member(
          folder / "a.tar.gz", [](auto&) { return true; }, [](auto&, auto) {}, limits);
    });
  };
  EXPECT_THAT(error({.member_bytes = 4999}), HasSubstr("member 'one' has more than 4999 bytes"));
  EXPECT_THAT(error({.total_bytes = 9999}), HasSubstr("expands to more than 9999 bytes"));
  EXPECT_THAT(error({.members = 1}), HasSubstr("more than 1 members"));
}

TEST(Archive, BadInput) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { list_archive(folder / "none.zip"); }), HasSubstr("none.zip: no such file"));
  EXPECT_THAT(error_of([&] { list_archive(folder.path()); }), HasSubstr("not a regular file"));
  put(folder / "text.tar", std::string(2000, 'x'));
  EXPECT_THAT(error_of([&] { list_archive(folder / "text.tar"); }), HasSubstr("text.tar: "));
  put_archive(folder / "a.tar.gz", {{"one", noise(5000)}, {"two", noise(5000)}});
  const std::string whole = get(folder / "a.tar.gz");
  for (size_t size = 20; size < whole.size(); size += 700) {
    put(folder / "cut.tar.gz", whole.substr(0, size));
    EXPECT_THAT(error_of([&] {
                  for_each_member(
                      folder / "cut.tar.gz", [](auto&) { return true; }, [](auto&, auto) {});
                }),
                AllOf(HasSubstr("cut.tar.gz: "), AnyOf(HasSubstr("truncated"), HasSubstr("unexpected end"))))
        << size;
  }
}

TEST(Archive, SurvivesMutations) {
  const TemporaryFolder folder;
  put_archive(folder / "a.tar", {{"d/one", "1111"}, {"d/two", noise(600)}});
  put_archive(folder / "a.zip", {{"d/one", "1111"}, {"d/two", noise(600)}});
  put_archive(folder / "a.tar.gz", {{"d/one", "1111"}, {"d/two", noise(600)}});
  Random random(2);
  for (const char* name : {"a.tar", "a.zip", "a.tar.gz"}) {
    const std::string whole = get(folder / name);
    for (int i = 0; i < 500; ++i) {
      put(folder / "m", testing::mutate(whole, random));
      try {
        for_each_member(
            folder / "m", [](auto&) { return true; }, [](auto&, auto) {}, {.member_bytes = 1 << 20});
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace quanta
