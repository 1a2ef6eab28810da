#include "quanta/text/byte_bpe.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/text/bpe_trainer.h"
#include "quanta/text/split_pattern.h"
#include "quanta/text/unicode.h"

namespace quanta {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int64_t>;

std::vector<std::string> words(SplitPattern pattern, std::string_view text) {
  std::vector<std::string> result;
  for (size_t at = 0; at < text.size();) {
    const size_t end = word_end(pattern, text, at);
    result.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return result;
}

// The 256 bytes, then the tokens given.
json document(const std::vector<std::string>& tokens, const std::vector<std::string>& merges) {
  json vocab = json::object();
  for (int b = 0; b < 256; ++b) vocab[bytes_to_printable(std::string(1, char(b)))] = b;
  for (size_t k = 0; k < tokens.size(); ++k) vocab[tokens[k]] = 256 + k;
  std::string lines = "#version: 0.2\n";
  for (const auto& merge : merges) lines += merge + "\n";
  return tokenizer_json(vocab, lines, "test");
}

std::string error_of(const json& document) {
  try {
    parse_tokenizer_json(document, "t.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(Gpt2Words, FollowItsPattern) {
  EXPECT_THAT(words(SplitPattern::Gpt2, "I'm HE'LL  go12 now!?\n\n x"),
              ElementsAre("I", "'m", " HE", "'", "LL", " ", " go", "12", " now", "!?", "\n\n", " x"));
  EXPECT_THAT(words(SplitPattern::Gpt2, "a  "), ElementsAre("a", "  "));
}

TEST(Llama3Words, FollowItsPattern) {
  EXPECT_THAT(words(SplitPattern::Llama3, "HE'LL (go) 12345\r\n\n  x ;\n"),
              ElementsAre("HE", "'LL", " (", "go", ")", " ", "123", "45", "\r\n\n", " ", " x", " ;\n"));
  EXPECT_THAT(words(SplitPattern::Qwen2, "12 3"), ElementsAre("1", "2", " ", "3"));
}

TEST(Normalization, ComposesAndTakesApart) {
  EXPECT_EQ(nfc("e\u0301 a\u0327\u0301"), "\u00e9 \u00e1\u0327");
  EXPECT_EQ(nfd("\u00e9 \ud55c"), "e\u0301 \u1112\u1161\u11ab");
  EXPECT_EQ(nfc("\u1112\u1161\u11ab \u212b"), "\ud55c \u00c5");
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(nfc("\xff e\u0301"), "\xff \u00e9");
}

// The table of GPT-2: the space is U+0120, the newline U+010A, and 173 is the last of the others.
TEST(PrintableBytes, AreGpt2s) {
  EXPECT_EQ(bytes_to_printable(" a\n\xad"), "\u0120a\u010a\u0143");
  std::string all;
  for (int b = 0; b < 256; ++b) all += char(b);
  EXPECT_EQ(printable_to_bytes(bytes_to_printable(all)), all);
  EXPECT_FALSE(printable_to_bytes("\u4e2d").has_value());
}

TEST(ByteBpe, MergesHello) {
  const auto t = parse_tokenizer_json(document({"he", "ll", "hell", "hello"}, {"h e", "l l", "he ll", "hell o"}), "t");
  EXPECT_EQ(t->encode("hello"), Ids{259});
  EXPECT_EQ(t->encode("hell"), Ids{258});
  EXPECT_EQ(t->encode("helo"), (Ids{256, 'l', 'o'}));
  EXPECT_EQ(t->encode(""), Ids{});
}

TEST(ByteBpe, EqualPairsMergeFromTheLeft) {
  const auto t = parse_tokenizer_json(document({"aa"}, {"a a"}), "t");
  EXPECT_EQ(t->encode("aaa"), (Ids{256, 'a'}));
  EXPECT_EQ(t->encode("aaaa"), (Ids{256, 256}));
}

TEST(ByteBpe, AddedTokensComeFirstTheLongestOfThem) {
  json d = document({"<x>", "<x>y", "ab"}, {"a b"});
  d["added_tokens"] = {{{"id", 256}, {"content", "<x>"}, {"special", true}, {"lstrip", true}},
                       {{"id", 257}, {"content", "<x>y"}, {"special", false}, {"normalized", false}}};
  const auto t = parse_tokenizer_json(d, "t");
  EXPECT_EQ(t->encode("ab  <x>ab<x>y"), (Ids{258, 256, 258, 257}));
  EXPECT_EQ(t->decode({258, 256, 257}), "ab<x>y");
  EXPECT_EQ(t->decode({258, 256, 257}, true), "ab<x><x>y");
}

TEST(ByteBpe, GivesBackRandomBytes) {
  const auto t = parse_tokenizer_json(
      train_bpe("the cat \u00e9t\u00e9 the hat \U0001f600\U0001f600 that\r\n\tthe", {.vocabulary = 280}), "t");
  Random random(3);
  const std::vector<std::string> parts = {"the", " ",  "\t",     "\r\n", "\u00e9", "\U0001f600\u200d",
                                          "'s",  "12", "\u4e2d", "\xff", "\xe4"};
  for (int k = 0; k < 300; ++k) {
    std::string text;
    for (uint64_t n = random.below(20); n > 0; --n)
      text += random.below(3) ? parts[random.below(parts.size())] : std::string(1, char(random.below(256)));
    EXPECT_EQ(t->decode(t->encode(text)), text);
  }
}

TEST(ByteBpe, SavesWhatItWas) {
  json d = document({"he", "<|end|>"}, {"h e"});
  d["added_tokens"] = {{{"id", 257}, {"content", "<|end|>"}, {"special", true}}};
  const auto t = parse_tokenizer_json(d, "t", {.bos = "<|end|>", .eos = "<|end|>", .add_bos = true});
  EXPECT_EQ(t->encode("he", true), (Ids{257, 256}));
  testing::TemporaryFolder folder;
  t->save(folder.path());
  const auto back = load_tokenizer(folder.path());
  EXPECT_EQ(back->encode("he", true), (Ids{257, 256}));
  EXPECT_EQ(back->eos(), 257);
  EXPECT_EQ(back->vocabulary(), t->vocabulary());
  const auto again = tokenizer_from(t->vocabulary());
  EXPECT_EQ(again->encode("he<|end|>", true), (Ids{257, 256, 257}));
  EXPECT_EQ(again->vocabulary(), t->vocabulary());
}

TEST(ByteBpe, RefusesDamagedFiles) {
  const json good = document({"he"}, {"h e"});
  json d = good;
  d["model"]["vocab"]["he"] = 1000000000;
  EXPECT_THAT(error_of(d), HasSubstr("leaves gaps"));
  d = good;
  d["model"]["vocab"]["he"] = 7;
  EXPECT_THAT(error_of(d), HasSubstr("have the same id 7"));
  d = good;
  d["model"]["vocab"]["he"] = -1;
  EXPECT_THAT(error_of(d), HasSubstr("id -1"));
  d = good;
  d["model"]["merges"] = {"h zz"};
  EXPECT_THAT(error_of(d), HasSubstr("merge 0 names \"zz\""));
  d["model"]["merges"] = {{"h", "e", "l"}};
  EXPECT_THAT(error_of(d), HasSubstr("not a pair"));
  d = good;
  d["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "Split"}, {"pattern", {{"Regex", "[aeiou]+"}}}, {"behavior", "Isolated"}}}}};
  EXPECT_THAT(error_of(d), HasSubstr("[aeiou]+"));
  d = good;
  d["normalizer"] = {{"type", "NFKC"}};
  EXPECT_THAT(error_of(d), HasSubstr("NFKC"));
  d = good;
  d["model"]["type"] = "WordPiece";
  EXPECT_THAT(error_of(d), HasSubstr("the model is WordPiece"));
  d["model"] = 3;
  EXPECT_THAT(error_of(d), HasSubstr("t.json"));
  EXPECT_THROW(parse_json(std::string(100000, '['), "deep"), Error);
  EXPECT_THROW(parse_json("{\"a\": \"\xff\"}", "bytes"), Error);
}

TEST(ByteBpe, NormalizedAddedTokensDecodeToWhatWasFound) {
  json d = document({"\u0439"}, {});
  d["normalizer"] = {{"type", "NFD"}};
  d["added_tokens"] = {{{"id", 256}, {"content", "\u0439"}, {"special", false}, {"normalized", true}}};
  const auto t = parse_tokenizer_json(d, "t");
  EXPECT_EQ(t->encode("\u0439\u0438\u0306"), (Ids{256, 256}));
  EXPECT_EQ(t->decode({256}), "\u0438\u0306");
  EXPECT_THROW(t->vocabulary(), Error);  // GGUF would leave NFD out
}

TEST(LoadTokenizer, ReadsTheOlderFiles) {
  testing::TemporaryFolder folder;
  json vocab = document({"he", "</s>"}, {}).at("model").at("vocab");
  write_file(folder / "vocab.json", vocab.dump());
  write_file(folder / "merges.txt", "#version: 0.2\nh e\n");
  write_file(folder / "tokenizer_config.json",
             R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "bos_token": {"content": "</s>"},
                 "eos_token": "</s>", "unk_token": "</s>"})");
  const auto t = load_tokenizer(folder.path());
  EXPECT_EQ(t->encode("he</s>", true), (Ids{257, 256, 257}));
  EXPECT_EQ(t->bos(), 257);
}

TEST(LoadTokenizer, SaysWhatItLookedFor) {
  testing::TemporaryFolder folder;
  try {
    load_tokenizer(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("expected tokenizer.json, tokenizer.model or vocab.json"));
  }
}

TEST(StreamDecoder, HoldsBackIncompleteCharacters) {
  const auto t = parse_tokenizer_json(document({}, {}), "t");
  StreamDecoder stream(*t);
  EXPECT_EQ(stream.push(0xE4), "");
  EXPECT_EQ(stream.push(0xB8), "");
  EXPECT_EQ(stream.push(0xAD), "\u4e2d");
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.finish(), "\xF0");
}

}  // namespace
}  // namespace quanta
