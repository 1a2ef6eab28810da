#include "quanta/models/language_model.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/models/checkpoint.h"
#include "quanta/models/generate.h"
#include "quanta/models/rotary.h"
#include "quanta/nn/gradient_check.h"

namespace quanta {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using torch::Tensor;

json llama_json() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 11},
          {"hidden_size", 8},
          {"intermediate_size", 12},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 16},
          {"rms_norm_eps", 1e-5}};
}

json gpt2_json() {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"vocab_size", 11},
          {"n_embd", 8},
          {"n_layer", 2},
          {"n_head", 2},
          {"n_positions", 16}};
}

json opt_json() {
  return {{"architectures", {"OPTForCausalLM"}},
          {"vocab_size", 11},
          {"hidden_size", 8},
          {"ffn_dim", 12},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"max_position_embeddings", 16}};
}

LanguageModel random_model(const json& config, uint64_t seed = 1) {
  LanguageModel model(LanguageConfig::from_json(config, "test"));
  model->initialize(seed, 0.4);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(int64_t(seed));
  for (auto& p : model->parameters())
    if (p.dim() == 1) p.add_(0.3 * torch::randn_like(p));
  return model;
}

Tensor random_ids(int64_t batch, int64_t length, int64_t vocabulary = 11) {
  return torch::randint(vocabulary, {batch, length}, torch::kInt64);
}

double distance(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(LanguageModel, GoldenLogitsOfTransformers) {
  // Weights from a formula; the logits behind the last token are those of transformers 5.23.
  const torch::NoGradGuard no_grad;
  const std::vector<std::pair<json, std::vector<double>>> cases{
      {llama_json(),
       {0.838992, -0.809801, 0.753980, -0.673363, 0.570603, -0.449078, 0.312785, -0.166206, 0.014162, 0.138349,
        -0.286310}},
      {gpt2_json(),
       {-0.475615, 0.196290, 0.089490, -0.372326, 0.642919, -0.892370, 1.112474, -1.295994, 1.436895, -1.530543,
        1.573859}},
      {opt_json(),
       {0.188868, -0.277378, 0.356767, -0.424423, 0.478121, -0.516097, 0.537100, -0.540441, 0.526009, -0.494279,
        0.446294}}};
  for (const auto& [config, expected] : cases) {
    LanguageModel model(LanguageConfig::from_json(config, "test"));
    TensorMap tensors = checkpoint_tensors(model);
    for (const auto& block : model->blocks) tensors.merge(checkpoint_tensors(block, block->index()));
    for (auto& [name, tensor] : tensors) {
      int64_t sum = 0;
      for (const char c : name) sum += c;
      const auto i = torch::arange(tensor.numel(), torch::kFloat64);
      const double start = tensor.dim() == 1 && name.ends_with("weight") ? 1 : 0;
      tensor.copy_((start + 0.3 * torch::sin(0.37 * i + double(sum % 101))).view(tensor.sizes()));
    }
    const auto logits = model->forward(torch::tensor({{3, 1, 4, 1, 5, 9, 2, 6}}, torch::kInt64))[0][-1];
    EXPECT_LT(distance(logits.to(torch::kFloat64), torch::tensor(expected, torch::kFloat64)), 1e-5)
        << config["architectures"] << logits;
  }
}

TEST(LanguageModel, ParametersAreThoseThatTheConfigurationPromises) {
  json biased = llama_json();
  biased["attention_bias"] = biased["mlp_bias"] = biased["tie_word_embeddings"] = true;
  for (const json& source : {llama_json(), biased, gpt2_json(), opt_json()}) {
    const auto config = LanguageConfig::from_json(source, "test");
    const LanguageModel model(config);
    ParameterShapes expected = end_parameters(config), found;
    for (int64_t i = 0; i < config.layers; ++i)
      for (const auto& [name, shape] : block_parameters(config)) expected[block_prefix(config, i) + name] = shape;
    for (const auto& [name, tensor] : state_of(*model)) found[name] = tensor.sizes().vec();
    EXPECT_EQ(found, expected);
  }
}

TEST(LanguageModel, LaterTokensDoNotChangeEarlierLogits) {
  const torch::NoGradGuard no_grad;
  for (const json& config : {llama_json(), gpt2_json(), opt_json()}) {
    LanguageModel model = random_model(config);
    const auto ids = random_ids(1, 12);
    const auto before = model->forward(ids);
    for (const int64_t t : {0, 5, 11}) {
      auto changed = ids.clone();
      changed[0][t] = (ids[0][t].item<int64_t>() + 1) % 11;
      const auto moved = (model->forward(changed) - before).abs().amax({0, 2});
      if (t > 0) {
        EXPECT_LT(moved.slice(0, 0, t).max().item<double>(), 1e-6);
      }
      EXPECT_GT(moved.slice(0, t).min().item<double>(), 1e-5);
    }
  }
}

TEST(Rotary, TurnsPairsOfAHead) {
  auto config = LanguageConfig::llama(11, 4, 4, 1, 1, 128);
  const Rotary rotary(config);
  EXPECT_LT(distance(rotary.frequencies(1), torch::tensor({1.0, 0.01})), 1e-9);
  // Features 0 and 2 turn by the position, 1 and 3 by a hundredth of it.
  const auto x = torch::tensor({1.0, 2.0, 3.0, 4.0}, torch::kFloat64).expand({2, 4});
  const auto y = rotary.rotate(x, 99, 101);
  for (const int p : {99, 100}) {
    const double a = p, b = p * 0.01;
    const auto expected = torch::tensor({std::cos(a) - 3 * std::sin(a), 2 * std::cos(b) - 4 * std::sin(b),
                                         3 * std::cos(a) + std::sin(a), 4 * std::cos(b) + 2 * std::sin(b)},
                                        torch::kFloat64);
    EXPECT_LT(distance(y[p - 99], expected), 1e-6);
  }
}

TEST(Rotary, StretchedFrequenciesAreThoseOfTransformers) {
  const auto frequencies = [](const json& scaling, int64_t length = 1) {
    json config = llama_json();
    config["hidden_size"] = 16;
    config["num_attention_heads"] = config["num_key_value_heads"] = 1;
    config["max_position_embeddings"] = 64;
    config["rope_scaling"] = scaling;
    const auto parsed = LanguageConfig::from_json(config, "test");
    const auto again = LanguageConfig::from_json(parsed.to_json(), "test");
    EXPECT_TRUE(Rotary(parsed).frequencies(length).equal(Rotary(again).frequencies(length)));
    return Rotary(parsed).frequencies(length);
  };
  const auto near = [](const Tensor& found, const std::vector<double>& expected) {
    return ((found - torch::tensor(expected)) / torch::tensor(expected)).abs().max().item<double>() < 1e-6;
  };
  EXPECT_TRUE(near(
      frequencies({{"rope_type", "llama3"},
                   {"factor", 8},
                   {"low_freq_factor", 1},
                   {"high_freq_factor", 4},
                   {"original_max_position_embeddings", 32}}),
      {1, 0.0958399773, 0.0125000002, 0.00395284733, 0.00124999997, 0.000395284733, 0.000125000006, 3.95284733e-05}));
  EXPECT_TRUE(near(
      frequencies({{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 16}}),
      {1, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012, 7.90569466e-05}));
  const json dynamic{{"rope_type", "dynamic"}, {"factor", 2}};
  EXPECT_TRUE(near(frequencies(dynamic, 100), {1, 0.283945143, 0.0806248412, 0.0228930302, 0.00650036521, 0.001845747,
                                               0.000524090894, 0.000148813066}));
  EXPECT_TRUE(frequencies(dynamic, 64).equal(frequencies(nullptr)));
  EXPECT_TRUE(frequencies({{"rope_type", "linear"}, {"factor", 4}}).equal(frequencies(nullptr) / 4));
}

TEST(LanguageModel, TilesOfALongSequenceMakeTheWhole) {
  // 600 positions take several tiles, 8 sequences two batches; the probabilities of all at once, times the values, are
  // the oracle.
  const torch::NoGradGuard no_grad;
  json config = llama_json();
  config["max_position_embeddings"] = 600;
  LanguageModel model = random_model(config);
  DecoderBlock block = model->blocks[0];
  const auto h = torch::randn({8, 600, 8});
  const auto p = block->attention_probabilities(h);
  EXPECT_LT(distance(p.sum(-1), torch::ones({8, 4, 600})), 1e-5);
  EXPECT_EQ(p.triu(1).abs().max().item<double>(), 0);
  const auto v = block->linear("self_attn.v_proj")(block->attention_norm(h)).view({8, 600, 2, 2}).transpose(1, 2);
  const auto mixed = p.matmul(v.repeat_interleave(2, 1)).transpose(1, 2).reshape({8, 600, 8});
  EXPECT_LT(distance(block->attend(h), h + block->linear("self_attn.o_proj")(mixed)), 1e-5);
}

TEST(LanguageModel, CacheChangesNothing) {
  const torch::NoGradGuard no_grad;
  for (const json& source : {llama_json(), gpt2_json(), opt_json()}) {
    LanguageModel model = random_model(source);
    const auto ids = random_ids(3, 12);
    KeyValueCache cache(model->config(), 3, 16);
    for (int64_t begin = 0; const int64_t count : {5, 1, 1, 4, 1}) {
      const auto logits = model->forward(ids.narrow(1, begin, count), &cache).select(1, -1);
      begin += count;
      EXPECT_LT(distance(logits, model->forward(ids.narrow(1, 0, begin)).select(1, -1)), 1e-5) << begin;
    }
    EXPECT_EQ(cache.length, 12);
    EXPECT_THROW(model->forward(random_ids(3, 5), &cache), Error);
    EXPECT_THROW(model->forward(random_ids(2, 1), &cache), Error);
  }
}

TEST(LanguageModel, GradientsAreThoseOfFiniteDifferences) {
  for (const json& config : {llama_json(), gpt2_json(), opt_json()}) {
    LanguageModel model = random_model(config);
    model->to(torch::kFloat64);
    const auto ids = random_ids(2, 5);
    const auto logits = [&] { return model->forward(ids); };
    const auto& block = model->blocks[0];
    const auto& stages = block->stages();
    expect_gradient(logits, block->layer(stages[0].front())->weight, 1e-6);
    expect_gradient(logits, block->attention_norm->weight, 1e-6);
    expect_gradient(logits, block->layer(stages[3].front())->weight, 1e-6);
  }
}

TEST(LanguageModel, RefusesWhatDoesNotFit) {
  LanguageModel model = random_model(llama_json());
  EXPECT_THROW(model->forward(random_ids(1, 17)), Error);
  EXPECT_THROW(model->forward(torch::tensor({{11}}, torch::kInt64)), Error);
  EXPECT_THROW(model->forward(torch::tensor({{-1}}, torch::kInt64)), Error);
  EXPECT_THROW(model->forward(torch::zeros({1, 3})), Error);
  EXPECT_THROW(model->forward(torch::zeros({3}, torch::kInt64)), Error);
  EXPECT_THROW(model->blocks[0]->linear("mlp.fc1"), Error);
}

struct Double : TensorTransform {
  Tensor forward(const Tensor& x) override { return 2 * x; }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Double>(); }
};

TEST(LanguageModel, CopiesShareNothingAndKeepSlots) {
  const torch::NoGradGuard no_grad;
  LanguageModel model = random_model(llama_json());
  const auto ids = random_ids(1, 6);
  const auto plain = model->forward(ids);
  model->blocks[0]->value.put(*model->blocks[0], "value_transform", std::make_shared<Double>());
  model->blocks[1]->linear("mlp.down_proj")->put(QuantizableLayer::Place::Input, std::make_shared<Double>());
  const auto changed = model->forward(ids);
  EXPECT_GT(distance(plain, changed), 1e-3);
  LanguageModel made = copy(model);
  EXPECT_EQ(distance(made->forward(ids), changed), 0);
  for (auto& p : model->parameters()) p.zero_();
  EXPECT_EQ(distance(made->forward(ids), changed), 0);

  auto layer = std::make_shared<LinearImpl>(12, 8, false);
  made->blocks[0]->replace("mlp.down_proj", layer);
  EXPECT_EQ(state_of(*made).at("model.layers.0.mlp.down_proj.weight").data_ptr(), layer->weight.data_ptr());
  EXPECT_EQ(distance(made->blocks[0]->transform(plain.narrow(2, 0, 8)), plain.narrow(2, 0, 8)), 0);
}

TEST(LanguageConfig, SurvivesItsOwnJson) {
  json mistral = llama_json();
  mistral["architectures"] = {"MistralForCausalLM"};
  mistral["sliding_window"] = 10;
  for (const json& source : {llama_json(), gpt2_json(), opt_json(), mistral}) {
    const auto config = LanguageConfig::from_json(source, "test");
    const auto again = LanguageConfig::from_json(config.to_json(), "test");
    EXPECT_EQ(again.to_json(), config.to_json());
    EXPECT_EQ(end_parameters(again), end_parameters(config));
    EXPECT_EQ(block_parameters(again), block_parameters(config));
    EXPECT_EQ(again.longest(), config.longest());
  }
  EXPECT_EQ(LanguageConfig::from_json(mistral, "test").longest(), 10);
}

TEST(LanguageConfig, FaultsAreNamed) {
  const auto message = [](json source, const json& patch) -> std::string {
    source.merge_patch(patch);
    try {
      LanguageConfig::from_json(source, "config.json");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto llama = [&](const json& patch) { return message(llama_json(), patch); };
  EXPECT_THAT(llama({{"architectures", {"BertModel"}}}), HasSubstr("unknown architecture \"BertModel\""));
  EXPECT_THAT(llama({{"architectures", nullptr}}), HasSubstr("neither architectures nor model_type"));
  EXPECT_THAT(llama({{"hidden_size", nullptr}}), HasSubstr("config.json: hidden_size is missing"));
  EXPECT_THAT(llama({{"hidden_size", -8}}), HasSubstr("hidden_size must be an integer from 1"));
  EXPECT_THAT(llama({{"hidden_size", 1e300}}), HasSubstr("hidden_size must be an integer"));
  EXPECT_THAT(llama({{"num_hidden_layers", "2"}}), HasSubstr("num_hidden_layers must be an integer"));
  EXPECT_THAT(llama({{"num_attention_heads", 3}}), HasSubstr("3 attention heads do not divide a width of 8"));
  EXPECT_THAT(llama({{"num_key_value_heads", 3}}), HasSubstr("num_key_value_heads 3 must divide"));
  EXPECT_THAT(llama({{"head_dim", 3}}), HasSubstr("even head_dim"));
  EXPECT_THAT(llama({{"hidden_act", "tanh"}}), HasSubstr("unknown hidden_act \"tanh\""));
  EXPECT_THAT(llama({{"rms_norm_eps", 0}}), HasSubstr("rms_norm_eps must be a positive number"));
  EXPECT_THAT(llama({{"rope_scaling", {{"rope_type", "longrope"}}}}), HasSubstr("unknown rope_type \"longrope\""));
  EXPECT_THAT(llama({{"rope_scaling", {{"rope_type", "linear"}}}}), HasSubstr("factor is missing"));
  EXPECT_THAT(message(opt_json(), {{"do_layer_norm_before", false}}), HasSubstr("do_layer_norm_before = false"));
  EXPECT_THAT(message(opt_json(), {{"word_embed_proj_dim", 4}}), HasSubstr("word_embed_proj_dim"));
  EXPECT_THAT(message(gpt2_json(), {{"scale_attn_by_inverse_layer_idx", true}}), HasSubstr("is not supported"));
}

TEST(Generate, ProbabilitiesByHand) {
  const std::vector<float> logits{2, 1, 0, -1, 1};
  const auto next = [&](const GenerateOptions& options, std::vector<int64_t> history = {0}) {
    std::vector<double> values = next_token_probabilities(logits, history, options);
    for (double& value : values) value = std::round(value * 1e4) / 1e4;
    return values;
  };
  const auto of = [](std::vector<double> scores) {  // -1e9: out
    double sum = 0;
    for (double& s : scores) sum += s = std::exp(s);
    for (double& s : scores) s = std::round(s / sum * 1e4) / 1e4;
    return scores;
  };
  constexpr double kOut = -1e9;
  EXPECT_EQ(next({.temperature = 1}), of({2, 1, 0, -1, 1}));
  EXPECT_EQ(next({.temperature = 0.5}), of({4, 2, 0, -2, 2}));
  EXPECT_EQ(next({.temperature = 1, .repetition_penalty = 2}, {0, 3, 3}), of({1, 1, 0, -2, 1}));
  EXPECT_EQ(next({.temperature = 1, .top_k = 1}), of({2, kOut, kOut, kOut, kOut}));
  EXPECT_EQ(next({.temperature = 1, .top_k = 2}), of({2, 1, kOut, kOut, 1}));  // a tie stays
  // Probabilities 0.52, 0.19, 0.07, 0.03, 0.19: the first three in their order reach 0.85.
  EXPECT_EQ(next({.temperature = 1, .top_p = 0.85}), of({2, 1, kOut, kOut, 1}));
  EXPECT_EQ(next({.temperature = 1, .top_p = 0.01}), of({2, kOut, kOut, kOut, kOut}));
  EXPECT_EQ(next({.temperature = 0, .top_k = 1}), of({2, 1, 0, -1, 1}));
  EXPECT_THROW(next({.temperature = -1}), Error);
  EXPECT_THROW(next({.top_p = 0}), Error);
  EXPECT_THROW(next({.repetition_penalty = 2}, {7}), Error);
}

TEST(Generate, StopsRepeatsAndStreams) {
  LanguageModel model = random_model(llama_json());
  const std::vector<int64_t> prompt{3, 1, 4};
  const GenerateOptions sampled{
      .new_tokens = 9, .temperature = 1.5, .top_k = 8, .seed = 5, .eos = std::vector<int64_t>{}};
  const auto text = generate(model, prompt, sampled);
  EXPECT_EQ(text.size(), 9u);
  EXPECT_EQ(generate(model, prompt, sampled), text);
  const auto with = [&](auto change) {
    auto options = sampled;
    change(options);
    return generate(model, prompt, options);
  };
  EXPECT_EQ(with([](auto& o) { o.cache = false; }), text);
  EXPECT_NE(with([](auto& o) { o.seed = 6; }), text);
  EXPECT_EQ(with([](auto& o) { o.new_tokens = 100; }).size(), 13u);  // 16 positions
  const auto first_of = [&](int64_t token) { return std::ranges::find(text, token) - text.begin() + 1; };
  EXPECT_EQ(with([&](auto& o) { o.eos = std::vector<int64_t>{text[4]}; }),
            std::vector(text.begin(), text.begin() + first_of(text[4])));
  std::vector<int64_t> seen;
  with([&](auto& o) { o.on_token = [&](int64_t token) { return seen.push_back(token), seen.size() < 3; }; });
  EXPECT_EQ(seen, std::vector(text.begin(), text.begin() + 3));
  EXPECT_THROW(generate(model, {}, sampled), Error);
  EXPECT_THROW(generate(model, {11}, sampled), Error);
}

TEST(Generate, StretchedPositionsGoOnWithoutTheCache) {
  const torch::NoGradGuard no_grad;
  json config = llama_json();
  config["max_position_embeddings"] = 8;
  config["head_dim"] = 4;
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 2}};
  LanguageModel model = random_model(config);
  const auto text = [&](bool cache) {
    return generate(model, {3, 1, 4}, {.new_tokens = 20, .cache = cache, .eos = std::vector<int64_t>{}});
  };
  EXPECT_EQ(text(true).size(), 13u);  // 16 positions
  EXPECT_EQ(text(true), text(false));
  KeyValueCache cache(model->config(), 1, 16);
  model->forward(random_ids(1, 8), &cache);
  EXPECT_THROW(model->forward(random_ids(1, 1), &cache), Error);
}

TEST(Generate, DrawsFollowTheProbabilities) {
  // One token of context and zero weights: logits are the head's bias-free zeros, so all tokens are equally likely.
  LanguageModel model(LanguageConfig::from_json(llama_json(), "test"));
  std::vector<int64_t> counts(11);
  for (uint64_t seed = 0; seed < 1100; ++seed)
    ++counts[size_t(generate(model, {0}, {.new_tokens = 1, .temperature = 1, .seed = seed})[0])];
  double chi = 0;
  for (const int64_t count : counts) chi += double((count - 100) * (count - 100)) / 100;
  EXPECT_LT(chi, 29.6);  // 10 degrees of freedom, probability 0.001
}

}  // namespace
}  // namespace quanta
