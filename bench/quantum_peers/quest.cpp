// QuEST through its C++ interface, in the precision it was built with.

#include <complex>
#include <memory>

#include "native.h"
#include "quest.h"

Work prepare(const Request& request, bool threaded) {
  const bool noisy = request.name == "noise";
  if (request.name == "gradient" || request.name == "vjp") throw std::runtime_error("no gradients");
  if (request.name == "samples") throw std::runtime_error("no sampling without collapse");
  const int n = request.qubits;
  const std::shared_ptr<Qureg> state(new Qureg(createCustomQureg(n, noisy, 0, 0, threaded)), [](Qureg* q) {
    destroyQureg(*q);
    delete q;
  });
  std::vector<PauliStr> strings;
  for (int q = 0; q < n; ++q) strings.push_back(getPauliStr("Z", {q}));
  const auto value = std::make_shared<double>(0);
  const auto run = [=, steps = request.steps(),
                    sum = createPauliStrSum(strings, std::vector<qcomp>(size_t(n), qcomp(1)))] {
    initZeroState(*state);
    for (const auto& [name, first, second, angle] : steps) {
      const auto parameter = qreal(angle);
      if (name == "RX")
        applyRotateX(*state, first, parameter);
      else if (name == "RY")
        applyRotateY(*state, first, parameter);
      else if (name == "RZ")
        applyRotateZ(*state, first, parameter);
      else if (name == "CX")
        applyControlledPauliX(*state, first, second);
      else if (name == "CP")
        applyTwoQubitPhaseShift(*state, first, second, parameter);
      else if (name == "SWAP")
        applySwap(*state, first, second);
      else
        applyHadamard(*state, first);
      // QuEST's probability is that of an error X, Y or Z; complete mixing leaves the state alone a quarter of the
      // time.
      if (noisy) mixDepolarising(*state, first, qreal(noise * 3 / 4));
      if (noisy && second >= 0) mixDepolarising(*state, second, qreal(noise * 3 / 4));
    }
    if (noisy) *value = double(calcExpecPauliStrSum(*state, sum));
  };
  return {run, [=] {
            if (noisy) return std::vector<double>{*value};
            std::vector<double> all;
            for (qindex i = 0; i < qindex(1) << n; ++i) {
              const qcomp a = getQuregAmp(*state, i);
              all.insert(all.end(), {double(a.real()), double(a.imag())});
            }
            return all;
          }};
}

int main(int argc, char** argv) {
  const bool threaded = argc > 1 && std::atoi(argv[1]) > 1;
  initCustomQuESTEnv(0, 0, threaded);
  return serve([=](const Request& request) { return prepare(request, threaded); });
}
