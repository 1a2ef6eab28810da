#include <fmt/format.h>
#include <sys/resource.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <numbers>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/cli/command.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/nn/quantum_layer.h"
#include "quanta/simulate/simulator.h"

namespace quanta::cli {
namespace {

struct Options {
  int qubits = 8;
  int layers = 4;
  int64_t batch = 64;
  std::string precision = "float";
  double seconds = 1;
  bool json = false;
};

/// RY(input) on every qubit, then layers of [RX, RY, RZ with weights on every qubit; ring of CNOTs].
Circuit bench_circuit(int qubits, int layers) {
  Circuit circuit(qubits);
  for (int q = 0; q < qubits; ++q) circuit.ry(q, input(q));
  for (int layer = 0; layer < layers; ++layer) {
    for (int q = 0; q < qubits; ++q) circuit.rx(q, weight()).ry(q, weight()).rz(q, weight());
    circuit.cnot_ring();
  }
  return circuit;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + 1e-6 * double(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + int64_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Timing {
  double wall = 0;  // seconds a call, median over the repeats
  double cpu = 0;   // of all threads, likewise
  int repeats = 0;
};

/// Nine repeats, each of as many calls as fill a ninth of the time asked for; a neighbour's burst spoils a few at most.
template <class Call>
Timing measure(double seconds, const Call& call) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  constexpr int kRepeats = 9;
  auto start = Clock::now();
  call();  // memory is touched for the first time
  int64_t calls = 0;
  start = Clock::now();
  do {
    call();
    ++calls;
  } while (since(start) < seconds / 20);
  const double once = since(start) / double(calls);
  // A call that lasts longer than the whole time asked for is measured three times.
  const int repeats = once > seconds / 3 ? 3 : kRepeats;
  calls = std::max<int64_t>(1, int64_t(seconds / repeats / once));
  std::vector<double> wall, cpu;
  for (int r = 0; r < repeats; ++r) {
    const double cpu_start = cpu_seconds();
    start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) call();
    wall.push_back(since(start) / double(calls));
    cpu.push_back((cpu_seconds() - cpu_start) / double(calls));
  }
  return {median(wall), median(cpu), repeats};
}

template <class Real>
std::vector<Real> angles(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<Real> values(static_cast<size_t>(count));
  for (Real& value : values) value = Real(random.uniform(0, 2 * std::numbers::pi));
  return values;
}

template <class Real>
Timing time_gradient(const Options& options) {
  const Circuit circuit = bench_circuit(options.qubits, options.layers);
  const Simulator<Real> simulator(circuit, {sum_of('Z', options.qubits)});
  const int64_t batch = options.batch;
  const auto weights = angles<Real>(circuit.weights(), 1);
  const auto inputs = angles<Real>(batch * circuit.inputs(), 2);
  const std::vector<Real> upstream(size_t(batch), Real(1));
  std::vector<Real> values(upstream.size()), dweights(weights.size()), dinputs(inputs.size());
  return measure(options.seconds, [&] {
    simulator.vjp(batch, weights.data(), inputs.data(), upstream.data(), dweights.data(), dinputs.data(),
                  values.data());
  });
}

Timing time_layer(const Options& options) {
  const auto type = options.precision == "double" ? torch::kFloat64 : torch::kFloat32;
  QuantumLayer layer(bench_circuit(options.qubits, options.layers), std::vector<PauliSum>{sum_of('Z', options.qubits)});
  layer->to(type);
  const auto numbers = angles<double>(options.batch * options.qubits, 2);
  auto inputs = torch::tensor(numbers, torch::kFloat64).to(type).view({options.batch, options.qubits});
  inputs.requires_grad_(true);
  return measure(options.seconds, [&] {
    layer->zero_grad();
    inputs.mutable_grad() = torch::Tensor();
    layer->forward(inputs).sum().backward();
  });
}

struct StateTiming : Timing {
  double bytes = 0;  // moved through memory a call; 0: the state stays in the cache
};

template <class Real>
StateTiming time_state(const Options& options) {
  const Circuit circuit = bench_circuit(options.qubits, options.layers);
  const Simulator<Real> simulator(circuit);
  const auto weights = angles<Real>(circuit.weights(), 1);
  const auto inputs = angles<Real>(circuit.inputs(), 2);
  std::vector<std::complex<Real>> state(size_t(1) << options.qubits);
  return {measure(options.seconds, [&] { simulator.states(1, weights.data(), inputs.data(), state.data()); }),
          double(simulator.state_traffic())};
}

Timing gradient(const Options& options) {
  return options.precision == "double" ? time_gradient<double>(options) : time_gradient<float>(options);
}

StateTiming state(const Options& options) {
  return options.precision == "double" ? time_state<double>(options) : time_state<float>(options);
}

void report_per_sample(const char* what, const Options& options, const Timing& timing) {
  const double wall = 1e6 * timing.wall / double(options.batch);
  const double cpu = 1e6 * timing.cpu / double(options.batch);
  if (options.json) {
    print_json({{"bench", what},
                {"microseconds_per_sample", wall},
                {"cpu_microseconds_per_sample", cpu},
                {"qubits", options.qubits},
                {"layers", options.layers},
                {"batch", options.batch},
                {"threads", threads()},
                {"precision", options.precision},
                {"repeats", timing.repeats}});
  } else {
    print(
        fmt::format("{}: {} qubits, {} layers, batch {}, {} threads, {}: {:.3f} us a sample ({:.3f} us of CPU time)\n",
                    what, options.qubits, options.layers, options.batch, threads(), options.precision, wall, cpu));
  }
}

void report_state(const Options& options, const StateTiming& timing) {
  const double rate = timing.bytes / timing.wall;
  if (options.json) {
    print_json({{"bench", "state"},
                {"seconds", timing.wall},
                {"cpu_seconds", timing.cpu},
                {"bytes_per_second", rate},
                {"qubits", options.qubits},
                {"layers", options.layers},
                {"threads", threads()},
                {"precision", options.precision},
                {"repeats", timing.repeats}});
  } else {
    print(fmt::format("state: {} qubits, {} layers, {} threads, {}: {:.4f} s ({:.4f} s of CPU time), {:.1f} GB/s\n",
                      options.qubits, options.layers, threads(), options.precision, timing.wall, timing.cpu,
                      1e-9 * rate));
  }
}

void add_common(CLI::App& command, Options& options, int max_qubits) {
  command.add_option("--qubits", options.qubits, "Qubits")->check(CLI::Range(1, max_qubits))->capture_default_str();
  command.add_option("--layers", options.layers, "Layers of rotations and CNOTs")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command.add_option("--precision", options.precision, "float or double")
      ->check(CLI::IsMember({"float", "double"}))
      ->capture_default_str();
  command.add_option("--seconds", options.seconds, "How long to measure, about")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  command.add_flag("--json", options.json, "Print one JSON object");
  add_threads_option(command);
}

/// The figures a newcomer wants to see, in half a minute.
void overview() {
  const int all = threads();
  print("Forward and gradient of all weights and inputs, 4 layers, batch 64, float, microseconds a sample\n");
  print(fmt::format("{:>8}{:>14}{:>14}{:>16}\n", "qubits", "1 thread", fmt::format("{} threads", all),
                    "QuantumLayer, 1"));
  for (const int qubits : {4, 6, 8, 10, 12}) {
    Options options{.qubits = qubits};
    const auto per_sample = [&](const Timing& timing) { return 1e6 * timing.wall / double(options.batch); };
    set_threads(all);
    const double many = per_sample(gradient(options));
    set_threads(1);
    const double one = per_sample(gradient(options));
    print(fmt::format("{:>8}{:>14.3f}{:>14.3f}{:>16.3f}\n", qubits, one, many, per_sample(time_layer(options))));
  }
  set_threads(all);
  print(fmt::format("\nState of the same circuit, float, {} threads\n{:>8}{:>14}{:>14}\n", all, "qubits", "seconds",
                    "GB/s moved"));
  for (const int qubits : {16, 20, 24}) {
    const StateTiming timing = state({.qubits = qubits});
    print(fmt::format("{:>8}{:>14.4f}{:>14.1f}\n", qubits, timing.wall, 1e-9 * timing.bytes / timing.wall));
  }
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  auto* bench = app.add_subcommand("bench", "This machine's figures; without a name, the usual ones in a table");
  bench->require_subcommand(0, 1);
  add_threads_option(*bench);

  const auto add = [&](const char* name, const char* summary, bool batched, int max_qubits, auto action) {
    auto* command = bench->add_subcommand(name, summary);
    const auto options = std::make_shared<Options>();
    add_common(*command, *options, max_qubits);
    if (batched)
      command->add_option("--batch", options->batch, "Samples a call")
          ->check(CLI::Range(1, 1 << 20))
          ->capture_default_str();
    command->callback([options, action] { action(*options); });
  };
  add("gradient", "Forward and gradient of all weights and inputs, through the simulator", true, 24,
      [](const Options& options) { report_per_sample("gradient", options, gradient(options)); });
  add("layer", "The same through QuantumLayer, forward and backward", true, 24,
      [](const Options& options) { report_per_sample("layer", options, time_layer(options)); });
  add("state", "One state vector of the same circuit", false, 32,
      [](const Options& options) { report_state(options, state(options)); });
  bench->callback([bench, &status] {
    if (bench->get_subcommands().empty()) overview();
    status = kDone;
  });
}

}  // namespace quanta::cli
