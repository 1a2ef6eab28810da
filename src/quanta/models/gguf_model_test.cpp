#include "quanta/models/gguf_model.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/lowbit/gguf_blocks.h"
#include "quanta/text/byte_bpe.h"

namespace quanta {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

LanguageConfig config_from(json object) {
  return LanguageConfig::from_json(object, "test");
}

json llama_json() {
  return {{"model_type", "llama"},
          {"vocab_size", 50},
          {"hidden_size", 96},
          {"intermediate_size", 160},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 32},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 5000.0},
          {"bos_token_id", nullptr},
          {"eos_token_id", nullptr},
          {"tie_word_embeddings", false},
          {"max_position_embeddings", 64}};
}

LanguageModel random_model(const LanguageConfig& config, uint64_t seed = 1) {
  LanguageModel model(config);
  model->initialize(seed, 0.05);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(int64_t(seed));
  for (const auto& p : model->parameters())
    if (p.dim() == 1) p.add_(0.1 * torch::randn(p.sizes()));  // norms that are not 1, biases that are not 0
  return model;
}

torch::Tensor some_ids(const LanguageConfig& config) {
  torch::manual_seed(3);
  return torch::randint(config.vocabulary, {2, 24}, torch::kInt64);
}

double negative_log_likelihood(LanguageModel model, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  const auto logits = model->forward(ids).slice(1, 0, -1);
  return torch::nn::functional::cross_entropy(logits.reshape({-1, logits.size(2)}), ids.slice(1, 1).reshape({-1}))
      .item<double>();
}

std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

struct Case {
  const char* name;
  LanguageConfig config;
};

std::vector<Case> all_kinds() {
  json tied = llama_json(), biased = llama_json(), qwen = llama_json(), linear = llama_json(), stretched = llama_json();
  tied["tie_word_embeddings"] = true;
  biased["attention_bias"] = true;
  biased["mlp_bias"] = true;
  qwen["model_type"] = "qwen2";
  linear["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  stretched["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", 8.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 8192}};
  stretched["rope_theta"] = 500000.0;
  const json gpt2{{"model_type", "gpt2"},
                  {"vocab_size", 50},
                  {"n_embd", 96},
                  {"n_layer", 2},
                  {"n_head", 4},
                  {"n_inner", 160},
                  {"bos_token_id", nullptr},
                  {"eos_token_id", nullptr},
                  {"n_positions", 64}};
  std::vector<Case> cases;
  for (const auto& [name, object] : {std::pair{"llama", llama_json()},
                                     {"tied", tied},
                                     {"biased", biased},
                                     {"qwen2", qwen},
                                     {"linear", linear},
                                     {"llama3", stretched},
                                     {"gpt2", gpt2}})
    cases.push_back({name, config_from(object)});
  return cases;
}

TEST(GgufModel, FloatFilesKeepEveryBit) {
  const testing::TemporaryFolder folder;
  for (const auto& [name, config] : all_kinds()) {
    SCOPED_TRACE(name);
    LanguageModel model = random_model(config);
    const auto path = folder / (std::string(name) + ".gguf");
    EXPECT_TRUE(write_gguf(path, model, {.type = GgufType::F32}).empty());
    GgufModel read = read_gguf(path);
    EXPECT_EQ(read.tokenizer, nullptr);
    const auto& own = model->named_parameters();
    const auto& theirs = read.model->named_parameters();
    ASSERT_EQ(own.size(), theirs.size());
    for (const auto& p : own) EXPECT_TRUE(torch::equal(p.value(), theirs[p.key()])) << p.key();
    const auto ids = some_ids(config);
    const torch::NoGradGuard no_grad;
    EXPECT_LT((model->forward(ids) - read.model->forward(ids)).abs().max().item<double>(), 1e-6);
    const auto& c = read.model->config();
    EXPECT_EQ(c.positions, config.positions);
    EXPECT_EQ(c.norm_eps, config.norm_eps);
    EXPECT_EQ(c.rope_theta, config.rope_theta);
    EXPECT_EQ(c.tied, config.tied);
  }
}

// Row (head, i, c) of the file is row (head, c, i) of Hugging Face's weights for LLaMA, and the same row for Qwen2.
TEST(GgufModel, RowsOfQueriesAndKeysAreInterleaved) {
  const testing::TemporaryFolder folder;
  for (const bool llama : {true, false}) {
    json object = llama_json();
    if (!llama) object["model_type"] = "qwen2";
    const LanguageModel model = random_model(config_from(object));
    write_gguf(folder / "m.gguf", model, {.type = GgufType::F32});
    const Gguf file = Gguf::open(folder / "m.gguf");
    EXPECT_EQ(file.need<std::string>("general.architecture"), llama ? "llama" : "qwen2");
    for (const auto& [own, theirs, heads] :
         {std::tuple{"self_attn.q_proj", "blk.1.attn_q.weight", 4}, {"self_attn.k_proj", "blk.1.attn_k.weight", 2}}) {
      const auto weight = model->blocks[1]->linear(own)->weight.detach().contiguous();
      const auto values = decode_gguf(GgufType::F32, file.at(theirs).bytes);
      EXPECT_EQ(file.at(theirs).shape, weight.sizes().vec());
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < 16; ++i)
          for (int c = 0; c < 2; ++c) {
            const int there = 32 * h + 2 * i + c, here = llama ? 32 * h + 16 * c + i : there;
            EXPECT_EQ(values[size_t(there) * 96 + 7], weight[here][7].item<float>());
          }
    }
  }
}

TEST(GgufModel, EveryTypeIsCloseToTheFloatModel) {
  const testing::TemporaryFolder folder;
  json object = llama_json();
  object["hidden_size"] = 256;
  object["intermediate_size"] = 512;
  object["head_dim"] = 64;
  const LanguageModel model = random_model(config_from(object));
  const auto ids = some_ids(model->config());
  const double exact = negative_log_likelihood(model, ids);
  for (const auto& [type, tolerance] : {std::pair{GgufType::F16, 1e-3},
                                        {GgufType::BF16, 1e-2},
                                        {GgufType::Q8_0, 1e-2},
                                        {GgufType::Q6_K, 0.05},
                                        {GgufType::Q5_K, 0.1},
                                        {GgufType::Q4_K, 0.2},
                                        {GgufType::Q4_0, 0.2}}) {
    EXPECT_TRUE(write_gguf(folder / "m.gguf", model, {.type = type}).empty());
    const GgufModel read = read_gguf(folder / "m.gguf");
    EXPECT_NEAR(negative_log_likelihood(read.model, ids), exact, tolerance) << gguf_type_name(type);
    const auto weight = model->blocks[0]->linear("mlp.down_proj")->weight.detach().contiguous();
    const std::span<const float> values(weight.data_ptr<float>(), size_t(weight.numel()));
    EXPECT_TRUE(std::ranges::equal(Gguf::open(folder / "m.gguf").at("blk.0.ffn_down.weight").bytes,
                                   encode_gguf(type, values, weight.size(1))));
  }
}

TEST(GgufModel, WeightsThatDoNotFitTakeAnotherType) {
  const testing::TemporaryFolder folder;
  const LanguageModel model = random_model(config_from(llama_json()));  // rows of 96, 128 and 160
  const auto changed = write_gguf(folder / "m.gguf", model,
                                  {.type = GgufType::Q4_K,
                                   .embedding = GgufType::Q6_K,
                                   .types{{"model.layers.0.mlp.up_proj.weight", GgufType::F32}}});
  EXPECT_EQ(changed.at("model.layers.1.mlp.up_proj.weight"), GgufType::Q5_0);
  EXPECT_EQ(changed.at("model.embed_tokens.weight"), GgufType::Q8_0);
  EXPECT_FALSE(changed.contains("model.layers.0.mlp.up_proj.weight"));
  const Gguf file = Gguf::open(folder / "m.gguf");
  EXPECT_EQ(file.at("blk.0.ffn_up.weight").type, GgufType::F32);
  EXPECT_EQ(file.at("blk.1.ffn_up.weight").type, GgufType::Q5_0);
  EXPECT_EQ(file.at("blk.1.ffn_norm.weight").type, GgufType::F32);
  EXPECT_EQ(file.need<int64_t>("general.file_type"), 14);
}

TEST(GgufModel, PackedWeightsAreStoredAsTheyAre) {
  const testing::TemporaryFolder folder;
  const LanguageModel model = random_model(config_from(llama_json()));
  GgufOptions options;
  std::map<std::string, std::vector<std::byte>> kept;
  for (const char* name : {"self_attn.q_proj", "mlp.down_proj"}) {
    const auto weight = model->blocks[0]->linear(name)->weight.detach().contiguous();
    const GgufGrid grid = fit_gguf_grid(GgufType::Q4_1, {weight.data_ptr<float>(), size_t(weight.numel())},
                                        weight.size(0), weight.size(1));
    const std::vector<int8_t> codes(size_t(weight.numel()), 5);
    const std::string full = fmt::format("model.layers.0.{}.weight", name);
    kept[full] = pack_gguf(grid, codes);
    options.packed[full] = {GgufType::Q4_1, kept[full]};
  }
  write_gguf(folder / "m.gguf", model, options);
  EXPECT_TRUE(std::ranges::equal(Gguf::open(folder / "m.gguf").at("blk.0.ffn_down.weight").bytes,
                                 kept.at("model.layers.0.mlp.down_proj.weight")));
  const GgufModel read = read_gguf(folder / "m.gguf");
  const auto expected = decode_gguf(GgufType::Q4_1, kept.at("model.layers.0.self_attn.q_proj.weight"));
  const auto made = read.model->blocks[0]->linear("self_attn.q_proj")->weight.detach().contiguous();
  EXPECT_TRUE(std::ranges::equal(expected, std::span(made.data_ptr<float>(), size_t(made.numel()))));

  options.packed["model.layers.0.mlp.down_proj.weight"].bytes = {};
  EXPECT_THAT(refusal([&] { write_gguf(folder / "n.gguf", model, options); }), HasSubstr("0 packed bytes"));
  EXPECT_THAT(refusal([&] {
                write_gguf(folder / "n.gguf", model, {.types{{"model.norm.wieght", GgufType::F32}}});
              }),
              HasSubstr("nearest: model.norm.weight"));
  EXPECT_FALSE(std::filesystem::exists(folder / "n.gguf"));
}

TEST(GgufModel, TokenizersTravelWithTheModel) {
  const testing::TemporaryFolder folder;
  Vocabulary bytes{.model = "gpt2", .pre = "gpt-2"};
  for (int b = 0; b < 256; ++b) bytes.tokens.push_back(bytes_to_printable(std::string(1, char(b))));
  for (const char* merge : {"h e", "l l", "he ll", "hell o"}) {
    bytes.merges.emplace_back(merge);
    std::string joined = merge;
    joined.erase(joined.find(' '), 1);
    bytes.tokens.push_back(joined);
  }
  bytes.tokens.emplace_back("<|endoftext|>");
  bytes.types.assign(bytes.tokens.size(), PieceType::Normal);
  bytes.types.back() = PieceType::Control;
  bytes.bos = bytes.eos = int64_t(bytes.tokens.size()) - 1;

  Vocabulary pieces{.model = "llama", .pre = "default"};
  const auto piece = [&](const std::string& token, float score, PieceType type) {
    pieces.tokens.push_back(token);
    pieces.scores.push_back(score);
    pieces.types.push_back(type);
  };
  piece("<unk>", 0, PieceType::Unknown);
  piece("<s>", 0, PieceType::Control);
  piece("</s>", 0, PieceType::Control);
  for (int b = 0; b < 256; ++b) piece(fmt::format("<0x{:02X}>", b), 0, PieceType::Byte);
  for (const char* token : {"\u2581", "h", "e", "l", "o", "he", "ll", "hell", "hello", "\u2581hello"})
    piece(token, -float(pieces.tokens.size()), PieceType::Normal);
  pieces.unknown = 0;
  pieces.bos = 1;
  pieces.eos = 2;
  pieces.add_bos = pieces.add_space_prefix = true;

  for (const Vocabulary& vocabulary : {bytes, pieces}) {
    SCOPED_TRACE(vocabulary.model);
    json object = llama_json();
    object["vocab_size"] = vocabulary.tokens.size() + 3;  // rows that no token uses
    const auto tokenizer = tokenizer_from(vocabulary);
    write_gguf(folder / "m.gguf", random_model(config_from(object)), {.tokenizer = tokenizer.get()});
    const GgufModel read = read_gguf(folder / "m.gguf");
    ASSERT_NE(read.tokenizer, nullptr);
    for (const char* text : {"hello", "  hello, hell\u00f6 \U0001f600\n", ""})
      for (const bool special : {false, true})
        EXPECT_EQ(read.tokenizer->encode(text, special), tokenizer->encode(text, special));
    EXPECT_EQ(read.tokenizer->bos(), tokenizer->bos());
    EXPECT_EQ(read.model->config().vocabulary, int64_t(vocabulary.tokens.size()) + 3);
  }
}

TEST(GgufModel, RefusesFilesThatAreNoSuchModel) {
  const testing::TemporaryFolder folder;
  const auto path = folder / "m.gguf";
  write_gguf(path, random_model(config_from(llama_json())), {.type = GgufType::Q8_0});
  const auto with = [&](const std::function<void(GgufMetadata&, std::vector<GgufTensorInfo>&)>& change) {
    const Gguf file = Gguf::open(path);
    GgufMetadata metadata = file.metadata();
    std::vector<GgufTensorInfo> infos;
    for (const auto& [name, tensor] : file.tensors()) infos.push_back({name, tensor.type, tensor.shape});
    change(metadata, infos);
    GgufWriter writer(folder / "bad.gguf", metadata, infos);
    for (const auto& info : infos) {
      size_t count = size_t(gguf_row_bytes(info.type, info.shape.back()));
      for (size_t i = 0; i + 1 < info.shape.size(); ++i) count *= size_t(info.shape[i]);
      writer.write(std::vector<std::byte>(count));
    }
    writer.commit();
    return refusal([&] { read_gguf(folder / "bad.gguf"); });
  };
  EXPECT_EQ(with([](auto&, auto&) {}), "accepted");
  EXPECT_THAT(with([](auto& m, auto&) { m["general.architecture"] = std::string("mamba"); }),
              HasSubstr("architecture \"mamba\" is not known"));
  EXPECT_THAT(with([](auto& m, auto&) { m.erase("llama.embedding_length"); }),
              HasSubstr("metadata \"llama.embedding_length\" is missing"));
  EXPECT_THAT(with([](auto& m, auto&) { m["llama.block_count"] = uint32_t{3}; }), HasSubstr("no tensor \"blk.2."));
  EXPECT_THAT(with([](auto& m, auto&) { m["llama.block_count"] = uint32_t{2'000'000'000}; }), HasSubstr("blocks"));
  EXPECT_THAT(with([](auto& m, auto&) { m["llama.feed_forward_length"] = uint32_t{64}; }), HasSubstr("expected ["));
  EXPECT_THAT(with([](auto& m, auto&) { m["llama.rope.scaling.type"] = std::string("yarn"); }), HasSubstr("yarn"));
  EXPECT_THAT(with([](auto&, auto& t) {
                t.push_back({"more", GgufType::F32, {1}});
              }),
              HasSubstr("1 of its 22 tensors belong to no part"));
  EXPECT_THAT(with([](auto&, auto& t) {
                for (auto& info : t)
                  if (info.name == "blk.0.ffn_up.weight") info.type = GgufType::MXFP4;
              }),
              HasSubstr("MXFP4"));
  const json opt{{"model_type", "opt"},      {"vocab_size", 10}, {"hidden_size", 8},        {"num_hidden_layers", 1},
                 {"num_attention_heads", 2}, {"ffn_dim", 16},    {"word_embed_proj_dim", 8}};
  EXPECT_THAT(refusal([&] { write_gguf(path, LanguageModel(config_from(opt))); }), HasSubstr("OPT"));
}

}  // namespace
}  // namespace quanta
