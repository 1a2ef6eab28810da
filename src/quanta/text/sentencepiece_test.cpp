#include "quanta/text/sentencepiece.h"

#include <gmock/gmock.h>

#include <functional>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<int64_t>;
using Kind = SentencePieceModel::Kind;

SentencePieceModel model(Kind kind, const std::vector<std::pair<std::string, float>>& pieces, bool bytes = false) {
  SentencePieceModel m{
      .kind = kind, .byte_fallback = bytes, .add_dummy_prefix = false, .remove_extra_whitespaces = false};
  m.pieces = {{"<unk>", 0, PieceType::Unknown}, {"<s>", 0, PieceType::Control}, {"</s>", 0, PieceType::Control}};
  if (bytes)
    for (int b = 0; b < 256; ++b) m.pieces.push_back({fmt::format("<0x{:02X}>", b), 0, PieceType::Byte});
  for (const auto& [text, score] : pieces) m.pieces.push_back({text, score});
  return m;
}

TEST(SentencePiece, MergesTheGreatestScoreFirstTheLeftmostOfEquals) {
  const auto t =
      sentencepiece_tokenizer(model(Kind::Bpe, {{"a", -9}, {"b", -9}, {"ab", -2}, {"ba", -1}, {"aa", -3}}), "m");
  EXPECT_EQ(t->encode("aba"), (Ids{3, 6}));  // ba before ab
  EXPECT_EQ(t->encode("aaa"), (Ids{7, 3}));
  EXPECT_EQ(t->encode("axxa"), (Ids{3, 0, 3}));  // a run of unknown characters is one
  EXPECT_EQ(t->decode({3, 0}), "a \u2047 ");
}

TEST(SentencePiece, FallsBackToBytes) {
  const auto t = sentencepiece_tokenizer(model(Kind::Bpe, {{"a", -9}, {"\u2581", -9}}, true), "m");
  const Ids ids = t->encode("a \u00e9");
  EXPECT_EQ(ids, (Ids{259, 260, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(t->decode(ids), "a \u00e9");
}

TEST(SentencePiece, WritesAndReadsAModel) {
  SentencePieceModel m = model(Kind::Bpe, {{"a", -9}, {"\u2581", -9}, {"\u2581a", -1.5}}, true);
  m.add_dummy_prefix = true;
  const std::string bytes = serialize_sentencepiece(m);
  EXPECT_EQ(parse_sentencepiece(bytes, "m"), m);
  testing::TemporaryFolder folder;
  write_file(folder / "tokenizer.model", bytes);
  const auto t = load_tokenizer(folder.path());
  EXPECT_EQ(t->encode("a a"), (Ids{261, 261}));
  EXPECT_EQ(t->encode("a a<s>a", true), (Ids{1, 261, 261, 1, 261}));
  EXPECT_EQ(t->decode({1, 261, 261}), "a a");
  const auto again = tokenizer_from(t->vocabulary());
  EXPECT_EQ(again->encode("a \u4e2d", true), t->encode("a \u4e2d", true));
  EXPECT_EQ(again->vocabulary(), t->vocabulary());
}

// Scores are multiples of 1/4, so sums are exact whatever their order.
TEST(SentencePiece, UnigramTakesTheBestOfAllSegmentations) {
  Random random(5);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::pair<std::string, float>> pieces = {{"a", -8}, {"b", -8.25f}};
    for (const char* text : {"ab", "ba", "aa", "bb", "aba", "bab", "abab", "bbb", "aab"})
      if (random.below(2)) pieces.emplace_back(text, -float(random.below(80)) / 4);
    const SentencePieceModel m = model(Kind::Unigram, pieces);
    const auto t = sentencepiece_tokenizer(m, "m");
    std::string text;
    for (uint64_t n = 1 + random.below(8); n > 0; --n) text += char('a' + random.below(3));  // c is unknown
    float least = 0;
    for (const auto& [piece, score] : pieces) least = std::min(least, score);
    const std::function<float(size_t)> best = [&](size_t at) -> float {
      if (at == text.size()) return 0;
      float value = text[at] == 'c' ? least - 10 + best(at + 1) : -std::numeric_limits<float>::infinity();
      for (const auto& [piece, score] : pieces)
        if (text.compare(at, piece.size(), piece) == 0) value = std::max(value, score + best(at + piece.size()));
      return value;
    };
    float ours = 0;
    for (const int64_t id : t->encode(text))
      if (id) ours += m.pieces[size_t(id)].score;
    // Runs of unknown characters are one id; each costs its own.
    for (const char c : text) ours += c == 'c' ? least - 10 : 0;
    EXPECT_EQ(ours, best(0)) << text;
  }
}

// What sentencepiece 0.2.3 gives for this model: the user-defined piece costs nothing, whatever its score.
TEST(SentencePiece, UnigramTakesUserDefinedPiecesForNothing) {
  SentencePieceModel m = model(Kind::Unigram, {{"a", -8}, {"b", -8}, {"ab", -1}, {"ba", -1}});
  m.pieces.push_back({"bab", -100, PieceType::UserDefined});
  m.add_dummy_prefix = false;
  const auto t = sentencepiece_tokenizer(m, "m");
  EXPECT_EQ(t->encode("babbab"), (std::vector<int64_t>{7, 7}));
  EXPECT_EQ(t->encode("aabab"), (std::vector<int64_t>{3, 5, 5}));
}

TEST(SentencePiece, RefusesDamagedFiles) {
  const std::string good = serialize_sentencepiece(model(Kind::Bpe, {{"a", -9}}));
  for (size_t length = 0; length < good.size(); ++length) {
    try {
      sentencepiece_tokenizer(parse_sentencepiece(good.substr(0, length), "m"), "m");
    } catch (const Error&) {
    }
  }
  const auto error_of = [](const std::string& bytes) -> std::string {
    try {
      sentencepiece_tokenizer(parse_sentencepiece(bytes, "m"), "m");
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_THAT(error_of("\x0a\xff\xff\xff\xff\xff\xff\xff\x7f"), HasSubstr("where 0 are left"));
  EXPECT_THAT(error_of("\x0a\x05\x0a\x03\xff\xfe\xfd"), HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of("PK\x03\x04 no model"), HasSubstr("no SentencePiece model"));
  SentencePieceModel m = model(Kind::Bpe, {{"a", -9}, {"a", -8}});
  EXPECT_THAT(error_of(serialize_sentencepiece(m)), HasSubstr("comes twice"));
  m = model(Kind::Bpe, {{"a", -9}});
  m.byte_fallback = true;
  EXPECT_THAT(error_of(serialize_sentencepiece(m)), HasSubstr("256 byte pieces"));
  m = model(Kind::Bpe, {{"a", -9}});
  m.charsmap = std::string("\xff\xff\xff\x0f", 4) + "abcdefgh";
  EXPECT_THAT(error_of(serialize_sentencepiece(m)), HasSubstr("map of characters"));
}

}  // namespace
}  // namespace quanta
