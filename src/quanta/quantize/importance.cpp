#include "quanta/quantize/importance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/quantize/mixed_precision.h"

namespace quanta {

using torch::Tensor;

namespace {

/// A group of weights that share a width: a row, or all rows of a layer.
struct Part {
  std::string layer;
  int64_t first, rows;  // of the layer's weight
};

/// Sum over a part's weights of values [rows, n].
double sum_of(const Tensor& values, const Part& part) {
  return values.slice(0, part.first, part.first + part.rows).sum().item<double>();
}

}  // namespace

Importance parse_importance(std::string_view name) {
  const std::vector<std::string> words = {"taylor", "fisher", "magnitude", "random"};
  const auto found = std::ranges::find(words, name);
  if (found == words.end())
    throw UsageError(fmt::format("unknown importance '{}': expected one of {}", name, fmt::join(words, ", ")));
  return Importance(found - words.begin());
}

std::map<std::string, Tensor> squared_gradients(const Network& original, const Examples& examples, uint64_t seed) {
  require(examples.size() > 0, "the calibration set is empty");
  const torch::AutoGradMode with_gradients(true);
  Network net(original->copy());
  net->eval();
  const auto layers = quantizable_layers(*net);
  for (auto& p : net->parameters()) p.set_requires_grad(false);
  std::vector<Tensor> weights, sums;
  for (const auto& [name, layer] : layers) {
    weights.push_back(layer->weight.set_requires_grad(true));
    sums.push_back(torch::zeros_like(layer->weight));
  }
  Random random = Random(seed).split("signs");
  for (int64_t i = 0; i < examples.size(); ++i) {  // one by one: squares of a batch's gradient would mix its samples
    const auto output = net->forward(examples.inputs.slice(0, i, i + 1));
    Tensor loss;
    if (examples.targets.defined()) {
      loss = torch::cross_entropy_loss(output, examples.targets.slice(0, i, i + 1));
    } else {
      loss = (output * (2 * random_mask(output.sizes(), 0.5, random).to(output.scalar_type()) - 1)).sum();
    }
    const auto gradients = torch::autograd::grad({loss}, weights);
    for (size_t k = 0; k < sums.size(); ++k) sums[k].addcmul_(gradients[k], gradients[k]);
  }
  std::map<std::string, Tensor> found;
  for (size_t k = 0; k < layers.size(); ++k) found[layers[k].first] = sums[k] / double(examples.size());
  return found;
}

MixedPrecision mixed_precision(const Network& net, const std::map<std::string, Tensor>& gradients,
                               const MixedPrecisionOptions& o) {
  require(!o.bits.empty(), "there are no widths to choose from");
  const torch::NoGradGuard no_grad;
  const auto inner = inner_layers(net);
  const bool measured = o.importance == Importance::Fisher || o.importance == Importance::Taylor;
  Random random = Random(o.seed).split("importance");
  std::vector<Part> parts;
  std::vector<int64_t> sizes;
  std::vector<double> importance;
  std::vector<std::vector<double>> cost;
  for (const auto& [name, layer] : quantizable_layers(*net)) {
    if (std::ranges::find(inner, name) == inner.end()) continue;
    const auto w = layer->weight.detach().flatten(1);
    Tensor f;
    if (measured) {
      require(gradients.contains(name) && gradients.at(name).sizes() == layer->weight.sizes(),
              "there are no squared gradients for layer '{}': take them of the folded network", name);
      f = gradients.at(name).flatten(1);
    }
    std::vector<Tensor> errors;  // by width, [rows, n]
    for (const int b : o.bits)
      if (o.importance == Importance::Fisher) {
        const RoundingVariable rounding(RoundingKind::Straight, weight_grid(w, {b}, o.grid), w);
        errors.push_back(f * (rounding.nearest() - w).square());
      }
    const int64_t step = o.by_layer ? w.size(0) : 1;
    for (int64_t row = 0; row < w.size(0); row += step) {
      const Part part{name, row, step};
      double weight = 0;
      switch (o.importance) {
        case Importance::Taylor:
          weight = sum_of(f * w.square(), part);
          break;
        case Importance::Fisher:
          weight = sum_of(errors.front(), part);
          break;
        case Importance::Magnitude:
          weight = sum_of(w.square(), part);
          break;
        case Importance::Random:
          weight = random.uniform();
          break;
      }
      std::vector<double> costs;
      for (size_t k = 0; k < o.bits.size(); ++k)
        costs.push_back(o.importance == Importance::Fisher ? sum_of(errors[k], part)
                                                           : weight * std::pow(4.0, -o.bits[k]));
      parts.push_back(part);
      sizes.push_back(step * w.size(1));
      importance.push_back(o.inverted ? -weight : weight);
      cost.push_back(std::move(costs));
    }
  }
  require(o.average >= o.bits.front() && o.average <= o.bits.back(),
          "an average of {} bits is not between the lowest width {} and the highest {}", o.average, o.bits.front(),
          o.bits.back());
  const auto chosen = o.binary ? binary_bits(sizes, importance, o.bits.front(), o.bits.back(), o.average)
                               : greedy_bits(sizes, o.bits, cost, o.average);
  MixedPrecision result{.cost = chosen.cost};
  for (size_t i = 0; i < parts.size(); ++i)
    result.widths[parts[i].layer].insert(result.widths[parts[i].layer].end(), size_t(parts[i].rows), chosen.bits[i]);
  result.average_bits = double(chosen.size) / double(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}));
  return result;
}

std::vector<int64_t> rows_by_width(const std::vector<int>& widths) {
  std::vector<int64_t> rows(widths.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::ranges::stable_sort(rows, std::ranges::greater{}, [&](int64_t r) { return widths[size_t(r)]; });
  return rows;
}

}  // namespace quanta
