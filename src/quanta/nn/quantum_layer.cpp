#include "quanta/nn/quantum_layer.h"

#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <limits>
#include <mutex>
#include <optional>
#include <span>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/simulate/simulator.h"

namespace quanta {

using torch::Tensor;

/// The compiled circuit, for `copies` sets of weights.
struct CircuitFunction {
  Circuit circuit;
  std::vector<PauliSum> observables;
  int copies;

  CircuitFunction(const Circuit& circuit, const std::vector<PauliSum>& observables, int copies)
      : circuit(circuit), observables(observables), copies(copies) {
    simulator<float>();  // what is wrong with the circuit shows now
  }

  /// Compiled when the precision is first used.
  template <class Real>
  const Simulator<Real>& simulator() const {
    auto& [once, compiled] = std::get<Compiled<Real>>(compiled_);
    std::call_once(once, [&] { compiled.emplace(circuit, observables); });
    return *compiled;
  }

  template <class Real>
  void values(int64_t batch, const Real* weights, const Real* inputs, Real* values) const {
    const auto& run = simulator<Real>();
    if (copies == 1) return run.expectations(batch, weights, inputs, values);
    Columns<Real> x(batch, run.inputs(), copies), y(batch, run.outputs(), copies);
    for (int copy = 0; copy < copies; ++copy) {
      x.gather(copy, inputs);
      run.expectations(batch, weights + copy * run.weights(), x.data.get(), y.data.get());
      y.scatter(copy, values);
    }
  }

  /// Null pointers for the gradients that are not wanted.
  template <class Real>
  void gradients(int64_t batch, const Real* weights, const Real* inputs, const Real* upstream, Real* dweights,
                 Real* dinputs) const {
    const auto& run = simulator<Real>();
    if (copies == 1) return run.vjp(batch, weights, inputs, upstream, dweights, dinputs);
    Columns<Real> x(batch, run.inputs(), copies), dx(batch, run.inputs(), copies), dy(batch, run.outputs(), copies);
    for (int copy = 0; copy < copies; ++copy) {
      x.gather(copy, inputs);
      dy.gather(copy, upstream);
      run.vjp(batch, weights + copy * run.weights(), x.data.get(), dy.data.get(),
              dweights ? dweights + copy * run.weights() : nullptr, dinputs ? dx.data.get() : nullptr);
      if (dinputs) dx.scatter(copy, dinputs);
    }
  }

 private:
  template <class Real>
  struct Compiled {
    std::once_flag once;
    std::optional<Simulator<Real>> simulator;
  };
  mutable std::tuple<Compiled<float>, Compiled<double>> compiled_;

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
};

namespace {

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

/// The node of LibTorch's graph. A Node of our own costs a third of torch::autograd::Function and names itself.
struct QuantumLayerBackward : torch::autograd::Node {
  std::shared_ptr<const CircuitFunction> function;
  std::string layer;
  int64_t batch = 0;
  torch::autograd::SavedVariable saved_input, saved_weights;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    torch::autograd::variable_list result(2);
    if (!grads[0].defined()) return result;
    require(!torch::GradMode::is_enabled(),
            "{}: second derivatives of a quantum layer are not available: call backward() without create_graph", layer);
    const Tensor upstream = grads[0].contiguous();
    const Tensor input = saved_input.unpack().contiguous(), weights = saved_weights.unpack().contiguous();
    if (task_should_compute_output(0)) result[0] = torch::empty(input.sizes(), input.options());
    if (task_should_compute_output(1)) result[1] = torch::empty(weights.sizes(), weights.options());
    if (batch == 0) {
      if (result[1].defined()) result[1].zero_();
      return result;
    }
    dispatch(input.scalar_type(), [&]<class Real>(Real) {
      const auto pointer = [](const Tensor& t) { return t.defined() ? t.data_ptr<Real>() : nullptr; };
      function->gradients<Real>(batch, pointer(weights), pointer(input), pointer(upstream), pointer(result[1]),
                                pointer(result[0]));
    });
    return result;
  }
  void release_variables() override {
    saved_input.reset_data();
    saved_weights.reset_data();
  }
  std::string name() const override { return "QuantumLayerBackward"; }
};

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
  require(options_.copies >= 1, "{}: the number of circuits side by side must be at least 1, got {}", options_.name,
          options_.copies);
  require(!observables.empty(), "{}: a layer needs at least one observable, for example each('Z', {})", options_.name,
          circuit.wires());
  function_ = std::make_shared<const CircuitFunction>(circuit, observables, options_.copies);
  reset();
}

void QuantumLayerImpl::reset() {
  const Tensor start = draw(options_.init, options_.seed, options_.copies, circuit().weights()).to(torch::kFloat32);
  weights = options_.trainable ? register_parameter("weights", start) : register_buffer("weights", start);
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
  const auto type = weights.scalar_type();
  require(type == torch::kFloat32 || type == torch::kFloat64, "{}: a quantum layer is float32 or float64, not {}",
          options_.name, c10::toString(type));
  require(input.scalar_type() == type,
          "{}: expected {} features, as the layer's weights are, got {}: convert with .to()", options_.name,
          c10::toString(type), c10::toString(input.scalar_type()));

  auto shape = input.sizes().vec();
  shape.back() = outputs;
  int64_t batch = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) batch *= shape[i];
  Tensor values = torch::empty(shape, weights.options().requires_grad(false));
  {
    const torch::NoGradGuard no_grad;
    const Tensor x = input.contiguous(), w = weights.contiguous();
    dispatch(type, [&]<class Real>(Real) {
      require(all_finite<Real>(x), "{}: the input has values that are not finite: has the training diverged?",
              options_.name);
      require(all_finite<Real>(w), "{}: there are weights that are not finite: has the training diverged?",
              options_.name);
      if (batch > 0) function_->values<Real>(batch, w.data_ptr<Real>(), x.data_ptr<Real>(), values.data_ptr<Real>());
    });
  }
  if (torch::GradMode::is_enabled() && (input.requires_grad() || weights.requires_grad())) {
    std::shared_ptr<QuantumLayerBackward> node(new QuantumLayerBackward, torch::autograd::deleteNode);
    node->function = function_;
    node->layer = options_.name;
    node->batch = batch;
    node->set_next_edges(torch::autograd::collect_next_edges(input, weights));
    node->saved_input = torch::autograd::SavedVariable(input, /*is_output=*/false);
    node->saved_weights = torch::autograd::SavedVariable(weights, /*is_output=*/false);
    torch::autograd::set_history(values, node);
  }
  return values;
}

}  // namespace quanta
