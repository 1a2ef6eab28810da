#pragma once

#include <optional>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/simulate/tensor_train.h"

/// What a circuit and its observables become on a chain of sites.
namespace quanta::simulate {

/// A gate on the sites first, first + 1, ...
struct MpsStep {
  static constexpr int kSwap = -1;
  int operation;  // of MpsProgram::operations, or kSwap: exchanges two neighbours
  int first;
  std::vector<int> local;  // the gate's wire j is site first + local[j]
  bool to_left = false;    // where the centre should end, since the next step is there
  bool trainable = false;
  std::vector<Scalar> fixed{};  // its matrix, if no parameter enters

  int count() const { return int(local.size()); }
};

struct MpsProgram {
  int wires;
  std::vector<Operation> operations;
  std::vector<MpsStep> steps;
  std::vector<int> site;  // of each wire, at the end
};

/// Lowers what acts on too many wires and finds an order that keeps the centre's ways short.
MpsProgram compile_mps(const Circuit& circuit, bool reorder);

/// Row-major, bit k of an index being site first + k.
std::vector<Scalar> step_matrix(const MpsStep& step, const Operation* operation, const double* weights,
                                const double* inputs);

/// Pauli strings as paths through a tree that grows along the chain: strings that begin alike share what is left of
/// them.
struct PauliTree {
  struct Edge {
    int from;
    char letter;
    int to = -1;    // a node right of the site
    int term = -1;  // the string that ends here
  };
  std::vector<std::vector<Edge>> edges;  // of each site, sorted by `from`
  std::vector<int> nodes;                // of the bond left of each site; node 0 is "nothing yet"
  int terms = 0;                         // distinct strings without the identity
  struct Coefficient {
    int output, term;
    double value;
  };
  std::vector<Coefficient> coefficients;
  std::vector<double> constants;  // of each output

  PauliTree(const std::vector<PauliSum>& observables, const std::vector<int>& site);
};

}  // namespace quanta::simulate
