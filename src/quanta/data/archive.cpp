#include "quanta/data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "quanta/core/error.h"

namespace quanta {
namespace fs = std::filesystem;
namespace {

/// A file read through zlib, which expands gzip, checks its checksums (libarchive's own filter does not) and passes
/// other files through.
class GzipReader {
 public:
  explicit GzipReader(const fs::path& path) : path_(path) {
    std::error_code ignored;
    require(fs::exists(path, ignored), "{}: no such file", path.string());
    require(fs::is_regular_file(path, ignored), "{}: not a regular file", path.string());
    file_ = gzopen(path.c_str(), "rbe");
    require(file_ != nullptr, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
    gzbuffer(file_, 1 << 17);
  }
  ~GzipReader() { gzclose_r(file_); }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  /// Returns the number of bytes read, 0 at the end. A file that ends within a gzip stream is an Error.
  int64_t read(char* buffer, unsigned size) {
    const int count = gzread(file_, buffer, size);
    int code = Z_OK;
    const char* message = gzerror(file_, &code);
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END))
      fail("{}: damaged or truncated: {}", path_.string(), code == Z_ERRNO ? std::strerror(errno) : message);
    return count;
  }

 private:
  fs::path path_;
  gzFile file_;
};

struct ArchiveDeleter {
  void operator()(archive* a) const { archive_read_free(a); }
};
using ArchivePointer = std::unique_ptr<archive, ArchiveDeleter>;

struct ArchiveSource {
  GzipReader reader;
  std::array<char, 1 << 16> buffer;
};

la_ssize_t read_source(archive* a, void* source_pointer, const void** data) {
  auto* source = static_cast<ArchiveSource*>(source_pointer);
  *data = source->buffer.data();
  try {
    return source->reader.read(source->buffer.data(), source->buffer.size());
  } catch (const std::exception& error) {  // must not pass through C
    archive_set_error(a, EIO, "%s", error.what());
    return ARCHIVE_FATAL;
  }
}

std::string error_text(archive* a) {
  const char* text = archive_error_string(a);
  return text ? text : "unknown error";
}

bool starts_with_gzip_magic(const fs::path& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  return file && std::fgetc(file.get()) == 0x1f && std::fgetc(file.get()) == 0x8b;
}

std::string member_name(const fs::path& path, archive_entry* entry) {
  const char* raw = archive_entry_pathname_utf8(entry);
  if (!raw) raw = archive_entry_pathname(entry);
  require(raw && *raw, "{}: a member has no readable name", path.string());
  std::string name = raw;
  while (name.starts_with("./")) name.erase(0, 2);
  bool climbs = name.starts_with('/') || name.find('\\') != std::string::npos;
  for (const auto& part : fs::path(name)) climbs |= part == "..";
  require(!climbs, "{}: member '{}' has an unsafe path (absolute, \"..\" or a backslash)", path.string(), name);
  return name;
}

}  // namespace

std::string read_maybe_gzip(const fs::path& path, int64_t max_bytes) {
  GzipReader reader(path);
  std::string bytes;
  std::array<char, 1 << 16> buffer;
  while (const int64_t count = reader.read(buffer.data(), buffer.size())) {
    require(int64_t(bytes.size()) + count <= max_bytes, "{}: holds more than the {} bytes expected at most",
            path.string(), max_bytes);
    bytes.append(buffer.data(), count);
  }
  return bytes;
}

std::string gzip(std::string_view bytes) {
  z_stream stream{};
  // 15 window bits, and 16 for the gzip wrapper.
  require(deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK,
          "zlib could not be started");
  std::string result;
  std::array<char, 1 << 16> buffer;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0) {  // avail_in has 32 bits
      const size_t count = std::min<size_t>(bytes.size(), 1 << 30);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
      stream.avail_in = uInt(count);
      bytes.remove_prefix(count);
    }
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = buffer.size();
    status = deflate(&stream, bytes.empty() ? Z_FINISH : Z_NO_FLUSH);
    result.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  require(status == Z_STREAM_END, "zlib failed with status {}", status);
  return result;
}

bool is_archive_name(const fs::path& path) {
  std::string name = path.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* suffix : {".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip"})
    if (name.ends_with(suffix)) return true;
  return false;
}

void for_each_member(const fs::path& path, const std::function<bool(const std::string&)>& wanted,
                     const std::function<void(const std::string&, std::string)>& visit, const ArchiveLimits& limits) {
  std::unique_ptr<ArchiveSource> source;  // must outlive the archive
  const ArchivePointer owner(archive_read_new());
  archive* a = owner.get();
  archive_read_support_format_tar(a);
  archive_read_support_format_zip(a);
  // Named one by one: "all" would include filters that start external programs.
  archive_read_support_filter_bzip2(a);
  archive_read_support_filter_xz(a);
  archive_read_support_filter_zstd(a);
  int status;
  if (starts_with_gzip_magic(path)) {
    source.reset(new ArchiveSource{GzipReader(path), {}});
    status = archive_read_open(a, source.get(), nullptr, &read_source, nullptr);
  } else {
    std::error_code ignored;
    require(fs::exists(path, ignored), "{}: no such file", path.string());
    require(fs::is_regular_file(path, ignored), "{}: not a regular file", path.string());
    status = archive_read_open_filename(a, path.c_str(), 1 << 16);
  }
  require(status == ARCHIVE_OK, "{}: cannot be read as an archive: {}", path.string(), error_text(a));

  int64_t members = 0, total = 0;
  std::string buffer(1 << 16, '\0');
  for (archive_entry* entry = nullptr;;) {
    status = archive_read_next_header(a, &entry);
    if (status == ARCHIVE_EOF) break;
    // ARCHIVE_WARN is about names the locale cannot show and the like; the entry is usable.
    require(status == ARCHIVE_OK || status == ARCHIVE_WARN, "{}: damaged archive after {} members: {}", path.string(),
            members, error_text(a));
    require(++members <= limits.members, "{}: more than {} members", path.string(), limits.members);
    const std::string name = member_name(path, entry);
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || !wanted(name)) continue;
    std::string bytes;
    // The size in the header is a claim: memory grows with the bytes that are really there.
    for (;;) {
      const la_ssize_t count = archive_read_data(a, buffer.data(), buffer.size());
      require(count >= 0, "{}: member '{}' is damaged or truncated: {}", path.string(), name, error_text(a));
      if (count == 0) break;
      total += count;
      require(int64_t(bytes.size()) + count <= limits.member_bytes, "{}: member '{}' has more than {} bytes",
              path.string(), name, limits.member_bytes);
      require(total <= limits.total_bytes, "{}: expands to more than {} bytes", path.string(), limits.total_bytes);
      bytes.append(buffer.data(), count);
    }
    visit(name, std::move(bytes));
  }
}

std::vector<std::string> list_archive(const fs::path& path, const ArchiveLimits& limits) {
  std::vector<std::string> names;
  for_each_member(
      path,
      [&](const std::string& name) {
        names.push_back(name);
        return false;
      },
      [](const std::string&, std::string) {}, limits);
  return names;
}

}  // namespace quanta
