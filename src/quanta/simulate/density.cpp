#include "quanta/simulate/density.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "quanta/core/aligned.h"
#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/checks.h"
#include "quanta/simulate/density_kernels.h"
#include "quanta/simulate/pool.h"
#include "quanta/simulate/sampling.h"

namespace quanta {

using namespace simulate;
using namespace simulate::pauli_basis;

namespace {

// --- coefficients and their derivatives

void rotate_rows(Map& map, int axis, double angle) {
  const double c = std::cos(angle), s = std::sin(angle);
  const int a = axis % 3 + 1, b = a % 3 + 1;
  for (int j = 0; j < 4; ++j) {
    const double x = map[a * 4 + j], y = map[b * 4 + j];
    map[a * 4 + j] = c * x - s * y;
    map[b * 4 + j] = s * x + c * y;
  }
}

Map chain_map(const std::vector<Factor>& chain, const double* weights, const double* inputs) {
  Map map = identity_map();
  for (const Factor& factor : chain)
    if (factor.axis)
      rotate_rows(map, factor.axis, factor.scale * factor.angle.value(weights, inputs));
    else
      map = after(factor.map, map);
  return map;
}

// Adds the derivatives of an angle times `upstream`.
void add_derivative(const Angle& a, double upstream, const double* weights, const double* inputs, double* dweights,
                    double* dinputs) {
  if (a.offset >= 0) dweights[a.offset] += upstream;
  if (a.scale == 0) return;
  const double w = a.weight >= 0 ? weights[a.weight] : 1, x = a.input >= 0 ? inputs[a.input] : 1,
               y = a.input2 >= 0 ? inputs[a.input2] : 1;
  if (a.weight >= 0) dweights[a.weight] += upstream * a.scale * x * y;
  if (a.input >= 0) dinputs[a.input] += upstream * a.scale * w * y;
  if (a.input2 >= 0) dinputs[a.input2] += upstream * a.scale * w * x;
}

// From the gradient of a chain's map, [4, 4] (row 0 is fixed), to that of its angles.
void chain_derivatives(const std::vector<Factor>& chain, const double* gradient, const double* weights,
                       const double* inputs, double* dweights, double* dinputs) {
  std::vector<Map> prefix;  // up to and with each factor
  Map map = identity_map();
  for (const Factor& factor : chain) {
    map = after(chain_map({factor}, weights, inputs), map);
    prefix.push_back(map);
  }
  Map back;  // the later factors transposed, times the gradient
  std::copy_n(gradient, 16, back.begin());
  std::fill_n(back.begin(), 4, 0.0);
  for (size_t k = chain.size(); k-- > 0;) {
    const Factor& factor = chain[k];
    if (factor.axis == 0) {
      Map transposed;
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) transposed[i * 4 + j] = factor.map[j * 4 + i];
      back = after(transposed, back);
      continue;
    }
    const int a = factor.axis % 3 + 1, b = a % 3 + 1;
    double d = 0;
    for (int j = 0; j < 4; ++j) d += back[b * 4 + j] * prefix[k][a * 4 + j] - back[a * 4 + j] * prefix[k][b * 4 + j];
    add_derivative(factor.angle, factor.scale * d, weights, inputs, dweights, dinputs);
    rotate_rows(back, factor.axis, -factor.scale * factor.angle.value(weights, inputs));
  }
}

// --- matrices: [4^n] elements, a digit being 2 (row's bit) + (column's bit)

// From elements to Pauli coefficients tr(P rho), or from coefficients c_P to the elements of sum c_P P.
void change_basis(std::vector<Complex>& all, bool to_pauli) {
  for (size_t step = 1; step < all.size(); step *= 4)
    for (size_t high = 0; high < all.size(); high += 4 * step)
      for (size_t i = high; i < high + step; ++i) {
        const Complex a = all[i], b = all[i + step], c = all[i + 2 * step], d = all[i + 3 * step];
        const Complex kI(0, 1);
        const std::array<Complex, 4> out =
            to_pauli ? std::array{a + d, b + c, kI * (b - c), a - d} : std::array{a + d, b - kI * c, b + kI * c, a - d};
        for (size_t k = 0; k < 4; ++k) all[i + k * step] = out[k];
      }
}

// A matrix on some bits of the index, where other bits hold; elsewhere nothing, or zero.
void apply_to_bits(std::vector<Complex>& all, const Matrix& matrix, const Effect& effect, int side, bool zero) {
  const auto bit = [side](int wire) { return 2 * wire + side; };
  std::vector<size_t> corner(matrix.dim);
  for (int i = 0; i < matrix.dim; ++i)
    for (size_t k = 0; k < effect.wires.size(); ++k) corner[i] |= size_t(i >> k & 1) << bit(effect.wires[k]);
  const size_t own = corner.back();
  std::vector<Complex> before(matrix.dim);
  for (size_t base = 0; base < all.size(); ++base) {
    if (base & own) continue;
    size_t bits = 0;
    for (size_t k = 0; k < effect.where.size(); ++k) bits |= (base >> bit(effect.where[k]) & 1) << k;
    if (!effect.holds[bits]) {
      if (zero)
        for (const size_t c : corner) all[base | c] = 0;
      continue;
    }
    for (int i = 0; i < matrix.dim; ++i) before[i] = all[base | corner[i]];
    for (int i = 0; i < matrix.dim; ++i) {
      Complex sum = 0;
      for (int j = 0; j < matrix.dim; ++j) sum += matrix(i, j) * before[j];
      all[base | corner[i]] = sum;
    }
  }
}

Matrix conjugated(Matrix matrix) {
  for (Complex& element : matrix.data) element = std::conj(element);
  return matrix;
}

// --- memory

template <class T>
struct Workspace {
  AlignedVector<T> state, lambda, coefficients, checkpoints, gradients, block_product, outer_product;
  std::vector<double> inputs, dinputs, sums, dweights;
};

constexpr int64_t kMaxChunks = 32;

}  // namespace

template <class T>
struct DensitySimulator<T>::Impl {
  Circuit circuit;
  std::vector<PauliSum> observables;
  std::vector<std::array<double, 2>> misread;  // by the final measurements, [wires]
  const DensityKernels<T>& kernel = density_kernels<T>();
  // For final states, for expectation values, and one in which every chain is a step, for gradients.
  Program forward_program, expectation_program, gradient_program;
  mutable Pool<Workspace<T>> workspaces;
  mutable Pool<AlignedVector<T>> buffers, shared_coefficients;

  Impl(const Circuit& c, const std::vector<PauliSum>& o)
      : circuit(c.without_final_measurements()),
        observables(o),
        misread(c.wires()),
        forward_program(lower(circuit, {}, kernel.lanes, {.product_start = true})),
        expectation_program(lower(circuit, checked(), kernel.lanes, {.product_start = true, .absorb = true})),
        gradient_program(lower(circuit, observables, kernel.lanes, {})) {
    require_memory(fmt::format("a density matrix of {} qubits", forward_program.layout.wires),
                   double(forward_program.layout.size) * sizeof(T));
    for (const Operation& measure : c.final_measurements()) misread[measure.wires[0]] = measure.misread;
  }

  const std::vector<PauliSum>& checked() const {
    require_wires(observables, circuit.wires());
    return observables;
  }

  int64_t units(int64_t batch) const {
    const int64_t lanes = int64_t(kernel.lanes);
    return forward_program.layout.by_sample ? (batch + lanes - 1) / lanes : batch;
  }
  // The samples of a unit, which has one state: as many as lanes, or one.
  int64_t samples_of_unit() const { return forward_program.layout.by_sample ? int64_t(kernel.lanes) : 1; }

  // --- coefficients

  void fill(const BlockStep& step, const double* weights, const double* inputs, T* coefficients, size_t lane,
            size_t lanes) const {
    T* at = coefficients + size_t(step.slot) * kernel.lanes;
    const auto put = [&](size_t i, double value) {
      for (size_t l = lane; l < lane + lanes; ++l) at[i * kernel.lanes + l] = T(value);
    };
    if (step.kind == Step::Kind::kChain) {
      const Map map = chain_map(step.step.chain, weights, inputs);
      for (size_t i = 0; i < 16; ++i) put(i, map[i]);
    } else if (step.kind == Step::Kind::kRotation) {
      const double angle = step.step.scale * step.step.angle.value(weights, inputs);
      put(0, std::cos(angle));
      put(1, std::sin(angle));
    }
  }

  // Those that depend on the weights alone.
  void prepare(const Program& program, const double* weights, T* coefficients) const {
    for (const Pass& pass : program.passes)
      for (const BlockStep& step : pass.steps)
        if (!step.per_input) fill(step, weights, nullptr, coefficients, 0, kernel.lanes);
  }

  // --- one unit

  struct Unit {
    const Program* program;
    Workspace<T>* work;
    const double* weights;
    const double* inputs;  // [count, inputs]
    int64_t first, count;  // samples
    const T* coefficients;
    bool from_product;  // the first pass makes its own input

    T* state() const { return work->state.data(); }
    size_t lanes() const { return program->layout.by_sample ? program->layout.lanes : 1; }
  };

  Unit begin(const Program& program, Workspace<T>& work, const T* shared, const double* weights, const T* inputs,
             int64_t batch, int64_t unit) const {
    const size_t L = kernel.lanes, columns = size_t(program.inputs);
    Unit u{&program, &work, weights, nullptr, unit * samples_of_unit(), 0, shared, false};
    u.count = std::min(samples_of_unit(), batch - u.first);
    work.inputs.resize(columns * size_t(u.count));
    for (size_t i = 0; i < work.inputs.size(); ++i) work.inputs[i] = double(inputs[size_t(u.first) * columns + i]);
    u.inputs = work.inputs.data();

    const bool per_input = std::ranges::any_of(program.passes, [](const Pass& pass) {
      return std::ranges::any_of(pass.steps, [](const BlockStep& step) { return step.per_input; });
    });
    if (per_input) {
      T* own = reserve(work.coefficients, size_t(program.coefficients) * L);
      std::copy_n(shared, size_t(program.coefficients) * L, own);
      for (const Pass& pass : program.passes)
        for (const BlockStep& step : pass.steps)
          if (step.per_input)
            for (size_t s = 0; s < size_t(u.count); ++s)
              fill(step, weights, u.inputs + s * columns, own, s, program.layout.by_sample ? 1 : L);
      u.coefficients = own;
    }
    reserve(work.state, program.layout.size);
    start(u);
    return u;
  }

  void start(Unit& u) const {
    const Program& p = *u.program;
    if (p.amplitude_encoding) return encode(u);
    std::vector<std::array<double, 4>> vectors;
    for (const auto& chain : p.start) {
      const Map map = chain_map(chain, u.weights, u.inputs);
      vectors.push_back({1, map[4] + map[7], map[8] + map[11], map[12] + map[15]});
    }
    const auto product = [&](const std::vector<int>& wires, AlignedVector<T>& out) {
      T* at = reserve(out, std::max(size_t(1) << 2 * wires.size(), kernel.lanes));
      std::fill_n(at, kernel.lanes, T(1));
      size_t size = 1;
      for (const int q : wires) {
        for (size_t d = 4; d-- > 0;)
          for (size_t i = 0; i < size; ++i) at[d * size + i] = T(double(at[i]) * vectors[q][d]);
        size *= 4;
      }
    };
    u.from_product = !p.passes.empty() && !p.passes[0].wide;
    std::vector<int> inside = u.from_product ? p.passes[0].wires : std::vector<int>{}, outside;
    for (int q = 0; q < p.layout.wires; ++q)
      if (std::ranges::count(inside, q) == 0) outside.push_back(q);
    product(inside, u.work->block_product);
    product(outside, u.work->outer_product);
    if (!u.from_product)
      for (size_t i = 0; i < size_t(1) << 2 * p.layout.wires; ++i)
        for (size_t l = 0; l < u.lanes(); ++l) u.state()[at(p, i) + l] = u.work->outer_product[i];
  }

  // Where the string with these digits is.
  static size_t at(const Program& program, size_t digits) {
    size_t result = 0;
    for (int q = 0; q < program.layout.wires; ++q) result += (digits >> 2 * q & 3) * program.layout.stride[q];
    return result;
  }
  // The index, in pairs of bits, with `bits` on the given side of each pair.
  static size_t spread_bits(size_t bits, int side) {
    size_t result = 0;
    for (int q = 0; bits >> q; ++q) result |= (bits >> q & 1) << (2 * q + side);
    return result;
  }

  double norm_of(const double* amplitudes, int64_t sample) const {
    double norm = 0;
    for (size_t b = 0; b < size_t(1) << circuit.wires(); ++b) norm += amplitudes[b] * amplitudes[b];
    require(norm > 0 && std::isfinite(norm),
            "amplitude encoding: the inputs of sample {} have norm {}, expected a finite "
            "one above 0",
            sample, std::sqrt(norm));
    return norm;
  }

  void encode(const Unit& u) const {
    const Program& p = *u.program;
    const size_t dim = size_t(1) << p.qubits;
    for (int64_t s = 0; s < u.count; ++s) {
      const double* x = u.inputs + size_t(s) * p.inputs;
      const double norm = norm_of(x, u.first + s);
      std::vector<Complex> all(size_t(1) << 2 * p.layout.wires);
      for (size_t i = 0; i < dim; ++i)
        for (size_t j = 0; j < dim; ++j) all[spread_bits(i, 1) | spread_bits(j, 0)] = x[i] * x[j] / norm;
      change_basis(all, true);
      for (size_t i = 0; i < all.size(); ++i) u.state()[at(p, i) + size_t(s)] = T(all[i].real());
    }
  }

  // `from` null: the start.
  void run(const Unit& u, const Pass& pass, const T* from, T* to) const {
    if (pass.wide) return wide(*u.program, pass.effect, false, from, to);
    const PassWork<T> work{.program = u.program,
                           .pass = &pass,
                           .coefficients = u.coefficients,
                           .in = from,
                           .out = to,
                           .block_product = u.work->block_product.data(),
                           .outer_product = u.work->outer_product.data()};
    const int64_t groups = int64_t(kernel.groups(pass)), group = int64_t(pass.block_offset.size() * kernel.lanes);
    parallel_for(groups, std::max<int64_t>(1, (1 << 15) / group), [&](int64_t begin, int64_t end) {
      Borrowed<AlignedVector<T>> buffer(buffers);
      kernel.forward(work, size_t(begin), size_t(end), reserve(*buffer, kernel.buffer_size(pass)));
    });
  }

  void run_back(const Unit& u, const Pass& pass, const T* before, T* lambda, T* gradients) const {
    if (pass.wide) return wide(*u.program, pass.effect, true, lambda, lambda);
    // Sums are cut in a way that knows the circuit alone.
    const int64_t groups = int64_t(kernel.groups(pass)), chunks = std::min(gradient_chunks(*u.program), groups);
    parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
      Borrowed<AlignedVector<T>> buffer(buffers);
      T* memory = reserve(*buffer, kernel.buffer_size(pass));
      for (int64_t chunk = begin; chunk < end; ++chunk)
        kernel.backward({.program = u.program,
                         .pass = &pass,
                         .coefficients = u.coefficients,
                         .in = before,
                         .out = lambda,
                         .block_product = u.work->block_product.data(),
                         .outer_product = u.work->outer_product.data(),
                         .gradients = gradients + size_t(chunk * u.program->gradients) * kernel.lanes},
                        size_t(groups * chunk / chunks), size_t(groups * (chunk + 1) / chunks), memory);
    });
  }
  static int64_t gradient_chunks(const Program& program) {
    return std::clamp<int64_t>(int64_t(program.layout.size >> 16), 1, 16);
  }

  void wide(const Program& program, const Effect& effect, bool adjoint, const T* from, T* to) const {
    std::vector<Complex> all(size_t(1) << 2 * program.layout.wires), sum(all.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = double(from[at(program, i)]);
    change_basis(all, false);
    for (size_t k = 0; k < effect.kraus.size(); ++k) {
      std::vector<Complex> term = all;
      const Matrix matrix = adjoint ? effect.kraus[k].adjoint() : effect.kraus[k];
      apply_to_bits(term, matrix, effect, 1, k > 0);
      apply_to_bits(term, conjugated(matrix), effect, 0, k > 0);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += term[i];
    }
    change_basis(sum, true);
    for (size_t i = 0; i < sum.size(); ++i) to[at(program, i)] = T(std::ldexp(sum[i].real(), -program.layout.wires));
  }

  // --- batches

  /// Runs body(unit index, workspace, chunk) for all units.
  template <class Body>
  void each_unit(int64_t batch, Body body) const {
    require_batch(batch);
    const int64_t all = units(batch), chunks = std::min(all, kMaxChunks);
    const auto part = [&](int64_t begin, int64_t end) {
      Borrowed<Workspace<T>> work(workspaces);
      for (int64_t chunk = begin; chunk < end; ++chunk)
        for (int64_t unit = all * chunk / chunks; unit < all * (chunk + 1) / chunks; ++unit) body(unit, *work, chunk);
    };
    // Small states side by side; the large ones share the threads among them.
    if (forward_program.layout.wires <= 9 && all > 1)
      parallel_for(chunks, 1, part);
    else
      part(0, chunks);
  }

  /// visit(unit) sees each final state.
  template <class Visit>
  void run_all(const Program& program, int64_t batch, const T* weights, const T* inputs, Visit visit) const {
    const std::vector<double> wide_weights(weights, weights + program.weights);
    Borrowed<AlignedVector<T>> shared(shared_coefficients);
    prepare(program, wide_weights.data(), reserve(*shared, size_t(program.coefficients) * kernel.lanes));
    each_unit(batch, [&](int64_t unit, Workspace<T>& work, int64_t) {
      const Unit u = begin(program, work, shared->data(), wide_weights.data(), inputs, batch, unit);
      for (const Pass& pass : program.passes)
        run(u, pass, u.from_product && &pass == &program.passes[0] ? nullptr : u.state(), u.state());
      visit(u);
    });
  }

  using Finals = std::vector<std::array<double, 16>>;
  Finals finals(const Unit& u, int64_t sample) const {
    Finals result;
    for (const auto& chain : u.program->finals)
      result.push_back(chain.empty() ? Map{}
                                     : chain_map(chain, u.weights, u.inputs + size_t(sample) * u.program->inputs));
    return result;
  }

  // The sum over the strings of a product of rows, a row on each of the `count` wires.
  static double sum_over(const Program& p, const Finals& maps, const std::pair<int, int>* wires, size_t count,
                         const T* state) {
    if (count == 0) return double(*state);
    const auto& [wire, digit] = *wires;
    const double* row = maps[wire].data() + 4 * digit;
    double sum = 0;
    for (size_t d = 0; d < 4; ++d)
      if (row[d] != 0) sum += row[d] * sum_over(p, maps, wires + 1, count - 1, state + d * p.layout.stride[wire]);
    return sum;
  }

  void measure(const Unit& u, const T* state, T* values) const {
    const Program& p = *u.program;
    std::vector<double> sums(observables.size());
    for (int64_t s = 0; s < u.count; ++s) {
      const Finals maps = finals(u, s);
      std::ranges::fill(sums, 0.0);
      for (const Program::Term& term : p.terms)
        sums[size_t(term.output)] +=
            term.coefficient * sum_over(p, maps, term.wires.data(), term.wires.size(), state + term.offset + size_t(s));
      for (size_t k = 0; k < sums.size(); ++k) values[size_t(u.first + s) * sums.size() + k] = T(sums[k]);
    }
  }

  /// The sweep back over one unit. gradients [chunks][program.gradients] vectors.
  void sweep_back(const Unit& u, const T* upstream, T* gradients, T* values) const {
    const Program& p = *u.program;
    const size_t size = p.layout.size, count = p.passes.size();
    const size_t segment =
        double(count) * double(size) * sizeof(T) <= double(1 << 30) ? 1 : size_t(std::ceil(std::sqrt(double(count))));
    const size_t stored = count ? (count - 1) / segment : 0;  // before pass segment, 2 segment, ...
    T* memory = reserve(u.work->checkpoints, (stored + segment) * size);
    const auto checkpoint = [&](size_t k) { return memory + (k - 1) * size; };
    // `temporary` + i is the state before pass i of the segment at hand.
    T* temporary = memory + stored * size;
    const T* start = u.from_product ? nullptr : u.state();
    const T* from = start;
    for (size_t i = 0; i < (values ? count : stored * segment); ++i) {
      T* to = (i + 1) % segment == 0 && i + 1 < count ? checkpoint((i + 1) / segment) : temporary;
      run(u, p.passes[i], from, to);
      from = to;
    }
    if (values) measure(u, from, values);

    T* lambda = reserve(u.work->lambda, size);
    std::fill_n(lambda, size, T(0));
    for (int64_t s = 0; s < u.count; ++s)
      for (const Program::Term& term : p.terms)
        lambda[term.offset + size_t(s)] +=
            T(double(upstream[size_t(u.first + s) * observables.size() + size_t(term.output)]) * term.coefficient);
    for (size_t k = stored + 1; k-- > 0 && count > 0;) {
      const size_t begin = k * segment, end = std::min(count, begin + segment);
      const T* first = k ? checkpoint(k) : start;
      for (size_t i = begin; i + 1 < end; ++i)
        run(u, p.passes[i], i == begin ? first : temporary + (i - begin) * size, temporary + (i + 1 - begin) * size);
      for (size_t i = end; i-- > begin;)
        run_back(u, p.passes[i], i == begin ? first : temporary + (i - begin) * size, lambda, gradients);
    }
  }

  // The derivatives by the amplitudes of an encoding, from the gradient of the start.
  void encoding_derivatives(const Unit& u, int64_t s, const T* lambda, double* dinputs) const {
    const Program& p = *u.program;
    const size_t dim = size_t(1) << p.qubits;
    const double* x = u.inputs + size_t(s) * p.inputs;
    const double norm = norm_of(x, u.first + s);
    std::vector<Complex> all(size_t(1) << 2 * p.layout.wires);
    for (size_t i = 0; i < all.size(); ++i) all[i] = double(lambda[at(p, i) + size_t(s)]);
    change_basis(all, false);
    std::vector<double> image(dim);
    double value = 0;
    for (size_t i = 0; i < dim; ++i) {
      for (size_t j = 0; j < dim; ++j) image[i] += all[spread_bits(i, 1) | spread_bits(j, 0)].real() * x[j];
      value += x[i] * image[i] / norm;
    }
    for (size_t i = 0; i < dim; ++i) dinputs[i] += 2 * (image[i] - value * x[i]) / norm;
  }

  static void derivatives(const BlockStep& step, const double* gradient, const double* weights, const double* inputs,
                          double* dweights, double* dinputs) {
    if (step.kind == Step::Kind::kChain)
      chain_derivatives(step.step.chain, gradient, weights, inputs, dweights, dinputs);
    else
      add_derivative(step.step.angle, step.step.scale * gradient[0], weights, inputs, dweights, dinputs);
  }
  static size_t gradient_size(const BlockStep& step) { return step.kind == Step::Kind::kChain ? 16 : 1; }

  // p[i], i's bit k belonging to on[k]; [2^size of on]
  void probabilities(const Unit& u, int64_t s, const std::vector<int>& on, std::vector<double>& p) const {
    p.resize(size_t(1) << on.size());
    for (size_t i = 0; i < p.size(); ++i) {
      size_t place = size_t(s);
      for (size_t k = 0; k < on.size(); ++k) place += (i >> k & 1) * 3 * u.program->layout.stride[on[k]];
      p[i] = double(u.state()[place]);
    }
    for (size_t step = 1; step < p.size(); step *= 2)
      for (size_t i = 0; i < p.size(); ++i)
        if (!(i & step)) {
          const double a = p[i], b = p[i + step];
          p[i] = (a + b) / 2;
          p[i + step] = (a - b) / 2;
        }
    for (double& x : p) x = std::max(x, 0.0);  // rounding
  }

  void misread_all(std::vector<double>& p) const {
    for (size_t q = 0; q < misread.size(); ++q)
      for (size_t i = 0; i < p.size(); ++i)
        if (!(i >> q & 1)) {
          double &a = p[i], &b = p[i | size_t(1) << q];
          const double up = a * misread[q][0], down = b * misread[q][1];
          a += down - up;
          b += up - down;
        }
  }

  std::vector<int> all_wires() const {
    std::vector<int> wires(circuit.wires());
    for (int q = 0; q < circuit.wires(); ++q) wires[q] = q;
    return wires;
  }
};

template <class T>
DensitySimulator<T>::DensitySimulator(const Circuit& circuit, const std::vector<PauliSum>& observables)
    : impl_(std::make_unique<Impl>(circuit, observables)) {}
template <class T>
DensitySimulator<T>::~DensitySimulator() = default;
template <class T>
DensitySimulator<T>::DensitySimulator(DensitySimulator&&) noexcept = default;
template <class T>
DensitySimulator<T>& DensitySimulator<T>::operator=(DensitySimulator&&) noexcept = default;

template <class T>
int DensitySimulator<T>::wires() const {
  return impl_->circuit.wires();
}
template <class T>
int DensitySimulator<T>::weights() const {
  return impl_->circuit.weights();
}
template <class T>
int DensitySimulator<T>::inputs() const {
  return impl_->circuit.inputs();
}
template <class T>
int DensitySimulator<T>::outputs() const {
  return int(impl_->observables.size());
}

template <class T>
void DensitySimulator<T>::expectations(int64_t batch, const T* weights, const T* inputs, T* values) const {
  impl_->run_all(impl_->expectation_program, batch, weights, inputs,
                 [&](const auto& unit) { impl_->measure(unit, unit.state(), values); });
}

template <class T>
void DensitySimulator<T>::vjp(int64_t batch, const T* weights, const T* inputs, const T* upstream, T* dweights,
                              T* dinputs, T* values) const {
  Impl& impl = *impl_;
  const Program& program = impl.gradient_program;
  const size_t L = impl.kernel.lanes, W = size_t(program.weights), columns = size_t(program.inputs),
               slots = size_t(program.gradients), parts = size_t(impl.gradient_chunks(program));
  const std::vector<double> wide_weights(weights, weights + W);
  Borrowed<AlignedVector<T>> shared(impl.shared_coefficients);
  impl.prepare(program, wide_weights.data(), reserve(*shared, size_t(program.coefficients) * L));
  // [chunk][gradients of shared coefficients, weights]
  const size_t row = slots + W;
  std::vector<double> sums(size_t(std::min(std::max<int64_t>(impl.units(batch), 0), kMaxChunks)) * row);
  impl.each_unit(batch, [&](int64_t unit, Workspace<T>& work, int64_t chunk) {
    const auto u = impl.begin(program, work, shared->data(), wide_weights.data(), inputs, batch, unit);
    T* gradients = reserve(work.gradients, parts * slots * L);
    std::fill_n(gradients, parts * slots * L, T(0));
    impl.sweep_back(u, upstream, gradients, values);
    double *shared_sums = sums.data() + size_t(chunk) * row, *weight_sums = shared_sums + slots;
    work.dinputs.assign(columns * size_t(u.count), 0.0);
    // Of one sample: its lane, or all.
    std::array<double, 16> g{};
    const auto gather = [&](const BlockStep& step, size_t lane, size_t lanes) {
      for (size_t i = 0; i < Impl::gradient_size(step); ++i) {
        g[i] = 0;
        for (size_t part = 0; part < parts; ++part)
          for (size_t l = lane; l < lane + lanes; ++l)
            g[i] += double(gradients[(part * slots + size_t(step.gradient) + i) * L + l]);
      }
    };
    for (const Pass& pass : program.passes)
      for (const BlockStep& step : pass.steps) {
        if (step.gradient < 0) continue;
        if (!step.per_input) {
          gather(step, 0, program.layout.by_sample ? size_t(u.count) : L);
          for (size_t i = 0; i < Impl::gradient_size(step); ++i) shared_sums[size_t(step.gradient) + i] += g[i];
          continue;
        }
        for (size_t s = 0; s < size_t(u.count); ++s) {
          gather(step, s, program.layout.by_sample ? 1 : L);
          Impl::derivatives(step, g.data(), wide_weights.data(), u.inputs + s * columns, weight_sums,
                            work.dinputs.data() + s * columns);
        }
      }
    if (program.amplitude_encoding)
      for (int64_t s = 0; s < u.count; ++s)
        impl.encoding_derivatives(u, s, work.lambda.data(), work.dinputs.data() + size_t(s) * columns);
    if (dinputs)
      for (size_t i = 0; i < work.dinputs.size(); ++i) dinputs[size_t(u.first) * columns + i] = T(work.dinputs[i]);
  });
  if (!dweights) return;
  std::vector<double> total(row);
  for (size_t i = 0; i < sums.size(); ++i) total[i % row] += sums[i];
  for (const Pass& pass : program.passes)
    for (const BlockStep& step : pass.steps)
      if (step.gradient >= 0 && !step.per_input)
        Impl::derivatives(step, total.data() + step.gradient, wide_weights.data(), nullptr, total.data() + slots,
                          nullptr);
  std::copy_n(total.begin() + int64_t(slots), W, dweights);
}

template <class T>
void DensitySimulator<T>::matrices(int64_t batch, const T* weights, const T* inputs, std::complex<T>* matrices) const {
  const int n = wires();
  const size_t dim = size_t(1) << n;
  impl_->run_all(impl_->forward_program, batch, weights, inputs, [&](const auto& u) {
    std::vector<Complex> all(dim * dim);
    for (int64_t s = 0; s < u.count; ++s) {
      for (size_t i = 0; i < all.size(); ++i)
        all[i] = std::ldexp(double(u.state()[Impl::at(*u.program, i) + size_t(s)]), -n);
      change_basis(all, false);
      std::complex<T>* matrix = matrices + size_t(u.first + s) * dim * dim;
      for (size_t i = 0; i < dim; ++i)
        for (size_t j = 0; j < dim; ++j)
          matrix[i * dim + j] = std::complex<T>(all[Impl::spread_bits(i, 1) | Impl::spread_bits(j, 0)]);
    }
  });
}

template <class T>
void DensitySimulator<T>::purity(int64_t batch, const T* weights, const T* inputs, T* purities) const {
  impl_->run_all(impl_->forward_program, batch, weights, inputs, [&](const auto& u) {
    for (int64_t s = 0; s < u.count; ++s) {
      double sum = 0;
      for (size_t i = 0; i < size_t(1) << 2 * wires(); ++i) {
        const double r = double(u.state()[Impl::at(*u.program, i) + size_t(s)]);
        sum += r * r;
      }
      purities[u.first + s] = T(std::ldexp(sum, -wires()));
    }
  });
}

template <class T>
void DensitySimulator<T>::probabilities(int64_t batch, const T* weights, const T* inputs, const std::vector<int>& on,
                                        T* probabilities) const {
  for (size_t k = 0; k < on.size(); ++k) {
    require(on[k] >= 0 && on[k] < wires(), "probabilities: wire {} is out of range, the circuit has wires 0..{}", on[k],
            wires() - 1);
    require(std::count(on.begin(), on.end(), on[k]) == 1, "probabilities: wire {} is named twice", on[k]);
  }
  impl_->run_all(impl_->forward_program, batch, weights, inputs, [&](const auto& u) {
    std::vector<double> p;
    for (int64_t s = 0; s < u.count; ++s) {
      impl_->probabilities(u, s, on, p);
      std::copy(p.begin(), p.end(), probabilities + size_t(u.first + s) * p.size());
    }
  });
}

template <class T>
void DensitySimulator<T>::probabilities(int64_t batch, const T* weights, const T* inputs, T* probabilities) const {
  this->probabilities(batch, weights, inputs, impl_->all_wires(), probabilities);
}

template <class T>
void DensitySimulator<T>::readings(int64_t batch, const T* weights, const T* inputs, T* probabilities) const {
  impl_->run_all(impl_->forward_program, batch, weights, inputs, [&](const auto& u) {
    std::vector<double> p;
    for (int64_t s = 0; s < u.count; ++s) {
      impl_->probabilities(u, s, impl_->all_wires(), p);
      impl_->misread_all(p);
      std::copy(p.begin(), p.end(), probabilities + size_t(u.first + s) * p.size());
    }
  });
}

template <class T>
void DensitySimulator<T>::samples(int64_t batch, const T* weights, const T* inputs, int64_t shots, const Random& random,
                                  uint64_t* samples) const {
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  impl_->run_all(impl_->forward_program, batch, weights, inputs, [&](const auto& u) {
    std::vector<double> p;
    for (int64_t s = 0; s < u.count; ++s) {
      impl_->probabilities(u, s, impl_->all_wires(), p);
      impl_->misread_all(p);
      uint64_t* const drawn = samples + (u.first + s) * shots;
      draw_cells(
          p.size(),
          [&](uint64_t first, uint64_t count, double* weights) {
            for (uint64_t i = 0; i < count; ++i) weights[i] = std::max(0.0, p[first + i]);  // rounding
          },
          shots, random.split(uint64_t(u.first + s)), [&](int64_t shot, uint64_t cell) { drawn[shot] = cell; });
    }
  });
}

template <class T>
std::vector<std::map<uint64_t, int64_t>> DensitySimulator<T>::counts(int64_t batch, const T* weights, const T* inputs,
                                                                     int64_t shots, const Random& random) const {
  require_batch(batch);
  require(shots >= 0, "the number of shots is {}, expected 0 or more", shots);
  require_memory(fmt::format("an array of {} shots", shots), double(batch) * double(shots) * sizeof(uint64_t));
  std::vector<uint64_t> all(size_t(batch * shots));
  samples(batch, weights, inputs, shots, random, all.data());
  std::vector<std::map<uint64_t, int64_t>> result(static_cast<size_t>(batch));
  for (size_t i = 0; i < all.size(); ++i) ++result[i / size_t(shots)][all[i]];
  return result;
}

template class DensitySimulator<float>;
template class DensitySimulator<double>;

}  // namespace quanta
