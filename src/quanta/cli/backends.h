#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quanta/circuit/circuit.h"
#include "quanta/core/random.h"
#include "quanta/simulate/counts.h"

namespace quanta::cli {

enum class Task { State, Probabilities, Expectations, Counts };
enum class Precision { Double, Float, Half };  // Half: floats, stored in 16 bits; of state vectors only

/// What an engine can be asked about a circuit without weights. What it cannot answer throws Error.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::vector<Complex> state() const;
  virtual std::vector<double> probabilities() const;
  virtual std::vector<double> expectations(const std::vector<PauliSum>& observables, const Random& random) const;
  virtual Counts counts(int64_t shots, const Random& random) const;
};

/// The engine of that name, or for "auto" the first that can do the task, and its name. Throws UsageError for a name
/// that does not exist and Error if it cannot run the circuit.
std::pair<std::string, std::unique_ptr<Backend>> make_backend(const std::string& name, const Circuit& circuit,
                                                              const std::vector<double>& inputs, Task task,
                                                              Precision precision);

/// "auto, statevector, ..."
std::string backend_names();

}  // namespace quanta::cli
