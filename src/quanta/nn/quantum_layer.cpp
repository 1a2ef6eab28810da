#include "quanta/nn/quantum_layer.h"

#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <span>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/differentiate.h"
#include "quanta/simulate/jets.h"
#include "quanta/simulate/simulator.h"

namespace quanta {

using torch::Tensor;

namespace {

/// A circuit compiled for one precision.
template <class Real>
struct Compiled {
  Estimator<Real> values;
  std::function<void(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, const Random& random,
                     Real* dweights, Real* dinputs)>
      vjp;
};

/// With the adjoint sweep of the simulator itself.
template <class Real, class Exact, class... Options>
Compiled<Real> with_adjoint(const Circuit& circuit, const std::vector<PauliSum>& observables,
                            const Options&... options) {
  const auto simulator = std::make_shared<const Exact>(circuit, observables, options...);
  return {[=](int64_t batch, const Real* weights, const Real* inputs, const Random&, Real* values, Real*) {
            simulator->expectations(batch, weights, inputs, values);
          },
          [=](int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, const Random&,
              Real* dweights, Real* dinputs) { simulator->vjp(batch, weights, inputs, upstream, dweights, dinputs); }};
}

/// From expectation values alone.
template <class Real>
Compiled<Real> with_differences(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                const EstimatorMaker<Real>& estimator, const QuantumLayerOptions& options) {
  using Rule = DifferentiateOptions::Rule;
  const Rule rule = options.gradient == Gradient::ParameterShift     ? Rule::ParameterShift
                    : options.gradient == Gradient::FiniteDifference ? Rule::FiniteDifference
                                                                     : Rule::Spsa;
  const auto differentiator = std::make_shared<const Differentiator<Real>>(
      circuit, observables, estimator,
      DifferentiateOptions{.rule = rule, .step = options.step, .directions = options.directions});
  return {estimator(circuit, observables),
          [=](int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, const Random& random,
              Real* dweights,
              Real* dinputs) { differentiator->vjp(batch, weights, inputs, upstream, dweights, dinputs, random); }};
}

template <class Real, class Simulating, class... Options>
Compiled<Real> compile_on(const Circuit& circuit, const std::vector<PauliSum>& observables,
                          const QuantumLayerOptions& options, const Options&... engine) {
  if (options.gradient == Gradient::Adjoint) return with_adjoint<Real, Simulating>(circuit, observables, engine...);
  return with_differences(circuit, observables,
                          options.shots > 0 ? shots_estimator<Real, Simulating>(options.shots, engine...)
                                            : exact_estimator<Real, Simulating>(engine...),
                          options);
}

template <class Real>
Compiled<Real> compile(const Circuit& circuit, const std::vector<PauliSum>& observables,
                       const QuantumLayerOptions& options) {
  switch (options.engine) {
    case Engine::StateVector:
      return compile_on<Real, Simulator<Real>>(circuit, observables, options);
    case Engine::Density:
      return compile_on<Real, DensitySimulator<Real>>(circuit, observables, options);
    case Engine::Trajectories:
      return with_differences(circuit, observables, trajectories_estimator<Real>(options.trajectories), options);
    case Engine::Mps:
      return compile_on<Real, MpsSimulator<Real>>(circuit, observables, options, options.mps);
  }
  fail("{}: unknown engine {}", options.name, int(options.engine));
}

/// The observables that are read where 0 is taken for 1 with probability a and 1 for 0 with b: P becomes
/// (1 - a - b) P + b - a.
PauliSum read_with(const NoiseModel& noise, const PauliSum& observable) {
  PauliSum result;
  for (const PauliSum::Term& term : observable.terms) {
    PauliSum product(term.coefficient);
    for (const auto& factor : term.pauli.factors) {
      const auto [a, b] = noise.misread(factor.first);
      product = product * (PauliSum(PauliString({factor}), 1 - a - b) + PauliSum(b - a));
    }
    result = result + product;
  }
  return result;
}

void check(const QuantumLayerOptions& o, const Circuit& circuit) {
  require(o.copies >= 1, "{}: the number of circuits side by side must be at least 1, got {}", o.name, o.copies);
  require(o.shots >= 0, "{}: the number of shots is {}, expected 0 (exact) or more", o.name, o.shots);
  const bool trajectories = o.engine == Engine::Trajectories, estimated = o.shots > 0 || trajectories;
  require(trajectories || o.engine == Engine::Density || circuit.is_unitary(),
          "{}: the circuit has channels, measurements, resets or conditions: take .engine = Engine::Density or "
          "Engine::Trajectories",
          o.name);
  require(!estimated || o.gradient != Gradient::Adjoint,
          "{}: the adjoint gradient needs exact values: with shots or trajectories take "
          ".gradient = Gradient::ParameterShift",
          o.name);
  require(!trajectories || o.shots == 0,
          "{}: trajectories are estimates already: set .trajectories.trajectories, not .shots", o.name);
  for (int q = 0; o.shots > 0 && q < circuit.wires(); ++q)
    require(o.noise.misread(q) == std::array{0.0, 0.0}, "{}: read-out errors need exact values: leave out .shots",
            o.name);
  const bool differences = o.gradient == Gradient::FiniteDifference || o.gradient == Gradient::Spsa;
  require(!estimated || !differences || o.step > 0,
          "{}: differences of estimates need a .step that their noise does not drown, for example 0.2", o.name);
  require(differences || o.step == 0, "{}: .step belongs to differences and SPSA, this gradient has none", o.name);
  require(o.gradient == Gradient::Spsa || o.directions == 1, "{}: .directions belongs to SPSA", o.name);
}

/// One copy's columns of a [rows, copies * width] array.
template <class Real>
struct Columns {
  int64_t rows;
  int width, copies;
  std::unique_ptr<Real[]> data;
  Columns(int64_t rows, int width, int copies)
      : rows(rows), width(width), copies(copies), data(new Real[size_t(rows) * width]) {}

  void gather(int copy, const Real* all) {
    for (int64_t r = 0; r < rows; ++r) std::copy_n(all + (r * copies + copy) * width, width, &data[r * width]);
  }
  void scatter(int copy, Real* all) const {
    for (int64_t r = 0; r < rows; ++r) std::copy_n(&data[r * width], width, all + (r * copies + copy) * width);
  }
};

}  // namespace

/// The compiled circuit, for `copies` sets of weights.
struct CircuitFunction {
  Circuit circuit;
  std::vector<PauliSum> observables;
  QuantumLayerOptions options;
  int copies;

  CircuitFunction(const Circuit& circuit, const std::vector<PauliSum>& observables, const QuantumLayerOptions& options)
      : circuit(circuit), observables(observables), options(options), copies(options.copies) {
    compiled<float>();  // what is wrong with the circuit shows now
  }

  int outputs() const { return int(observables.size()); }
  bool has_higher_derivatives() const {
    return options.engine == Engine::StateVector && options.gradient == Gradient::Adjoint;
  }
  bool is_random() const {
    return options.shots > 0 || options.gradient == Gradient::Spsa || options.engine == Engine::Trajectories;
  }

  template <class Real>
  void values(int64_t batch, const Real* weights, const Real* inputs, const Random& random, Real* values) const {
    const auto& run = compiled<Real>().values;
    if (copies == 1) return run(batch, weights, inputs, random, values, nullptr);
    Columns<Real> x(batch, circuit.inputs(), copies), y(batch, outputs(), copies);
    for (int copy = 0; copy < copies; ++copy) {
      x.gather(copy, inputs);
      run(batch, weights + copy * circuit.weights(), x.data.get(), random.split(uint64_t(copy)), y.data.get(), nullptr);
      y.scatter(copy, values);
    }
  }

  /// Null pointers for the gradients that are not wanted.
  template <class Real>
  void gradients(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, const Random& random,
                 Real* dweights, Real* dinputs) const {
    const auto& vjp = compiled<Real>().vjp;
    if (copies == 1) return vjp(batch, weights, inputs, upstream, random, dweights, dinputs);
    Columns<Real> x(batch, circuit.inputs(), copies), dx(batch, circuit.inputs(), copies), dy(batch, outputs(), copies);
    for (int copy = 0; copy < copies; ++copy) {
      x.gather(copy, inputs);
      dy.gather(copy, upstream);
      vjp(batch, weights + copy * circuit.weights(), x.data.get(), dy.data.get(), random.split(uint64_t(copy)),
          dweights ? dweights + copy * circuit.weights() : nullptr, dinputs ? dx.data.get() : nullptr);
      if (dinputs) dx.scatter(copy, dinputs);
    }
  }

  /// JetSimulator::vjp of all copies; the pointers of one kind are component s of `inputs`, `weights` and `upstream`.
  template <class Real>
  void jets(int order, int64_t batch, std::vector<Real*> weights, std::vector<Real*> inputs,
            std::vector<Real*> upstream, std::vector<Real*> dweights, std::vector<Real*> dinputs,
            std::vector<Real*> dupstream) const {
    auto& [once, simulator] = std::get<Lazy<JetSimulator<Real>>>(jets_);
    std::call_once(once, [&] { simulator.emplace(circuit, observables); });
    if (copies == 1)
      return simulator->vjp(order, batch, weights.data(), inputs.data(), upstream.data(), dweights.data(),
                            dinputs.data(), dupstream.data());
    std::vector<Columns<Real>> columns;
    const auto one_copy = [&](const std::vector<Real*>& all, int width, int copy, bool gather) {
      std::vector<Real*> result;
      for (const Real* component : all) {
        result.push_back(nullptr);
        if (!component) continue;
        columns.emplace_back(batch, width, copies);
        if (gather) columns.back().gather(copy, component);
        result.back() = columns.back().data.get();
      }
      return result;
    };
    const auto scatter = [&](const std::vector<Real*>& from, const std::vector<Real*>& to, int width, int copy) {
      for (size_t s = 0; s < to.size(); ++s)
        for (int64_t r = 0; to[s] && r < batch; ++r)
          std::copy_n(from[s] + r * width, width, to[s] + (r * copies + copy) * width);
    };
    const auto advance = [&](std::vector<Real*>& all) {
      for (Real*& component : all)
        if (component) component += circuit.weights();
    };
    for (int copy = 0; copy < copies; ++copy, advance(weights), advance(dweights)) {
      columns.clear();
      const auto x = one_copy(inputs, circuit.inputs(), copy, true), u = one_copy(upstream, outputs(), copy, true),
                 dx = one_copy(dinputs, circuit.inputs(), copy, false),
                 du = one_copy(dupstream, outputs(), copy, false);
      simulator->vjp(order, batch, weights.data(), x.data(), u.data(), dweights.data(), dx.data(), du.data());
      scatter(dx, dinputs, circuit.inputs(), copy);
      scatter(du, dupstream, outputs(), copy);
    }
  }

 private:
  template <class Item>
  struct Lazy {
    std::once_flag once;
    std::optional<Item> item;
  };

  /// Compiled when the precision is first used.
  template <class Real>
  const Compiled<Real>& compiled() const {
    auto& [once, item] = std::get<Lazy<Compiled<Real>>>(compiled_);
    std::call_once(once, [&] { item = compile<Real>(circuit, observables, options); });
    return *item;
  }

  mutable std::tuple<Lazy<Compiled<float>>, Lazy<Compiled<double>>> compiled_;
  mutable std::tuple<Lazy<JetSimulator<float>>, Lazy<JetSimulator<double>>> jets_;
};

namespace {

using torch::autograd::variable_list;

template <class F>
void dispatch(torch::ScalarType type, F&& body) {
  type == torch::kFloat64 ? body(double{}) : body(float{});
}

template <class Real>
bool all_finite(const Tensor& contiguous) {
  const Real* x = contiguous.data_ptr<Real>();
  int bad = 0;  // without a branch the loop is vectorized
  for (int64_t i = 0; i < contiguous.numel(); ++i) bad |= !(std::abs(x[i]) <= std::numeric_limits<Real>::max());
  return !bad;
}

/// A tensor for each component s of the jets of inputs (kind 0), weights (1) and upstream (2): element 3 s + kind.
/// Undefined ones are zero, or not wanted.
using Jets = variable_list;

/// What all nodes of one forward pass share.
struct Call {
  std::shared_ptr<const CircuitFunction> function;
  Random random;
  int64_t batch;
};

Jets differentiate(const Call& call, int order, const Jets& at, const std::vector<bool>& wanted);

/// A node of LibTorch's graph. A Node of our own costs a third of torch::autograd::Function and names itself.
///
/// Order -1 are the layer's values, order m their gradients on jets of order m (jets.h). The derivative of a function
/// of jets of order m is the same function on jets of order m + 1: a cotangent c_s of component s of a gradient pairs
/// with the coefficient of s, so as direction it is component full - s, and what it gives at component t of an argument
/// is the result's component (full - t) + the new direction. By this rule all derivatives are exact.
struct QuantumLayerBackward : torch::autograd::Node {
  QuantumLayerBackward(const Call& call, int order, const Jets& at)
      : Node(torch::autograd::collect_next_edges(at)), call(call), order(order) {
    saved.reserve(at.size());
    for (const Tensor& tensor : at) saved.emplace_back(tensor, /*is_output=*/false);
  }
  Call call;
  int order;
  std::vector<torch::autograd::SavedVariable> saved;

  variable_list apply(variable_list&& cotangents) override {
    Jets at(order < 0 ? 3 : saved.size() * 2);
    for (size_t i = 0; i < saved.size(); ++i) at[i] = saved[i].unpack();
    std::vector<bool> wanted(at.size(), false);
    if (order < 0) {
      at[2] = cotangents[0];
      wanted[0] = task_should_compute_output(0);
      wanted[1] = task_should_compute_output(1);
      if (!at[2].defined()) return variable_list(2);
      Jets result = differentiate(call, 0, at, wanted);
      result.pop_back();
      return result;
    }
    const size_t full = (size_t{1} << order) - 1, fresh = full + 1;
    const auto partner = [&](size_t i) { return 3 * ((full - i / 3) + fresh) + i % 3; };
    for (size_t i = 0; i < cotangents.size(); ++i) at[partner(i)] = cotangents[i];
    for (size_t i = 0; i < saved.size(); ++i) wanted[partner(i)] = task_should_compute_output(i);
    const Jets all = differentiate(call, order + 1, at, wanted);
    variable_list result(saved.size());
    for (size_t i = 0; i < saved.size(); ++i) result[i] = all[partner(i)];
    return result;
  }
  void release_variables() override {
    for (auto& variable : saved) variable.reset_data();
  }
  std::string name() const override { return "QuantumLayerBackward"; }
};

/// The gradients that are wanted, on jets of `order`; differentiable where gradients are recorded.
Jets differentiate(const Call& call, int order, const Jets& at, const std::vector<bool>& wanted) {
  const CircuitFunction& f = *call.function;
  Jets result(at.size());
  {
    const torch::NoGradGuard no_grad;
    Jets raw(at.size());
    for (size_t i = 0; i < at.size(); ++i) {
      if (at[i].defined()) raw[i] = at[i].detach().contiguous();
      if (wanted[i]) result[i] = torch::empty(at[i % 3].sizes(), at[i % 3].options().requires_grad(false));
      if (wanted[i] && call.batch == 0) result[i].zero_();
    }
    if (call.batch > 0)
      dispatch(at[0].scalar_type(), [&]<class Real>(Real) {
        const auto pointers = [&](const Jets& jets, size_t kind) {
          std::vector<Real*> p;
          for (size_t i = kind; i < jets.size(); i += 3)
            p.push_back(jets[i].defined() ? jets[i].template data_ptr<Real>() : nullptr);
          return p;
        };
        const auto x = pointers(raw, 0), w = pointers(raw, 1), u = pointers(raw, 2), dx = pointers(result, 0),
                   dw = pointers(result, 1);
        if (order == 0)
          f.gradients<Real>(call.batch, w[0], x[0], u[0], call.random, dw[0], dx[0]);
        else
          f.jets<Real>(order, call.batch, w, x, u, dw, dx, pointers(result, 2));
      });
  }
  const auto differentiable = [](const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  if (torch::GradMode::is_enabled() && std::any_of(at.begin(), at.end(), differentiable)) {
    require(f.has_higher_derivatives(),
            "{}: second derivatives (create_graph) take .gradient = Gradient::Adjoint on a state vector, which this "
            "layer does not use",
            f.options.name);
    std::shared_ptr<QuantumLayerBackward> node(new QuantumLayerBackward(call, order, at), torch::autograd::deleteNode);
    for (Tensor& tensor : result) torch::autograd::set_history(tensor, node);
  }
  return result;
}

Tensor draw(const AngleInit& init, uint64_t seed, int64_t rows, int64_t columns) {
  Tensor values = torch::zeros({rows, columns}, torch::kFloat64);
  Random random(seed);
  for (double& value : std::span(values.data_ptr<double>(), size_t(values.numel()))) {
    if (init.kind == AngleInit::Kind::Uniform) value = random.uniform(init.a, init.b);
    if (init.kind == AngleInit::Kind::Normal) value = init.a + init.b * random.normal();
  }
  return values;
}

}  // namespace

QuantumLayerImpl::QuantumLayerImpl(const Circuit& circuit, const std::vector<PauliSum>& observables,
                                   QuantumLayerOptions options)
    : options_(std::move(options)) {
  require(!observables.empty(), "{}: a layer needs at least one observable, for example each('Z', {})", options_.name,
          circuit.wires());
  const Circuit noisy = options_.noise.apply(circuit);
  check(options_, noisy);
  std::vector<PauliSum> readings;
  for (const PauliSum& observable : observables) readings.push_back(read_with(options_.noise, observable));
  function_ = std::make_shared<const CircuitFunction>(noisy, readings, options_);
  reset();
}

void QuantumLayerImpl::reset() {
  const Tensor start = draw(options_.init, options_.seed, options_.copies, circuit().weights()).to(torch::kFloat32);
  weights = options_.trainable ? register_parameter("weights", start) : register_buffer("weights", start);
  if (function_->is_random()) calls = register_buffer("calls", torch::zeros({}, torch::kInt64));
}

void QuantumLayerImpl::pretty_print(std::ostream& stream) const {
  stream << fmt::format("{}({}{} qubits, {} inputs -> {} outputs, {} {} weights)", options_.name,
                        options_.copies > 1 ? fmt::format("{} x ", options_.copies) : "", circuit().wires(),
                        options_.copies * circuit().inputs(), options_.copies * observables().size(), weights.numel(),
                        options_.trainable ? "trainable" : "fixed");
}

const Circuit& QuantumLayerImpl::circuit() const {
  return function_->circuit;
}
const std::vector<PauliSum>& QuantumLayerImpl::observables() const {
  return function_->observables;
}

Tensor QuantumLayerImpl::forward(const Tensor& given) {
  const int64_t features = int64_t{options_.copies} * circuit().inputs();
  const int64_t outputs = int64_t{options_.copies} * int64_t(observables().size());
  const Tensor input = !given.defined() && features == 0 ? torch::empty({0}, weights.options()) : given;
  require(input.defined() && input.dim() >= 1 && input.size(-1) == features, "{}: expected [batch, {}], got {}",
          options_.name, features, input.defined() ? fmt::format("[{}]", fmt::join(input.sizes(), ", ")) : "nothing");
  require(input.device().is_cpu() && weights.device().is_cpu(),
          "{}: expected tensors on the CPU, got {} and weights on {}", options_.name, input.device().str(),
          weights.device().str());
  require(input.is_floating_point() && weights.is_floating_point(),
          "{}: expected floating-point features and weights, got {} and {}: convert with .to()", options_.name,
          c10::toString(input.scalar_type()), c10::toString(weights.scalar_type()));
  const bool wide = input.scalar_type() == torch::kFloat64 || weights.scalar_type() == torch::kFloat64;
  const auto type = wide ? torch::kFloat64 : torch::kFloat32;
  const Tensor x = input.to(type), w = weights.to(type);

  auto shape = input.sizes().vec();
  shape.back() = outputs;
  Call call{function_, Random(options_.seed), 1};
  for (size_t i = 0; i + 1 < shape.size(); ++i) call.batch *= shape[i];
  if (calls.defined()) {
    const torch::NoGradGuard no_grad;
    call.random = call.random.split("calls").split(uint64_t(calls.item<int64_t>()));
    calls.add_(1);
  }
  Tensor values = torch::empty(shape, w.options().requires_grad(false));
  {
    const torch::NoGradGuard no_grad;
    const Tensor features = x.contiguous(), parameters = w.contiguous();
    dispatch(type, [&]<class Real>(Real) {
      require(all_finite<Real>(features), "{}: the input has values that are not finite: has the training diverged?",
              options_.name);
      require(all_finite<Real>(parameters), "{}: there are weights that are not finite: has the training diverged?",
              options_.name);
      if (call.batch > 0)
        function_->values<Real>(call.batch, parameters.data_ptr<Real>(), features.data_ptr<Real>(),
                                call.random.split("forward"), values.data_ptr<Real>());
    });
  }
  if (torch::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad())) {
    std::shared_ptr<QuantumLayerBackward> node(new QuantumLayerBackward(call, -1, {x, w}), torch::autograd::deleteNode);
    torch::autograd::set_history(values, node);
  }
  return values.to(input.scalar_type());
}

}  // namespace quanta
