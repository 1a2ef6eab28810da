#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "quanta/circuit/qasm.h"
#include "quanta/circuit/transpile.h"
#include "quanta/core/error.h"
#include "quanta/core/process.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
constexpr int kLargest = 20;

std::vector<double> probabilities(const Circuit& circuit) {
  std::vector<double> result(size_t{1} << circuit.wires());
  Simulator<double>(circuit).probabilities(1, nullptr, nullptr, result.data());
  return result;
}

// The files of QASMBench as other programs wrote them: the oracle is the simulation of the circuit as it was read.
TEST(QasmBench, ProbabilitiesSurviveTranspiling) {
  const char* data = std::getenv("QUANTA_DATA");
  fs::path archive;
  for (const fs::path& folder :
       {fs::path(data ? data : ""), fs::path("data"), fs::path(QUANTA_SOURCE_DIR) / "data",
        fs::path(QUANTA_SOURCE_DIR) / "../shared/data", fs::path(QUANTA_SOURCE_DIR) / "../../shared/data"})
    if (const fs::path path = folder / "qasm/qasmbench-small-medium.tar.gz"; archive.empty() && fs::exists(path))
      archive = path;
  if (archive.empty()) GTEST_SKIP() << "qasm/qasmbench-small-medium.tar.gz is not in the data folder";
  std::string folder = (fs::temp_directory_path() / "quanta_bench_XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  ASSERT_EQ(run_process(find_program("tar").value(), {"xzf", archive.string(), "-C", folder}).status, 0);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".qasm") files.push_back(entry.path());
  std::ranges::sort(files);

  const std::vector<std::vector<std::string>> bases = {{"rz", "sx", "x", "cx"},  {"u", "cx"},
                                                       {"rx", "ry", "rz", "cz"}, {"p", "h", "cp"},
                                                       {"u", "iswap"},           {"rx", "rz", "rzz"}};
  int compared = 0;
  for (size_t f = 0; f < files.size(); ++f) {
    SCOPED_TRACE(files[f].string());
    std::optional<Circuit> circuit;
    try {
      circuit = read_qasm(files[f]).without_final_measurements();
    } catch (const Error&) {  // two of the files are wrong; the reader's test knows them
      continue;
    }
    if (circuit->wires() > kLargest) continue;
    std::vector<double> expected;
    if (circuit->is_unitary()) expected = probabilities(*circuit);
    for (size_t b = 0; b < bases.size(); ++b) {
      TranspileOptions options{.basis = bases[b], .optimization = int((f + b) % 4)};
      if ((f + b) % 2) options.coupling = Coupling::parse("line", circuit->wires());
      const Transpiled result = transpile(*circuit, options);
      if (expected.empty()) continue;  // measures in its midst: no single state
      const std::vector<double> got = probabilities(result.circuit);
      double largest = 0;
      for (size_t state = 0; state < expected.size(); ++state) {
        size_t moved = 0;
        for (int q = 0; q < circuit->wires(); ++q) moved |= (state >> q & 1) << result.final_layout[q];
        largest = std::max(largest, std::abs(expected[state] - got[moved]));
      }
      EXPECT_LT(largest, 1e-6) << "basis " << b << ", level " << options.optimization;
      ++compared;
    }
  }
  EXPECT_GE(compared, 150);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace quanta
