#include "quanta/core/file.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <ostream>
#include <thread>

#include "quanta/core/error.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class File : public testing::Test {
 protected:
  File() : folder_(fs::path(testing::TempDir()) / ("quanta_file_" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
  }
  ~File() override { fs::remove_all(folder_); }

  int entries() const { return int(std::distance(fs::directory_iterator(folder_), {})); }

  static std::string message(auto&& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }

  fs::path folder_;
};

TEST_F(File, WritesAndReadsAnyBytes) {
  std::string bytes(300'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = char(i * i >> 3);
  write_file(folder_ / "a", bytes);
  EXPECT_EQ(read_file(folder_ / "a"), bytes);
  write_file(folder_ / "a", "");
  EXPECT_EQ(read_file(folder_ / "a"), "");
  EXPECT_EQ(entries(), 1);
}

TEST_F(File, StreamsInSmallAndLargePieces) {
  std::string expected;
  AtomicFile file(folder_ / "a");
  for (int i = 0; i < 2000; ++i) {
    const std::string piece(i * 37 % 501, char('a' + i % 26));
    file.stream() << i << ' ' << piece;
    expected += std::to_string(i) + ' ' + piece;
  }
  const std::string large(1 << 17, 'x');
  file.stream() << large << '.';
  expected += large + '.';
  EXPECT_FALSE(fs::exists(folder_ / "a"));
  file.commit();
  EXPECT_EQ(read_file(folder_ / "a"), expected);
  file.stream() << "late";
  EXPECT_FALSE(file.stream().good());
  EXPECT_THROW(file.commit(), Error);
  EXPECT_EQ(read_file(folder_ / "a"), expected);
}

TEST_F(File, WithoutCommitTheOldFileStays) {
  write_file(folder_ / "a", "old");
  {
    AtomicFile file(folder_ / "a");
    file.stream() << "new" << std::flush;
    EXPECT_EQ(entries(), 2);
  }
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(File, AFullDiskLeavesTheOldFileAndNothingElse) {
  write_file(folder_ / "a", "old");
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit small{100'000, limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string whole = message([&] { write_file(folder_ / "a", std::string(200'000, 'x')); });
  const std::string pieces = message([&] {
    AtomicFile file(folder_ / "a");
    for (int i = 0; i < 20'000; ++i) file.stream() << "0123456789";
    EXPECT_FALSE(file.stream().good());
    file.commit();
  });
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(whole, "cannot write " + (folder_ / "a").string() + ": File too large");
  EXPECT_EQ(pieces, whole);
  EXPECT_EQ(read_file(folder_ / "a"), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(File, AReaderNeverSeesAPart) {
  const std::string one(1 << 16, '1'), two(1 << 17, '2');
  write_file(folder_ / "a", one);
  std::jthread writer([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i) write_file(folder_ / "a", i % 2 ? one : two);
  });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = read_file(folder_ / "a");
    ASSERT_TRUE(seen == one || seen == two) << seen.size();
  }
}

TEST_F(File, KeepsPermissionsAndFollowsLinks) {
  write_file(folder_ / "a", "old");
  chmod((folder_ / "a").c_str(), 0600);
  fs::create_symlink("a", folder_ / "link");
  write_file(folder_ / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(read_file(folder_ / "a"), "new");
  EXPECT_EQ(fs::status(folder_ / "a").permissions(), fs::perms(0600));

  const mode_t mask = umask(027);
  write_file(folder_ / "b", "");
  umask(mask);
  EXPECT_EQ(fs::status(folder_ / "b").permissions(), fs::perms(0640));
}

TEST_F(File, RefusesWhatIsNotAFile) {
  EXPECT_EQ(message([&] { write_file(folder_, "x"); }), "cannot write " + folder_.string() + ": Is a directory");
  EXPECT_THAT(message([] { write_file("/dev/null", "x"); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message([&] { write_file(folder_ / "no" / "a", "x"); }), HasSubstr("No such file or directory"));
  EXPECT_THAT(message([&] { read_file(folder_); }), HasSubstr("Is a directory"));
  EXPECT_EQ(message([&] { read_file(folder_ / "no"); }),
            "cannot read " + (folder_ / "no").string() + ": No such file or directory");
  EXPECT_THAT(message([&] { MappedFile(folder_ / "no"); }), HasSubstr("No such file"));
  EXPECT_THAT(message([] { MappedFile("/dev/null"); }), HasSubstr("not a regular file"));
}

TEST_F(File, ReadsNoMoreThanAllowed) {
  write_file(folder_ / "a", "12345");
  EXPECT_EQ(read_file(folder_ / "a", 5), "12345");
  EXPECT_THAT(message([&] { read_file(folder_ / "a", 4); }), HasSubstr("more than 4 bytes"));
  EXPECT_THAT(message([&] { read_file("/dev/zero", 1 << 20); }), HasSubstr("more than 1048576 bytes"));
  EXPECT_THAT(read_file("/proc/self/status"), HasSubstr("VmRSS"));  // says it holds 0 bytes
}

TEST_F(File, Maps) {
  write_file(folder_ / "a", "12345");
  const MappedFile file(folder_ / "a");
  write_file(folder_ / "a", "6");  // the mapping keeps the old content
  ASSERT_EQ(file.bytes().size(), 5u);
  EXPECT_EQ(file.bytes()[4], std::byte('5'));
  write_file(folder_ / "a", "");
  EXPECT_TRUE(MappedFile(folder_ / "a").bytes().empty());
}

TEST_F(File, MakesFolders) {
  make_directory(folder_ / "b" / "c");
  make_directory(folder_ / "b" / "c");
  EXPECT_TRUE(fs::is_directory(folder_ / "b" / "c"));
  write_file(folder_ / "file", "");
  EXPECT_THAT(message([&] { make_directory(folder_ / "file"); }),
              HasSubstr((folder_ / "file").string() + ": Not a dir"));
  EXPECT_THAT(message([&] { make_directory(folder_ / "file" / "d"); }), HasSubstr("Not a directory"));
}

TEST_F(File, SaysThatAFolderIsUnwritable) {
  chmod(folder_.c_str(), 0555);
  const bool root = geteuid() == 0;
  ASSERT_EQ(seteuid(root ? 65534 : geteuid()), 0);  // permissions do not bind root
  const std::string make = message([&] { make_directory(folder_ / "b"); });
  const std::string use = message([&] { make_directory(folder_); });
  const std::string write = message([&] { write_file(folder_ / "a", "x"); });
  ASSERT_EQ(seteuid(root ? 0 : geteuid()), 0);
  chmod(folder_.c_str(), 0755);
  EXPECT_EQ(make, "cannot make the folder " + (folder_ / "b").string() + ": Permission denied");
  EXPECT_EQ(use, "cannot write to the folder " + folder_.string() + ": Permission denied");
  EXPECT_EQ(write, "cannot write " + (folder_ / "a").string() + ": Permission denied");
}

}  // namespace
}  // namespace quanta
