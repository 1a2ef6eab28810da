#include "quanta/learn/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace quanta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Text, PorterStemsAsPublished) {
  // Examples of the paper's steps, after all steps.
  const std::vector<std::pair<const char*, const char*>> pairs = {
      {"caresses", "caress"},       {"ponies", "poni"},       {"cats", "cat"},           {"feed", "feed"},
      {"agreed", "agre"},           {"plastered", "plaster"}, {"motoring", "motor"},     {"sing", "sing"},
      {"conflated", "conflat"},     {"hopping", "hop"},       {"falling", "fall"},       {"filing", "file"},
      {"happy", "happi"},           {"sky", "sky"},           {"relational", "relat"},   {"conditional", "condit"},
      {"triplicate", "triplic"},    {"hopefulness", "hope"},  {"goodness", "good"},      {"adjustment", "adjust"},
      {"adoption", "adopt"},        {"controll", "control"},  {"rate", "rate"},          {"roll", "roll"},
      {"generalizations", "gener"}, {"oscillators", "oscil"}, {"electricity", "electr"}, {"is", "is"}};
  for (const auto& [word, stem] : pairs) EXPECT_EQ(porter_stem(word), stem) << word;
}

TEST(Text, WordsKeepNegations) {
  EXPECT_THAT(words("Didn't like it: 2 stars, WON'T return; it's o'clock"),
              ElementsAre("did", "not", "like", "it", "stars", "wo", "not", "return", "it", "s", "o", "clock"));
}

TEST(Text, TfidfByHand) {
  TfidfVectorizer vectorizer({.stem = false});
  vectorizer.fit({"the good food", "food not good food", "bad"});
  EXPECT_THAT(vectorizer.terms(), ElementsAre("bad", "food", "good", "not"));
  const Samples x = vectorizer.transform({"food food good the", "unknown words"});
  const double idf = std::log(4.0 / 3) + 1;  // food and good are both in two of three texts
  const double length = std::sqrt(5.0) * idf;
  EXPECT_NEAR(x(0, 1), 2 * idf / length, 1e-12);
  EXPECT_NEAR(x(0, 2), idf / length, 1e-12);
  EXPECT_EQ(x(0, 0), 0);
  for (int j = 0; j < 4; ++j) EXPECT_EQ(x(1, j), 0);

  TfidfVectorizer two({.max_terms = 2, .stem = false});
  two.fit({"the good food", "food not good food", "bad"});
  EXPECT_THAT(two.terms(), ElementsAre("food", "good"));
  EXPECT_THAT([] { TfidfVectorizer().fit({"the", "it is"}); }, ThrowsMessage<Error>(HasSubstr("no term is left")));
}

}  // namespace
}  // namespace quanta
