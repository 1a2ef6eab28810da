#include "quanta/quantize/quantized_model.h"

#include <nlohmann/json.hpp>

#include "quanta/core/error.h"
#include "quanta/core/safetensors.h"
#include "quanta/lowbit/packing.h"
#include "quanta/nn/fold.h"
#include "quanta/nn/state.h"
#include "quanta/quantize/fake_quantize.h"

namespace quanta {
namespace {

using nlohmann::json;
using Place = QuantizableLayer::Place;

json to_json(const UniformOptions& options) {
  return {{"bits", options.bits},     {"symmetric", options.symmetric}, {"signed", options.is_signed},
          {"narrow", options.narrow}, {"axis", options.axis},           {"group", options.group}};
}

UniformOptions from_json(const json& j) {
  return {.bits = j.at("bits"),
          .symmetric = j.at("symmetric"),
          .is_signed = j.at("signed"),
          .narrow = j.at("narrow"),
          .axis = j.at("axis"),
          .group = j.at("group")};
}

/// The quantizer in a slot, which must be all that is in it.
const UniformQuantizer& quantizer_in(const Slot& slot, const std::string& name) {
  const auto fake = slot.as<FakeQuantize>();
  require(fake && fake->quantizing() && !fake->observing() && fake->quantizer().ready(),
          "'{}' does not hold a frozen uniform quantizer: quantize and calibrate the network first", name);
  return fake->quantizer();
}

/// Signed, so that they fit int8: what is taken from a code in [qmin, qmax].
int offset(const QuantParams& params, int bits) {
  return params.qmin < 0 ? 0 : 1 << (bits - 1);
}

std::shared_ptr<FakeQuantize> frozen(const UniformOptions& options, const torch::Tensor& scale,
                                     const torch::Tensor& zero_point) {
  auto made = std::make_shared<FakeQuantize>(options, ObserverOptions{});
  // A grid of these options, with the file's parameters.
  QuantParams params = choose_qparams(torch::zeros_like(scale), torch::ones_like(scale), options);
  params.scale = scale;
  params.zero_point = zero_point;
  made->quantizer().set_params(params);
  made->freeze();
  return made;
}

}  // namespace

void save_quantized(const std::filesystem::path& path, const Network& net,
                    const std::map<std::string, std::string>& metadata) {
  const torch::NoGradGuard no_grad;
  TensorMap tensors;
  json layers = json::object(), activations = json::object();
  for (const Node& node : net->nodes()) {
    require(node.op != Op::BatchNorm && !std::dynamic_pointer_cast<ConvBn2dImpl>(node.layer),
            "'{}' is a batch normalization: fold it before the network is stored", node.name);
    require(!node.module, "'{}' is a module of its own, which a quantized file cannot describe", node.name);
    if (node.layer) {
      const auto& layer = *node.layer;
      require(!layer.slot(Place::Input) && !layer.slot(Place::Output),
              "'{}' has a transform at its input or output, which a quantized file does not describe", node.name);
      if (layer.bias.defined()) tensors[node.name + ".bias"] = layer.bias.detach();
      if (layer.slot(Place::Weight)) {
        const UniformQuantizer& quantizer = quantizer_in(layer.slot(Place::Weight), node.name);
        const QuantParams params = quantizer.params();
        require(quantizer.bits() <= 8, "'{}' has codes of {} bits; a quantized file holds up to 8", node.name,
                quantizer.bits());
        const auto codes =
            (quantizer.encode(layer.weight.detach()) - offset(params, quantizer.bits())).to(torch::kInt8).contiguous();
        const auto packed = pack_bits({codes.data_ptr<int8_t>(), size_t(codes.numel())}, quantizer.bits());
        const auto bytes = torch::empty({int64_t(packed.size())}, torch::kUInt8);
        std::copy(packed.begin(), packed.end(), bytes.data_ptr<uint8_t>());
        tensors[node.name + ".codes"] = bytes;
        tensors[node.name + ".scale"] = params.scale.detach();
        tensors[node.name + ".zero_point"] = params.zero_point;
        layers[node.name] = to_json(quantizer.options());
      } else {
        tensors[node.name + ".weight"] = layer.weight.detach();
      }
    }
    if (node.output) {
      const UniformQuantizer& quantizer = quantizer_in(node.output, node.name);
      const QuantParams params = quantizer.params();
      tensors[node.name + ".output.scale"] = params.scale.detach();
      tensors[node.name + ".output.zero_point"] = params.zero_point;
      activations[node.name] = to_json(quantizer.options());
    }
  }
  auto described = metadata;
  described["quantization"] = json{{"version", 1}, {"layers", layers}, {"activations", activations}}.dump();
  write_tensors(path, tensors, described);
}

bool is_quantized(const std::filesystem::path& path) {
  return Safetensors::open(path).metadata().contains("quantization");
}

Network load_quantized(const std::filesystem::path& path, const Network& architecture) {
  const torch::NoGradGuard no_grad;
  const Safetensors file = Safetensors::open(path);
  const auto found = file.metadata().find("quantization");
  require(found != file.metadata().end(), "{} is not a quantized network: it has no \"quantization\" in its metadata",
          path.string());
  Network net = fold_batch_norm(architecture);
  try {
    const json description = json::parse(found->second);
    require(description.at("version") == 1, "{} is of version {}, expected 1", path.string(),
            description.at("version").dump());
    const json& layers = description.at("layers");
    const json& activations = description.at("activations");
    // What the file must hold, with room for it.
    TensorMap expected;
    const auto scales = [&](const std::string& name, const UniformOptions& options, int64_t count) {
      expected[name + ".scale"] = torch::empty({count});
      expected[name + ".zero_point"] = torch::empty({count}, torch::kInt32);
      require(options.group == 0 || options.axis == 0, "'{}' in {}: groups need axis 0", name, path.string());
    };
    for (const Node& node : net->nodes()) {
      if (node.layer) {
        const auto& layer = *node.layer;
        if (layer.bias.defined()) expected[node.name + ".bias"] = torch::empty_like(layer.bias);
        if (layers.contains(node.name)) {
          const UniformOptions options = from_json(layers.at(node.name));
          require(options.bits >= 1 && options.bits <= 8 && options.axis <= 0 && options.group >= 0 &&
                      (options.group == 0 || layer.weight[0].numel() % options.group == 0),
                  "'{}' in {} has a quantizer that does not exist", node.name, path.string());
          expected[node.name + ".codes"] = torch::empty({(layer.weight.numel() * options.bits + 7) / 8}, torch::kUInt8);
          scales(node.name, options, options.axis < 0 ? 1 : layer.weight.size(0));
          if (options.group > 0)
            for (const char* what : {".scale", ".zero_point"}) {
              auto& tensor = expected[node.name + what];
              tensor = torch::empty({layer.weight.size(0), layer.weight[0].numel() / options.group}, tensor.options());
            }
        } else {
          expected[node.name + ".weight"] = torch::empty_like(layer.weight);
        }
      }
      if (activations.contains(node.name)) scales(node.name + ".output", from_json(activations.at(node.name)), 1);
    }
    require_fit(path, misfits(file.tensors(), expected));
    read_tensors(file.tensors(), expected);
    for (size_t i = 0; i < net->nodes().size(); ++i) {
      const Node& node = net->nodes()[i];
      const auto quantizer = [&](const std::string& name, const json& options) {
        return frozen(from_json(options), expected.at(name + ".scale"), expected.at(name + ".zero_point"));
      };
      if (node.layer) {
        auto& layer = *node.layer;
        if (layer.bias.defined()) layer.bias.set_data(expected.at(node.name + ".bias"));
        if (layers.contains(node.name)) {
          const auto fake = quantizer(node.name, layers.at(node.name));
          const int bits = fake->quantizer().bits();
          const auto& packed = expected.at(node.name + ".codes");
          const auto codes = unpack_bits(std::as_bytes(std::span(packed.data_ptr<uint8_t>(), size_t(packed.numel()))),
                                         size_t(layer.weight.numel()), bits);
          auto whole = torch::empty(layer.weight.sizes(), torch::kInt32);
          std::copy(codes.begin(), codes.end(), whole.data_ptr<int32_t>());
          whole += offset(fake->quantizer().params(), bits);
          layer.weight.set_data(fake->quantizer().decode(whole));
          layer.put(Place::Weight, fake);
        } else {
          layer.weight.set_data(expected.at(node.name + ".weight"));
        }
      }
      if (activations.contains(node.name))
        net->put(int(i), quantizer(node.name + ".output", activations.at(node.name)));
    }
  } catch (const json::exception& error) {
    fail("{}: its \"quantization\" is damaged ({})", path.string(), error.what());
  }
  net->eval();
  return net;
}

}  // namespace quanta
