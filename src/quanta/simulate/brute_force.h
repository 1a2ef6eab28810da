#pragma once

#include <map>
#include <string>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/circuit/naive.h"

/// For tests: circuits with noise, measurements, resets and conditions, by their definition.
namespace quanta::naive {

/// For each value of the classical bits the density matrix times its probability.
using Ensemble = std::map<std::vector<int>, Matrix>;

inline Matrix sandwich(const Matrix& k, const Matrix& rho) {
  return multiply(multiply(k, rho), k.adjoint());
}

inline Ensemble run(const Circuit& circuit, const double* weights = nullptr, const double* inputs = nullptr) {
  const int n = circuit.wires();
  Matrix start(1 << n);
  start(0, 0) = 1;
  Ensemble ensemble{{std::vector<int>(size_t(circuit.clbits()), 0), start}};
  const Matrix zero(2, {1, 0, 0, 0}), one(2, {0, 0, 0, 1}), lower(2, {0, 1, 0, 0});
  for (const Operation& operation : circuit.operations()) {
    if (operation.kind == GateKind::Barrier) continue;
    Ensemble next;
    const auto put = [&](const std::vector<int>& bits, const Matrix& rho, double factor = 1) {
      auto& sum = next.try_emplace(bits, Matrix(1 << n)).first->second;
      sum = add(sum, rho, factor);
    };
    for (const auto& [bits, rho] : ensemble) {
      bool holds = true;
      for (const Condition& condition : operation.conditions) {
        uint64_t value = 0;
        for (int k = 0; k < condition.count; ++k) value |= uint64_t(bits[size_t(condition.first + k)]) << k;
        holds = holds && (value == condition.value) != condition.negated;
      }
      if (!holds) {
        put(bits, rho);
      } else if (operation.kind == GateKind::Measure) {
        for (int outcome = 0; outcome < 2; ++outcome) {
          const Matrix part = sandwich(embed(outcome ? one : zero, operation.wires, {}, n), rho);
          for (int wrong = 0; wrong < 2; ++wrong) {
            const double p = operation.misread[size_t(outcome)];
            auto read = bits;
            read[size_t(operation.clbit)] = outcome ^ wrong;
            put(read, part, wrong ? p : 1 - p);
          }
        }
      } else if (operation.kind == GateKind::Reset) {
        put(bits, sandwich(embed(zero, operation.wires, {}, n), rho));
        put(bits, sandwich(embed(lower, operation.wires, {}, n), rho));
      } else if (operation.kind == GateKind::Channel) {
        for (const Matrix& k : operation.channel->kraus()) put(bits, sandwich(embed(k, operation.wires, {}, n), rho));
      } else {
        Operation own = operation;
        own.controls.clear();
        put(bits, sandwich(embed(own.unitary(weights, inputs), own.wires, operation.controls, n), rho));
      }
    }
    ensemble = std::move(next);
  }
  return ensemble;
}

inline double trace(const Matrix& a) {
  double sum = 0;
  for (int i = 0; i < a.dim; ++i) sum += a(i, i).real();
  return sum;
}

inline double expectation(const PauliSum& observable, const Ensemble& ensemble, int wires) {
  double sum = 0;
  for (const PauliSum::Term& term : observable.terms) {
    std::string letters;
    for (int q = 0; q < wires; ++q) letters += term.pauli.at(q);
    for (const auto& [bits, rho] : ensemble) sum += term.coefficient * trace(multiply(pauli(letters), rho));
  }
  return sum;
}

}  // namespace quanta::naive
