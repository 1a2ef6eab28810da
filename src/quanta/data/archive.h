#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// Bounds on what a compressed file may expand to, so that a small hostile one cannot fill the memory.
struct ArchiveLimits {
  int64_t member_bytes = int64_t{1} << 28;  ///< one member
  int64_t total_bytes = int64_t{1} << 32;   ///< all members that are read
  int64_t members = 10'000'000;             ///< members of the archive, read or not
};

/// The whole content of a file; gzip (one or more members, checksums verified) is recognized by its first bytes and
/// expanded. Error if it cannot be read, is damaged or truncated, or holds more than max_bytes.
std::string read_maybe_gzip(const std::filesystem::path& path, int64_t max_bytes = int64_t{1} << 32);

/// Compresses to gzip. The result depends on the bytes and the zlib version alone (no time, no file name).
std::string gzip(std::string_view bytes);

/// True for names that end in .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .tar.zst or .zip.
bool is_archive_name(const std::filesystem::path& path);

/// Reads an archive (tar, plain or compressed, or zip) once from front to back. For each regular file `wanted(name)`
/// says whether to read it, and `visit(name, bytes)` gets it. Names are relative with '/' between folders; a leading
/// "./" is dropped. Nothing is written to disk. Error (naming archive and member) if the archive is damaged or
/// truncated, if a name is absolute or climbs with "..", or if a limit is exceeded.
void for_each_member(const std::filesystem::path& archive, const std::function<bool(const std::string& name)>& wanted,
                     const std::function<void(const std::string& name, std::string bytes)>& visit,
                     const ArchiveLimits& limits = {});

/// Names of the regular files in an archive, in its order. Errors as above.
std::vector<std::string> list_archive(const std::filesystem::path& archive, const ArchiveLimits& limits = {});

}  // namespace quanta
