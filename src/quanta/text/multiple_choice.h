#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// A question whose answer a language model chooses by the likelihood of each choice after its context.
struct MultipleChoiceItem {
  std::vector<std::string> contexts{};  ///< one for all choices, or one a choice (WinoGrande)
  std::vector<std::string> choices{};   ///< what is scored, with the space it begins with
  std::vector<int64_t> lengths{};       ///< characters of each choice without that space, for acc_norm
  int64_t label = 0;                    ///< the right one
  const std::string& context(size_t choice) const { return contexts[contexts.size() == 1 ? 0 : choice]; }
};

/// A task in JSON lines. Each line is an item of one of these kinds, told by its fields; prompts as in EleutherAI's
/// lm-evaluation-harness:
///   PIQA        goal, sol1, sol2, label                     "Question: {goal}\nAnswer:"
///   ARC         question, choices {text, label}, answerKey  "Question: {question}\nAnswer:"; also the layout of the
///               original files: question {stem, choices [{text, label}]}
///   HellaSwag   activity_label, ctx_a, ctx_b, endings, label
///   WinoGrande  sentence, option1, option2, answer          each option put in the blank; what follows it is scored
///   BoolQ       passage, question, label or answer          "{passage}\nQuestion: {question}?\nAnswer:", no or yes
///   plain       context, choices, label                     scored as they are: nothing is put between
/// Error naming `name`, the line and what is missing or wrong; an empty file is one.
std::vector<MultipleChoiceItem> parse_multiple_choice(std::string_view lines, std::string_view name);
std::vector<MultipleChoiceItem> load_multiple_choice(const std::filesystem::path& path);

}  // namespace quanta
