#include "quanta/models/gguf_model.h"

#include <cmath>
#include <numbers>

#include "quanta/core/error.h"
#include "quanta/core/text.h"
#include "quanta/lowbit/gguf_blocks.h"

namespace quanta {
namespace {

using nlohmann::json;
using torch::Tensor;

// --- names ----------------------------------------------------------------------------------------------------------

struct Name {
  const char *own, *gguf;
};
constexpr Name kLlamaNames[]{
    {"input_layernorm", "attn_norm"}, {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"}};
constexpr Name kGpt2Names[]{{"ln_1", "attn_norm"}, {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"},
                            {"ln_2", "ffn_norm"},  {"mlp.c_fc", "ffn_up"},      {"mlp.c_proj", "ffn_down"}};

// A parameter's name below its block, or that of one outside the blocks, in GGUF files.
std::string gguf_name(const LanguageConfig& config, const std::string& own) {
  const size_t dot = own.rfind('.');
  const std::string path = own.substr(0, dot), kind = own.substr(dot);
  const LanguageNames& ends = language_names(config.family);
  if (path == ends.tokens) return "token_embd" + kind;
  if (ends.positions && path == ends.positions) return "position_embd" + kind;
  if (path == ends.norm) return "output_norm" + kind;
  if (path == "lm_head") return "output" + kind;
  const std::span<const Name> names =
      config.family == Family::Gpt2 ? std::span<const Name>(kGpt2Names) : std::span<const Name>(kLlamaNames);
  for (const Name& name : names)
    if (path == name.own) return name.gguf + kind;
  fail("a GGUF file has no place for {}", own);
}

/// A parameter of a model in a file: both names, its shape, and whether its rows are in another order there.
struct Place {
  std::string own, gguf;
  std::vector<int64_t> shape;
  int64_t heads = 0;  // whose rows are rearranged; 0: none
};

std::string architecture_of(const LanguageConfig& config) {
  const std::string type = config.to_json().value("model_type", "");
  require(config.family != Family::Opt, "a GGUF file cannot hold a model of the kind OPT; LLaMA, Qwen2 and GPT-2 can");
  return type == "qwen2" || type == "gpt2" ? type : "llama";
}

std::vector<Place> places_of_ends(const LanguageConfig& config) {
  std::vector<Place> places;
  for (const auto& [name, shape] : end_parameters(config)) places.push_back({name, gguf_name(config, name), shape});
  return places;
}

// Below the block.
std::vector<Place> places_of_block(const LanguageConfig& config) {
  const bool interleaved = architecture_of(config) == "llama";
  std::vector<Place> places;
  for (const auto& [name, shape] : block_parameters(config)) {
    const bool query = name.starts_with("self_attn.q_proj"), key = name.starts_with("self_attn.k_proj");
    const int64_t heads = !interleaved ? 0 : query ? config.heads : key ? config.kv_heads : 0;
    places.push_back({name, gguf_name(config, name), shape, heads});
  }
  return places;
}

std::string gguf_prefix(int64_t block) {
  return fmt::format("blk.{}.", block);
}
std::string own_prefix(const LanguageConfig& config, int64_t block) {
  return fmt::format("{}{}.", language_names(config.family).blocks, block);
}

// LLaMA's files rotate neighbours (2i, 2i + 1) of a head where we rotate (i, i + D/2): their row (head, i, c) is our
// row (head, c, i). Copies rows of `bytes` each from one order to the other.
void rearrange(std::span<const std::byte> from, std::span<std::byte> to, int64_t rows, int64_t heads, bool to_file) {
  const size_t bytes = from.size() / size_t(rows);
  const int64_t half = rows / heads / 2;
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t i = 0; i < half; ++i)
      for (int64_t c = 0; c < 2; ++c) {
        const auto own = size_t((head * 2 + c) * half + i), file = size_t((head * half + i) * 2 + c);
        const auto row = from.subspan((to_file ? own : file) * bytes, bytes);
        std::ranges::copy(row, to.begin() + std::ptrdiff_t((to_file ? file : own) * bytes));
      }
}

// --- metadata -------------------------------------------------------------------------------------------------------

// What llama.cpp's LLaMA 3 frequencies are divided by: [head_dim / 2].
std::vector<float> frequency_factors(const LanguageConfig& config, const RopeScaling& s) {
  std::vector<float> result;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(config.rope_theta, 2 * double(i) / double(config.head_dim));
    const double t = std::clamp(
        (double(s.original_positions) / wavelength - s.low_frequency) / (s.high_frequency - s.low_frequency), 0.0, 1.0);
    result.push_back(float(1 / ((1 - t) / s.factor + t)));
  }
  return result;
}

constexpr const char* kFrequencies = "rope_freqs.weight";

// The scaling that makes the factors: of LLaMA 3.1 and later, which differ in `factor` only.
RopeScaling scaling_of(const std::vector<float>& factors, const LanguageConfig& config, const std::string& file) {
  RopeScaling s{.kind = RopeScaling::Kind::Llama3, .factor = *std::ranges::max_element(factors)};
  const auto expected = frequency_factors(config, s);
  bool same = factors.size() == expected.size();
  for (size_t i = 0; same && i < factors.size(); ++i) same = std::abs(factors[i] / expected[i] - 1) < 1e-4;
  require(same, "{}: tensor {} stretches positions in a way that is not LLaMA 3's", file, kFrequencies);
  return s;
}

uint32_t file_type(GgufType type) {
  constexpr std::pair<GgufType, uint32_t> numbers[]{
      {GgufType::F32, 0},   {GgufType::F16, 1},   {GgufType::Q4_0, 2},  {GgufType::Q4_1, 3},  {GgufType::Q8_0, 7},
      {GgufType::Q5_0, 8},  {GgufType::Q5_1, 9},  {GgufType::Q2_K, 10}, {GgufType::Q3_K, 11}, {GgufType::Q4_K, 14},
      {GgufType::Q5_K, 16}, {GgufType::Q6_K, 18}, {GgufType::BF16, 32}};
  for (const auto& [known, number] : numbers)
    if (known == type) return number;
  fail("a model cannot be written as {}", gguf_type_name(type));
}

void add_tokenizer(const Tokenizer& tokenizer, int64_t vocabulary, GgufMetadata& metadata) {
  Vocabulary v = tokenizer.vocabulary();
  require(int64_t(v.tokens.size()) <= vocabulary, "the tokenizer has {} tokens, the model a vocabulary of {}",
          v.tokens.size(), vocabulary);
  v.types.resize(v.tokens.size(), PieceType::Normal);
  for (int64_t id = int64_t(v.tokens.size()); id < vocabulary; ++id) {  // rows that no token uses
    v.tokens.push_back(fmt::format("[PAD{}]", id));
    v.types.push_back(PieceType::Unused);
    if (!v.scores.empty()) v.scores.push_back(-1000);
  }
  const auto add = [&](const char* key, GgufValue value) {
    metadata.emplace(fmt::format("tokenizer.ggml.{}", key), std::move(value));
  };
  std::vector<int32_t> types;
  for (const PieceType type : v.types) types.push_back(int32_t(type));
  add("model", v.model);
  add("pre", v.pre);
  add("tokens", GgufArray(v.tokens));
  add("token_type", GgufArray(types));
  if (!v.scores.empty()) add("scores", GgufArray(v.scores));
  if (!v.merges.empty()) add("merges", GgufArray(v.merges));
  if (v.bos) add("bos_token_id", uint32_t(*v.bos));
  if (v.eos) add("eos_token_id", uint32_t(*v.eos));
  if (v.unknown) add("unknown_token_id", uint32_t(*v.unknown));
  add("add_bos_token", v.add_bos);
  add("add_eos_token", v.add_eos);
  add("add_space_prefix", v.add_space_prefix);
  if (v.model == "gpt2") return;
  add("remove_extra_whitespaces", v.remove_extra_whitespaces);
  if (!v.precompiled_charsmap.empty())
    add("precompiled_charsmap",
        GgufArray(std::vector<uint8_t>(v.precompiled_charsmap.begin(), v.precompiled_charsmap.end())));
}

std::unique_ptr<Tokenizer> read_tokenizer(const Gguf& file) {
  const auto key = [](const char* name) { return fmt::format("tokenizer.ggml.{}", name); };
  Vocabulary v;
  v.model = file.get<std::string>(key("model")).value_or("none");
  if (v.model == "none" || v.model == "no_vocab") return nullptr;
  v.pre = file.get<std::string>(key("pre")).value_or("default");
  v.tokens = file.need<std::vector<std::string>>(key("tokens"));
  for (const double score : file.get<std::vector<double>>(key("scores")).value_or(std::vector<double>{}))
    v.scores.push_back(float(score));
  for (const int64_t type : file.get<std::vector<int64_t>>(key("token_type")).value_or(std::vector<int64_t>{})) {
    require(type >= 1 && type <= 6, "{}: tokenizer.ggml.token_type must be from 1 to 6, got {}", file.name(), type);
    v.types.push_back(PieceType(type));
  }
  v.types.resize(v.tokens.size(), PieceType::Normal);
  v.merges = file.get<std::vector<std::string>>(key("merges")).value_or(std::vector<std::string>{});
  v.bos = file.get<int64_t>(key("bos_token_id"));
  v.eos = file.get<int64_t>(key("eos_token_id"));
  v.unknown = file.get<int64_t>(key("unknown_token_id"));
  const bool pieces = v.model == "llama";
  v.add_bos = file.get<bool>(key("add_bos_token")).value_or(pieces);
  v.add_eos = file.get<bool>(key("add_eos_token")).value_or(false);
  v.add_space_prefix = file.get<bool>(key("add_space_prefix")).value_or(pieces);
  v.remove_extra_whitespaces = file.get<bool>(key("remove_extra_whitespaces")).value_or(false);
  for (const int64_t byte :
       file.get<std::vector<int64_t>>(key("precompiled_charsmap")).value_or(std::vector<int64_t>{}))
    v.precompiled_charsmap.push_back(char(byte));
  return tokenizer_from(v, file.name());
}

GgufMetadata metadata_of(const LanguageConfig& c, const GgufOptions& options) {
  const std::string arch = architecture_of(c);
  const bool gpt2 = c.family == Family::Gpt2;
  require(c.activation == (gpt2 ? MlpActivation::GeluTanh : MlpActivation::Silu),
          "a GGUF file of the architecture {} cannot name the model's activation", arch);
  GgufMetadata m{{"general.architecture", arch},
                 {"general.name", options.name.empty() ? arch : options.name},
                 {"general.file_type", file_type(options.type)},
                 {"general.quantization_version", uint32_t{2}}};
  const auto add = [&](const char* key, GgufValue value) {
    m.emplace(fmt::format("{}.{}", arch, key), std::move(value));
  };
  add("vocab_size", uint32_t(c.vocabulary));
  add("context_length", uint32_t(c.positions));
  add("embedding_length", uint32_t(c.width));
  add("block_count", uint32_t(c.layers));
  add("feed_forward_length", uint32_t(c.inner));
  add("attention.head_count", uint32_t(c.heads));
  if (gpt2) {
    add("attention.layer_norm_epsilon", float(c.norm_eps));
  } else {
    add("attention.head_count_kv", uint32_t(c.kv_heads));
    add("attention.layer_norm_rms_epsilon", float(c.norm_eps));
    add("rope.dimension_count", uint32_t(c.head_dim));
    add("rope.freq_base", float(c.rope_theta));
    if (c.head_dim * c.heads != c.width) {
      add("attention.key_length", uint32_t(c.head_dim));
      add("attention.value_length", uint32_t(c.head_dim));
    }
    if (c.window) add("attention.sliding_window", uint32_t(*c.window));
  }
  if (c.rope_scaling && c.rope_scaling->kind == RopeScaling::Kind::Linear) {
    add("rope.scaling.type", std::string("linear"));
    add("rope.scaling.factor", float(c.rope_scaling->factor));
  } else {
    require(!c.rope_scaling || c.rope_scaling->kind == RopeScaling::Kind::Llama3,
            "this model's stretched positions cannot be written to a GGUF file; linear and llama3 can");
  }
  if (options.tokenizer)
    add_tokenizer(*options.tokenizer, c.vocabulary, m);
  else
    m.emplace("tokenizer.ggml.model", std::string("none"));
  return m;
}

// config.json of the model in a file.
LanguageConfig config_of(const Gguf& file) {
  const auto arch = file.need<std::string>("general.architecture");
  const bool gpt2 = arch == "gpt2";
  require(gpt2 || arch == "llama" || arch == "qwen2", "{}: architecture {} is not known; llama, qwen2 and gpt2 are",
          file.name(), printable(arch));
  const auto key = [&](const char* name) { return fmt::format("{}.{}", arch, name); };
  json object{{"model_type", arch}};
  const auto size = [&](const char* own, const char* name) { object[own] = file.need<int64_t>(key(name)); };
  const auto& embedding = file.at("token_embd.weight");
  require(embedding.shape.size() == 2, "{}: tensor token_embd.weight must have two extents", file.name());
  object["vocab_size"] = embedding.shape[0];
  object["tie_word_embeddings"] = !file.tensors().contains("output.weight");
  size(gpt2 ? "n_embd" : "hidden_size", "embedding_length");
  size(gpt2 ? "n_layer" : "num_hidden_layers", "block_count");
  size(gpt2 ? "n_head" : "num_attention_heads", "attention.head_count");
  size(gpt2 ? "n_positions" : "max_position_embeddings", "context_length");
  size(gpt2 ? "n_inner" : "intermediate_size", "feed_forward_length");
  // A metadata float is the nearest one to a number of few digits.
  const auto number = [&](const char* name) {
    return std::stod(fmt::format("{}", float(file.need<double>(key(name)))));
  };
  if (gpt2) {
    object["layer_norm_epsilon"] = number("attention.layer_norm_epsilon");
  } else {
    object["rms_norm_eps"] = number("attention.layer_norm_rms_epsilon");
    for (const auto& [own, name] : {std::pair{"num_key_value_heads", "attention.head_count_kv"},
                                    {"head_dim", "rope.dimension_count"},
                                    {"head_dim", "attention.key_length"}})
      if (const auto value = file.get<int64_t>(key(name))) object[own] = *value;
    if (file.get<double>(key("rope.freq_base"))) object["rope_theta"] = number("rope.freq_base");
    if (arch == "llama") {
      object["attention_bias"] = file.tensors().contains("blk.0.attn_q.bias");
      object["mlp_bias"] = file.tensors().contains("blk.0.ffn_up.bias");
    }
    const auto scaling = file.get<std::string>(key("rope.scaling.type")).value_or("none");
    require(scaling == "none" || scaling == "linear", "{}: positions stretched by {} are not read; linear is",
            file.name(), printable(scaling));
    if (scaling == "linear")
      object["rope_scaling"] = {{"rope_type", "linear"}, {"factor", number("rope.scaling.factor")}};
  }
  for (const auto& [own, name] : {std::pair{"bos_token_id", "bos_token_id"}, {"eos_token_id", "eos_token_id"}}) {
    const auto id = file.get<int64_t>(fmt::format("tokenizer.ggml.{}", name));
    object[own] = id ? json(*id) : json();
  }
  LanguageConfig config = LanguageConfig::from_json(object, file.name());
  if (file.tensors().contains(kFrequencies)) {
    const auto& tensor = file.at(kFrequencies);
    config.rope_scaling = scaling_of(decode_gguf(tensor.type, tensor.bytes), config, file.name());
  }
  return config;
}

// --- weights --------------------------------------------------------------------------------------------------------

GgufType fitting_type(GgufType wanted, int64_t columns) {
  using enum GgufType;
  constexpr std::pair<GgufType, GgufType> instead[]{
      {Q2_K, Q4_0}, {Q3_K, Q4_0}, {Q4_K, Q5_0}, {Q5_K, Q5_1}, {Q6_K, Q8_0}};
  const auto fits = [&](GgufType type) { return columns % gguf_block_size(type) == 0; };
  if (fits(wanted)) return wanted;
  for (const auto& [type, other] : instead)
    if (type == wanted && fits(other)) return other;
  return F16;
}

/// What becomes of each weight.
class Plan {
 public:
  Plan(const LanguageConfig& config, const GgufOptions& options) : config_(config), options_(options) {
    for (const auto& place : places_of_ends(config_)) add(place, "", "");
    for (int64_t i = 0; i < config_.layers; ++i)
      for (const auto& place : places_of_block(config_)) add(place, own_prefix(config_, i), gguf_prefix(i));
    for (const auto& [name, type] : options_.types) check(name);
    for (const auto& [name, rows] : options_.packed) check(name);
    for (const auto& [name, values] : options_.importance) check(name);
  }

  const std::vector<GgufTensorInfo>& infos() const { return infos_; }
  const std::map<std::string, GgufType>& changed() const { return changed_; }

  std::vector<std::byte> bytes(const Place& place, const std::string& prefix, const torch::nn::Module& module) const {
    const std::string name = prefix + place.own;
    const GgufType type = types_.at(name);
    std::vector<std::byte> result;
    if (const auto packed = options_.packed.find(name); packed != options_.packed.end()) {
      result.assign(packed->second.bytes.begin(), packed->second.bytes.end());
    } else {
      const auto parameters = module.named_parameters();
      const Tensor* found = parameters.find(place.own);
      require(found && found->sizes() == place.shape, "{} is no float weight any more and was not given packed", name);
      const Tensor weight = found->detach().to(torch::kCPU, torch::kFloat32).contiguous();
      const auto importance = options_.importance.find(name);
      result = encode_gguf(type, {weight.data_ptr<float>(), size_t(weight.numel())}, place.shape.back(),
                           importance == options_.importance.end() ? std::span<const float>()
                                                                   : std::span<const float>(importance->second));
    }
    if (place.heads == 0) return result;
    std::vector<std::byte> rearranged(result.size());
    rearrange(result, rearranged, place.shape[0], place.heads, /*to_file=*/true);
    return rearranged;
  }

 private:
  void add(const Place& place, const std::string& prefix, const std::string& file_prefix) {
    const std::string name = prefix + place.own;
    GgufType type = GgufType::F32;
    if (const auto packed = options_.packed.find(name); packed != options_.packed.end()) {
      type = packed->second.type;
      const int64_t needed = place.shape[0] * gguf_row_bytes(type, place.shape.back());
      require(place.shape.size() == 2 && int64_t(packed->second.bytes.size()) == needed,
              "{}: {} packed bytes, its [{}] in {} needs {}", name, packed->second.bytes.size(),
              fmt::join(place.shape, ", "), gguf_type_name(type), needed);
    } else if (place.shape.size() == 2 && place.gguf != "position_embd.weight") {
      type = wanted(name, place.gguf);
      require(is_gguf_encodable(type), "{}: weights cannot be written as {}", name, gguf_type_name(type));
      if (const GgufType fit = fitting_type(type, place.shape.back()); fit != type) type = changed_[name] = fit;
    }
    types_[name] = type;
    infos_.push_back({file_prefix + place.gguf, type, place.shape});
  }
  GgufType wanted(const std::string& name, const std::string& gguf) const {
    if (const auto found = options_.types.find(name); found != options_.types.end()) return found->second;
    if (gguf == "token_embd.weight") return options_.embedding.value_or(options_.type);
    if (gguf == "output.weight") return options_.output.value_or(options_.type);
    return options_.type;
  }
  void check(const std::string& name) const {
    if (types_.contains(name)) return;
    std::vector<std::string> names;
    for (const auto& [known, type] : types_) names.push_back(known);
    fail("this model has no weight {}; nearest: {}", printable(name), nearest(name, names));
  }

  const LanguageConfig& config_;
  const GgufOptions& options_;
  std::map<std::string, GgufType> types_{}, changed_{};
  std::vector<GgufTensorInfo> infos_{};
};

}  // namespace

std::map<std::string, GgufType> write_gguf(const std::filesystem::path& path, const LanguageModel& ends,
                                           const std::function<DecoderBlock(int64_t)>& block,
                                           const GgufOptions& options) {
  const LanguageConfig& config = ends->config();
  const GgufMetadata metadata = metadata_of(config, options);
  const Plan plan(config, options);
  std::vector<GgufTensorInfo> infos = plan.infos();
  const bool stretched = config.rope_scaling && config.rope_scaling->kind == RopeScaling::Kind::Llama3;
  if (stretched) infos.insert(infos.begin(), {kFrequencies, GgufType::F32, {config.head_dim / 2}});
  GgufWriter writer(path, metadata, infos);
  if (stretched) {
    const auto factors = frequency_factors(config, *config.rope_scaling);
    writer.write(std::as_bytes(std::span(factors)));
  }
  for (const Place& place : places_of_ends(config)) writer.write(plan.bytes(place, "", *ends));
  for (int64_t i = 0; i < config.layers; ++i) {
    const DecoderBlock made = block(i);
    for (const Place& place : places_of_block(config)) writer.write(plan.bytes(place, own_prefix(config, i), *made));
  }
  writer.commit();
  return plan.changed();
}

std::map<std::string, GgufType> write_gguf(const std::filesystem::path& path, const LanguageModel& model,
                                           const GgufOptions& options) {
  return write_gguf(
      path, model, [&](int64_t i) { return model->blocks.at(size_t(i)); }, options);
}

GgufModel read_gguf(const std::filesystem::path& path) {
  const Gguf file = Gguf::open(path);
  const LanguageConfig config = config_of(file);
  require(size_t(config.layers) <= file.tensors().size(), "{}: {} blocks, but only {} tensors", file.name(),
          config.layers, file.tensors().size());
  size_t used = file.tensors().contains(kFrequencies) ? 1 : 0;
  const auto fill = [&](torch::nn::Module& module, const std::vector<Place>& places, const std::string& prefix) {
    auto parameters = module.named_parameters();
    for (const Place& place : places) {
      const GgufTensor& tensor = file.at(prefix + place.gguf);
      const std::string where = fmt::format("{}: tensor {}", file.name(), printable(prefix + place.gguf));
      require(tensor.shape == place.shape, "{} is [{}], expected [{}]", where, fmt::join(tensor.shape, ", "),
              fmt::join(place.shape, ", "));
      require(is_gguf_encodable(tensor.type), "{} is of the type {}, which cannot be decoded", where,
              gguf_type_name(tensor.type));
      ++used;
      std::vector<std::byte> own;
      std::span<const std::byte> bytes = tensor.bytes;
      if (place.heads > 0) {
        own.resize(bytes.size());
        rearrange(bytes, own, place.shape[0], place.heads, /*to_file=*/false);
        bytes = own;
      }
      Tensor weight = torch::empty(place.shape);
      decode_gguf(tensor.type, bytes, {weight.data_ptr<float>(), size_t(weight.numel())});
      parameters[place.own].set_data(weight);
    }
  };
  GgufModel result;
  result.tokenizer = read_tokenizer(file);
  result.model = LanguageModel(config);
  fill(*result.model, places_of_ends(config), "");
  for (int64_t i = 0; i < config.layers; ++i)
    fill(*result.model->blocks[size_t(i)], places_of_block(config), gguf_prefix(i));
  require(used == file.tensors().size(), "{}: {} of its {} tensors belong to no part of a {} model", file.name(),
          file.tensors().size() - used, file.tensors().size(), file.need<std::string>("general.architecture"));
  return result;
}

}  // namespace quanta
