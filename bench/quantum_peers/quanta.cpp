// Quanta's side of the comparison.

#include <complex>
#include <memory>

#include "native.h"
#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/circuit/noise.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/density.h"
#include "quanta/simulate/simulator.h"

using namespace quanta;

/// The circuit and its angles; those of the first rotation of every qubit are inputs, a sample's own.
struct Setting {
  Circuit circuit;
  std::vector<double> inputs, weights;

  explicit Setting(const Request& request) : circuit(request.qubits) {
    angle_encoding(circuit, 'Y');
    if (request.name == "fourier") {
      for (const Step& step : request.steps()) {
        if (step.name == "H") circuit.h(step.first);
        if (step.name == "CP") circuit.cp(step.first, step.second, step.angle);
        if (step.name == "SWAP") circuit.swap(step.first, step.second);
      }
    } else {
      hardware_efficient(circuit, 4);
    }
    if (request.name == "noise") circuit = NoiseModel().after(depolarizing(noise)).apply(circuit);
    size_t k = 0;
    for (int j = 0; j < circuit.inputs(); ++j) inputs.push_back(weyl(++k));
    for (int j = 0; j < circuit.weights(); ++j) weights.push_back(weyl(++k));
  }

  template <class Real>
  std::vector<Real> batch(int samples) const {
    std::vector<Real> values;
    for (int b = 0; b < samples; ++b) values.insert(values.end(), inputs.begin(), inputs.end());
    return values;
  }
};

template <class Real>
Work gradient(const Request& request, const Setting& setting) {
  const int n = request.qubits, batch = request.batch;
  const bool each_z = request.name == "vjp";
  struct Data {
    Simulator<Real> simulator;
    std::vector<Real> weights, inputs, upstream, values, dweights, dinputs;
  };
  const std::vector<PauliSum> observables = each_z ? each('Z', n) : std::vector<PauliSum>{sum_of('Z', n)};
  auto d = std::make_shared<Data>(Data{Simulator<Real>(setting.circuit, observables),
                                       {setting.weights.begin(), setting.weights.end()},
                                       setting.batch<Real>(batch),
                                       {},
                                       {},
                                       {},
                                       {}});
  for (int b = 0; b < batch; ++b)
    for (size_t k = 0; k < observables.size(); ++k) d->upstream.push_back(Real(upstream(request.name, int(k))));
  d->values.resize(d->upstream.size());
  d->dweights.resize(d->weights.size());
  d->dinputs.resize(d->inputs.size());
  const auto run = [=] {
    d->simulator.vjp(batch, d->weights.data(), d->inputs.data(), d->upstream.data(), d->dweights.data(),
                     d->dinputs.data(), d->values.data());
  };
  const auto answer = [=] {
    std::vector<double> all(d->dinputs.begin(), d->dinputs.begin() + n);
    for (const Real g : d->dweights) all.push_back(double(g) / batch);
    return all;
  };
  return {run, answer, batch};
}

template <class Real>
Work state(const Request& request, const Setting& setting) {
  struct Data {
    Simulator<Real> simulator;
    std::vector<Real> weights, inputs;
    std::vector<std::complex<Real>> amplitudes;
    std::vector<uint64_t> samples;
  };
  const bool draws = request.name == "samples";
  auto d = std::make_shared<Data>(Data{Simulator<Real>(setting.circuit),
                                       {setting.weights.begin(), setting.weights.end()},
                                       setting.batch<Real>(1),
                                       {},
                                       {}});
  if (draws) {
    d->samples.resize(size_t(shots));
    return {[=] { d->simulator.samples(1, d->weights.data(), d->inputs.data(), shots, Random(3), d->samples.data()); },
            [d, n = request.qubits] { return means(d->samples, n); }};
  }
  d->amplitudes.resize(size_t(1) << request.qubits);
  return {[=] { d->simulator.states(1, d->weights.data(), d->inputs.data(), d->amplitudes.data()); },
          [=] {
            std::vector<double> all;
            for (const auto& a : d->amplitudes) all.insert(all.end(), {double(a.real()), double(a.imag())});
            return all;
          }};
}

Work density(const Request& request, const Setting& setting) {
  struct Data {
    Setting setting;
    DensitySimulator<double> simulator;
    double value;
  };
  auto d = std::make_shared<Data>(
      Data{setting, DensitySimulator<double>(setting.circuit, {sum_of('Z', request.qubits)}), 0});
  return {[=] { d->simulator.expectations(1, d->setting.weights.data(), d->setting.inputs.data(), &d->value); },
          [=] { return std::vector<double>{d->value}; }};
}

int main(int argc, char** argv) {
  restart_with_bounded_spinning(argv);
  set_threads(argc > 1 ? std::atoi(argv[1]) : 1);
  const bool wide = argc > 2 && std::string(argv[2]) == "double";
  return serve([=](const Request& request) {
    const Setting setting(request);
    if (request.name == "noise") return density(request, setting);
    if (request.name == "gradient" || request.name == "vjp")
      return wide ? gradient<double>(request, setting) : gradient<float>(request, setting);
    return wide ? state<double>(request, setting) : state<float>(request, setting);
  });
}
