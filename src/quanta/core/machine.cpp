#include "quanta/core/machine.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "quanta/core/process.h"

namespace quanta {
namespace {

// The value of "key : value" or "key=value" in a file of such lines.
std::string line_of(const char* path, std::string_view key, char separator) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const size_t at = line.find(separator);
    if (at == line.npos || line.compare(0, line.find_last_not_of(" \t", at - 1) + 1, key) != 0) continue;
    const size_t begin = line.find_first_not_of(" \t\"", at + 1);
    if (begin != line.npos) return line.substr(begin, line.find_last_not_of(" \t\"") - begin + 1);
  }
  return "";
}

uint64_t memory_bytes(std::string_view key) {
  uint64_t kibibytes = 0;
  const std::string text = line_of("/proc/meminfo", key, ':');
  std::from_chars(text.data(), text.data() + text.size(), kibibytes);
  return kibibytes << 10;
}

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::max(1, int(std::thread::hardware_concurrency()));
}

std::vector<std::string> simd_features() {
  std::vector<std::string> result;
#if defined(__x86_64__)
  __builtin_cpu_init();
#define QUANTA_FEATURE(name) \
  if (__builtin_cpu_supports(name)) result.push_back(name)
  QUANTA_FEATURE("sse4.2");
  QUANTA_FEATURE("avx");
  QUANTA_FEATURE("f16c");
  QUANTA_FEATURE("fma");
  QUANTA_FEATURE("avx2");
  QUANTA_FEATURE("avx512f");
  QUANTA_FEATURE("avx512bw");
  QUANTA_FEATURE("avx512dq");
  QUANTA_FEATURE("avx512vl");
  QUANTA_FEATURE("avx512vnni");
  QUANTA_FEATURE("avx512bf16");
#undef QUANTA_FEATURE
#elif defined(__aarch64__)
  result.push_back("neon");
#endif
  return result;
}

// A function of the OpenBLAS that is in use; null if there is none.
template <class Function>
Function* openblas(const char* name) {
  void* symbol = dlsym(RTLD_DEFAULT, name);
  if (!symbol) {  // loaded for another library only
    void* library = dlopen("libopenblas.so.0", RTLD_NOLOAD | RTLD_LAZY);
    if (library) {
      symbol = dlsym(library, name);
      dlclose(library);
    }
  }
  return reinterpret_cast<Function*>(symbol);
}

std::optional<std::string> openblas_core() {
  const auto corename = openblas<char*()>("openblas_get_corename");
  if (!corename) return std::nullopt;
  return corename();
}

// Width of the kernels of an OpenBLAS core type for x86: 3 AVX-512, 2 AVX2, 1 less, 0 not known here.
int kernel_width(std::string_view core) {
  static const std::vector<std::vector<std::string_view>> kCores = {
      {"Prescott",     "Core2",     "Penryn",      "Dunnington", "Nehalem",    "Athlon",     "Opteron",
       "Opteron_SSE3", "Barcelona", "Bobcat",      "Atom",       "Nano",       "Katmai",     "Coppermine",
       "Northwood",    "Banias",    "Sandybridge", "Bulldozer",  "Piledriver", "Steamroller"},
      {"Haswell", "Zen", "Excavator"},
      {"SkylakeX", "Cooperlake", "SapphireRapids"}};
  const auto equal = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
  for (size_t width = 0; width < kCores.size(); ++width)
    for (const auto known : kCores[width])
      if (std::ranges::equal(core, known, equal)) return int(width) + 1;
  return 0;
}

std::string gibibytes(uint64_t bytes) {
  return fmt::format("{:.1f} GiB", double(bytes) / double(1 << 30));
}

}  // namespace

std::string_view version() {
  return QUANTA_VERSION;
}

CpuFeatures CpuFeatures::detect() {
  const auto simd = simd_features();
  const auto has = [&](std::string_view name) { return std::ranges::find(simd, name) != simd.end(); };
  return {.avx2 = has("avx2") && has("fma"),
          .avx512 = has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl"),
          .bfloat16 = has("avx512bf16")};
}

Machine Machine::detect() {
  utsname kernel{};
  uname(&kernel);
  Machine machine;
  machine.processor = line_of("/proc/cpuinfo", "model name", ':');
  if (machine.processor.empty()) machine.processor = kernel.machine;
  machine.cores = usable_cores();
  machine.memory_total = memory_bytes("MemTotal");
  machine.memory_free = memory_bytes("MemAvailable");
  machine.simd = simd_features();
  const std::string distribution = line_of("/etc/os-release", "PRETTY_NAME", '=');
  machine.system =
      fmt::format("{}{}{} {}", distribution, distribution.empty() ? "" : ", ", kernel.sysname, kernel.release);
#if defined(__clang__)
  machine.compiler = __VERSION__;  // begins with the name
#else
  machine.compiler = "GCC " __VERSION__;
#endif
  machine.blas_core = openblas_core();
  return machine;
}

Finding examine_blas(const std::optional<std::string>& core, const CpuFeatures& cpu, const Environment& environment) {
  using enum Finding::State;
  if (!core)
    return {kMissing, "BLAS", "OpenBLAS is not loaded: matrix products may be many times slower",
            "apt-get install libopenblas0-pthread, and choose it with update-alternatives --config "
            "libblas.so.3-x86_64-linux-gnu"};
  Finding finding{kOk, "BLAS", fmt::format("OpenBLAS with kernels for {}", *core), ""};
  const int width = kernel_width(*core);
  const int possible = cpu.avx512 ? 3 : cpu.avx2 ? 2 : 1;
  if (width == 0 || width >= possible) return finding;

  finding.state = kWarn;
  finding.detail += fmt::format(", though this processor has {}: matrix products take up to {} times as long",
                                cpu.avx512 ? "AVX-512" : "AVX2", width == 1 && cpu.avx512 ? 4 : 2);
  if (const char* held = environment("OPENBLAS_CORETYPE"); held && *held)
    finding.advice = fmt::format("unset OPENBLAS_CORETYPE (it is {})", held);
  else
    finding.advice = fmt::format("OpenBLAS does not know this processor: set OPENBLAS_CORETYPE={}",
                                 wider_blas_core(core, cpu, environment).value());
  return finding;
}

std::optional<std::string> wider_blas_core(const std::optional<std::string>& core, const CpuFeatures& cpu,
                                           const Environment& environment) {
  const char* chosen = environment("OPENBLAS_CORETYPE");
  const int width = core ? kernel_width(*core) : 0;
  const int possible = cpu.avx512 ? 3 : cpu.avx2 ? 2 : 1;
  if ((chosen && *chosen) || width == 0 || width >= possible) return std::nullopt;
  return cpu.bfloat16 ? "Cooperlake" : cpu.avx512 ? "SkylakeX" : "Haswell";
}

bool choose_blas_core() {
  const auto core = wider_blas_core(openblas_core(), CpuFeatures::detect(), std::getenv);
  return core && setenv("OPENBLAS_CORETYPE", core->c_str(), 1) == 0;
}

SingleThreadedBlas::SingleThreadedBlas() {
  const auto get = openblas<int()>("openblas_get_num_threads");
  const auto set = openblas<void(int)>("openblas_set_num_threads");
  if (!get || !set) return;
  threads_ = get();
  set(1);
}

SingleThreadedBlas::~SingleThreadedBlas() {
  if (threads_ > 0) openblas<void(int)>("openblas_set_num_threads")(threads_);
}

Finding examine_threads(int cores, const Environment& environment) {
  using enum Finding::State;
  std::string settings;
  for (const char* name : {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC",
                           "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"})
    if (const char* value = environment(name)) settings += fmt::format(", {}={}", name, value);
  Finding finding{kOk, "threads", fmt::format("{} core{}{}", cores, cores == 1 ? "" : "s", settings), ""};
  const auto warn = [&](std::string advice) {
    finding.state = kWarn;
    finding.advice += (finding.advice.empty() ? "" : "; ") + std::move(advice);
  };

  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"})
    if (const char* value = environment(name); value && std::atoi(value) > cores)
      warn(fmt::format("{} is more than the {} usable: threads will wait for each other; lower or unset it", name,
                       cores));
  if (const char* policy = environment("OMP_WAIT_POLICY"); policy && (policy[0] | 0x20) == 'a')
    warn("OMP_WAIT_POLICY=active lets waiting threads spin without end: slow beside any other program; unset it");
  return finding;
}

std::vector<Finding> examine_machine() {
  using enum Finding::State;
  const Environment environment = [](const char* name) { return std::getenv(name); };
  const Machine machine = Machine::detect();
  const CpuFeatures cpu = CpuFeatures::detect();
  std::vector<Finding> findings;
  findings.push_back({kOk, "Quanta", fmt::format("{}, built by {}", version(), machine.compiler), ""});
  findings.push_back({kOk, "system", machine.system, ""});
  findings.push_back({kOk, "processor", fmt::format("{} ({})", machine.processor, fmt::join(machine.simd, " ")), ""});
#if defined(__x86_64__)
  if (!cpu.avx2) {
    findings.back().state = kWarn;
    findings.back().advice = "without AVX2 the kernels run several times slower; nothing to mend in software";
  }
#endif
  constexpr uint64_t kEnough = uint64_t{2} << 30;
  Finding memory{kOk, "memory",
                 fmt::format("{}, {} free", gibibytes(machine.memory_total), gibibytes(machine.memory_free)), ""};
  if (machine.memory_free < kEnough) {
    memory.state = kWarn;
    memory.advice = "less than 2 GiB free: stop other programs, or lower the batch size";
  }
  findings.push_back(memory);
  findings.push_back(examine_threads(machine.cores, environment));
  findings.push_back(examine_blas(machine.blas_core, cpu, environment));
  if (const auto gnuplot = find_program("gnuplot"))
    findings.push_back({kOk, "gnuplot", gnuplot->string(), ""});
  else
    findings.push_back({kMissing, "gnuplot", "reports will have no curves", "apt-get install gnuplot-nox"});
  return findings;
}

}  // namespace quanta
