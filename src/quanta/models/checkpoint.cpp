#include "quanta/models/checkpoint.h"

#include <algorithm>
#include <set>

#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta {
namespace {

using nlohmann::json;
using torch::Tensor;
namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

class FloatFolder : public WeightSource {
 public:
  explicit FloatFolder(const fs::path& folder) : files_(SafetensorsFolder::open(folder)) {}
  ParameterShapes shapes() const override {
    ParameterShapes shapes;
    for (const auto& [name, view] : files_.tensors()) shapes[name] = view.shape;
    return shapes;
  }
  Tensor read(const std::string& name) const override {
    const auto tensor = read_tensor(files_.tensors().at(name), name);
    require(tensor.is_floating_point(), "tensor {} is of {}, expected a floating-point type", name,
            data_type_name(files_.tensors().at(name).type));
    return tensor.to(torch::kFloat32);
  }

  void release() const override { files_.release(); }

 private:
  SafetensorsFolder files_;
};

/// GPT-2's files hold the weights of its blocks' linear layers as [in, out].
bool is_transposed(const LanguageConfig& config, const std::string& name, size_t dimensions) {
  return config.family == Family::Gpt2 && dimensions == 2 && name.starts_with(language_names(config.family).blocks);
}

/// All parameters under Hugging Face's names with their shapes in the files.
ParameterShapes file_shapes(const LanguageConfig& config) {
  ParameterShapes shapes = end_parameters(config);
  const auto block = block_parameters(config);
  for (int64_t i = 0; i < config.layers; ++i)
    for (const auto& [name, shape] : block) shapes[block_prefix(config, i) + name] = shape;
  for (auto& [name, shape] : shapes)
    if (is_transposed(config, name, shape.size())) std::ranges::reverse(shape);
  return shapes;
}

bool is_leftover(const LanguageConfig& config, const std::string& name) {
  if (name.ends_with("rotary_emb.inv_freq") || (config.tied && name == "lm_head.weight")) return true;
  return config.family == Family::Gpt2 && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
}

/// A list that fits a line or two.
std::string join_some(const std::vector<std::string>& items) {
  constexpr size_t kShown = 8;
  const size_t shown = std::min(items.size(), kShown);
  std::string text = fmt::format("{}", fmt::join(items.begin(), items.begin() + std::ptrdiff_t(shown), "; "));
  if (items.size() > shown) text += fmt::format("; and {} more", items.size() - shown);
  return text;
}

/// Parameters' names and the source's for them. Error unless all are there and nothing else is.
std::map<std::string, std::string> match(const LanguageConfig& config, const ParameterShapes& there,
                                         const fs::path& folder) {
  // Each block has tensors of its own: a damaged number of layers must not make a list without end.
  require(size_t(config.layers) <= there.size(), "{}: config.json speaks of {} layers, the files hold {} tensors",
          folder.string(), config.layers, there.size());
  const auto expected = file_shapes(config);
  const std::string blocks = language_names(config.family).blocks;
  const std::string prefix = blocks.substr(0, blocks.find('.') + 1);
  std::map<std::string, std::string> names;
  std::vector<std::string> faults, unexpected;
  for (const auto& [name, shape] : there) {
    const auto found = expected.contains(name) ? expected.find(name) : expected.find(prefix + name);
    if (found == expected.end()) {
      if (!is_leftover(config, name)) unexpected.push_back(name + " is not expected");
    } else if (!names.emplace(found->first, name).second) {
      faults.push_back(fmt::format("{} is there twice, with and without '{}'", found->first, prefix));
    } else if (shape != found->second) {
      const bool vocabulary = found->second.front() == config.vocabulary && shape.size() == 2 &&
                              shape.back() == config.width && name.find(blocks) == name.npos;
      faults.push_back(
          fmt::format("{} is [{}], expected [{}]{}", name, fmt::join(shape, ", "), fmt::join(found->second, ", "),
                      vocabulary ? fmt::format(": vocab_size {} is not the files'", config.vocabulary) : ""));
    }
  }
  for (const auto& [name, shape] : expected)
    if (!names.contains(name)) faults.push_back(name + " is missing");
  faults.insert(faults.end(), unexpected.begin(), unexpected.end());
  require(faults.empty(), "the tensors in {} do not fit its config.json: {}", folder.string(), join_some(faults));
  return names;
}

/// Gives a module's parameters other values, without a copy.
void set_parameters(torch::nn::Module& module, const ParameterShapes& shapes,
                    const std::function<Tensor(const std::string&)>& read) {
  auto parameters = module.named_parameters();
  for (const auto& [name, shape] : shapes) parameters[name].set_data(read(name));
}

TensorMap named_tensors(const torch::nn::Module& module, const ParameterShapes& shapes, const std::string& prefix,
                        const LanguageConfig& config) {
  const auto parameters = module.named_parameters();
  TensorMap tensors;
  for (const auto& [name, shape] : shapes) {
    const Tensor* found = parameters.find(name);
    require(found != nullptr && found->sizes() == shape, "{}{} is no float weight any more and cannot be saved", prefix,
            name);
    const auto tensor = found->detach();
    tensors[prefix + name] = is_transposed(config, prefix + name, shape.size()) ? tensor.t() : tensor;
  }
  return tensors;
}

constexpr std::pair<SaveType, std::pair<torch::ScalarType, const char*>> kSaveTypes[]{
    {SaveType::F32, {torch::kFloat32, "float32"}},
    {SaveType::F16, {torch::kFloat16, "float16"}},
    {SaveType::BF16, {torch::kBFloat16, "bfloat16"}}};

Tensor convert(const Tensor& tensor, SaveType type, const std::string& name) {
  const auto made = tensor.to(kSaveTypes[size_t(type)].second.first);
  require(type != SaveType::F16 || made.isfinite().all().item<bool>() || !tensor.isfinite().all().item<bool>(),
          "{} holds values beyond the range of F16; save it as BF16 or F32", name);
  return made;
}

/// Tensors in the order in which they come, written to files of a limited size.
class ShardWriter {
 public:
  ShardWriter(fs::path folder, int64_t limit) : folder_(std::move(folder)), limit_(limit) {}

  void add(const std::string& name, const Tensor& tensor) {
    const Tensor owned = tensor.detach().contiguous();
    add(name, view_of(owned, name));
    owners_.push_back(owned);
  }
  /// The bytes must live until finish().
  void add(const std::string& name, const TensorView& view) {
    const int64_t bytes = int64_t(view.bytes.size());
    if (!tensors_.empty() && bytes_ + bytes > limit_) flush();
    tensors_[name] = view;
    bytes_ += bytes;
    total_ += bytes;
  }

  /// The last file, and the index if there are several; all get their names.
  void finish() {
    if (shards_.empty()) {
      write(kSingle);
      return;
    }
    flush();
    json index{{"metadata", {{"total_size", total_}}}, {"weight_map", json::object()}};
    for (size_t i = 0; i < shards_.size(); ++i) {
      const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
      fs::rename(folder_ / part_name(i), folder_ / name);
      for (const auto& tensor : shards_[i]) index["weight_map"][tensor] = name;
    }
    write_file(folder_ / kIndex, index.dump(2) + "\n");
  }

 private:
  static std::string part_name(size_t i) { return fmt::format("part-{}", i); }
  void write(const std::string& name) { write_safetensors(folder_ / name, tensors_, {{"format", "pt"}}); }
  void flush() {
    write(part_name(shards_.size()));
    shards_.emplace_back();
    for (const auto& [name, tensor] : tensors_) shards_.back().push_back(name);
    tensors_.clear();
    owners_.clear();
    bytes_ = 0;
  }

  fs::path folder_;
  int64_t limit_, bytes_ = 0, total_ = 0;
  TensorViews tensors_;
  std::vector<Tensor> owners_;
  std::vector<std::vector<std::string>> shards_;
};

/// A folder inside another in which a checkpoint is written before its files take the place of older ones.
class Aside {
 public:
  explicit Aside(fs::path target) : target_(std::move(target)), path_(target_ / ".writing") {
    fs::remove_all(path_);
    make_directory(path_);
  }
  ~Aside() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  const fs::path& path() const { return path_; }

  /// config.json goes first and comes last: without it a folder is no checkpoint.
  void commit() {
    const auto is_weights = [](const std::string& name) {
      return name == kSingle || name == kIndex || (name.starts_with("model-") && name.find("-of-") != name.npos);
    };
    fs::remove(target_ / "config.json");
    for (const auto& entry : fs::directory_iterator(target_))
      if (is_weights(entry.path().filename().string())) fs::remove(entry.path());
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(path_)) files.push_back(entry.path().filename());
    for (const auto& file : files)
      if (file != "config.json") fs::rename(path_ / file, target_ / file);
    fs::rename(path_ / "config.json", target_ / "config.json");
  }

 private:
  fs::path target_, path_;
};

json generation_config(const LanguageConfig& config, const fs::path& like) {
  json object = json::object();
  if (!like.empty() && fs::exists(like / "generation_config.json")) object = read_json(like / "generation_config.json");
  const json whole = config.to_json();
  for (const char* key : {"bos_token_id", "eos_token_id"})
    if (!whole[key].is_null()) object[key] = whole[key];
  return object;
}

}  // namespace

json read_json(const fs::path& path) {
  const auto check = [&](int depth, json::parse_event_t, json&) {
    require(depth <= 64, "{} is nested too deeply to be a model's", path.string());
    return true;
  };
  auto value = json::parse(read_file(path, size_t{256} << 20), check, /*allow_exceptions=*/false);
  require(!value.is_discarded(), "{} is not JSON", path.string());
  return value;
}

SafetensorsFolder SafetensorsFolder::open(const fs::path& folder) {
  SafetensorsFolder result;
  const auto add = [&](const fs::path& path) {
    result.names_.push_back(path.filename().string());
    result.files_.push_back(Safetensors::open(path));
    for (const auto& [name, view] : result.files_.back().tensors())
      require(result.tensors_.emplace(name, view).second, "{}: tensor {} is in another shard too", path.string(), name);
  };
  if (fs::exists(folder / kSingle)) {
    add(folder / kSingle);
    return result;
  }
  const fs::path path = folder / kIndex;
  require(fs::exists(path), "{} holds neither {} nor {}{}", folder.string(), kSingle, kIndex,
          fs::exists(folder / "pytorch_model.bin") || fs::exists(folder / "pytorch_model.bin.index.json")
              ? "; convert pytorch_model.bin to safetensors first"
              : "");
  const json index = read_json(path);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  require(index.is_object() && map != index.end() && map->is_object(), "{}: weight_map, an object, is missing",
          path.string());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    require(shard.is_string() && fs::path(shard.get<std::string>()).filename() == shard.get<std::string>(),
            "{}: {} must be the name of a file in the folder, got {}", path.string(), tensor, shard.dump());
    shards.insert(shard.get<std::string>());
  }
  for (const auto& shard : shards) add(folder / shard);
  for (const auto& [tensor, shard] : map->items())
    require(result.tensors_.contains(tensor), "{}: tensor {} is not in {}", path.string(), tensor, shard.dump());
  return result;
}

struct Checkpoint::Impl {
  fs::path folder;
  LanguageConfig config;
  std::shared_ptr<const WeightSource> source;
  std::map<std::string, std::string> names;  // the parameters' -> the source's

  Tensor read(const std::string& name) const {
    const auto tensor = source->read(names.at(name));
    return is_transposed(config, name, size_t(tensor.dim())) ? tensor.t().contiguous() : tensor;
  }
  void fill(DecoderBlockImpl& block, int64_t index) const {
    const std::string prefix = block_prefix(config, index);
    set_parameters(block, block_parameters(config), [&](const std::string& name) { return read(prefix + name); });
    source->fill(block, prefix);
    source->release();
  }
  void fill_ends(LanguageModelImpl& model) const {
    set_parameters(model, end_parameters(config), [&](const std::string& name) { return read(name); });
    source->release();
  }
};

Checkpoint Checkpoint::open(const fs::path& folder) {
  const json config = read_json(folder / "config.json");
  require(!config.is_object() || !config.contains("quantization_config"),
          "{}: the weights are quantized (config.json has quantization_config), which this command does not read",
          folder.string());
  return open(folder, std::make_shared<FloatFolder>(folder));
}

Checkpoint Checkpoint::open(const fs::path& folder, std::shared_ptr<const WeightSource> source) {
  auto impl = std::make_shared<Impl>();
  const fs::path path = folder / "config.json";
  impl->folder = folder;
  impl->config = LanguageConfig::from_json(read_json(path), path.string());
  if (const fs::path generation = folder / "generation_config.json"; fs::exists(generation)) {
    const json object = read_json(generation);
    const auto eos = object.is_object() ? object.find("eos_token_id") : object.end();
    if (object.is_object() && eos != object.end() && !eos->is_null()) {
      json whole = impl->config.source;
      whole["eos_token_id"] = *eos;
      impl->config.eos = LanguageConfig::from_json(whole, generation.string()).eos;
    }
  }
  impl->names = match(impl->config, source->shapes(), folder);
  impl->source = std::move(source);
  Checkpoint result;
  result.impl_ = std::move(impl);
  return result;
}

const LanguageConfig& Checkpoint::config() const {
  return impl_->config;
}

const fs::path& Checkpoint::folder() const {
  return impl_->folder;
}

const std::string& Checkpoint::source_name(const std::string& name) const {
  const auto found = impl_->names.find(name);
  require(found != impl_->names.end(), "this model has no tensor {}", name);
  return found->second;
}

const WeightSource& Checkpoint::source() const {
  return *impl_->source;
}

DecoderBlock Checkpoint::block(int64_t index) const {
  require(index >= 0 && index < config().layers, "block {} of a model with {}", index, config().layers);
  DecoderBlock block(config(), index);
  impl_->fill(*block, index);
  return block;
}

LanguageModel Checkpoint::ends() const {
  LanguageModel model(config(), /*with_blocks=*/false);
  impl_->fill_ends(*model);
  return model;
}

LanguageModel Checkpoint::model() const {
  LanguageModel model(config());
  impl_->fill_ends(*model);
  for (auto& block : model->blocks) impl_->fill(*block, block->index());
  return model;
}

std::string block_prefix(const LanguageConfig& config, int64_t index) {
  return fmt::format("{}{}.", language_names(config.family).blocks, index);
}

TensorMap checkpoint_tensors(const DecoderBlock& block, int64_t index) {
  const auto& config = block->config();
  return named_tensors(*block, block_parameters(config), block_prefix(config, index), config);
}

TensorMap checkpoint_tensors(const LanguageModel& model) {
  return named_tensors(*model, end_parameters(model->config()), "", model->config());
}

void require_vocabulary(const LanguageConfig& config, const Tokenizer& tokenizer) {
  require(tokenizer.size() <= config.vocabulary,
          "the tokenizer has {} tokens, the model a vocabulary of {}: they do not belong together", tokenizer.size(),
          config.vocabulary);
}

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                           "vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja"})
    if (fs::exists(from / name)) write_file(to / name, read_file(from / name));
}

struct CheckpointWriter::Impl {
  Impl(const fs::path& folder, int64_t max_shard) : aside(folder), shards(aside.path(), max_shard) {}
  Aside aside;
  ShardWriter shards;
};

CheckpointWriter::CheckpointWriter(const fs::path& folder, int64_t max_shard) {
  require(max_shard > 0, "a shard needs room for at least one byte, got {}", max_shard);
  make_directory(folder);
  impl_ = std::make_unique<Impl>(folder, max_shard);
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::add(const std::string& name, const Tensor& tensor) {
  impl_->shards.add(name, tensor);
}

void CheckpointWriter::add(const std::string& name, const TensorView& view) {
  impl_->shards.add(name, view);
}

void CheckpointWriter::finish(const LanguageConfig& config, const json& object, const fs::path& like) {
  const fs::path& aside = impl_->aside.path();
  impl_->shards.finish();
  write_file(aside / "generation_config.json", generation_config(config, like).dump(2) + "\n");
  write_file(aside / "config.json", object.dump(2) + "\n");
  if (!like.empty()) copy_tokenizer(like, aside);
  impl_->aside.commit();
}

void save_checkpoint(const LanguageModel& ends, const std::function<DecoderBlock(int64_t)>& block,
                     const fs::path& folder, const SaveOptions& options) {
  const auto& config = ends->config();
  CheckpointWriter writer(folder, options.max_shard);
  const auto add = [&](const TensorMap& tensors) {
    for (const auto& [name, tensor] : tensors) writer.add(name, convert(tensor, options.type, name));
  };
  add(checkpoint_tensors(ends));
  for (int64_t i = 0; i < config.layers; ++i) add(checkpoint_tensors(block(i), i));

  json object = config.to_json();
  object["torch_dtype"] = kSaveTypes[size_t(options.type)].second.second;
  object.erase("dtype");
  object.erase("quantization_config");
  writer.finish(config, object, options.like);
}

void save_checkpoint(const LanguageModel& model, const fs::path& folder, const SaveOptions& options) {
  save_checkpoint(
      model, [&](int64_t i) { return model->blocks.at(size_t(i)); }, folder, options);
}

}  // namespace quanta
