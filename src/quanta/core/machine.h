#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// Quanta's version, "0.1.0".
std::string_view version();

/// Instruction sets that decide which kernels run; as the processor and the operating system allow.
struct CpuFeatures {
  bool avx2 = false;      // with FMA
  bool avx512 = false;    // F, BW, DQ, VL
  bool bfloat16 = false;  // AVX512-BF16

  static CpuFeatures detect();
};

/// Facts about where a run took place, for `quanta doctor` and the page of a run.
struct Machine {
  std::string processor;                 // "AMD EPYC 9654 96-Core Processor"
  int cores;                             // that this process may run on
  uint64_t memory_total, memory_free;    // bytes; free: what new programs could take without swapping
  std::vector<std::string> simd;         // "sse4.2", "avx2", ...
  std::string system;                    // "Debian GNU/Linux 12 (bookworm), Linux 6.1.0"
  std::string compiler;                  // that built this library
  std::optional<std::string> blas_core;  // the core type whose kernels OpenBLAS uses; none if it is not loaded

  static Machine detect();
};

struct Finding {
  enum class State { kOk, kWarn, kMissing };
  State state;
  std::string what;    // "BLAS"
  std::string detail;  // "OpenBLAS with kernels for SkylakeX"
  std::string advice;  // what to do; empty if all is well
};

/// The value of an environment variable, nullptr if unset: std::getenv, or a test's own.
using Environment = std::function<const char*(const char*)>;

/// Whether OpenBLAS uses kernels as wide as the processor allows. It can be held back by OPENBLAS_CORETYPE, or not know
/// a newer processor.
Finding examine_blas(const std::optional<std::string>& core, const CpuFeatures& cpu, const Environment& environment);

/// The core type whose kernels this processor could run though OpenBLAS, which does not know it, took narrower ones
/// (seven times as slow a matrix product); none if all is well or the user has chosen.
std::optional<std::string> wider_blas_core(const std::optional<std::string>& core, const CpuFeatures& cpu,
                                           const Environment& environment);

/// Names that core type in OPENBLAS_CORETYPE, which OpenBLAS reads when it is loaded: restart the program (process.h)
/// if this is true. False if nothing is to be gained.
bool choose_blas_core();

/// While it lives, OpenBLAS computes with one thread, in the whole program: for loops that run products on threads of
/// their own, whose results then do not depend on how OpenBLAS would have split them.
class SingleThreadedBlas {
 public:
  SingleThreadedBlas();
  ~SingleThreadedBlas();
  SingleThreadedBlas(const SingleThreadedBlas&) = delete;
  SingleThreadedBlas& operator=(const SingleThreadedBlas&) = delete;

 private:
  int threads_ = 0;  // before; 0: no OpenBLAS
};

/// Whether OpenMP's settings suit a machine with so many cores.
Finding examine_threads(int cores, const Environment& environment);

/// All there is to say about this machine, in the order to print.
std::vector<Finding> examine_machine();

}  // namespace quanta
