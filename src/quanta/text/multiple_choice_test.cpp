#include "quanta/text/multiple_choice.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

MultipleChoiceItem one(const std::string& line) {
  return parse_multiple_choice(line, "t.jsonl").at(0);
}

TEST(MultipleChoice, ReadsPiqa) {
  const auto item = one(R"({"goal": "Boil water", "sol1": "Heat it.", "sol2": "Cool it.", "label": 0})");
  EXPECT_THAT(item.contexts, ElementsAre("Question: Boil water\nAnswer:"));
  EXPECT_THAT(item.choices, ElementsAre(" Heat it.", " Cool it."));
  EXPECT_THAT(item.lengths, ElementsAre(8, 8));
}

TEST(MultipleChoice, ReadsBothLayoutsOfArc) {
  const auto item =
      one(R"({"question": "Why?", "choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]}, "answerKey": "B"})");
  EXPECT_EQ(item.label, 1);
  EXPECT_EQ(item.context(2), "Question: Why?\nAnswer:");
  const auto original = one(
      R"({"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}, "answerKey": "2"})");
  EXPECT_EQ(original.label, 1);
  EXPECT_THAT(original.choices, ElementsAre(" a", " b"));
}

TEST(MultipleChoice, CleansHellaSwag) {
  const auto item =
      one(R"({"activity_label": "Baking", "ctx_a": "[header] How to bake [title] Mix.", "ctx_b": "then she", )"
          R"("endings": ["rests. [step] Go", "runs"], "label": "1"})");
  EXPECT_THAT(item.contexts, ElementsAre("Baking: How to bake. Mix. Then she"));
  EXPECT_THAT(item.choices, ElementsAre(" rests. Go", " runs"));
  EXPECT_EQ(item.label, 1);
}

TEST(MultipleChoice, ScoresWhatFollowsWinoGrandesBlank) {
  const auto item =
      one(R"({"sentence": "The cup broke as _ fell.", "option1": "it", "option2": "she", "answer": "2"})");
  EXPECT_THAT(item.contexts, ElementsAre("The cup broke as it", "The cup broke as she"));
  EXPECT_THAT(item.choices, ElementsAre(" fell.", " fell."));
  EXPECT_EQ(item.label, 1);
  EXPECT_EQ(item.context(1), "The cup broke as she");
}

TEST(MultipleChoice, ReadsBoolQ) {
  const auto item = one(R"({"passage": "Ice melts.", "question": "does ice melt", "answer": true})");
  EXPECT_THAT(item.contexts, ElementsAre("Ice melts.\nQuestion: does ice melt?\nAnswer:"));
  EXPECT_THAT(item.choices, ElementsAre(" no", " yes"));
  EXPECT_EQ(item.label, 1);
}

TEST(MultipleChoice, TakesPlainItemsAsTheyAre) {
  const auto items = parse_multiple_choice(
      "{\"context\": \"ab\", \"choices\": [\"c\u00e9\", \" d\"], \"label\": 1}\r\n\n{\"context\": \"\", \"choices\": "
      "[\"x\", \"y\"], \"label\": 0}",
      "t");
  ASSERT_EQ(items.size(), 2u);
  EXPECT_THAT(items[0].choices, ElementsAre("c\u00e9", " d"));
  EXPECT_THAT(items[0].lengths, ElementsAre(2, 2));
}

TEST(MultipleChoice, SaysWhichLineIsWrong) {
  const std::string good = R"({"context": "a", "choices": ["b", "c"], "label": 0})"
                           "\n";
  for (const auto& [line, what] : std::vector<std::pair<std::string, std::string>>{
           {"{", "t:2"},
           {"[1]", "expected a JSON object"},
           {R"({"x": 1})", "the fields are none of"},
           {R"({"context": "a", "choices": ["b", "c"], "label": 2})", "the right choice is 2 of 2"},
           {R"({"context": "a", "choices": ["b"], "label": 0})", "1 choices"},
           {R"({"goal": "a", "sol1": "b", "sol2": "c"})", "\"label\" is missing"},
           {R"({"goal": "a", "sol1": "b", "label": 0})", "\"sol2\" is missing"},
           {R"({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"})", "no blank"},
           {R"({"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "D"})",
            "no choice's"}}) {
    try {
      parse_multiple_choice(good + line, "t");
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(what));
      EXPECT_THAT(error.what(), HasSubstr("t:2"));
    }
  }
  EXPECT_THROW(parse_multiple_choice("\n\n", "t"), Error);
}

}  // namespace
}  // namespace quanta
