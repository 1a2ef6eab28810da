#include "quanta/core/config.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kSmall = R"(
seed = 7
title = "Hybrid network"
[train]
epochs = 3
rate = 0.5
shuffle = true
[model]
qubits = 4
name = "hqnn"
sizes = [16, 8]
scales = [1, 2.5]
tags = ["a", "b"]
flags = []
)";

Config small() {
  return Config::parse(kSmall, "small.toml");
}

template <class E = Error>
std::string message(auto&& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Config, ReadsEveryType) {
  const Config c = small();
  EXPECT_EQ(c.get<int>("seed"), 7);
  EXPECT_EQ(c.get<int64_t>("seed"), 7);
  EXPECT_EQ(c.get<uint64_t>("seed"), 7u);
  EXPECT_EQ(c.get<double>("seed"), 7.0);
  EXPECT_EQ(c.get<double>("train.rate"), 0.5);
  EXPECT_EQ(c.get<bool>("train.shuffle"), true);
  EXPECT_EQ(c.get<std::string>("title"), "Hybrid network");
  EXPECT_THAT(c.get<std::vector<int64_t>>("model.sizes"), ElementsAre(16, 8));
  EXPECT_THAT(c.get<std::vector<double>>("model.scales"), ElementsAre(1, 2.5));
  EXPECT_THAT(c.get<std::vector<double>>("model.sizes"), ElementsAre(16, 8));
  EXPECT_THAT(c.get<std::vector<std::string>>("model.tags"), ElementsAre("a", "b"));
  EXPECT_TRUE(c.get<std::vector<bool>>("model.flags").empty());
  EXPECT_TRUE(c.has("train"));
  EXPECT_TRUE(c.has("train.rate"));
  EXPECT_FALSE(c.has("train.rates"));
  EXPECT_FALSE(c.has("train.rate.x"));
  EXPECT_FALSE(c.has(""));
  EXPECT_FALSE(c.has("train."));
  EXPECT_THAT(c.keys(), ElementsAre("model.flags", "model.name", "model.qubits", "model.scales", "model.sizes",
                                    "model.tags", "seed", "title", "train.epochs", "train.rate", "train.shuffle"));
}

TEST(Config, RefusesAnotherTypeOrRange) {
  const Config c = Config::parse("a = -1\nb = 3000000000\nc = 'x'\nd = 1.5\n[t]\ne = [1, -2]", "c.toml");
  EXPECT_EQ(message([&] { c.get<uint64_t>("a"); }),
            "c.toml: 'a' must be an integer from 0 to 9223372036854775807, got -1");
  EXPECT_EQ(message([&] { c.get<int>("b"); }),
            "c.toml: 'b' must be an integer from -2147483648 to 2147483647, got 3000000000");
  EXPECT_EQ(c.get<int64_t>("b"), 3000000000);
  EXPECT_EQ(message([&] { c.get<double>("c"); }), "c.toml: 'c' must be a number, got 'x'");
  EXPECT_THAT(message([&] { c.get<int>("d"); }), HasSubstr("got 1.5"));
  EXPECT_THAT(message([&] { c.get<int>("t"); }), HasSubstr("got a table"));
  EXPECT_THAT(message([&] { c.get<std::vector<uint64_t>>("t.e"); }), HasSubstr("[ 1, -2 ]"));
  EXPECT_EQ(message([&] { c.get<int>("t.f"); }), "c.toml: no key 't.f'; nearest: 't.e'");
}

TEST(Config, ParseErrorsSayWhere) {
  EXPECT_THAT(message([] { Config::parse("a = 1\nb = = 2\n", "bad.toml"); }), HasSubstr("bad.toml:2:5: "));
  EXPECT_THAT(message([] { Config::parse("a = 1\na = 2\n", "bad.toml"); }), HasSubstr("bad.toml:2:"));
  EXPECT_THAT(message([] { Config::parse("\n day = 2024-01-02\n", "bad.toml"); }),
              AllOf(HasSubstr("bad.toml:2:"), HasSubstr("dates")));
  EXPECT_THAT(message([] { Config::parse("'a.b' = 1\n", "bad.toml"); }), HasSubstr("'a.b' holds a dot"));
  EXPECT_THAT(message([] { Config::parse(std::string(100000, '['), "bad.toml"); }), HasSubstr("bad.toml:1:"));
  EXPECT_THAT(message([] { Config::parse("a = " + std::string(100000, '['), "bad.toml"); }), HasSubstr("bad.toml:1:"));
  EXPECT_THAT(message([] { Config::parse("\xff\xfe\x01", "bad.toml"); }), HasSubstr("bad.toml:1:"));
}

TEST(Config, LoadsAFile) {
  const auto path = std::filesystem::path(testing::TempDir()) / "quanta_config_test.toml";
  std::ofstream(path) << kSmall;
  EXPECT_EQ(Config::load(path).to_json(), small().to_json());
  std::ofstream(path) << "x";
  EXPECT_THAT(message([&] { Config::load(path); }), HasSubstr(path.string() + ":1:"));
  std::filesystem::remove(path);
  EXPECT_THAT(message([&] { Config::load(path); }), HasSubstr(path.string()));
  EXPECT_THAT(message([&] { Config::load(testing::TempDir()); }), HasSubstr(testing::TempDir()));
}

TEST(Config, SetReplacesAValueOfTheSameType) {
  Config c = small();
  c.set("train.epochs=10");
  c.set("train.rate=1");  // an integer for a number
  c.set(" train.shuffle = false ");
  c.set("model.name=hqnn-quanv");
  c.set("title=\"a = \\\"b\\\"\"");
  c.set("model.sizes=[1, 2, 3]");
  c.set("model.scales=[3]");
  c.set("model.tags=['x']");
  EXPECT_EQ(c.get<int>("train.epochs"), 10);
  EXPECT_EQ(c.get<double>("train.rate"), 1.0);
  EXPECT_EQ(c.get<bool>("train.shuffle"), false);
  EXPECT_EQ(c.get<std::string>("model.name"), "hqnn-quanv");
  EXPECT_EQ(c.get<std::string>("title"), "a = \"b\"");
  EXPECT_THAT(c.get<std::vector<int>>("model.sizes"), ElementsAre(1, 2, 3));
  EXPECT_THAT(c.get<std::vector<std::string>>("model.tags"), ElementsAre("x"));
  c.set("train.rate=1e-3");  // still a number after an integer was given
  c.set("model.scales=[0.25]");
  EXPECT_EQ(c.get<double>("train.rate"), 1e-3);
  c.set("title=");
  EXPECT_EQ(c.get<std::string>("title"), "");
  c.set("title=10");  // a bare word that looks like a number
  EXPECT_EQ(c.get<std::string>("title"), "10");
}

TEST(Config, SetNamesTheNearestKey) {
  Config c = small();
  EXPECT_EQ(message<UsageError>([&] { c.set("train.epohcs=3"); }),
            "unknown key 'train.epohcs'; did you mean 'train.epochs'?");
  EXPECT_EQ(message<UsageError>([&] { c.set("qubits=3"); }), "unknown key 'qubits'; did you mean 'model.qubits'?");
  EXPECT_THAT(message<UsageError>([&] { c.set("=3"); }), HasSubstr("unknown key ''"));
  EXPECT_EQ(message<UsageError>([&] { c.set("train=3"); }),
            "'train' is a table: set one of its keys: train.epochs, train.rate, train.shuffle");
  EXPECT_THAT(message<UsageError>([&] { c.set("train.epochs"); }), HasSubstr("expected key=value"));
}

TEST(Config, SetRefusesAnotherType) {
  Config c = small();
  EXPECT_EQ(message<UsageError>([&] { c.set("train.epochs=many"); }),
            "cannot set train.epochs=many: expected an integer, for example train.epochs=3");
  EXPECT_EQ(message<UsageError>([&] { c.set("train.epochs=2.5"); }),
            "cannot set train.epochs=2.5: expected an integer, for example train.epochs=3");
  EXPECT_EQ(message<UsageError>([&] { c.set("train.rate=fast"); }),
            "cannot set train.rate=fast: expected a floating-point number, for example train.rate=0.5");
  EXPECT_EQ(message<UsageError>([&] { c.set("train.shuffle=1"); }),
            "cannot set train.shuffle=1: expected a boolean, for example train.shuffle=true");
  EXPECT_EQ(message<UsageError>([&] { c.set("model.sizes=[1.5]"); }),
            "cannot set model.sizes=[1.5]: expected an array of integers, for example model.sizes=[ 16, 8 ]");
  EXPECT_THAT(message<UsageError>([&] { c.set("model.sizes=3"); }), HasSubstr("expected an array of integers"));
  EXPECT_THAT(message<UsageError>([&] { c.set("title=\"open"); }), HasSubstr("expected a string"));
  EXPECT_THAT(message<UsageError>([&] { c.set("seed=1\nx = 2"); }), HasSubstr("expected an integer"));
  EXPECT_THAT(message<UsageError>([&] { c.set("seed="); }), HasSubstr("expected an integer"));
  EXPECT_EQ(c.to_json(), small().to_json());
}

TEST(Config, OverlayReplacesKnownKeysOnly) {
  Config c = small();
  c.overlay(Config::parse("[train]\nepochs = 50\nrate = 2\n[model]\nsizes = [1]", "full.toml"));
  EXPECT_EQ(c.get<int>("train.epochs"), 50);
  EXPECT_TRUE(c.to_json()["train"]["rate"].is_number_float());
  EXPECT_EQ(c.get<bool>("train.shuffle"), true);
  EXPECT_THAT(c.get<std::vector<int>>("model.sizes"), ElementsAre(1));

  const Config before = c;
  EXPECT_EQ(message([&] { c.overlay(Config::parse("seed = 1\n[train]\nepoch = 5", "full.toml")); }),
            "full.toml: unknown key 'train.epoch'; did you mean 'train.epochs'? (the keys are those of small.toml)");
  EXPECT_EQ(message([&] { c.overlay(Config::parse("[train]\nepochs = 'many'", "full.toml")); }),
            "full.toml: 'train.epochs' must be an integer, as in small.toml, got 'many'");
  EXPECT_THAT(message([&] { c.overlay(Config::parse("train = 1", "full.toml")); }), HasSubstr("must be a table"));
  EXPECT_EQ(c.to_json(), before.to_json());
}

TEST(Config, TomlRoundTripIsExact) {
  Config c = Config::parse(
      "a = 0.1\nb = 1.0\nc = 1e-300\nd = 5e22\ne = inf\nf = -9223372036854775808\ng = \"q\\\"\\n\\u00e9'\"\n"
      "h = [[1, 2], [3]]\ni = 0.30000000000000004\nj = [ ]\n[k.l]\nm = \"\"\n[[n]]\no = 1\n",
      "x.toml");
  EXPECT_EQ(Config::parse(c.to_toml(), "again").to_json(), c.to_json());
  EXPECT_TRUE(Config::parse(c.to_toml(), "again").to_json()["b"].is_number_float());
  EXPECT_EQ(Config().to_toml(), "\n");
}

}  // namespace
}  // namespace quanta
