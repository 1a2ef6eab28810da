#pragma once

// What the tests of this module share: temporary folders, encoders, archives, mutations.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"

namespace quanta::testing {

/// Writes a file and the folders above it.
void put(const std::filesystem::path& path, const std::string& bytes);
std::string get(const std::filesystem::path& path);

/// Images by stb_image_write, an encoder that is not the decoder's own. `pixels` is interleaved.
std::string encode_png(int width, int height, int channels, const std::vector<uint8_t>& pixels);
std::string encode_jpeg(int width, int height, int channels, const std::vector<uint8_t>& pixels, int quality = 95);
/// The same image decoded by stb_image, interleaved.
std::vector<uint8_t> decode_by_stb(const std::string& bytes, int channels);

/// A tar.gz (or, by its name, .zip or .tar) of regular files.
void put_archive(const std::filesystem::path& path, const std::vector<std::pair<std::string, std::string>>& members);

/// One to four random edits: bits flipped, bytes set, removed, repeated, inserted, or the end cut off.
std::string mutate(std::string bytes, Random& random);

/// The message of the quanta::Error that the body throws; a test failure (and "") if it throws none.
template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "more than one line: " << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

/// The folder of real data beside the source tree or in $QUANTA_DATA, if there is one.
std::optional<std::filesystem::path> real_data();

/// Sets an environment variable (nullptr: unsets it) until the end of the scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value);
  ~ScopedVariable();

 private:
  std::string name_;
  std::optional<std::string> old_;
};

}  // namespace quanta::testing
