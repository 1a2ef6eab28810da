#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "quanta/circuit/qasm.h"
#include "quanta/circuit/qasm_bench.h"
#include "quanta/circuit/transpile.h"
#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/simulate/simulator.h"

namespace quanta {
namespace {

constexpr int kLargest = 20;

std::vector<double> probabilities(const Circuit& circuit) {
  std::vector<double> result(size_t{1} << circuit.wires());
  Simulator<double>(circuit).probabilities(1, nullptr, nullptr, result.data());
  return result;
}

// The files of QASMBench as other programs wrote them: the oracle is the simulation of the circuit as it was read.
TEST(QasmBench, ProbabilitiesSurviveTranspiling) {
  const testing::TemporaryFolder folder;
  const auto files = testing::unpack_qasm_bench(QUANTA_SOURCE_DIR, folder.path());
  if (files.empty()) GTEST_SKIP() << "qasm/qasmbench-small-medium.tar.gz is not in the data folder";

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
}

}  // namespace
}  // namespace quanta
