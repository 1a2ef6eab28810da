#include <array>
#include <cmath>

#include "quanta/core/error.h"
#include "quanta/models/language_model.h"

namespace quanta {
namespace {

using nlohmann::json;
using Kind = RopeScaling::Kind;

/// The values of a JSON object, checked; null counts as missing.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const std::string& where() const { return where_; }

  std::optional<int64_t> integer(const char* key, int64_t least = 0) const {
    const json* value = find(key);
    if (!value) return {};
    require(value->is_number_integer() && value->get<double>() >= double(least) && value->get<double>() <= kLargest,
            "{}: {} must be an integer from {} to 2^31 - 1, got {}", where_, key, least, value->dump());
    return value->get<int64_t>();
  }
  /// A size of the network, at least 1.
  int64_t size(const char* key) const {
    const auto value = integer(key, 1);
    require(value.has_value(), "{}: {} is missing", where_, key);
    return *value;
  }
  double positive(const char* key, std::optional<double> fallback) const {
    const json* value = find(key);
    require(value || fallback, "{}: {} is missing", where_, key);
    if (!value) return *fallback;
    require(value->is_number() && value->get<double>() > 0 && std::isfinite(value->get<double>()),
            "{}: {} must be a positive number, got {}", where_, key, value->dump());
    return value->get<double>();
  }
  bool boolean(const char* key, bool fallback) const {
    const json* value = find(key);
    require(!value || value->is_boolean(), "{}: {} must be true or false, got {}", where_, key,
            value ? value->dump() : "");
    return value ? value->get<bool>() : fallback;
  }
  std::string text(const char* key, const char* fallback) const {
    const json* value = find(key);
    require(!value || value->is_string(), "{}: {} must be a string, got {}", where_, key, value ? value->dump() : "");
    return value ? value->get<std::string>() : fallback;
  }
  /// Refuses an option that changes the arithmetic in a way this decoder does not know.
  void only(const char* key, bool expected) const {
    require(boolean(key, expected) == expected, "{}: {} = {} is not supported", where_, key, !expected);
  }
  void only(const char* key, double expected) const {
    require(positive(key, expected) == expected, "{}: {} other than {} is not supported", where_, key, expected);
  }

 private:
  static constexpr double kLargest = 2147483647;
  const json& object_;
  std::string where_;
};

struct Architecture {
  const char *name, *model_type;
  Family family;
};
constexpr std::array<Architecture, 5> kArchitectures{{{"LlamaForCausalLM", "llama", Family::Llama},
                                                      {"MistralForCausalLM", "mistral", Family::Llama},
                                                      {"Qwen2ForCausalLM", "qwen2", Family::Llama},
                                                      {"GPT2LMHeadModel", "gpt2", Family::Gpt2},
                                                      {"OPTForCausalLM", "opt", Family::Opt}}};

const Architecture& find_architecture(const Fields& fields) {
  std::string name;
  if (const json* list = fields.find("architectures")) {
    require(list->is_array() && !list->empty() && list->front().is_string(),
            "{}: architectures must be a list of names, got {}", fields.where(), list->dump());
    name = list->front().get<std::string>();
  } else {
    name = fields.text("model_type", "");
    require(!name.empty(), "{}: neither architectures nor model_type says what this model is", fields.where());
  }
  std::vector<std::string> known;
  for (const Architecture& a : kArchitectures) {
    if (name == a.name || name == a.model_type) return a;
    known.emplace_back(a.name);
  }
  fail("{}: unknown architecture {}; known are {}", fields.where(), json(name).dump(), fmt::join(known, ", "));
}

constexpr std::array<std::pair<const char*, MlpActivation>, 7> kActivations{
    {{"silu", MlpActivation::Silu},
     {"swish", MlpActivation::Silu},
     {"relu", MlpActivation::Relu},
     {"gelu", MlpActivation::Gelu},
     {"gelu_new", MlpActivation::GeluTanh},
     {"gelu_pytorch_tanh", MlpActivation::GeluTanh},
     {"gelu_fast", MlpActivation::GeluTanh}}};

MlpActivation parse_activation(const Fields& fields, const char* key, const char* fallback) {
  const std::string name = fields.text(key, fallback);
  for (const auto& [known, activation] : kActivations)
    if (name == known) return activation;
  fail("{}: unknown {} {}", fields.where(), key, json(name).dump());
}

const char* activation_name(MlpActivation activation) {
  for (const auto& [name, known] : kActivations)
    if (activation == known) return name;
  return "";
}

/// How positions are stretched: "rope_scaling" of a configuration, or "rope_parameters" as newer ones have it.
std::optional<RopeScaling> parse_scaling(const Fields& top, const LanguageConfig& config) {
  const json* object = top.find("rope_parameters");
  const char* key = object ? "rope_parameters" : "rope_scaling";
  if (!object) object = top.find(key);
  if (!object) return {};
  require(object->is_object(), "{}: {} must be an object, got {}", top.where(), key, object->dump());
  const Fields fields(*object, fmt::format("{}: {}", top.where(), key));
  fields.only("partial_rotary_factor", 1.0);
  const std::string type = fields.text("rope_type", fields.text("type", "default").c_str());
  if (type == "default") return {};
  RopeScaling s;
  const auto original = top.integer("original_max_position_embeddings", 1);
  s.original_positions =
      original.value_or(fields.integer("original_max_position_embeddings", 1).value_or(config.positions));
  std::optional<double> factor;
  if (type == "linear") {
    s.kind = Kind::Linear;
  } else if (type == "dynamic") {
    s.kind = Kind::Dynamic;
    s.original_positions = config.positions;
    require(config.head_dim > 2, "{}: dynamic scaling needs a head_dim above 2", fields.where());
  } else if (type == "llama3") {
    s.kind = Kind::Llama3;
    s.low_frequency = fields.positive("low_freq_factor", {});
    s.high_frequency = fields.positive("high_freq_factor", {});
    require(s.low_frequency < s.high_frequency, "{}: low_freq_factor {} must be below high_freq_factor {}",
            fields.where(), s.low_frequency, s.high_frequency);
  } else if (type == "yarn") {
    s.kind = Kind::Yarn;
    s.beta_fast = fields.positive("beta_fast", 32);
    s.beta_slow = fields.positive("beta_slow", 1);
    s.truncate = fields.boolean("truncate", true);
    factor = double(config.positions) / double(s.original_positions);
  } else {
    fail("{}: unknown rope_type {}; known are default, linear, dynamic, llama3, yarn", fields.where(),
         json(type).dump());
  }
  s.factor = fields.positive("factor", factor);
  if (fields.find("attention_factor")) {
    s.attention_factor = fields.positive("attention_factor", {});
  } else if (fields.find("mscale") && fields.find("mscale_all_dim")) {
    const auto scale = [&](const char* name) {
      return s.factor <= 1 ? 1 : 0.1 * fields.positive(name, {}) * std::log(s.factor) + 1;
    };
    s.attention_factor = scale("mscale") / scale("mscale_all_dim");
  }
  return s;
}

json scaling_json(const RopeScaling& s) {
  json object{{"factor", s.factor}};
  const auto add = [&](const char* type, const json& more) {
    object["rope_type"] = type;
    object.update(more);
  };
  switch (s.kind) {
    case Kind::Linear:
      add("linear", json::object());
      break;
    case Kind::Dynamic:
      add("dynamic", json::object());
      break;
    case Kind::Llama3:
      add("llama3", {{"low_freq_factor", s.low_frequency},
                     {"high_freq_factor", s.high_frequency},
                     {"original_max_position_embeddings", s.original_positions}});
      break;
    case Kind::Yarn:
      add("yarn", {{"beta_fast", s.beta_fast},
                   {"beta_slow", s.beta_slow},
                   {"truncate", s.truncate},
                   {"attention_factor", s.yarn_attention_factor()},
                   {"original_max_position_embeddings", s.original_positions}});
      break;
  }
  return object;
}

void parse_llama(LanguageConfig& c, const Fields& f, const std::string& model_type) {
  c.inner = f.size("intermediate_size");
  c.kv_heads = f.integer("num_key_value_heads", 1).value_or(c.heads);
  require(c.heads % c.kv_heads == 0, "{}: num_key_value_heads {} must divide num_attention_heads {}", f.where(),
          c.kv_heads, c.heads);
  const auto head_dim = f.integer("head_dim", 1);
  if (head_dim) c.head_dim = *head_dim;
  require(c.head_dim % 2 == 0, "{}: rotary positions need an even head_dim, got {}", f.where(), c.head_dim);
  c.norm_eps = f.positive("rms_norm_eps", 1e-6);
  c.activation = parse_activation(f, "hidden_act", "silu");
  c.tied = f.boolean("tie_word_embeddings", false);
  f.only("partial_rotary_factor", 1.0);
  if (model_type == "llama") {
    c.attention_bias = c.output_bias = f.boolean("attention_bias", false);
    c.mlp_bias = f.boolean("mlp_bias", false);
  } else {
    c.attention_bias = model_type == "qwen2";
    if (model_type == "mistral" || f.boolean("use_sliding_window", false)) c.window = f.integer("sliding_window", 1);
  }
  c.rope_theta = f.positive("rope_theta", 10000);
  if (const json* rope = f.find("rope_parameters"); rope && rope->is_object())
    c.rope_theta = Fields(*rope, f.where() + ": rope_parameters").positive("rope_theta", c.rope_theta);
  c.rope_scaling = parse_scaling(f, c);
}

void parse_gpt2(LanguageConfig& c, const Fields& f) {
  c.inner = f.integer("n_inner", 1).value_or(4 * c.width);
  c.norm_eps = f.positive("layer_norm_epsilon", 1e-5);
  c.activation = parse_activation(f, "activation_function", "gelu_new");
  c.tied = f.boolean("tie_word_embeddings", true);
  c.attention_bias = c.output_bias = c.mlp_bias = true;
  f.only("scale_attn_weights", true);
  f.only("scale_attn_by_inverse_layer_idx", false);
  f.only("add_cross_attention", false);
}

void parse_opt(LanguageConfig& c, const Fields& f) {
  c.inner = f.size("ffn_dim");
  c.norm_eps = 1e-5;
  c.activation = parse_activation(f, "activation_function", "relu");
  c.tied = f.boolean("tie_word_embeddings", true);
  c.attention_bias = c.output_bias = c.mlp_bias = f.boolean("enable_bias", true);
  f.only("do_layer_norm_before", true);
  f.only("_remove_final_layer_norm", false);
  f.only("layer_norm_elementwise_affine", true);
  f.only("word_embed_proj_dim", double(c.width));
}

}  // namespace

double RopeScaling::yarn_attention_factor() const {
  if (attention_factor > 0) return attention_factor;
  return factor <= 1 ? 1 : 0.1 * std::log(factor) + 1;
}

LanguageConfig LanguageConfig::from_json(const json& object, std::string_view name) {
  require(object.is_object(), "{}: expected a JSON object", name);
  const Fields f(object, std::string(name));
  const Architecture& architecture = find_architecture(f);
  const bool gpt2 = architecture.family == Family::Gpt2;
  LanguageConfig c;
  c.family = architecture.family;
  c.source = object;
  c.vocabulary = f.size("vocab_size");
  c.width = f.size(gpt2 ? "n_embd" : "hidden_size");
  c.layers = f.size(gpt2 ? "n_layer" : "num_hidden_layers");
  c.heads = c.kv_heads = f.size(gpt2 ? "n_head" : "num_attention_heads");
  c.positions = f.integer(gpt2 ? "n_positions" : "max_position_embeddings", 1).value_or(gpt2 ? 1024 : 2048);
  require(c.width % c.heads == 0 || (!gpt2 && c.family != Family::Opt && f.find("head_dim")),
          "{}: {} attention heads do not divide a width of {}", name, c.heads, c.width);
  c.head_dim = c.width / c.heads;

  const int64_t standard_bos = gpt2 ? 50256 : c.family == Family::Opt ? 2 : 1;
  const int64_t standard_eos = gpt2 ? 50256 : 2;
  const bool standard = std::string_view(architecture.model_type) != "qwen2";
  c.bos = f.integer("bos_token_id");
  if (!object.contains("bos_token_id") && standard && standard_bos < c.vocabulary) c.bos = standard_bos;
  if (const json* eos = f.find("eos_token_id"); eos && eos->is_array()) {
    for (const json& id : *eos) {
      require(id.is_number_unsigned(), "{}: eos_token_id must be ids, got {}", name, eos->dump());
      c.eos.push_back(id.get<int64_t>());
    }
  } else if (eos) {
    c.eos = {*f.integer("eos_token_id")};
  } else if (!object.contains("eos_token_id") && standard && standard_eos < c.vocabulary) {
    c.eos = {standard_eos};
  }

  switch (c.family) {
    case Family::Llama:
      parse_llama(c, f, architecture.model_type);
      break;
    case Family::Gpt2:
      parse_gpt2(c, f);
      break;
    case Family::Opt:
      parse_opt(c, f);
      break;
  }
  return c;
}

json LanguageConfig::to_json() const {
  json object = source;
  if (!object.contains("architectures") && !object.contains("model_type"))
    for (const Architecture& a : kArchitectures)
      if (a.family == family) {
        object["architectures"] = {a.name};
        object["model_type"] = a.model_type;
        break;
      }
  const bool gpt2 = family == Family::Gpt2;
  object["vocab_size"] = vocabulary;
  object[gpt2 ? "n_embd" : "hidden_size"] = width;
  object[gpt2 ? "n_layer" : "num_hidden_layers"] = layers;
  object[gpt2 ? "n_head" : "num_attention_heads"] = heads;
  object[gpt2 ? "n_positions" : "max_position_embeddings"] = positions;
  object["tie_word_embeddings"] = tied;
  object["bos_token_id"] = bos ? json(*bos) : json();
  object["eos_token_id"] = eos.empty() ? json() : eos.size() == 1 ? json(eos[0]) : json(eos);
  if (gpt2) {
    object["n_inner"] = inner;
    object["layer_norm_epsilon"] = norm_eps;
  } else if (family == Family::Opt) {
    object["ffn_dim"] = inner;
    object["word_embed_proj_dim"] = width;
    object["do_layer_norm_before"] = true;
    object["enable_bias"] = attention_bias;
  } else {
    object["intermediate_size"] = inner;
    object["num_key_value_heads"] = kv_heads;
    object["head_dim"] = head_dim;
    object["rms_norm_eps"] = norm_eps;
    object["rope_theta"] = rope_theta;
    object["rope_scaling"] = rope_scaling ? scaling_json(*rope_scaling) : json();
    object.erase("rope_parameters");
    if (object.value("model_type", "llama") == "llama") {
      object["attention_bias"] = attention_bias;
      object["mlp_bias"] = mlp_bias;
    }
  }
  const char* key = family == Family::Llama ? "hidden_act" : "activation_function";
  if (!object.contains(key))
    object[key] = gpt2 && activation == MlpActivation::GeluTanh ? "gelu_new" : activation_name(activation);
  return object;
}

LanguageConfig LanguageConfig::llama(int64_t vocabulary, int64_t width, int64_t inner, int64_t layers, int64_t heads,
                                     int64_t positions) {
  return from_json({{"architectures", {"LlamaForCausalLM"}},
                    {"model_type", "llama"},
                    {"vocab_size", vocabulary},
                    {"hidden_size", width},
                    {"intermediate_size", inner},
                    {"num_hidden_layers", layers},
                    {"num_attention_heads", heads},
                    {"max_position_embeddings", positions},
                    {"rms_norm_eps", 1e-5},
                    {"bos_token_id", nullptr},
                    {"eos_token_id", nullptr}},
                   "a LLaMA");
}

int64_t LanguageConfig::longest() const {
  int64_t most = positions;
  if (rope_scaling && rope_scaling->kind == Kind::Dynamic) most = int64_t(double(most) * rope_scaling->factor);
  return window ? std::min(most, *window) : most;
}

int64_t LanguageConfig::longest_cached() const {
  return rope_scaling && rope_scaling->kind == Kind::Dynamic ? std::min(positions, longest()) : longest();
}

std::vector<std::vector<LinearShape>> linear_shapes(const LanguageConfig& c) {
  const int64_t d = c.width, q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const bool a = c.attention_bias, o = c.output_bias, m = c.mlp_bias;
  switch (c.family) {
    case Family::Llama:
      return {{{"self_attn.q_proj", d, q, a}, {"self_attn.k_proj", d, kv, a}, {"self_attn.v_proj", d, kv, a}},
              {{"self_attn.o_proj", q, d, o}},
              {{"mlp.gate_proj", d, c.inner, m}, {"mlp.up_proj", d, c.inner, m}},
              {{"mlp.down_proj", c.inner, d, m}}};
    case Family::Gpt2:
      return {{{"attn.c_attn", d, q + 2 * kv, a}},
              {{"attn.c_proj", q, d, o}},
              {{"mlp.c_fc", d, c.inner, m}},
              {{"mlp.c_proj", c.inner, d, m}}};
    case Family::Opt:
      return {{{"self_attn.q_proj", d, q, a}, {"self_attn.k_proj", d, kv, a}, {"self_attn.v_proj", d, kv, a}},
              {{"self_attn.out_proj", q, d, o}},
              {{"fc1", d, c.inner, m}},
              {{"fc2", c.inner, d, m}}};
  }
  fail("unknown family");
}

std::vector<std::vector<std::string>> linear_stages(const LanguageConfig& config) {
  std::vector<std::vector<std::string>> stages;
  for (const auto& stage : linear_shapes(config)) {
    stages.emplace_back();
    for (const LinearShape& shape : stage) stages.back().push_back(shape.path);
  }
  return stages;
}

const LanguageNames& language_names(Family family) {
  static constexpr LanguageNames kLlama{"model.layers.",      "input_layernorm", "post_attention_layernorm",
                                        "model.embed_tokens", nullptr,           "model.norm"};
  static constexpr LanguageNames kGpt2{"transformer.h.",  "ln_1", "ln_2", "transformer.wte", "transformer.wpe",
                                       "transformer.ln_f"};
  static constexpr LanguageNames kOpt{
      "model.decoder.layers.",      "self_attn_layer_norm",          "final_layer_norm",
      "model.decoder.embed_tokens", "model.decoder.embed_positions", "model.decoder.final_layer_norm"};
  return family == Family::Llama ? kLlama : family == Family::Gpt2 ? kGpt2 : kOpt;
}

int64_t position_offset(const LanguageConfig& config) {
  return config.family == Family::Opt ? 2 : 0;
}

namespace {

void add_norm(ParameterShapes& shapes, const std::string& path, const LanguageConfig& c) {
  shapes[path + ".weight"] = {c.width};
  if (c.family != Family::Llama) shapes[path + ".bias"] = {c.width};
}

}  // namespace

ParameterShapes block_parameters(const LanguageConfig& c) {
  ParameterShapes shapes;
  for (const auto& stage : linear_shapes(c))
    for (const LinearShape& linear : stage) {
      shapes[linear.path + ".weight"] = {linear.out, linear.in};
      if (linear.bias) shapes[linear.path + ".bias"] = {linear.out};
    }
  add_norm(shapes, language_names(c.family).attention_norm, c);
  add_norm(shapes, language_names(c.family).mlp_norm, c);
  return shapes;
}

ParameterShapes end_parameters(const LanguageConfig& c) {
  const LanguageNames& names = language_names(c.family);
  const auto weight = [](const char* path) { return std::string(path) + ".weight"; };
  ParameterShapes shapes{{weight(names.tokens), {c.vocabulary, c.width}}};
  if (names.positions) shapes[weight(names.positions)] = {c.positions + position_offset(c), c.width};
  add_norm(shapes, names.norm, c);
  if (!c.tied) shapes["lm_head.weight"] = {c.vocabulary, c.width};
  return shapes;
}

}  // namespace quanta
