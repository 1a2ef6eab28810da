#include "quanta/text/multiple_choice.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/text/byte_bpe.h"
#include "quanta/text/utf8.h"

namespace quanta {
namespace {

using nlohmann::json;

std::string text_of(const json& row, const char* key) {
  const auto found = row.find(key);
  require(found != row.end(), "the field \"{}\" is missing", key);
  require(found->is_string(), "the field \"{}\" is not a text", key);
  return found->get<std::string>();
}

std::vector<std::string> texts_of(const json& row, const char* key) {
  const auto found = row.find(key);
  require(found != row.end(), "the field \"{}\" is missing", key);
  require(found->is_array(), "the field \"{}\" is not a list of texts", key);
  std::vector<std::string> texts;
  for (const json& text : *found) {
    require(text.is_string(), "the field \"{}\" is not a list of texts", key);
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

// A number, a number as a text, or true and false.
int64_t label_of(const json& row, const char* key) {
  const auto found = row.find(key);
  require(found != row.end() && !found->is_null(), "the field \"{}\" is missing: the right choice is not said", key);
  if (found->is_boolean()) return found->get<bool>();
  if (found->is_number_integer()) return found->get<int64_t>();
  const auto text = found->is_string() ? found->get<std::string>() : "";
  require(text.size() == 1 && text[0] >= '0' && text[0] <= '9', "the field \"{}\" is not the number of a choice", key);
  return text[0] - '0';
}

// Of contexts and choices that follow after a space.
MultipleChoiceItem item_of(std::vector<std::string> contexts, const std::vector<std::string>& choices, int64_t label) {
  MultipleChoiceItem item{.contexts = std::move(contexts), .label = label};
  for (const std::string& choice : choices) {
    item.choices.push_back(" " + choice);
    item.lengths.push_back(count_characters(choice));
  }
  return item;
}

std::string_view stripped(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n\f\v");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n\f\v") - begin + 1);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

// HellaSwag's texts hold marks of the wikiHow pages they come from.
std::string cleaned(std::string_view raw) {
  std::string text(stripped(raw));
  replace_all(text, " [title]", ". ");
  for (size_t open = 0; (open = text.find('[', open)) != std::string::npos;) {
    const size_t close = text.find_first_of("]\n", open);
    if (close != std::string::npos && text[close] == ']')
      text.erase(open, close - open + 1);
    else
      ++open;
  }
  replace_all(text, "  ", " ");
  return text;
}

std::string capitalized(std::string text) {
  for (size_t k = 0; k < text.size(); ++k) {
    char& c = text[k];
    if (k == 0 && c >= 'a' && c <= 'z') c = char(c - 32);
    if (k > 0 && c >= 'A' && c <= 'Z') c = char(c + 32);
  }
  return text;
}

MultipleChoiceItem parse_arc(const json& row) {
  std::string question;
  std::vector<std::string> texts, labels;
  if (row.at("question").is_object()) {
    question = text_of(row.at("question"), "stem");
    const json& choices = row.at("question").value("choices", json());
    require(choices.is_array(), "the field \"question\" has no \"choices\"");
    for (const json& choice : choices) {
      texts.push_back(text_of(choice, "text"));
      labels.push_back(text_of(choice, "label"));
    }
  } else {
    question = text_of(row, "question");
    texts = texts_of(row.at("choices"), "text");
    labels = texts_of(row.at("choices"), "label");
  }
  require(texts.size() == labels.size(), "{} choices but {} labels", texts.size(), labels.size());
  std::string key = text_of(row, "answerKey");
  auto found = std::find(labels.begin(), labels.end(), key);
  // Some items say 1 to 5 where their choices are A to E, or the reverse.
  if (found == labels.end() && key.size() == 1) {
    key[0] = char(key[0] >= '1' && key[0] <= '9' ? key[0] - '1' + 'A' : key[0] - 'A' + '1');
    found = std::find(labels.begin(), labels.end(), key);
  }
  require(found != labels.end(), "answerKey \"{}\" is no choice's label", text_of(row, "answerKey"));
  return item_of({"Question: " + question + "\nAnswer:"}, texts, found - labels.begin());
}

MultipleChoiceItem parse_winogrande(const json& row) {
  const std::string sentence = text_of(row, "sentence");
  const size_t blank = sentence.find('_');
  require(blank != std::string::npos, "the sentence has no blank \"_\"");
  const std::string rest(stripped(std::string_view(sentence).substr(blank + 1)));
  std::vector<std::string> contexts;
  for (const char* option : {"option1", "option2"})
    contexts.push_back(sentence.substr(0, blank) + text_of(row, option));
  return item_of(std::move(contexts), {rest, rest}, label_of(row, "answer") - 1);
}

MultipleChoiceItem parse_item(const json& row) {
  const auto has = [&](const char* key) { return row.contains(key); };
  if (has("goal"))
    return item_of({"Question: " + text_of(row, "goal") + "\nAnswer:"}, {text_of(row, "sol1"), text_of(row, "sol2")},
                   label_of(row, "label"));
  if (has("endings")) {
    std::vector<std::string> endings = texts_of(row, "endings");
    for (std::string& ending : endings) ending = cleaned(ending);
    const std::string context = text_of(row, "ctx_a") + " " + capitalized(text_of(row, "ctx_b"));
    return item_of({cleaned(text_of(row, "activity_label") + ": " + context)}, endings, label_of(row, "label"));
  }
  if (has("sentence")) return parse_winogrande(row);
  if (has("passage"))
    return item_of({text_of(row, "passage") + "\nQuestion: " + text_of(row, "question") + "?\nAnswer:"}, {"no", "yes"},
                   label_of(row, has("label") ? "label" : "answer"));
  if (has("answerKey")) return parse_arc(row);
  require(has("context") && has("choices"),
          "the fields are none of PIQA's, ARC's, HellaSwag's, WinoGrande's, BoolQ's, nor context, choices and label");
  MultipleChoiceItem item{.contexts = {text_of(row, "context")}, .choices = texts_of(row, "choices")};
  for (const std::string& choice : item.choices) item.lengths.push_back(count_characters(choice));
  item.label = label_of(row, "label");
  return item;
}

}  // namespace

std::vector<MultipleChoiceItem> parse_multiple_choice(std::string_view lines, std::string_view name) {
  std::vector<MultipleChoiceItem> items;
  int number = 1;
  for (size_t at = 0; at < lines.size(); ++number) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    const std::string_view line = stripped(lines.substr(at, end - at));
    at = end + 1;
    if (line.empty()) continue;
    const std::string where = fmt::format("{}:{}", name, number);
    const json row = parse_json(line, where);
    require(row.is_object(), "{}: expected a JSON object", where);
    try {
      MultipleChoiceItem item = parse_item(row);
      require(item.choices.size() >= 2, "{} choices; at least 2 are needed", item.choices.size());
      require(item.label >= 0 && item.label < int64_t(item.choices.size()), "the right choice is {} of {} (from 0)",
              item.label, item.choices.size());
      items.push_back(std::move(item));
    } catch (const Error& error) {
      fail("{}: {}", where, error.what());
    } catch (const json::exception& error) {
      fail("{}: {}", where, error.what());
    }
  }
  require(!items.empty(), "{}: there are no items", name);
  return items;
}

std::vector<MultipleChoiceItem> load_multiple_choice(const std::filesystem::path& path) {
  return parse_multiple_choice(read_file(path), path.string());
}

}  // namespace quanta
