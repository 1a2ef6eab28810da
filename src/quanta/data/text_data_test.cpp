#include "quanta/data/text_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/data/archive.h"
#include "quanta/data/markov_text.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

template <class Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Mk64, SequencesFollowTheirSeedAlone) {
  const Mk64 data = mk64(1);
  EXPECT_EQ(data.train.sizes(), (std::vector<int64_t>{2048, 64}));
  EXPECT_EQ(data.calibration.size(0), 64);
  EXPECT_TRUE(data.test.equal(mk64(2).test));
  EXPECT_FALSE(data.train.equal(mk64(2).train));
  EXPECT_TRUE(mk64_sequences(10, 101).equal(data.train.narrow(0, 0, 10)));
  EXPECT_GE(data.train.min().item<int64_t>(), 0);
  EXPECT_LT(data.train.max().item<int64_t>(), kMk64Symbols);
}

TEST(Mk64, FollowsItsLaw) {
  // Of the first symbols 1 / (k + 1) / H_64 are k: within four standard errors.
  const int64_t n = 20000;
  const torch::Tensor x = mk64_sequences(n, 3, 16);
  const torch::Tensor first = x.select(1, 0).bincount({}, kMk64Symbols).to(torch::kFloat64) / double(n);
  double harmonic = 0;
  for (int k = 1; k <= 64; ++k) harmonic += 1.0 / k;
  for (const int k : {0, 1, 7, 63}) {
    const double p = 1 / (harmonic * (k + 1));
    EXPECT_NEAR(first[k].item<double>(), p, 4 * std::sqrt(p * (1 - p) / double(n))) << k;
  }
  // Each symbol has four first successors, one a topic, which share 0.55 of the mass: the four (at most) most frequent
  // successors of symbol 0 hold at least that, and no more than with second successors and chance.
  std::map<int64_t, double> successors;
  double pairs = 0;
  const auto a = x.accessor<int64_t, 2>();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t t = 9; t < 16; ++t)
      if (a[i][t - 1] == 0) ++pairs, ++successors[a[i][t]];
  std::vector<double> shares;
  for (const auto& [symbol, count] : successors) shares.push_back(count / pairs);
  std::sort(shares.rbegin(), shares.rend());
  const double four = shares[0] + shares[1] + shares[2] + shares[3];
  EXPECT_GT(four, 0.55);
  EXPECT_LT(four, 0.8);
  EXPECT_LT(shares[0], 0.55);
}

TEST(MarkovText, HasOnlyTheProsesTriples) {
  const std::string text = markov_text(100'000, 1);
  EXPECT_EQ(text.size(), 100'000u);
  EXPECT_EQ(text, markov_text(200'000, 1).substr(0, 100'000));
  EXPECT_NE(text, markov_text(100'000, 2));
  std::set<std::string> triples;
  for (size_t i = 0; i + 3 <= text.size(); ++i) triples.insert(text.substr(i, 3));
  EXPECT_LT(triples.size(), 2600u) << "a page of 4 kB has fewer";
  EXPECT_GT(triples.size(), 1000u);
  EXPECT_TRUE(triples.contains("the"));
}

TEST(TextData, SplitsNineTenths) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 101; ++i) text += "0123456789"[i % 10];
  write_file(folder / "a.txt", text);
  const TextSplits splits = load_text((folder / "a.txt").string());
  EXPECT_EQ(splits.train, text.substr(0, 90));
  EXPECT_EQ(splits.test, text.substr(90));
  EXPECT_EQ(splits.name, "a.txt");
  // 1,115,394 bytes give 1,003,854 and 111,540, as the figures on tiny Shakespeare assume.
  write_file(folder / "b.txt", std::string(1'115'394, 'x'));
  EXPECT_EQ(load_text((folder / "b.txt").string()).train.size(), 1'003'854u);
  write_file(folder / "c.txt", "aaaaaaaa\u00e9");  // the cut would fall into the last character
  EXPECT_EQ(load_text((folder / "c.txt").string()).test, "\u00e9");
}

TEST(TextData, ReadsDocuments) {
  const TemporaryFolder folder;
  const std::string rows = "{\"text\": \"one\\ntwo\", \"id\": 1}\n\n{\"text\": \"three\"}";
  write_file(folder / "a.jsonl", rows);
  write_file(folder / "b.jsonl.gz", gzip(rows));
  for (const char* name : {"a.jsonl", "b.jsonl.gz"}) {
    EXPECT_EQ(read_documents(folder / name), (std::vector<std::string>{"one\ntwo", "three"}));
    EXPECT_EQ(read_text(folder / name), "one\ntwo\n\nthree");
  }
  write_file(folder / "c.jsonl", "{\"text\": \"one\"}\n{\"txt\": 2}\n");
  EXPECT_THAT(message_of([&] { read_documents(folder / "c.jsonl"); }), HasSubstr("line 2"));
  write_file(folder / "d.txt", "");
  EXPECT_THAT(message_of([&] { read_documents(folder / "d.txt"); }), HasSubstr("empty"));
  write_file(folder / "e.txt", std::string("a\0b", 3));
  EXPECT_THAT(message_of([&] { read_documents(folder / "e.txt"); }), HasSubstr("no text"));
  EXPECT_THAT(message_of([&] { load_text((folder / "none.txt").string()); }), HasSubstr("no such file"));
  EXPECT_THAT(message_of([&] { load_text(folder.path().string()); }), HasSubstr("not a file"));
}

TEST(TextData, StandsInForTinyShakespeare) {
  const TemporaryFolder folder;
  std::string said;
  const auto log = [&](const std::string& line) { said += line; };
  std::filesystem::create_directory(folder / "text");
  write_file(folder / "text/tiny-shakespeare.txt", "First Citizen:\nBefore");
  EXPECT_EQ(load_text("tiny-shakespeare", folder.path(), log).train, "First Citizen:\nBef");
  EXPECT_EQ(said, "");
}

TEST(TextData, HashIsFnv1a) {
  EXPECT_EQ(text_hash(""), "cbf29ce484222325");
  EXPECT_EQ(text_hash("foobar"), "85944171f73967e8");  // the algorithm's published test vector
}

TEST(TextData, FindsOverlap) {
  const std::string a = markov_text(20'000, 1), b = markov_text(20'000, 2);
  require_disjoint(a, b);
  require_disjoint("", b);
  for (const size_t at : {size_t(0), size_t(333), size_t(9999), size_t(20'000 - 512)}) {
    const std::string part = b.substr(at, 512);
    EXPECT_THAT(message_of([&] { require_disjoint(a + part, b); }), HasSubstr("overlaps")) << at;
    EXPECT_THAT(message_of([&] { require_disjoint(b, part + a); }), HasSubstr("overlaps")) << at;
  }
  EXPECT_THAT(message_of([&] { require_disjoint(b.substr(77, 30), b); }), HasSubstr("overlaps"));
  require_disjoint("not in there", b);
}

TEST(Calibration, WindowsAndBlocksAreOfTheText) {
  const torch::Tensor stream = torch::arange(1000);
  const CalibrationSet windows = random_windows(stream, 50, 20, 3, "numbers");
  EXPECT_EQ(windows.tokens.sizes(), (std::vector<int64_t>{50, 20}));
  EXPECT_TRUE((windows.tokens.slice(1, 1) - windows.tokens.slice(1, 0, -1)).eq(1).all().item<bool>());
  EXPECT_TRUE(windows.tokens.equal(random_windows(stream, 50, 20, 3, "numbers").tokens));
  EXPECT_FALSE(windows.tokens.equal(random_windows(stream, 50, 20, 4, "numbers").tokens));
  EXPECT_EQ(random_windows(stream, 1, 1000, 0, "").tokens.numel(), 1000);

  const CalibrationSet blocks = document_blocks({{1, 1, 1}, {2, 2}, {3, 3, 3, 3}}, 2, 4, 1, "documents");
  EXPECT_EQ(blocks.tokens.sizes(), (std::vector<int64_t>{2, 4}));
  const auto [counts, unused, number] = torch::unique_consecutive(blocks.tokens.flatten());
  EXPECT_EQ(counts.numel(), 3) << "whole documents one after the other (the last one is cut)";

  EXPECT_THAT(message_of([&] { random_windows(stream, 1, 1001, 0, "numbers"); }),
              HasSubstr("fewer than a sequence of 1001"));
  EXPECT_THAT(message_of([&] { document_blocks({{1, 2}}, 1, 4, 0, "documents"); }), HasSubstr("2 tokens"));
  EXPECT_THAT(message_of([&] {
                document_blocks({{1, 2, 3, 4}}, 2, 4, 0, "documents");
              }),
              HasSubstr("2 sequences of 4"));
}

}  // namespace
}  // namespace quanta
