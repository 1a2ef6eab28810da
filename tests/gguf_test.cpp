// GGUF files between Quanta, gguf (Python) and llama.cpp: the same bytes mean the same values, block encoders agree or
// are better, models evaluate alike in both programs and both ways.
#include <gmock/gmock.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <sstream>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/process.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/lowbit/gguf_blocks.h"
#include "quanta/models/gguf_model.h"
#include "quanta/text/byte_bpe.h"

namespace quanta {
namespace {

using enum GgufType;

class GgufPeer : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* python = std::getenv("QUANTA_GGUF_PYTHON");
    if (!python) GTEST_SKIP() << "set QUANTA_GGUF_PYTHON to a Python that has gguf and, better, llama_cpp";
    python_ = python;
  }
  std::string run(const char* what) {
    const auto result =
        run_process(python_, {QUANTA_SOURCE_DIR "/tests/gguf_run.py", what, folder_.path().string()}, {}, 300);
    EXPECT_EQ(result.status, 0) << result.errors;
    return result.output;
  }
  template <class T>
  std::optional<std::vector<T>> read(const std::string& name) const {
    if (!std::filesystem::exists(folder_ / name)) return {};
    const std::string bytes = read_file(folder_ / name);
    std::vector<T> result(bytes.size() / sizeof(T));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
  template <class T>
  void write(const std::string& name, const std::vector<T>& values) {
    write_file(folder_ / name, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }

  testing::TemporaryFolder folder_;
  std::string python_;
};

double error_of(std::span<const float> exact, std::span<const float> values,
                const std::vector<float>& importance = {}) {
  double sum = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double difference = double(exact[i]) - values[i];
    sum += difference * difference * (importance.empty() ? 1.0 : importance[i % importance.size()]);
  }
  return sum;
}

TEST_F(GgufPeer, Blocks) {
  constexpr int64_t kRows = 96, kColumns = 1024;
  Random random(11);
  std::vector<float> weights(kRows * kColumns), importance(kColumns);
  for (int64_t r = 0; r < kRows; ++r)  // rows of normal, heavy-tailed and one-sided weights
    for (int64_t c = 0; c < kColumns; ++c) {
      const double x = random.normal();
      weights[size_t(r * kColumns + c)] = float(0.02 * (r % 3 == 0 ? x : r % 3 == 1 ? x * std::abs(x) : std::abs(x)));
    }
  for (int i = 0; i < 64; ++i) weights[size_t(i)] = 0;
  for (float& v : importance) v = float(std::exp(random.normal()));
  write("importance.f32", importance);

  const std::vector<GgufType> types{F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
  std::vector<GgufTensorInfo> infos{{"w", F32, {kRows, kColumns}}};
  for (const GgufType type : types) infos.push_back({std::string(gguf_type_name(type)), type, {kRows, kColumns}});
  GgufWriter writer(folder_ / "blocks.gguf", {{"general.architecture", std::string("test")}}, infos);
  writer.write(std::as_bytes(std::span(weights)));
  for (const GgufType type : types) writer.write(encode_gguf(type, weights, kColumns));
  writer.commit();
  run("blocks");

  const Gguf ours = Gguf::open(folder_ / "blocks.gguf"), peer = Gguf::open(folder_ / "peer.gguf");
  EXPECT_EQ(peer.get<int64_t>("u8"), 200);
  EXPECT_EQ(peer.get<int64_t>("i64"), -(int64_t{1} << 40));
  EXPECT_EQ(peer.get<double>("f64"), 0.1);
  EXPECT_EQ(peer.get<bool>("yes"), true);
  EXPECT_THAT(*peer.get<std::vector<std::string>>("words"), ::testing::ElementsAre("a", "", "\u00e9"));
  EXPECT_THAT(*peer.get<std::vector<int64_t>>("numbers"), ::testing::ElementsAre(1, -2, 3));
  for (const GgufType type : types) {
    const std::string name(gguf_type_name(type));
    SCOPED_TRACE(name);
    const auto values = decode_gguf(type, ours.at(name).bytes);
    EXPECT_EQ(values, read<float>(name + ".values"));
    const auto blocks = read<std::byte>(name + ".blocks");
    if (!blocks) continue;
    EXPECT_TRUE(std::ranges::equal(*blocks, peer.at(name).bytes));
    EXPECT_EQ(peer.at(name).shape, ours.at(name).shape);
    const bool searched = type == Q2_K || type == Q3_K || type == Q4_K || type == Q5_K || type == Q6_K;
    if (!searched) {
      EXPECT_TRUE(std::ranges::equal(*blocks, ours.at(name).bytes));
      if (const auto ggml = read<std::byte>(name + ".ggml")) {  // compiled, it may contract a product and a sum
        ASSERT_EQ(ggml->size(), blocks->size());
        int different = 0;
        for (size_t i = 0; i < ggml->size(); ++i) different += (*ggml)[i] != (*blocks)[i];
        EXPECT_LT(different, 20);
      }
    } else {
      const double theirs = error_of(weights, decode_gguf(type, *blocks)), own = error_of(weights, values);
      std::cout << name << ": squared error " << own / theirs << " of ggml's\n";
      EXPECT_LT(own, 1.001 * theirs);
    }
    if (const auto weighted = read<std::byte>(name + ".weighted");
        weighted && is_gguf_block_format(type) && type != Q8_0) {
      const auto mine = decode_gguf(type, encode_gguf(type, weights, kColumns, importance));
      const double theirs = error_of(weights, decode_gguf(type, *weighted), importance);
      const double own = error_of(weights, mine, importance);
      std::cout << name << ": with importance " << own / theirs << " of ggml's\n";
      EXPECT_LT(own, theirs);
    }
  }
}

Vocabulary byte_vocabulary() {
  Vocabulary v{.model = "gpt2", .pre = "gpt-2"};
  for (int b = 0; b < 256; ++b) v.tokens.push_back(bytes_to_printable(std::string(1, char(b))));
  for (const std::string merge : {"h e", "l l", "he ll", "hell o", "\u0120 t", "\u0120t he"}) {
    v.merges.push_back(merge);
    v.tokens.push_back(merge.substr(0, merge.find(' ')) + merge.substr(merge.find(' ') + 1));
  }
  v.tokens.emplace_back("<|endoftext|>");
  v.types.assign(v.tokens.size(), PieceType::Normal);
  v.types.back() = PieceType::Control;
  v.bos = v.eos = int64_t(v.tokens.size()) - 1;
  return v;
}

Vocabulary piece_vocabulary() {
  Vocabulary v{.model = "llama", .pre = "default"};
  const auto add = [&](const std::string& token, PieceType type) {
    v.tokens.push_back(token);
    v.scores.push_back(type == PieceType::Normal ? -float(v.tokens.size()) : 0);
    v.types.push_back(type);
  };
  add("<unk>", PieceType::Unknown);
  add("<s>", PieceType::Control);
  add("</s>", PieceType::Control);
  for (int b = 0; b < 256; ++b) add(fmt::format("<0x{:02X}>", b), PieceType::Byte);
  for (const char* token : {"he", "ll", "hell", "hello", "\u2581hello", "\u2581t", "\u2581the", "\u2581", "h", "e", "l",
                            "o", "t", "a", "r", "s"})
    add(token, PieceType::Normal);
  v.unknown = 0;
  v.bos = 1;
  v.eos = 2;
  v.add_bos = v.add_space_prefix = true;
  return v;
}

double negative_log_likelihood(LanguageModel model, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  const auto logits = model->forward(ids).slice(1, 0, -1);
  return torch::nn::functional::cross_entropy(logits.reshape({-1, logits.size(2)}), ids.slice(1, 1).reshape({-1}))
      .item<double>();
}

TEST_F(GgufPeer, Models) {
  constexpr const char* text = "hello the hearth, 'tis  hell!\n the \u00e9 stars";
  write_file(folder_ / "text.txt", text);
  const auto pieces = tokenizer_from(piece_vocabulary()), bytes = tokenizer_from(byte_vocabulary());
  struct Made {
    const Tokenizer* tokenizer;
    double loss;
  };
  std::map<std::string, Made> made;
  torch::manual_seed(5);
  const auto ids = torch::randint(3, 250, {16, 64}, torch::kInt64);
  {
    const auto narrow = ids.to(torch::kInt32).contiguous();
    const int* data = narrow.data_ptr<int>();
    write("ids.i32", std::vector<int>(data, data + narrow.numel()));
    write("shape.i32", std::vector<int>{16, 64});
  }
  const auto add = [&](const std::string& name, const nlohmann::json& object, const Tokenizer& tokenizer,
                       GgufOptions options) {
    nlohmann::json full = object;
    full["vocab_size"] = tokenizer.size() + 2;
    LanguageModel model(LanguageConfig::from_json(full, name));
    model->initialize(7, 0.05);
    options.tokenizer = &tokenizer;
    EXPECT_TRUE(write_gguf(folder_ / (name + ".gguf"), model, options).empty());
    made[name] = {&tokenizer, negative_log_likelihood(read_gguf(folder_ / (name + ".gguf")).model, ids)};
  };
  const nlohmann::json llama{{"model_type", "llama"},    {"hidden_size", 256},
                             {"intermediate_size", 512}, {"num_hidden_layers", 2},
                             {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                             {"rms_norm_eps", 1e-5},     {"max_position_embeddings", 128},
                             {"eos_token_id", nullptr},  {"bos_token_id", nullptr}};
  nlohmann::json qwen = llama, tied = llama, stretched = llama;
  qwen["model_type"] = "qwen2";
  tied["tie_word_embeddings"] = true;
  stretched["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", 8.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 8192}};
  const nlohmann::json gpt2{{"model_type", "gpt2"}, {"n_embd", 256},           {"n_layer", 2},           {"n_head", 4},
                            {"n_positions", 128},   {"bos_token_id", nullptr}, {"eos_token_id", nullptr}};
  add("float", llama, *pieces, {.type = F32});
  for (const GgufType type : {F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K})
    add(std::string(gguf_type_name(type)), llama, *pieces, {.type = type});
  add("bytes", llama, *bytes, {.type = F32});
  add("qwen2", qwen, *bytes, {.type = F32});
  add("tied", tied, *pieces, {.type = F32});
  add("llama3", stretched, *pieces, {.type = F32});
  add("gpt2", gpt2, *bytes, {.type = F32});

  const std::string output = run("models");
  if (output.empty()) GTEST_SKIP() << "this Python has no llama_cpp";
  std::istringstream lines(output);
  size_t seen = 0;
  for (std::string line; std::getline(lines, line); ++seen) {
    std::istringstream words(line);
    std::string name;
    double theirs = 0;
    words >> name >> theirs;
    SCOPED_TRACE(name);
    const bool by_peer = !made.contains(name);
    const double ours =
        by_peer ? negative_log_likelihood(read_gguf(folder_ / (name + ".gguf")).model, ids) : made.at(name).loss;
    std::cout << fmt::format("{}: perplexity {:.4f}, llama.cpp {:.4f} ({:+.3f} %)\n", name, std::exp(ours),
                             std::exp(theirs), 100 * (std::exp(theirs - ours) - 1));
    EXPECT_NEAR(std::exp(theirs - ours), 1, 0.005);
    const auto* tokenizer = by_peer ? pieces.get() : made.at(name).tokenizer;
    const std::vector<int64_t> tokens{std::istream_iterator<int64_t>(words), {}};
    EXPECT_EQ(tokens, tokenizer->encode(text, true));
  }
  EXPECT_EQ(seen, made.size() + 5);
}

}  // namespace
}  // namespace quanta
