// QuEST through its C++ interface, for run.py --native quest=..., in single precision, and quest64=..., in double:
//   for p in 1 2; do
//     cmake -S QUEST -B QUEST/build$p -DFLOAT_PRECISION=$p -DBUILD_SHARED_LIBS=OFF -DCMAKE_BUILD_TYPE=Release
//       -DCMAKE_CXX_FLAGS="-O3 -march=native" -DCMAKE_C_FLAGS="-O3 -march=native"
//     cmake --build QUEST/build$p --target QuEST
//     g++ -std=c++20 -O3 -march=native -fopenmp -I QUEST -I QUEST/build$p/include quest.cpp -L QUEST/build$p -lQuEST -o quest$p
//   done                                                                                    (QUEST: QuEST's checkout)
//   quest1 state|fourier QUBITS BATCH THREADS SECONDS [--check], quest2 noise ...

#include <complex>

#include "native.h"
#include "quest.h"

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const bool noisy = options.name == "noise";
  if (options.name == "gradient" || options.name == "jacobian") return refuse("no gradients");
  if (options.name == "samples") return refuse("no sampling without collapse");
  const int n = options.qubits;
  const std::vector<Step> steps = options.name == "fourier" ? fourier(n) : layered(n);

  initCustomQuESTEnv(0, 0, options.threads > 1);
  Qureg state = createCustomQureg(n, noisy, 0, 0, options.threads > 1);
  std::vector<PauliStr> strings;
  for (int q = 0; q < n; ++q) strings.push_back(getPauliStr("Z", {q}));
  const PauliStrSum sum = createPauliStrSum(strings, std::vector<qcomp>(size_t(n), qcomp(1)));

  double value = 0;
  const auto run = [&] {
    initZeroState(state);
    for (const auto& [name, first, second, angle] : steps) {
      const auto parameter = qreal(angle);
      if (name == "RX") applyRotateX(state, first, parameter);
      else if (name == "RY") applyRotateY(state, first, parameter);
      else if (name == "RZ") applyRotateZ(state, first, parameter);
      else if (name == "CX") applyControlledPauliX(state, first, second);
      else if (name == "CP") applyTwoQubitPhaseShift(state, first, second, parameter);
      else if (name == "SWAP") applySwap(state, first, second);
      else applyHadamard(state, first);
      // QuEST's probability is that of an error X, Y or Z; complete mixing leaves the state alone a quarter of the time.
      if (noisy) mixDepolarising(state, first, qreal(0.01 * 3 / 4));
      if (noisy && second >= 0) mixDepolarising(state, second, qreal(0.01 * 3 / 4));
    }
    if (noisy) value = double(calcExpecPauliStrSum(state, sum));
  };
  return measure(options, run, [&] {
    if (noisy) return std::vector<double>{value};
    std::vector<double> probabilities;
    for (qindex i = 0; i < qindex(1) << n; ++i) probabilities.push_back(std::norm(getQuregAmp(state, i)));
    return probabilities;
  });
}
