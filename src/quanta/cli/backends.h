#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"

namespace quanta::cli {

using Bits = std::string;  // a circuit's classical bits after a run, as bytes 0 and 1

enum class Task { State, Probabilities, Expectations, Counts };

/// What an engine can be asked about a circuit without weights. What it cannot answer throws Error.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::vector<Complex> state() const;
  virtual std::vector<double> probabilities() const;
  virtual std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random& random) const;
  virtual std::map<Bits, int64_t> counts(int64_t shots, const Random& random) const;
};

/// The engine of that name, or for "auto" the first that can do the task, and its name. Throws UsageError for a name
/// that does not exist and Error if it cannot run the circuit.
std::pair<std::string, std::unique_ptr<Backend>> make_backend(const std::string& name, const Circuit& circuit,
                                                              const std::vector<double>& inputs, Task task,
                                                              bool single_precision);

/// "auto, statevector, ..."
std::string backend_names();

}  // namespace quanta::cli
