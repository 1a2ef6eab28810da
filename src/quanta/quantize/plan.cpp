#include "quanta/quantize/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/activation_store.h"

namespace quanta {
namespace {

constexpr int64_t kFloat = sizeof(float);
/// The program with LibTorch and its buffers before any work.
constexpr int64_t kProgram = 300 << 20;

int64_t block_values(const LanguageConfig& config) {
  int64_t values = 2 * config.width;
  for (const auto& stage : linear_shapes(config))
    for (const LinearShape& layer : stage) values += layer.in * layer.out;
  return values;
}

int64_t ends_values(const LanguageConfig& config) {
  return (config.tied ? 1 : 2) * config.vocabulary * config.width;
}

/// What a sequence needs on its way through a block: its hidden states, the inputs of the layers, keys, values.
int64_t sequence_bytes(const LanguageConfig& config, int64_t length) {
  return kFloat * length * (6 * config.width + 4 * config.inner + config.heads * std::min<int64_t>(length, 256));
}

// Multiply-adds a second of one core.
double product_rate() {
  const SingleThreadedBlas single;
  const torch::NoGradGuard no_grad;
  const torch::Tensor a = torch::ones({512, 512}), b = torch::ones({512, 512});
  double best = 0;
  torch::mm(a, b);
  for (int i = 0; i < 8; ++i) {
    const auto start = std::chrono::steady_clock::now();
    torch::mm(a, b);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 512.0 * 512 * 512 / seconds);
  }
  return best;
}

std::string kernel_name(int bits) {
  return fmt::format("{}-bit codes, float activations (packed)", bits);
}

double gigabytes(int64_t bytes) {
  return double(bytes) / 1e9;
}

std::string size_text(int64_t bytes) {
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", double(bytes) / 1e3);
  return bytes >= 100'000'000 ? fmt::format("{:.2f} GB", gigabytes(bytes))
                              : fmt::format("{:.2f} MB", double(bytes) / 1e6);
}

}  // namespace

Plan make_plan(const PlanRequest& request, const BlockMethod& method) {
  const LanguageConfig& config = request.config;
  Plan plan;
  std::map<std::string, std::vector<std::string>> refused;  // why -> the layers
  const auto refuse = [&](const std::string& why, const std::string& layer) { refused[why].push_back(layer); };
  try {
    method.check(config);
  } catch (const Error& error) {
    plan.refusals.push_back(error.what());
  }
  for (const auto& stage : linear_shapes(config))
    for (const auto& [path, columns, rows, bias] : stage) {
      const int64_t group = request.group < 0 ? columns : request.group;
      PlanLayer layer{.name = "layers.*." + path,
                      .count = config.layers,
                      .rows = rows,
                      .columns = columns,
                      .kernel = kernel_name(request.bits)};
      const int64_t packed = 32 / std::gcd(32, request.bits);  // codes that fill whole words
      if (columns % group)
        refuse(fmt::format("groups of {} do not divide {} inputs: choose {} or -1 (the whole row)", group, columns,
                           std::gcd(columns, group)),
               path);
      if (!request.gguf && (columns % packed || rows % packed))
        refuse(fmt::format("{}-bit codes are packed by {} both ways: choose 4 or 8 bits", request.bits, packed), path);
      const int64_t scales = rows * (columns / std::max<int64_t>(1, group));
      layer.bytes = config.layers * (rows * columns * request.bits / 8 + scales * 2 + scales * request.bits / 8);
      plan.layers.push_back(layer);
    }
  for (const auto& [why, paths] : refused) plan.refusals.push_back(fmt::format("{} ({})", why, fmt::join(paths, ", ")));
  const auto in_float = [&](std::string name, int64_t rows, int64_t columns, std::string reason) {
    plan.layers.push_back({.name = std::move(name),
                           .rows = rows,
                           .columns = columns,
                           .kernel = "float",
                           .reason = std::move(reason),
                           .bytes = rows * columns * request.weight_bytes});
  };
  in_float("embedding", config.vocabulary, config.width, "looked up, not multiplied");
  if (!config.tied) in_float("head", config.vocabulary, config.width, "its errors go straight into the probabilities");
  in_float("norms", 2 * config.layers + 1, config.width, "no matrices");
  for (const PlanLayer& layer : plan.layers) plan.result += layer.bytes;

  const bool data = request.sequences > 0;
  const int64_t ends = kFloat * ends_values(config), block = kFloat * block_values(config) * method.group();
  const int64_t flight = data ? threads() * sequence_bytes(config, request.length) : 0;
  const int64_t wanted = data ? method.memory(config) : 0, least = data ? method.least_memory(config) : 0;
  const int64_t workspace = data ? std::min(method.workspace(config), least) : 0,
                spare = std::max<int64_t>(0, flight - workspace);
  const int64_t fixed = kProgram + block + spare;
  const int64_t ram = request.ram ? request.ram : sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
  plan.statistics = std::clamp(ram - fixed, least, std::max(least, wanted));
  plan.memory = std::max(kProgram + ends + flight, fixed + plan.statistics);
  if (plan.memory > ram)
    plan.refusals.push_back(fmt::format("{} of memory are needed and {} are {}: use shorter sequences or fewer threads",
                                        size_text(plan.memory), size_text(ram),
                                        request.ram ? "allowed (--ram)" : "free"));
  if (data) {
    const int64_t hidden = ActivationStore::bytes(request.sequences, request.length, config.width);
    plan.disk = 2 * hidden * (method.needs_float_inputs() ? 2 : 1);
    if (request.length > config.positions)
      plan.refusals.push_back(fmt::format("sequences of {} tokens are longer than the model's {} positions",
                                          request.length, config.positions));
  }
  // The blocks lie in the work folder before they are put together.
  const int64_t needed = plan.disk + 2 * plan.result;
  std::filesystem::path folder = std::filesystem::absolute(request.out);
  while (!std::filesystem::exists(folder)) folder = folder.parent_path();
  const auto available = int64_t(std::filesystem::space(folder).available);
  if (needed > available)
    plan.refusals.push_back(fmt::format("{} of disk are needed and {} are free in {}", size_text(needed),
                                        size_text(available), folder.string()));

  const double tokens = double(request.sequences * request.length);
  const double forward =
      tokens * (double(block_values(config)) + double(config.heads * config.head_dim) * double(request.length));
  plan.seconds = double(config.layers) * (2 * forward + method.operations(config, int64_t(tokens))) / product_rate();
  return plan;
}

nlohmann::ordered_json Plan::to_json() const {
  auto all = nlohmann::ordered_json::array();
  for (const PlanLayer& layer : layers)
    all.push_back({{"name", layer.name},
                   {"count", layer.count},
                   {"rows", layer.rows},
                   {"columns", layer.columns},
                   {"kernel", layer.kernel},
                   {"reason", layer.reason},
                   {"bytes", layer.bytes}});
  return {{"layers", all},       {"memory_bytes", memory}, {"statistics_bytes", statistics},
          {"disk_bytes", disk},  {"result_bytes", result}, {"cpu_seconds", seconds},
          {"refusals", refusals}};
}

std::string to_text(const Plan& plan) {
  std::string text = fmt::format("{:<34} {:>5} {:>14} {:>11}  {}\n", "layers", "count", "shape", "size", "runs as");
  for (const PlanLayer& layer : plan.layers)
    text += fmt::format("{:<34} {:>5} {:>14} {:>11}  {}{}\n", layer.name, layer.count,
                        fmt::format("{} x {}", layer.rows, layer.columns), size_text(layer.bytes), layer.kernel,
                        layer.reason.empty() ? "" : " (" + layer.reason + ")");
  text += fmt::format(
      "memory at the peak  {}\ndisk while at work  {}\nresult              {}\nprocessor time      {}\n",
      size_text(plan.memory), size_text(plan.disk + plan.result), size_text(plan.result),
      plan.seconds < 100 ? fmt::format("{:.1f} s", plan.seconds) : fmt::format("{:.1f} min", plan.seconds / 60));
  for (const std::string& refusal : plan.refusals) text += "cannot be done: " + refusal + "\n";
  return text;
}

}  // namespace quanta
