#include "quanta/text/plain_tokenizers.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/text/byte_bpe.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<int64_t>;

TEST(Characters, AreSorted) {
  const auto t = character_tokenizer("hello \u00e9\n");
  EXPECT_EQ(t->size(), 7);
  EXPECT_EQ(t->encode("\n eh\u00e9"), (Ids{0, 1, 2, 3, 6}));
  EXPECT_EQ(t->decode({3, 2, 4, 4, 5}), "hello");
  EXPECT_FALSE(t->bos().has_value());
  try {
    t->encode("hi");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"i\" (U+0069) at byte 1"));
  }
  EXPECT_THROW(t->decode({7}), Error);
  EXPECT_THROW(character_tokenizer(""), Error);
}

TEST(PlainTokenizers, AreSavedAndGoThroughGguf) {
  const std::string text = "to be or\nnot \u4e2d";
  for (const auto& t : {character_tokenizer(text), byte_tokenizer()}) {
    testing::TemporaryFolder folder;
    t->save(folder.path());
    EXPECT_EQ(load_tokenizer(folder.path())->encode(text), t->encode(text));
    const auto again = tokenizer_from(t->vocabulary());
    EXPECT_EQ(again->encode(text), t->encode(text));
    EXPECT_EQ(again->decode(t->encode(text)), text);
  }
}

TEST(Bytes, AreTheirOwnIds) {
  EXPECT_EQ(byte_tokenizer()->encode("a\xff"), (Ids{97, 255}));
  EXPECT_EQ(byte_tokenizer()->size(), 256);
}

TEST(PlainTokenizers, RefuseDamagedFiles) {
  for (const char* text :
       {R"({"type": "words"})", R"({"type": "characters", "tokens": ["ab"]})", R"({"tokens": []})",
        R"({"type": "characters", "tokens": ["a", "a"]})", R"({"type": "characters", "tokens": []})"})
    EXPECT_THROW(parse_plain_tokenizer(parse_json(text, "v"), "v"), Error) << text;
}

}  // namespace
}  // namespace quanta
