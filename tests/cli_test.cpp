// The program as a user meets it: exit statuses, messages, results, and what happens when things go wrong.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "quanta/core/file.h"
#include "quanta/core/process.h"

extern char** environ;

namespace quanta {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

using testing::StartsWith;

const fs::path kProgram = QUANTA_PROGRAM;
using Words = std::vector<std::string>;

ProcessResult quanta(const Words& arguments) {
  return run_process(kProgram, arguments, {}, 120);
}

/// The result of a command that must fail: one line on standard error that starts with "quanta: error: ".
std::string error_of(const Words& arguments, int status) {
  const ProcessResult result = quanta(arguments);
  EXPECT_EQ(result.status, status) << result.errors;
  EXPECT_THAT(result.output, IsEmpty());
  const size_t start = result.errors.rfind("quanta: error: ");
  EXPECT_NE(start, std::string::npos) << result.errors;
  if (start == std::string::npos) return result.errors;
  EXPECT_EQ(result.errors.find('\n', start), result.errors.size() - 1) << result.errors;
  return result.errors.substr(start);
}

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "quanta_cli_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

/// A run of system 02 that takes seconds: one model, generated digits.
Words tiny_run(const std::string& out, const Words& more = {}) {
  Words words = {"run",       "02",
                 "--set",     "dataset=glyph_digits",
                 "--set",     "models=[\"hqnn_quanv\"]",
                 "--set",     "quanv.seeds=1",
                 "--set",     "quanv.train=60",
                 "--set",     "quanv.test=40",
                 "--set",     "quanv.epochs=2",
                 "--threads", "1",
                 "--json",    "--out",
                 out};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// A run that is started, watched, and ended by a signal.
class Background {
 public:
  explicit Background(const Words& arguments) {
    Words words = arguments;
    words.insert(words.begin(), kProgram.string());
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (const int fd : {0, 1, 2}) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    EXPECT_EQ(posix_spawn(&pid_, kProgram.c_str(), &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Background() {
    if (pid_ > 0) end(SIGKILL);
  }

  bool running() {
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = 0;
      status_ = status;
    }
    return pid_ > 0;
  }
  /// Waits until the condition holds; false if the program ends or 60 seconds pass before.
  template <class Condition>
  bool until(const Condition& condition) {
    for (int i = 0; i < 6000 && running(); ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  /// The wait status after a signal.
  int end(int signal) {
    if (running()) {
      kill(pid_, signal);
      waitpid(pid_, &status_, 0);
      pid_ = 0;
    }
    return status_;
  }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
};

TEST_F(Cli, HelpNamesEveryCommand) {
  const ProcessResult help = quanta({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.errors, IsEmpty());
  for (const std::string command : {"list", "run", "train", "eval", "quantize", "generate", "outliers", "data", "draw",
                                    "compile", "simulate", "bench", "doctor"}) {
    EXPECT_THAT(help.output, HasSubstr("\n  " + command));
    const ProcessResult own = quanta({command, "--help"});
    EXPECT_EQ(own.status, 0);
    EXPECT_THAT(own.output, HasSubstr(command)) << own.errors;
  }
  EXPECT_EQ(quanta({"--version"}).output, "quanta " QUANTA_VERSION "\n");
}

TEST_F(Cli, WrongUsageExitsWithTwo) {
  EXPECT_THAT(error_of({}, 2), HasSubstr("--help"));
  EXPECT_THAT(error_of({"lsit"}, 2), HasSubstr("'list'"));
  EXPECT_THAT(error_of({"run"}, 2), HasSubstr("name"));
  EXPECT_THAT(error_of({"run", "02", "--sed", "1"}, 2), HasSubstr("--sed"));
  EXPECT_THAT(error_of({"run", "02", "--seed", "one"}, 2), HasSubstr("--seed"));
  EXPECT_THAT(error_of({"run", "02", "--threads", "0"}, 2), HasSubstr("--threads"));
  EXPECT_THAT(error_of({"run", "99"}, 2), HasSubstr("99"));
  EXPECT_THAT(error_of({"run", "hybird-parallel-qnn"}, 2), HasSubstr("hybrid-parallel-qnn"));
  EXPECT_THAT(error_of(tiny_run(at("out"), {"--set", "quanv.epoch=3"}), 2), HasSubstr("quanv.epochs"));
  EXPECT_THAT(error_of(tiny_run(at("out"), {"--set", "quanv.epochs=many"}), 2), HasSubstr("quanv.epochs"));
  EXPECT_THAT(error_of({"run", "all", "--set", "nothing=1"}, 2), HasSubstr("nothing"));
  EXPECT_THAT(error_of({"data", "get", "mnits"}, 2), HasSubstr("mnist"));
  EXPECT_THAT(error_of({"data", "make", "mnist", "--out", at("x")}, 2), HasSubstr("mnist"));
  EXPECT_THAT(error_of({"draw", "strong_entangling"}, 2), HasSubstr("strongly_entangling"));
  EXPECT_THAT(error_of({"bench", "gradient", "--precision", "half"}, 2), HasSubstr("half"));
  EXPECT_FALSE(fs::exists(at("out")));
}

TEST_F(Cli, ListIsReadableByMachines) {
  const json systems = json::parse(quanta({"list", "--json"}).output);
  ASSERT_FALSE(systems.empty());
  bool found = false;
  for (const json& system : systems) found |= system.at("number") == 2 && system.at("name") == "hybrid-parallel-qnn";
  EXPECT_TRUE(found);
  EXPECT_THAT(quanta({"list"}).output, HasSubstr(systems.at(0).at("title").get<std::string>()));
}

TEST_F(Cli, ARunLeavesWhatItSays) {
  const ProcessResult result = quanta(tiny_run(at("out")));
  ASSERT_THAT(result.status, AnyOf(0, 3)) << result.errors;
  const json report = json::parse(result.output);
  EXPECT_EQ(report.at("recipe"), "02");
  EXPECT_EQ(report.at("mode"), "small");
  EXPECT_EQ(report.at("seed"), 0);
  EXPECT_GT(report.at("seconds").get<double>(), 0);
  EXPECT_TRUE(report.at("title").is_string());
  EXPECT_EQ(report.at("data").at("source"), "generated");
  for (const char* key : {"name", "train", "test"}) EXPECT_TRUE(report.at("data").contains(key)) << key;
  ASSERT_FALSE(report.at("results").empty());
  for (const json& figure : report.at("results")) {
    EXPECT_TRUE(figure.at("name").is_string() && figure.at("unit").is_string());
    EXPECT_TRUE(figure.at("value").is_number()) << figure;
    EXPECT_TRUE(figure.at("paper").is_number() || figure.at("paper").is_null());
    EXPECT_TRUE(figure.at("paper_source").is_string());
  }
  ASSERT_FALSE(report.at("checks").empty());
  bool all_hold = true;
  for (const json& check : report.at("checks")) {
    EXPECT_TRUE(check.at("name").is_string() && check.at("detail").is_string());
    all_hold &= check.at("holds").get<bool>();
  }
  EXPECT_EQ(result.status, all_hold ? 0 : 3);
  ASSERT_FALSE(report.at("artifacts").empty());
  for (const json& name : report.at("artifacts"))
    EXPECT_TRUE(fs::exists(folder_ / "out" / name.get<std::string>())) << name;
  EXPECT_TRUE(fs::exists(at("out/report.html")));
  EXPECT_EQ(json::parse(read_file(at("out/report.json"))), report);

  // The same without --json: figures, checks and, last, the page.
  Words words = tiny_run(at("again"));
  std::erase(words, "--json");
  const std::string text = quanta(words).output;
  EXPECT_THAT(text, HasSubstr(report.at("results").at(0).at("name").get<std::string>()));
  EXPECT_THAT(text, AnyOf(HasSubstr("PASS  "), HasSubstr("FAIL  ")));
  EXPECT_THAT(text.substr(text.rfind("Report page: ")), HasSubstr("again/report.html\n"));
  EXPECT_EQ(read_file(at("again/model.safetensors")), read_file(at("out/model.safetensors")));  // same seed, same bits
}

TEST_F(Cli, AnOutputFolderThatCannotBeIsAnError) {
  write_file(at("file"), "");
  EXPECT_THAT(error_of(tiny_run(at("file/out")), 1), HasSubstr(at("file")));
  EXPECT_THAT(error_of(tiny_run("/proc/quanta"), 1), HasSubstr("/proc/quanta"));  // refuses root too
  EXPECT_THAT(error_of({"draw", "iqp_encoding", "--svg", at("none/x.svg")}, 1), HasSubstr("none"));
}

// A run that is broken off, by the given signal, in the middle of its training.
void break_off(const Words& words, const fs::path& out, int signal, bool saves) {
  Background run(words);
  ASSERT_TRUE(run.until([&] { return fs::exists(out / "metrics.jsonl") && fs::file_size(out / "metrics.jsonl") > 0; }));
  const int status = run.end(signal);
  if (saves) {
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 130);
  } else {
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: make the run longer";
  }
  EXPECT_FALSE(fs::exists(out / "report.html"));
}

TEST_F(Cli, ABrokenRunResumesToTheSameResult) {
  const Words longer = {"--set", "quanv.epochs=10", "--set", "quanv.train=200"};
  const auto words = [&](const std::string& name, const Words& more = {}) {
    Words all = tiny_run(at(name), longer);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  json unbroken = json::parse(quanta(words("unbroken")).output);

  break_off(words("interrupted"), folder_ / "interrupted", SIGINT, true);
  break_off(words("killed"), folder_ / "killed", SIGKILL, false);
  for (const std::string name : {"interrupted", "killed"}) {
    // Not with other settings.
    EXPECT_THAT(error_of(words(name, {"--resume", "--seed", "5"}), 1), HasSubstr("settings"));
    json resumed = json::parse(quanta(words(name, {"--resume"})).output);
    for (json* report : {&unbroken, &resumed}) report->erase("seconds");
    EXPECT_EQ(resumed, unbroken) << name;
    EXPECT_EQ(read_file(at(name + "/model.safetensors")), read_file(at("unbroken/model.safetensors"))) << name;
  }
}

TEST_F(Cli, AHostileCheckpointIsAnErrorNotACrash) {
  const Words words = tiny_run(at("out"), {"--set", "quanv.epochs=10", "--set", "quanv.train=200"});
  break_off(words, folder_ / "out", SIGKILL, false);
  fs::path checkpoint;
  for (const auto& entry : fs::directory_iterator(at("out")))
    if (entry.path().string().ends_with(".checkpoint.safetensors")) checkpoint = entry.path();
  ASSERT_FALSE(checkpoint.empty());
  const std::string good = read_file(checkpoint);

  Words resume = words;
  resume.push_back("--resume");
  const auto header = [](const std::string& text) {
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) bytes[size_t(i)] = char(uint64_t(text.size()) >> (8 * i));
    return bytes + text;
  };
  const std::vector<std::pair<std::string, std::string>> hostile = {
      {"empty", ""},
      {"cut in the data", good.substr(0, good.size() - 7)},
      {"cut in the header", good.substr(0, 20)},
      {"a header longer than the file", std::string(8, '\x7f') + good.substr(8)},
      {"not JSON", header("{\"a\":")},
      {"offsets beyond the end", header(R"({"w":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}})")},
      {"a shape that overflows",
       header(R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})")},
      {"offsets backwards", header(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})") + "1234"},
  };
  for (const auto& [name, bytes] : hostile) {
    SCOPED_TRACE(name);
    write_file(checkpoint, bytes);
    EXPECT_THAT(error_of(resume, 1), HasSubstr(checkpoint.filename().string()));
  }
  write_file(checkpoint, good);
  EXPECT_THAT(quanta(resume).status, AnyOf(0, 3));
}

TEST_F(Cli, MakesAndFindsData) {
  const Words make = {"data",    "make", "glyph-digits", "--out", at("data/glyph_digits"),
                      "--train", "80",   "--test",       "50"};
  EXPECT_EQ(quanta(make).status, 0);
  bool found = false;
  for (const json& data : json::parse(quanta({"data", "list", "--json", "--data", at("data")}).output))
    if (data.at("name") == "glyph_digits") found = data.at("found") == at("data/glyph_digits");
  EXPECT_TRUE(found);
  const json report = json::parse(quanta(tiny_run(at("out"), {"--data", at("data")})).output);
  EXPECT_EQ(report.at("data").at("source"), at("data/glyph_digits"));
  EXPECT_EQ(report.at("data").at("train"), 60);
  EXPECT_THAT(quanta({"data", "get", "cifar10"}).output, HasSubstr("CIFAR"));
  EXPECT_EQ(json::parse(quanta({"data", "get", "cifar10", "--json"}).output).at("name"), "cifar10");
  EXPECT_THAT(error_of({"data", "list", "--data", at("nowhere")}, 1), HasSubstr("nowhere"));
}

TEST_F(Cli, DamagedDataIsNamed) {
  ASSERT_EQ(quanta({"data", "make", "glyph_digits", "--out", at("source"), "--train", "80", "--test", "50"}).status, 0);
  const auto plain = [&](const std::string& name) {  // gzip's own program is the independent reader here
    return run_process(*find_program("gzip"), {"-dc", at("source/" + name + ".gz")}).output;
  };
  const std::string images = plain("train-images-idx3-ubyte");
  ASSERT_EQ(images.size(), 16u + 80 * 28 * 28);
  const auto fresh = [&] {
    fs::remove_all(at("data"));
    fs::create_directories(at("data/mnist"));
    for (const std::string name :
         {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"})
      write_file(at("data/mnist/" + name), plain(name));
  };
  const auto run = [&] { return tiny_run(at("out"), {"--data", at("data"), "--set", "dataset=mnist"}); };
  fresh();
  ASSERT_THAT(quanta(run()).status, AnyOf(0, 3));

  const auto damaged = [&](const std::string& name, std::string bytes) {
    fresh();
    write_file(at("data/mnist/" + name), bytes);
    return error_of(run(), 1);
  };
  const std::string file = "train-images-idx3-ubyte";
  EXPECT_THAT(damaged(file, images.substr(0, images.size() - 100)), HasSubstr(file));
  EXPECT_THAT(damaged(file, images.substr(0, 10)), HasSubstr(file));
  std::string magic = images;
  magic[2] = 0x0d;  // floating-point elements
  EXPECT_THAT(damaged(file, magic), HasSubstr(file));
  std::string size = images;  // 27 x 28 images, and fewer bytes to match
  size[11] = 27;
  size.resize(16 + 80 * 27 * 28);
  EXPECT_THAT(damaged(file, size), HasSubstr("27"));

  // An archive with a JPEG that is cut short.
  fresh();
  const std::string jpeg("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00", 20);
  for (const std::string split : {"train", "test"}) {
    for (const std::string name : {"AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"}) {
      fs::create_directories(folder_ / "tree" / split / name);
      write_file(folder_ / "tree" / split / name / "1.jpeg", jpeg);
    }
  }
  run_process(*find_program("tar"), {"-czf", at("data/medmnist-jpeg.tar.gz"), "-C", at("tree"), "train", "test"});
  EXPECT_THAT(error_of(tiny_run(at("out"), {"--data", at("data"), "--set", "dataset=medical_mnist"}), 1),
              HasSubstr("1.jpeg"));
}

TEST_F(Cli, Draws) {
  EXPECT_THAT(quanta({"draw", "strongly_entangling", "--wires", "3", "--layers", "2"}).output, HasSubstr("18 weights"));
  EXPECT_EQ(quanta({"draw", "zz_feature_map", "--svg", at("map.svg")}).status, 0);
  EXPECT_THAT(read_file(at("map.svg")), HasSubstr("<svg"));
  EXPECT_EQ(json::parse(quanta({"draw", "zz_feature_map", "--wires", "3", "--json"}).output).at("wires"), 3);
}

TEST_F(Cli, Compiles) {
  write_file(at("ghz.qasm"),
             "OPENQASM 2.0;\ninclude \"qelib1.inc\";\nqreg q[3];\nh q[0];\ncx q[0],q[1];\ncx q[0],q[2];\n");
  EXPECT_THAT(quanta({"compile", at("ghz.qasm"), "--basis", "u,cx"}).output, HasSubstr("U 1  cx 2"));
  const json counts = json::parse(
      quanta({"compile", at("ghz.qasm"), "--coupling", "0-1,1-2", "--level", "3", "--json", "--out", at("out.qasm")})
          .output);
  EXPECT_EQ(counts.at("before").at("depth"), 3);
  EXPECT_EQ(counts.at("after").at("gates").at("cx"), 2) << "a layout exists that needs no SWAP";
  EXPECT_EQ(counts.at("final_layout").size(), 3u);
  EXPECT_EQ(json::parse(quanta({"compile", at("out.qasm"), "--json"}).output).at("before"), counts.at("after"));
  EXPECT_EQ(quanta({"compile", at("ghz.qasm"), "--basis", "any", "--qasm", "2", "--out", at("same.qasm")}).status, 0);
  EXPECT_EQ(read_file(at("same.qasm")),
            "OPENQASM 2.0;\ninclude \"qelib1.inc\";\nqreg q[3];\nh q[0];\ncx q[0], q[1];\ncx q[0], q[2];\n");
  EXPECT_THAT(error_of({"compile", at("ghz.qasm"), "--basis", "any", "--coupling", "line"}, 2), HasSubstr("coupling"));
  EXPECT_THAT(error_of({"compile", at("ghz.qasm"), "--qasm", "4"}, 2), HasSubstr("--qasm"));
  EXPECT_THAT(error_of({"compile", at("ghz.qasm"), "--level", "4"}, 2), HasSubstr("--level"));
  EXPECT_THAT(error_of({"compile", at("ghz.qasm"), "--out", at("no/folder.qasm")}, 1), HasSubstr("no/folder.qasm"));
  EXPECT_THAT(error_of({"compile", at("ghz.qasm"), "--basis", "sy"}, 1), HasSubstr("no gate 'sy'"));
  EXPECT_THAT(error_of({"compile", at("ghz.qasm"), "--coupling", "circle"}, 1), HasSubstr("circle"));
  EXPECT_THAT(error_of({"compile", at("none.qasm")}, 1), HasSubstr("none.qasm"));
}

TEST_F(Cli, DrawsAndSimulatesOpenQasm) {
  // A Bell pair in two registers, and a qubit that stays 0.
  write_file(at("bell.qasm"),
             "OPENQASM 2.0; include \"qelib1.inc\"; qreg q[3]; creg a[1]; creg b[2]; h q[0]; cx q[0], q[1]; "
             "measure q[0] -> a[0]; measure q[1] -> b[1];");
  write_file(at("input.qasm"), "OPENQASM 3; include \"stdgates.inc\"; input float t; qubit[2] q; rx(t) q[1];");
  write_file(at("reset.qasm"), "OPENQASM 3; include \"stdgates.inc\"; qubit[2] q; reset q; x q[1];");
  write_file(at("bad.qasm"), "OPENQASM 3;\nqubit q;\nhh q;");

  EXPECT_THAT(quanta({"draw", at("bell.qasm")}).output, HasSubstr("M→b[1]"));
  EXPECT_EQ(quanta({"draw", at("bell.qasm"), "--svg", at("bell.svg")}).status, 0);
  EXPECT_THAT(read_file(at("bell.svg")), HasSubstr("→a[0]"));

  const auto result = [&](Words words) {
    words.insert(words.begin(), "simulate");
    const ProcessResult run = quanta(words);
    EXPECT_EQ(run.status, 0) << run.errors;
    return json::parse(run.output);
  };
  const json counts = result({at("bell.qasm"), "--shots", "1000", "--seed", "3", "--json"})["counts"];
  EXPECT_EQ(counts.size(), 2u) << counts;
  EXPECT_EQ(counts["00 0"].get<int>() + counts["10 1"].get<int>(), 1000);
  EXPECT_NEAR(counts["10 1"].get<int>(), 500, 100);
  EXPECT_EQ(result({at("bell.qasm"), "--shots", "1000", "--seed", "3"})["counts"], counts);
  EXPECT_EQ(result({at("reset.qasm"), "--state"})["state"], json::parse("{\"10\": [1.0, 0.0]}"));
  const json state = result({at("bell.qasm"), "--state"})["state"];
  EXPECT_EQ(state.size(), 2u);
  EXPECT_NEAR(state["011"][0].get<double>(), std::sqrt(0.5), 1e-12);
  EXPECT_NEAR(result({at("bell.qasm"), "--probs"})["probabilities"]["000"].get<double>(), 0.5, 1e-12);
  const json values = result({at("bell.qasm"), "--expect", "Z0 Z1 + 0.5 Z2", "--expect", "Z0"})["expectations"];
  EXPECT_NEAR(values["Z0 Z1 + 0.5 Z2"].get<double>(), 1.5, 1e-12);
  EXPECT_NEAR(values["Z0"].get<double>(), 0, 1e-12);
  // Noise in closed form: each of two X gates flips with p; reading a 1 as 0 and a 0 as 1.
  write_file(at("flip.qasm"),
             "OPENQASM 2.0; include \"qelib1.inc\"; qreg q[1]; creg c[1]; x q[0]; x q[0]; "
             "measure q[0] -> c[0];");
  const auto noisy = [&](const std::string& noise) {
    return result({at("flip.qasm"), "--expect", "Z0", "--noise", noise})["expectations"]["Z0"].get<double>();
  };
  EXPECT_NEAR(noisy("bit_flip=0.1"), 0.8 * 0.8, 1e-12);
  EXPECT_NEAR(noisy("phase_flip=0.3,phase_damping=0.2"), 1, 1e-12);
  EXPECT_NEAR(noisy("bit_phase_flip=0.1,depolarizing=0.2"), std::pow(0.8 * 0.8, 2), 1e-12);
  EXPECT_NEAR(noisy("depolarizing=0.1,0.5"), 0.9 * 0.9, 1e-12) << "no gate on two qubits";
  EXPECT_NEAR(noisy("amplitude_damping=0.25"), 1 - 2 * 0.25 * 0.75, 1e-12);
  const json read = result({at("flip.qasm"), "--shots", "20000", "--noise", "readout=0.25,0"})["counts"];
  EXPECT_NEAR(read["1"].get<double>() / 20000, 0.25, 0.02);
  std::string wide = "OPENQASM 2.0; include \"qelib1.inc\"; qreg q[15]; h q[0];";
  for (int q = 0; q < 14; ++q) wide += " cx q[" + std::to_string(q) + "], q[" + std::to_string(q + 1) + "];";
  write_file(at("wide.qasm"), wide);
  EXPECT_NEAR(
      result({at("wide.qasm"), "--probs", "--precision", "half"})["probabilities"]["000000000000000"].get<double>(),
      0.5, 1e-4);

  EXPECT_EQ(result({at("input.qasm"), "--inputs", "3.141592653589793", "--shots", "9"})["counts"],
            json::parse("{\"10\": 9}"));

  EXPECT_THAT(error_of({"simulate", at("bad.qasm"), "--state"}, 1), HasSubstr("bad.qasm:3:1: there is no gate 'hh'"));
  EXPECT_THAT(error_of({"draw", at("bad.qasm")}, 1), HasSubstr("bad.qasm:3:1"));
  EXPECT_THAT(error_of({"simulate", at("none.qasm"), "--state"}, 1), HasSubstr("none.qasm"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--expect", "Z3"}, 1), HasSubstr("expected 0..2"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--expect", "Q3"}, 1), HasSubstr("Q"));
  EXPECT_THAT(error_of({"simulate", at("input.qasm"), "--state"}, 1), HasSubstr("1 inputs, got 0"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm")}, 2), HasSubstr("--shots"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--state", "--probs"}, 2), HasSubstr("one of"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--shots", "0"}, 2), HasSubstr("--shots"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--state", "--backend", "gpu"}, 2), HasSubstr("statevector"));
  for (const std::string noise :
       {"dust=1", "bit_flip", "bit_flip=", "bit_flip=2", "bit_flip=0.1,0.2", "0.1", "readout=0.1,0.2,0.3",
        "depolarizing=0.1,", "bit_flip=0.1,,readout=0.1", "bit_flip=nan"})
    EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--probs", "--noise", noise}, 2),
                HasSubstr("depolarizing, bit_flip"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--state", "--noise", "bit_flip=0.1"}, 1), HasSubstr("noise"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--state", "--precision", "half"}, 1), HasSubstr("14 qubits"));
  EXPECT_THAT(error_of({"simulate", at("bell.qasm"), "--probs", "--precision", "half", "--backend", "mps"}, 1),
              HasSubstr("statevector"));
}

TEST_F(Cli, TrainsQuantizesAndEvaluates) {
  const Words small = {"--threads", "1", "--json"};
  const auto with = [&](Words words) {
    words.insert(words.end(), small.begin(), small.end());
    return words;
  };
  ProcessResult result = quanta(with({"train", "resnet20", "--data", "gratings", "--images", "96", "--width", "0.5",
                                      "--epochs", "1", "--batch", "32", "--out", at("net")}));
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(json::parse(result.output)["data"]["train"], 96);

  result = quanta(with({"quantize", at("net"), "--data", "gratings", "--bits", "4", "--images", "100", "--calibration",
                        "64", "--average-bits", "5", "--method", "ptq,zeroq", "--out", at("q")}));
  ASSERT_EQ(result.status, 0) << result.errors;
  const json report = json::parse(result.output);
  ASSERT_EQ(report["results"].size(), 2u);
  const json& ptq = report["results"][0];
  EXPECT_GE(ptq["integer_agreement"], 0.9) << result.output;
  EXPECT_LT(ptq["bytes"].get<double>(), 0.3 * report["float"]["bytes"].get<double>());
  EXPECT_FALSE(ptq.contains("note")) << ptq;
  std::set<int> widths;
  for (const json& layer : ptq["layers"]) widths.insert(layer["weight_bits"].get<int>());
  EXPECT_GT(widths.size(), 1u);
  for (const char* file : {"q/ptq/model.safetensors", "q/ptq/model.onnx", "q/ptq/integer.safetensors",
                           "q/zeroq/model.safetensors", "q/report.html"})
    EXPECT_TRUE(fs::exists(at(file))) << file;

  // What was stored is what was measured.
  result = quanta(with({"eval", at("q/ptq"), "--data", "gratings", "--integer"}));
  ASSERT_EQ(result.status, 0) << result.errors;
  const double integers = json::parse(result.output)["accuracy"];
  result = quanta(with({"eval", at("q/ptq"), "--data", "gratings"}));
  EXPECT_NEAR(json::parse(result.output)["accuracy"].get<double>(), integers, 0.02);
  EXPECT_EQ(json::parse(result.output)["quantized"], true);

  EXPECT_THAT(error_of({"quantize", at("q/ptq"), "--data", "gratings"}, 1), HasSubstr("is quantized already"));
  EXPECT_THAT(error_of({"eval", at("net"), "--data", "glyph_digits"}, 1), HasSubstr("takes images of 3 channels"));
  EXPECT_THAT(error_of({"eval", at("net"), "--data", "gratings", "--integer"}, 1), HasSubstr("is a float model"));
  EXPECT_THAT(error_of({"quantize", at("net"), "--data", "gratings", "--method", "adaruond"}, 2),
              HasSubstr("did you mean 'adaround'"));
  EXPECT_THAT(error_of({"quantize", at("net"), "--data", "gratings", "--bits", "9"}, 2), HasSubstr("--bits"));
  write_file(at("table.json"), "[1]");
  EXPECT_THAT(error_of({"quantize", at("net"), "--data", "gratings", "--table", at("table.json")}, 1),
              HasSubstr("is no table of bits"));
  write_file(at("table.json"), R"({"conv7": 4})");
  EXPECT_THAT(error_of({"quantize", at("net"), "--data", "gratings", "--table", at("table.json")}, 1),
              HasSubstr("conv7"));

  // Another program's checkpoint: all that does not fit, in one line.
  const std::string wrong = error_of({"eval", at("net/model.safetensors"), "--arch", "resnet20", "--classes", "10",
                                      "--input", "16", "--data", "gratings"},
                                     1);
  EXPECT_THAT(wrong,
              testing::AllOf(HasSubstr("conv1.weight"), HasSubstr("layer3.2.bn2.running_var"), HasSubstr("fc.weight")));
  const std::string whole = read_file(at("net/model.safetensors"));
  write_file(at("cut.safetensors"), whole.substr(0, whole.size() / 2));
  EXPECT_THAT(error_of({"eval", at("cut.safetensors"), "--data", "gratings"}, 1), HasSubstr("cut.safetensors"));
}

TEST_F(Cli, MeasuresThisMachine) {
  for (const std::string what : {"gradient", "layer"}) {
    const json figure =
        json::parse(quanta({"bench", what, "--qubits", "3", "--threads", "1", "--seconds", "0.01", "--json"}).output);
    EXPECT_GT(figure.at("microseconds_per_sample").get<double>(), 0);
    EXPECT_EQ(figure.at("qubits"), 3);
    EXPECT_EQ(figure.at("batch"), 64);
    EXPECT_EQ(figure.at("threads"), 1);
  }
  const json state = json::parse(quanta({"bench", "state", "--qubits", "16", "--seconds", "0.01", "--json"}).output);
  EXPECT_GT(state.at("seconds").get<double>(), 0);
  EXPECT_GT(state.at("bytes_per_second").get<double>(), 0);
}

TEST_F(Cli, TheDoctorNamesWhatHoldsTheProcessorBack) {
  const auto blas = [] {
    const json findings = json::parse(quanta({"doctor", "--json"}).output).at("findings");
    for (const json& finding : findings)
      if (finding.at("what") == "BLAS") return finding;
    return json();
  };
  ASSERT_TRUE(blas().is_object());
  setenv("OPENBLAS_CORETYPE", "Prescott", 1);
  const json held_back = blas();
  unsetenv("OPENBLAS_CORETYPE");
  EXPECT_EQ(held_back.at("state"), "warn") << held_back;
  EXPECT_THAT(held_back.at("advice").get<std::string>(), HasSubstr("OPENBLAS_CORETYPE"));
}

TEST_F(Cli, AFullDiskIsAnError) {
  const ProcessResult result = run_process("/bin/sh", {"-c", "exec \"$0\" list >/dev/full", kProgram.string()});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.errors, StartsWith("quanta: error: cannot write to standard output"));
}

}  // namespace
}  // namespace quanta
