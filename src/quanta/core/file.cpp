#include "quanta/core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ostream>
#include <streambuf>
#include <utility>

#include "quanta/core/error.h"

namespace fs = std::filesystem;

namespace quanta {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return fd_; }
  int close() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }
  void reset(int fd) {
    close();
    fd_ = fd;
  }

 private:
  int fd_;
};

[[noreturn]] void fail_to(const char* what, const fs::path& path, int error) {
  fail("cannot {} {}: {}", what, path.string(), std::strerror(error));
}

// Opens a regular file to read.
int open_to_read(const fs::path& path, struct stat& status) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) fail_to("read", path, errno);
  if (S_ISDIR(status.st_mode)) {
    close(fd);
    fail_to("read", path, EISDIR);
  }
  return fd;
}

// A buffer that remembers why a write failed.
class DescriptorBuffer : public std::streambuf {
 public:
  explicit DescriptorBuffer(int fd) : fd_(fd) { setp(buffer_.data(), buffer_.data() + buffer_.size()); }
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override {
    if (!drain()) return traits_type::eof();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }
  std::streamsize xsputn(const char* text, std::streamsize count) override {
    if (count < epptr() - pptr()) return std::streambuf::xsputn(text, count);
    return drain() && write_all(text, count) ? count : 0;
  }
  int sync() override { return drain() ? 0 : -1; }

 private:
  bool drain() {
    const bool done = write_all(pbase(), pptr() - pbase());
    setp(buffer_.data(), buffer_.data() + buffer_.size());
    return done;
  }
  bool write_all(const char* text, size_t count) {
    while (count > 0 && !error_) {
      const ssize_t written = ::write(fd_, text, count);
      if (written < 0 && errno != EINTR) error_ = errno;
      if (written > 0) {
        text += written;
        count -= written;
      }
    }
    return !error_;
  }

  int fd_;
  int error_ = 0;
  std::array<char, 1 << 16> buffer_;
};

}  // namespace

struct AtomicFile::Impl {
  fs::path path, aside;
  Descriptor file;
  std::unique_ptr<DescriptorBuffer> buffer;
  std::unique_ptr<std::ostream> stream;
};

AtomicFile::AtomicFile(const fs::path& path) : impl_(std::make_unique<Impl>()) {
  static std::atomic<unsigned> counter = 0;
  std::error_code ignored;
  impl_->path = fs::is_symlink(path, ignored) ? fs::weakly_canonical(path, ignored) : path;
  struct stat old {};
  const bool replaces = stat(impl_->path.c_str(), &old) == 0;
  if (replaces && S_ISDIR(old.st_mode)) fail_to("write", path, EISDIR);
  require(!replaces || S_ISREG(old.st_mode), "cannot write {}: it is not a regular file", path.string());
  do {
    impl_->aside =
        impl_->path.parent_path() / fmt::format(".{}.{}-{}.tmp", impl_->path.filename().string(), getpid(), counter++);
    impl_->file.reset(open(impl_->aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  } while (impl_->file < 0 && errno == EEXIST);
  if (impl_->file < 0) fail_to("write", path, errno);
  if (replaces) (void)fchmod(impl_->file, old.st_mode & 0777);
  impl_->buffer = std::make_unique<DescriptorBuffer>(impl_->file);
  impl_->stream = std::make_unique<std::ostream>(impl_->buffer.get());
}

AtomicFile::~AtomicFile() {
  if (!impl_->aside.empty()) unlink(impl_->aside.c_str());
}

std::ostream& AtomicFile::stream() {
  return *impl_->stream;
}

void AtomicFile::commit() {
  Impl& file = *impl_;
  require(!file.aside.empty(), "cannot write {}: it was committed before", file.path.string());
  file.stream->flush();
  if (file.buffer->error()) fail_to("write", file.path, file.buffer->error());
  require(file.stream->good(), "cannot write {}: its content could not be made", file.path.string());
  if (fsync(file.file) != 0 || file.file.close() != 0 || rename(file.aside.c_str(), file.path.c_str()) != 0)
    fail_to("write", file.path, errno);
  file.aside.clear();
  file.stream->setstate(std::ios::badbit);  // a late write must not go unnoticed
  // The name itself is safe only when the folder has reached the disk; some file systems cannot say so (EINVAL).
  const fs::path folder = file.path.has_parent_path() ? file.path.parent_path() : fs::path(".");
  const Descriptor directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory >= 0 && fsync(directory) != 0 && errno != EINVAL) fail_to("write", file.path, errno);
}

void write_file(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.stream().write(bytes.data(), std::streamsize(bytes.size()));
  file.commit();
}

std::string read_file(const fs::path& path, size_t max_bytes) {
  struct stat status {};
  const Descriptor file(open_to_read(path, status));
  const auto check = [&](uint64_t size) {
    require(size <= max_bytes, "cannot read {}: it holds more than {} bytes", path.string(), max_bytes);
  };
  check(uint64_t(status.st_size));
  // The size is a hint: files in /proc say 0.
  std::string bytes(size_t(status.st_size) + 1, '\0');
  size_t size = 0;
  while (true) {
    const ssize_t got = read(file, bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_to("read", path, errno);
    if (got == 0) break;
    size += size_t(got);
    check(size);
    if (size == bytes.size()) bytes.resize(2 * size);
  }
  bytes.resize(size);
  return bytes;
}

MappedFile::MappedFile(const fs::path& path) {
  struct stat status {};
  const Descriptor file(open_to_read(path, status));
  require(S_ISREG(status.st_mode), "cannot read {}: it is not a regular file", path.string());
  const size_t size = size_t(status.st_size);
  if (size == 0) return;
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (address == MAP_FAILED) fail_to("read", path, errno);
  bytes_ = {static_cast<const std::byte*>(address), size};
}

void MappedFile::release() const {
  if (!bytes_.empty()) ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void make_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("cannot make the folder {}: {}", path.string(), error.message());
  if (euidaccess(path.c_str(), W_OK | X_OK) != 0) fail_to("write to the folder", path, errno);
}

}  // namespace quanta
