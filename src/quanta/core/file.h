#pragma once

#include <cstddef>
#include <filesystem>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quanta {

/// Makes or replaces a file as a whole: the bytes go to a hidden file in the same folder, reach the disk, and take the
/// name in one step. A reader, a crash or a full disk sees the old file or the new one, never a part. Keeps the
/// permissions of a file it replaces, and follows a symbolic link. Throws Error naming the path and the system's
/// reason, and then leaves nothing behind.
void write_file(const std::filesystem::path& path, std::string_view bytes);

/// The same for a file too big to build in memory: write to stream(), then commit(). Without commit() the destructor
/// removes what was written. A failed write shows in the stream's state and makes commit() throw.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  std::ostream& stream();
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The whole content. Throws Error if the file cannot be read or holds more than max_bytes.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 30);

/// A file's content as memory, read by the system page by page on first touch. The file must not shrink meanwhile:
/// files replaced by write_file() never do.
class MappedFile {
 public:
  /// Throws Error if the file cannot be read or is not a regular one.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  /// Gives the pages read so far back to the system; they are read again when they are touched.
  void release() const;

 private:
  std::span<const std::byte> bytes_;
};

/// Makes a folder and those above it, and sees that files can be made in it. Throws Error if not.
void make_directory(const std::filesystem::path& path);

}  // namespace quanta
