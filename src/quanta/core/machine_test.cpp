#include "quanta/core/machine.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <sched.h>

#include <map>

namespace quanta {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using State = Finding::State;

Environment with(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : found->second.c_str();
  };
}

constexpr CpuFeatures kAvx2{.avx2 = true};
constexpr CpuFeatures kAvx512{.avx2 = true, .avx512 = true};
constexpr CpuFeatures kBfloat16{.avx2 = true, .avx512 = true, .bfloat16 = true};

TEST(Machine, BlasAsWideAsTheProcessorIsFine) {
  for (const auto& [core, cpu] : std::vector<std::pair<std::string, CpuFeatures>>{{"SkylakeX", kAvx512},
                                                                                  {"Cooperlake", kAvx512},
                                                                                  {"SkylakeX", kBfloat16},
                                                                                  {"Sapphirerapids", kBfloat16},
                                                                                  {"Haswell", kAvx2},
                                                                                  {"Zen", kAvx2},
                                                                                  {"Nehalem", {}},
                                                                                  {"neoversen1", {}},
                                                                                  {"FutureLake", kAvx512}}) {
    const Finding finding = examine_blas(core, cpu, with({}));
    EXPECT_EQ(finding.state, State::kOk) << core;
    EXPECT_EQ(finding.detail, "OpenBLAS with kernels for " + core);
    EXPECT_EQ(finding.advice, "");
  }
}

TEST(Machine, BlasHeldBackByTheEnvironment) {
  const Finding finding = examine_blas("Haswell", kAvx512, with({{"OPENBLAS_CORETYPE", "Haswell"}}));
  EXPECT_EQ(finding.state, State::kWarn);
  EXPECT_THAT(finding.detail, AllOf(HasSubstr("kernels for Haswell"), HasSubstr("AVX-512")));
  EXPECT_EQ(finding.advice, "unset OPENBLAS_CORETYPE (it is Haswell)");
  EXPECT_EQ(examine_blas("Sandybridge", kAvx2, with({{"OPENBLAS_CORETYPE", "SANDYBRIDGE"}})).advice,
            "unset OPENBLAS_CORETYPE (it is SANDYBRIDGE)");
}

TEST(Machine, BlasThatDoesNotKnowTheProcessor) {
  const auto advice = [](const char* core, CpuFeatures cpu) { return examine_blas(core, cpu, with({})).advice; };
  EXPECT_THAT(advice("Prescott", kBfloat16), HasSubstr("set OPENBLAS_CORETYPE=Cooperlake"));
  EXPECT_THAT(advice("Haswell", kAvx512), HasSubstr("set OPENBLAS_CORETYPE=SkylakeX"));
  EXPECT_THAT(advice("Prescott", kAvx2), HasSubstr("set OPENBLAS_CORETYPE=Haswell"));
  const Finding none = examine_blas({}, kAvx2, with({}));
  EXPECT_EQ(none.state, State::kMissing);
  EXPECT_THAT(none.advice, HasSubstr("libopenblas0-pthread"));
}

TEST(Machine, WiderBlasCore) {
  EXPECT_EQ(wider_blas_core("Prescott", kBfloat16, with({})), "Cooperlake");
  EXPECT_EQ(wider_blas_core("Haswell", kAvx512, with({})), "SkylakeX");
  EXPECT_EQ(wider_blas_core("SkylakeX", kAvx512, with({})), std::nullopt);
  EXPECT_EQ(wider_blas_core("FutureLake", kAvx512, with({})), std::nullopt);
  EXPECT_EQ(wider_blas_core({}, kAvx512, with({})), std::nullopt);
  EXPECT_EQ(wider_blas_core("Haswell", kAvx512, with({{"OPENBLAS_CORETYPE", "Haswell"}})), std::nullopt);
}

TEST(Machine, ThreadSettings) {
  const Finding plain = examine_threads(2, with({}));
  EXPECT_EQ(plain.state, State::kOk);
  EXPECT_EQ(plain.detail, "2 cores");
  const Finding fine = examine_threads(4, with({{"OMP_NUM_THREADS", "4"}, {"OMP_WAIT_POLICY", "passive"}}));
  EXPECT_EQ(fine.state, State::kOk);
  EXPECT_EQ(fine.detail, "4 cores, OMP_NUM_THREADS=4, OMP_WAIT_POLICY=passive");
  const Finding many = examine_threads(1, with({{"OMP_NUM_THREADS", "8"}}));
  EXPECT_EQ(many.state, State::kWarn);
  EXPECT_THAT(many.advice, HasSubstr("OMP_NUM_THREADS is more than the 1 usable"));
  const Finding both = examine_threads(2, with({{"OPENBLAS_NUM_THREADS", "3"}, {"OMP_WAIT_POLICY", "ACTIVE"}}));
  EXPECT_EQ(both.state, State::kWarn);
  EXPECT_THAT(both.advice, AllOf(HasSubstr("OPENBLAS_NUM_THREADS is more"), HasSubstr("; OMP_WAIT_POLICY=active")));
}

TEST(Machine, FactsOfThisMachine) {
  const Machine machine = Machine::detect();
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  EXPECT_EQ(machine.cores, CPU_COUNT(&set));
  EXPECT_FALSE(machine.processor.empty());
  EXPECT_GT(machine.memory_total, machine.memory_free);
  EXPECT_GT(machine.memory_free, 0u);
  EXPECT_THAT(machine.system, HasSubstr("Linux"));
  EXPECT_THAT(machine.system, testing::Not(HasSubstr("\"")));
  EXPECT_THAT(machine.compiler, testing::ContainsRegex("(GCC|Clang) [0-9]+"));
  EXPECT_THAT(std::string(version()), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
}

TEST(Machine, BlasOfThisProcess) {
  void* library = dlopen("libopenblas.so.0", RTLD_LAZY | RTLD_LOCAL);
  if (!library) GTEST_SKIP() << "OpenBLAS is not installed";
  const auto core = Machine::detect().blas_core;
  ASSERT_TRUE(core.has_value());
  const auto name = reinterpret_cast<char* (*)()>(dlsym(library, "openblas_get_corename"));
  EXPECT_EQ(*core, name());
}

TEST(Machine, ExaminesEverything) {
  std::vector<std::string> seen;
  for (const Finding& finding : examine_machine()) {
    seen.push_back(finding.what);
    EXPECT_FALSE(finding.detail.empty()) << finding.what;
    EXPECT_EQ(finding.advice.empty(), finding.state == State::kOk) << finding.what;
    EXPECT_EQ((finding.detail + finding.advice).find('\n'), std::string::npos);
  }
  EXPECT_THAT(seen, testing::ElementsAre("Quanta", "system", "processor", "memory", "threads", "BLAS", "gnuplot"));
}

}  // namespace
}  // namespace quanta
