#include "quanta/simulate/stabilizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/clifford.h"
#include "quanta/simulate/tableau.h"

namespace quanta {

using namespace simulate;

namespace {

constexpr int kWords = 16;  // of a batch of shots: 1024 lanes
using Lanes = std::array<uint64_t, kWords>;

std::optional<std::vector<CliffordStep>> compile(const Circuit& circuit, const std::vector<double>& weights,
                                                 const std::vector<double>& inputs, std::string& why) {
  require(circuit.has_amplitude_encoding() ||
              (int(weights.size()) == circuit.weights() && int(inputs.size()) == circuit.inputs()),
          "the circuit has {} weights and {} inputs, got {} and {}", circuit.weights(), circuit.inputs(),
          weights.size(), inputs.size());
  return compile_clifford(circuit, weights.data(), inputs.data(), why);
}

/// Pauli strings that a channel applies other than the identity, most probable first.
struct Mixture {
  double total = 0;                  // the probability of any of them
  std::vector<int> strings{};        // digits in base 4: I, X, Y, Z
  std::vector<double> cumulative{};  // up to each, of the total
};

Mixture mixture(const Channel& channel) {
  Mixture result;
  const std::vector<double>& p = channel.pauli_probabilities();
  for (int i = 1; i < int(p.size()); ++i)
    if (p[i] > 0) result.strings.push_back(i);
  std::ranges::stable_sort(result.strings, std::greater(), [&](int i) { return p[i]; });
  for (const int i : result.strings) result.cumulative.push_back(result.total += p[i]);
  return result;
}

/// The string a channel applies, given u uniform in [0, total).
int pick(const Mixture& mixture, double u) {
  const auto at = std::upper_bound(mixture.cumulative.begin(), mixture.cumulative.end() - 1, u);
  return mixture.strings[at - mixture.cumulative.begin()];
}

/// Calls visit(lane) for lanes 0 .. count - 1, each with probability p, by the waiting times between them.
template <class Visit>
void each_event(double p, int count, Random& random, const Visit& visit) {
  if (p <= 0) return;
  if (p >= 1) {
    for (int lane = 0; lane < count; ++lane) visit(lane);
    return;
  }
  const double scale = 1 / std::log1p(-p);
  for (double lane = 0;; ++lane) {
    lane += std::floor(std::log1p(-random.uniform()) * scale);
    if (lane >= count) return;
    visit(int(lane));
  }
}

bool letter_x(int letter) {
  return letter == 1 || letter == 2;
}
bool letter_z(int letter) {
  return letter >= 2;
}

/// a [64] words of 64 bits, transposed in place.
void transpose(uint64_t* a) {
  uint64_t mask = 0x00000000FFFFFFFF;
  for (int j = 32; j != 0; j >>= 1, mask ^= mask << j) {
    for (int k = 0; k < 64; k = (k + j + 1) & ~j) {
      const uint64_t t = (a[k] >> j ^ a[k + j]) & mask;
      a[k] ^= t << j;
      a[k + j] ^= t;
    }
  }
}

}  // namespace

bool is_clifford(const Circuit& circuit, const std::vector<double>& weights, const std::vector<double>& inputs) {
  std::string why;
  return compile(circuit, weights, inputs, why).has_value();
}

struct StabilizerSimulator::Impl {
  Circuit circuit;
  std::vector<PauliSum> observables;
  std::vector<CliffordStep> steps;
  std::map<int, Mixture> mixtures;  // of the operations that are channels
  mutable std::once_flag once;
  mutable std::vector<bool> recorded;

  Impl(const Circuit& circuit, const std::vector<PauliSum>& observables, const std::vector<double>& weights,
       const std::vector<double>& inputs)
      : circuit(circuit), observables(observables) {
    std::string why;
    auto compiled = compile(circuit, weights, inputs, why);
    require(compiled.has_value(), "{}", why);
    steps = *std::move(compiled);
    for (size_t k = 0; k < observables.size(); ++k)
      require(observables[k].max_wire() < circuit.wires(), "observable {} names wire {}, but the circuit has {} wires",
              k, observables[k].max_wire(), circuit.wires());
    for (const CliffordStep& step : steps)
      if (step.kind == Clifford::Channel) mixtures[step.operation] = mixture(*operation(step).channel);
  }

  const Operation& operation(const CliffordStep& step) const { return circuit.operations()[step.operation]; }

  bool holds(const CliffordStep& step, const std::vector<uint8_t>& bits) const {
    return !step.conditional ||
           std::ranges::all_of(operation(step).conditions, [&](const Condition& c) { return c.holds(bits.data()); });
  }

  /// One run of a tableau. Without a random stream: outcome 0 where both are possible, and no noise.
  /// record(bool) sees each outcome and whether each condition held.
  template <class Record>
  std::vector<uint8_t> run(Random* random, const Record& record) const {
    Tableau tableau(circuit.wires());
    std::vector<uint8_t> bits(circuit.clbits());
    for (const CliffordStep& step : steps) {
      const bool happens = holds(step, bits);
      if (step.conditional) record(happens);
      if (!happens) continue;
      switch (step.kind) {
        case Clifford::Measure: {
          bool outcome = tableau.measure(step.a, random && (*random)() & 1);
          record(outcome);
          if (random && random->uniform() < operation(step).misread[outcome]) outcome = !outcome;
          bits[operation(step).clbit] = outcome;
          break;
        }
        case Clifford::Reset:
          if (tableau.measure(step.a, random && (*random)() & 1)) tableau.apply({Clifford::X, step.a});
          break;
        case Clifford::Channel: {
          if (!random) break;
          const Mixture& noise = mixtures.at(step.operation);
          const double u = random->uniform();
          if (u >= noise.total) break;
          int string = pick(noise, u);
          for (const int q : operation(step).wires) {
            if (string & 3) tableau.apply({Clifford((string & 3) - 1), q});
            string >>= 2;
          }
          break;
        }
        default:
          tableau.apply(step);
      }
    }
    return bits;
  }

  /// Whether differences from the reference stay Pauli strings.
  bool has_frames() const {
    return std::ranges::all_of(steps, [](const CliffordStep& step) {
      return !step.conditional || is_pauli(step.kind) || step.kind == Clifford::Channel;
    });
  }

  /// The outcomes and conditions of the noiseless run that frames are differences from.
  const std::vector<bool>& reference() const {
    std::call_once(once, [&] { run(nullptr, [&](bool value) { recorded.push_back(value); }); });
    return recorded;
  }

  /// 1024 shots at once; reference: what run() recorded. bits: [clbits] lanes.
  void frames(const std::vector<bool>& reference, Random random, std::vector<Lanes>& bits) const {
    std::vector<Lanes> x(circuit.wires(), Lanes{}), z(circuit.wires());
    // Z does nothing to |0>, so random ones may be there: they make random outcomes random.
    const auto randomize = [&](Lanes& lanes) {
      for (uint64_t& word : lanes) word = random.bits64();
    };
    for (Lanes& lanes : z) randomize(lanes);
    std::ranges::fill(bits, Lanes{});
    size_t recorded = 0;
    for (const CliffordStep& step : steps) {
      Lanes holds;
      holds.fill(~uint64_t{0});
      bool reference_holds = true;
      if (step.conditional) {
        for (const Condition& condition : operation(step).conditions) {
          for (int w = 0; w < kWords; ++w) {
            uint64_t same = ~uint64_t{0};
            for (int k = 0; k < condition.count; ++k)
              same &= (condition.value >> k & 1) ? bits[condition.first + k][w] : ~bits[condition.first + k][w];
            holds[w] &= condition.negated ? ~same : same;
          }
        }
        reference_holds = reference[recorded++];
      }
      const int a = step.a, b = step.b;
      switch (step.kind) {
        case Clifford::X:
        case Clifford::Y:
        case Clifford::Z:
          if (!step.conditional) break;
          for (int w = 0; w < kWords; ++w) {
            const uint64_t differs = holds[w] ^ (reference_holds ? ~uint64_t{0} : 0);
            if (step.kind != Clifford::Z) x[a][w] ^= differs;
            if (step.kind != Clifford::X) z[a][w] ^= differs;
          }
          break;
        case Clifford::H:
          std::swap(x[a], z[a]);
          break;
        case Clifford::S:
          for (int w = 0; w < kWords; ++w) z[a][w] ^= x[a][w];
          break;
        case Clifford::SX:
          for (int w = 0; w < kWords; ++w) x[a][w] ^= z[a][w];
          break;
        case Clifford::CX:
          for (int w = 0; w < kWords; ++w) {
            x[b][w] ^= x[a][w];
            z[a][w] ^= z[b][w];
          }
          break;
        case Clifford::CZ:
          for (int w = 0; w < kWords; ++w) {
            z[b][w] ^= x[a][w];
            z[a][w] ^= x[b][w];
          }
          break;
        case Clifford::SWAP:
          std::swap(x[a], x[b]);
          std::swap(z[a], z[b]);
          break;
        case Clifford::Measure: {
          Lanes& out = bits[operation(step).clbit];
          const uint64_t outcome = reference[recorded++] ? ~uint64_t{0} : 0;
          for (int w = 0; w < kWords; ++w) out[w] = x[a][w] ^ outcome;
          randomize(z[a]);
          const auto& misread = operation(step).misread;
          if (misread[0] == 0 && misread[1] == 0) break;
          const Lanes truth = out;
          for (const int value : {0, 1})
            each_event(misread[value], 64 * kWords, random, [&](int lane) {
              const uint64_t bit = uint64_t{1} << (lane % 64);
              if (bool(truth[lane / 64] & bit) == bool(value)) out[lane / 64] ^= bit;
            });
          break;
        }
        case Clifford::Reset:
          x[a] = Lanes{};
          randomize(z[a]);
          break;
        case Clifford::Channel: {
          const Mixture& noise = mixtures.at(step.operation);
          const std::vector<int>& wires = operation(step).wires;
          each_event(noise.total, 64 * kWords, random, [&](int lane) {
            int string = pick(noise, noise.strings.size() == 1 ? 0 : random.uniform() * noise.total);
            const uint64_t bit = holds[lane / 64] & uint64_t{1} << (lane % 64);
            for (const int q : wires) {
              if (letter_x(string & 3)) x[q][lane / 64] ^= bit;
              if (letter_z(string & 3)) z[q][lane / 64] ^= bit;
              string >>= 2;
            }
          });
          break;
        }
      }
    }
  }
};

StabilizerSimulator::StabilizerSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                         const std::vector<double>& weights, const std::vector<double>& inputs)
    : impl_(std::make_unique<Impl>(circuit, observables, weights, inputs)) {}
StabilizerSimulator::~StabilizerSimulator() = default;
StabilizerSimulator::StabilizerSimulator(StabilizerSimulator&&) noexcept = default;
StabilizerSimulator& StabilizerSimulator::operator=(StabilizerSimulator&&) noexcept = default;

int StabilizerSimulator::wires() const {
  return impl_->circuit.wires();
}
int StabilizerSimulator::clbits() const {
  return impl_->circuit.clbits();
}
int StabilizerSimulator::outputs() const {
  return int(impl_->observables.size());
}
int StabilizerSimulator::words() const {
  return (clbits() + 63) / 64;
}

void StabilizerSimulator::expectations(double* values) const {
  const Impl& impl = *impl_;
  for (const CliffordStep& step : impl.steps)
    require(!step.conditional, "operation {}: expectation values with conditions are not supported; draw samples",
            step.operation);
  struct Term {
    size_t output;
    const PauliSum::Term* term;
  };
  std::vector<Term> terms;
  for (size_t k = 0; k < impl.observables.size(); ++k)
    for (const PauliSum::Term& term : impl.observables[k].terms) terms.push_back({k, &term});
  std::vector<double> results(terms.size());
  parallel_for((int64_t(terms.size()) + 63) / 64, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {  // a bit is a string
      const size_t first = size_t(chunk) * 64, count = std::min<size_t>(64, terms.size() - first);
      std::vector<uint64_t> x(wires()), z(wires());
      uint64_t sign = 0, zero = 0, none = 0;
      std::array<double, 64> factor;
      factor.fill(1);
      for (size_t i = 0; i < count; ++i) {
        for (const auto& [wire, letter] : terms[first + i].term->pauli.factors) {
          if (letter != 'Z') x[wire] |= uint64_t{1} << i;
          if (letter != 'X') z[wire] |= uint64_t{1} << i;
        }
      }
      for (auto step = impl.steps.rbegin(); step != impl.steps.rend(); ++step) {
        if (step->kind == Clifford::Channel) {
          const std::vector<int>& wires = impl.operation(*step).wires;
          const std::vector<double>& p = impl.operation(*step).channel->pauli_probabilities();
          std::array<double, 64> anticommuting{};
          for (size_t string = 1; string < p.size(); ++string) {
            uint64_t lanes = 0;
            for (size_t k = 0; k < wires.size(); ++k) {
              const int letter = int(string >> (2 * k) & 3);
              if (letter_x(letter)) lanes ^= z[wires[k]];
              if (letter_z(letter)) lanes ^= x[wires[k]];
            }
            for (; lanes; lanes &= lanes - 1) anticommuting[std::countr_zero(lanes)] += p[string];
          }
          for (int i = 0; i < 64; ++i) factor[i] *= 1 - 2 * anticommuting[i];
        } else if (step->kind == Clifford::Measure) {
          zero |= x[step->a];
        } else if (step->kind == Clifford::Reset) {
          zero |= x[step->a];
          x[step->a] = z[step->a] = 0;
        } else {
          const bool two = step->b >= 0;
          conjugate(step->kind, x[step->a], z[step->a], two ? x[step->b] : none, two ? z[step->b] : none, sign);
        }
      }
      for (const uint64_t lanes : x) zero |= lanes;
      for (size_t i = 0; i < count; ++i)
        results[first + i] = zero >> i & 1 ? 0 : sign >> i & 1 ? -factor[i] : factor[i];
    }
  });
  std::fill_n(values, outputs(), 0.0);
  for (size_t i = 0; i < terms.size(); ++i) values[terms[i].output] += terms[i].term->coefficient * results[i];
}

void StabilizerSimulator::samples(int64_t shots, const Random& random, uint64_t* samples) const {
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  require(clbits() > 0, "the circuit has no classical bits to sample; add measure_all()");
  const Impl& impl = *impl_;
  const int W = words();
  std::fill_n(samples, shots * W, uint64_t{0});
  if (!impl.has_frames()) {
    parallel_for(shots, 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        Random stream = random.split(uint64_t(s));
        const std::vector<uint8_t> bits = impl.run(&stream, [](bool) {});
        for (size_t c = 0; c < bits.size(); ++c) samples[s * W + int64_t(c) / 64] |= uint64_t{bits[c]} << (c % 64);
      }
    });
    return;
  }
  const std::vector<bool>& reference = impl.reference();
  constexpr int64_t kLanes = 64 * kWords;
  parallel_for((shots + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end) {
    std::vector<Lanes> bits(clbits());
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      impl.frames(reference, random.split(uint64_t(chunk)), bits);
      const int64_t first = chunk * kLanes, count = std::min(shots - first, kLanes);
      for (int word = 0; word < W; ++word) {
        for (int64_t group = 0; group * 64 < count; ++group) {
          uint64_t square[64]{};
          for (int c = 0; c < std::min(64, clbits() - 64 * word); ++c) square[c] = bits[64 * word + c][group];
          transpose(square);
          for (int64_t s = 0; s < std::min<int64_t>(64, count - 64 * group); ++s)
            samples[(first + 64 * group + s) * W + word] = square[s];
        }
      }
    }
  });
}

}  // namespace quanta
