#include "quanta/quantize/zero_shot.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "quanta/core/error.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/dynamic_quantizer.h"

namespace quanta {
namespace {

using torch::Tensor;
using Place = QuantizableLayer::Place;

void check_bits(int bits) {
  require(bits >= 2 && bits <= 8, "zero-shot quantization takes 2 to 8 bits, got {}", bits);
}

}  // namespace

QuantParams zero_shot_params(const Tensor& low, const Tensor& high, int bits, bool per_channel) {
  check_bits(bits);
  const Tensor a = low.detach().to(torch::kFloat64), b = high.detach().to(torch::kFloat64);
  require((b - a).isfinite().all().item<bool>() && a.le(b).all().item<bool>(),
          "a range is not finite or ends below its beginning");
  const int64_t n = (int64_t{1} << bits) - 1;
  const Tensor step =
      torch::maximum((b - a).clamp_min(1e-8) / n, torch::maximum(a.abs(), b.abs()) * std::ldexp(1.0, -22));
  return {.scale = step.to(torch::kFloat32),
          .zero_point = (-a / step).round().to(torch::kInt32),
          .qmin = 0,
          .qmax = n,
          .axis = per_channel ? 0 : -1};
}

std::shared_ptr<FakeQuantize> zero_shot_quantizer(const Tensor& values, int bits, bool per_channel) {
  auto made = std::make_shared<FakeQuantize>(UniformOptions{.bits = bits, .axis = per_channel ? 0 : -1},
                                             ObserverOptions{.kind = ObserverKind::MinMax});
  const Tensor rows = values.detach().reshape({per_channel ? values.size(0) : 1, -1});
  made->quantizer().set_params(zero_shot_params(rows.amin(1), rows.amax(1), bits, per_channel));
  made->freeze();
  return made;
}

void quantize_weights(Network& net, const std::vector<int>& bits) {
  const auto layers = quantizable_layers(*net);
  size_t next = 0;
  for (const Node& node : net->nodes()) {
    if (node.op != Op::Layer) continue;
    require(next < bits.size(), "{} bit-widths for {} layers", bits.size(), layers.size());
    node.layer->put(Place::Weight, zero_shot_quantizer(node.layer->effective_weight(), bits[next++], true));
  }
  require(next == bits.size(), "{} bit-widths for {} layers", bits.size(), next);
}

void calibrate_activations(Network& net, const Tensor& data, int bits, int64_t batch) {
  check_bits(bits);
  require(!net->is_training(), "calibration needs the network in evaluation mode");
  require(data.defined() && data.numel() > 0, "calibration needs data");
  torch::NoGradGuard no_grad;
  const int nodes = int(net->nodes().size());
  for (int i = 0; i < nodes; ++i)
    if (is_rectifier(net->nodes()[i])) net->put(i, nullptr);
  std::map<const Node*, std::pair<Tensor, Tensor>> range;
  for (const Tensor& part : data.split(batch))
    net->run(part, [&](const Node& node, const auto&, const Tensor& output) {
      if (!is_rectifier(node)) return;
      const auto [low, high] = output.aminmax();
      const auto [at, first] = range.try_emplace(&node, low, high);
      if (!first) at->second = {torch::minimum(at->second.first, low), torch::maximum(at->second.second, high)};
    });
  for (int i = 0; i < nodes; ++i) {
    const Node& node = net->nodes()[i];
    if (!is_rectifier(node)) continue;
    const auto& [low, high] = range.at(&node);
    if (low.equal(high))
      net->put(i, std::make_shared<DynamicQuantizer>(UniformOptions{.bits = bits}));
    else
      net->put(i, zero_shot_quantizer(torch::stack({low, high}), bits, false));
  }
}

ZeroShotResult quantize_zero_shot(Network network, torch::IntArrayRef shape, const ZeroShotOptions& options) {
  require(!options.weight_bits.empty(), "zero-shot quantization: no weight bits to choose from");
  for (const int bits : options.weight_bits) check_bits(bits);
  if (options.activation_bits != 0) check_bits(options.activation_bits);
  const bool search = options.weight_bits.size() > 1;
  require(int(options.average_bits > 0) + int(options.megabytes > 0) == int(search),
          "zero-shot quantization: to choose among {} widths takes one budget, as bits a weight or as megabytes",
          options.weight_bits.size());

  ZeroShotResult result;
  auto start = std::chrono::steady_clock::now();
  const auto done = [&](const char* step) {
    const auto now = std::chrono::steady_clock::now();
    result.seconds.emplace_back(step, std::chrono::duration<double>(now - start).count());
    start = now;
  };
  result.data = distill_data(network, shape, options.distill, &result.history);
  done("distill");

  result.network = options.fold ? fold_batch_norm(network) : Network(network->copy());
  std::vector<int64_t> sizes;
  for (const Node& node : result.network->nodes())
    if (node.op == Op::Layer) sizes.push_back(node.layer->weight.numel());
  if (search) {
    result.sensitivity = layer_sensitivity(
        result.network, result.data,
        {.bits = options.weight_bits,
         .divergence = options.divergence,
         .quantizer = [](const Tensor& weight, int bits) { return zero_shot_quantizer(weight, bits, true); },
         .logits = options.logits});
    done("sensitivity");
    double weights = 0;
    for (const int64_t size : sizes) weights += double(size);
    const auto budget =
        int64_t(options.average_bits > 0 ? options.average_bits * weights : options.megabytes * 8 * (1 << 20));
    result.frontier = pareto_bits(sizes, options.weight_bits, result.sensitivity.omega);
    result.bits = result.frontier.within(budget);
    done("search");
  } else {
    result.bits.bits.assign(sizes.size(), options.weight_bits[0]);
    for (const int64_t size : sizes) result.bits.size += size * options.weight_bits[0];
  }
  quantize_weights(result.network, result.bits.bits);
  if (options.activation_bits) calibrate_activations(result.network, result.data, options.activation_bits);
  done("quantize");
  return result;
}

}  // namespace quanta
