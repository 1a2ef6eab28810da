// qsim's simulator through its C++ interface; gradients by the adjoint procedure of TensorFlow Quantum on qsim's
// primitives: forward with fused gates; then, gate by gate from the end, both states are taken back, the derivative's
// matrix is applied to a copy and its inner product taken.

#include <array>
#include <memory>

#include "lib/formux.h"
#include "lib/fuser_mqubit.h"
#include "lib/gate_appl.h"
#include "lib/gates_qsim.h"
#include "lib/io.h"
#include "lib/simmux.h"
#include "native.h"

using Simulator = qsim::Simulator<qsim::For>;
using StateSpace = Simulator::StateSpace;
using Fuser = qsim::MultiQubitGateFuser<qsim::IO>;
using Gate = qsim::Gate<float>;

Gate gate_of(const Step& step, unsigned time) {
  const auto first = unsigned(step.first), second = unsigned(step.second);
  const auto angle = float(step.angle);
  if (step.name == "RX") return qsim::GateRX<float>::Create(time, first, angle);
  if (step.name == "RY") return qsim::GateRY<float>::Create(time, first, angle);
  if (step.name == "RZ") return qsim::GateRZ<float>::Create(time, first, angle);
  if (step.name == "H") return qsim::GateHd<float>::Create(time, first);
  if (step.name == "CX") return qsim::GateCNot<float>::Create(time, first, second);
  if (step.name == "CP") return qsim::GateCP<float>::Create(time, first, second, -angle);  // the other way round
  return qsim::GateSwap<float>::Create(time, first, second);
}

// d/da of exp(-i a/2 P), row by row, re and im.
std::array<float, 8> derivative(const Step& step) {
  const auto c = float(0.5 * std::cos(step.angle / 2)), s = float(0.5 * std::sin(step.angle / 2));
  if (step.name == "RX") return {-s, 0, 0, -c, 0, -c, -s, 0};
  if (step.name == "RY") return {-s, 0, -c, 0, c, 0, -s, 0};
  return {-s, -c, 0, 0, 0, 0, -s, c};
}

struct Qsim {
  std::string name;
  unsigned n;
  std::vector<Step> steps;
  std::vector<Gate> gates;
  std::vector<qsim::Operation<float>> operations;
  decltype(Fuser::FuseGates({}, 0, operations)) fused;
  Simulator simulator;
  StateSpace space;
  StateSpace::State psi = space.Null(), lambda = space.Null(), copy = space.Null();
  std::vector<uint64_t> drawn;
  std::vector<double> gradient;

  Qsim(const Request& request, unsigned threads)
      : name(request.name), n(unsigned(request.qubits)), steps(request.steps()), simulator(threads), space(threads) {
    for (const Step& step : steps) gates.push_back(gate_of(step, unsigned(gates.size())));
    operations.assign(gates.begin(), gates.end());
    Fuser::Parameter fusion;
    fusion.max_fused_size = 3;  // the fastest here
    fused = Fuser::FuseGates(fusion, n, operations);
    psi = space.Create(n);
    if (differentiates()) lambda = space.Create(n), copy = space.Create(n);
  }

  bool differentiates() const { return name == "gradient" || name == "vjp"; }

  void run() {
    space.SetStateZero(psi);
    for (const auto& gate : fused) qsim::ApplyGate(simulator, gate, psi);
    if (name == "samples") drawn = space.Sample(psi, shots, 3);
    if (differentiates()) sweep();
  }

  void sweep() {
    const Gate z = qsim::GateZ<float>::Create(0, 0);
    space.SetAllZeros(lambda);
    for (unsigned q = 0; q < n; ++q) {
      space.Copy(psi, copy);
      simulator.ApplyGate({q}, z.matrix.data(), copy);
      space.Multiply(float(upstream(name, int(q))), copy);
      space.Add(copy, lambda);
    }
    gradient.clear();
    for (size_t k = steps.size(); k-- > 0;) {
      qsim::ApplyGateDagger(simulator, gates[k], psi);
      if (steps[k].turns()) {
        space.Copy(psi, copy);
        simulator.ApplyGate({unsigned(steps[k].first)}, derivative(steps[k]).data(), copy);
        gradient.push_back(2 * space.RealInnerProduct(lambda, copy));
      }
      qsim::ApplyGateDagger(simulator, gates[k], lambda);
    }
  }

  std::vector<double> answer() const {
    if (name == "samples") return means(drawn, int(n));
    if (differentiates()) return {gradient.rbegin(), gradient.rend()};
    std::vector<double> all;
    for (uint64_t i = 0; i < uint64_t(1) << n; ++i) {
      const auto a = StateSpace::GetAmpl(psi, i);
      all.insert(all.end(), {a.real(), a.imag()});
    }
    return all;
  }
};

int main(int argc, char** argv) {
  const auto threads = unsigned(argc > 1 ? std::atoi(argv[1]) : 1);
  return serve([=](const Request& request) -> Work {
    if (request.name == "noise") throw std::runtime_error("no density matrices");
    const auto qsim = std::make_shared<Qsim>(request, threads);
    return {[=] { qsim->run(); }, [=] { return qsim->answer(); }};
  });
}
