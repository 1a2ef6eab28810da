// The helpers of test_files.h.

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "quanta/data/test_files.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

namespace quanta::testing {
namespace fs = std::filesystem;
namespace {

void append(void* context, void* data, int size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
}

}  // namespace

void put(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string get(const fs::path& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

std::string encode_png(int width, int height, int channels, const std::vector<uint8_t>& pixels) {
  std::string bytes;
  stbi_write_png_to_func(&append, &bytes, width, height, channels, pixels.data(), width * channels);
  return bytes;
}

std::string encode_jpeg(int width, int height, int channels, const std::vector<uint8_t>& pixels, int quality) {
  std::string bytes;
  stbi_write_jpg_to_func(&append, &bytes, width, height, channels, pixels.data(), quality);
  return bytes;
}

std::vector<uint8_t> decode_by_stb(const std::string& bytes, int channels) {
  int width = 0, height = 0, stored = 0;
  auto* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), int(bytes.size()), &width,
                                       &height, &stored, channels);
  if (!pixels) throw std::runtime_error(stbi_failure_reason());
  std::vector<uint8_t> result(pixels, pixels + width * height * channels);
  stbi_image_free(pixels);
  return result;
}

void put_archive(const fs::path& path, const std::vector<std::pair<std::string, std::string>>& members) {
  fs::create_directories(path.parent_path());
  archive* a = archive_write_new();
  if (path.extension() == ".zip") {
    archive_write_set_format_zip(a);
  } else {
    archive_write_set_format_pax_restricted(a);
    if (path.extension() == ".gz") archive_write_add_filter_gzip(a);
  }
  if (archive_write_open_filename(a, path.c_str()) != ARCHIVE_OK) throw std::runtime_error(archive_error_string(a));
  for (const auto& [name, bytes] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, int64_t(bytes.size()));
    archive_write_header(a, entry);
    archive_write_data(a, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
}

std::string mutate(std::string bytes, Random& random) {
  for (uint64_t edits = 1 + random.below(4); edits > 0; --edits) {
    const size_t size = bytes.size();
    const size_t at = random.below(size + 1);
    const size_t length = std::min<size_t>(1 + random.below(8), size - at);
    switch (random.below(7)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        bytes.erase(at, length);
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 3:
        bytes.insert(at, 1, char(random.below(256)));
        break;
      case 4:
        if (at < size) bytes[at] = random.below(2) ? '\xFF' : '\0';
        break;
      case 5:
        if (at < size) bytes[at] = char(random.below(256));
        break;
      default:
        if (at < size) bytes[at] = char(bytes[at] ^ 1 << random.below(8));
    }
  }
  return bytes;
}

std::optional<fs::path> real_data() {
  if (const char* variable = std::getenv("QUANTA_DATA"); variable && fs::is_directory(variable)) return variable;
  for (const char* folder : {"/data", "/../shared/data"})
    if (fs::is_directory(QUANTA_SOURCE_DIR + std::string(folder))) return QUANTA_SOURCE_DIR + std::string(folder);
  return std::nullopt;
}

ScopedVariable::ScopedVariable(const char* name, const char* value) : name_(name) {
  if (const char* old = std::getenv(name)) old_ = old;
  value ? setenv(name, value, 1) : unsetenv(name);
}

ScopedVariable::~ScopedVariable() {
  old_ ? setenv(name_.c_str(), old_->c_str(), 1) : unsetenv(name_.c_str());
}

}  // namespace quanta::testing
