#include "quanta/simulate/trajectories.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <type_traits>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/memory.h"
#include "quanta/simulate/state_batch.h"

namespace quanta {

using namespace simulate;

namespace {

/// A set of Kraus operators of which one happens. Measurements and resets are of this kind, too.
struct Choice {
  std::vector<int> wires;
  std::vector<Matrix> kraus;           // unitary, if the probabilities are fixed
  std::vector<double> probabilities;   // empty: they depend on the state
  std::vector<char> identity;          // up to a factor; of unitary ones
  std::vector<PauliSum> measurements;  // K^dagger K, where the probabilities depend on the state
};

/// A Hermitian matrix on these wires.
PauliSum pauli_sum(const Matrix& matrix, const std::vector<int>& wires) {
  const int count = int(wires.size());
  PauliSum sum;
  for (int index = 0; index < 1 << 2 * count; ++index) {
    // tr(P matrix) = sum_i P(i, i ^ flip) matrix(i ^ flip, i)
    std::vector<std::pair<int, char>> factors;
    int flip = 0;
    for (int k = 0; k < count; ++k) {
      const int digit = index >> 2 * k & 3;
      if (digit) factors.emplace_back(wires[size_t(k)], "IXYZ"[digit]);
      if (digit == 1 || digit == 2) flip |= 1 << k;
    }
    Complex trace = 0;
    for (int i = 0; i < matrix.dim; ++i) {
      Complex element = matrix(i ^ flip, i);
      for (int k = 0; k < count; ++k) {
        const int digit = index >> 2 * k & 3, bit = i >> k & 1;
        if (digit == 2) element *= Complex(0, bit ? 1 : -1);
        if (digit == 3 && bit) element = -element;
      }
      trace += element;
    }
    const double coefficient = trace.real() / matrix.dim;
    if (std::abs(coefficient) > 1e-14) sum.terms.push_back({coefficient, PauliString(factors)});
  }
  return sum;
}

/// Whether it is a multiple of 1.
bool is_scalar(const Matrix& matrix) {
  for (int i = 0; i < matrix.dim; ++i)
    for (int j = 0; j < matrix.dim; ++j)
      if (std::abs(matrix(i, j) - (i == j ? matrix(0, 0) : 0)) > 1e-12) return false;
  return true;
}

Choice make_choice(const std::vector<Matrix>& kraus, const std::vector<int>& wires) {
  Choice choice{.wires = wires, .kraus = {}, .probabilities = {}, .identity = {}, .measurements = {}};
  std::vector<Matrix> squares;
  for (const Matrix& k : kraus) {
    Matrix square = k.adjoint() * k;
    double trace = 0;
    for (int i = 0; i < square.dim; ++i) trace += square(i, i).real();
    if (trace < 1e-14) continue;
    choice.kraus.push_back(k);
    squares.push_back(std::move(square));
  }
  if (std::ranges::all_of(squares, is_scalar)) {
    for (size_t k = 0; k < squares.size(); ++k) {
      choice.probabilities.push_back(squares[k](0, 0).real());
      for (Complex& element : choice.kraus[k].data) element /= std::sqrt(choice.probabilities[k]);
      choice.identity.push_back(is_scalar(choice.kraus[k]));
    }
  } else {
    for (const Matrix& square : squares) choice.measurements.push_back(pauli_sum(square, wires));
  }
  return choice;
}

Choice make_choice(const Operation& operation) {
  const Matrix zero(2, {1, 0, 0, 0}), one(2, {0, 0, 0, 1}), lower(2, {0, 1, 0, 0});
  if (operation.kind == GateKind::Measure) return make_choice({zero, one}, operation.wires);
  if (operation.kind == GateKind::Reset) return make_choice({zero, lower}, operation.wires);
  return make_choice(operation.channel->kraus(), operation.wires);
}

struct Step {
  Operation operation;
  std::optional<Choice> choice;
};

}  // namespace

template <class T>
struct Trajectories<T>::Impl {
  Circuit circuit;
  std::vector<PauliSum> observables;
  TrajectoryOptions options;
  std::vector<Step> steps;
  size_t prefix = 0;               // steps before the first that is random or conditioned
  std::vector<Operation> readout;  // measurements at the end: what they read, one drawn basis state tells

  Impl(const Circuit& c, const std::vector<PauliSum>& o, TrajectoryOptions options)
      : circuit(c), observables(o), options(options) {
    for (const PauliSum& sum : observables)
      require(sum.max_wire() < circuit.wires(), "observable {}: wire {} is out of range, the circuit has wires 0..{}",
              sum.to_string(), sum.max_wire(), circuit.wires() - 1);
    require(options.trajectories >= 1, "expected at least one trajectory, got {}", options.trajectories);
    const double states = runs_together() ? double(threads()) : 1;
    require_memory(fmt::format("trajectories of {} qubits", circuit.wires()),
                   (states * double(lanes()) + 1) * std::ldexp(2.0 * sizeof(T), circuit.wires()));

    std::vector<bool> used(size_t(circuit.wires()), false), busy(size_t(circuit.clbits()), false);
    const auto& operations = circuit.operations();
    for (size_t i = operations.size(); i-- > 0;) {
      const Operation& operation = operations[i];
      if (operation.kind == GateKind::Barrier) continue;
      const bool measures = operation.kind == GateKind::Measure;
      if (measures && operation.conditions.empty() && !used[size_t(operation.wires[0])] &&
          !busy[size_t(operation.clbit)]) {
        readout.push_back(operation);
        continue;
      }
      for (const int q : operation.all_wires()) used[size_t(q)] = true;
      for (const Condition& condition : operation.conditions)
        for (int k = 0; k < condition.count; ++k) busy[size_t(condition.first + k)] = true;
      if (measures) busy[size_t(operation.clbit)] = true;
      Step& step = steps.emplace_back(Step{operation, {}});
      if (!is_unitary(operation.kind) && operation.kind != GateKind::AmplitudeEncoding)
        step.choice = make_choice(operation);
    }
    std::ranges::reverse(steps);
    std::ranges::reverse(readout);
    while (prefix < steps.size() && !steps[prefix].choice && steps[prefix].operation.conditions.empty()) ++prefix;
  }

  // Trajectories side by side: enough to fill a vector, as few as stay in the cache. A large state is run alone, by all
  // threads.
  int64_t lanes() const { return std::clamp<int64_t>((int64_t{1} << 16) >> std::min(circuit.wires(), 16), 1, 256); }
  bool runs_together() const { return circuit.wires() < 20; }

  /// Some trajectories of one sample.
  struct Chunk {
    StateBatch<T> states;
    std::vector<uint8_t> bits;    // [lane, clbit]
    std::vector<Random> streams;  // of each lane
    const T *weights, *inputs;
    std::vector<std::optional<Matrix>> pending;  // one-qubit gates on each wire that are still to be applied

    Chunk(const Circuit& circuit, int64_t lanes, const T* weights, const T* inputs)
        : states(circuit.wires(), lanes),
          bits(size_t(lanes) * size_t(circuit.clbits()), 0),
          weights(weights),
          inputs(inputs),
          pending(size_t(circuit.wires())) {}

    void flush(int wire) {
      if (!pending[size_t(wire)]) return;
      const int wires[] = {wire};
      states.apply_matrix(wires, *pending[size_t(wire)]);
      pending[size_t(wire)].reset();
    }
    void flush(const std::vector<int>& wires) {
      for (const int q : wires) flush(q);
    }
    void flush() {
      for (int q = 0; q < int(pending.size()); ++q) flush(q);
    }
  };

  static void apply_gate(const Operation& operation, Chunk& chunk, const uint8_t* mask) {
    const GateInfo& info = gate_info(operation.kind);
    const bool turns_one = operation.wires.size() == 1 && operation.controls.empty() && info.controls == 0 && !mask &&
                           operation.kind != GateKind::AmplitudeEncoding;
    if (turns_one) {
      Matrix matrix = target_matrix(operation, chunk.weights, chunk.inputs).matrix;
      std::optional<Matrix>& before = chunk.pending[size_t(operation.wires[0])];
      before = before ? matrix * *before : std::move(matrix);
      return;
    }
    chunk.flush(operation.all_wires());
    chunk.states.apply(operation, chunk.weights, chunk.inputs, 0, mask);
  }

  /// Draws an operator for each lane of the mask and applies it; which one: -1 without the mask.
  static std::vector<int> choose(const Choice& choice, Chunk& chunk, const uint8_t* mask) {
    const size_t lanes = size_t(chunk.states.batch()), count = choice.kraus.size();
    constexpr double kImpossible = std::is_same_v<T, float> ? 1e-6 : 1e-12;
    const bool fixed = !choice.probabilities.empty();
    std::vector<T> probabilities;
    if (!fixed) {
      chunk.flush(choice.wires);
      probabilities.resize(lanes * count);
      chunk.states.expectations(choice.measurements, probabilities.data());
    }
    std::vector<int> chosen(lanes, -1);
    std::vector<double> size(lanes, 1);  // the chosen one's probability
    for (size_t lane = 0; lane < lanes; ++lane) {
      if (mask && !mask[lane]) continue;
      const auto probability = [&](size_t k) {
        const double p = fixed ? choice.probabilities[k] : double(probabilities[lane * count + k]);
        return fixed || p > kImpossible ? p : 0;
      };
      double total = 0;
      for (size_t k = 0; k < count; ++k) total += probability(k);
      double left = chunk.streams[lane].uniform() * total;
      for (size_t k = 0; k < count; ++k) {
        if (probability(k) <= 0) continue;
        chosen[lane] = int(k);
        if (!fixed) size[lane] = probability(k);
        if (left < probability(k)) break;
        left -= probability(k);
      }
    }
    if (!fixed) {
      std::vector<Matrix> operators;
      for (size_t lane = 0; lane < lanes; ++lane) {
        Matrix& one = operators.emplace_back(choice.kraus[size_t(std::max(chosen[lane], 0))]);
        for (Complex& element : one.data) element /= std::sqrt(size[lane]);
      }
      chunk.states.apply_each(choice.wires, operators, {}, mask);
      return chosen;
    }
    for (size_t k = 0; k < count; ++k) {
      if (choice.identity[k] || std::ranges::find(chosen, int(k)) == chosen.end()) continue;
      chunk.flush(choice.wires);
      std::vector<uint8_t> hit;
      for (const int c : chosen) hit.push_back(c == int(k));
      chunk.states.apply_matrix(choice.wires, choice.kraus[k], {}, hit.data());
    }
    return chosen;
  }

  static uint8_t read(const Operation& measure, int outcome, Random& stream) {
    const double wrong = measure.misread[size_t(outcome)];
    return uint8_t(outcome ^ int(wrong > 0 && stream.uniform() < wrong));
  }

  void run(const Step& step, Chunk& chunk) const {
    const Operation& operation = step.operation;
    const size_t lanes = size_t(chunk.states.batch()), clbits = size_t(circuit.clbits());
    std::vector<uint8_t> mask;
    if (!operation.conditions.empty()) {
      for (size_t lane = 0; lane < lanes; ++lane)
        mask.push_back(std::ranges::all_of(operation.conditions, [&](const Condition& condition) {
          return condition.holds(chunk.bits.data() + lane * clbits);
        }));
      if (std::ranges::count(mask, 0) == int64_t(lanes)) return;
      if (std::ranges::count(mask, 0) == 0) mask.clear();
    }
    const uint8_t* const where = mask.empty() ? nullptr : mask.data();
    if (!step.choice) return apply_gate(operation, chunk, where);
    const std::vector<int> chosen = choose(*step.choice, chunk, where);
    if (operation.kind != GateKind::Measure) return;
    for (size_t lane = 0; lane < lanes; ++lane)
      if (chosen[lane] >= 0)
        chunk.bits[lane * clbits + size_t(operation.clbit)] = read(operation, chosen[lane], chunk.streams[lane]);
  }

  /// Runs all trajectories; visit(sample, first trajectory, chunk) sees their ends.
  void run(int64_t batch, const T* weights, const T* inputs, int64_t count, const Random& random,
           const std::function<void(int64_t, int64_t, Chunk&)>& visit) const {
    require(batch >= 0, "the batch size is {}, expected 0 or more", batch);
    const int64_t chunks = (count + lanes() - 1) / lanes();
    const auto start = [&](int64_t b) {
      Chunk chunk(circuit, 1, weights, inputs + b * circuit.inputs());
      for (size_t i = 0; i < prefix; ++i) run(steps[i], chunk);
      if (prefix == steps.size() || lanes() == 1) chunk.flush();
      return chunk;
    };
    const auto one = [&](int64_t b, int64_t c, const Chunk& begin) {
      const int64_t first = c * lanes(), size = std::min(lanes(), count - first);
      Chunk chunk(circuit, size, begin.weights, begin.inputs);
      chunk.pending = begin.pending;
      if (prefix > 0) chunk.states.copy(begin.states, std::vector<int64_t>(size_t(size), 0));
      for (int64_t lane = 0; lane < size; ++lane)
        chunk.streams.push_back(random.split(uint64_t(b)).split(uint64_t(first + lane)));
      for (size_t i = prefix; i < steps.size(); ++i) run(steps[i], chunk);
      chunk.flush();
      visit(b, first, chunk);
    };
    const auto loop = [&](int64_t size, const std::function<void(int64_t)>& body) {
      const auto range = [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
      };
      runs_together() ? parallel_for(size, 1, range) : range(0, size);
    };
    if (chunks == 1) return loop(batch, [&](int64_t b) { one(b, 0, start(b)); });
    for (int64_t b = 0; b < batch; ++b) {
      const Chunk begin = start(b);
      loop(chunks, [&](int64_t c) { one(b, c, begin); });
    }
  }
};

template <class T>
Trajectories<T>::Trajectories(const Circuit& circuit, const std::vector<PauliSum>& observables,
                              TrajectoryOptions options)
    : impl_(std::make_unique<Impl>(circuit, observables, options)) {}
template <class T>
Trajectories<T>::~Trajectories() = default;
template <class T>
Trajectories<T>::Trajectories(Trajectories&&) noexcept = default;
template <class T>
Trajectories<T>& Trajectories<T>::operator=(Trajectories&&) noexcept = default;

template <class T>
int Trajectories<T>::outputs() const {
  return int(impl_->observables.size());
}

template <class T>
void Trajectories<T>::expectations(int64_t batch, const T* weights, const T* inputs, const Random& random, T* values,
                                   T* standard_errors) const {
  const size_t K = size_t(outputs());
  const bool certain = impl_->prefix == impl_->steps.size();
  const int64_t count = certain ? 1 : impl_->options.trajectories, lanes = impl_->lanes(),
                chunks = (count + lanes - 1) / lanes;
  // Mean and sum of squared deviations of each chunk, put together in their order (Chan, Golub, LeVeque 1979).
  struct Moments {
    double count = 0, mean = 0, squares = 0;
  };
  std::vector<Moments> moments(size_t(batch * chunks) * K);
  impl_->run(batch, weights, inputs, count, random, [&](int64_t b, int64_t first, auto& chunk) {
    const size_t size = size_t(chunk.states.batch());
    std::vector<T> each(size * K);
    chunk.states.expectations(impl_->observables, each.data());
    for (size_t k = 0; k < K; ++k) {
      Moments& m = moments[size_t(b * chunks + first / lanes) * K + k];
      m.count = double(size);
      for (size_t lane = 0; lane < size; ++lane) m.mean += double(each[lane * K + k]) / m.count;
      for (size_t lane = 0; lane < size; ++lane) m.squares += std::pow(double(each[lane * K + k]) - m.mean, 2);
    }
  });
  for (int64_t b = 0; b < batch; ++b)
    for (size_t k = 0; k < K; ++k) {
      Moments all;
      for (int64_t c = 0; c < chunks; ++c) {
        const Moments& m = moments[size_t(b * chunks + c) * K + k];
        const double difference = m.mean - all.mean, sum = all.count + m.count;
        all.squares += m.squares + difference * difference * all.count * m.count / sum;
        all.mean += difference * m.count / sum;
        all.count = sum;
      }
      values[size_t(b) * K + k] = T(all.mean);
      if (standard_errors)
        standard_errors[size_t(b) * K + k] = certain     ? T(0)
                                             : count > 1 ? T(std::sqrt(all.squares / double(count - 1) / double(count)))
                                                         : std::numeric_limits<T>::infinity();
    }
}

template <class T>
void Trajectories<T>::shots(int64_t batch, const T* weights, const T* inputs, int64_t shots, const Random& random,
                            uint8_t* bits) const {
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  const size_t clbits = size_t(impl_->circuit.clbits());
  impl_->run(batch, weights, inputs, shots, random, [&](int64_t b, int64_t first, auto& chunk) {
    const size_t lanes = size_t(chunk.states.batch());
    if (!impl_->readout.empty()) {
      std::vector<double> uniform;
      for (Random& stream : chunk.streams) uniform.push_back(stream.uniform());
      const std::vector<uint64_t> states = chunk.states.draw(uniform);
      for (size_t lane = 0; lane < lanes; ++lane)
        for (const Operation& measure : impl_->readout)
          chunk.bits[lane * clbits + size_t(measure.clbit)] =
              impl_->read(measure, int(states[lane] >> measure.wires[0] & 1), chunk.streams[lane]);
    }
    std::ranges::copy(chunk.bits, bits + size_t(b * shots + first) * clbits);
  });
}

template class Trajectories<float>;
template class Trajectories<double>;

}  // namespace quanta
