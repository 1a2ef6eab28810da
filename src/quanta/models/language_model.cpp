#include "quanta/models/language_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/models/rotary.h"

namespace quanta {
namespace {

using torch::Tensor;

/// The module that a dotted path's last name is registered in, and that name; those in between are made if missing.
std::pair<torch::nn::Module*, std::string> find_parent(torch::nn::Module& root, const std::string& path) {
  torch::nn::Module* parent = &root;
  size_t begin = 0;
  for (size_t dot; (dot = path.find('.', begin)) != path.npos; begin = dot + 1) {
    const std::string name = path.substr(begin, dot - begin);
    const auto children = parent->named_children();
    const auto* child = children.find(name);
    parent = child ? child->get() : parent->register_module(name, std::make_shared<torch::nn::Module>(name)).get();
  }
  return {parent, path.substr(begin)};
}

template <class Module>
void register_path(torch::nn::Module& root, const std::string& path, const Module& module) {
  const auto [parent, name] = find_parent(root, path);
  parent->register_module(name, module);
}

torch::nn::Embedding embedding(int64_t rows, int64_t width) {
  return torch::nn::Embedding(torch::nn::EmbeddingOptions(rows, width)._weight(torch::zeros({rows, width})));
}

Tensor activate(const Tensor& x, MlpActivation activation) {
  switch (activation) {
    case MlpActivation::Silu:
      return torch::silu(x);
    case MlpActivation::Relu:
      return torch::relu(x);
    case MlpActivation::Gelu:
      return torch::gelu(x);
    case MlpActivation::GeluTanh:
      return torch::gelu(x, "tanh");
  }
  fail("unknown activation");
}

/// Queries of one product and scores of all its heads: enough for fast products, few enough for little memory.
constexpr int64_t kShortest = 32, kLongest = 256;
constexpr int64_t kScores = int64_t{1} << 22;

/// Causal softmax(q k^T): q [B, heads, t, D], scaled, the last t of the S positions of k [B, kv_heads, S, D], and
/// `mask` [>= t, >= t] with -inf above the diagonal -> [B, heads, t, S].
Tensor probabilities(const Tensor& q, const Tensor& k, const Tensor& mask) {
  const int64_t B = q.size(0), heads = q.size(1), t = q.size(2), S = k.size(2);
  // The heads that share a key head are rows of one product.
  const auto rows = q.reshape({B, k.size(1), -1, q.size(3)});
  auto scores = rows.matmul(k.transpose(-2, -1)).view({B, heads, t, S});
  if (t > 1) scores.slice(-1, S - t) += mask.slice(0, 0, t).slice(1, 0, t);
  return scores.softmax(-1);
}

Tensor causal_mask(const Tensor& like, int64_t size) {
  return torch::full({size, size}, -std::numeric_limits<double>::infinity(), like.options().requires_grad(false))
      .triu(1);
}

/// q [B, heads, T, D], scaled, the last T positions of k and v [B, kv_heads, S, D] -> [B, T, heads * D].
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t B = q.size(0), heads = q.size(1), T = q.size(2), S = k.size(2), past = S - T;
  const int64_t tile = std::min(T, std::clamp(kScores / (heads * S), kShortest, kLongest));
  const int64_t batch = std::clamp<int64_t>(kScores / (heads * tile * S), 1, B);
  const auto mask = causal_mask(q, tile);
  std::vector<Tensor> sequences;
  for (int64_t b = 0; b < B; b += batch) {
    const auto part = [&](const Tensor& x, int64_t begin, int64_t end) {
      return x.slice(0, b, b + batch).slice(2, begin, end);
    };
    std::vector<Tensor> tiles;
    for (int64_t begin = 0; begin < T; begin += tile) {
      const int64_t end = std::min(begin + tile, T), seen = past + end;
      const auto p = probabilities(part(q, begin, end), part(k, 0, seen), mask);
      const auto mixed = p.view({p.size(0), k.size(1), -1, seen}).matmul(part(v, 0, seen));
      tiles.push_back(mixed.view({p.size(0), heads, end - begin, -1}).transpose(1, 2));
    }
    sequences.push_back(tiles.size() == 1 ? tiles[0] : torch::cat(tiles, 1));
  }
  return (sequences.size() == 1 ? sequences[0] : torch::cat(sequences)).reshape({B, T, -1});
}

}  // namespace

KeyValueCache::KeyValueCache(const LanguageConfig& config, int64_t batch, int64_t capacity, torch::ScalarType type) {
  require(batch > 0 && capacity > 0, "a cache needs room for at least one sequence and one position, got {} and {}",
          batch, capacity);
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto room = [&] { return torch::empty({batch, config.kv_heads, capacity, config.head_dim}, type); };
    layers.push_back({.key = room(), .value = room()});
  }
}

NormImpl::NormImpl(const LanguageConfig& config) : eps_(config.norm_eps) {
  weight = register_parameter("weight", torch::ones(config.width));
  if (config.family != Family::Llama) bias = register_parameter("bias", torch::zeros(config.width));
}

Tensor NormImpl::forward(const Tensor& x) {
  if (bias.defined()) return torch::layer_norm(x, {x.size(-1)}, weight, bias, eps_);
  const auto wide = x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
  return weight * (wide * torch::rsqrt(wide.square().mean(-1, true) + eps_)).to(x.scalar_type());
}

DecoderBlockImpl::DecoderBlockImpl(const LanguageConfig& config, int64_t index)
    : config_(config), index_(index), stages_(linear_stages(config)) {
  for (const auto& stage : linear_shapes(config_)) {
    layers_.emplace_back();
    for (const LinearShape& shape : stage) {
      auto layer = std::make_shared<LinearImpl>(shape.in, shape.out, shape.bias);
      register_path(*this, shape.path, layer);
      layers_.back().push_back(std::move(layer));
    }
  }
  const LanguageNames& names = language_names(config_.family);
  attention_norm = register_module(names.attention_norm, Norm(config_));
  mlp_norm = register_module(names.mlp_norm, Norm(config_));
  if (config_.family == Family::Llama) rotary_ = std::make_shared<Rotary>(config_);
}

struct DecoderBlockImpl::Heads {
  Tensor q, k, v;  // [batch, heads or kv_heads, T or all positions, head_dim], q scaled
};

DecoderBlockImpl::Heads DecoderBlockImpl::heads(const Tensor& h, int64_t first, LayerCache* cache) {
  const int64_t H = config_.heads, G = config_.kv_heads, D = config_.head_dim, T = h.size(1);
  const auto x = attention_norm(h);
  std::vector<Tensor> parts;
  for (const auto& layer : layers_[0]) parts.push_back(layer->forward(x));
  if (parts.size() == 1) parts = parts[0].split_with_sizes({H * D, G * D, G * D}, -1);
  for (auto& part : parts) part = part.reshape({h.size(0), T, -1, D}).transpose(1, 2);
  Tensor q = parts[0], k = parts[1], v = parts[2];

  const int64_t length = first + T;
  if (rotary_) {
    q = rotary_->rotate(q, first, length);
    k = rotary_->rotate(k, first, length);
  }
  k = key(k);
  q = query(q) * (1 / std::sqrt(double(D)));
  v = value(v);
  if (cache) {
    const auto extend = [&](Tensor& all, const Tensor& now) {
      all.narrow(2, first, T).copy_(now);
      return all.narrow(2, 0, length);
    };
    k = extend(cache->key, k);
    v = extend(cache->value, v);
  }
  return {q, k, v};
}

Tensor DecoderBlockImpl::attend(const Tensor& h, int64_t first, LayerCache* cache) {
  const torch::AutoGradMode gradients(!cache && torch::GradMode::is_enabled());
  const auto [q, k, v] = heads(h, first, cache);
  return h + layers_[1][0]->forward(attention(q, k, v));
}

Tensor DecoderBlockImpl::transform(const Tensor& h) {
  const auto x = mlp_norm(h);
  auto inner = activate(layers_[2][0]->forward(x), config_.activation);
  if (layers_[2].size() > 1) inner = inner * layers_[2][1]->forward(x);
  return h + layers_[3][0]->forward(inner);
}

Tensor DecoderBlockImpl::forward(const Tensor& h, int64_t first, LayerCache* cache) {
  return transform(attend(h, first, cache));
}

Tensor DecoderBlockImpl::attention_probabilities(const Tensor& h) {
  const auto [q, k, v] = heads(h, 0, nullptr);
  return probabilities(q, k, causal_mask(q, q.size(2)));
}

std::shared_ptr<QuantizableLayer> DecoderBlockImpl::layer(const std::string& path) const {
  for (size_t i = 0; i < stages_.size(); ++i)
    for (size_t j = 0; j < stages_[i].size(); ++j)
      if (stages_[i][j] == path) return layers_[i][j];
  fail("a block has no linear layer '{}'", path);
}

Linear DecoderBlockImpl::linear(const std::string& path) const {
  auto found = std::dynamic_pointer_cast<LinearImpl>(layer(path));
  require(found != nullptr, "layer '{}' is no longer a float one", path);
  return Linear(std::move(found));
}

void DecoderBlockImpl::replace(const std::string& path, std::shared_ptr<QuantizableLayer> made) {
  for (size_t i = 0; i < stages_.size(); ++i)
    for (size_t j = 0; j < stages_[i].size(); ++j)
      if (stages_[i][j] == path) {
        const auto [parent, name] = find_parent(*this, path);
        layers_[i][j] = parent->replace_module(name, std::move(made));
        return;
      }
  fail("a block has no linear layer '{}'", path);
}

DecoderBlock copy(const DecoderBlock& block, int64_t index) {
  DecoderBlock made(block->config(), index);
  for (const auto& stage : block->stages())
    for (const auto& path : stage) made->replace(path, block->layer(path)->copy());
  copy_values(*block->attention_norm, *made->attention_norm);
  copy_values(*block->mlp_norm, *made->mlp_norm);
  const auto copy_slot = [&](const Slot& from, Slot& to, const char* name) {
    if (from) to.put(*made, name, from->copy());
  };
  copy_slot(block->query, made->query, "query_transform");
  copy_slot(block->key, made->key, "key_transform");
  copy_slot(block->value, made->value, "value_transform");
  made->train(block->is_training());
  return made;
}

LanguageModelImpl::LanguageModelImpl(const LanguageConfig& config, bool with_blocks) : config_(config) {
  const LanguageNames& names = language_names(config_.family);
  tokens = embedding(config_.vocabulary, config_.width);
  register_path(*this, names.tokens, tokens);
  if (names.positions) {
    positions = embedding(config_.positions + position_offset(config_), config_.width);
    register_path(*this, names.positions, positions);
  }
  if (with_blocks) {
    std::vector<DecoderBlock> made;
    for (int64_t i = 0; i < config_.layers; ++i) made.emplace_back(config_, i);
    set_blocks(std::move(made));
  }
  norm = Norm(config_);
  register_path(*this, names.norm, norm);
  if (!config_.tied) output = register_module("lm_head", Linear(config_.width, config_.vocabulary, false));
}

void LanguageModelImpl::set_blocks(std::vector<DecoderBlock> made) {
  require(int64_t(made.size()) == config_.layers, "a model of {} layers cannot take {} blocks", config_.layers,
          made.size());
  blocks = std::move(made);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto [parent, name] = find_parent(*this, fmt::format("{}{}", language_names(config_.family).blocks, i));
    if (parent->named_children().contains(name)) parent->unregister_module(name);
    parent->register_module(name, blocks[i]);
  }
}

LanguageModel copy_ends(const LanguageModel& model) {
  LanguageModel made(model->config(), /*with_blocks=*/false);
  made->tokens->weight.set_data(model->tokens->weight.detach().clone());
  if (made->positions) made->positions->weight.set_data(model->positions->weight.detach().clone());
  copy_values(*model->norm, *made->norm);
  if (made->output) {
    made->output = made->replace_module("lm_head", std::dynamic_pointer_cast<LinearImpl>(model->output->copy()));
  }
  made->train(model->is_training());
  return made;
}

LanguageModel copy(const LanguageModel& model) {
  LanguageModel made = copy_ends(model);
  std::vector<DecoderBlock> blocks;
  for (const auto& block : model->blocks) blocks.push_back(copy(block, block->index()));
  made->set_blocks(std::move(blocks));
  return made;
}

Tensor LanguageModelImpl::embed(const Tensor& ids, int64_t first) {
  require(ids.dim() == 2 && ids.scalar_type() == torch::kInt64 && ids.numel() > 0,
          "a language model takes int64 ids [batch, positions], at least one, got {} of {} dimensions",
          torch::toString(ids.scalar_type()), ids.dim());
  const int64_t T = ids.size(1);
  require(first + T <= config_.longest(), "a sequence of {} tokens is longer than this model's {} positions", first + T,
          config_.longest());
  const int64_t least = ids.min().item<int64_t>(), most = ids.max().item<int64_t>();
  require(least >= 0 && most < config_.vocabulary, "token id {} is outside the model's vocabulary of {}",
          least < 0 ? least : most, config_.vocabulary);
  const auto h = tokens(ids);
  return positions ? h + positions->weight.narrow(0, first + position_offset(config_), T) : h;
}

Tensor LanguageModelImpl::hidden(const Tensor& ids, KeyValueCache* cache) {
  const torch::AutoGradMode gradients(!cache && torch::GradMode::is_enabled());
  const int64_t first = cache ? cache->length : 0;
  if (cache) {
    require(first + ids.size(1) <= config_.longest_cached(),
            "{} positions are more than the {} up to which this model can use a cache; call it without one",
            first + ids.size(1), config_.longest_cached());
    const auto& room = cache->layers.at(0).key;
    require(cache->layers.size() == blocks.size() && room.size(0) == ids.size(0),
            "the cache holds {} layers of {} sequences, the call needs {} of {}", cache->layers.size(), room.size(0),
            blocks.size(), ids.size(0));
    require(first + ids.size(1) <= room.size(2), "{} more tokens do not fit a cache of {} positions, {} of them in use",
            ids.size(1), room.size(2), first);
  }
  auto h = embed(ids, first);
  for (size_t i = 0; i < blocks.size(); ++i) h = blocks[i]->forward(h, first, cache ? &cache->layers[i] : nullptr);
  if (cache) cache->length += ids.size(1);
  return h;
}

Tensor LanguageModelImpl::head(const Tensor& h) {
  const auto x = norm(h);
  return output ? output(x) : torch::nn::functional::linear(x, tokens->weight);
}

Tensor LanguageModelImpl::forward(const Tensor& ids, KeyValueCache* cache) {
  const torch::AutoGradMode gradients(!cache && torch::GradMode::is_enabled());
  return head(hidden(ids, cache));
}

void LanguageModelImpl::initialize(uint64_t seed, std::optional<double> deviation) {
  const torch::NoGradGuard no_grad;
  const auto stages = linear_stages(config_);
  const auto is_residual = [&](const std::string& name) {
    return name.ends_with(stages[1][0] + ".weight") || name.ends_with(stages[3][0] + ".weight");
  };
  for (const auto& item : named_parameters()) {
    auto parameter = item.value();
    if (parameter.dim() < 2) {
      parameter.fill_(item.key().ends_with("weight") ? 1 : 0);
      continue;
    }
    const double standard = is_residual(item.key()) ? 0.02 / std::sqrt(2.0 * double(config_.layers)) : 0.02;
    Random random = Random(seed).split(item.key());
    const auto values = torch::empty(parameter.sizes(), torch::kFloat32);
    for (float& value : std::span(values.data_ptr<float>(), size_t(values.numel())))
      value = float(deviation.value_or(standard) * random.normal());
    parameter.copy_(values);
  }
}

}  // namespace quanta
