#include "quanta/models/outliers.h"

#include <charconv>
#include <map>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using torch::Tensor;

/// Ones, but the gain at `channels` of them drawn at random.
Tensor gains(int64_t size, const OutlierSpec::Place& place, Random random, const char* what) {
  require(place.channels >= 0 && place.channels <= size, "cannot plant {} outliers among {} {}", place.channels, size,
          what);
  require(std::isfinite(place.gain) && place.gain > 0, "an outlier's gain must be positive, got {}", place.gain);
  const Tensor result = torch::ones({size}, torch::kFloat64);
  const auto order = random.permutation(size);
  for (int64_t i = 0; i < place.channels; ++i) result[order[size_t(i)]] = place.gain;
  return result;
}

void multiply_rows(const Linear& layer, const Tensor& by) {
  layer->weight.mul_(by.to(layer->weight.scalar_type()).unsqueeze(1));
  if (layer->bias.defined()) layer->bias.mul_(by.to(layer->bias.scalar_type()));
}
void divide_columns(const Linear& layer, const Tensor& by) {
  layer->weight.div_(by.to(layer->weight.scalar_type()));
}

/// A place's text "2x1/16".
OutlierSpec::Place parse_place(std::string_view text, std::string_view whole) {
  const auto number = [&](std::string_view part) {
    double value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || !(value > 0) || value > 1e6)
      throw UsageError(fmt::format("outliers '{}': '{}' is no positive number", whole, part));
    return value;
  };
  const size_t by = text.find('x'), slash = text.find('/');
  if (by == text.npos) throw UsageError(fmt::format("outliers '{}': expected CHANNELSxGAIN, got '{}'", whole, text));
  const double channels = number(text.substr(0, by));
  if (channels != std::floor(channels))
    throw UsageError(fmt::format("outliers '{}': the number of channels must be whole, got {}", whole, channels));
  const double gain = slash == text.npos ? number(text.substr(by + 1))
                                         : number(text.substr(by + 1, slash - by - 1)) / number(text.substr(slash + 1));
  return {.channels = int64_t(channels), .gain = gain};
}

}  // namespace

OutlierSpec parse_outliers(std::string_view text, uint64_t seed) {
  static const std::map<std::string_view, std::string_view> named = {
      {"standard", "keys=2x12,mlp=6x16"}, {"rsq", "mlp=4x1/16,values=2x1/16"}, {"qllm", "norms=2x20,mlp=2x20"}};
  if (const auto found = named.find(text); found != named.end()) text = found->second;
  OutlierSpec spec{.seed = seed};
  const std::map<std::string_view, OutlierSpec::Place*> places = {
      {"mlp", &spec.mlp}, {"values", &spec.values}, {"norms", &spec.norms}, {"keys", &spec.keys}};
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view item = text.substr(begin, end - begin);
    const size_t equals = std::min(item.find('='), item.size());
    const auto place = places.find(item.substr(0, equals));
    if (place == places.end() || equals == item.size())
      throw UsageError(
          fmt::format("outliers '{}': expected standard, rsq, qllm or PLACE=CHANNELSxGAIN,... with the "
                      "places mlp, values, norms and keys, got '{}'",
                      text, item));
    *place->second = parse_place(item.substr(equals + 1), text);
    begin = end + 1;
  }
  return spec;
}

void inject_outliers(LanguageModel& model, const OutlierSpec& spec) {
  const torch::NoGradGuard no_grad;
  const LanguageConfig& config = model->config();
  require(config.family == Family::Llama,
          "outliers can be planted into LLaMA-style models only: others have biases and "
          "activations between the layers that a gain would not pass");
  const int64_t D = config.head_dim, G = config.kv_heads, share = config.heads / G;
  // What each key or value channel is to the heads that read it, [heads * D].
  const auto for_heads = [&](const Tensor& by) { return by.view({G, 1, D}).expand({G, share, D}).flatten(); };
  for (size_t i = 0; i < model->blocks.size(); ++i) {
    DecoderBlock& block = model->blocks[i];
    const Random random = Random(spec.seed).split("outliers").split(i);

    const Tensor mlp = gains(config.inner, spec.mlp, random.split("mlp"), "MLP channels");
    multiply_rows(block->linear("mlp.up_proj"), mlp);
    divide_columns(block->linear("mlp.down_proj"), mlp);

    const Tensor values = gains(G * D, spec.values, random.split("values"), "value channels");
    multiply_rows(block->linear("self_attn.v_proj"), values);
    divide_columns(block->linear("self_attn.o_proj"), for_heads(values));

    std::vector<Tensor> keys;  // both halves of a pair alike, so that the rotation passes the gain
    for (int64_t head = 0; head < G; ++head)
      keys.push_back(gains(D / 2, spec.keys, random.split("keys").split(uint64_t(head)), "pairs of a head").repeat(2));
    const Tensor key = torch::cat(keys);
    multiply_rows(block->linear("self_attn.k_proj"), key);
    multiply_rows(block->linear("self_attn.q_proj"), for_heads(key).reciprocal());

    const auto stages = block->stages();
    const auto plant = [&](Norm& norm, const std::vector<std::string>& readers, const char* name) {
      const Tensor by = gains(config.width, spec.norms, random.split(name), "channels of a norm");
      norm->weight.mul_(by.to(norm->weight.scalar_type()));
      for (const std::string& reader : readers) divide_columns(block->linear(reader), by);
    };
    plant(block->attention_norm, stages[0], "attention norm");
    plant(block->mlp_norm, stages[2], "mlp norm");
  }
}

}  // namespace quanta
