#include "quanta/simulate/mps.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <type_traits>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/mps_program.h"

namespace quanta {

using namespace simulate;

namespace {

using Vector = std::vector<Scalar>;

/// a with `letter` applied to the site index, times factor, added to b.
void add_pauli(char letter, Scalar factor, int left, int right, const Scalar* a, Scalar* b) {
  const Scalar i(0, 1);
  for (int r = 0; r < right; ++r, a += 2 * left, b += 2 * left) {
    switch (letter) {
      case 'X':
        add_multiple(left, factor, a + left, b);
        add_multiple(left, factor, a, b + left);
        break;
      case 'Y':
        add_multiple(left, -i * factor, a + left, b);
        add_multiple(left, i * factor, a, b + left);
        break;
      case 'Z':
        add_multiple(left, factor, a, b);
        add_multiple(left, -factor, a + left, b + left);
        break;
      default:
        add_multiple(2 * left, factor, a, b);
    }
  }
}

/// The expectation values of the tree's strings; the state's centre is site 0.
std::vector<double> measure(const TensorTrain& train, const PauliTree& tree) {
  std::vector<double> values(tree.terms);
  std::vector<Vector> now{{Scalar(1)}};  // of each node, what is left of it: [bond, bond], bra first
  for (int s = 0; s < train.sites() && !tree.edges[s].empty(); ++s) {
    const SiteTensor& a = train[s];
    std::vector<Vector> next(tree.nodes[s + 1]);
    Vector extended(a.data.size()), acted(a.data.size());
    int from = -1;
    for (const PauliTree::Edge& edge : tree.edges[s]) {
      if (edge.from != from) {
        from = edge.from;
        multiply('N', 'N', a.left, 2 * a.right, a.left, now[from].data(), a.data.data(), extended.data());
      }
      std::ranges::fill(acted, 0);
      add_pauli(edge.letter, 1, a.left, a.right, extended.data(), acted.data());
      if (edge.term >= 0) values[edge.term] = inner(int64_t(acted.size()), a.data.data(), acted.data()).real();
      if (edge.to >= 0) {
        next[edge.to].resize(size_t(a.right) * a.right);
        multiply('C', 'N', a.right, a.right, 2 * a.left, a.data.data(), acted.data(), next[edge.to].data());
      }
    }
    now = std::move(next);
  }
  return values;
}

/// (constant + sum_t weights[t] string_t) |train>, before compression.
TensorTrain apply_sum(const TensorTrain& train, const PauliTree& tree, const std::vector<double>& weights,
                      double constant) {
  const int n = train.sites();
  std::vector<SiteTensor> sites;
  for (int s = 0; s < n; ++s) {
    const SiteTensor& a = train[s];
    // One more block on each bond within: the strings that have ended.
    const int rows = s == 0 ? 1 : tree.nodes[s] + 1, columns = s == n - 1 ? 1 : tree.nodes[s + 1] + 1;
    SiteTensor b{rows * a.left, columns * a.right, Vector(size_t(rows) * a.left * 2 * columns * a.right)};
    const auto add = [&](int from, int to, char letter, double factor) {
      Vector block(a.data.size());
      add_pauli(letter, factor, a.left, a.right, a.data.data(), block.data());
      for (int r = 0; r < a.right; ++r)
        for (int p = 0; p < 2; ++p)
          for (int l = 0; l < a.left; ++l)
            b.data[size_t(from) * a.left + l + size_t(b.left) * (p + 2 * (size_t(to) * a.right + r))] +=
                block[l + size_t(a.left) * (p + 2 * size_t(r))];
    };
    for (const PauliTree::Edge& edge : tree.edges[s]) {
      if (edge.to >= 0) add(edge.from, edge.to, edge.letter, 1);
      if (edge.term >= 0) add(edge.from, columns - 1, edge.letter, weights[edge.term]);
    }
    if (s == 0) add(0, columns - 1, 'I', constant);
    if (s > 0) add(rows - 1, columns - 1, 'I', 1);
    sites.push_back(std::move(b));
  }
  return TensorTrain(std::move(sites), n - 1);
}

/// <bra| and |ket> contracted from both ends, as far as asked for and kept until a site in between changes.
class Overlap {
 public:
  Overlap(const TensorTrain& bra, const TensorTrain& ket)
      : bra_(bra), ket_(ket), left_(bra.sites() + 1), right_(bra.sites() + 1) {
    left_.front() = right_.back() = Vector{1};
  }

  /// The tensors of the sites first .. last have changed, but not their product.
  void changed(int first, int last) {
    for (int bond = first + 1; bond <= last; ++bond) left_[bond] = right_[bond] = std::nullopt;
  }

  /// e[P' * 2^count + P] = <bra| (|P'><P| on the sites first, ...) |ket>
  Vector environment(int first, int count) {
    const Vector &l = left(first), &r = right(first + count);
    const int dim = 1 << count, bl = bra_[first].left, kl = ket_[first].left;
    const int br = bra_[first + count - 1].right, kr = ket_[first + count - 1].right;
    const Vector bra = bra_.block(first, count), ket = ket_.block(first, count);
    Vector half(size_t(bl) * dim * kr), whole(size_t(bl) * dim * br), result(size_t(dim) * dim);
    multiply('N', 'N', bl, dim * kr, kl, l.data(), ket.data(), half.data());
    multiply('N', 'T', bl * dim, br, kr, half.data(), r.data(), whole.data());
    for (int c = 0; c < br; ++c)
      for (int i = 0; i < dim; ++i)
        for (int j = 0; j < dim; ++j)
          result[size_t(i) * dim + j] +=
              inner(bl, &bra[size_t(bl) * (i + size_t(dim) * c)], &whole[size_t(bl) * (j + size_t(dim) * c)]);
    return result;
  }

 private:
  const Vector& left(int bond) {  // [bra, ket]
    int from = bond;
    while (!left_[from]) --from;
    for (; from < bond; ++from) {
      const SiteTensor &a = bra_[from], &b = ket_[from];
      Vector half(size_t(a.left) * 2 * b.right), whole(size_t(a.right) * b.right);
      multiply('N', 'N', a.left, 2 * b.right, b.left, left_[from]->data(), b.data.data(), half.data());
      multiply('C', 'N', a.right, b.right, 2 * a.left, a.data.data(), half.data(), whole.data());
      left_[from + 1] = std::move(whole);
    }
    return *left_[bond];
  }

  const Vector& right(int bond) {  // [bra, ket]
    int from = bond;
    while (!right_[from]) ++from;
    for (; from > bond; --from) {
      const SiteTensor &a = bra_[from - 1], &b = ket_[from - 1];
      Vector half(size_t(b.left) * 2 * a.right), whole(size_t(a.left) * b.left), conjugated = a.data;
      for (Scalar& element : conjugated) element = std::conj(element);
      multiply('N', 'T', 2 * b.left, a.right, b.right, b.data.data(), right_[from]->data(), half.data());
      multiply('N', 'T', a.left, b.left, 2 * a.right, conjugated.data(), half.data(), whole.data());
      right_[from - 1] = std::move(whole);
    }
    return *right_[bond];
  }

  const TensorTrain &bra_, &ket_;
  std::vector<std::optional<Vector>> left_, right_;
};

/// d value of the angle / d weights and inputs, times `slope`.
void add_gradient(const Angle& angle, double slope, const double* weights, const double* inputs, double* dweights,
                  double* dinputs) {
  if (angle.offset != Angle::kNone) dweights[angle.offset] += slope;
  if (angle.scale == 0) return;
  const double w = angle.weight == Angle::kNone ? 1 : weights[angle.weight];
  const double x = angle.input == Angle::kNone ? 1 : inputs[angle.input];
  const double y = angle.input2 == Angle::kNone ? 1 : inputs[angle.input2];
  if (angle.weight != Angle::kNone) dweights[angle.weight] += slope * angle.scale * x * y;
  if (angle.input != Angle::kNone) dinputs[angle.input] += slope * angle.scale * w * y;
  if (angle.input2 != Angle::kNone) dinputs[angle.input2] += slope * angle.scale * w * x;
}

template <class Real>
std::vector<double> widen(const Real* values, int64_t count) {
  return std::vector<double>(values, values + count);
}

}  // namespace

template <class Real>
struct MpsSimulator<Real>::Impl {
  Circuit circuit;
  int outputs;
  MpsOptions options;
  MpsProgram program;
  PauliTree tree;

  Impl(const Circuit& circuit, const std::vector<PauliSum>& observables, const MpsOptions& options)
      : circuit(circuit),
        outputs(int(observables.size())),
        options(options),
        program(compile_mps(circuit, options.reorder)),
        tree(check(observables, circuit.wires()), program.site) {
    require(options.max_bond >= 1, "the largest bond dimension is {}, expected 1 or more", options.max_bond);
    require(options.cutoff >= 0 && options.cutoff < 1, "the cutoff is {}, expected 0 <= cutoff < 1", options.cutoff);
  }

  static const std::vector<PauliSum>& check(const std::vector<PauliSum>& observables, int wires) {
    for (size_t k = 0; k < observables.size(); ++k)
      require(observables[k].max_wire() < wires, "observable {} names wire {}, but the circuit has {} wires", k,
              observables[k].max_wire(), wires);
    return observables;
  }

  struct Run {
    TensorTrain train;
    MpsReport report{};
    std::vector<std::pair<int, SiteTensor>> tape{};  // what was replaced ...
    std::vector<size_t> marks{};                     // ... before each step
  };

  /// One sample's parameters in double precision.
  struct Sample {
    std::vector<double> weights, inputs;
  };

  void forward(Run& run, const Sample& sample) const {
    const Truncation truncation{options.max_bond, options.cutoff};
    for (const MpsStep& step : program.steps) {
      run.marks.push_back(run.tape.size());
      if (step.count() > 1)
        run.train.move_centre(std::clamp(run.train.centre, step.first, step.first + step.count() - 1));
      const Vector matrix = this->matrix(step, sample);
      const double discarded = run.train.apply(matrix.data(), step.first, step.count(), truncation, step.to_left);
      run.report.discarded_weight += discarded;
      run.report.fidelity *= 1 - discarded;
      if (step.count() > 1)
        for (int s = step.first; s + 1 < step.first + step.count(); ++s)
          run.report.largest_bond = std::max(run.report.largest_bond, run.train[s].right);
    }
    run.marks.push_back(run.tape.size());
    run.train.move_centre(0);
  }

  const Operation* operation(const MpsStep& step) const {
    return step.operation == MpsStep::kSwap ? nullptr : &program.operations[step.operation];
  }

  Vector matrix(const MpsStep& step, const Sample& sample) const {
    return step_matrix(step, operation(step), sample.weights.data(), sample.inputs.data());
  }

  /// d matrix / d angle k, exactly: its elements are combinations of 1, exp(+-i a/2) and exp(+-i a), on which two pairs
  /// of shifts act as the derivative does.
  Vector matrix_slope(const MpsStep& step, size_t k, const Sample& sample) const {
    constexpr double kPi = std::numbers::pi;
    const double half = (1 - std::numbers::sqrt2) / 4;
    Vector slope(size_t{1} << (2 * step.count()));
    for (const auto& [shift, factor] : {std::pair{kPi, half}, {-kPi, -half}, {kPi / 2, 0.5}, {-kPi / 2, -0.5}}) {
      Operation shifted = program.operations[step.operation];
      shifted.angles[k].constant += shift;
      const Vector part = step_matrix(step, &shifted, sample.weights.data(), sample.inputs.data());
      add_multiple(int64_t(slope.size()), factor, part.data(), slope.data());
    }
    return slope;
  }

  void store_values(const Run& run, Real* values) const {
    const std::vector<double> terms = measure(run.train, tree);
    std::vector<double> sums = tree.constants;
    for (const auto& [output, term, value] : tree.coefficients) sums[output] += value * terms[term];
    std::ranges::copy(sums, values);
  }

  void backward(Run& run, const Sample& sample, const Real* upstream, std::vector<double>& dweights,
                std::vector<double>& dinputs) const {
    double constant = 0;
    std::vector<double> weights(tree.terms);
    for (int k = 0; k < outputs; ++k) constant += double(upstream[k]) * tree.constants[k];
    for (const auto& [output, term, value] : tree.coefficients) weights[term] += double(upstream[output]) * value;

    const Truncation truncation{int(std::min<int64_t>(2 * int64_t(options.max_bond), 1 << 20)), options.cutoff, false};
    TensorTrain& ket = run.train;
    TensorTrain bra = apply_sum(ket, tree, weights, constant);
    bra.move_centre(0);
    while (bra.centre + 1 < bra.sites()) bra.truncate_right(truncation);

    Overlap overlap(bra, ket);
    ket.tape = nullptr;
    const auto undo = [&](size_t mark) {
      int first = ket.sites(), last = 0;
      for (; run.tape.size() > mark; run.tape.pop_back()) {
        auto& [site, tensor] = run.tape.back();
        ket.restore(site, std::move(tensor));
        first = std::min(first, site);
        last = std::max(last, site);
      }
      overlap.changed(first, last);
    };
    undo(run.marks.back());
    const auto& steps = program.steps;
    const auto first = std::ranges::find_if(steps, &MpsStep::trainable) - steps.begin();
    for (int64_t i = int64_t(steps.size()) - 1; i >= first; --i) {
      const MpsStep& step = steps[i];
      const int count = step.count(), dim = 1 << count;
      const Vector matrix = this->matrix(step, sample);
      if (step.trainable) {
        const Vector environment = overlap.environment(step.first, count);
        const std::vector<Angle>& angles = operation(step)->angles;
        for (size_t k = 0; k < angles.size(); ++k) {
          if (angles[k].is_constant()) continue;
          // 2 Re <bra| dU U^dagger |ket>
          const Vector slope = matrix_slope(step, k, sample);
          Scalar sum = 0;
          for (int r = 0; r < dim; ++r)
            for (int c = 0; c < dim; ++c)
              sum += environment[r * dim + c] * inner(dim, &matrix[c * dim], &slope[r * dim]);
          add_gradient(angles[k], 2 * sum.real(), sample.weights.data(), sample.inputs.data(), dweights.data(),
                       dinputs.data());
        }
      }
      if (i == first) break;
      undo(run.marks[i]);
      Vector inverse(matrix.size());
      for (int r = 0; r < dim; ++r)
        for (int c = 0; c < dim; ++c) inverse[c * dim + r] = std::conj(matrix[r * dim + c]);
      if (count > 1) {
        const int from = bra.centre, to = std::clamp(from, step.first, step.first + count - 1);
        bra.move_centre(to);
        overlap.changed(std::min(from, to), std::max(from, to));
      }
      bra.apply(inverse.data(), step.first, count, truncation, true);
      overlap.changed(step.first, step.first + count - 1);
    }
  }

  /// visit(run, sample, b) for each sample's final state, centre at site 0.
  template <class Visit>
  MpsReport each(int64_t batch, const Real* weights, const Real* inputs, bool record, const Visit& visit) const {
    require(batch >= 0, "the batch size is {}, expected 0 or more", batch);
    const OneBlasThread one_thread;
    std::vector<MpsReport> reports(batch);
    const std::vector<double> w = widen(weights, circuit.weights());
    parallel_for(batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const Sample sample{w, widen(inputs + b * circuit.inputs(), circuit.inputs())};
        Run run{TensorTrain(circuit.wires())};
        if (record) run.train.tape = &run.tape;
        forward(run, sample);
        visit(run, sample, b);
        reports[b] = run.report;
      }
    });
    MpsReport worst;
    for (const MpsReport& report : reports) {
      worst.discarded_weight = std::max(worst.discarded_weight, report.discarded_weight);
      worst.fidelity = std::min(worst.fidelity, report.fidelity);
      worst.largest_bond = std::max(worst.largest_bond, report.largest_bond);
    }
    return worst;
  }
};

template <class Real>
MpsSimulator<Real>::MpsSimulator(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                 const MpsOptions& options)
    : impl_(std::make_unique<Impl>(circuit, observables, options)) {}
template <class Real>
MpsSimulator<Real>::~MpsSimulator() = default;
template <class Real>
MpsSimulator<Real>::MpsSimulator(MpsSimulator&&) noexcept = default;
template <class Real>
MpsSimulator<Real>& MpsSimulator<Real>::operator=(MpsSimulator&&) noexcept = default;

template <class Real>
int MpsSimulator<Real>::wires() const {
  return impl_->circuit.wires();
}
template <class Real>
int MpsSimulator<Real>::weights() const {
  return impl_->circuit.weights();
}
template <class Real>
int MpsSimulator<Real>::inputs() const {
  return impl_->circuit.inputs();
}
template <class Real>
int MpsSimulator<Real>::outputs() const {
  return impl_->outputs;
}
template <class Real>
int MpsSimulator<Real>::words() const {
  return (wires() + 63) / 64;
}

template <class Real>
MpsReport MpsSimulator<Real>::expectations(int64_t batch, const Real* weights, const Real* inputs, Real* values) const {
  return impl_->each(batch, weights, inputs, false,
                     [&](auto& run, auto&, int64_t b) { impl_->store_values(run, values + b * outputs()); });
}

template <class Real>
MpsReport MpsSimulator<Real>::vjp(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream,
                                  Real* dweights, Real* dinputs, Real* values) const {
  const size_t W = size_t(this->weights()), I = size_t(this->inputs());
  std::vector<double> parts(size_t(batch) * W);  // of each sample, so that the sum's order is fixed
  const MpsReport report = impl_->each(batch, weights, inputs, true, [&](auto& run, const auto& sample, int64_t b) {
    if (values) impl_->store_values(run, values + b * outputs());
    std::vector<double> dw(W), dx(I);
    impl_->backward(run, sample, upstream + b * outputs(), dw, dx);
    std::ranges::copy(dw, parts.begin() + b * W);
    if (dinputs) std::ranges::copy(dx, dinputs + b * I);
  });
  if (dweights) {
    for (size_t i = 0; i < W; ++i) {
      double sum = 0;
      for (int64_t b = 0; b < batch; ++b) sum += parts[size_t(b) * W + i];
      dweights[i] = Real(sum);
    }
  }
  return report;
}

template <class Real>
MpsReport MpsSimulator<Real>::amplitudes(int64_t batch, const Real* weights, const Real* inputs, int64_t count,
                                         const uint64_t* basis, std::complex<Real>* amplitudes) const {
  return impl_->each(batch, weights, inputs, false, [&](auto& run, auto&, int64_t b) {
    std::vector<int> wire(wires());
    for (int q = 0; q < wires(); ++q) wire[impl_->program.site[q]] = q;
    for (int64_t k = 0; k < count; ++k) {
      Vector row{1};
      for (int s = 0; s < wires(); ++s) {
        const SiteTensor& a = run.train[s];
        const int q = wire[s], bit = int(basis[k * words() + q / 64] >> (q % 64) & 1);
        Vector next(a.right);
        for (int r = 0; r < a.right; ++r)
          for (int l = 0; l < a.left; ++l)
            add_multiple(1, row[l], &a.data[l + size_t(a.left) * (bit + 2 * size_t(r))], &next[r]);
        row = std::move(next);
      }
      amplitudes[b * count + k] = std::complex<Real>(row[0]);
    }
  });
}

template <class Real>
MpsReport MpsSimulator<Real>::states(int64_t batch, const Real* weights, const Real* inputs,
                                     std::complex<Real>* states) const {
  require(wires() <= 24, "the states of {} wires do not fit; ask for amplitudes or samples (at most 24 wires)",
          wires());
  return impl_->each(batch, weights, inputs, false, [&](auto& run, auto&, int64_t b) {
    const Vector block = run.train.block(0, wires());
    const size_t size = size_t{1} << wires();
    for (size_t i = 0; i < size; ++i) {
      size_t index = 0;
      for (int q = 0; q < wires(); ++q) index |= (i >> q & 1) << impl_->program.site[q];
      states[b * size + i] = std::complex<Real>(block[index]);
    }
  });
}

template <class Real>
MpsReport MpsSimulator<Real>::probabilities(int64_t batch, const Real* weights, const Real* inputs,
                                            Real* probabilities) const {
  require(wires() <= 24, "the states of {} wires do not fit; ask for amplitudes or samples (at most 24 wires)",
          wires());
  std::vector<std::complex<Real>> amplitudes(size_t(batch) << wires());
  const MpsReport report = states(batch, weights, inputs, amplitudes.data());
  std::ranges::transform(amplitudes, probabilities, [](const auto& a) { return std::norm(a); });
  return report;
}

template <class Real>
MpsReport MpsSimulator<Real>::samples(int64_t batch, const Real* weights, const Real* inputs, int64_t shots,
                                      const Random& random, uint64_t* samples) const {
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  constexpr int64_t kTogether = 64;  // shots that share a product of matrices
  const int n = wires(), W = words();
  std::vector<int> wire(n);
  for (int q = 0; q < n; ++q) wire[impl_->program.site[q]] = q;
  const auto draw = [&](const TensorTrain& train, const Random& stream, uint64_t* out) {
    std::fill_n(out, shots * W, 0);
    parallel_for((shots + kTogether - 1) / kTogether, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kTogether;
        const int count = int(std::min(shots - first, kTogether));
        std::vector<Random> streams;
        for (int i = 0; i < count; ++i) streams.push_back(stream.split(uint64_t(first + i)));
        Vector rows(count, 1), next;  // [bond, shot]: what is left of the site, with the drawn bits
        for (int s = 0; s < n; ++s) {
          const SiteTensor& a = train[s];
          Vector both(size_t(2) * a.right * count);  // [2, right, shot]
          multiply('T', 'N', 2 * a.right, count, a.left, a.data.data(), rows.data(), both.data());
          next.resize(size_t(a.right) * count);
          for (int i = 0; i < count; ++i) {
            const Scalar* row = &both[size_t(2) * a.right * i];
            double weight[2] = {0, 0};
            for (int r = 0; r < a.right; ++r)
              for (int p = 0; p < 2; ++p) weight[p] += std::norm(row[2 * r + p]);
            const int bit = streams[i].uniform() * (weight[0] + weight[1]) >= weight[0];
            const double scale = 1 / std::sqrt(weight[bit]);
            for (int r = 0; r < a.right; ++r) next[size_t(a.right) * i + r] = row[2 * r + bit] * scale;
            out[(first + i) * W + wire[s] / 64] |= uint64_t(bit) << (wire[s] % 64);
          }
          std::swap(rows, next);
        }
      }
    });
  };
  // A batch shares the threads among its samples, a single state among its shots.
  return impl_->each(batch, weights, inputs, false, [&](auto& run, auto&, int64_t b) {
    draw(run.train, random.split(uint64_t(b)), samples + b * shots * W);
  });
}

template class MpsSimulator<float>;
template class MpsSimulator<double>;

}  // namespace quanta
