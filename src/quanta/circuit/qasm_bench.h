#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/process.h"

namespace quanta::testing {

/// QASMBench's small and medium files, sorted, unpacked into a folder; none if no data folder has the archive. `source`
/// is the project's folder. For tests.
inline std::vector<std::filesystem::path> unpack_qasm_bench(const std::filesystem::path& source,
                                                            const std::filesystem::path& into) {
  namespace fs = std::filesystem;
  const char* data = std::getenv("QUANTA_DATA");
  fs::path archive;
  for (const fs::path& folder : {fs::path(data ? data : ""), fs::path("data"), source / "data",
                                 source / "../shared/data", source / "../../shared/data"})
    if (const fs::path path = folder / "qasm/qasmbench-small-medium.tar.gz"; archive.empty() && fs::exists(path))
      archive = path;
  std::vector<fs::path> files;
  if (archive.empty()) return files;
  require(run_process(find_program("tar").value(), {"xzf", archive.string(), "-C", into.string()}).status == 0,
          "cannot unpack {}", archive.string());
  for (const auto& entry : fs::recursive_directory_iterator(into))
    if (entry.path().extension() == ".qasm") files.push_back(entry.path());
  std::ranges::sort(files);
  require(!files.empty(), "{} holds no OpenQASM files", archive.string());
  return files;
}

}  // namespace quanta::testing
