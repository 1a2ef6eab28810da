// <Z> after RY(x) is cos(x), and its derivative -sin(x): through an installed Quanta::simulate.
#include <cmath>
#include <cstdio>

#include "quanta/simulate/simulator.h"

int main() {
  quanta::Circuit circuit(1);
  circuit.ry(0, quanta::input(0));
  const quanta::Simulator<double> simulator(circuit, {quanta::Z(0)});
  const double x = 0.3, upstream = 1;
  double value = 0, derivative = 0;
  simulator.vjp(1, nullptr, &x, &upstream, nullptr, &derivative, &value);
  std::printf("<Z> = %.12f, derivative %.12f\n", value, derivative);
  return std::abs(value - std::cos(x)) < 1e-12 && std::abs(derivative + std::sin(x)) < 1e-12 ? 0 : 1;
}
