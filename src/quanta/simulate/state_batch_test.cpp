#include "quanta/simulate/state_batch.h"

#include <gmock/gmock.h>
#include <hwy/targets.h>

#include <cmath>
#include <type_traits>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

// The oracle is circuit/naive.h: each sample alone, each operator by its definition.

namespace quanta::simulate {
namespace {

using naive::State;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

template <class Real>
constexpr double kTolerance = std::is_same_v<Real, double> ? 1e-12 : 1e-5;

template <class Real>
State sample(const StateBatch<Real>& states, int64_t b) {
  State result;
  for (uint64_t i = 0; i < uint64_t{1} << states.wires(); ++i) result.push_back(Complex(states.amplitude(b, i)));
  return result;
}

/// A batch of random vectors, not normalized, and the same for the oracle.
template <class Real>
struct Pair {
  StateBatch<Real> states;
  std::vector<State> expected;

  Pair(int wires, int64_t batch, Random& random) : states(wires, batch), expected(size_t(batch)) {
    std::vector<std::complex<Real>> amplitudes;
    for (State& state : expected)
      for (int i = 0; i < 1 << wires; ++i) {
        amplitudes.emplace_back(Real(random.uniform(-1, 1)), Real(random.uniform(-1, 1)));
        state.push_back(Complex(amplitudes.back()));
      }
    states.set_amplitudes(amplitudes.data());
  }
  void check(const char* what) const {
    for (size_t b = 0; b < expected.size(); ++b)
      ASSERT_LT(naive::distance(sample(states, int64_t(b)), expected[b]), kTolerance<Real> * 10)
          << what << ", sample " << b << " of " << expected.size() << ", " << states.wires() << " wires";
  }
};

Matrix random_matrix(int dim, Random& random) {
  Matrix matrix(dim);
  for (Complex& element : matrix.data)
    if (random.below(4)) element = {random.uniform(-1, 1) / dim, random.uniform(-1, 1) / dim};
  return matrix;
}

std::vector<int> random_wires(int wires, int count, Random& random) {
  std::vector<int> order;
  for (const int64_t q : random.permutation(wires)) order.push_back(int(q));
  order.resize(size_t(count));
  return order;
}

PauliString random_pauli(int wires, Random& random) {
  return naive::random_observable(wires, 1, random).terms[0].pauli;
}
void apply(const PauliString& pauli, State& state) {
  for (const auto& [wire, letter] : pauli.factors) naive::apply(naive::pauli(letter), {wire}, {}, state);
}

std::vector<uint8_t> random_mask(int64_t batch, Random& random) {
  std::vector<uint8_t> mask(size_t(batch), 1);
  if (random.below(2))
    for (uint8_t& on : mask) on = uint8_t(random.below(2));
  return mask;
}

constexpr int64_t kBatches[] = {1, 2, 3, 5, 8, 16, 17, 40};

template <class Real>
void check_operations() {
  Random random(1);
  for (const int64_t batch : kBatches) {
    const int wires = 1 + int(random.below(7));
    Pair<Real> pair(wires, batch, random);
    // Every row of the table comes up many times.
    const Circuit circuit = naive::random_circuit(wires, 60, random);
    const auto weights = naive::random_values(size_t(circuit.weights()), random);
    const int inputs = circuit.inputs();
    const auto x = naive::random_values(size_t(batch * inputs), random);
    const std::vector<Real> w_real(weights.begin(), weights.end()), x_real(x.begin(), x.end());
    const std::vector<double> w(w_real.begin(), w_real.end()), x_back(x_real.begin(), x_real.end());
    for (const Operation& operation : circuit.operations()) {
      const auto mask = random_mask(batch, random);
      const int64_t stride = random.below(4) ? inputs : 0;
      pair.states.apply(operation, w_real.data(), x_real.data(), stride, mask.data());
      if (operation.kind == GateKind::Barrier) continue;
      for (int64_t b = 0; b < batch; ++b) {
        if (!mask[size_t(b)]) continue;
        Operation own = operation;
        own.controls.clear();
        naive::apply(own.unitary(w.data(), x_back.data() + b * stride), own.wires, operation.controls,
                     pair.expected[size_t(b)]);
      }
      pair.check(gate_info(operation.kind).name.data());
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

template <class Real>
void check_operators() {
  Random random(2);
  for (const int64_t batch : kBatches)
    for (const int wires : {1, 2, 4, 6}) {
      Pair<Real> pair(wires, batch, random);
      for (int step = 0; step < 8; ++step) {
        const auto mask = random_mask(batch, random);
        const int own = 1 + int(random.below(std::min(wires, 4)));
        auto targets = random_wires(wires, own + int(random.below(wires - own + 1)), random);
        const std::vector<int> controls(targets.begin() + own, targets.end());
        targets.resize(size_t(own));
        std::vector<Matrix> each;
        for (int64_t b = 0; b < batch; ++b) each.push_back(random_matrix(1 << own, random));
        if (step % 2) {
          pair.states.apply_each(targets, each, controls, mask.data());
        } else {
          pair.states.apply_matrix(targets, each[0], controls, mask.data());
        }
        const PauliString pauli = random_pauli(wires, random);
        pair.states.apply_pauli(pauli, mask.data());
        for (size_t b = 0; b < size_t(batch); ++b) {
          if (!mask[b]) continue;
          naive::apply(each[step % 2 ? b : 0], targets, controls, pair.expected[b]);
          apply(pauli, pair.expected[b]);
        }
        pair.check("operators");
        if (testing::Test::HasFatalFailure()) return;
      }
    }
}

template <class Real>
void check_algebra() {
  Random random(3);
  for (const int64_t batch : kBatches)
    for (const int wires : {1, 3, 6}) {
      Pair<Real> a(wires, batch, random);
      const Pair<Real> b(wires, batch, random);
      std::vector<Complex> factors, scales;
      for (int64_t i = 0; i < batch; ++i) {
        factors.emplace_back(random.uniform(-1, 1), random.uniform(-1, 1));
        scales.emplace_back(random.uniform(-1, 1), random.uniform(-1, 1));
      }
      const PauliString pauli = random_pauli(wires, random);
      a.states.add(b.states, factors, pauli);
      a.states.scale(scales);
      a.states.add(b.states, 0.5);
      a.states.scale(Complex(0, 1));
      for (size_t i = 0; i < size_t(batch); ++i) {
        State image = b.expected[i];
        apply(pauli, image);
        for (size_t k = 0; k < image.size(); ++k)
          a.expected[i][k] =
              Complex(0, 1) * ((a.expected[i][k] + factors[i] * image[k]) * scales[i] + 0.5 * b.expected[i][k]);
      }
      a.check("sums");
      std::vector<PauliSum> observables;
      for (int k = 0; k < 3; ++k) observables.push_back(naive::random_observable(wires, 5, random));
      observables.push_back(sum_of('Z', wires) + sum_of('Y', wires));
      std::vector<Real> values(size_t(batch) * observables.size());
      a.states.expectations(observables, values.data());
      const auto norms = a.states.norms();
      const auto overlaps = a.states.inner(b.states);
      for (size_t i = 0; i < size_t(batch); ++i) {
        const double size = naive::inner(a.expected[i], a.expected[i]).real();
        EXPECT_NEAR(norms[i], size, kTolerance<Real> * size);
        EXPECT_LT(std::abs(overlaps[i] - naive::inner(a.expected[i], b.expected[i])), kTolerance<Real> * 100);
        for (size_t k = 0; k < observables.size(); ++k) {
          Complex sum = 0;
          for (const PauliSum::Term& term : observables[k].terms) {
            State image = a.expected[i];
            apply(term.pauli, image);
            sum += term.coefficient * naive::inner(a.expected[i], image);
          }
          EXPECT_NEAR(values[i * observables.size() + k], sum.real(), kTolerance<Real> * 10 * size)
              << observables[k].to_string();
        }
      }
      for (int q = 0; q < wires; ++q) {
        const auto ones = a.states.probabilities_of_one(q);
        for (size_t i = 0; i < size_t(batch); ++i) {
          double expected = 0;
          for (size_t k = 0; k < a.expected[i].size(); ++k)
            if (k >> q & 1) expected += std::norm(a.expected[i][k]);
          EXPECT_NEAR(ones[i], expected, kTolerance<Real> * norms[i]);
        }
      }
      const auto mask = random_mask(batch, random);
      const auto outcomes = random_mask(batch, random);
      const int wire = int(random.below(wires));
      a.states.project(wire, outcomes, mask.data());
      for (size_t i = 0; i < size_t(batch); ++i) {
        if (!mask[i]) continue;
        State& state = a.expected[i];
        for (size_t k = 0; k < state.size(); ++k)
          if ((k >> wire & 1) != outcomes[i]) state[k] = 0;
        const double norm = std::sqrt(naive::inner(state, state).real());
        for (Complex& amplitude : state) amplitude /= norm;
      }
      a.check("projections");
      std::vector<int64_t> source;
      for (int64_t i = 0; i < 7; ++i) source.push_back(int64_t(random.below(uint64_t(batch))));
      StateBatch<Real> copies(wires, 7);
      copies.copy(a.states, source);
      for (int64_t i = 0; i < 7; ++i) EXPECT_EQ(sample(copies, i), sample(a.states, source[size_t(i)]));
      if (testing::Test::HasFailure()) return;
    }
}

template <class Real>
void check_all() {
  check_operations<Real>();
  check_operators<Real>();
  check_algebra<Real>();
}

TEST(StateBatch, OperationsDouble) {
  check_operations<double>();
}
TEST(StateBatch, OperationsFloat) {
  check_operations<float>();
}
TEST(StateBatch, OperatorsDouble) {
  check_operators<double>();
}
TEST(StateBatch, OperatorsFloat) {
  check_operators<float>();
}
TEST(StateBatch, AlgebraDouble) {
  check_algebra<double>();
}
TEST(StateBatch, AlgebraFloat) {
  check_algebra<float>();
}

// The kernels are chosen once in a process.
void check_without(int64_t targets, int64_t most_lanes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        hwy::DisableTargets(targets);
        EXPECT_LE(StateBatch<float>::lanes(), most_lanes);
        check_all<float>();
        check_all<double>();
        std::exit(testing::Test::HasFailure());
      },
      testing::ExitedWithCode(0), "");
}
#if HWY_ARCH_X86
TEST(StateBatchInstructionSet, Avx2) {
  if (!(hwy::SupportedTargets() & HWY_AVX2)) GTEST_SKIP() << "this processor lacks it";
  check_without(HWY_AVX2 - 1, 8);
}
TEST(StateBatchInstructionSet, Baseline) {
  check_without(2 * HWY_AVX2 - 1, 4);
}
#endif

TEST(StateBatch, EncodesAmplitudes) {
  Circuit circuit(3);
  circuit.amplitude_encoding();
  StateBatch<double> states(3, 2);
  std::vector<double> inputs(16);
  for (size_t i = 0; i < 16; ++i) inputs[i] = double(i) - 5;
  states.apply(circuit.operations()[0], nullptr, inputs.data(), 8);
  for (int64_t b = 0; b < 2; ++b) {
    double norm = 0;
    for (int64_t i = 0; i < 8; ++i) norm += inputs[size_t(8 * b + i)] * inputs[size_t(8 * b + i)];
    for (int64_t i = 0; i < 8; ++i)
      EXPECT_NEAR(states.amplitude(b, uint64_t(i)).real(), inputs[size_t(8 * b + i)] / std::sqrt(norm), 1e-15);
  }
}

TEST(StateBatch, IsTheSameForAnyNumberOfThreads) {
  const auto run = [](int count) {
    const int before = threads();
    set_threads(count);
    Random random(4);
    const int wires = 17;
    StateBatch<float> states(wires, 1);
    for (int q = 0; q < wires; ++q) {
      const int wire[] = {q};
      states.apply_matrix(wire, naive::random_unitary(2, random));
      if (q) {
        const int control[] = {q - 1};
        states.apply_matrix(wire, naive::random_unitary(2, random), control);
      }
    }
    std::vector<float> value(1);
    const PauliSum observable = naive::random_observable(wires, 20, random);
    states.expectations({&observable, 1}, value.data());
    std::vector<std::complex<float>> amplitudes(size_t{1} << wires);
    states.amplitudes(amplitudes.data());
    amplitudes.emplace_back(value[0], float(states.norms()[0]));
    set_threads(before);
    return amplitudes;
  };
  const auto one = run(1);
  EXPECT_NEAR(one.back().imag(), 1, 1e-5);
  EXPECT_EQ(run(3), one);
}

TEST(StateBatch, Errors) {
  EXPECT_THAT([] { StateBatch<double>(30, int64_t{1} << 40); }, ThrowsMessage<Error>(HasSubstr("GiB")));
  EXPECT_THROW(StateBatch<double>(0, 1), Error);
  EXPECT_THROW(StateBatch<double>(31, 1), Error);
  EXPECT_THROW(StateBatch<double>(2, 0), Error);
  StateBatch<double> states(2, 3), others(2, 2);
  const int repeated[] = {1, 1}, outside[] = {2}, one[] = {0};
  EXPECT_THAT([&] { states.apply_matrix(repeated, Matrix::identity(4)); },
              ThrowsMessage<Error>(HasSubstr("wire 1 is used twice")));
  EXPECT_THAT([&] { states.apply_matrix(outside, Matrix::identity(2)); },
              ThrowsMessage<Error>(HasSubstr("wires 0..1")));
  EXPECT_THAT([&] { states.apply_matrix(one, Matrix::identity(4)); },
              ThrowsMessage<Error>(HasSubstr("dimension 2 for 1 wires, got 4")));
  EXPECT_THAT([&] { states.apply_each(one, std::vector<Matrix>(2, Matrix::identity(2))); },
              ThrowsMessage<Error>(HasSubstr("each of 3 samples")));
  EXPECT_THAT([&] { states.inner(others); }, ThrowsMessage<Error>(HasSubstr("expected a batch of 3 states")));
  EXPECT_THAT(
      [&] {
        states.project(0, std::vector<uint8_t>{0, 1, 0});
      },
      ThrowsMessage<Error>(HasSubstr("sample 1: wire 0 is never 1")));
  const PauliSum outside_sum = X(5);
  double value;
  EXPECT_THROW(states.expectations({&outside_sum, 1}, &value), Error);
  Circuit circuit(1, 1);
  circuit.measure(0, 0);
  EXPECT_THAT([&] { states.apply(circuit.operations()[0]); }, ThrowsMessage<Error>(HasSubstr("Measure")));
}

}  // namespace
}  // namespace quanta::simulate
