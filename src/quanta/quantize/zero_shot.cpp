#include "quanta/quantize/zero_shot.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <span>

#include "quanta/core/error.h"
#include "quanta/core/safetensors.h"
#include "quanta/nn/fold.h"
#include "quanta/quantize/dynamic_quantizer.h"

namespace quanta {
namespace {

using torch::Tensor;
using Place = QuantizableLayer::Place;

void check_bits(int bits) {
  require(bits >= 2 && bits <= 8, "zero-shot quantization takes 2 to 8 bits, got {}", bits);
}

bool is_rectifier(const Node& node) {
  return node.op == Op::Relu || node.op == Op::Relu6;
}

Tensor pack(const Tensor& codes, int bits) {
  const Tensor flat = codes.to(torch::kInt32).contiguous().flatten();
  Tensor packed = torch::zeros({(flat.numel() * bits + 7) / 8}, torch::kUInt8);
  auto* out = packed.data_ptr<uint8_t>();
  int64_t at = 0;
  for (const int32_t code : std::span(flat.data_ptr<int32_t>(), size_t(flat.numel())))
    for (int b = 0; b < bits; ++b, ++at) out[at / 8] |= uint8_t((code >> b & 1) << at % 8);
  return packed;
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

std::shared_ptr<TensorTransform> zero_shot_quantizer(const Tensor& values, int bits, bool per_channel) {
  auto made = std::make_shared<UniformQuantizer>(UniformOptions{.bits = bits, .axis = per_channel ? 0 : -1});
  const Tensor rows = values.detach().reshape({per_channel ? values.size(0) : 1, -1});
  made->set_params(zero_shot_params(rows.amin(1), rows.amax(1), bits, per_channel));
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

int64_t save_packed_weights(const Network& net, const std::filesystem::path& path) {
  torch::NoGradGuard no_grad;
  std::map<std::string, Tensor> tensors;
  for (const auto& parameter : net->named_parameters()) tensors[parameter.key()] = parameter.value();
  for (const auto& buffer : net->named_buffers()) tensors[buffer.key()] = buffer.value();
  std::map<std::string, std::string> metadata;
  int64_t bytes = 0;
  for (const Node& node : net->nodes()) {
    if (node.op != Op::Layer) continue;
    const auto quantizer = node.layer->slot(Place::Weight).as<UniformQuantizer>();
    if (!quantizer) continue;
    const QuantParams params = quantizer->params();
    const Tensor codes = quantizer->encode(node.layer->effective_weight().detach()) - params.qmin;
    std::erase_if(tensors, [&](const auto& item) {
      return item.first == node.name + ".weight" || item.first.starts_with(node.name + ".weight_transform.");
    });
    tensors[node.name + ".codes"] = pack(codes, quantizer->bits());
    tensors[node.name + ".scale"] = params.scale;
    tensors[node.name + ".zero_point"] = params.zero_point - params.qmin;
    metadata[node.name] = fmt::format("{} bits, shape {}", quantizer->bits(), fmt::join(codes.sizes(), "x"));
    bytes += tensors[node.name + ".codes"].numel();
  }
  std::map<std::string, TensorView> views;
  for (auto& [name, tensor] : tensors) {
    tensor = tensor.contiguous();
    const auto type = tensor.scalar_type() == torch::kUInt8   ? DataType::kU8
                      : tensor.scalar_type() == torch::kInt32 ? DataType::kI32
                      : tensor.scalar_type() == torch::kInt64 ? DataType::kI64
                                                              : DataType::kF32;
    if (type == DataType::kF32) tensor = tensor.to(torch::kFloat32);
    views[name] = {type, tensor.sizes().vec(),
                   std::span(static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes())};
  }
  write_safetensors(path, views, metadata);
  return bytes;
}

}  // namespace quanta
