#include "quanta/quantize/quantized_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/data/text_data.h"
#include "quanta/lowbit/gptq_layout.h"
#include "quanta/nn/packed_linear.h"
#include "quanta/nn/state.h"
#include "quanta/quantize/gguf_rule.h"
#include "quanta/quantize/stored_transform.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;
using Place = QuantizableLayer::Place;

constexpr int kWord = 32;

std::span<const uint8_t> bytes_of(const Tensor& codes) {
  return {codes.data_ptr<uint8_t>(), size_t(codes.numel())};
}
std::span<const uint32_t> words_of(const Tensor& words) {
  return {reinterpret_cast<const uint32_t*>(words.data_ptr<int32_t>()), size_t(words.numel())};
}

// Codes [n, k] as words [k b / 32, n], and back.
Tensor pack_words(const Tensor& codes, int bits) {
  const auto words = pack_gptq(bytes_of(codes.contiguous()), codes.size(0), codes.size(1), bits);
  return torch::from_blob(const_cast<uint32_t*>(words.data()), {codes.size(1) * bits / kWord, codes.size(0)},
                          torch::kInt32)
      .clone();
}
Tensor unpack_words(const Tensor& words, int64_t n, int64_t k, int bits) {
  const Tensor whole = words.contiguous();
  auto codes = unpack_gptq(words_of(whole), n, k, bits);
  return torch::from_blob(codes.data(), {n, k}, torch::kUInt8).clone();
}
Tensor unpack_awq_words(const Tensor& words, int64_t n) {
  auto codes = unpack_awq(words_of(words), n, words.size(0));
  return torch::from_blob(codes.data(), {n, words.size(0)}, torch::kUInt8).clone();
}

bool fits_gptq(const QuantizedMatrix& m) {
  const int64_t words = kWord / std::gcd(kWord, m.bits);
  const bool known = m.bits == 2 || m.bits == 3 || m.bits == 4 || m.bits == 8;
  return known && !m.grid.values.defined() && !m.grid.offset.defined() && m.codes.size(0) % words == 0 &&
         m.codes.size(1) % words == 0 && m.grid.zero.eq(m.grid.zero.round()).all().item<bool>() &&
         m.grid.zero.ge(0).logical_and(m.grid.zero.lt(1 << m.bits)).all().item<bool>();
}

// The tensors of a layer, NAME.qweight and so on. Zero points are stored as they are ("gptq_v2"): less one, as the
// older format has them, 0 would not fit.
void put_gptq(TensorMap& to, const std::string& name, const QuantizedMatrix& m) {
  to[name + ".qweight"] = pack_words(m.codes, m.bits);
  to[name + ".qzeros"] = pack_words(m.grid.zero.t().to(torch::kUInt8), m.bits).t().contiguous();
  const Tensor half = m.grid.scale.to(torch::kFloat16);
  const bool exact = half.to(torch::kFloat32).eq(m.grid.scale).all().item<bool>();
  to[name + ".scales"] = (exact ? half : m.grid.scale.to(torch::kFloat32)).t().contiguous();
  const int64_t k = m.codes.size(1);
  to[name + ".g_idx"] = m.g_idx.defined() ? m.g_idx : torch::arange(k, torch::kInt32).floor_divide(m.grid.group);
}

// How a folder's quantized weights are to be read, from quantization_config.
struct Layout {
  bool awq = false;
  bool less_one = false;    // stored zero points are one less, modulo the number of levels
  bool transposed = false;  // float weights of the blocks are [in, out]: GPT-2
  nlohmann::json slots = nlohmann::json::object();
};

constexpr std::string_view kMethods[]{"gptq", "awq", "quanta"};

Layout layout_of(const nlohmann::json& config, const std::string& name) {
  const auto& quantization = config.at("quantization_config");
  const std::string method = quantization.value("quant_method", "");
  require(std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods),
          "{}: weights quantized by '{}' are not known, expected one of {}", name, method, fmt::join(kMethods, ", "));
  Layout layout{.awq = method == "awq", .transposed = config.value("model_type", "") == "gpt2"};
  layout.less_one = method == "gptq" && quantization.value("checkpoint_format", "gptq") != "gptq_v2";
  if (quantization.contains("slots")) layout.slots = quantization["slots"];
  return layout;
}

// Weights from tensors in memory or in mapped files, quantized or not.
class QuantizedSource : public WeightSource {
 public:
  QuantizedSource(TensorViews tensors, std::shared_ptr<const void> owner, Layout layout, std::string name, bool packed)
      : tensors_(std::move(tensors)),
        owner_(std::move(owner)),
        layout_(std::move(layout)),
        name_(std::move(name)),
        packed_(packed) {
    constexpr std::string_view kParts[]{".qweight", ".qzeros", ".scales", ".g_idx"};
    for (const auto& [tensor, view] : tensors_) {
      const auto is_part = [&](std::string_view part) { return tensor.ends_with(part); };
      if (is_part(kParts[0]))
        shapes_[stem(tensor) + ".weight"] = shape_of(stem(tensor));
      else if (std::none_of(std::begin(kParts), std::end(kParts), is_part) && tensor.find(".slot.") == tensor.npos)
        shapes_[tensor] = view.shape;
    }
  }

  ParameterShapes shapes() const override { return shapes_; }

  Tensor read(const std::string& name) const override {
    if (tensors_.contains(name)) return tensor(name).to(torch::kFloat32);
    const Tensor weight = matrix(stem(name)).dequantize();
    return layout_.transposed ? weight.t() : weight;
  }

  void fill(DecoderBlockImpl& block, const std::string& prefix) const override {
    for (const auto& [name, spec] : layout_.slots.items()) {
      if (!name.starts_with(prefix)) continue;
      const std::shared_ptr<StoredTransform> transform = make_transform(spec);
      const torch::NoGradGuard no_grad;
      for (auto& [part, values] : state_of(*transform)) values.copy_(tensor(name + ".slot." + part));
      const std::string slot = name.substr(prefix.size());
      if (Slot* own = slot == "query"   ? &block.query
                      : slot == "key"   ? &block.key
                      : slot == "value" ? &block.value
                                        : nullptr)
        own->hold(transform);
      else
        block.layer(stem(slot))->put(Place::Input, transform);
    }
    if (packed_)
      for (const auto& stage : block.stages())
        for (const std::string& path : stage)
          if (tensors_.contains(prefix + path + ".qweight")) pack_layer(block, path, matrix(prefix + path));
  }

 private:
  // "a.b.qweight" -> "a.b".
  static std::string stem(const std::string& name) { return name.substr(0, name.rfind('.')); }

  static void pack_layer(DecoderBlockImpl& block, const std::string& path, const QuantizedMatrix& m) {
    const auto layer = block.layer(path);
    const int64_t k = m.codes.size(1);
    PackedLinear packed(pack({.bits = m.bits,
                              .group = m.grid.group >= k ? 0 : m.grid.group,
                              .codes = m.codes,
                              .scales = m.grid.scale,
                              .zeros = m.grid.zero,
                              .bias = layer->bias,
                              .group_index = m.g_idx}),
                        Activations::Float);
    packed->put(Place::Input, layer->slot(Place::Input).get());
    block.replace(path, packed.ptr());
  }

  const TensorView& view(const std::string& name) const {
    const auto found = tensors_.find(name);
    require(found != tensors_.end(), "{}: the tensor {} is missing", name_, name);
    return found->second;
  }
  const TensorView& view(const std::string& name, size_t rank) const {
    const TensorView& found = view(name);
    require(found.shape.size() == rank, "{}: {} has {} dimensions, expected {}", name_, name, found.shape.size(), rank);
    return found;
  }
  Tensor tensor(const std::string& name) const { return read_tensor(view(name), name); }

  // As a float weight would have it: from [K b / 32, N] codes and K groups of GPTQ, [K, N b / 32] of AWQ.
  std::vector<int64_t> shape_of(const std::string& layer) const {
    const int64_t n = view(layer + ".scales", 2).shape[1];
    const int64_t k = layout_.awq ? view(layer + ".qweight", 2).shape[0] : view(layer + ".g_idx", 1).shape[0];
    return layout_.transposed ? std::vector{k, n} : std::vector{n, k};
  }

  QuantizedMatrix matrix(const std::string& layer) const {
    auto shape = shape_of(layer);
    if (layout_.transposed) std::swap(shape[0], shape[1]);
    const int64_t n = shape[0], k = shape[1];
    const Tensor words = tensor(layer + ".qweight"), zeros = tensor(layer + ".qzeros");
    const Tensor scale = tensor(layer + ".scales").to(torch::kFloat32).t().contiguous();
    const int64_t groups = scale.size(1), bits = k * n > 0 ? words.numel() * kWord / (k * n) : 0;
    require(bits >= 2 && bits <= 8 && groups > 0 && words.dim() == 2 && zeros.dim() == 2 && zeros.size(0) == groups &&
                zeros.size(1) * kWord == n * bits &&
                words.size(layout_.awq ? 1 : 0) * kWord == (layout_.awq ? n : k) * bits &&
                words.size(layout_.awq ? 0 : 1) == (layout_.awq ? k : n),
            "{}: the parts of {} do not fit each other", name_, layer);
    QuantizedMatrix m{.bits = int(bits),
                      .codes = {},
                      .grid = {.group = (k + groups - 1) / groups, .levels = 1 << bits, .scale = scale},
                      .g_idx = {}};
    if (layout_.awq) {
      require(bits == 4, "{}: AWQ's layout is of 4 bits, {} has {}", name_, layer, bits);
      m.codes = unpack_awq_words(words, n);
      m.grid.zero = unpack_awq_words(zeros, n).to(torch::kFloat32);
      return m;
    }
    m.codes = unpack_words(words, n, k, m.bits);
    m.grid.zero = unpack_words(zeros.t(), groups, n, m.bits).t().to(torch::kFloat32);
    if (layout_.less_one) m.grid.zero = (m.grid.zero + 1).remainder(m.grid.levels);
    const Tensor g_idx = tensor(layer + ".g_idx").to(torch::kInt32);
    require(g_idx.ge(0).logical_and(g_idx.lt(groups)).all().item<bool>(), "{}: {}.g_idx names groups beyond the {}",
            name_, layer, groups);
    if (!g_idx.equal(torch::arange(k, torch::kInt32).floor_divide(m.grid.group))) m.g_idx = g_idx;
    return m;
  }

  TensorViews tensors_;
  std::shared_ptr<const void> owner_;
  Layout layout_;
  std::string name_;
  bool packed_;
  ParameterShapes shapes_;
};

std::string ledger_name(int64_t index) {
  return fmt::format("ledger-{:05}.json", index);
}

// What the slots of a block hold: specs under "PREFIX.slot's owner", tensors below NAME.slot.
nlohmann::json put_slots(TensorMap& to, const DecoderBlock& block, const std::string& prefix) {
  nlohmann::json specs = nlohmann::json::object();
  const auto put = [&](const std::string& name, const Slot& slot) {
    if (!slot) return;
    specs[name] = spec_of(slot);
    for (const auto& [part, values] : state_of(*slot.get())) to[name + ".slot." + part] = values;
  };
  for (const auto& stage : block->stages())
    for (const std::string& path : stage) put(prefix + path + ".input", block->layer(path)->slot(Place::Input));
  put(prefix + "query", block->query);
  put(prefix + "key", block->key);
  put(prefix + "value", block->value);
  return specs;
}

}  // namespace

bool is_quantized_checkpoint(const fs::path& folder) {
  return fs::exists(folder / "config.json") && read_json(folder / "config.json").contains("quantization_config");
}

Checkpoint open_checkpoint(const fs::path& folder, bool packed) {
  if (!is_quantized_checkpoint(folder)) return Checkpoint::open(folder);
  const std::string name = (folder / "config.json").string();
  const auto files = std::make_shared<SafetensorsFolder>(SafetensorsFolder::open(folder));
  return Checkpoint::open(folder,
                          std::make_shared<QuantizedSource>(files->tensors(), files, layout_of(read_json(name), name),
                                                            folder.string(), packed));
}

int64_t weight_bytes(const fs::path& folder) {
  const auto files = SafetensorsFolder::open(folder);
  int64_t bytes = 0;
  for (const auto& [name, view] : files.tensors()) bytes += int64_t(view.bytes.size());
  return bytes;
}

std::string fingerprint(const fs::path& folder) {
  const auto files = SafetensorsFolder::open(folder);
  std::string text = read_file(folder / "config.json");
  for (const auto& [name, view] : files.tensors()) {
    text +=
        fmt::format("{} {} [{}] {}", name, data_type_name(view.type), fmt::join(view.shape, ","), view.bytes.size());
    text.append(reinterpret_cast<const char*>(view.bytes.data()), std::min<size_t>(view.bytes.size(), 4096));
  }
  return text_hash(text);
}

double mean_nll(const Checkpoint& model, const Tensor& sequences, const fs::path& work) {
  return mean_nll(
      model.ends(), [&](int64_t i) { return model.block(i); }, sequences, work);
}

QuantizedFolder::QuantizedFolder(Checkpoint source, fs::path out, const nlohmann::json& job, bool fresh)
    : source_(std::move(source)), out_(std::move(out)), work_(out_ / ".work") {
  if (fresh) fs::remove_all(work_);
  make_directory(work_);
  const fs::path file = work_ / "job.json";
  if (fs::exists(file))
    require(read_json(file) == job,
            "{} has the state of another job (other model, method, settings or text): choose another folder, or "
            "--fresh to give that job up",
            out_.string());
  write_file(file, job.dump(2) + "\n");
}

fs::path QuantizedFolder::block_file(int64_t index) const {
  return work_ / fmt::format("block-{:05}.safetensors", index);
}

std::optional<LedgerBlock> QuantizedFolder::done(int64_t index) {
  const fs::path file = work_ / ledger_name(index);
  if (!fs::exists(file)) return std::nullopt;
  return ledger_block(read_json(file));
}

void QuantizedFolder::keep(const LedgerBlock& ledger) {
  write_file(work_ / ledger_name(ledger.block), to_json(ledger).dump(2) + "\n");
}

void QuantizedFolder::keep(int64_t index, DecoderBlock block, const std::vector<LayerResult>& results) {
  const std::string prefix = block_prefix(config(), index);
  TensorMap tensors = checkpoint_tensors(block, index);
  for (const LayerResult& result : results) {
    const std::string name = prefix + result.layer;
    if (result.gguf.defined())
      tensors[name + ".gguf"] = result.gguf;
    else if (fits_gptq(result.matrix))
      put_gptq(tensors, name, result.matrix);
    else
      continue;
    tensors.erase(name + ".weight");
  }
  const nlohmann::json slots = put_slots(tensors, block, prefix);
  std::map<std::string, std::string> metadata{{"slots", slots.dump()}};
  for (const LayerResult& result : results)
    if (result.gguf.defined()) metadata[prefix + result.layer] = gguf_type_name(result.gguf_type);
  write_tensors(block_file(index), tensors, metadata);
}

DecoderBlock QuantizedFolder::kept(int64_t index) {
  const auto file = std::make_shared<Safetensors>(Safetensors::open(block_file(index)));
  Layout layout{.transposed = config().family == Family::Gpt2};
  layout.slots = nlohmann::json::parse(file->metadata().at("slots"));
  const QuantizedSource source(file->tensors(), file, layout, block_file(index).string(), false);
  DecoderBlock block(config(), index);
  const std::string prefix = block_prefix(config(), index);
  auto parameters = block->named_parameters();
  for (const auto& item : block_parameters(config())) {
    const std::string layer = prefix + item.first.substr(0, item.first.rfind('.'));
    if (item.first.ends_with(".weight") && file->tensors().contains(layer + ".gguf")) {
      const GgufRule rule(*parse_gguf_type(file->metadata().at(layer)));
      parameters[item.first].set_data(rule.unpack(read_tensor(file->at(layer + ".gguf"), layer)));
      continue;
    }
    const Tensor weight = source.read(prefix + item.first);
    const bool transposed = layout.transposed && weight.dim() == 2;
    parameters[item.first].set_data(transposed ? weight.t().contiguous() : weight);
  }
  source.fill(*block, prefix);
  return block;
}

void QuantizedFolder::finish(const BlockwiseResult& result, const nlohmann::json& description, int64_t max_shard) {
  CheckpointWriter writer(out_, max_shard);
  const auto source = SafetensorsFolder::open(source_.folder());
  for (const auto& [name, tensor] : checkpoint_tensors(result.model)) {
    // Bit for bit as it was, unless the method has changed it.
    const auto before = source.tensors().find(name);
    if (before != source.tensors().end() && read_tensor(before->second, name).to(torch::kFloat32).equal(tensor))
      writer.add(name, before->second);
    else
      writer.add(name, tensor);
  }
  nlohmann::json slots = nlohmann::json::object();
  bool standard = true;
  std::vector<std::shared_ptr<Safetensors>> files;
  for (int64_t i = 0; i < config().layers; ++i) {
    files.push_back(std::make_shared<Safetensors>(Safetensors::open(block_file(i))));
    slots.update(nlohmann::json::parse(files.back()->metadata().at("slots")));
    for (const auto& [name, view] : files.back()->tensors()) writer.add(name, view);
    for (const auto& path : linear_shapes(config()))
      for (const LinearShape& layer : path)
        standard = standard && files.back()->tensors().contains(block_prefix(config(), i) + layer.path + ".qweight");
  }
  nlohmann::json quantization = description;
  quantization["quant_method"] = standard && slots.empty() ? "gptq" : "quanta";
  quantization["checkpoint_format"] = "gptq_v2";
  if (!slots.empty()) quantization["slots"] = slots;
  nlohmann::json json = result.model->config().to_json();
  json["quantization_config"] = quantization;
  write_file(out_ / "ledger.json", result.ledger.to_json().dump(2) + "\n");
  writer.finish(result.model->config(), std::move(json), source_.folder());
  fs::remove_all(work_);
}

std::map<std::string, GgufType> QuantizedFolder::finish_gguf(const BlockwiseResult& result, const Tokenizer* tokenizer,
                                                             GgufType rest) {
  GgufOptions options{.type = rest, .tokenizer = tokenizer, .name = source_.folder().filename().string()};
  std::vector<Safetensors> files;
  for (int64_t i = 0; i < config().layers; ++i) {
    files.push_back(Safetensors::open(block_file(i)));
    require(nlohmann::json::parse(files.back().metadata().at("slots")).empty(),
            "a GGUF file cannot hold the transforms that this method needs when the model runs");
    for (const auto& [name, view] : files.back().tensors())
      if (name.ends_with(".gguf")) {
        const std::string layer = name.substr(0, name.size() - 5);
        options.packed[layer + ".weight"] = {*parse_gguf_type(files.back().metadata().at(layer)), view.bytes};
      }
  }
  write_file(out_ / "ledger.json", result.ledger.to_json().dump(2) + "\n");
  auto others = write_gguf(
      out_ / "model.gguf", result.model, [&](int64_t i) { return kept(i); }, options);
  fs::remove_all(work_);
  return others;
}

void QuantizedFolder::finish_float(const BlockwiseResult& result, SaveType type) {
  write_file(out_ / "ledger.json", result.ledger.to_json().dump(2) + "\n");
  save_checkpoint(result.model, [&](int64_t i) { return kept(i); }, out_,
                  {.type = type, .max_shard = int64_t{1} << 30, .like = source_.folder()});
  fs::remove_all(work_);
}

}  // namespace quanta
