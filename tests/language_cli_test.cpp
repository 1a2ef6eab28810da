// Language models on the command line, as a user meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "quanta/core/file.h"
#include "quanta/core/process.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using Words = std::vector<std::string>;

ProcessResult quanta(const Words& arguments) {
  return run_process(QUANTA_PROGRAM, arguments, {}, 120);
}

/// The one line of a command that must fail.
std::string error_of(const Words& arguments, int status) {
  const ProcessResult result = quanta(arguments);
  EXPECT_EQ(result.status, status) << result.errors;
  EXPECT_THAT(result.output, IsEmpty());
  const size_t start = result.errors.rfind("quanta: error: ");
  if (start == std::string::npos) return "no error: " + result.errors;
  EXPECT_EQ(result.errors.find('\n', start), result.errors.size() - 1) << result.errors;
  return result.errors.substr(start);
}

/// One model for all tests, trained once: small, on a text it can learn by heart.
class LanguageCli : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::temp_directory_path() / "quanta_language_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::string text;
    for (int i = 0; i < 400; ++i) text += "the quick brown fox jumps over the lazy dog. ";
    write_file(at("fox.txt"), text);
    trained_ = quanta(training(at("fox")));
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }
  static std::string at(const std::string& name) { return (folder_ / name).string(); }
  static Words training(const std::string& out, const Words& more = {}) {
    Words words = {"train",   "llama", "--text",    at("fox.txt"), "--layers", "1",     "--width",  "32",
                   "--heads", "2",     "--steps",   "120",         "--batch",  "8",     "--length", "32",
                   "--rate",  "0.01",  "--threads", "1",           "--json",   "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  static inline fs::path folder_;
  static inline ProcessResult trained_;
};

TEST_F(LanguageCli, TrainsAModelThatOtherCommandsOpen) {
  ASSERT_EQ(trained_.status, 0) << trained_.errors;
  const json report = json::parse(trained_.output);
  EXPECT_EQ(report.at("results").at(0).at("name"), "validation loss");
  EXPECT_LT(report.at("results").at(0).at("value").get<double>(), 0.5);
  for (const char* file : {"config.json", "model.safetensors", "vocab.json", "report.html", "metrics.jsonl"})
    EXPECT_TRUE(fs::exists(folder_ / "fox" / file)) << file;
  EXPECT_THAT(read_file(at("fox/report.html")), HasSubstr("the "));

  const json score = json::parse(
      quanta({"eval", at("fox"), "--text", at("fox.txt"), "--part", "test", "--length", "32", "--json"}).output);
  EXPECT_EQ(score.at("nll"), report.at("results").at(0).at("value"));
  EXPECT_NEAR(score.at("perplexity").get<double>(), std::exp(score.at("nll").get<double>()), 1e-9);
  EXPECT_NEAR(score.at("bits_per_byte").get<double>(), score.at("nll").get<double>() / std::log(2), 1e-9);
  EXPECT_THAT(quanta({"eval", at("fox"), "--text", at("fox.txt"), "--length", "32", "--stride", "8"}).output,
              HasSubstr("perplexity"));
}

TEST_F(LanguageCli, TrainingIsRepeatableAndResumes) {
  ASSERT_EQ(quanta(training(at("again"))).status, 0);
  EXPECT_EQ(read_file(at("again/model.safetensors")), read_file(at("fox/model.safetensors")));
  // A finished training that is resumed has nothing left to do; other settings are refused.
  ASSERT_EQ(quanta(training(at("again"), {"--resume"})).status, 0);
  EXPECT_EQ(read_file(at("again/model.safetensors")), read_file(at("fox/model.safetensors")));
  EXPECT_THAT(error_of(training(at("again"), {"--resume", "--seed", "3"}), 1), HasSubstr("seed"));
}

TEST_F(LanguageCli, ScoresTokensExactly) {
  const ProcessResult result = quanta({"eval", at("fox"), "--tokens", "1,5,2,7", "--json"});
  const json scores = json::parse(result.output);
  EXPECT_EQ(scores.size(), 2u);
  EXPECT_TRUE(scores.at("nll").is_number());
  const size_t vocabulary = json::parse(read_file(at("fox/config.json"))).at("vocab_size");
  EXPECT_EQ(scores.at("last_logits").size(), vocabulary);
  // The chain rule over prefixes: the mean of -log softmax at each next token.
  double nll = 0;
  const std::vector<int> ids = {1, 5, 2, 7};
  std::string prefix = "1";
  for (size_t t = 1; t < ids.size(); prefix += "," + std::to_string(ids[t++])) {
    const json before = json::parse(quanta({"eval", at("fox"), "--tokens", prefix, "--json"}).output);
    double sum = 0;
    for (const json& logit : before.at("last_logits")) sum += std::exp(logit.get<double>());
    nll += std::log(sum) - before.at("last_logits").at(size_t(ids[t])).get<double>();
  }
  EXPECT_NEAR(scores.at("nll").get<double>(), nll / 3, 1e-5);
  EXPECT_TRUE(json::parse(quanta({"eval", at("fox"), "--tokens", "1", "--json"}).output).at("nll").is_null());
}

TEST_F(LanguageCli, GeneratesWhatItLearned) {
  const std::string text =
      quanta({"generate", at("fox"), "--prompt", "the quick brown f", "--greedy", "--max-tokens", "12"}).output;
  EXPECT_EQ(text, "the quick brown fox jumps ove\n");
  const Words sampled = {"generate", at("fox"), "--prompt", "the ", "--temperature", "2", "--seed", "4", "--json"};
  const json once = json::parse(quanta(sampled).output);
  EXPECT_EQ(once.at("tokens"), json::parse(quanta(sampled).output).at("tokens"));
  EXPECT_THAT(once.at("text").get<std::string>(), Not(IsEmpty()));
}

TEST_F(LanguageCli, ChoosesWhatItLearned) {
  write_file(at("choices.jsonl"),
             "{\"context\": \"the quick brown\", \"choices\": [\" dog.\", \" fox jumps\"], \"label\": 1}\n"
             "{\"context\": \"over the lazy \", \"choices\": [\"dog. the\", \"fox jumps\"], \"label\": 0}\n");
  const json score = json::parse(quanta({"eval", at("fox"), "--choices", at("choices.jsonl"), "--json"}).output);
  EXPECT_EQ(score.at("items"), 2);
  EXPECT_EQ(score.at("acc"), 1.0);
  EXPECT_EQ(score.at("acc_stderr"), 0.0);
}

TEST_F(LanguageCli, PlantsOutliersThatChangeNothing) {
  ASSERT_EQ(quanta({"outliers", at("fox"), "--out", at("planted"), "--spec", "mlp=6x16,keys=2x12,norms=3x16"}).status,
            0);
  const auto logits = [](const std::string& model) {
    return json::parse(quanta({"eval", model, "--tokens", "3,1,4,1,5", "--json"}).output)
        .at("last_logits")
        .get<std::vector<double>>();
  };
  const auto before = logits(at("fox")), after = logits(at("planted"));
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-4);
  EXPECT_NE(read_file(at("fox/model.safetensors")), read_file(at("planted/model.safetensors")));
  EXPECT_EQ(quanta({"generate", at("planted"), "--prompt", "the q", "--greedy"}).status, 0) << "it has the tokenizer";
  EXPECT_THAT(error_of({"outliers", at("fox"), "--out", at("fox")}, 1), HasSubstr("--out"));
  EXPECT_THAT(error_of({"outliers", at("fox"), "--out", at("x"), "--spec", "mlp"}, 2), HasSubstr("CHANNELSxGAIN"));
}

TEST_F(LanguageCli, BadInputIsOneLine) {
  EXPECT_THAT(error_of({"train", "pico"}, 2), HasSubstr("--text"));
  EXPECT_THAT(error_of({"train", "pico", "--data", "mnist"}, 2), HasSubstr("--text"));
  EXPECT_THAT(error_of({"train", "resnet20", "--text", at("fox.txt")}, 2), HasSubstr("--data"));
  EXPECT_THAT(error_of({"train", "resnet20"}, 2), HasSubstr("--data"));
  EXPECT_THAT(error_of({"train", "pico", "--text", at("none.txt")}, 1), HasSubstr("no such file"));
  write_file(at("short.txt"), "too short");
  EXPECT_THAT(error_of({"train", "pico", "--text", at("short.txt"), "--out", at("x")}, 1), HasSubstr("fewer than"));
  EXPECT_THAT(error_of(training(at("x"), {"--kv-heads", "3"}), 1), HasSubstr("3 key heads"));

  EXPECT_THAT(error_of({"eval", at("fox")}, 2), HasSubstr("--text, --choices or --tokens"));
  EXPECT_THAT(error_of({"eval", at("none"), "--tokens", "1"}, 1), HasSubstr("no such file or folder"));
  EXPECT_THAT(error_of({"eval", at("fox"), "--tokens", "1,999"}, 1), HasSubstr("999"));
  EXPECT_THAT(error_of({"eval", at("fox"), "--tokens", "1,x"}, 2), HasSubstr("--tokens"));
  EXPECT_THAT(error_of({"eval", at("fox"), "--text", at("short.txt")}, 1), HasSubstr("fewer than a window"));
  EXPECT_THAT(error_of({"eval", at("fox"), "--text", at("fox.txt"), "--length", "1000"}, 1), HasSubstr("positions"));
  write_file(at("bad.jsonl"), "{\"foo\": 1}\n");
  EXPECT_THAT(error_of({"eval", at("fox"), "--choices", at("bad.jsonl")}, 1), HasSubstr("bad.jsonl"));

  fs::copy(at("fox"), at("odd"));
  json config = json::parse(read_file(at("fox/config.json")));
  config["architectures"] = {"MambaForCausalLM"};
  config["model_type"] = "mamba";
  write_file(at("odd/config.json"), config.dump());
  EXPECT_THAT(error_of({"eval", at("odd"), "--tokens", "1"}, 1), HasSubstr("amba"));
  fs::remove_all(at("odd"));

  fs::copy(at("fox"), at("mute"));
  fs::remove(at("mute/vocab.json"));
  EXPECT_THAT(error_of({"generate", at("mute"), "--prompt", "the"}, 1), HasSubstr("tokenizer"));
  EXPECT_EQ(quanta({"eval", at("mute"), "--tokens", "1,2", "--json"}).status, 0) << "ids need no tokenizer";
}

}  // namespace
}  // namespace quanta
