// The adjoint procedure of TensorFlow Quantum on qsim's primitives, for run.py --native qsim_adjoint=...:
//   g++ -std=c++17 -O3 -march=native -fopenmp -I QSIM qsim_adjoint.cpp -o qsim_adjoint      (QSIM: qsim's checkout)
//   qsim_adjoint gradient QUBITS BATCH THREADS SECONDS
// Forward with fused gates; then, gate by gate from the end, both states are taken back, the derivative's matrix is applied
// to a copy and its inner product taken.

#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "lib/formux.h"
#include "lib/fuser_mqubit.h"
#include "lib/gate_appl.h"
#include "lib/gates_qsim.h"
#include "lib/io.h"
#include "lib/operation.h"
#include "lib/run_qsim.h"
#include "lib/simmux.h"

using Simulator = qsim::Simulator<qsim::For>;
using StateSpace = Simulator::StateSpace;
using Fuser = qsim::MultiQubitGateFuser<qsim::IO>;
using Gate = qsim::Gate<float>;

struct Step {
  Gate gate;
  char axis;  // of a rotation, 0 for a CNOT
  unsigned qubit;
  float angle;
};

std::vector<Step> layered(unsigned n) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> angle(0, 6.28318f);
  std::vector<Step> steps;
  unsigned time = 0;
  const auto rotation = [&](char axis, unsigned q) {
    const float a = angle(random);
    steps.push_back({axis == 'X'   ? qsim::GateRX<float>::Create(time++, q, a)
                     : axis == 'Y' ? qsim::GateRY<float>::Create(time++, q, a)
                                   : qsim::GateRZ<float>::Create(time++, q, a),
                     axis, q, a});
  };
  for (unsigned q = 0; q < n; ++q) rotation('Y', q);
  for (int layer = 0; layer < 4; ++layer) {
    for (unsigned q = 0; q < n; ++q)
      for (const char axis : {'X', 'Y', 'Z'}) rotation(axis, q);
    for (unsigned q = 0; q < n; ++q)
      steps.push_back({qsim::GateCNot<float>::Create(time++, q, (q + 1) % n), 0, 0, 0});
  }
  return steps;
}

// d/da of exp(-i a/2 P), row by row, re and im.
std::array<float, 8> derivative(char axis, float a) {
  const float c = 0.5f * std::cos(a / 2), s = 0.5f * std::sin(a / 2);
  if (axis == 'X') return {-s, 0, 0, -c, 0, -c, -s, 0};
  if (axis == 'Y') return {-s, 0, -c, 0, c, 0, -s, 0};
  return {-s, -c, 0, 0, 0, 0, -s, c};
}

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

int main(int argc, char** argv) {
  if (argc != 6 || std::string(argv[1]) != "gradient") {
    std::puts("{\"refused\": \"gradients only\"}");
    return 0;
  }
  const auto n = unsigned(std::atoi(argv[2])), threads = unsigned(std::atoi(argv[4]));
  const int batch = std::atoi(argv[3]);
  const std::vector<Step> steps = layered(n);
  std::vector<qsim::Operation<float>> gates;
  for (const Step& step : steps) gates.push_back(step.gate);
  Fuser::Parameter fusion;
  fusion.max_fused_size = 3;
  const auto fused = Fuser::FuseGates(fusion, n, gates);

  const Simulator simulator(threads);
  const StateSpace space(threads);
  auto psi = space.Create(n), lambda = space.Create(n), copy = space.Create(n);
  std::vector<double> gradient(steps.size());
  double value = 0;
  const Gate z = qsim::GateZ<float>::Create(0, 0);
  const auto run = [&] {
    space.SetStateZero(psi);
    for (const auto& gate : fused) qsim::ApplyGate(simulator, gate, psi);
    // lambda = sum Z psi
    space.SetAllZeros(lambda);
    for (unsigned q = 0; q < n; ++q) {
      space.Copy(psi, copy);
      simulator.ApplyGate({q}, z.matrix.data(), copy);
      space.Add(copy, lambda);
    }
    value = space.RealInnerProduct(psi, lambda);
    for (size_t k = steps.size(); k-- > 0;) {
      const Step& step = steps[k];
      qsim::ApplyGateDagger(simulator, step.gate, psi);
      if (step.axis) {
        space.Copy(psi, copy);
        const auto matrix = derivative(step.axis, step.angle);
        simulator.ApplyGate({step.qubit}, matrix.data(), copy);
        gradient[k] = 2 * space.RealInnerProduct(lambda, copy);
      }
      qsim::ApplyGateDagger(simulator, step.gate, lambda);
    }
  };
  run();
  std::vector<double> cpu, wall;
  const auto begin = std::chrono::steady_clock::now();
  const auto since = [](auto t) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count(); };
  while (cpu.size() < 3 || (since(begin) < std::atof(argv[5]) && cpu.size() < 200)) {
    const double c = cpu_seconds();
    const auto w = std::chrono::steady_clock::now();
    for (int b = 0; b < std::min(batch, 4); ++b) run();
    cpu.push_back((cpu_seconds() - c) / std::min(batch, 4));
    wall.push_back(since(w) / std::min(batch, 4));
  }
  const auto median = [](std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  std::printf("{\"peer\": \"qsim_adjoint\", \"case\": \"gradient\", \"qubits\": %u, \"cpu\": %.9g, \"wall\": %.9g}\n", n,
              median(cpu), median(wall));
}
