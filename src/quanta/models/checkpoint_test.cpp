#include "quanta/models/checkpoint.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/temporary_folder.h"

namespace quanta {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using torch::Tensor;
namespace fs = std::filesystem;

LanguageModel random_model(bool gpt2 = false) {
  auto config = LanguageConfig::llama(50, 16, 24, 3, 4, 32);
  if (gpt2)
    config = LanguageConfig::from_json({{"architectures", {"GPT2LMHeadModel"}},
                                        {"vocab_size", 50},
                                        {"n_embd", 16},
                                        {"n_layer", 3},
                                        {"n_head", 4},
                                        {"n_inner", 24},
                                        {"n_positions", 32}},
                                       "test");
  LanguageModel model(config);
  model->initialize(3);
  return model;
}

Tensor logits(LanguageModel model) {
  const torch::NoGradGuard no_grad;
  return model->forward(torch::arange(20).view({2, 10}));
}

template <class Action>
std::string message(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::vector<std::string> files(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

/// Rewrites a folder's tensors.
void edit(const fs::path& folder, const std::function<void(TensorMap&)>& change) {
  TensorMap tensors;
  const auto files = SafetensorsFolder::open(folder);
  for (const auto& [name, view] : files.tensors()) tensors[name] = read_tensor(view, name);
  change(tensors);
  write_tensors(folder / "model.safetensors", tensors);
}

TEST(Checkpoint, GivesBackWhatWasSaved) {
  for (const bool gpt2 : {false, true}) {
    const testing::TemporaryFolder folder;
    const auto model = random_model(gpt2);
    save_checkpoint(model, folder.path());
    EXPECT_THAT(files(folder.path()),
                ::testing::ElementsAre("config.json", "generation_config.json", "model.safetensors"));
    const auto checkpoint = Checkpoint::open(folder.path());
    EXPECT_TRUE(logits(checkpoint.model()).equal(logits(model)));

    // Block by block, each read when it is wanted.
    const torch::NoGradGuard no_grad;
    auto ends = checkpoint.ends();
    EXPECT_TRUE(ends->blocks.empty());
    auto h = ends->embed(torch::arange(20).view({2, 10}));
    for (int64_t i = 0; i < 3; ++i) h = checkpoint.block(i)->forward(h);
    EXPECT_TRUE(ends->head(h).equal(logits(model)));
    EXPECT_THROW(checkpoint.block(3), Error);
  }
}

TEST(Checkpoint, Gpt2KeepsItsLinearWeightsTransposed) {
  const testing::TemporaryFolder folder;
  auto model = random_model(true);
  save_checkpoint(model, folder.path());
  const auto file = SafetensorsFolder::open(folder.path());
  const std::string name = "transformer.h.1.attn.c_attn.weight";
  EXPECT_TRUE(read_tensor(file.tensors().at(name), name).equal(model->blocks[1]->linear("attn.c_attn")->weight.t()));
  EXPECT_EQ(file.tensors().at("transformer.wte.weight").shape, (std::vector<int64_t>{50, 16}));
  EXPECT_FALSE(file.tensors().contains("lm_head.weight"));
}

TEST(Checkpoint, ShardsOfASizeInHalfPrecision) {
  const testing::TemporaryFolder folder;
  const auto model = random_model();
  save_checkpoint(model, folder.path(), {.type = SaveType::BF16, .max_shard = 3000});
  int shards = 0;
  int64_t total = 0;
  for (const auto& name : files(folder.path())) {
    if (!name.ends_with(".safetensors")) continue;
    int64_t bytes = 0;
    const auto file = Safetensors::open(folder / name);
    for (const auto& [tensor, view] : file.tensors()) bytes += int64_t(view.bytes.size());
    EXPECT_LE(bytes, 3000) << name;
    total += bytes;
    ++shards;
  }
  EXPECT_GT(shards, 3);
  const json index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], total);
  EXPECT_EQ(read_json(folder / "config.json")["torch_dtype"], "bfloat16");
  const auto read = Checkpoint::open(folder.path()).model();
  for (const auto& [name, tensor] : state_of(*read))
    EXPECT_TRUE(tensor.equal(state_of(*model).at(name).to(torch::kBFloat16).to(torch::kFloat32))) << name;

  save_checkpoint(model, folder.path());  // nothing of the shards is left
  EXPECT_EQ(files(folder.path()).size(), 3u);
}

TEST(Checkpoint, NamesMayLackTheirFirstPartAndLeftoversAreIgnored) {
  const testing::TemporaryFolder folder;
  const auto model = random_model(true);
  save_checkpoint(model, folder.path());
  edit(folder.path(), [](TensorMap& tensors) {
    TensorMap bare;
    for (const auto& [name, tensor] : tensors) bare[name.substr(name.find('.') + 1)] = tensor;
    bare["h.0.attn.bias"] = torch::ones({1, 1, 32, 32});
    bare["h.0.attn.masked_bias"] = torch::tensor(-1e4);
    bare["lm_head.weight"] = bare.at("wte.weight").clone();
    tensors = bare;
  });
  EXPECT_TRUE(logits(Checkpoint::open(folder.path()).model()).equal(logits(model)));
}

TEST(Checkpoint, FaultsAreListed) {
  const testing::TemporaryFolder folder;
  const auto model = random_model();
  const auto opened = [&](const std::function<void(TensorMap&)>& change) {
    save_checkpoint(model, folder.path());
    edit(folder.path(), change);
    return message([&] { Checkpoint::open(folder.path()); });
  };
  EXPECT_EQ(opened([](TensorMap&) {}), "accepted");
  const auto several = opened([](TensorMap& t) {
    t.erase("model.layers.1.mlp.up_proj.weight");
    t["model.norm.weight"] = torch::ones({15});
    t["model.layers.3.extra"] = torch::ones({1});
  });
  EXPECT_THAT(several, HasSubstr("model.layers.1.mlp.up_proj.weight is missing"));
  EXPECT_THAT(several, HasSubstr("model.norm.weight is [15], expected [16]"));
  EXPECT_THAT(several, HasSubstr("model.layers.3.extra is not expected"));
  EXPECT_THAT(opened([](TensorMap& t) {
                t["model.embed_tokens.weight"] = torch::ones({49, 16});
              }),
              HasSubstr("model.embed_tokens.weight is [49, 16], expected [50, 16]: vocab_size 50 is not the files'"));
  EXPECT_THAT(opened([](TensorMap& t) { t["norm.weight"] = torch::ones({16}); }), HasSubstr("there twice"));

  save_checkpoint(model, folder.path());
  const auto bytes = read_file(folder / "model.safetensors");
  write_file(folder / "model.safetensors", bytes.substr(0, bytes.size() - 5));
  EXPECT_THAT(message([&] { Checkpoint::open(folder.path()); }), HasSubstr("model.safetensors: tensor"));

  save_checkpoint(model, folder.path());
  json config = read_json(folder / "config.json");
  const auto configured = [&](const json& patch) {
    json changed = config;
    changed.merge_patch(patch);
    write_file(folder / "config.json", changed.dump());
    return message([&] { Checkpoint::open(folder.path()); });
  };
  EXPECT_THAT(configured({{"num_hidden_layers", 2000000000}}), HasSubstr("2000000000 layers"));
  EXPECT_THAT(configured({{"quantization_config", {{"bits", 4}}}}), HasSubstr("quantized"));
  EXPECT_THAT(configured({{"architectures", {"GPTNeoForCausalLM"}}}), HasSubstr("unknown architecture"));
  write_file(folder / "config.json", "{");
  EXPECT_THAT(message([&] { Checkpoint::open(folder.path()); }), HasSubstr("config.json is not JSON"));
  write_file(folder / "config.json", std::string(100'000, '['));
  EXPECT_THAT(message([&] { Checkpoint::open(folder.path()); }), HasSubstr("nested too deeply"));
  EXPECT_THAT(message([&] { Checkpoint::open(folder / "nowhere"); }), HasSubstr("nowhere"));
}

TEST(Checkpoint, IndexIsChecked) {
  const testing::TemporaryFolder folder;
  save_checkpoint(random_model(), folder.path(), {.max_shard = 6000});
  const fs::path path = folder / "model.safetensors.index.json";
  const json index = read_json(path);
  const auto indexed = [&](const std::string& tensor, const json& shard) {
    json changed = index;
    changed["weight_map"][tensor] = shard;
    write_file(path, changed.dump());
    return message([&] { Checkpoint::open(folder.path()); });
  };
  const json shard = index["weight_map"]["model.norm.weight"];
  EXPECT_EQ(indexed("model.norm.weight", shard), "accepted");
  EXPECT_THAT(indexed("model.norm.weight", "../x.safetensors"), HasSubstr("must be the name of a file in the folder"));
  EXPECT_THAT(indexed("model.norm.weight", 5), HasSubstr("must be the name of a file in the folder"));
  EXPECT_THAT(indexed("nothing", shard), HasSubstr("tensor nothing is not in"));
  EXPECT_THAT(indexed("nothing", "model-9.safetensors"), HasSubstr("model-9.safetensors"));
  write_file(path, "[]");
  EXPECT_THAT(message([&] { Checkpoint::open(folder.path()); }), HasSubstr("weight_map"));
}

TEST(Checkpoint, AFailedWriteLeavesTheOldOne) {
  const testing::TemporaryFolder folder;
  auto model = random_model();
  save_checkpoint(model, folder.path());
  const auto before = logits(model);
  const auto names = files(folder.path());
  const auto fails_at = [&](int64_t i) -> DecoderBlock {
    if (i == 2) fail("the disk is full");
    return model->blocks[size_t(i)];
  };
  EXPECT_THROW(save_checkpoint(model, fails_at, folder.path(), {.max_shard = 3000}), Error);
  {
    const torch::NoGradGuard no_grad;
    model->norm->weight[3] = 1e9;
  }
  EXPECT_THAT(message([&] { save_checkpoint(model, folder.path(), {.type = SaveType::F16}); }),
              HasSubstr("model.norm.weight holds values beyond the range of F16"));
  EXPECT_EQ(files(folder.path()), names);
  EXPECT_TRUE(logits(Checkpoint::open(folder.path()).model()).equal(before));
}

TEST(Checkpoint, TakesTokenizerAndGenerationAlong) {
  const testing::TemporaryFolder from, to;
  write_file(from / "tokenizer.json", "{}");
  write_file(from / "merges.txt", "a b");
  write_file(from / "other.txt", "no");
  write_file(from / "generation_config.json", R"({"temperature": 0.6, "eos_token_id": [7, 8]})");
  auto config = LanguageConfig::llama(50, 16, 24, 1, 4, 32);
  config.eos = {7, 8};
  save_checkpoint(LanguageModel(config), to.path(), {.like = from.path()});
  EXPECT_THAT(files(to.path()), ::testing::ElementsAre("config.json", "generation_config.json", "merges.txt",
                                                       "model.safetensors", "tokenizer.json"));
  EXPECT_EQ(read_json(to / "generation_config.json")["temperature"], 0.6);
  EXPECT_EQ(Checkpoint::open(to.path()).config().eos, (std::vector<int64_t>{7, 8}));
}

/// Weights that are nowhere in files: every element is 1 / 8.
struct Constant : WeightSource {
  explicit Constant(const LanguageModel& model) : tensors(state_of(*model)) {}
  ParameterShapes shapes() const override {
    ParameterShapes shapes;
    for (const auto& [name, tensor] : tensors) shapes[name] = tensor.sizes().vec();
    return shapes;
  }
  Tensor read(const std::string& name) const override { return torch::full_like(tensors.at(name).detach(), 0.125); }
  TensorMap tensors;
};

TEST(Checkpoint, TakesWeightsFromElsewhere) {
  const testing::TemporaryFolder folder;
  const auto model = random_model();
  write_file(folder / "config.json", model->config().to_json().dump());
  const auto read = Checkpoint::open(folder.path(), std::make_shared<Constant>(model)).model();
  for (const auto& [name, tensor] : state_of(*read)) EXPECT_TRUE(tensor.eq(0.125).all().item<bool>()) << name;
}

}  // namespace
}  // namespace quanta
